"""Publications: load what is published already, plan in the domain, apply the plan; one transaction or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.existing import Existing
from app.domain.publishing.gate import Broken, Evolution, EvolutionError, not_overridden
from app.domain.publishing.outcome import Added, Outcome, UnknownVendorError, refuse_faults
from app.domain.publishing.profile import Candidate, ProfilePlanner
from app.domain.publishing.release import ReleasePlan, plan_release
from app.domain.publishing.vendor import gained
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName, vendor_of
from app.signing.envelope import Subject
from app.storage import evolution, lookup, schema, signature, state
from app.storage.addition import Addition
from app.storage.change import Change, record
from app.storage.database import Writing, count_revision
from app.storage.existing import Names, existing_for_profile, existing_for_release
from app.storage.signature import Signed


def publish_vendor(
    writing: Writing, name: str, title: str | None, url: str | None, *, must_sign: bool | None = None
) -> Outcome:
    """Register a vendor; its title and URL can be added later, not changed. Raises ConflictError.

    must_sign: whether its publications must be signed; None: as before.
    """
    connection = writing.connection
    place, outcome, vendor = Place(), Outcome(), schema.vendor
    document = {"name": title, "url": url}
    existing = connection.execute(sa.select(vendor).where(vendor.c.name == name)).first()
    if existing is None:
        connection.execute(sa.insert(vendor), {"name": name, "title": title, "url": url})
        outcome.added.vendors = 1
        record(writing, Change(kind=ChangeKind.VENDOR_REGISTERED, name=name, document=document))
        if must_sign is not None:
            signature.require_signatures(writing, name, is_required=must_sign)
        return _finish(connection, outcome)
    gains = gained({"title": existing.title, "url": existing.url}, {"title": title, "url": url}, place)
    refuse_faults(place)
    if gains:
        connection.execute(sa.update(vendor).where(vendor.c.id == existing.id), gains)
        outcome.added.vendors = 1
        record(writing, Change(kind=ChangeKind.VENDOR_COMPLETED, name=name, document=document))
    if must_sign is not None and signature.require_signatures(writing, name, is_required=must_sign):
        outcome.added.vendors = 1
    return _finish(connection, outcome)


def publish_profile(
    writing: Writing,
    document: ProfileDocument,
    place: Place,
    signed: Signed | None = None,
    *,
    is_trial: bool = False,
) -> Outcome:
    """Publish a profile, or add models to it; its draft is deleted. signed: the envelope that publishes it.

    is_trial: it need not be signed yet. Raises UnknownVendorError, ConflictError, InvalidDocumentError.
    """
    connection, outcome = writing.connection, Outcome()
    names, existing = existing_for_profile(connection, document)
    names.vendor_id(vendor_of(document.name))
    if not is_trial:
        signature.check_required(names.must_sign, signed, place)
    planner = ProfilePlanner(existing, existing.models)
    planner.plan([(document, place)])
    _settle(connection, planner)
    refuse_faults(place)
    if is_trial:
        return outcome
    changed = planner.changed()
    outcome.added.profiles = sum(planned.is_new for planned in changed)
    outcome.added.profile_models = sum(len(planned.entries) for planned in changed)
    entries = [(Subject.PROFILE, document.name, document.values.keys())]
    envelope = signature.store(writing, signed, entries) if signed is not None else None
    outcome.added.signatures = int(envelope is not None)
    if outcome.added:
        addition = Addition(writing, names, planner)
        addition.add_profiles()
        addition.store(_profile_changes(planner, with_release=False, envelope=envelope))
    return outcome


def _signed_by(envelope: str | None) -> Mapping[str, str]:
    """Return the detail of a change that names the envelope that published it; the link of the change covers it."""
    return {} if envelope is None else {"signature": envelope}


def draft_profile(writing: Writing, document: ProfileDocument, place: Place, written: Mapping[str, Any]) -> Outcome:
    """Keep a profile as a draft; it must be possible to publish it. written: its document.

    Raises what publishing it would raise.
    """
    if lookup.ids(writing.connection, schema.profile, [document.name]):
        _report_published(place)
    publish_profile(writing, document, place, is_trial=True)
    return Outcome(Added(drafts=int(state.put_profile_draft(writing, document, written))))


def draft_release(
    writing: Writing, name: ReleaseName, document: ReleaseDocument, place: Place, written: Mapping[str, Any]
) -> Outcome:
    """Keep a release as a draft; it must be possible to publish it. written: its document.

    The evolution gate is closed only when the draft is published; the outcome already says what it would refuse, and
    the digest is the one that the release would have. Raises what publishing it would raise.
    """
    if lookup.release_id(writing.connection, name.implementation, name.version) is not None:
        _report_published(place)
    outcome, digest = _publish(writing, name, document, place, Gate(is_trial=True))
    outcome.added = Added(drafts=int(state.put_release_draft(writing, name, document, written, digest)))
    return outcome


def _report_published(place: Place) -> None:
    message = "must not be draft: what is published never becomes a draft again"
    (place / "state").fault(FaultCode.ENTRY_CHANGED, message)


@dataclass(frozen=True, slots=True)
class Gate:
    """How a release passes the evolution gate.

    override: why it passes although it breaks the gate. is_whole: the release has no other models than those that it
    states. is_open: nothing is checked. is_trial: what it breaks is told, not refused.
    """

    override: str | None = None
    is_whole: bool = True
    is_open: bool = False
    is_trial: bool = False


def publish_release(
    writing: Writing,
    name: ReleaseName,
    document: ReleaseDocument,
    place: Place,
    gate: Gate = Gate(),
    signed: Signed | None = None,
) -> Outcome:
    """Publish a release with the profiles that it lists, or add models and listed profiles to it.

    Its draft is deleted. signed: the envelope that publishes it. Raises UnknownVendorError, ConflictError,
    InvalidDocumentError with all faults at once, and EvolutionError where it breaks what earlier releases accept.
    """
    return _publish(writing, name, document, place, gate, signed)[0]


def _publish(
    writing: Writing,
    name: ReleaseName,
    document: ReleaseDocument,
    place: Place,
    gate: Gate,
    signed: Signed | None = None,
) -> tuple[Outcome, str]:
    """Publish a release; return also its digest. A trial stores nothing."""
    connection = writing.connection
    names, existing = existing_for_release(connection, name, document)
    names.vendor_id(name.vendor)
    if not gate.is_trial:
        signature.check_required(names.must_sign, signed, place)
    plan = _planned(connection, name, document, existing, place, is_whole=gate.is_whole)
    for vendor in sorted({vendor_of(planned.document.name) for planned in plan.profiles.changed() if planned.is_new}):
        names.vendor_id(vendor)
    outcome, digest = Outcome(plan.added(), plan.not_accepted), plan.digest()
    if not gate.is_open:
        if plan.new_sets or plan.is_new:
            broken = _pass_gate(connection, names, plan, gate)
            outcome.breaks, outcome.overridden = (broken, ()) if gate.is_trial else ((), broken)
        evolution.compare_with_earlier(connection, names, plan, outcome, with_differences=writing.is_dry)
    if not gate.is_trial:
        release_id = _store(writing, names, plan, outcome, digest, signed)
        if outcome.overridden and gate.override is not None:
            evolution.keep_override(writing, name, release_id, gate.override, outcome.overridden)
    return outcome, digest


def _store(
    writing: Writing, names: Names, plan: ReleasePlan, outcome: Outcome, digest: str, signed: Signed | None
) -> int:
    """Store what a plan adds, and record it; return the id of the release."""
    envelope = _store_envelope(writing, plan, signed) if signed is not None else None
    outcome.added.signatures = int(envelope is not None)
    addition = Addition(writing, names, plan.profiles)
    release_id = addition.add_release(plan)
    if outcome.added:
        addition.put_digest(schema.release_digest.c.release_id, release_id, digest, is_new=plan.is_new)
        changes = _profile_changes(plan.profiles, with_release=True, envelope=envelope)
        addition.store([_release_change(plan, outcome.added, digest, envelope), *changes])
    if plan.state is not None:
        state.set_release_state(writing, plan.name, plan.state)
    if names.has_draft:
        state.delete_release_draft(writing.connection, plan.name)
    return release_id


def try_release(connection: sa.Connection, name: ReleaseName, document: ReleaseDocument, place: Place) -> Outcome:
    """Return what publishing a release would add and break; it writes nothing, so nobody waits for it.

    The vendors need not be registered, and nothing need be signed. Raises ConflictError and InvalidDocumentError.
    """
    names, existing = existing_for_release(connection, name, document)
    plan = _planned(connection, name, document, existing, place, is_whole=True)
    outcome = Outcome(plan.added(), plan.not_accepted)
    if plan.new_sets or plan.is_new:
        outcome.breaks = _broken(connection, names, plan, is_whole=True)
    evolution.compare_with_earlier(connection, names, plan, outcome, with_differences=True)
    return outcome


def _planned(
    connection: sa.Connection,
    name: ReleaseName,
    document: ReleaseDocument,
    existing: Existing,
    place: Place,
    *,
    is_whole: bool,
) -> ReleasePlan:
    """Return the complete plan of a release; raises ConflictError and InvalidDocumentError."""
    plan = plan_release(name, document, existing, place, is_whole=is_whole)
    _settle(connection, plan.profiles)
    plan.finish()
    refuse_faults(place)
    return plan


def _store_envelope(writing: Writing, plan: ReleasePlan, signed: Signed) -> str | None:
    """Store the envelope of a release and of the profiles that come with it."""
    profiles = [planned.document for planned in plan.profiles.profiles.values()]
    entries = [
        (Subject.RELEASE, str(plan.name), plan.document.sets.keys()),
        *((Subject.PROFILE, profile.name, profile.values.keys()) for profile in profiles),
    ]
    return signature.store(writing, signed, entries)


def _settle(connection: sa.Connection, planner: ProfilePlanner) -> None:
    """Consider published releases, the newest first, until every entry of the profiles is settled."""
    remaining = {model: _candidates(connection, model) for model in planner.unsettled()}
    while models := [model for model in planner.unsettled() if remaining[model]]:
        newest = {model: remaining[model].pop() for model in models}
        sets = lookup.variable_sets(connection, [digest for _, digest in newest.values()])
        for model, (release, digest) in newest.items():
            planner.consider(Candidate(release, {model: sets[digest]}))
    planner.settle()


def _candidates(connection: sa.Connection, model: str) -> list[tuple[str, str]]:
    """Return the releases that implement a model with the digests of their sets, the newest last.

    Equal sets of one vendor accept the same, so only the newest release with them counts.
    """
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for implementation, version, digest in lookup.sets_of_model(connection, model):
        key = (vendor_of(implementation), digest)
        newest.setdefault(key, (str(ReleaseName(implementation, version)), digest))
    return list(newest.values())[::-1]


def _release_change(plan: ReleasePlan, added: Added, digest: str, envelope: str | None) -> Change:
    return Change(
        kind=ChangeKind.RELEASE_PUBLISHED if plan.is_new else ChangeKind.RELEASE_EXTENDED,
        name=str(plan.name),
        document=plan.record(),
        digest=digest,
        models=plan.concerned(),
        detail={"added": {kind: count for kind, count in added.counts().items() if count}, **_signed_by(envelope)},
    )


def _profile_changes(planner: ProfilePlanner, *, with_release: bool, envelope: str | None) -> list[Change]:
    """Return a change for each profile that gains something.

    A profile that gains a signature alone is recorded as extended: a kind of its own would stop workers of the version
    before on the same database.
    """
    changes = []
    for planned in planner.changed() if envelope is None else planner.profiles.values():
        added = {
            "profiles": int(planned.is_new),
            "profile_models": len(planned.entries),
            "signatures": int(envelope is not None),
        }
        change = Change(
            kind=ChangeKind.PROFILE_PUBLISHED if planned.is_new else ChangeKind.PROFILE_EXTENDED,
            name=planned.document.name,
            # What comes with a release is recorded with the release.
            document=None if with_release else planned.record(),
            digest=planner.digest_of(planned.document.name),
            models=planned.entries.keys(),
            detail={
                "added": {kind: count for kind, count in added.items() if count},
                **({} if with_release else _signed_by(envelope)),
            },
        )
        changes.append(change)
    return changes


def _pass_gate(connection: sa.Connection, names: Names, plan: ReleasePlan, gate: Gate) -> Sequence[Broken]:
    """Return what the release breaks, if an override lets it pass; raises EvolutionError otherwise."""
    broken = _broken(connection, names, plan, is_whole=gate.is_whole)
    if broken and gate.override is None and not gate.is_trial:
        raise EvolutionError(str(plan.name), broken)
    return broken


def _broken(connection: sa.Connection, names: Names, plan: ReleasePlan, *, is_whole: bool) -> Sequence[Broken]:
    """Return what the release breaks with the plan applied, without what an earlier override has let pass."""
    present = plan.existing.release.sets if plan.existing.release else {}
    overridden = {
        (entry["profile"], entry["model"], entry["refused_by"])
        for override in ([] if names.release is None else evolution.overrides(connection, names.release.number))
        for entry in override.broken
    }
    # Models that were there before have passed; whatever is said about a model that is new was not judged yet.
    models = None if is_whole else plan.new_sets.keys()
    spared = set(present) - plan.new_sets.keys()
    return not_overridden(evolution.broken_by(connection, names, plan, models, spared), plan.new_sets, overridden)


def _finish(connection: sa.Connection, outcome: Outcome) -> Outcome:
    if outcome.added:
        count_revision(connection)
    return outcome


def set_evolution(writing: Writing, implementation: str, wanted: Evolution) -> bool:
    """Set the evolution mode of an implementation; return whether the mode or the implementation is new.

    Raises UnknownVendorError.
    """
    connection = writing.connection
    table, vendor = schema.implementation, vendor_of(implementation)
    vendor_id = lookup.ids(connection, schema.vendor, [vendor]).get(vendor)
    if vendor_id is None:
        raise UnknownVendorError(vendor)
    is_new = not lookup.ids(connection, table, [implementation])
    if is_new:
        connection.execute(sa.insert(table), {"name": implementation, "vendor_id": vendor_id})
    implementation_id = lookup.ids(connection, table, [implementation])[implementation]
    has_changed = evolution.set_evolution(connection, implementation_id, wanted) or is_new
    if has_changed:
        document = {"evolution": wanted.mode.value, "transitive": wanted.transitive}
        record(writing, Change(kind=ChangeKind.EVOLUTION_SET, name=implementation, document=document, detail=document))
    return has_changed
