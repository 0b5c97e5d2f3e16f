"""Publications: load what is published already, plan in the domain, apply the plan; one transaction or nothing."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.gate import Broken, Evolution, EvolutionError, not_overridden
from app.domain.publishing.outcome import Added, Outcome, UnknownVendorError, refuse_faults
from app.domain.publishing.profile import Candidate, PlannedProfile, ProfilePlanner
from app.domain.publishing.release import ReleasePlan, plan_release
from app.domain.publishing.vendor import gained
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName, vendor_of
from app.signing.envelope import Subject
from app.storage import evolution, lookup, schema, signature, state
from app.storage.change import Change, record
from app.storage.database import Writing, insert
from app.storage.existing import existing_for_profile, existing_for_release
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
    _vendor_id(connection, vendor_of(document.name))
    if not is_trial:
        signature.check_required(connection, [vendor_of(document.name)], signed, place)
    existing = existing_for_profile(connection, document)
    planner = ProfilePlanner(existing, existing.models)
    planner.plan([(document, place)])
    _settle(connection, planner)
    refuse_faults(place)
    _store_profiles(connection, planner)
    changed = planner.changed()
    outcome.added.profiles = sum(planned.is_new for planned in changed)
    outcome.added.profile_models = sum(len(planned.entries) for planned in changed)
    entries = [(Subject.PROFILE, document.name, document.values.keys())]
    envelope = signature.store(writing, signed, entries) if signed is not None else None
    outcome.added.signatures = int(envelope is not None)
    _record_profiles(writing, planner, with_release=False, envelope=envelope)
    return _finish(connection, outcome)


def _signed_by(envelope: str | None) -> Mapping[str, str]:
    """Return the detail of a change that names the envelope that published it; the link of the change covers it."""
    return {} if envelope is None else {"signature": envelope}


def draft_profile(writing: Writing, document: ProfileDocument, place: Place, written: Mapping[str, Any]) -> Outcome:
    """Keep a profile as a draft; it must be possible to publish it. written: its document.

    Raises what publishing it would raise.
    """
    if lookup.ids(writing.connection, schema.profile, [document.name]):
        _report_published(place)
    with writing.connection.begin_nested() as trial:
        publish_profile(replace(writing), document, place, is_trial=True)
        trial.rollback()
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
    with writing.connection.begin_nested() as trial:
        outcome, digest = _publish(replace(writing), name, document, place, Gate(is_trial=True))
        trial.rollback()
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
    """Publish a release; return also its digest."""
    connection = writing.connection
    vendor_id = _vendor_id(connection, name.vendor)
    if not gate.is_trial:
        signature.check_required(connection, {name.vendor, *map(vendor_of, document.own_profiles)}, signed, place)
    plan = _planned(connection, name, document, place, is_whole=gate.is_whole)
    outcome = Outcome(plan.added(), plan.not_accepted)
    release_id = _apply(connection, vendor_id, plan)
    digest = plan.digest()
    envelope = _store_envelope(writing, plan, signed) if signed is not None else None
    outcome.added.signatures = int(envelope is not None)
    if outcome.added:
        lookup.put(connection, schema.release_digest.c.release_id, release_id, {"digest": digest})
        _record_release(writing, plan, outcome.added, digest, envelope)
        _record_profiles(writing, plan.profiles, with_release=True, envelope=envelope)
    if plan.state is not None:
        state.set_release_state(writing, name, plan.state)
    state.delete_release_draft(connection, name)
    if not gate.is_open:
        if plan.new_sets or plan.is_new:
            broken = _pass_gate(writing, plan, release_id, gate)
            outcome.breaks, outcome.overridden = (broken, ()) if gate.is_trial else ((), broken)
        evolution.compare_with_earlier(connection, plan, outcome, with_differences=writing.is_dry)
    return _finish(connection, outcome), digest


def try_release(connection: sa.Connection, name: ReleaseName, document: ReleaseDocument, place: Place) -> Outcome:
    """Return what publishing a release would add and break; it writes nothing, so nobody waits for it.

    The vendors need not be registered, and nothing need be signed. Raises ConflictError and InvalidDocumentError.
    """
    plan = _planned(connection, name, document, place, is_whole=True)
    outcome = Outcome(plan.added(), plan.not_accepted)
    if plan.new_sets or plan.is_new:
        release_id = lookup.release_id(connection, name.implementation, name.version)
        outcome.breaks = _broken(connection, plan, release_id, is_whole=True)
    evolution.compare_with_earlier(connection, plan, outcome, with_differences=True)
    return outcome


def _planned(
    connection: sa.Connection, name: ReleaseName, document: ReleaseDocument, place: Place, *, is_whole: bool
) -> ReleasePlan:
    """Return the complete plan of a release; raises ConflictError and InvalidDocumentError."""
    existing = existing_for_release(connection, name, document)
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


def _apply(connection: sa.Connection, vendor_id: int, plan: ReleasePlan) -> int:
    """Store what a plan adds; return the id of the release."""
    release_id = lookup.release_id(connection, plan.name.implementation, plan.name.version)
    if release_id is None:
        release_id = _store_release(connection, plan, vendor_id)
    _store_models(connection, vendor_id, plan.new_models)
    model_ids = lookup.ids(connection, schema.model, plan.document.sets)
    _store_statements(connection, vendor_id, model_ids, plan)
    _store_sets(connection, release_id, model_ids, plan)
    _store_profiles(connection, plan.profiles)
    _store_list(connection, release_id, plan)
    _store_own_values(connection, release_id, plan)
    _store_aliases(connection, release_id, plan)
    return release_id


def _record_release(writing: Writing, plan: ReleasePlan, added: Added, digest: str, envelope: str | None) -> None:
    change = Change(
        kind=ChangeKind.RELEASE_PUBLISHED if plan.is_new else ChangeKind.RELEASE_EXTENDED,
        name=str(plan.name),
        document=plan.record(),
        digest=digest,
        models=plan.concerned(),
        detail={"added": {kind: count for kind, count in added.counts().items() if count}, **_signed_by(envelope)},
    )
    record(writing, change)


def _pass_gate(writing: Writing, plan: ReleasePlan, release_id: int, gate: Gate) -> Sequence[Broken]:
    """Return what the release breaks, if an override lets it pass; raises EvolutionError otherwise.

    A refusal undoes the transaction.
    """
    broken = _broken(writing.connection, plan, release_id, is_whole=gate.is_whole)
    if gate.is_trial:
        return broken
    if broken and gate.override is None:
        raise EvolutionError(str(plan.name), broken)
    if broken and gate.override is not None:
        evolution.keep_override(writing, plan.name, release_id, gate.override, broken)
    return broken


def _broken(
    connection: sa.Connection, plan: ReleasePlan, release_id: int | None, *, is_whole: bool
) -> Sequence[Broken]:
    """Return what the release breaks with the plan applied, without what an earlier override has let pass.

    release_id: None: the release is not stored.
    """
    present = plan.existing.release.sets if plan.existing.release else {}
    overridden = {
        (entry["profile"], entry["model"], entry["refused_by"])
        for override in ([] if release_id is None else evolution.overrides(connection, release_id))
        for entry in override.broken
    }
    # Models that were there before have passed; whatever is said about a model that is new was not judged yet.
    models = None if is_whole else plan.new_sets.keys()
    spared = set(present) - plan.new_sets.keys()
    return not_overridden(evolution.broken_by(connection, plan, models, spared), plan.new_sets, overridden)


def _finish(connection: sa.Connection, outcome: Outcome) -> Outcome:
    if outcome.added:
        lookup.count_revision(connection)
    return outcome


def _vendor_id(connection: sa.Connection, vendor: str) -> int:
    vendor_id = lookup.ids(connection, schema.vendor, [vendor]).get(vendor)
    if vendor_id is None:
        raise UnknownVendorError(vendor)
    return vendor_id


def _store_release(connection: sa.Connection, plan: ReleasePlan, vendor_id: int) -> int:
    row = {
        "implementation_id": _implementation_id(connection, plan.name.implementation, vendor_id),
        "version": plan.name.version,
        "description": plan.document.description,
    }
    inserted = sa.insert(schema.release).values(row).returning(schema.release.c.id)
    release_id: int = connection.execute(inserted).scalar_one()
    return release_id


def _implementation_id(connection: sa.Connection, name: str, vendor_id: int) -> int:
    """Return the id of an implementation; a new one is stored."""
    table = schema.implementation
    ids = lookup.ids(connection, table, [name])
    if not ids:
        connection.execute(sa.insert(table), {"name": name, "vendor_id": vendor_id})
        ids = lookup.ids(connection, table, [name])
    return ids[name]


def set_evolution(writing: Writing, implementation: str, wanted: Evolution) -> bool:
    """Set the evolution mode of an implementation; return whether the mode or the implementation is new.

    Raises UnknownVendorError.
    """
    connection = writing.connection
    vendor_id = _vendor_id(connection, vendor_of(implementation))
    is_new = not lookup.ids(connection, schema.implementation, [implementation])
    implementation_id = _implementation_id(connection, implementation, vendor_id)
    has_changed = evolution.set_evolution(connection, implementation_id, wanted) or is_new
    if has_changed:
        document = {"evolution": wanted.mode.value, "transitive": wanted.transitive}
        record(writing, Change(kind=ChangeKind.EVOLUTION_SET, name=implementation, document=document, detail=document))
    return has_changed


def _store_models(connection: sa.Connection, vendor_id: int, names: Collection[str]) -> None:
    if names:
        insert(connection, schema.model, [{"name": name, "vendor_id": vendor_id} for name in sorted(names)])


def _store_statements(
    connection: sa.Connection, vendor_id: int, model_ids: Mapping[str, int], plan: ReleasePlan
) -> None:
    variables, off_values, stand_ins = [], [], []
    vendor, models = plan.name.vendor, plan.existing.models
    for model, statements in plan.statements.items():
        known = models[model].statements.get(vendor, {}) if model in models else {}
        for variable, statement in statements.items():
            key = {"model_id": model_ids[model], "vendor_id": vendor_id, "variable": variable}
            if variable not in known:
                variables.append({**key, "type": statement.type.value})
                if (standing := statement.stands_for) is not None:
                    stand_ins.append({**key, "stands_for": standing.variable, "inverted": standing.inverted})
            if statement.off_value is not None:
                off_values.append({**key, "value": json.dumps(statement.off_value)})
    if variables:
        insert(connection, schema.statement, variables)
    if off_values:
        insert(connection, schema.off_value, off_values)
    if stand_ins:
        insert(connection, schema.stand_in, stand_ins)


def _store_content(connection: sa.Connection, table: sa.Table, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Store content by its digest, where the table does not have it yet."""
    new = rows.keys() - lookup.stored_digests(connection, table, rows)
    if new:
        insert(connection, table, [{"digest": digest, **rows[digest]} for digest in sorted(new)])


def _store_sets(connection: sa.Connection, release_id: int, model_ids: Mapping[str, int], plan: ReleasePlan) -> None:
    sets = plan.new_sets
    rows = {
        variable_set.digest: {"model_id": model_ids[variable_set.model], "document": variable_set.canonical}
        for variable_set in sets.values()
    }
    _store_content(connection, schema.variable_set, rows)
    if sets:
        links = [
            {"release_id": release_id, "model_id": model_ids[model], "digest": variable_set.digest}
            for model, variable_set in sets.items()
        ]
        insert(connection, schema.release_model, links)


def _store_list(connection: sa.Connection, release_id: int, plan: ReleasePlan) -> None:
    if plan.has_new_list:
        connection.execute(sa.insert(schema.profile_list), {"release_id": release_id})
    names = set(plan.newly_listed or ())
    if names:
        profile_ids = lookup.ids(connection, schema.profile, names)
        rows = [{"release_id": release_id, "profile_id": profile_ids[name]} for name in sorted(names)]
        insert(connection, schema.release_profile, rows)


def _store_own_values(connection: sa.Connection, release_id: int, plan: ReleasePlan) -> None:
    planned = plan.own_values
    _store_content(connection, schema.profile_values, {own.digest: {"document": own.document} for own in planned})
    profile_ids = lookup.ids(connection, schema.profile, {own.profile for own in planned})
    model_ids = lookup.ids(connection, schema.model, {own.model for own in planned})
    links = [
        {
            "release_id": release_id,
            "profile_id": profile_ids[own.profile],
            "model_id": model_ids[own.model],
            "digest": own.digest,
        }
        for own in planned
    ]
    if links:
        insert(connection, schema.release_own_values, links)


def _store_aliases(connection: sa.Connection, release_id: int, plan: ReleasePlan) -> None:
    rows = [
        {"release_id": release_id, "alias": alias, "target": target}
        for alias, target in sorted(plan.new_aliases.items())
    ]
    if rows:
        insert(connection, schema.release_alias, rows)


def _store_profiles(connection: sa.Connection, planner: ProfilePlanner) -> None:
    """Store planned profiles with their entries, and delete their drafts."""
    changed = planner.changed()
    digests = {
        digest for planned in changed for entry in planned.entries.values() for digest in (entry.own, entry.resolved)
    }
    _store_content(
        connection, schema.profile_values, {digest: {"document": planner.documents[digest]} for digest in digests}
    )
    _insert_profiles(connection, [planned for planned in changed if planned.is_new])
    profile_ids = lookup.ids(connection, schema.profile, [planned.document.name for planned in changed])
    model_ids = lookup.ids(connection, schema.model, {model for planned in changed for model in planned.entries})
    rows = [
        {
            "profile_id": profile_ids[planned.document.name],
            "model_id": model_ids[model],
            "own_digest": entry.own,
            "resolved_digest": entry.resolved,
        }
        for planned in changed
        for model, entry in planned.entries.items()
    ]
    if rows:
        insert(connection, schema.profile_entry, rows)


def _insert_profiles(connection: sa.Connection, profiles: Sequence[PlannedProfile]) -> None:
    """Insert new profiles, parents first. Raises UnknownVendorError."""
    vendors = {vendor_of(planned.document.name) for planned in profiles}
    vendor_ids = lookup.ids(connection, schema.vendor, vendors)
    for vendor in sorted(vendors - vendor_ids.keys()):
        raise UnknownVendorError(vendor)
    for planned in profiles:
        profile = planned.document
        parents = lookup.ids(connection, schema.profile, [profile.extends] if profile.extends else [])
        row = {
            "name": profile.name,
            "vendor_id": vendor_ids[vendor_of(profile.name)],
            "extends_id": parents.get(profile.extends or ""),
            "description": profile.description,
        }
        connection.execute(sa.insert(schema.profile).values(row))
        state.delete_profile_draft(connection, profile.name)


def _record_profiles(writing: Writing, planner: ProfilePlanner, *, with_release: bool, envelope: str | None) -> None:
    """Record a change for each profile, and give new ones the state that they ask for.

    A profile that gains a signature alone is recorded as extended: a kind of its own would stop workers of the version
    before on the same database.
    """
    connection = writing.connection
    recorded = planner.changed() if envelope is None else list(planner.profiles.values())
    profile_ids = lookup.ids(connection, schema.profile, [planned.document.name for planned in recorded])
    changes = []
    for planned in recorded:
        name = planned.document.name
        digest = planner.digest_of(name)
        lookup.put(connection, schema.profile_digest.c.profile_id, profile_ids[name], {"digest": digest})
        added = {
            "profiles": int(planned.is_new),
            "profile_models": len(planned.entries),
            "signatures": int(envelope is not None),
        }
        change = Change(
            kind=ChangeKind.PROFILE_PUBLISHED if planned.is_new else ChangeKind.PROFILE_EXTENDED,
            name=name,
            # What comes with a release is recorded with the release.
            document=None if with_release else planned.record(),
            digest=digest,
            models=planned.entries.keys(),
            detail={
                "added": {kind: count for kind, count in added.items() if count},
                **({} if with_release else _signed_by(envelope)),
            },
        )
        changes.append(change)
    if changes:
        record(writing, *changes)
    for planned in recorded:
        if planned.state is not None:
            state.set_profile_state(writing, planned.document.name, planned.state)
