"""The fleet: the registered hosts by kind, selected by conditions on their labels, at the cost of their kinds.

How many hosts of a kind have which labels is stored, so that a selection reads no hosts but the few that it names.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from app.domain.fleet.group import EXAMPLES
from app.domain.fleet.kind import Statement, read_kind, stated_by, units_of
from app.domain.fleet.summary import MAX_NAMED
from app.domain.verdict.destination import Destination
from app.storage import lookup, schema
from app.storage.host import Label, Staleness, labels_of

# Conditions on labels, all of which must hold; none: every host. Then the same for hosts that are left out.
Selections: TypeAlias = Sequence[Sequence[Label]]
ALL: Selections = ((),)

# The names of up to this many selected hosts are sorted; of more, the hosts are looked through in their order.
_MANY = 10_000
# For a page of selected hosts, this many are first looked through in their order.
_LOOKED_THROUGH = 5_000
# A page ends after this many characters of documents.
_MAX_PAGE_CHARACTERS = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected hosts of one kind.

    kind_id, digest: of the kind. count: how many they are. stale: how many of them have not reported for a long time.
    examples, stale_examples: the first five of each by name. names: all of them, None if they are more than MAX_NAMED.
    """

    kind_id: int
    digest: str
    count: int
    stale: int = 0
    examples: Sequence[str] = ()
    stale_examples: Sequence[str] = ()
    names: Sequence[str] | None = None


class Member(NamedTuple):
    """A registered host. digest: of its kind. own: what it alone states; see Statement."""

    name: str
    digest: str
    own: str | None
    is_stale: bool


def selected(
    connection: sa.Connection, selections: Selections, staleness: Staleness, without: Collection[str] = ()
) -> Sequence[Selected]:
    """Return the selected hosts by kind: the one with most of them first, then by the name of the first host.

    without: names of hosts that do not count.
    """
    counts = _counts(connection, selections)
    if without:
        counts = _less(counts, connection, selections, without)
    stale = _stale(connection, selections, staleness, without) if staleness.hours and counts else {}
    kinds = []
    is_named = sum(count for _, count in counts.values()) <= MAX_NAMED
    for kind_id, (digest, count) in counts.items():
        of_kind = _names(connection, selections, kind_id, count, MAX_NAMED if is_named else EXAMPLES, without)
        stale_count = stale.get(kind_id, 0)
        kinds.append(
            Selected(
                kind_id,
                digest,
                count,
                stale_count,
                of_kind[:EXAMPLES],
                _stale_names(connection, selections, kind_id, staleness, stale_count, without) if stale_count else (),
                of_kind if is_named else None,
            )
        )
    return sorted(kinds, key=lambda kind: (-kind.count, kind.examples[:1]))


def _counts(connection: sa.Connection, selections: Selections) -> dict[int, tuple[str, int]]:
    """Return the digest of each kind and the number of its selected hosts, by the id of the kind."""
    kind, group = schema.host_kind, schema.host_group
    if _is_whole(selections):
        query: sa.Select[Any] = sa.select(kind.c.id, kind.c.digest, kind.c.host_count).where(kind.c.host_count > 0)
    else:
        total = sa.cast(sa.func.sum(group.c.host_count), sa.Integer)
        query = (
            sa.select(kind.c.id, kind.c.digest, total)
            .join_from(group, kind)
            .where(_meets(selections, group.c.label_set_id), group.c.host_count > 0)
            .group_by(kind.c.id, kind.c.digest)
        )
    return {kind_id: (digest, count) for kind_id, digest, count in connection.execute(query)}


def _is_whole(selections: Selections) -> bool:
    return not any(selections)


def _meets(selections: Selections, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a set of labels is selected; column: its id.

    An index of the column serves it, for a negative condition, too.
    """
    if _is_whole(selections):
        return sa.true()
    ids = sa.select(schema.label_set.c.id)
    return column.in_(ids.where(_selected(selections, lambda label: _has_label(label, schema.label_set.c.id))))


def _selected(selections: Selections, has: Callable[[Label], sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    wanted, *others = (sa.and_(sa.true(), *map(has, labels)) for labels in selections)
    return sa.and_(wanted, *(sa.not_(other) for other in others))


def _has_label(label: Label, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    table = schema.label
    ids = sa.select(table.c.label_set_id).where(table.c.name == label.name)
    if label.value is not None:
        ids = ids.where(table.c.value == label.value)
    return column.not_in(ids) if label.is_negative else column.in_(ids)


def _less(
    counts: Mapping[int, tuple[str, int]], connection: sa.Connection, selections: Selections, without: Collection[str]
) -> dict[int, tuple[str, int]]:
    """Return counts without some hosts."""
    table = schema.host
    left = dict(counts)
    for batch in lookup.batches(without):
        query = (
            sa.select(table.c.kind_id, sa.func.count())
            .where(table.c.name.in_(batch), _meets(selections, table.c.label_set_id))
            .group_by(table.c.kind_id)
        )
        for kind_id, count in connection.execute(query):
            digest, total = left.pop(kind_id, ("", 0))
            if total > count:
                left[kind_id] = digest, total - count
    return left


def within(connection: sa.Connection, selections: Selections, names: Collection[str]) -> frozenset[str]:
    """Return those of some names that are names of selected hosts."""
    table = schema.host
    selected_names: set[str] = set()
    for batch in lookup.batches(names):
        query = sa.select(table.c.name).where(table.c.name.in_(batch), _meets(selections, table.c.label_set_id))
        selected_names.update(connection.execute(query).scalars())
    return frozenset(selected_names)


def names(
    connection: sa.Connection, selections: Selections, kind_id: int | None, after: str | None, limit: int
) -> Sequence[str]:
    """Return the first names of the selected hosts after one, in order; kind_id: only of one kind.

    First some hosts are looked through in their order. If too few of those are selected, few are, or they come late;
    then all that are selected are sorted.
    """
    table = schema.host
    query = sa.select(table.c.name, table.c.label_set_id)
    if kind_id is not None:
        query = query.where(table.c.kind_id == kind_id)
    if after is not None:
        query = query.where(table.c.name > after)
    first = (
        query.order_by(table.c.name).limit(limit if _is_whole(selections) else max(limit, _LOOKED_THROUGH)).subquery()
    )
    walk = sa.select(first.c.name).where(_met(selections, first.c.label_set_id)).order_by(first.c.name).limit(limit)
    ordered = list(connection.execute(walk).scalars())
    if len(ordered) == limit or _is_whole(selections):
        return ordered
    selected_names = query.with_only_columns(table.c.name).where(_meets(selections, table.c.label_set_id))
    return nsmallest(limit, connection.execute(selected_names).scalars())


def _names(
    connection: sa.Connection,
    selections: Selections,
    kind_id: int,
    count: int,
    limit: int,
    without: Collection[str],
) -> Sequence[str]:
    """Return the first names of the selected hosts of a kind; count: how many they are."""
    table = schema.host
    query = sa.select(table.c.name).where(table.c.kind_id == kind_id)
    wanted = limit + len(without)
    if not _is_whole(selections) and count <= _MANY:
        few = connection.execute(query.where(_meets(selections, table.c.label_set_id))).scalars()
        ordered = nsmallest(wanted, few)
    else:
        walk = query.where(_met(selections, table.c.label_set_id)).order_by(table.c.name).limit(wanted)
        ordered = list(connection.execute(walk).scalars())
    return [name for name in ordered if name not in without][:limit]


def _met(selections: Selections, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return the same condition as _meets, in a form that is checked host by host and uses no index of hosts.

    With it, a query goes through hosts in the order that it asks for, and ends early.
    """
    if _is_whole(selections):
        return sa.true()
    return sa.case((_selected(selections, lambda label: _exists(label, column)), 1), else_=0) == 1


def _exists(label: Label, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    table = schema.label
    has = sa.exists().where(table.c.label_set_id == column, table.c.name == label.name)
    if label.value is not None:
        has = has.where(table.c.value == label.value)
    return ~has if label.is_negative else has


def _is_stale(staleness: Staleness) -> sa.ColumnElement[bool]:
    column = schema.host.c.reported_at
    return column.is_(None) | (column < (staleness.since or ""))


def _stale(
    connection: sa.Connection, selections: Selections, staleness: Staleness, without: Collection[str]
) -> dict[int, int]:
    """Return the number of the selected hosts that have not reported for a long time, by kind."""
    table = schema.host
    # The sum keeps SQLite from going through all hosts by kind: those that are stale are few.
    kind_id = (table.c.kind_id + 0).label("kind_id")
    condition = _met(selections, table.c.label_set_id)
    query = sa.select(kind_id, sa.func.count()).where(_is_stale(staleness), condition).group_by(kind_id)
    stale: dict[int, int] = dict(map(tuple, connection.execute(query)))
    for batch in lookup.batches(without):
        for number, count in connection.execute(query.where(table.c.name.in_(batch))):
            stale[number] -= count
    return stale


def _stale_names(
    connection: sa.Connection,
    selections: Selections,
    kind_id: int,
    staleness: Staleness,
    count: int,
    without: Collection[str],
) -> Sequence[str]:
    table = schema.host
    query = sa.select(table.c.name).where(
        table.c.kind_id == kind_id, _is_stale(staleness), _met(selections, schema.host.c.label_set_id)
    )
    wanted = EXAMPLES + len(without)
    if count > _MANY:
        query = query.order_by(table.c.name).limit(wanted)
    ordered = nsmallest(wanted, connection.execute(query).scalars())
    return [name for name in ordered if name not in without][:EXAMPLES]


def members(connection: sa.Connection, selections: Selections, staleness: Staleness) -> Iterator[Member]:
    """Iterate over the selected hosts by name."""
    table, kind, is_stale = schema.host, schema.host_kind, staleness.predicate()
    query = sa.select(table.c.name, table.c.own, table.c.reported_at, kind.c.digest).join_from(table, kind)
    query = query.where(_meets(selections, table.c.label_set_id)).order_by(table.c.name)
    for row in connection.execute(query.execution_options(yield_per=lookup.BATCH)):
        yield Member(row.name, row.digest, row.own, is_stale(row.reported_at))


@dataclass(frozen=True, slots=True)
class Registered:
    """Registered hosts by name, and the kinds of those that are not filed yet, by their digests."""

    members: Mapping[str, Member]
    unfiled: Mapping[str, Destination]


def registered(connection: sa.Connection, wanted: Iterable[str], staleness: Staleness) -> Registered:
    """Return the registered hosts among some names; each costs one row."""
    is_stale = staleness.predicate()
    hosts: dict[str, Member] = {}
    unfiled: dict[str, Destination] = {}
    for row in _rows(connection, wanted):
        digest, own = row.digest, row.own
        if row.unfiled is not None:
            statement = Statement.of(json.loads(row.unfiled))
            digest, own = statement.digest, statement.own
            unfiled[digest] = read_kind(statement.kind)
        hosts[row.name] = Member(row.name, digest, own, is_stale(row.reported_at))
    return Registered(hosts, unfiled)


def _rows(connection: sa.Connection, wanted: Iterable[str]) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """Iterate over the rows of hosts. unfiled: what a host states that is not filed, None of others."""
    table, kind = schema.host, schema.host_kind
    unfiled = sa.case((sa.text(schema.UNFILED), table.c.document)).label("unfiled")
    columns = (table.c.id, table.c.name, table.c.own, table.c.reported_at, table.c.label_set_id)
    query = sa.select(*columns, kind.c.digest, unfiled).outerjoin_from(table, kind)
    for batch in lookup.batches(wanted):
        yield from connection.execute(query.where(table.c.name.in_(batch)))


def destination(member: Member, kind: Destination) -> Destination:
    """Return a registered host as a destination; kind: what stands for the hosts of its kind."""
    return kind._replace(id=member.name, units=units_of(kind, member.own), is_stale=member.is_stale)


@dataclass(frozen=True, slots=True)
class Host:
    """A registered host as it is shown. stated: what it states, in plain JSON. kind: the digest of its kind."""

    name: str
    kind: str
    stated: Mapping[str, Any]
    labels: Mapping[str, str]
    reported_at: str | None


def page(
    connection: sa.Connection,
    selections: Selections,
    digest: str | None,
    after: str | None,
    limit: int,
) -> tuple[Sequence[Host], str | None]:
    """Return selected hosts by name, and the name after which the next page begins, None on the last page.

    digest: only hosts of this kind. A page has fewer hosts where their documents take much memory, but at least one.
    """
    kind_id = None
    if digest is not None:
        kind_id = connection.execute(sa.select(_id_of(digest))).scalar()
        if kind_id is None:
            return [], None
    wanted = names(connection, selections, kind_id, after, limit + 1)
    shown = hosts(connection, wanted[:limit])
    is_whole = len(shown) == len(wanted)
    return shown, None if is_whole else shown[-1].name


def all_hosts(connection: sa.Connection, wanted: Sequence[str]) -> Iterator[Host]:
    """Iterate over the registered hosts among some names, in order."""
    for start in range(0, len(wanted), lookup.BATCH):
        remaining = list(wanted[start : start + lookup.BATCH])
        while shown := hosts(connection, remaining):
            yield from shown
            remaining = remaining[remaining.index(shown[-1].name) + 1 :]


def hosts(connection: sa.Connection, wanted: Sequence[str]) -> Sequence[Host]:
    """Return the first of some registered hosts, in order: as many as do not take much memory, but at least one."""
    rows = {row.name: row for row in _rows(connection, wanted)}
    digests = (row.digest for row in rows.values() if row.unfiled is None)
    documents = lookup.documents(connection, schema.host_kind, digests)
    # Hosts of one kind share what was read of it.
    kinds = {digest: (read_kind(document), len(document)) for digest, document in documents}
    filed, others = ([row for row in rows.values() if (row.unfiled is None) is is_filed] for is_filed in (True, False))
    labels = labels_of(connection, schema.label.c.label_set_id, {row.label_set_id for row in filed})
    unfiled_labels = labels_of(connection, schema.host_label.c.host_id, [row.id for row in others])
    shown: list[Host] = []
    size = 0
    for name in wanted:
        row = rows.get(name)
        if row is None:
            continue
        if row.unfiled is None:
            own, digest, of_host = row.own, row.digest, labels.get(row.label_set_id, {})
            kind, characters = kinds[digest]
        else:
            statement = Statement.of(json.loads(row.unfiled))
            own, digest, of_host = statement.own, statement.digest, unfiled_labels.get(row.id, {})
            kind, characters = read_kind(statement.kind), len(statement.kind)
        shown.append(Host(name, digest, stated_by(kind, own), of_host, row.reported_at))
        size += characters
        if size >= _MAX_PAGE_CHARACTERS:
            break
    return shown


def count_stale(connection: sa.Connection, staleness: Staleness) -> tuple[int, str]:
    """Return the number of the hosts that have not reported for a long time, and the last report of one of them.

    Both change when a host becomes stale, or reports again.
    """
    if not staleness.hours:
        return 0, ""
    column = schema.host.c.reported_at
    row = connection.execute(sa.select(sa.func.count(), sa.func.max(column)).where(_is_stale(staleness))).one()
    return row[0], row[1] or ""


def _id_of(digest: str) -> sa.ScalarSelect[int]:
    return sa.select(schema.host_kind.c.id).where(schema.host_kind.c.digest == digest).scalar_subquery()


def stale_names(
    connection: sa.Connection, selections: Selections, digest: str, staleness: Staleness, limit: int
) -> Sequence[str]:
    """Return the first selected hosts of a kind that have not reported for a long time."""
    table = schema.host
    query = sa.select(table.c.name).where(table.c.kind_id == _id_of(digest), _is_stale(staleness))
    return (
        connection.execute(
            query.where(_met(selections, schema.host.c.label_set_id)).order_by(table.c.name).limit(limit)
        )
        .scalars()
        .all()
    )


def oldest_report(connection: sa.Connection, selections: Selections, digest: str) -> str | None:
    """Return the time of the oldest of the last reports of the selected hosts of a kind, None if one is not known."""
    column = schema.host.c.reported_at
    of_kind = sa.select(column).where(
        schema.host.c.kind_id == _id_of(digest), _met(selections, schema.host.c.label_set_id)
    )
    if connection.execute(of_kind.where(column.is_(None)).limit(1)).first() is not None:
        return None
    return connection.execute(of_kind.order_by(column).limit(1)).scalar()


def labels(connection: sa.Connection, limit: int) -> Sequence[str]:
    """Return up to limit labels of hosts, each as `name=value`."""
    table = schema.label
    rows = connection.execute(sa.select(table.c.name, table.c.value).distinct().order_by(*table.c[1:3]).limit(limit))
    return [f"{row.name}={row.value}" for row in rows]


def count_labelled(connection: sa.Connection, name: str, value: str) -> int:
    """Return the number of hosts with a label."""
    counts = _counts(connection, [[Label(name, value)]])
    return sum(count for _, count in counts.values())


def facets(connection: sa.Connection, selections: Selections) -> Mapping[str, Mapping[str, int]]:
    """Return the labels of selected hosts: by name, each value with the number of hosts, the most frequent first."""
    group, label = schema.host_group, schema.label
    total = sa.cast(sa.func.sum(group.c.host_count), sa.Integer).label("total")
    query = (
        sa.select(label.c.name, label.c.value, total)
        .join_from(group, label, label.c.label_set_id == group.c.label_set_id)
        .where(_meets(selections, group.c.label_set_id), group.c.host_count > 0)
        .group_by(label.c.name, label.c.value)
        .order_by(label.c.name, total.desc(), label.c.value)
    )
    values: dict[str, dict[str, int]] = {}
    for name, value, count in connection.execute(query):
        values.setdefault(name, {})[value] = count
    return values
