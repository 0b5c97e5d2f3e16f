"""Search: names that contain a text, and an overview of the registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.values.state import State
from app.storage import schema
from app.storage.change import OF_HOSTS, position

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# The number of an implementation's releases.
_RELEASE_COUNT = (
    sa.select(sa.func.count())
    .where(schema.release.c.implementation_id == schema.implementation.c.id)
    .correlate(schema.implementation)
    .scalar_subquery()
    .label("release_count")
)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search, at most `limit + 1` rows of each kind; the extra row shows that there are more.

    vendors: name, title. models: name. variables: name, model_count, model (the first by name). profiles: name.
    implementations: name, release_count. releases: name; only those whose implementation's name does not match.
    """

    vendors: Sequence[Row]
    models: Sequence[Row]
    variables: Sequence[Row]
    profiles: Sequence[Row]
    implementations: Sequence[Row]
    releases: Sequence[Row]

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was found."""
        return not any((self.vendors, self.models, self.variables, self.profiles, self.implementations, self.releases))


def search(connection: sa.Connection, text: str, limit: int) -> Found:
    """Find names that contain a text, ignoring case; exact matches come first, then names that begin with it."""
    vendor, model, profile, product = schema.vendor, schema.model, schema.profile, schema.implementation

    def matches(query: sa.Select[Any], name: sa.ColumnElement[Any], *others: sa.ColumnElement[Any]) -> Sequence[Row]:
        is_match = sa.or_(*(column.icontains(text, autoescape=True) for column in (name, *others)))
        rank = sa.case((sa.func.lower(name) == text.lower(), 0), (name.istartswith(text, autoescape=True), 1), else_=2)
        return connection.execute(query.where(is_match).order_by(rank, name).limit(limit + 1)).all()

    release_name = product.c.name + "@" + schema.release.c.version
    releases = sa.select(release_name.label("name")).join_from(schema.release, product)
    names = _variable_names()
    variables = [row.name for row in matches(sa.select(names.c.name), names.c.name)]
    return Found(
        vendors=matches(sa.select(vendor.c.name, vendor.c.title), vendor.c.name, vendor.c.title),
        models=matches(sa.select(model.c.name), model.c.name),
        variables=sorted(_with_models(connection, variables), key=lambda row: variables.index(row.name)),
        profiles=matches(sa.select(profile.c.name), profile.c.name),
        implementations=matches(sa.select(product.c.name, _RELEASE_COUNT), product.c.name),
        releases=matches(releases.where(~product.c.name.icontains(text, autoescape=True)), release_name),
    )


def _variable_names() -> sa.CTE:
    """Return the distinct names of variables; the index gives each one once, however many models have it."""
    variable, other = schema.statement.c.variable, schema.statement.alias("other").c.variable
    names = sa.select(sa.func.min(variable).label("name")).cte("names", recursive=True)
    following = sa.select(sa.func.min(other)).where(other > names.c.name).scalar_subquery()
    return names.union_all(sa.select(following).where(names.c.name.is_not(None)))


def _with_models(connection: sa.Connection, variables: Sequence[str]) -> Sequence[Row]:
    """Return variables: name, model_count, model (the first by name)."""
    statement, model = schema.statement, schema.model
    query = (
        sa.select(
            statement.c.variable.label("name"),
            sa.func.count(statement.c.model_id.distinct()).label("model_count"),
            sa.func.min(model.c.name).label("model"),
        )
        .join_from(statement, model)
        .where(statement.c.variable.in_(variables))
        .group_by(statement.c.variable)
    )
    return connection.execute(query).all()


def implementations(connection: sa.Connection, vendor: str, limit: int) -> Sequence[Row]:
    """Return up to limit implementations of a vendor ordered by name: name, release_count, newest (its version)."""
    product, release = schema.implementation, schema.release
    versions = sa.select(release.c.version).where(release.c.implementation_id == product.c.id)
    newest = versions.order_by(release.c.id.desc()).limit(1).scalar_subquery()
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
        .order_by(release.c.id.desc())
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


# Where changes of hosts are left out, the others are looked for in so many.
_MAX_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, described by its first change. more: the number of its other changes."""

    at: str
    by: str
    kind: str
    name: str
    more: int


def latest(connection: sa.Connection, limit: int, *, with_hosts: bool) -> list[Transaction]:
    """Return the latest transactions of the feed, the newest first; with_hosts: also those that begin with a host."""
    table = schema.change
    query = sa.select(table.c.seq, table.c.at, table.c.by, table.c.kind, table.c.name)
    first_changes = connection.execute(
        query.where(table.c.seq == table.c.part_of)
        .order_by(table.c.seq.desc())
        .limit(limit if with_hosts else _MAX_LOOKED_AT)
    ).all()
    # The feed has no gaps, so a transaction ends where the next one begins.
    ends = [position(connection).seq + 1, *(change.seq for change in first_changes)]
    transactions = [
        Transaction(change.at, change.by, change.kind, change.name, end - change.seq - 1)
        for change, end in zip(first_changes, ends, strict=False)
        if with_hosts or change.kind not in OF_HOSTS
    ]
    return transactions[:limit]
