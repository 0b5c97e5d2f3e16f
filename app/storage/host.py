"""Hosts: what each one states, as an operator registers it; hosts can be changed and deleted.

A host is filed under the kind of what it states and under the set of its labels; both are stored once (DESIGN 6).
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from app.domain.fleet.kind import Statement
from app.domain.publishing.change import ChangeKind
from app.domain.values.canonical import canonical_json, digest
from app.storage import database, lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing, written_time

# Mirrors add the changes of one transaction together, so an inventory is recorded in several (DESIGN 6).
_CHANGES_TOGETHER = 1_000
# What is empty is left out of a document, apart from these fields.
_ALWAYS = frozenset({"releases", "restrict"})
# As text, so that the index of hosts that are not filed serves it.
_IS_UNFILED = sa.text(f"({schema.UNFILED})")
_IS_FILED = sa.text(f"NOT ({schema.UNFILED})")


@dataclass(frozen=True, slots=True)
class Label:
    """A condition on a label of hosts (DESIGN 6). value: None for any value. is_negative: hosts that do not have it."""

    name: str
    value: str | None = None
    is_negative: bool = False

    @classmethod
    def parse(cls, text: str) -> "Label":
        """Read `name=value`, `name!=value`, `name` (any value) or `!name`."""
        name, equals, value = text.partition("=")
        if equals:
            return cls(name.removesuffix("!"), value, name.endswith("!"))
        return cls(name.removeprefix("!"), None, name.startswith("!"))

    def __str__(self) -> str:
        if self.value is None:
            return f"{'!' if self.is_negative else ''}{self.name}"
        return f"{self.name}{'!=' if self.is_negative else '='}{self.value}"


@dataclass(frozen=True, slots=True)
class Staleness:
    """When a host that does not report counts as stale. hours: the time without a report; 0: never."""

    hours: int

    @property
    def since(self) -> str | None:
        """The time at which a host must have reported; None: no host is stale."""
        return _ago(timedelta(hours=self.hours)) if self.hours else None

    @property
    def noted_since(self) -> str:
        """The time since when a report without changes is not written again: a 24th of the time until a host is stale.

        So a fleet that reports every few minutes writes next to nothing.
        """
        return _ago(timedelta(hours=self.hours or 24) / 24)

    def is_stale(self, reported_at: str | None) -> bool:
        """Return whether a host that last reported at a time is stale; None: at a time that nobody noted."""
        return self.predicate()(reported_at)

    def predicate(self) -> Callable[[str | None], bool]:
        """Return what tells of many hosts whether they are stale now, as `is_stale` does of one."""
        since = self.since
        return lambda reported_at: since is not None and (reported_at is None or reported_at < since)


def _ago(time: timedelta) -> str:
    return written_time(datetime.now(UTC) - time)


class Stated:
    """What a host states, apart from its labels, as it is stored. document: canonical JSON; statement: its parts."""

    __slots__ = ("document", "statement")

    def __init__(self, stated: Mapping[str, Any]) -> None:
        """stated: its releases and restrictions, and what it resolves and its units if there are any."""
        self.document = canonical_json(
            {field: content for field, content in stated.items() if content or field in _ALWAYS}
        )
        self.statement = Statement.of(stated)


class LabelSet:
    """The labels of a host, as they are stored. digest: of them."""

    __slots__ = ("digest", "labels")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = dict(labels)
        self.digest = digest(canonical_json(self.labels))


class Registration(NamedTuple):
    """What a host states, and its labels. Hosts that state the same can share both."""

    stated: Stated
    label_set: LabelSet

    @classmethod
    def of(cls, stated: Mapping[str, Any], labels: Mapping[str, str]) -> "Registration":
        """Return the registration of one host."""
        return cls(Stated(stated), LabelSet(labels))

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What is equal for hosts that are filed alike: the digests of kind and labels, and what they alone state."""
        statement = self.stated.statement
        return statement.digest, self.label_set.digest, statement.own


class Filed(NamedTuple):
    """Where a host is filed: under a kind and a set of labels, by their ids. own: what it alone states."""

    kind_id: int | None
    label_set_id: int | None
    own: str | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """How many hosts a registration has added, changed, left as they were, and forgotten."""

    added: int
    changed: int
    unchanged: int
    forgotten: int


def is_noted(connection: sa.Connection, name: str, registration: Registration, staleness: Staleness) -> bool:
    """Return whether all that a host reports is registered, and that it reported is, too: nothing has to be written."""
    host, kind, label_set = schema.host, schema.host_kind, schema.label_set
    query = (
        sa.select(host.c.reported_at, host.c.own, kind.c.digest, label_set.c.digest.label("label_digest"))
        .select_from(host.join(kind).join(label_set))
        .where(host.c.name == name, _IS_FILED)
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.reported_at is None or row.reported_at < staleness.noted_since:
        return False
    return (row.digest, row.label_digest, row.own) == registration.key


def put_host(writing: Writing, name: str, stated: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Register what a host states, or replace what is registered for it; return whether the host is new.

    stated: its releases and restrictions, and what it resolves and its units if there are any. If nothing changes, only
    the time of the report is noted.
    """
    return put_hosts(writing, {name: Registration.of(stated, labels)}).added > 0


def put_hosts(
    writing: Writing,
    registrations: Mapping[str, Registration],
    *,
    forget_others: bool = False,
    noted_since: str | None = None,
) -> Inventory:
    """Register what hosts state, in the place of what is registered for them; forget_others: delete all other hosts.

    noted_since: the report of a host that states the same as before is noted only if its last one was noted before
    this time; None: in any case.
    """
    connection = writing.connection
    file_hosts(connection)
    others = [name for name in _names(connection) if name not in registrations] if forget_others else []
    filing = _Filing(connection, registrations.values())
    existing: set[str] = set()
    # By name, the ids of changed hosts, and where they were filed.
    changed: dict[str, tuple[int, Filed]] = {}
    reported: list[int] = []
    for row in _existing(connection, registrations):
        name, host_id, reported_at, filed = row[0], row[1], row[2], row[3:]
        existing.add(name)
        if filed != filing.of(registrations[name]):
            changed[name] = host_id, Filed(*filed)
        elif noted_since is None or reported_at is None or reported_at < noted_since:
            reported.append(host_id)
    added = [name for name in registrations if name not in existing]
    filing.store(registrations[name] for name in (*added, *changed))
    groups = Counter(filing.of(registrations[name])[:2] for name in (*added, *changed))
    groups.subtract(filed[:2] for _, filed in changed.values())
    ids = _store(writing, {name: (registrations[name], filing.of(registrations[name])) for name in added})
    ids |= {name: host_id for name, (host_id, _) in changed.items()}
    _update(writing, {ids[name]: (registrations[name], filing.of(registrations[name])) for name in changed})
    _insert_labels(connection, {host_id: registrations[name].label_set for name, host_id in ids.items()})
    for batch in lookup.batches(reported):
        times = {"reported_at": writing.at, "filed_at": writing.at}
        connection.execute(
            sa.update(schema.host).where(lookup.among(schema.host.c.id, batch, connection)).values(times)
        )
    _delete(connection, others)
    _count(connection, groups)
    # In the order of the registrations.
    changes = [name for name in registrations if name in ids]
    _record(writing, _changes(registrations, changes, existing, others))
    return Inventory(len(added), len(changed), len(registrations) - len(ids), len(others))


def _store(writing: Writing, hosts: Mapping[str, tuple[Registration, Filed]]) -> dict[str, int]:
    """Store new hosts; return their ids by name."""
    rows = [{"name": name, **_stored(*host, writing.at)} for name, host in hosts.items()]
    if rows:
        database.insert(writing.connection, schema.host, rows)
    return lookup.ids(writing.connection, schema.host, hosts)


def _update(writing: Writing, hosts: Mapping[int, tuple[Registration, Filed]]) -> None:
    """Change stored hosts, by their ids; delete their labels."""
    rows = [{"host_id": host_id, **_stored(*host, writing.at)} for host_id, host in hosts.items()]
    if rows:
        table = schema.host
        values: dict[str, Any] = {column: sa.bindparam(column) for column in rows[0] if column != "host_id"}
        update = sa.update(table).where(table.c.id == sa.bindparam("host_id")).values(values)
        writing.connection.execute(update, rows)
    for batch in lookup.batches(hosts):
        writing.connection.execute(sa.delete(schema.host_label).where(schema.host_label.c.host_id.in_(batch)))


def _insert_labels(connection: sa.Connection, label_sets: Mapping[int, LabelSet]) -> None:
    rows = [
        {"host_id": host_id, "name": name, "value": value}
        for host_id, label_set in label_sets.items()
        for name, value in label_set.labels.items()
    ]
    if rows:
        database.insert(connection, schema.host_label, rows)


def delete_host(writing: Writing, name: str) -> bool:
    """Delete a host; return whether it was registered."""
    if not _delete(writing.connection, [name]):
        return False
    _count(writing.connection, {})
    record(writing, Change(kind=ChangeKind.HOST_FORGOTTEN, name=name, document={}))
    return True


def are_filed(connection: sa.Connection) -> bool:
    """Return whether all hosts are filed; the version before registers hosts without."""
    return connection.execute(_unfiled(schema.host.c.id).limit(1)).first() is None


def _unfiled(*columns: sa.Column[Any]) -> sa.Select[Any]:
    """Return the query of hosts that are not filed.

    No other index has this order. Without it, PostgreSQL goes through all hosts: it expects that most are not filed.
    """
    return sa.select(*columns).where(_IS_UNFILED).order_by(schema.host.c.filed_at)


def file_hosts(connection: sa.Connection) -> None:
    """File the hosts that the version before has registered or changed (decision 0014)."""
    table = schema.host
    columns = (table.c.id, table.c.name, table.c.document, table.c.kind_id, table.c.label_set_id)
    query = _unfiled(*columns, table.c.reported_at).limit(lookup.BATCH)
    while rows := connection.execute(query).all():
        labels = labels_of(connection, schema.host_label.c.host_id, [row.id for row in rows])
        registrations = {row.id: Registration.of(json.loads(row.document), labels.get(row.id, {})) for row in rows}
        filing = _Filing(connection, registrations.values())
        filing.store(registrations.values())
        groups = Counter[tuple[int | None, int | None]]()
        updates = []
        for row in rows:
            filed = filing.of(registrations[row.id])
            groups[filed[:2]] += 1
            groups[row.kind_id, row.label_set_id] -= 1
            updates.append({"host_id": row.id, "at": row.reported_at or "", **filed._asdict()})
        values: dict[str, Any] = {column: sa.bindparam(column) for column in Filed._fields}
        values["filed_at"] = sa.bindparam("at")
        update = sa.update(table).where(table.c.id == sa.bindparam("host_id")).values(values)
        connection.execute(update, updates)
        _count(connection, groups)


def labels_of(connection: sa.Connection, owner: sa.Column[int], ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return labels by the id of what has them; owner: the column of that id, of hosts or of sets of labels."""
    table = owner.table
    labels: dict[int, dict[str, str]] = {}
    for batch in lookup.batches(ids):
        query = sa.select(owner, table.c.name, table.c.value).where(owner.in_(batch))
        for owner_id, name, value in connection.execute(query.order_by(table.c.name)):
            labels.setdefault(owner_id, {})[name] = value
    return labels


class _Filing:
    """The kinds and sets of labels of some registrations, by their digests."""

    def __init__(self, connection: sa.Connection, registrations: Iterable[Registration]) -> None:
        self._connection = connection
        kinds, label_sets = _distinct(registrations)
        self._kinds = _ids(connection, schema.host_kind, kinds)
        self._label_sets = _ids(connection, schema.label_set, label_sets)
        self._filed: dict[Registration, Filed] = {}

    def of(self, registration: Registration) -> Filed:
        """Return where a registration is filed; ids are None of what is not stored yet."""
        filed = self._filed.get(registration)
        if filed is None:
            kind, label_set, own = registration.key
            filed = self._filed[registration] = Filed(self._kinds.get(kind), self._label_sets.get(label_set), own)
        return filed

    def store(self, registrations: Iterable[Registration]) -> None:
        """Store the kinds and sets of labels of registrations that are not stored yet."""
        self._filed.clear()
        kinds, label_sets = _distinct(registrations)
        new_kinds = [
            {"digest": key, "document": kind, "host_count": 0} for key, kind in kinds.items() if key not in self._kinds
        ]
        self._kinds |= self._insert(schema.host_kind, new_kinds)
        new_sets = {key: labels for key, labels in label_sets.items() if key not in self._label_sets}
        ids = self._insert(schema.label_set, [{"digest": key} for key in new_sets])
        self._label_sets |= ids
        labels = [
            {"label_set_id": ids[key], "name": name, "value": value}
            for key, of_set in new_sets.items()
            for name, value in of_set.items()
        ]
        if labels:
            database.insert(self._connection, schema.label, labels)

    def _insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        if not rows:
            return {}
        database.insert(self._connection, table, rows)
        return _ids(self._connection, table, [row["digest"] for row in rows])


def _distinct(registrations: Iterable[Registration]) -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
    """Return the documents of kinds, and the sets of labels, by their digests."""
    kinds: dict[str, str] = {}
    label_sets: dict[str, Mapping[str, str]] = {}
    for stated, label_set in set(registrations):
        kinds[stated.statement.digest] = stated.statement.kind
        label_sets[label_set.digest] = label_set.labels
    return kinds, label_sets


def _ids(connection: sa.Connection, table: sa.Table, digests: Iterable[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for batch in lookup.batches(digests):
        query = sa.select(table.c.digest, table.c.id).where(lookup.among(table.c.digest, batch, connection))
        ids.update(map(tuple, connection.execute(query)))
    return ids


def _names(connection: sa.Connection) -> Iterator[str]:
    """Iterate over the names of all hosts; they are not in memory at once."""
    query = sa.select(schema.host.c.name).execution_options(yield_per=lookup.BATCH)
    yield from connection.execute(query).scalars()


def _existing(connection: sa.Connection, names: Iterable[str]) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """Iterate over the registered hosts among some names: name, id, reported_at, and the fields of Filed."""
    table = schema.host
    columns = (table.c.name, table.c.id, table.c.reported_at, table.c.kind_id, table.c.label_set_id, table.c.own)
    for batch in lookup.batches(names):
        yield from connection.execute(sa.select(*columns).where(lookup.among(table.c.name, batch, connection))).all()


def _stored(registration: Registration, filed: Filed, at: str) -> dict[str, Any]:
    return {"document": registration.stated.document, "reported_at": at, "filed_at": at, **filed._asdict()}


def _delete(connection: sa.Connection, names: Sequence[str]) -> int:
    """Delete hosts; return how many were registered."""
    deleted = 0
    for batch in lookup.batches(names):
        deleted += connection.execute(
            sa.delete(schema.host).where(lookup.among(schema.host.c.name, batch, connection))
        ).rowcount
    return deleted


def _count(connection: sa.Connection, groups: Mapping[tuple[int | None, int | None], int]) -> None:
    """Add to the numbers of hosts, by kind and set of labels; delete what no host has any more."""
    kinds = Counter[int]()
    rows = []
    for (kind_id, label_set_id), count in groups.items():
        if kind_id is not None and label_set_id is not None and count:
            kinds[kind_id] += count
            rows.append({"kind_id": kind_id, "label_set_id": label_set_id, "host_count": count})
    group, kind = schema.host_group, schema.host_kind
    if rows:
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(group)
        total = group.c.host_count + insert.excluded.host_count
        connection.execute(
            insert.on_conflict_do_update(set_={"host_count": total}, index_elements=list(group.primary_key)), rows
        )
    numbers = [{"kind": kind_id, "number": count} for kind_id, count in kinds.items() if count]
    if numbers:
        total = kind.c.host_count + sa.bindparam("number")
        update = sa.update(kind).where(kind.c.id == sa.bindparam("kind")).values(host_count=total)
        connection.execute(update, numbers)
    unused = sa.delete(group).where(group.c.host_count == sa.literal_column("0")).returning(group.c.label_set_id)
    label_set_ids = connection.execute(unused).scalars().all()
    for batch in lookup.batches(label_set_ids):
        table = schema.label_set
        in_use = sa.exists().where(group.c.label_set_id == table.c.id)
        connection.execute(sa.delete(table).where(table.c.id.in_(batch), ~in_use))
    connection.execute(sa.delete(kind).where(kind.c.host_count == sa.literal_column("0")))


def _changes(
    registrations: Mapping[str, Registration],
    names: Iterable[str],
    existing: Collection[str],
    others: Iterable[str],
) -> Iterator[Change]:
    """Iterate over the changes of hosts. names: those added or changed. existing: those that were registered before."""
    documents: dict[Registration, tuple[dict[str, Any], str]] = {}
    for name in names:
        registration = registrations[name]
        if registration not in documents:
            stated, label_set = registration
            document = {**json.loads(stated.document), "labels": label_set.labels}
            documents[registration] = document, digest(canonical_json(document))
        document, of_document = documents[registration]
        kind = ChangeKind.HOST_CHANGED if name in existing else ChangeKind.HOST_REGISTERED
        yield Change(kind=kind, name=name, document=document, digest=of_document)
    for name in others:
        yield Change(kind=ChangeKind.HOST_FORGOTTEN, name=name, document={})


def _record(writing: Writing, changes: Iterable[Change]) -> None:
    """Record changes of hosts. Hosts do not depend on each other: a mirror can add them in several transactions."""
    waiting = list(changes)
    for start in range(0, len(waiting), _CHANGES_TOGETHER):
        if start:
            writing.first_seq = None
        record(writing, *waiting[start : start + _CHANGES_TOGETHER])
