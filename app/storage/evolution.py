"""The evolution mode of implementations, what a new release breaks, and overrides of the gate."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.engine.acceptance import Acceptance
from app.domain.publishing import gate
from app.domain.publishing.change import ChangeKind
from app.domain.publishing.gate import Broken, Evolution, Mode
from app.domain.publishing.outcome import MadeOtherwise, Outcome, StateNotReadable
from app.domain.things.variable_set import VariableSet
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.domain.verdict.problem import Problem
from app.domain.verdict.steps import unreadable_state
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing


def evolution_of(connection: sa.Connection, implementation_id: int) -> Evolution:
    """Return the evolution mode of an implementation."""
    table = schema.evolution
    query = sa.select(table.c.mode, table.c.transitive).where(table.c.implementation_id == implementation_id)
    row = connection.execute(query).first()
    return Evolution(Mode(row.mode), row.transitive) if row else Evolution()


def evolution_named(connection: sa.Connection, implementation: str) -> Evolution:
    """Return the evolution mode of an implementation by its name, the default if it is not known yet."""
    implementation_id = lookup.ids(connection, schema.implementation, [implementation]).get(implementation)
    return Evolution() if implementation_id is None else evolution_of(connection, implementation_id)


def set_evolution(connection: sa.Connection, implementation_id: int, evolution: Evolution) -> bool:
    """Set the evolution mode of an implementation; return whether it has changed."""
    if evolution_of(connection, implementation_id) == evolution:
        return False
    row = {"mode": evolution.mode.value, "transitive": evolution.transitive}
    lookup.put(connection, schema.evolution.c.implementation_id, implementation_id, row)
    return True


def broken_by(
    connection: sa.Connection,
    name: ReleaseName,
    models: Collection[str] | None,
    sets: Mapping[str, VariableSet],
    spared: Collection[str] = (),
) -> list[Broken]:
    """Return what a release, stored in this transaction, breaks of what earlier releases accept.

    models: only these are judged; None: all, also those that the release does not implement.
    sets: by digest, those that are loaded already. spared: models that are not judged.
    """
    implementation_id = lookup.ids(connection, schema.implementation, [name.implementation])[name.implementation]
    evolution = evolution_of(connection, implementation_id)
    versions = lookup.versions(connection, implementation_id)
    before = [ReleaseName(name.implementation, version) for version in gate.earlier(name.version, versions, evolution)]
    digests = {release: lookup.release_models(connection, versions[release.version]) for release in (name, *before)}
    differing = {
        model
        for model in gate.differing(digests[name], [digests[release] for release in before])
        if (models is None or model in models) and model not in spared
    }
    if not differing:
        return []
    entries = _published_entries(connection, differing)
    needed = {digest for of_release in digests.values() for model, digest in of_release.items() if model in differing}
    known_sets = {**lookup.variable_sets(connection, needed - sets.keys()), **sets}
    known_models = lookup.models(connection, differing)
    values = lookup.profile_values(connection, {digest for entry in entries.values() for digest in entry.values()})
    acceptance = Acceptance()

    def refusals(release: ReleaseName, model: str, digest: str) -> Sequence[Problem]:
        own = digests[release].get(model)
        variable_set = known_sets[own] if own else None
        return acceptance.refusals(values[digest], known_models[model], str(release), variable_set)

    return list(gate.broken(name, before, entries, evolution, refusals))


def compare_with_previous(connection: sa.Connection, name: ReleaseName, outcome: Outcome) -> None:
    """Note in the outcome what a release, stored in this transaction, lists and makes otherwise than the previous one.

    Nothing of this is refused (DESIGN 5, "Evolution gate").
    """
    implementation_id = lookup.ids(connection, schema.implementation, [name.implementation])[name.implementation]
    versions = lookup.versions(connection, implementation_id)
    before = gate.previous(name.version, versions)
    if before is None:
        return
    outcome.previous = str(ReleaseName(name.implementation, before))
    comparison = compare_releases(connection, versions[before], versions[name.version], (name.vendor, name.vendor))
    outcome.no_longer_listed, outcome.made_otherwise = comparison


def states_not_readable(
    connection: sa.Connection, name: ReleaseName, sets: Iterable[VariableSet]
) -> Iterator[StateNotReadable]:
    """Iterate over the releases whose saved states a release cannot read: itself, and earlier ones from the highest.

    sets: what the release states. Nothing of this is refused: hosts are updated in one direction (DESIGN 3).
    """
    stated = {variable_set.model: variable_set for variable_set in sets if variable_set.saved_state is not None}
    if not stated:
        return
    implementation_id = lookup.ids(connection, schema.implementation, [name.implementation])[name.implementation]
    versions = lookup.versions(connection, implementation_id)
    before = gate.earlier(name.version, versions, Evolution(transitive=True))
    digests = lookup.sets_of_releases(connection, [versions[version] for version in before], stated.keys())
    known = lookup.variable_sets(
        connection, {digest for of_release in digests.values() for digest in of_release.values()}
    )
    earlier = [(ReleaseName(name.implementation, version), digests.get(versions[version], {})) for version in before]
    written = [(release, {model: known[digest] for model, digest in own.items()}) for release, own in earlier]
    for release, own in [(name, stated), *written]:
        for model in sorted(own):
            for problem in unreadable_state(str(release), own[model], str(name), stated[model]):
                yield StateNotReadable(str(release), model, problem.message)


def compare_releases(
    connection: sa.Connection, old: int, new: int, vendors: tuple[str, str]
) -> tuple[Sequence[str], Sequence[MadeOtherwise]]:
    """Return what the first release lists and the second does not, and what the second makes otherwise of profiles.

    A release without a list says nothing about profiles. old, new: the ids of the releases. vendors: of the two.
    """
    before, after = (lookup.listed_profiles(connection, release_id) for release_id in (old, new))
    if before is None or after is None:
        return [], list(_made_otherwise(connection, vendors, old, new, before or after or frozenset()))
    return sorted(before - after), list(_made_otherwise(connection, vendors, old, new, before & after))


def _made_otherwise(
    connection: sa.Connection, vendors: tuple[str, str], old: int, new: int, profiles: Collection[str]
) -> Iterator[MadeOtherwise]:
    own = lookup.own_values_of(connection, [old, new])
    digests = [own.get(release_id, {}) for release_id in (old, new)]
    differing = sorted(
        (profile, model)
        for profile in profiles
        for model in {model for of_release in digests for model in of_release.get(profile, {})}
        if len({of_release.get(profile, {}).get(model) for of_release in digests}) > 1
    )
    if not differing:
        return
    models = lookup.models(connection, {model for _, model in differing})
    profile_ids = lookup.ids(connection, schema.profile, {profile for profile, _ in differing})
    resolved = lookup.resolved_entries(connection, profile_ids.values(), models)
    own_digests = {digest for of_release in digests for entry in of_release.values() for digest in entry.values()}
    values = lookup.profile_values(
        connection, own_digests | {digest for entry in resolved.values() for digest in entry.values()}
    )
    for profile, model in differing:
        stated = resolved[profile_ids[profile]].get(model)
        if stated is None:
            continue
        before, after = (values.get(of_release.get(profile, {}).get(model, ""), {}) for of_release in digests)
        changed = gate.made_otherwise(values[stated], models[model].off_values(*vendors), before, after)
        if changed:
            yield MadeOtherwise(profile, model, changed)


def _published_entries(connection: sa.Connection, models: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the entries of the profiles that are not retired for these models: profile → model → digest of values."""
    profiles = {
        profile.id: profile.name
        for profile in lookup.profiles_naming(connection, models)
        if profile.state is not State.RETIRED
    }
    resolved = lookup.resolved_entries(connection, profiles, models)
    return {profiles[profile_id]: digests for profile_id, digests in resolved.items()}


@dataclass(frozen=True, slots=True)
class Override:
    """A release that was published although it breaks the gate; broken: as JSON documents."""

    reason: str
    at: str
    broken: Sequence[Mapping[str, Any]]


def keep_override(writing: Writing, name: ReleaseName, release_id: int, reason: str, broken: Sequence[Broken]) -> None:
    """Keep why a release was published although it breaks the gate."""
    documents = [
        {
            "profile": entry.profile,
            "model": entry.model,
            "accepted_by": entry.accepted_by,
            "refused_by": entry.refused_by,
            "problems": [problem.message for problem in entry.problems],
        }
        for entry in broken
    ]
    store_override(writing, name, release_id, Override(reason, writing.at, documents))


def store_override(writing: Writing, name: ReleaseName, release_id: int, override: Override) -> None:
    """Store that a release was published although it breaks the gate, and record the change."""
    row = {
        "release_id": release_id,
        "reason": override.reason,
        "at": override.at,
        "broken": json.dumps(override.broken, sort_keys=True),
    }
    writing.connection.execute(sa.insert(schema.evolution_override), row)
    document = {"reason": override.reason, "at": override.at, "broken": override.broken}
    models = {entry["model"] for entry in override.broken}
    detail = {"reason": override.reason, "broken_count": len(override.broken)}
    change = Change(kind=ChangeKind.GATE_OVERRIDDEN, name=str(name), document=document, models=models, detail=detail)
    record(writing, change)


def overrides(connection: sa.Connection, release_id: int) -> list[Override]:
    """Return the overrides of a release, in the order in which they were given."""
    table = schema.evolution_override
    query = sa.select(table.c.reason, table.c.at, table.c.broken).where(table.c.release_id == release_id)
    rows = connection.execute(query.order_by(table.c.id))
    return [Override(row.reason, row.at, json.loads(row.broken)) for row in rows]
