"""Lookups by name, id or digest, many at a time."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa

from app.domain.things.model import Model, Statement
from app.domain.things.profile import Values
from app.domain.things.variable import StandsFor, Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values import canonical
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.domain.values.value import Type, Value
from app.storage import database, schema
from app.storage.failure import Cause, FailureError

Key = TypeVar("Key", str, int)

# Below the limits of SQLite and PostgreSQL on parameters in one statement.
BATCH = 10_000
_VARIABLES_KEPT = 20_000


def batches(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Iterate over distinct keys in lists short enough for one statement."""
    # No stored name contains NUL, and PostgreSQL rejects NUL in parameters.
    ordered = [key for key in dict.fromkeys(keys) if not isinstance(key, str) or "\0" not in key]
    for start in range(0, len(ordered), BATCH):
        yield ordered[start : start + BATCH]


def among(
    column: sa.ColumnElement[Any], keys: Sequence[str] | Sequence[int], connection: sa.Connection
) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of many keys, which are sent as one parameter."""
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(keys), sa.ARRAY(column.type)))
    values = sa.func.json_each(json.dumps(list(keys))).table_valued("value")
    return column.in_(sa.select(values.c.value))


def ids(connection: sa.Connection, table: sa.Table, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of the rows with these names; unknown names are left out."""
    ids_by_name: dict[str, int] = {}
    for batch in batches(names):
        query = sa.select(table.c.name, table.c.id).where(among(table.c.name, batch, connection))
        ids_by_name.update(map(tuple, connection.execute(query)))
    return ids_by_name


def _models() -> sa.Select[*tuple[Any, ...]]:
    statement, off_value, model, vendor = schema.statement, schema.off_value, schema.model, schema.vendor
    stand_in = schema.stand_in
    return sa.select(
        model.c.name,
        vendor.c.name.label("vendor"),
        statement.c.variable,
        statement.c.type,
        off_value.c.value,
        stand_in.c.stands_for,
        stand_in.c.inverted,
    ).select_from(
        model.outerjoin(statement)
        .outerjoin(vendor, vendor.c.id == statement.c.vendor_id)
        .outerjoin(off_value, _same_statement(off_value))
        .outerjoin(stand_in, _same_statement(stand_in))
    )


def _same_statement(table: sa.Table) -> sa.ColumnElement[bool]:
    columns = ("model_id", "vendor_id", "variable")
    return sa.and_(*(table.c[column] == schema.statement.c[column] for column in columns))


_MODELS = _models()


def models(connection: sa.Connection, names: Iterable[str]) -> dict[str, Model]:
    """Return the device models with these names; unknown names are left out."""
    statements: dict[str, dict[str, dict[str, Statement]]] = {}
    for batch in batches(names):
        rows = connection.execute(_MODELS.where(schema.model.c.name.in_(batch)))
        for name, vendor_name, variable, type_name, off_json, other, inverted in rows:
            by_vendor = statements.setdefault(name, {})
            if variable is None:
                continue
            off: Value | None = None if off_json is None else json.loads(off_json)
            stands_for = None if other is None else StandsFor(other, inverted)
            by_vendor.setdefault(vendor_name, {})[variable] = Statement(Type(type_name), off, stands_for)
    return {name: Model(name, by_vendor) for name, by_vendor in statements.items()}


def stored_set(document: str) -> VariableSet:
    """Parse the stored document of a variable set."""
    fields = json.loads(document)
    name = fields.pop("model")
    at = Place()
    variable_set = VariableSet.read(name, fields, at, lambda variable, _: _stored_variable(orjson.dumps(variable)))
    at.raise_faults()
    return variable_set


@lru_cache(maxsize=_VARIABLES_KEPT)
def _stored_variable(document: bytes) -> Variable | None:
    """Parse the stored document of a variable; sets of many models, and of many releases, have equal ones."""
    at = Place()
    variable = Variable.read(json.loads(document), at)
    at.raise_faults()
    return variable


def variable_sets(connection: sa.Connection, digests: Iterable[str]) -> dict[str, VariableSet]:
    """Return the variable sets with these digests."""
    return {digest: stored_set(document) for digest, document in documents(connection, schema.variable_set, digests)}


def profile_values(connection: sa.Connection, digests: Iterable[str]) -> dict[str, Values]:
    """Return the profile values with these digests."""
    return {digest: json.loads(document) for digest, document in documents(connection, schema.profile_values, digests)}


def documents(connection: sa.Connection, table: sa.Table, digests: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Iterate over those of the digests that are in a table, each with its canonical JSON.

    Raises FailureError for a document that is not what its digest says: a page of the database was altered.
    """
    for batch in batches(digests):
        rows = connection.execute(sa.select(table.c.digest, table.c.document).where(table.c.digest.in_(batch)))
        for row in rows:
            if canonical.digest(row.document) != row.digest:
                error = FailureError(Cause.CORRUPT, report=f"the content of {row.digest} in {table.name} is altered")
                database.condition(connection.engine).note(error)
                raise error
            yield row.digest, row.document


def is_unaltered(connection: sa.Connection) -> bool:
    """Return whether all content is what its digest says; reads all of it."""
    return all(
        canonical.digest(row.document) == row.digest
        for table in (schema.variable_set, schema.profile_values)
        for row in connection.execute(sa.select(table.c.digest, table.c.document))
    )


@dataclass(slots=True)
class Parts:
    """The parts of a published release.

    sets: digests by model. listed: None if it has no list of profiles. own_values: digests by profile and model.
    """

    sets: dict[str, str] = field(default_factory=dict)
    listed: set[str] | None = None
    own_values: dict[str, dict[str, str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


def _parts() -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Return the query of the parts of releases: release_id, kind, and up to three texts."""
    model, profile, listed, own = schema.model, schema.profile, schema.release_profile, schema.release_own_values
    in_release, alias, list_ = schema.release_model, schema.release_alias, schema.profile_list
    given, none = sa.bindparam("releases", expanding=True, type_=sa.Integer()), sa.cast(sa.null(), sa.Text)

    def part(kind: str, table: sa.Table, of: sa.FromClause, *texts: sa.ColumnElement[Any]) -> sa.Select[Any]:
        columns = [table.c.release_id, sa.literal_column(f"'{kind}'", sa.Text).label("kind"), *texts]
        columns += [none.label(f"none_{number}") for number in range(3 - len(texts))]
        return sa.select(*columns).select_from(of).where(table.c.release_id.in_(given))

    return sa.union_all(
        part("set", in_release, in_release.join(model), model.c.name, in_release.c.digest),
        part("list", list_, list_),
        part("listed", listed, listed.join(profile), profile.c.name),
        part(
            "own",
            own,
            own.join(model).join(profile, profile.c.id == own.c.profile_id),
            profile.c.name.label("profile"),
            model.c.name,
            own.c.digest,
        ),
        part("alias", alias, alias, alias.c.alias, alias.c.target),
    )


_PARTS = _parts()


def parts(connection: sa.Connection, release_ids: Iterable[int]) -> dict[int, Parts]:
    """Return the parts of releases by release id."""
    by_id: dict[int, Parts] = {}
    for batch in batches(release_ids):
        by_id.update((release_id, Parts()) for release_id in batch)
        for release_id, kind, first, second, third in connection.execute(_PARTS, {"releases": batch}):
            of_release = by_id[release_id]
            match kind:
                case "set":
                    of_release.sets[first] = second
                case "list":
                    of_release.listed = of_release.listed or set()
                case "listed":
                    of_release.listed = of_release.listed or set()
                    of_release.listed.add(first)
                case "own":
                    of_release.own_values.setdefault(first, {})[second] = third
                case _:
                    of_release.aliases[first] = second
    return by_id


def release_models(connection: sa.Connection, release_id: int) -> dict[str, str]:
    """Return the digests of a release's variable sets by model."""
    return sets_of_releases(connection, [release_id]).get(release_id, {})


def release_id(connection: sa.Connection, implementation: str, version: str) -> int | None:
    """Return the id of a release, None if it is not published."""
    query = (
        sa.select(schema.release.c.id)
        .join_from(schema.release, schema.implementation)
        .where(schema.implementation.c.name == implementation, schema.release.c.version == version)
    )
    return connection.execute(query).scalar_one_or_none()


def published(connection: sa.Connection, releases: Iterable[str]) -> frozenset[str]:
    """Return those of these releases that are published; raises InvalidNameError."""
    release, implementation = schema.release.c, schema.implementation.c
    query = sa.select(implementation.name, release.version).join_from(schema.release, schema.implementation)
    found: set[str] = set()
    for batch in batches(releases):
        names = [ReleaseName.parse(text) for text in batch]
        # By each part, for which there are indexes: SQLite has none for pairs.
        products = implementation.name.in_({name.implementation for name in names})
        versions = release.version.in_({name.version for name in names})
        rows = connection.execute(query.where(products, versions))
        found.update({str(ReleaseName(row.name, row.version)) for row in rows} & set(batch))
    return frozenset(found)


def implementing(
    connection: sa.Connection, models: Collection[str] | None, implementations: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """Return the releases (implementation, version) that implement one of the models, in the order published.

    models: None: any model. implementations: only releases of these, None: of any.
    """
    query = sa.select(schema.implementation.c.name, schema.release.c.version).join_from(
        schema.release, schema.implementation
    )
    if models is not None:
        release_ids = (
            sa.select(schema.release_model.c.release_id)
            .join(schema.model, schema.model.c.id == schema.release_model.c.model_id)
            .where(schema.model.c.name.in_([name for batch in batches(models) for name in batch]))
        )
        query = query.where(schema.release.c.id.in_(release_ids))
    if implementations is not None:
        query = query.where(
            schema.implementation.c.name.in_([name for batch in batches(implementations) for name in batch])
        )
    return [(row.name, row.version) for row in connection.execute(query.order_by(schema.release.c.seq))]


def newest_with_profile(connection: sa.Connection, models: Collection[str] | None = None) -> str | None:
    """Return the implementation of the newest release that has a model which a profile names; models: one of these."""
    release, in_release, entry = schema.release, schema.release_model, schema.profile_entry
    named = (
        sa.select(in_release.c.release_id)
        .join(entry, entry.c.model_id == in_release.c.model_id)
        .where(in_release.c.release_id == release.c.id)
    )
    if models is not None:
        named = named.join(schema.model, schema.model.c.id == in_release.c.model_id).where(
            schema.model.c.name.in_([name for batch in batches(models) for name in batch])
        )
    query = sa.select(schema.implementation.c.name).join_from(release, schema.implementation)
    return connection.execute(
        query.where(sa.exists(named)).order_by(release.c.seq.desc()).limit(1)
    ).scalar_one_or_none()


def profile_entries(connection: sa.Connection, profile_ids: Iterable[int]) -> dict[int, dict[str, tuple[str, str]]]:
    """Return the digests (own, resolved) of the entries that profiles have themselves, by profile and model."""
    table = schema.profile_entry
    entries: dict[int, dict[str, tuple[str, str]]] = {}
    for batch in batches(profile_ids):
        entries.update((profile_id, {}) for profile_id in batch)
        rows = connection.execute(
            sa.select(table.c.profile_id, schema.model.c.name, table.c.own_digest, table.c.resolved_digest)
            .join_from(table, schema.model)
            .where(table.c.profile_id.in_(batch))
        )
        for profile_id, name, own, resolved in rows:
            entries[profile_id][name] = (own, resolved)
    return entries


def lineage(chosen: sa.ColumnElement[bool], key: sa.Column[Any] = schema.profile.c.id) -> sa.CTE:
    """Return profiles with their ancestors: below (the profile), id (itself or an ancestor), depth (0: itself).

    chosen: the condition on the profiles. key: the column that names the profile.
    """
    profile = schema.profile
    ancestors = (
        sa.select(key.label("below"), profile.c.id, profile.c.extends_id, sa.literal(0).label("depth"))
        .where(chosen)
        .cte("lineage", recursive=True)
    )
    return ancestors.union_all(
        sa.select(ancestors.c.below, profile.c.id, profile.c.extends_id, ancestors.c.depth + 1).where(
            profile.c.id == ancestors.c.extends_id
        )
    )


def descendants(connection: sa.Connection, names: Collection[str]) -> dict[str, list[str]]:
    """Return the profiles that extend these profiles, directly or not, by name; profiles without any are left out."""
    profile, child = schema.profile, schema.profile.alias("child")
    heirs: dict[str, list[str]] = {}
    for batch in batches(names):
        below = (
            sa.select(profile.c.name.label("above"), child.c.id, child.c.name)
            .join_from(profile, child, child.c.extends_id == profile.c.id)
            .where(profile.c.name.in_(batch))
            .cte("below", recursive=True)
        )
        following = sa.select(below.c.above, child.c.id, child.c.name).join_from(
            below, child, child.c.extends_id == below.c.id
        )
        for above, _, name in connection.execute(sa.select(below.union_all(following))):
            heirs.setdefault(above, []).append(name)
    return heirs


def resolved_entries(
    connection: sa.Connection, profile_ids: Iterable[int], models: Collection[str] | None = None
) -> dict[int, dict[str, str]]:
    """Return the digests of profiles' resolved values by profile and model, inherited ones included.

    models: only these, None: all. An entry is resolved once, when it is published. A profile inherits each model that
    it does not name from the nearest ancestor that names it (DESIGN 4).
    """
    resolved: dict[int, dict[str, str]] = {}
    for batch in batches(profile_ids):
        ancestors = lineage(schema.profile.c.id.in_(batch))
        # One statement for both would make PostgreSQL read all entries: it cannot guess how many ancestors there are.
        pairs = connection.execute(sa.select(ancestors.c.below, ancestors.c.id).order_by(ancestors.c.depth.desc()))
        resolved.update((profile_id, {}) for profile_id in batch)
        resolved |= entries_of_lineages(connection, [tuple(pair) for pair in pairs], models)
    return resolved


def entries_of_lineages(
    connection: sa.Connection, pairs: Sequence[tuple[Key, int]], models: Collection[str] | None = None
) -> dict[Key, dict[str, str]]:
    """Return what profiles inherit or state themselves, as `resolved_entries` does.

    pairs: each profile with the ids of its ancestors and itself, the farthest first, so that nearer ones overwrite its
    entries.
    """
    entry = schema.profile_entry
    query = sa.select(entry.c.profile_id, schema.model.c.name, entry.c.resolved_digest).join_from(entry, schema.model)
    if models is not None:
        query = query.where(schema.model.c.name.in_(models))
    own: dict[int, dict[str, str]] = {}
    for ancestor_ids in batches(ancestor_id for _, ancestor_id in pairs):
        for profile_id, name, digest in connection.execute(query.where(entry.c.profile_id.in_(ancestor_ids))):
            own.setdefault(profile_id, {})[name] = digest
    resolved: dict[Key, dict[str, str]] = {}
    for profile, ancestor_id in pairs:
        resolved.setdefault(profile, {}).update(own.get(ancestor_id, {}))
    return resolved


def _entries() -> sa.Select[*tuple[Any, ...]]:
    entry, child, own = schema.profile_entry, schema.profile.alias("child"), schema.profile_entry.alias("own")
    profile, state, model = schema.profile, schema.profile_state, schema.model
    given = sa.bindparam("models", expanding=True, type_=sa.Text())
    held = (
        sa.select(entry.c.profile_id, entry.c.model_id, entry.c.resolved_digest)
        .join_from(entry, model)
        .where(model.c.name.in_(given))
        .cte("held", recursive=True)
    )
    names_it_itself = sa.exists().where(own.c.profile_id == child.c.id, own.c.model_id == held.c.model_id)
    held = held.union_all(
        sa.select(child.c.id, held.c.model_id, held.c.resolved_digest)
        .join_from(held, child, child.c.extends_id == held.c.profile_id)
        .where(~names_it_itself)
    )
    return (
        sa.select(profile.c.name, state.c.state, model.c.name.label("model"), held.c.resolved_digest)
        .select_from(
            held.join(profile, profile.c.id == held.c.profile_id)
            .join(model, model.c.id == held.c.model_id)
            .outerjoin(state, state.c.profile_id == profile.c.id)
        )
        .order_by(profile.c.seq.desc(), profile.c.id.desc())
    )


_ENTRIES = _entries()


def entries_of_models(
    connection: sa.Connection, models: Collection[str]
) -> tuple[dict[str, dict[str, str]], dict[str, State]]:
    """Return the profiles that name one of the models, themselves or by inheritance, the newest first.

    The first: the digests of their resolved values for these models. The second: their states.
    """
    entries: dict[str, dict[str, str]] = {}
    states: dict[str, State] = {}
    for batch in batches(models):
        for name, state, model, digest in connection.execute(_ENTRIES, {"models": batch}):
            entries.setdefault(name, {})[model] = digest
            states[name] = State(state or State.PUBLISHED)
    return entries, states


def sets_of_model(connection: sa.Connection, name: str) -> Iterator[tuple[str, str, str]]:
    """Iterate over the sets of a model, the newest first: implementation, version, digest."""
    rows = connection.execute(
        sa.select(schema.implementation.c.name, schema.release.c.version, schema.release_model.c.digest)
        .select_from(schema.release_model)
        .join(schema.model, schema.model.c.id == schema.release_model.c.model_id)
        .join(schema.release)
        .join(schema.implementation)
        .where(schema.model.c.name == name)
        .order_by(schema.release.c.seq.desc())
    )
    yield from (tuple(row) for row in rows)


def versions(connection: sa.Connection, implementation_id: int) -> dict[str, int]:
    """Return the ids of an implementation's releases by version, in the order published."""
    table = schema.release
    query = sa.select(table.c.version, table.c.id).where(table.c.implementation_id == implementation_id)
    query = query.order_by(table.c.seq)
    return {row.version: row.id for row in connection.execute(query)}


def release_state(connection: sa.Connection, release_id: int) -> State:
    """Return the state of a published release."""
    table = schema.release_state
    query = sa.select(table.c.state).where(table.c.release_id == release_id)
    return State(connection.execute(query).scalar_one_or_none() or State.PUBLISHED)


def profile_state(connection: sa.Connection, profile_id: int) -> State:
    """Return the state of a published profile."""
    table = schema.profile_state
    query = sa.select(table.c.state).where(table.c.profile_id == profile_id)
    return State(connection.execute(query).scalar_one_or_none() or State.PUBLISHED)


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile as it is stored."""

    id: int
    name: str
    state: State


_PROFILES = sa.select(schema.profile.c.id, schema.profile.c.name, schema.profile_state.c.state).outerjoin_from(
    schema.profile, schema.profile_state
)


def profiles(connection: sa.Connection, names: Iterable[str]) -> list[StoredProfile]:
    """Return the profiles with these names; unknown names are left out."""
    stored: list[StoredProfile] = []
    for batch in batches(names):
        rows = connection.execute(_PROFILES.where(schema.profile.c.name.in_(batch)))
        stored += (StoredProfile(row.id, row.name, State(row.state or State.PUBLISHED)) for row in rows)
    return stored


def naming(models: Collection[str]) -> sa.CTE:
    """Return the ids of the profiles that name one of the models, themselves or by inheritance."""
    entry, child = schema.profile_entry, schema.profile.alias("below")
    own = (
        sa.select(entry.c.profile_id.label("id"))
        .join_from(entry, schema.model)
        .where(schema.model.c.name.in_([name for batch in batches(models) for name in batch]))
    )
    profile_ids = own.cte("having_model", recursive=True)
    return profile_ids.union(sa.select(child.c.id).where(child.c.extends_id == profile_ids.c.id))


def implemented(connection: sa.Connection, implementation: str) -> list[str]:
    """Return the models that releases of an implementation implement, ordered by name."""
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
    """Return the profiles that name one of the models, None: all profiles; the newest first."""
    query = _PROFILES.order_by(schema.profile.c.seq.desc(), schema.profile.c.id.desc())
    if models is not None:
        query = query.where(schema.profile.c.id.in_(sa.select(naming(models).c.id)))
    return [StoredProfile(row.id, row.name, State(row.state or State.PUBLISHED)) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release as it is stored.

    profiles: its list, None if it has none. own_values: digests by profile and model. errata: documents by model, of
    those that are not withdrawn.
    """

    id: int
    name: ReleaseName
    state: State
    profiles: frozenset[str] | None
    own_values: Mapping[str, Mapping[str, str]]
    aliases: Mapping[str, str]
    errata: Mapping[str, Sequence[Mapping[str, Any]]]


def releases(connection: sa.Connection, names: Iterable[ReleaseName]) -> Iterator[StoredRelease]:
    """Iterate over the releases with these names; unknown names are left out."""
    table, implementation, state = schema.release, schema.implementation, schema.release_state
    query = (
        sa.select(table.c.id, implementation.c.name, table.c.version, state.c.state, schema.profile_list.c.release_id)
        .join_from(table, implementation)
        .outerjoin(state)
        .outerjoin(schema.profile_list)
    )
    by_text = {str(name): name for name in names}
    for batch in batches(by_text):
        wanted = {by_text[text] for text in batch}
        # One statement for all implementations: it can find more than these pairs, which are then sorted out.
        rows = connection.execute(
            query.where(
                implementation.c.name.in_({name.implementation for name in wanted}),
                table.c.version.in_({name.version for name in wanted}),
            )
        )
        stored = {row.id: row for row in rows if ReleaseName(row.name, row.version) in wanted}
        listed = _listed_by(connection, stored)
        own = own_values_of(connection, stored)
        aliases = aliases_of(connection, stored)
        errata = errata_of(connection, stored)
        for release_id, (_, product, version, state_name, list_id) in stored.items():
            yield StoredRelease(
                release_id,
                ReleaseName(product, version),
                State(state_name or State.PUBLISHED),
                None if list_id is None else frozenset(listed.get(release_id, ())),
                own.get(release_id, {}),
                aliases.get(release_id, {}),
                errata.get(release_id, {}),
            )


def sets_of_releases(
    connection: sa.Connection, release_ids: Collection[int], models: Collection[str] | None = None
) -> dict[int, dict[str, str]]:
    """Return the digests of releases' variable sets by release id and model; models: only these, None: all."""
    sets: dict[int, dict[str, str]] = {}
    table = schema.release_model
    query = sa.select(table.c.release_id, schema.model.c.name, table.c.digest).join_from(table, schema.model)
    if models is not None:
        model_ids = list(ids(connection, schema.model, models).values())
        query = query.where(table.c.model_id.in_(model_ids))
    for batch in batches(release_ids):
        for release_id, model, digest in connection.execute(query.where(table.c.release_id.in_(batch))):
            sets.setdefault(release_id, {})[model] = digest
    return sets


def _listed_by(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the names of the profiles on releases' lists by release id."""
    listed: dict[int, list[str]] = {}
    table = schema.release_profile
    query = sa.select(table.c.release_id, schema.profile.c.name).join_from(table, schema.profile)
    for release_id, profile in connection.execute(query.where(table.c.release_id.in_(release_ids))):
        listed.setdefault(release_id, []).append(profile)
    return listed


def own_values_of(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, dict[str, dict[str, str]]]:
    """Return the digests of releases' own values by release id, profile and model."""
    table = schema.release_own_values
    rows = connection.execute(
        sa.select(table.c.release_id, schema.profile.c.name, schema.model.c.name, table.c.digest)
        .select_from(table.join(schema.model).join(schema.profile, schema.profile.c.id == table.c.profile_id))
        .where(table.c.release_id.in_(release_ids))
    )
    own: dict[int, dict[str, dict[str, str]]] = {}
    for release_id, profile, model, digest in rows:
        own.setdefault(release_id, {}).setdefault(profile, {})[model] = digest
    return own


def aliases_of(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, dict[str, str]]:
    """Return the aliases of releases by release id."""
    table = schema.release_alias
    aliases: dict[int, dict[str, str]] = {}
    query = sa.select(table.c.release_id, table.c.alias, table.c.target).where(table.c.release_id.in_(release_ids))
    for release_id, alias, target in connection.execute(query):
        aliases.setdefault(release_id, {})[alias] = target
    return aliases


def errata_of(connection: sa.Connection, release_ids: Collection[int]) -> dict[int, dict[str, list[Mapping[str, Any]]]]:
    """Return the documents of releases' errata that are not withdrawn, by release id and model, the oldest first."""
    table, withdrawal = schema.erratum, schema.erratum_withdrawal
    query = (
        sa.select(table.c.release_id, schema.model.c.name, table.c.document)
        .select_from(table.join(schema.model).outerjoin(withdrawal))
        .where(table.c.release_id.in_(release_ids), withdrawal.c.at.is_(None))
        .order_by(table.c.at, table.c.id)
    )
    errata: dict[int, dict[str, list[Mapping[str, Any]]]] = {}
    for release_id, model, document in connection.execute(query):
        errata.setdefault(release_id, {}).setdefault(model, []).append(json.loads(document))
    return errata


def put(connection: sa.Connection, key: sa.Column[Any], value: int, row: Mapping[str, Any]) -> None:
    """Update the row with this key, or insert it."""
    table = key.table
    if connection.execute(sa.update(table).where(key == value).values(row)).rowcount == 0:
        connection.execute(sa.insert(table), {**row, key.name: value})
