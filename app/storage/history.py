"""The feed and the audit as people read them: the newest changes first, narrowed by what they are about."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.storage import schema
from app.storage.change import OF_HOSTS, position

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# Conditions that no index serves are looked for in so many changes at a time.
_MAX_LOOKED_AT = 20_000
# SQLite unites at most 500 queries.
_MAX_UNITED = 100
_TABLE = schema.change


@dataclass(frozen=True, slots=True)
class Filters:
    """What changes are about. name: a part of the name, ignoring case. since: a date, `2026-01-31`."""

    vendor: str | None = None
    kinds: Collection[ChangeKind] = ()
    name: str | None = None
    by: str | None = None
    since: str | None = None

    @property
    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The conditions of a query, without the vendor."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.kinds:
            conditions.append(_TABLE.c.kind.in_([kind.value for kind in self.kinds]))
        if self.name is not None:
            conditions.append(_TABLE.c.name.icontains(self.name, autoescape=True))
        if self.by is not None:
            conditions.append(_TABLE.c.by.icontains(self.by, autoescape=True))
        if self.since is not None:
            conditions.append(_TABLE.c.at >= self.since)
        return conditions


@dataclass(frozen=True, slots=True)
class Page:
    """Changes, the newest first. before: where the next page begins, None on the last one.

    looked_at: the number of changes that were searched, if the page ends there and not because it is full.
    """

    rows: Sequence[Row]
    before: int | None
    looked_at: int | None = None


def newest(connection: sa.Connection, filters: Filters, before: int | None, limit: int, *, with_hosts: bool) -> Page:
    """Return changes of the feed before a seq; with_hosts: also those of hosts.

    Changes of hosts, which can be very many, cost nothing where they are left out.
    """
    if with_hosts and filters.vendor is None:
        return _page_of_all(connection, _TABLE.c.seq, filters, before, limit)
    vendors = [filters.vendor] if filters.vendor is not None else _vendors(connection)
    rows = _of_vendors(connection, vendors, filters.conditions, before, limit)
    return Page(rows[:limit], rows[limit - 1].seq if len(rows) > limit else None)


def _of_vendors(
    connection: sa.Connection,
    vendors: Sequence[str],
    conditions: Sequence[sa.ColumnElement[bool]],
    before: int | None,
    limit: int,
) -> Sequence[Row]:
    """Return up to limit + 1 changes of vendors before a seq, the newest first."""
    seqs: list[int] = []
    for start in range(0, len(vendors), _MAX_UNITED):
        # The index has the changes of each vendor in order, and those of hosts have no vendor.
        newest = [_newest_of(vendor, conditions, before, limit + 1) for vendor in vendors[start : start + _MAX_UNITED]]
        union = sa.union_all(*(sa.select(query.subquery().c.seq) for query in newest)).subquery()
        latest = sa.select(union.c.seq).order_by(union.c.seq.desc()).limit(limit + 1)
        seqs += connection.execute(latest).scalars()
    chosen = sorted(seqs, reverse=True)[: limit + 1]
    return connection.execute(sa.select(_TABLE).where(_TABLE.c.seq.in_(chosen)).order_by(_TABLE.c.seq.desc())).all()


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, described by its first change. more: the number of its other changes."""

    at: str
    by: str
    kind: str
    name: str
    more: int


def published_last(connection: sa.Connection, limit: int) -> Sequence[Transaction]:
    """Return the latest transactions that begin with a change of a vendor, the newest first: none of hosts."""
    is_first = _TABLE.c.seq == _TABLE.c.part_of
    rows = _of_vendors(connection, _vendors(connection), [is_first], None, limit)
    transactions = []
    for row in rows[:limit]:
        # The feed has no gaps, so a transaction ends where the next one begins.
        following = sa.select(sa.func.min(_TABLE.c.seq)).where(_TABLE.c.seq > row.seq, is_first)
        end = connection.execute(following).scalar_one() or position(connection).seq + 1
        transactions.append(Transaction(row.at, row.by, row.kind, row.name, end - row.seq - 1))
    return transactions


def _vendors(connection: sa.Connection) -> Sequence[str]:
    return connection.execute(sa.select(schema.vendor.c.name).order_by(schema.vendor.c.name)).scalars().all()


def _newest_of(
    vendor: str, conditions: Sequence[sa.ColumnElement[bool]], before: int | None, limit: int
) -> sa.Select[tuple[int]]:
    query = sa.select(_TABLE.c.seq).where(_TABLE.c.vendor == vendor, _TABLE.c.seq.is_not(None), *conditions)
    if before is not None:
        query = query.where(_TABLE.c.seq < before)
    return query.order_by(_TABLE.c.seq.desc()).limit(limit)


def audited(connection: sa.Connection, filters: Filters, before: int | None, limit: int) -> Page:
    """Return changes of the audit before an id."""
    return _page_of_all(connection, _TABLE.c.id, filters, before, limit)


def _page_of_all(
    connection: sa.Connection, key: sa.Column[Any], filters: Filters, before: int | None, limit: int
) -> Page:
    """Return changes of any kind before a key; a search ends after _MAX_LOOKED_AT, and can be continued there."""
    conditions = filters.conditions
    if filters.vendor is not None:
        conditions.append(_TABLE.c.vendor == filters.vendor)
    start = before
    if start is None:
        last: int | None = connection.execute(sa.select(sa.func.max(key))).scalar_one()
        start = (last or 0) + 1
    end = start - _MAX_LOOKED_AT if conditions else 1
    query = sa.select(_TABLE).where(key < start, key >= end, *conditions).order_by(key.desc()).limit(limit + 1)
    rows = connection.execute(query).all()
    if len(rows) > limit:
        return Page(rows[:limit], getattr(rows[limit - 1], key.name))
    return Page(rows, end, _MAX_LOOKED_AT) if end > 1 else Page(rows, None)


def around(connection: sa.Connection, seq: int) -> Sequence[Row]:
    """Return a change of the feed with the one before and the one after it, in order."""
    query = sa.select(_TABLE).where(_TABLE.c.seq.in_([seq - 1, seq, seq + 1])).order_by(_TABLE.c.seq)
    return connection.execute(query).all()


def transaction(connection: sa.Connection, part_of: int, limit: int, *, with_hosts: bool) -> tuple[Sequence[Row], bool]:
    """Return the first changes of a transaction, in order, and whether there are more.

    part_of: the seq of its first change. with_hosts: also changes of hosts.
    """
    # The feed has no gaps, so a transaction is one run of numbers.
    window = (_TABLE.c.seq >= part_of) & (_TABLE.c.seq <= part_of + limit)
    query = sa.select(_TABLE).where(window, _TABLE.c.part_of == part_of).order_by(_TABLE.c.seq)
    rows = connection.execute(query).all()
    shown = [row for row in rows[:limit] if with_hosts or row.kind not in OF_HOSTS]
    return shown, len(rows) > limit
