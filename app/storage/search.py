"""Search: what contains some words, and an overview of the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.values.state import State
from app.storage import schema

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# The number of an implementation's releases.
_RELEASE_COUNT = (
    sa.select(sa.func.count())
    .where(schema.release.c.implementation_id == schema.implementation.c.id)
    .correlate(schema.implementation)
    .scalar_subquery()
    .label("release_count")
)


# More words than these are left out.
_MAX_WORDS = 8
# Hosts beyond these are not counted: there can be very many.
MAX_COUNTED_HOSTS = 1_000
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Matches:
    """The first rows of one kind that a search finds, the exact match first. count: of all that it finds."""

    rows: Sequence[Row]
    count: int

    def __bool__(self) -> bool:
        return bool(self.rows)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    vendors: name, title. models: name. variables: name, model_count, model (the first by name). profiles: name.
    implementations: name, release_count. releases: name; only those whose implementation is not found itself.
    """

    vendors: Matches
    models: Matches
    variables: Matches
    profiles: Matches
    implementations: Matches
    releases: Matches


def words_of(text: str) -> Sequence[str]:
    """Return the words of a search."""
    return tuple(dict.fromkeys(text.split()))[:_MAX_WORDS]


def search(connection: sa.Connection, words: Sequence[str], limits: Mapping[str, int]) -> Found:
    """Find what contains all of some words, in any order and ignoring case; limits: of each kind, by field of Found.

    A name is what is found; titles and descriptions count, and for a variable the name of its model. The exact match
    comes first, then names that begin with the words, then others.
    """
    vendor, model, profile, product = schema.vendor, schema.model, schema.profile, schema.implementation

    def matches(
        kind: str, query: sa.Select[Any], name: sa.ColumnElement[Any], *others: sa.ColumnElement[Any]
    ) -> Matches:
        return _matches(connection, query.where(_have_all(words, name, *others)), name, words, limits[kind])

    release, release_name = schema.release, product.c.name + "@" + schema.release.c.version
    releases = sa.select(release_name.label("name")).join_from(release, product)
    return Found(
        vendors=matches("vendors", sa.select(vendor.c.name, vendor.c.title), vendor.c.name, vendor.c.title),
        models=matches("models", sa.select(model.c.name), model.c.name),
        variables=_variables(connection, words, limits["variables"]),
        profiles=matches("profiles", sa.select(profile.c.name), profile.c.name, profile.c.description),
        implementations=matches("implementations", sa.select(product.c.name, _RELEASE_COUNT), product.c.name),
        releases=matches(
            "releases", releases.where(~_have_all(words, product.c.name)), release_name, release.c.description
        ),
    )


def _have_all(words: Sequence[str], *columns: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that each word is in one of some columns, of which all but the first can be null."""
    texts = [columns[0], *(sa.func.coalesce(column, "") for column in columns[1:])]
    return sa.and_(*(sa.or_(*(text.icontains(word, autoescape=True) for text in texts)) for word in words))


def _rank(name: sa.ColumnElement[Any], words: Sequence[str]) -> sa.ColumnElement[int]:
    text = " ".join(words)
    exact = sa.func.lower(name).in_([text.lower(), *(word.lower() for word in words)])
    begins = name.istartswith(text, autoescape=True)
    return sa.case((exact, 0), (begins, 1), (_have_all(words, name), 2), else_=3)


def _matches(
    connection: sa.Connection, query: sa.Select[Any], name: sa.ColumnElement[Any], words: Sequence[str], limit: int
) -> Matches:
    rows = connection.execute(query.order_by(_rank(name, words), name).limit(limit + 1)).all()
    if len(rows) <= limit:
        return Matches(rows, len(rows))
    count = sa.select(sa.func.count()).select_from(query.subquery())
    return Matches(rows[:limit], connection.execute(count).scalar_one())


def _variables(connection: sa.Connection, words: Sequence[str], limit: int) -> Matches:
    """Find variables; with several words, at least one is in the variable's name, the others there or in a model's."""
    names = _variable_names()
    if len(words) == 1:
        query = sa.select(names.c.name).where(_have_all(words, names.c.name))
        matches = _matches(connection, query, names.c.name, words, limit)
        order = [row.name for row in matches.rows]
        rows = sorted(connection.execute(_with_models(order)).all(), key=lambda row: order.index(row.name))
        return Matches(rows, matches.count)
    some = sa.or_(*(names.c.name.icontains(word, autoescape=True) for word in words))
    variable = schema.statement.c.variable
    query = _with_models(sa.select(names.c.name).where(some)).where(_have_all(words, variable, schema.model.c.name))
    return _matches(connection, query, variable, words, limit)


def hosts(connection: sa.Connection, text: str, limit: int) -> Matches:
    """Find hosts whose names begin with a text; beyond MAX_COUNTED_HOSTS they are not counted.

    An index has the names in order, so that the search does not read all hosts.
    """
    column = schema.host.c.name
    names: set[str] = set()
    for beginning in {text, text.lower(), text.upper()}:
        is_within = (column >= beginning) & (column < beginning + _LAST_CHARACTER)
        query = sa.select(column).where(is_within).order_by(column).limit(MAX_COUNTED_HOSTS + 1)
        names |= set(connection.execute(query).scalars())
    ordered = sorted(names, key=lambda name: (name != text, name))[: MAX_COUNTED_HOSTS + 1]
    query = sa.select(column).where(column.in_(ordered[:limit]))
    rows = sorted(connection.execute(query).all(), key=lambda row: ordered.index(row.name))
    return Matches(rows, len(ordered))


def _variable_names() -> sa.CTE:
    """Return the distinct names of variables; the index gives each one once, however many models have it."""
    variable, other = schema.statement.c.variable, schema.statement.alias("other").c.variable
    names = sa.select(sa.func.min(variable).label("name")).cte("names", recursive=True)
    following = sa.select(sa.func.min(other)).where(other > names.c.name).scalar_subquery()
    return names.union_all(sa.select(following).where(names.c.name.is_not(None)))


def _with_models(variables: Sequence[str] | sa.Select[tuple[Any]]) -> sa.Select[Any]:
    """Return the query of variables: name, model_count, model (the first by name)."""
    statement, model = schema.statement, schema.model
    return (
        sa.select(
            statement.c.variable.label("name"),
            sa.func.count(statement.c.model_id.distinct()).label("model_count"),
            sa.func.min(model.c.name).label("model"),
        )
        .join_from(statement, model)
        .where(statement.c.variable.in_(variables))
        .group_by(statement.c.variable)
    )


def implementations(connection: sa.Connection, vendor: str, limit: int) -> Sequence[Row]:
    """Return up to limit implementations of a vendor ordered by name: name, release_count, newest (its version)."""
    product, release = schema.implementation, schema.release
    versions = sa.select(release.c.version).where(release.c.implementation_id == product.c.id)
    newest = versions.order_by(release.c.seq.desc()).limit(1).scalar_subquery()
    query = (
        sa.select(product.c.name, _RELEASE_COUNT, newest.label("newest"))
        .join(schema.vendor)
        .where(schema.vendor.c.name == vendor)
    )
    return connection.execute(query.order_by(product.c.name).limit(limit)).all()


@dataclass(frozen=True, slots=True)
class ModelRelease:
    """A release that implements a model."""

    name: str
    state: State


def releases_of(connection: sa.Connection, model: str) -> list[ModelRelease]:
    """Return the releases that implement a model, the newest first."""
    entry, release, product = schema.release_model, schema.release, schema.implementation
    release_state = schema.release_state
    query = (
        sa.select(product.c.name, release.c.version, release_state.c.state)
        .select_from(entry.join(schema.model).join(release, release.c.id == entry.c.release_id).join(product))
        .outerjoin(release_state, release_state.c.release_id == release.c.id)
        .where(schema.model.c.name == model)
        .order_by(release.c.seq.desc())
    )
    rows = connection.execute(query)
    return [ModelRelease(f"{name}@{version}", State(state or State.PUBLISHED)) for name, version, state in rows]


def counts(connection: sa.Connection) -> Row:
    """Return the numbers of vendors, models, releases and profiles."""
    tables = {
        "vendors": schema.vendor,
        "models": schema.model,
        "releases": schema.release,
        "profiles": schema.profile,
    }
    columns = [
        sa.select(sa.func.count()).select_from(table).scalar_subquery().label(name) for name, table in tables.items()
    ]
    return connection.execute(sa.select(*columns)).one()
