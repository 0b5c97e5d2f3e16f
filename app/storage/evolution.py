"""The evolution mode of implementations, what a new release breaks, and overrides of the gate."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Any

import sqlalchemy as sa
from cachetools import LRUCache

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet import difference
from app.domain.fleet.difference import Difference
from app.domain.publishing import gate
from app.domain.publishing.change import ChangeKind
from app.domain.publishing.gate import Broken, Evolution, Mode
from app.domain.publishing.outcome import MadeOtherwise, Outcome, StateNotReadable
from app.domain.publishing.release import ReleasePlan
from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.domain.verdict.problem import Problem
from app.domain.verdict.steps import unreadable_state
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing
from app.storage.existing import Names
from app.storage.lookup import Parts


class _Accepted:
    """Remembers what releases accept, by the digests of all that decides it; the oldest is forgotten first."""

    def __init__(self, most: int) -> None:
        self._keys: LRUCache[bytes, None] = LRUCache(most)
        self._lock = Lock()

    def has(self, key: tuple[str, ...]) -> bool:
        """Return whether it is known that this is accepted."""
        with self._lock:
            return _digest_of(key) in self._keys

    def add(self, key: tuple[str, ...]) -> None:
        """Remember that this is accepted."""
        with self._lock:
            self._keys[_digest_of(key)] = None


def _digest_of(key: tuple[str, ...]) -> bytes:
    return blake2b("\n".join(key).encode(), digest_size=20).digest()


# About 15 MB. What a release refuses is judged again, for its reasons name the release.
_ACCEPTED = _Accepted(100_000)


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
    names: Names,
    plan: ReleasePlan,
    models: Collection[str] | None,
    spared: Collection[str] = (),
) -> list[Broken]:
    """Return what a planned release breaks of what earlier releases accept.

    models: only these are judged; None: all, also those that the release does not implement. spared: models that are
    not judged.
    """
    name, evolution = plan.name, names.evolution
    versions = names.versions(connection) if evolution.transitive else names.earlier
    before = [ReleaseName(name.implementation, version) for version in gate.earlier(name.version, versions, evolution)]
    missing = [versions[release.version] for release in before if versions[release.version] not in names.parts]
    parts = {**names.parts, **lookup.parts(connection, missing)}
    digests: dict[ReleaseName, Mapping[str, str]] = {
        release: parts[versions[release.version]].sets for release in before
    }
    digests[name] = plan.all_sets()
    differing = {
        model
        for model in gate.differing(digests[name], [digests[release] for release in before])
        if (models is None or model in models) and model not in spared
    }
    entries = _entries(connection, plan, differing) if differing else {}
    if not entries:
        return []
    known_models = _models(connection, plan, differing)
    # A publication is often judged twice: first dry, and by several pipelines.
    marks = {model: known.mark for model, known in known_models.items()}

    def key(release: ReleaseName, model: str, values: str) -> tuple[str, ...]:
        return marks[model], digests[release].get(model, ""), values, release.vendor

    refusing = [name, *(before if evolution.mode is Mode.FULL else ())]
    pending = {
        profile: left
        for profile, models_of in entries.items()
        if (
            left := {
                model: values
                for model, values in models_of.items()
                if not all(_ACCEPTED.has(key(release, model, values)) for release in refusing)
            }
        )
    }
    concerned = {model for models_of in pending.values() for model in models_of}
    needed = {digest for of_release in digests.values() for model, digest in of_release.items() if model in concerned}
    new_sets = {variable_set.digest: variable_set for variable_set in plan.new_sets.values()}
    known_sets = {**lookup.variable_sets(connection, needed - new_sets.keys()), **new_sets}
    values_by_digest = _values(connection, plan, {digest for entry in pending.values() for digest in entry.values()})
    acceptance = Acceptance()

    def refusals(release: ReleaseName, model: str, digest: str) -> Sequence[Problem]:
        own = digests[release].get(model)
        variable_set = known_sets[own] if own else None
        problems = acceptance.refusals(values_by_digest[digest], known_models[model], str(release), variable_set)
        if not problems:
            _ACCEPTED.add(key(release, model, digest))
        return problems

    return list(gate.broken(name, before, pending, evolution, refusals))


def compare_with_earlier(
    connection: sa.Connection, names: Names, plan: ReleasePlan, outcome: Outcome, *, with_differences: bool = False
) -> None:
    """Note in the outcome what a release lists and makes otherwise than the previous one, and cannot read of earlier.

    with_differences: also how its device models differ from the previous one's. Nothing of this is refused (DESIGN 5,
    "Evolution gate").
    """
    outcome.state_not_readable = list(_states_not_readable(connection, names, plan))
    name = plan.name
    before = gate.previous(name.version, names.earlier)
    if before is None:
        return
    outcome.previous = str(ReleaseName(name.implementation, before))
    parts = names.parts[names.earlier[before]]
    new = _Listing(plan.all_listed(), plan.all_own_values(), name.vendor)
    outcome.no_longer_listed, outcome.made_otherwise = _compare(connection, _Listing.of(parts, name.vendor), new, plan)
    if with_differences:
        outcome.differences = _differences(connection, parts.sets, plan)


def _differences(
    connection: sa.Connection, before: Mapping[str, str], plan: ReleasePlan
) -> dict[str, list[Difference]]:
    """Return how a planned release differs from the previous one, by model; before: the digests of that one's sets."""
    vendor, after = plan.name.vendor, plan.all_sets()
    differing = sorted(model for model in before.keys() | after.keys() if before.get(model) != after.get(model))
    models = _models(connection, plan, set(differing))
    new_sets = {variable_set.digest: variable_set for variable_set in plan.new_sets.values()}
    needed = {of_release[model] for of_release in (before, after) for model in differing if model in of_release}
    sets = {**lookup.variable_sets(connection, needed - new_sets.keys()), **new_sets}
    differences = {
        model: difference.between_releases(
            models[model], (vendor, vendor), sets.get(before.get(model, "")), sets.get(after.get(model, ""))
        )
        for model in differing
    }
    return {model: entries for model, entries in differences.items() if entries}


def _states_not_readable(connection: sa.Connection, names: Names, plan: ReleasePlan) -> Iterator[StateNotReadable]:
    """Iterate over the releases whose saved states a release cannot read: itself, and earlier ones from the highest.

    Nothing of this is refused: hosts are updated in one direction (DESIGN 3).
    """
    name, sets = plan.name, plan.document.sets.values()
    stated = {variable_set.model: variable_set for variable_set in sets if variable_set.saved_state is not None}
    if not stated:
        return
    versions = names.versions(connection)
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


@dataclass(frozen=True, slots=True)
class _Listing:
    """The profiles that a release lists, None without a list, and the digests of its own values; vendor: of it."""

    profiles: frozenset[str] | None
    own_values: Mapping[str, Mapping[str, str]]
    vendor: str

    @classmethod
    def of(cls, parts: Parts, vendor: str) -> "_Listing":
        """Return what a stored release lists."""
        return cls(None if parts.listed is None else frozenset(parts.listed), parts.own_values, vendor)


def compare_releases(
    connection: sa.Connection, old: int, new: int, vendors: tuple[str, str]
) -> tuple[Sequence[str], Sequence[MadeOtherwise]]:
    """Return what the first release lists and the second does not, and what the second makes otherwise of profiles.

    A release without a list says nothing about profiles. old, new: the ids of the releases. vendors: of the two.
    """
    parts = lookup.parts(connection, [old, new])
    before, after = _Listing.of(parts[old], vendors[0]), _Listing.of(parts[new], vendors[1])
    return _compare(connection, before, after)


def _compare(
    connection: sa.Connection, before: _Listing, after: _Listing, plan: ReleasePlan | None = None
) -> tuple[Sequence[str], Sequence[MadeOtherwise]]:
    """Return the same of what two releases list; plan: of the second one, if it could be not stored yet."""
    if before.profiles is None or after.profiles is None:
        compared = before.profiles or after.profiles or frozenset()
        return [], list(_made_otherwise(connection, before, after, compared, plan))
    compared = before.profiles & after.profiles
    no_longer_listed = sorted(before.profiles - after.profiles)
    return no_longer_listed, list(_made_otherwise(connection, before, after, compared, plan))


def _made_otherwise(
    connection: sa.Connection, before: _Listing, after: _Listing, profiles: Collection[str], plan: ReleasePlan | None
) -> Iterator[MadeOtherwise]:
    own = [before.own_values, after.own_values]
    differing = sorted(
        (profile, model)
        for profile in profiles
        for model in {model for of_release in own for model in of_release.get(profile, {})}
        if len({of_release.get(profile, {}).get(model) for of_release in own}) > 1
    )
    if not differing:
        return
    names = {model for _, model in differing}
    models = _models(connection, plan, names)
    resolved = _resolved(connection, plan, {profile for profile, _ in differing}, names)
    own_digests = {digest for of_release in own for entry in of_release.values() for digest in entry.values()}
    digests = own_digests | {digest for entry in resolved.values() for digest in entry.values()}
    values = _values(connection, plan, digests)
    for profile, model in differing:
        stated = resolved[profile].get(model)
        if stated is None:
            continue
        made = (values.get(of_release.get(profile, {}).get(model, ""), {}) for of_release in own)
        off = models[model].off_values(before.vendor, after.vendor)
        if changed := gate.made_otherwise(values[stated], off, *made):
            yield MadeOtherwise(profile, model, changed)


def _models(connection: sa.Connection, plan: ReleasePlan | None, names: Collection[str]) -> Mapping[str, Model]:
    """Return models as they are with a plan applied."""
    planned = {} if plan is None else {name: plan.profiles.models[name] for name in names & plan.profiles.models.keys()}
    return {**lookup.models(connection, set(names) - planned.keys()), **planned}


def _values(connection: sa.Connection, plan: ReleasePlan | None, digests: Collection[str]) -> Mapping[str, Values]:
    """Return values by their digests, as they are with a plan applied."""
    known: dict[str, Values] = {} if plan is None else dict(plan.profiles.values)
    known |= {} if plan is None else {own.digest: json.loads(own.document) for own in plan.own_values}
    return {**known, **lookup.profile_values(connection, set(digests) - known.keys())}


def _entries(connection: sa.Connection, plan: ReleasePlan, models: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the entries of the profiles that are not retired for these models, as they are with a plan applied.

    profile → model → digest of values.
    """
    stored, states = lookup.entries_of_models(connection, models)
    inherited = _inherited(connection, plan, models)
    changed = plan.profiles.changed()
    gaining = [planned.document.name for planned in changed if not planned.is_new]
    missing = [name for name in [*gaining, *inherited] if name not in states]
    states |= {profile.name: profile.state for profile in lookup.profiles(connection, missing)}
    new = {planned.document.name: planned.state for planned in changed if planned.is_new}
    states |= {name: state or State.PUBLISHED for name, state in new.items()}
    return {
        name: {**inherited.get(name, {}), **stored.get(name, {}), **plan.profiles.resolved_of(name, models)}
        for name, state in states.items()
        if state is not State.RETIRED
    }


def _resolved(
    connection: sa.Connection, plan: ReleasePlan | None, profiles: Collection[str], models: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return the digests of profiles' values for these models, as they are with a plan applied."""
    ids = lookup.ids(connection, schema.profile, profiles)
    stored = lookup.resolved_entries(connection, ids.values(), models)
    resolved = {name: stored[profile_id] for name, profile_id in ids.items()}
    if plan is None:
        return resolved
    inherited = _inherited(connection, plan, models)
    return {
        name: {**inherited.get(name, {}), **resolved.get(name, {}), **plan.profiles.resolved_of(name, models)}
        for name in profiles
    }


def _inherited(
    connection: sa.Connection, plan: ReleasePlan, models: Collection[str]
) -> Mapping[str, Mapping[str, str]]:
    """Return what published profiles inherit of what published ancestors of theirs gain by a plan."""
    gained = {
        planned.document.name: {model: entry.resolved for model, entry in planned.entries.items() if model in models}
        for planned in plan.profiles.changed()
        if not planned.is_new
    }
    heirs = lookup.descendants(connection, [name for name, entries in gained.items() if entries])
    inherited: dict[str, dict[str, str]] = {}
    # Parents come first, so that the nearest ancestor decides.
    for name, entries in gained.items():
        for heir in heirs.get(name, ()):
            inherited.setdefault(heir, {}).update(entries)
    return inherited


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
