"""Publishing: what is published never changes, more may be added; one transaction or nothing."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.change import ChangeKind
from app.domain.difference import between_releases
from app.domain.document import FaultCode, Place
from app.domain.evolution import Evolution, EvolutionError
from app.domain.model import Model, Statement
from app.domain.name import ReleaseName, vendor_of
from app.domain.profile import ProfileDocument
from app.domain.release import ReleaseDocument, SetPlace
from app.domain.state import State
from app.domain.variable_set import VariableSet
from app.storage import evolution, lookup, schema, state
from app.storage.change import Change, record
from app.storage.database import Writing, insert
from app.storage.outcome import Added, Outcome, UnknownVendorError, refuse_faults
from app.storage.own_values import OwnValues
from app.storage.own_values import of_release as stored_own_values
from app.storage.profile_publication import ProfilePublication, PublishedRelease


def publish_vendor(writing: Writing, name: str, title: str | None, url: str | None) -> Outcome:
    """Register a vendor; its title and URL may be added later, not changed.

    Raises ConflictError.
    """
    connection = writing.connection
    at, outcome, vendor = Place(), Outcome(), schema.vendor
    document = {"name": title, "url": url}
    standing = connection.execute(sa.select(vendor).where(vendor.c.name == name)).first()
    if standing is None:
        connection.execute(sa.insert(vendor), {"name": name, "title": title, "url": url})
        outcome.added.vendors = 1
        record(writing, Change(kind=ChangeKind.VENDOR_REGISTERED, name=name, document=document))
    else:
        gained = {}
        for field, before, after in (("title", standing.title, title), ("url", standing.url, url)):
            if before is None and after is not None:
                gained[field] = after
            elif after is not None and before != after:
                place = at / ("name" if field == "title" else field)
                place.fault(FaultCode.ENTRY_CHANGED, f"is published as {before}")
        refuse_faults(at)
        if gained:
            connection.execute(sa.update(vendor).where(vendor.c.id == standing.id), gained)
            outcome.added.vendors = 1
            record(writing, Change(kind=ChangeKind.VENDOR_COMPLETED, name=name, document=document))
    return _finish(connection, outcome)


def publish_profile(writing: Writing, document: ProfileDocument, at: Place) -> Outcome:
    """Publish a profile, or add models to it that it did not name. A draft of it is no more.

    Raises UnknownVendorError, ConflictError, InvalidDocumentError.
    """
    connection, outcome = writing.connection, Outcome()
    _vendor_id(connection, vendor_of(document.name))
    publication = ProfilePublication(connection, {}, None)
    publication.check([(document, at)])
    refuse_faults(at)
    publication.store(outcome)
    publication.record(writing)
    return _finish(connection, outcome)


def draft_profile(writing: Writing, document: ProfileDocument, at: Place, written: Mapping[str, Any]) -> Outcome:
    """Keep a profile as a draft, which has to be fit to be published; written: its document.

    Raises what publishing it would.
    """
    if lookup.ids(writing.connection, schema.profile, [document.name]):
        _fault_published(at)
    with writing.connection.begin_nested() as trial:
        publish_profile(replace(writing), document, at)
        trial.rollback()
    return Outcome(Added(drafts=int(state.put_profile_draft(writing, document, written))))


def draft_release(
    writing: Writing, name: ReleaseName, document: ReleaseDocument, at: Place, written: Mapping[str, Any]
) -> Outcome:
    """Keep a release as a draft, which has to be fit to be published; written: its document.

    The evolution gate waits until it is. Raises what publishing it would.
    """
    if lookup.release_id(writing.connection, name.implementation, name.version) is not None:
        _fault_published(at)
    with writing.connection.begin_nested() as trial:
        tried = publish_release(replace(writing), name, document, at, Gate(is_open=True))
        trial.rollback()
    added = Added(drafts=int(state.put_release_draft(writing, name, document, written)))
    return Outcome(added, tried.not_accepted)


def _fault_published(at: Place) -> None:
    (at / "state").fault(FaultCode.ENTRY_CHANGED, "is published: it becomes no draft again")


@dataclass(frozen=True, slots=True)
class Gate:
    """How a release passes the evolution gate.

    override: the reason why it may although it breaks it. whole: what the release then lacks is gone. is_open: nothing
    holds it back.
    """

    override: str | None = None
    whole: bool = True
    is_open: bool = False


def publish_release(
    writing: Writing, name: ReleaseName, document: ReleaseDocument, at: Place, gate: Gate = Gate()
) -> Outcome:
    """Publish a release with the profiles that it lists, or add models and listed profiles to it. A draft is no more.

    Raises UnknownVendorError, ConflictError, InvalidDocumentError, and EvolutionError where it breaks what earlier
    releases gave; all faults of the document are reported at once.
    """
    connection, outcome = writing.connection, Outcome()
    vendor_id = _vendor_id(connection, name.vendor)
    release_id = lookup.release_id(connection, name.implementation, name.version)
    is_new = release_id is None
    if is_new and not gate.whole and state.release_draft(connection, name) is not None:
        at.fault(FaultCode.ENTRY_CHANGED, f"{name} is a draft: PUT replaces it, PATCH publishes it")
    if release_id is not None:
        _check_description(connection, release_id, document, at)
        state.check_state_asked(document.state, lookup.release_state(connection, release_id), at)
    standing = lookup.release_models(connection, release_id) if release_id is not None else {}
    models = lookup.models(connection, document.sets)
    stated = _check_sets(connection, name, document, standing, models)
    after = {
        model: models.get(model, Model(model, {})).with_statements(name.vendor, added)
        for model, added in stated.items()
    }
    others = {model: set_digest for model, set_digest in standing.items() if model not in document.sets}
    # What is wrong with the sets would only be told again, as profiles that they do not accept.
    unsure = document.sets.keys() if at.faults else frozenset[str]()
    sets = {**document.sets, **_sets_of(connection, document, others)}
    profiles = ProfilePublication(connection, after, PublishedRelease(name, sets), unsure)
    listed = document.profiles or ()
    places = [at / "profiles" / index for index in range(len(listed))]
    profiles.check(
        [(each, here) for each, here in zip(listed, places, strict=True) if isinstance(each, ProfileDocument)]
    )
    names = [each.name if isinstance(each, ProfileDocument) else each for each in listed]
    on_list = lookup.listed_profiles(connection, release_id) if release_id is not None else None
    profiles.check_listed(list(zip(names, places, strict=True)), on_list or frozenset(), outcome)
    own_values = OwnValues(document, stored_own_values(connection, release_id) if release_id is not None else {})
    own_values.check(sets, {*names, *(on_list or ())}, at / "own_values")
    refuse_faults(at)

    if release_id is None:
        release_id = _store_release(connection, name, vendor_id, document, outcome)
    _store_models(connection, vendor_id, set(document.sets.keys() - models.keys()), outcome)
    model_ids = lookup.ids(connection, schema.model, document.sets)
    _store_statements(connection, vendor_id, model_ids, models, stated, outcome)
    new = {model: each for model, each in document.sets.items() if model not in standing}
    _store_sets(connection, release_id, model_ids, new, outcome)
    profiles.store(outcome)
    newly_listed = _store_list(connection, release_id, names, outcome) if document.profiles is not None else None
    outcome.added.own_values = own_values.store(connection, release_id)
    if outcome.added:
        added: dict[str, Any] = {
            "models": {model: each.digest for model, each in new.items()},
            **profiles.listing(newly_listed),
            **own_values.document(),
            **({"description": document.description} if is_new and document.description is not None else {}),
        }
        digest_now = _store_digest(connection, release_id, name)
        # A list that grows, or comes into being, is about all that the release has.
        concerned = {*new, *(standing if newly_listed is not None else ())}
        _record_release(writing, name, added, concerned, outcome, digest_now)
        profiles.record(writing)
    if is_new and document.state not in {None, State.DRAFT, State.PUBLISHED}:
        state.set_release_state(writing, name, document.state)
    state.delete_release_draft(connection, name)
    if (new or is_new) and not gate.is_open:
        _pass_gate(writing, name, release_id, standing.keys(), new, outcome, gate)
    return _finish(connection, outcome)


def _record_release(
    writing: Writing,
    name: ReleaseName,
    stated: Mapping[str, Any],
    models: Collection[str],
    outcome: Outcome,
    digest_now: str,
) -> None:
    kind = ChangeKind.RELEASE_PUBLISHED if outcome.added.releases else ChangeKind.RELEASE_EXTENDED
    added = {what: count for what, count in outcome.added.counts().items() if count}
    models = {*models, *(model for own in stated.get("own_values", {}).values() for model in own)}
    change = Change(
        kind=kind, name=str(name), document=stated, digest=digest_now, models=models, detail={"added": added}
    )
    record(writing, change)


def _pass_gate(  # noqa: PLR0917 (what a publication knows)
    writing: Writing,
    name: ReleaseName,
    release_id: int,
    standing: Collection[str],
    new: Mapping[str, VariableSet],
    outcome: Outcome,
    gate: Gate,
) -> None:
    connection = writing.connection
    sets = {each.digest: each for each in new.values()}
    passed = {
        (each["profile"], each["model"], each["refused_by"])
        for override in evolution.overrides(connection, release_id)
        for each in override.broken
    }
    # What stood before has passed, and what is said of a model that is new here nobody has looked at yet.
    models = None if gate.whole else new.keys()
    broken = [
        each
        for each in evolution.broken_by(connection, name, models, sets, set(standing) - new.keys())
        if each.model in new or (each.profile, each.model, each.refused_by) not in passed
    ]
    if broken and gate.override is None:
        raise EvolutionError(str(name), broken)
    if broken and gate.override is not None:
        evolution.keep_override(writing, name, release_id, gate.override, broken)
        outcome.overridden = broken


def _finish(connection: sa.Connection, outcome: Outcome) -> Outcome:
    if outcome.added:
        lookup.count_revision(connection)
    return outcome


def _vendor_id(connection: sa.Connection, vendor: str) -> int:
    vendor_id = lookup.ids(connection, schema.vendor, [vendor]).get(vendor)
    if vendor_id is None:
        raise UnknownVendorError(vendor)
    return vendor_id


def _check_description(connection: sa.Connection, release_id: int, document: ReleaseDocument, at: Place) -> None:
    query = sa.select(schema.release.c.description).where(schema.release.c.id == release_id)
    if document.description not in {None, connection.execute(query).scalar_one()}:
        (at / "description").fault(FaultCode.ENTRY_CHANGED, "is not the description published")


def _check_sets(
    connection: sa.Connection,
    name: ReleaseName,
    document: ReleaseDocument,
    standing: Mapping[str, str],
    models: Mapping[str, Model],
) -> dict[str, Mapping[str, Statement]]:
    """Report what the sets would change; return what they state in addition, by model."""
    stated = {}
    for model_name, variable_set in document.sets.items():
        place = document.places[model_name]
        model = models.get(model_name, Model(model_name, {}))
        if model_name not in models and model.vendor != name.vendor:
            message = f"only {model.vendor} can bring the model {model_name} into being"
            place.at.fault(FaultCode.UNKNOWN_MODEL, message)
        stated[model_name] = model.additions(variable_set, name.vendor)
        if place.has_faults or standing.get(model_name) == variable_set.digest:
            continue
        for each in model.contradictions(variable_set, name.vendor):
            here = place.variables / each.variable / each.field
            here.fault(FaultCode.VARIABLE_REDEFINED, each.message)
        if model_name in standing:
            before = lookup.variable_sets(connection, [standing[model_name]])[standing[model_name]]
            _fault_changes(model, name.vendor, before, variable_set, place)
    return stated


def _fault_changes(model: Model, vendor: str, before: VariableSet, after: VariableSet, place: SetPlace) -> None:
    """Report where a set says otherwise than the one that is published."""
    found = between_releases(model, (vendor, vendor), before, after)
    for each in found:
        where = place.at if each.variable is None else place.variables / each.variable
        where.fault(FaultCode.ENTRY_CHANGED, f"is published otherwise: {each.message}")
    if not found:
        place.at.fault(FaultCode.ENTRY_CHANGED, f"is published with another content, {before.digest}")


def _sets_of(
    connection: sa.Connection, document: ReleaseDocument, digests: Mapping[str, str]
) -> Mapping[str, VariableSet]:
    """Return the release's sets that the document does not repeat, as far as its profiles need them."""
    if not document.profiles and not document.own_values:
        return {}
    sets = lookup.variable_sets(connection, digests.values())
    return {model: sets[set_digest] for model, set_digest in digests.items()}


def _store_release(
    connection: sa.Connection, name: ReleaseName, vendor_id: int, document: ReleaseDocument, outcome: Outcome
) -> int:
    row = {
        "implementation_id": _implementation_id(connection, name.implementation, vendor_id),
        "version": name.version,
        "description": document.description,
    }
    outcome.added.releases = 1
    inserted = sa.insert(schema.release).values(row).returning(schema.release.c.id)
    release_id: int = connection.execute(inserted).scalar_one()
    return release_id


def _implementation_id(connection: sa.Connection, name: str, vendor_id: int) -> int:
    """Return the id of an implementation, which comes into being here where it is new."""
    table = schema.implementation
    found = lookup.ids(connection, table, [name])
    if not found:
        connection.execute(sa.insert(table), {"name": name, "vendor_id": vendor_id})
        found = lookup.ids(connection, table, [name])
    return found[name]


def set_evolution(writing: Writing, implementation: str, wanted: Evolution) -> bool:
    """Set what the releases of an implementation are held to; return whether that, or the implementation, is new.

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


def _store_models(connection: sa.Connection, vendor_id: int, names: set[str], outcome: Outcome) -> None:
    if names:
        rows = [{"name": name, "vendor_id": vendor_id} for name in sorted(names)]
        insert(connection, schema.model, rows)
    outcome.added.models = len(names)


def _store_statements(
    connection: sa.Connection,
    vendor_id: int,
    model_ids: Mapping[str, int],
    models: Mapping[str, Model],
    stated: Mapping[str, Mapping[str, Statement]],
    outcome: Outcome,
) -> None:
    vendor = connection.execute(sa.select(schema.vendor.c.name).where(schema.vendor.c.id == vendor_id)).scalar_one()
    variables, off_values = [], []
    for model, statements in stated.items():
        known = models[model].statements.get(vendor, {}) if model in models else {}
        for variable, statement in statements.items():
            key = {"model_id": model_ids[model], "vendor_id": vendor_id, "variable": variable}
            if variable not in known:
                variables.append({**key, "type": statement.type.value})
            if statement.off_value is not None:
                off_values.append({**key, "value": json.dumps(statement.off_value)})
    if variables:
        insert(connection, schema.statement, variables)
    if off_values:
        insert(connection, schema.off_value, off_values)
    outcome.added.variables, outcome.added.off_values = len(variables), len(off_values)


def _store_sets(
    connection: sa.Connection,
    release_id: int,
    model_ids: Mapping[str, int],
    sets: Mapping[str, VariableSet],
    outcome: Outcome,
) -> None:
    by_digest = {each.digest: each for each in sets.values()}
    new = by_digest.keys() - lookup.stored_digests(connection, schema.variable_set, by_digest)
    if new:
        rows = [
            {"digest": key, "model_id": model_ids[by_digest[key].model], "document": by_digest[key].canonical}
            for key in sorted(new)
        ]
        insert(connection, schema.variable_set, rows)
    if sets:
        links = [
            {"release_id": release_id, "model_id": model_ids[model], "digest": each.digest}
            for model, each in sets.items()
        ]
        insert(connection, schema.release_model, links)
    outcome.added.release_models = len(sets)


def _store_list(
    connection: sa.Connection, release_id: int, names: Sequence[str], outcome: Outcome
) -> Sequence[str] | None:
    """Put profiles on a release's list; return those that were not on it, None if there was nothing to do."""
    standing = lookup.listed_profiles(connection, release_id)
    if standing is None:
        connection.execute(sa.insert(schema.profile_list), {"release_id": release_id})
        outcome.added.profile_lists = 1
    new = set(names) - (standing or frozenset())
    profile_ids = lookup.ids(connection, schema.profile, new)
    if new:
        rows = [{"release_id": release_id, "profile_id": profile_ids[name]} for name in sorted(new)]
        insert(connection, schema.release_profile, rows)
    outcome.added.listed_profiles = len(new)
    return [name for name in names if name in new] if new or standing is None else None


def _store_digest(connection: sa.Connection, release_id: int, name: ReleaseName) -> str:
    listed = lookup.listed_profiles(connection, release_id)
    whole = {
        "release": str(name),
        "models": lookup.release_models(connection, release_id),
        "profiles": None if listed is None else sorted(listed),
        **({"own_values": own_values} if (own_values := stored_own_values(connection, release_id)) else {}),
    }
    digest_now = digest(canonical_json(whole))
    lookup.put(connection, schema.release_digest.c.release_id, release_id, {"digest": digest_now})
    return digest_now
