"""Figures of the whole registry, for monitoring."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from app.storage import change, schema, version
from app.storage.fleet import count_stale
from app.storage.host import Staleness

# Each mirror is a time series of its own.
_MAX_MIRRORS = 100


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How far a registry is mirrored into this one. at: when its last change was added."""

    registry: str
    seq: int
    at: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the registry. schema: its revision; seq: its last change. mirrors: those longest without a change."""

    schema: str
    seq: int
    hosts: int
    stale_hosts: int
    mirrors: Sequence[Mirrored]


def read(connection: sa.Connection, staleness: Staleness) -> Figures:
    """Return the figures of the registry."""
    mirror = schema.mirror.c
    mirrors = sa.select(mirror.registry, mirror.seq, mirror.at).order_by(mirror.at, mirror.registry)
    return Figures(
        schema=version.fit(connection).revision or "",
        seq=change.position(connection).seq,
        hosts=connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(schema.host_kind.c.host_count), 0))
        ).scalar_one(),
        stale_hosts=count_stale(connection, staleness)[0],
        mirrors=[Mirrored(*row) for row in connection.execute(mirrors.limit(_MAX_MIRRORS))],
    )
