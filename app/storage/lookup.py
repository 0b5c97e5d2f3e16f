"""Reading of domain objects by name, id or digest, many at a time."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from app.domain.document import Place
from app.domain.model import Model, Statement
from app.domain.name import ReleaseName
from app.domain.profile import Values
from app.domain.state import State
from app.domain.value import Type, Value
from app.domain.variable_set import VariableSet
from app.storage import schema

Key = TypeVar("Key", str, int)

# Below the number of parameters that SQLite and PostgreSQL take in one statement.
_BATCH = 10_000


def batches(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Iterate over the keys, once each, as many at a time as a statement takes."""
    # A name with a NUL character can be in no database, and PostgreSQL refuses to be asked for it.
    ordered = [key for key in dict.fromkeys(keys) if not isinstance(key, str) or "\0" not in key]
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def ids(connection: sa.Connection, table: sa.Table, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of the rows with these names; names that are not there are left out."""
    found: dict[str, int] = {}
    for batch in batches(names):
        rows = connection.execute(sa.select(table.c.name, table.c.id).where(table.c.name.in_(batch)))
        found.update((row.name, row.id) for row in rows)
    return found


def models(connection: sa.Connection, names: Iterable[str]) -> dict[str, Model]:
    """Return the device models of these names; names that are not there are left out."""
    stated: dict[str, dict[str, dict[str, Statement]]] = {}
    statement, off_value, model, vendor = schema.statement, schema.off_value, schema.model, schema.vendor
    for batch in batches(names):
        stated.update(
            (row.name, {}) for row in connection.execute(sa.select(model.c.name).where(model.c.name.in_(batch)))
        )
        rows = connection.execute(
            sa.select(
                model.c.name,
                vendor.c.name.label("vendor"),
                statement.c.variable,
                statement.c.type,
                off_value.c.value,
            )
            .select_from(statement.join(model).join(vendor, vendor.c.id == statement.c.vendor_id).outerjoin(off_value))
            .where(model.c.name.in_(batch))
        )
        for name, by, variable, of_type, off in rows:
            off_now: Value | None = None if off is None else json.loads(off)
            stated[name].setdefault(by, {})[variable] = Statement(Type(of_type), off_now)
    return {name: Model(name, statements) for name, statements in stated.items()}


def stored_set(document: str) -> VariableSet:
    """Return the set that a stored canonical document states."""
    fields = json.loads(document)
    name = fields.pop("model")
    at = Place()
    read = VariableSet.read(name, fields, at)
    at.raise_faults()
    return read


def variable_sets(connection: sa.Connection, digests: Iterable[str]) -> dict[str, VariableSet]:
    """Return the variable sets of these digests."""
    return {key: stored_set(each) for key, each in documents(connection, schema.variable_set, digests)}


def profile_values(connection: sa.Connection, digests: Iterable[str]) -> dict[str, Values]:
    """Return the profile values of these digests."""
    return {key: json.loads(each) for key, each in documents(connection, schema.profile_values, digests)}


def documents(connection: sa.Connection, table: sa.Table, digests: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Iterate over the digests that a table has, each with its canonical JSON."""
    for batch in batches(digests):
        rows = connection.execute(sa.select(table.c.digest, table.c.document).where(table.c.digest.in_(batch)))
        yield from ((row.digest, row.document) for row in rows)


def release_models(connection: sa.Connection, release_id: int) -> dict[str, str]:
    """Return the digests of a release's variable sets by model."""
    return sets_of_releases(connection, [release_id]).get(release_id, {})


def listed_profiles(connection: sa.Connection, release_id: int) -> frozenset[str] | None:
    """Return the profiles on a release's list; None where it says nothing about profiles."""
    table = schema.profile_list
    if connection.execute(sa.select(table.c.release_id).where(table.c.release_id == release_id)).first() is None:
        return None
    rows = connection.execute(
        sa.select(schema.profile.c.name)
        .join_from(schema.release_profile, schema.profile)
        .where(schema.release_profile.c.release_id == release_id)
    )
    return frozenset(rows.scalars())


def release_id(connection: sa.Connection, implementation: str, version: str) -> int | None:
    """Return the id of a release, None if it is not there."""
    query = (
        sa.select(schema.release.c.id)
        .join_from(schema.release, schema.implementation)
        .where(schema.implementation.c.name == implementation, schema.release.c.version == version)
    )
    return connection.execute(query).scalar_one_or_none()


def implementing(
    connection: sa.Connection, models: Collection[str] | None, implementations: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """Return the releases (implementation, version) that implement one of the models, in the order published.

    None: any model; implementations: only of these.
    """
    query = sa.select(schema.implementation.c.name, schema.release.c.version).join_from(
        schema.release, schema.implementation
    )
    if models is not None:
        having = (
            sa.select(schema.release_model.c.release_id)
            .join(schema.model, schema.model.c.id == schema.release_model.c.model_id)
            .where(schema.model.c.name.in_([each for batch in batches(models) for each in batch]))
        )
        query = query.where(schema.release.c.id.in_(having))
    if implementations is not None:
        query = query.where(
            schema.implementation.c.name.in_([each for batch in batches(implementations) for each in batch])
        )
    return [(row.name, row.version) for row in connection.execute(query.order_by(schema.release.c.id))]


def profile_entries(connection: sa.Connection, profile_ids: Iterable[int]) -> dict[int, dict[str, tuple[str, str]]]:
    """Return the digests (own, resolved) of what profiles themselves state by model."""
    table = schema.profile_entry
    found: dict[int, dict[str, tuple[str, str]]] = {}
    for batch in batches(profile_ids):
        found.update((profile_id, {}) for profile_id in batch)
        rows = connection.execute(
            sa.select(table.c.profile_id, schema.model.c.name, table.c.own_digest, table.c.resolved_digest)
            .join_from(table, schema.model)
            .where(table.c.profile_id.in_(batch))
        )
        for profile_id, name, own, resolved in rows:
            found[profile_id][name] = (own, resolved)
    return found


def lineage(profile_ids: Collection[int]) -> sa.CTE:
    """Return profiles and those that they inherit from: below (whose lineage it is), id, depth (0: itself)."""
    profile = schema.profile
    every = (
        sa.select(profile.c.id.label("below"), profile.c.id, profile.c.extends_id, sa.literal(0).label("depth"))
        .where(profile.c.id.in_(profile_ids))
        .cte("lineage", recursive=True)
    )
    return every.union_all(
        sa.select(every.c.below, profile.c.id, profile.c.extends_id, every.c.depth + 1).where(
            profile.c.id == every.c.extends_id
        )
    )


def resolved_entries(
    connection: sa.Connection, profile_ids: Iterable[int], models: Collection[str] | None = None
) -> dict[int, dict[str, str]]:
    """Return the digests of profiles' resolved values by model, with what they inherit; models: only of these.

    An entry is resolved when it is published and stays so; a model that a profile does not name itself is that of the
    nearest profile above that names it.
    """
    entry = schema.profile_entry
    found: dict[int, dict[str, str]] = {}
    for batch in batches(profile_ids):
        every = lineage(batch)
        above = connection.execute(sa.select(every.c.below, every.c.id).order_by(every.c.depth.desc())).all()
        query = sa.select(entry.c.profile_id, schema.model.c.name, entry.c.resolved_digest).join_from(
            entry, schema.model
        )
        if models is not None:
            query = query.where(schema.model.c.name.in_(models))
        own: dict[int, dict[str, str]] = {}
        for some in batches(each for _, each in above):
            for profile_id, name, digest in connection.execute(query.where(entry.c.profile_id.in_(some))):
                own.setdefault(profile_id, {})[name] = digest
        found.update((each, {}) for each in batch)
        for below, each in above:
            found[below].update(own.get(each, {}))
    return found


def sets_of_model(connection: sa.Connection, name: str) -> Iterator[tuple[str, str, str]]:
    """Iterate over the sets of a model: implementation, version and digest, the newest first."""
    rows = connection.execute(
        sa.select(schema.implementation.c.name, schema.release.c.version, schema.release_model.c.digest)
        .select_from(schema.release_model)
        .join(schema.model, schema.model.c.id == schema.release_model.c.model_id)
        .join(schema.release)
        .join(schema.implementation)
        .where(schema.model.c.name == name)
        .order_by(schema.release.c.id.desc())
    )
    yield from (tuple(row) for row in rows)


def stored_digests(connection: sa.Connection, table: sa.Table, digests: Iterable[str]) -> set[str]:
    """Return those of the digests that the table has."""
    found: set[str] = set()
    for batch in batches(digests):
        found.update(connection.execute(sa.select(table.c.digest).where(table.c.digest.in_(batch))).scalars())
    return found


def versions(connection: sa.Connection, implementation_id: int) -> dict[str, int]:
    """Return the ids of an implementation's releases by version, in the order published."""
    table = schema.release
    query = sa.select(table.c.version, table.c.id).where(table.c.implementation_id == implementation_id)
    query = query.order_by(table.c.id)
    return {row.version: row.id for row in connection.execute(query)}


def release_state(connection: sa.Connection, release_id: int) -> State:
    """Return the state of a release that is published."""
    table = schema.release_state
    query = sa.select(table.c.state).where(table.c.release_id == release_id)
    return State(connection.execute(query).scalar_one_or_none() or State.PUBLISHED)


def profile_state(connection: sa.Connection, profile_id: int) -> State:
    """Return the state of a profile that is published."""
    table = schema.profile_state
    query = sa.select(table.c.state).where(table.c.profile_id == profile_id)
    return State(connection.execute(query).scalar_one_or_none() or State.PUBLISHED)


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile by its id, and its state."""

    id: int
    name: str
    state: State


_PROFILES = sa.select(schema.profile.c.id, schema.profile.c.name, schema.profile_state.c.state).outerjoin_from(
    schema.profile, schema.profile_state
)


def profiles(connection: sa.Connection, names: Iterable[str]) -> list[StoredProfile]:
    """Return the profiles of these names; names that are not there are left out."""
    found: list[StoredProfile] = []
    for batch in batches(names):
        rows = connection.execute(_PROFILES.where(schema.profile.c.name.in_(batch)))
        found += (StoredProfile(row.id, row.name, State(row.state or State.PUBLISHED)) for row in rows)
    return found


def naming(models: Collection[str]) -> sa.CTE:
    """Return the ids of the profiles that say something about one of the models, themselves or by inheritance."""
    entry, below = schema.profile_entry, schema.profile.alias("below")
    own = (
        sa.select(entry.c.profile_id.label("id"))
        .join_from(entry, schema.model)
        .where(schema.model.c.name.in_([each for batch in batches(models) for each in batch]))
    )
    having = own.cte("having_model", recursive=True)
    return having.union(sa.select(below.c.id).where(below.c.extends_id == having.c.id))


def implemented(connection: sa.Connection, implementation: str) -> list[str]:
    """Return the models that releases of an implementation implement, by name."""
    query = (
        sa.select(schema.model.c.name)
        .distinct()
        .join_from(schema.release_model, schema.model)
        .join(schema.release, schema.release.c.id == schema.release_model.c.release_id)
        .join(schema.implementation, schema.implementation.c.id == schema.release.c.implementation_id)
        .where(schema.implementation.c.name == implementation)
        .order_by(schema.model.c.name)
    )
    return list(connection.execute(query).scalars())


def profiles_naming(connection: sa.Connection, models: Collection[str] | None = None) -> list[StoredProfile]:
    """Return the profiles that say something about one of the models, None: all profiles; the newest first."""
    query = _PROFILES.order_by(schema.profile.c.id.desc())
    if models is not None:
        query = query.where(schema.profile.c.id.in_(sa.select(naming(models).c.id)))
    return [StoredProfile(row.id, row.name, State(row.state or State.PUBLISHED)) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release as it is stored: the digests of its own values by profile and model."""

    id: int
    name: ReleaseName
    state: State
    profiles: frozenset[str] | None
    own_values: Mapping[str, Mapping[str, str]]


def releases(connection: sa.Connection, names: Iterable[ReleaseName]) -> Iterator[StoredRelease]:
    """Iterate over the releases of these names; names that are not there are left out."""
    table, product, state = schema.release, schema.implementation, schema.release_state
    query = (
        sa.select(table.c.id, product.c.name, table.c.version, state.c.state, schema.profile_list.c.release_id)
        .join_from(table, product)
        .outerjoin(state)
        .outerjoin(schema.profile_list)
    )
    wanted: dict[str, set[str]] = {}
    for name in names:
        wanted.setdefault(name.implementation, set()).add(name.version)
    for implementation, versions_of_it in wanted.items():
        for batch in batches(versions_of_it):
            of_it = query.where(product.c.name == implementation, table.c.version.in_(batch))
            found = {row.id: row for row in connection.execute(of_it)}
            listed = _listed_by(connection, found)
            own = own_values_of(connection, found)
            for each, (_, name_of_it, version, standing, has_list) in found.items():
                yield StoredRelease(
                    each,
                    ReleaseName(name_of_it, version),
                    State(standing or State.PUBLISHED),
                    None if has_list is None else frozenset(listed.get(each, ())),
                    own.get(each, {}),
                )


def sets_of_releases(
    connection: sa.Connection, release_ids: Collection[int], models: Collection[str] | None = None
) -> dict[int, dict[str, str]]:
    """Return the digests of what releases say of these models, None: of all, by the release's id and by model."""
    found: dict[int, dict[str, str]] = {}
    table = schema.release_model
    query = sa.select(table.c.release_id, schema.model.c.name, table.c.digest).join_from(table, schema.model)
    if models is not None:
        model_ids = list(ids(connection, schema.model, models).values())
        query = query.where(table.c.model_id.in_(model_ids))
    for batch in batches(release_ids):
        for release_id, model, digest in connection.execute(query.where(table.c.release_id.in_(batch))):
            found.setdefault(release_id, {})[model] = digest
    return found


def _listed_by(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    table = schema.release_profile
    query = sa.select(table.c.release_id, schema.profile.c.name).join_from(table, schema.profile)
    for release_id, profile in connection.execute(query.where(table.c.release_id.in_(release_ids))):
        found.setdefault(release_id, []).append(profile)
    return found


def own_values_of(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, dict[str, dict[str, str]]]:
    """Return what releases make of themselves: profile → model → digest of the values, by the release's id."""
    table = schema.release_own_values
    rows = connection.execute(
        sa.select(table.c.release_id, schema.profile.c.name, schema.model.c.name, table.c.digest)
        .select_from(table.join(schema.model).join(schema.profile, schema.profile.c.id == table.c.profile_id))
        .where(table.c.release_id.in_(release_ids))
    )
    found: dict[int, dict[str, dict[str, str]]] = {}
    for release_id, profile, model, digest in rows:
        found.setdefault(release_id, {}).setdefault(profile, {})[model] = digest
    return found


def put(connection: sa.Connection, key: sa.Column[Any], value: int, row: Mapping[str, Any]) -> None:
    """Write a row in the place of the one with this key, or as a new one."""
    table = key.table
    if connection.execute(sa.update(table).where(key == value).values(row)).rowcount == 0:
        connection.execute(sa.insert(table), {**row, key.name: value})


def count_revision(connection: sa.Connection) -> None:
    """Count that something was added or given another state."""
    connection.execute(sa.update(schema.revision).values(number=schema.revision.c.number + 1))
