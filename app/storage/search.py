"""Search: what has a name that contains a text, and what there is at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.state import State
from app.storage import schema
from app.storage.change import head

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# How many releases an implementation has.
_RELEASE_COUNT = (
    sa.select(sa.func.count())
    .where(schema.release.c.implementation_id == schema.implementation.c.id)
    .correlate(schema.implementation)
    .scalar_subquery()
    .label("release_count")
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, at most `limit + 1` of each: one more says that there are more.

    vendors: name, title. models: name. variables: name, model_count, model (the first by name). profiles: name.
    implementations: name, release_count. releases: name, those found by more than their implementation's name.
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
    """Return what contains a text in its name, in any case: what is called so first, then what begins so."""
    vendor, model, profile, product = schema.vendor, schema.model, schema.profile, schema.implementation

    def found(query: sa.Select[Any], name: sa.ColumnElement[Any], *also: sa.ColumnElement[Any]) -> Sequence[Row]:
        matching = sa.or_(*(each.icontains(text, autoescape=True) for each in (name, *also)))
        rank = sa.case((sa.func.lower(name) == text.lower(), 0), (name.istartswith(text, autoescape=True), 1), else_=2)
        return connection.execute(query.where(matching).order_by(rank, name).limit(limit + 1)).all()

    release_name = product.c.name + "@" + schema.release.c.version
    releases = sa.select(release_name.label("name")).join_from(schema.release, product)
    names = _variable_names()
    variables = [each.name for each in found(sa.select(names.c.name), names.c.name)]
    return Found(
        vendors=found(sa.select(vendor.c.name, vendor.c.title), vendor.c.name, vendor.c.title),
        models=found(sa.select(model.c.name), model.c.name),
        variables=sorted(_with_models(connection, variables), key=lambda each: variables.index(each.name)),
        profiles=found(sa.select(profile.c.name), profile.c.name),
        implementations=found(sa.select(product.c.name, _RELEASE_COUNT), product.c.name),
        releases=found(releases.where(~product.c.name.icontains(text, autoescape=True)), release_name),
    )


def _variable_names() -> sa.CTE:
    """Return the names of all variables, each read once: many models have the same."""
    variable, other = schema.statement.c.variable, schema.statement.alias("other").c.variable
    names = sa.select(sa.func.min(variable).label("name")).cte("names", recursive=True)
    following = sa.select(sa.func.min(other)).where(other > names.c.name).scalar_subquery()
    return names.union_all(sa.select(following).where(names.c.name.is_not(None)))


def _with_models(connection: sa.Connection, variables: Sequence[str]) -> Sequence[Row]:
    """Return variables with how many models have them, and the first of those."""
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
    """Return up to `limit` implementations of a vendor by name: name, release_count, newest (its version)."""
    product, release = schema.implementation, schema.release
    of_it = sa.select(release.c.version).where(release.c.implementation_id == product.c.id)
    newest = of_it.order_by(release.c.id.desc()).limit(1).scalar_subquery()
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
    held, release, product, state = schema.release_model, schema.release, schema.implementation, schema.release_state
    query = (
        sa.select(product.c.name, release.c.version, state.c.state)
        .select_from(held.join(schema.model).join(release, release.c.id == held.c.release_id).join(product))
        .outerjoin(state, state.c.release_id == release.c.id)
        .where(schema.model.c.name == model)
        .order_by(release.c.id.desc())
    )
    rows = connection.execute(query)
    return [ModelRelease(f"{name}@{version}", State(now or State.PUBLISHED)) for name, version, now in rows]


def counts(connection: sa.Connection) -> Row:
    """Return how much there is: vendors, models, releases, profiles."""
    tables = {
        "vendors": schema.vendor,
        "models": schema.model,
        "releases": schema.release,
        "profiles": schema.profile,
    }
    columns = [sa.select(sa.func.count()).select_from(each).scalar_subquery().label(n) for n, each in tables.items()]
    return connection.execute(sa.select(*columns)).one()


@dataclass(frozen=True, slots=True)
class Transaction:
    """What happened in one transaction, by its first change; more: how many changes came with it."""

    at: str
    by: str
    kind: str
    name: str
    more: int


def latest(connection: sa.Connection, limit: int) -> list[Transaction]:
    """Return the latest transactions of the feed, the last one first."""
    table = schema.change
    query = sa.select(table.c.seq, table.c.at, table.c.by, table.c.kind, table.c.name)
    firsts = connection.execute(
        query.where(table.c.seq == table.c.part_of).order_by(table.c.seq.desc()).limit(limit)
    ).all()
    # The feed has no gaps: a transaction ends where the next one begins.
    ends = [head(connection) + 1, *(each.seq for each in firsts)]
    return [
        Transaction(each.at, each.by, each.kind, each.name, end - each.seq - 1)
        for each, end in zip(firsts, ends, strict=False)
    ]
