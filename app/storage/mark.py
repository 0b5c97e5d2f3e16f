"""The marks of what is published: the states of releases and profiles, and how many errata count."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.storage import lookup, schema


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of a release, and how many of its errata are not withdrawn."""

    state: State = State.PUBLISHED
    errata: int = 0


def release_marks(connection: sa.Connection, names: Iterable[ReleaseName], model: str | None = None) -> dict[str, Mark]:
    """Return the marks of releases by name; unknown names are left out. model: only errata about it count."""
    release, implementation, state = schema.release, schema.implementation, schema.release_state
    query = (
        sa.select(release.c.id, implementation.c.name, release.c.version, state.c.state)
        .join_from(release, implementation)
        .outerjoin(state)
    )
    wanted = {str(name): name for name in names}
    rows = [
        row
        for batch in lookup.batches(wanted)
        for row in connection.execute(
            query.where(
                implementation.c.name.in_({wanted[text].implementation for text in batch}),
                release.c.version.in_({wanted[text].version for text in batch}),
            )
        )
    ]
    counts = errata_of_releases(connection, [row.id for row in rows], model)
    marks = {
        str(ReleaseName(row.name, row.version)): Mark(State(row.state or State.PUBLISHED), counts.get(row.id, 0))
        for row in rows
    }
    return {name: marks[name] for name in wanted if name in marks}


def errata_of_releases(
    connection: sa.Connection, release_ids: Iterable[int], model: str | None = None
) -> dict[int, int]:
    """Return how many errata of releases count, by the id of the release; model: only those about it."""
    table, withdrawal = schema.erratum, schema.erratum_withdrawal
    query = sa.select(table.c.release_id, sa.func.count()).select_from(table.outerjoin(withdrawal))
    query = query.where(withdrawal.c.at.is_(None)).group_by(table.c.release_id)
    if model is not None:
        query = query.join(schema.model, schema.model.c.id == table.c.model_id).where(schema.model.c.name == model)
    counts: dict[int, int] = {}
    for batch in lookup.batches(release_ids):
        counts.update(tuple(row) for row in connection.execute(query.where(table.c.release_id.in_(batch))))
    return counts


def errata_of_models(connection: sa.Connection, names: Iterable[str]) -> dict[str, int]:
    """Return how many errata about models count, by the name of the model; models without any are left out."""
    table, withdrawal, model = schema.erratum, schema.erratum_withdrawal, schema.model
    query = sa.select(model.c.name, sa.func.count()).select_from(table.join(model).outerjoin(withdrawal))
    query = query.where(withdrawal.c.at.is_(None)).group_by(model.c.name)
    counts: dict[str, int] = {}
    for batch in lookup.batches(names):
        counts.update(tuple(row) for row in connection.execute(query.where(model.c.name.in_(batch))))
    return counts
