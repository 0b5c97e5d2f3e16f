"""Hosts: what each one runs, as an operator registers it; hosts can be changed and deleted."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.domain.fleet.kind import HostKind, kinds_of
from app.domain.publishing.change import ChangeKind
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.lazy import lazy
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.problem import Problem, ProblemCode
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing, written_time


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

    def is_met_by(self, labels: Mapping[str, str]) -> bool:
        """Return whether a host with these labels meets the condition; one without the label has no value of it."""
        has = self.name in labels and self.value in {None, labels[self.name]}
        return has is not self.is_negative


_ALWAYS = frozenset({"releases", "restrict"})


@dataclass(frozen=True, slots=True)
class Staleness:
    """When a host that does not report counts as stale. hours: after so many; 0: never."""

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
        since = self.since
        return since is not None and (reported_at is None or reported_at < since)


def _ago(time: timedelta) -> str:
    return written_time(datetime.now(UTC) - time)


def is_noted(
    connection: sa.Connection, name: str, stated: Mapping[str, Any], labels: Mapping[str, str], staleness: Staleness
) -> bool:
    """Return whether all that a host reports is registered, and that it reported is, too: nothing has to be written."""
    row = _row(connection, name)
    if row is None or row.reported_at is None or row.reported_at < staleness.noted_since:
        return False
    return _is_registered(connection, row, stated, labels)


def _row(connection: sa.Connection, name: str) -> sa.Row[*tuple[Any, ...]] | None:
    return connection.execute(sa.select(schema.host).where(schema.host.c.name == name)).one_or_none()


def _document(stated: Mapping[str, Any]) -> str:
    # What is empty is left out: what was registered before a field existed is the same document.
    return canonical_json({field: content for field, content in stated.items() if content or field in _ALWAYS})


def _is_registered(
    connection: sa.Connection,
    row: sa.Row[*tuple[Any, ...]],
    stated: Mapping[str, Any],
    labels: Mapping[str, str],
) -> bool:
    return row.document == _document(stated) and labels_of(connection, [row.name]).get(row.name, {}) == dict(labels)


def put_host(
    writing: Writing,
    name: str,
    stated: Mapping[str, Any],
    labels: Mapping[str, str],
) -> bool:
    """Register what a host states, or replace what is registered for it; return whether the host is new.

    stated: its releases and restrictions, and what it resolves and its units if there are any. If nothing changes, only
    the time of the report is noted.
    """
    connection, table = writing.connection, schema.host
    document, existing = _document(stated), _row(connection, name)
    reported = {"document": document, "reported_at": writing.at}
    is_new = existing is None
    if existing is None:
        insert = sa.insert(table).values(name=name, **reported).returning(table.c.id)
        host_id = connection.execute(insert).scalar_one()
    else:
        host_id = existing.id
        is_registered = _is_registered(connection, existing, stated, labels)
        connection.execute(sa.update(table).where(table.c.id == host_id).values(reported))
        if is_registered:
            return False
        connection.execute(sa.delete(schema.host_label).where(schema.host_label.c.host_id == host_id))
    if labels:
        rows = [{"host_id": host_id, "name": label, "value": value} for label, value in labels.items()]
        connection.execute(sa.insert(schema.host_label), rows)
    whole = {**json.loads(document), "labels": labels}
    kind = ChangeKind.HOST_REGISTERED if is_new else ChangeKind.HOST_CHANGED
    record(writing, Change(kind=kind, name=name, document=whole, digest=digest(canonical_json(whole))))
    return is_new


def delete_host(writing: Writing, name: str) -> bool:
    """Delete a host; return whether it was registered."""
    deleted = writing.connection.execute(sa.delete(schema.host).where(schema.host.c.name == name))
    if deleted.rowcount:
        record(writing, Change(kind=ChangeKind.HOST_FORGOTTEN, name=name, document={}))
    return deleted.rowcount > 0


def stale_hosts(connection: sa.Connection, staleness: Staleness) -> frozenset[str]:
    """Return the names of the hosts that have not reported for a long time."""
    query = sa.select(schema.host.c.name).where(_is_stale(staleness))
    return frozenset(connection.execute(query).scalars()) if staleness.hours else frozenset()


def count_stale(connection: sa.Connection, staleness: Staleness) -> int:
    """Return the number of the hosts that have not reported for a long time."""
    query = sa.select(sa.func.count()).select_from(schema.host).where(_is_stale(staleness))
    return connection.execute(query).scalar_one() if staleness.hours else 0


def _is_stale(staleness: Staleness) -> sa.ColumnElement[bool]:
    column = schema.host.c.reported_at
    return column.is_(None) | (column < (staleness.since or ""))


def report_times(connection: sa.Connection, names: Sequence[str] | None) -> Mapping[str, str | None]:
    """Return when registered hosts last reported, None: at a time that nobody noted. names: None: of all hosts."""
    query = sa.select(schema.host.c.name, schema.host.c.reported_at)
    if names is None:
        return dict(map(tuple, connection.execute(query)))
    times: dict[str, str | None] = {}
    for batch in lookup.batches(names):
        times.update(map(tuple, connection.execute(query.where(schema.host.c.name.in_(batch)))))
    return times


def labels_of(connection: sa.Connection, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the labels of hosts by the host's name."""
    table = schema.host_label
    labels: dict[str, dict[str, str]] = {}
    host_names = {host_id: name for name, host_id in lookup.ids(connection, schema.host, names).items()}
    for batch in lookup.batches(host_names):
        query = sa.select(table.c.host_id, table.c.name, table.c.value).where(table.c.host_id.in_(batch))
        for host_id, label, value in connection.execute(query.order_by(table.c.name)):
            labels.setdefault(host_names[host_id], {})[label] = value
    return labels


def meets(label: Label) -> sa.ColumnElement[bool]:
    """Return the condition that a host meets one on its labels."""
    table = schema.host_label
    host_ids = sa.select(table.c.host_id).where(table.c.name == label.name)
    if label.value is not None:
        host_ids = host_ids.where(table.c.value == label.value)
    is_met = schema.host.c.id.in_(host_ids)
    return sa.not_(is_met) if label.is_negative else is_met


@dataclass(frozen=True, slots=True)
class _Registered:
    """A registered host. document: what it runs, as stored."""

    destination: Destination
    labels: Mapping[str, str]
    document: str


@dataclass(frozen=True)
class Fleet:
    """All registered hosts as destinations; hosts that state the same share the objects that say it."""

    _hosts: Mapping[str, _Registered]

    @classmethod
    def read(cls, connection: sa.Connection) -> "Fleet":
        """Read the registered hosts."""
        return cls({}).renewed(connection, None)

    def renewed(self, connection: sa.Connection, names: Collection[str] | None) -> "Fleet":
        """Return the hosts as registered now; names: the hosts to read again, None: all."""
        hosts = {name: host for name, host in self._hosts.items() if names is not None and name not in names}
        stated = {host.document: host.destination for host in hosts.values()}
        shared: dict[str, Any] = {}
        table = schema.host
        rows: list[tuple[str, str]] = []
        if names is None:
            rows += map(tuple, connection.execute(sa.select(table.c.name, table.c.document)))
        for batch in lookup.batches(names or ()):
            query = sa.select(table.c.name, table.c.document).where(table.c.name.in_(batch))
            rows += map(tuple, connection.execute(query))
        labels = labels_of(connection, [name for name, _ in rows])
        for name, document in rows:
            if document not in stated:
                stated[document] = _read(json.loads(document), shared)
            hosts[name] = _Registered(stated[document]._replace(id=name), labels.get(name, {}), document)
        return Fleet(hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    @lazy
    def _in_order(self) -> Sequence[Destination]:
        return [self._hosts[name].destination for name in sorted(self._hosts)]

    @lazy
    def _labelled(self) -> Mapping[tuple[str, ...], Sequence[Destination]]:
        """The hosts in order, by the name of a label, and by its name and value."""
        hosts: dict[tuple[str, ...], list[Destination]] = {}
        for destination in self._in_order:
            for label in self._hosts[destination.id].labels.items():
                hosts.setdefault(label, []).append(destination)
                hosts.setdefault(label[:1], []).append(destination)
        return hosts

    @lazy
    def kinds(self) -> Sequence[HostKind]:
        """The kinds of all hosts, the one with most hosts first."""
        return kinds_of(self._in_order)

    @lazy
    def kind_of(self) -> Mapping[str, HostKind]:
        """The kind of each host, by its name."""
        return {host.id: kind for kind in self.kinds for host in kind.hosts}

    @lazy
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names of the hosts of each kind, by its digest."""
        return {kind.digest: [host.id for host in kind.hosts] for kind in self.kinds}

    def labels_of(self, name: str) -> Mapping[str, str]:
        """Return the labels of a registered host."""
        return self._hosts[name].labels

    @lazy
    def label_counts(self) -> Mapping[tuple[str, ...], int]:
        """The number of hosts by the name of a label, and by its name and value."""
        return {label: len(hosts) for label, hosts in self._labelled.items()}

    def named(self, names: Sequence[str]) -> dict[str, Destination]:
        """Return hosts by name; a host that is not registered becomes a destination with the problem that says so."""
        return {
            name: self._hosts[name].destination
            if name in self._hosts
            else _unknown(name, f"No host {name} is registered.")
            for name in names
        }

    def all(self, labels: Sequence[Label] = ()) -> Sequence[Destination]:
        """Return all hosts, or those that meet every condition on their labels, ordered by name.

        If no host does, return one destination with a problem. Without it, nothing would be refused and the answer
        would look positive. Its id has a space, so it cannot be the name of a host.
        """
        if not labels:
            return self._in_order
        indexed = [
            self._labelled.get((label.name,) if label.value is None else (label.name, label.value), ())
            for label in labels
            if not label.is_negative
        ]
        hosts = min(indexed, key=len, default=self._in_order)
        if len(labels) > 1 or not indexed:
            hosts = [host for host in hosts if all(label.is_met_by(self._hosts[host.id].labels) for label in labels)]
        selection = " and ".join(map(str, labels))
        return hosts or [_unknown(f"label {selection}", f"No registered host has the labels {selection}.")]


def _read(stated: Mapping[str, Any], shared: dict[str, Any]) -> Destination:
    """Return a destination without a name from what a host states; shared: by its text, what hosts state alike."""

    def share(content: Any) -> Any:
        return shared.setdefault(canonical_json(content), content)

    units = tuple(
        Unit(
            unit["id"],
            share(tuple(unit["releases"])),
            share(unit.get("restrict", {})),
            share(unit.get("resolves", {})),
            unit.get("available"),
        )
        for unit in stated.get("units", ())
    )
    resolves = share(stated.get("resolves", {}))
    return Destination("", share(tuple(stated["releases"])), share(stated["restrict"]), resolves=resolves, units=units)


def _unknown(name: str, why: str) -> Destination:
    return Destination(name, (), problem=Problem(ProblemCode.UNKNOWN_HOST, why))
