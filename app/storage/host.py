"""Hosts: what an operator says each of them runs; they may change and go."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.change import ChangeKind
from app.domain.problem import Problem, ProblemCode
from app.domain.question import Destination
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing


@dataclass(frozen=True, slots=True)
class Label:
    """What hosts are chosen by: those that have the label, with this value where one is given."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Label":
        """Read `name=value`, or `name` for any value."""
        name, equals, value = text.partition("=")
        return cls(name, value if equals else None)


def put_host(
    writing: Writing,
    name: str,
    releases: Sequence[str],
    restrict: Mapping[str, Any],
    labels: Mapping[str, str],
) -> bool:
    """Register what a host runs, in the place of what was registered; return whether the host is new."""
    connection, table = writing.connection, schema.host
    document = canonical_json({"releases": list(releases), "restrict": restrict})
    standing = connection.execute(sa.select(table.c.document).where(table.c.name == name)).scalar_one_or_none()
    if standing == document and labels_of(connection, [name]).get(name, {}) == dict(labels):
        return False
    host_id = lookup.ids(connection, table, [name]).get(name)
    is_new = host_id is None
    if host_id is None:
        inserted = sa.insert(table).values(name=name, document=document).returning(table.c.id)
        host_id = connection.execute(inserted).scalar_one()
    else:
        connection.execute(sa.update(table).where(table.c.id == host_id).values(document=document))
        connection.execute(sa.delete(schema.host_label).where(schema.host_label.c.host_id == host_id))
    if labels:
        rows = [{"host_id": host_id, "name": label, "value": value} for label, value in labels.items()]
        connection.execute(sa.insert(schema.host_label), rows)
    whole = {"releases": list(releases), "restrict": restrict, "labels": labels}
    kind = ChangeKind.HOST_REGISTERED if is_new else ChangeKind.HOST_CHANGED
    record(writing, Change(kind=kind, name=name, document=whole, digest=digest(canonical_json(whole))))
    return is_new


def delete_host(writing: Writing, name: str) -> bool:
    """Forget a host; return whether it was registered."""
    deleted = writing.connection.execute(sa.delete(schema.host).where(schema.host.c.name == name))
    if deleted.rowcount:
        record(writing, Change(kind=ChangeKind.HOST_FORGOTTEN, name=name, document={}))
    return deleted.rowcount > 0


def labels_of(connection: sa.Connection, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the labels of hosts, by host."""
    table, host = schema.host_label, schema.host
    found: dict[str, dict[str, str]] = {}
    for batch in lookup.batches(names):
        query = sa.select(host.c.name, table.c.name.label("label"), table.c.value).join_from(table, host)
        for name, label, value in connection.execute(query.where(host.c.name.in_(batch)).order_by(table.c.name)):
            found.setdefault(name, {})[label] = value
    return found


def has_label(label: Label) -> sa.ColumnElement[bool]:
    """Return the condition that a host has a label."""
    table = schema.host_label
    having = sa.select(table.c.host_id).where(table.c.name == label.name)
    if label.value is not None:
        having = having.where(table.c.value == label.value)
    return schema.host.c.id.in_(having)


class Hosts:
    """Hosts as destinations of a question; those that run the same share what they run."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._read: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {}

    def named(self, names: Sequence[str]) -> dict[str, Destination]:
        """Return hosts by name; for one that is not registered a destination of which nothing is known."""
        table = schema.host
        found: dict[str, Destination] = {}
        for batch in lookup.batches(names):
            found.update(
                {each.id: each for each in self._destinations(sa.select(table).where(table.c.name.in_(batch)))}
            )
        return {name: found.get(name) or _unknown(name) for name in names}

    def all(self, label: Label | None = None) -> list[Destination]:
        """Return all hosts, or those that have a label, by name."""
        query = sa.select(schema.host).order_by(schema.host.c.name)
        return self._destinations(query if label is None else query.where(has_label(label)))

    def _destinations(self, query: sa.Select[Any]) -> list[Destination]:
        rows = self._connection.execute(query.with_only_columns(schema.host.c.name, schema.host.c.document))
        return [Destination(name, *self._runs(document)) for name, document in rows]

    def _runs(self, text: str) -> tuple[tuple[str, ...], Mapping[str, Any]]:
        if text not in self._read:
            document = json.loads(text)
            self._read[text] = (tuple(document["releases"]), document["restrict"])
        return self._read[text]


def _unknown(name: str) -> Destination:
    return Destination(name, (), {}, Problem(ProblemCode.UNKNOWN_HOST, f"no host {name} is registered"))
