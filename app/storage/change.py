"""The feed and the audit: each change is recorded in the transaction that makes it."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind, linked
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.name import vendor_of
from app.storage import lookup, schema
from app.storage.database import Position, Writing, insert

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# A host can concern any model.
OF_HOSTS = (ChangeKind.HOST_REGISTERED, ChangeKind.HOST_CHANGED, ChangeKind.HOST_FORGOTTEN)
_OF_NO_VENDOR = frozenset({*OF_HOSTS, ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED})
_COLUMNS = [column for column in schema.change.c if column.name not in {"id", "vendor"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change to record.

    document: what it adds; content is replaced by its digest. digest: the digest of the release or profile after the
    change. models: the models that it concerns. detail: facts for people who read the feed or the audit.
    """

    kind: ChangeKind
    name: str
    document: Mapping[str, Any] | None = None
    digest: str | None = None
    models: Collection[str] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(writing: Writing, *changes: Change) -> None:
    """Record changes in this order."""
    connection = writing.connection
    model_ids = lookup.ids(connection, schema.model, {model for change in changes for model in change.models})
    for table, rows in recorded(writing, changes, model_ids).items():
        if rows:
            insert(connection, table, rows)


def recorded(
    writing: Writing, changes: Iterable[Change], model_ids: Mapping[str, int]
) -> dict[sa.Table, list[dict[str, Any]]]:
    """Return the rows that record changes in this order, by table; model_ids: of the models that they concern."""
    writing.end = writing.end or position(writing.connection)
    seq, link = writing.end.seq, writing.end.link
    rows: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    change_models: list[dict[str, Any]] = []
    for change in changes:
        if not change.kind.is_audited_alone:
            seq += 1
            writing.first_seq = writing.first_seq or seq
        canonical = None if change.document is None else canonical_json(change.document)
        fields: dict[str, Any] = {
            "seq": None if change.kind.is_audited_alone else seq,
            "part_of": None if change.kind.is_audited_alone else writing.first_seq,
            "at": writing.at,
            "by": writing.by,
            "kind": change.kind.value,
            "name": change.name,
            "digest": change.digest,
            "detail": {**change.detail, **writing.detail},
            "document_digest": None if canonical is None else digest(canonical),
        }
        if not change.kind.is_audited_alone:
            link = linked(link, fields)
        rows.append(
            {
                **fields,
                "detail": json.dumps(fields["detail"]),
                "vendor": None if change.kind in _OF_NO_VENDOR else vendor_of(change.name),
                "link": None if change.kind.is_audited_alone else link,
            }
        )
        if canonical is not None:
            documents.append({"seq": seq, "document": canonical})
        change_models += [{"model_id": model_ids[model], "seq": seq} for model in change.models if model in model_ids]
    writing.end = Position(writing.end.registry, seq, link)
    return {schema.change: rows, schema.change_document: documents, schema.change_model: change_models}


def position(connection: sa.Connection) -> Position:
    """Return the position of the registry."""
    table = schema.change
    last = sa.select(table.c.seq, table.c.link).where(table.c.seq.is_not(None)).order_by(table.c.seq.desc()).limit(1)
    newest = last.subquery("newest")
    query = sa.select(schema.identity.c.registry, newest.c.seq, newest.c.link).join_from(
        schema.identity, newest, sa.true(), isouter=True
    )
    row = connection.execute(query).one()
    return Position(row.registry, row.seq or 0, row.link or row.registry)


def has(connection: sa.Connection, earlier: Position) -> bool:
    """Return whether the registry has an earlier position in its history: otherwise it was set back, or is another."""
    if earlier.seq == 0:
        return registry_id(connection) == earlier.registry
    table = schema.change
    link = connection.execute(sa.select(table.c.link).where(table.c.seq == earlier.seq)).scalar_one_or_none()
    return link == earlier.link


def feed(
    connection: sa.Connection, after: int, limit: int, *, vendor: str | None = None, model: str | None = None
) -> Sequence[Row]:
    """Return the changes after one, in order, with every column of the feed."""
    table = schema.change
    query = sa.select(*_COLUMNS).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
    if vendor is not None:
        query = query.where(table.c.vendor == vendor)
    if model is not None:
        seqs = sa.select(schema.change_model.c.seq).join(schema.model).where(schema.model.c.name == model)
        query = query.where(table.c.seq.in_(seqs) | table.c.kind.in_(OF_HOSTS))
    return connection.execute(query).all()


def without_hosts(connection: sa.Connection, after: int, limit: int) -> Sequence[Row]:
    """Return the kinds and names of the changes after one, those of hosts apart, in order."""
    table = schema.change
    query = sa.select(table.c.kind, table.c.name).where(table.c.seq > after, table.c.kind.not_in(OF_HOSTS))
    return connection.execute(query.order_by(table.c.seq).limit(limit)).all()


def models_since(connection: sa.Connection, after: int) -> Sequence[str]:
    """Return the models that the changes after one concern."""
    table = schema.change_model
    query = sa.select(schema.model.c.name).join_from(table, schema.model).where(table.c.seq > after).distinct()
    return connection.execute(query).scalars().all()


def audit(connection: sa.Connection, after: int, limit: int) -> Sequence[Row]:
    """Return all changes after an id, in order: id and the columns of the feed. seq is null: not in the feed."""
    table = schema.change
    query = sa.select(table.c.id, *_COLUMNS).where(table.c.id > after).order_by(table.c.id).limit(limit)
    return connection.execute(query).all()


def documents(connection: sa.Connection, seqs: Collection[int]) -> dict[int, str]:
    """Return the documents of changes, canonical JSON by seq; changes without a document are left out."""
    table = schema.change_document
    stored: dict[int, str] = {}
    for batch in lookup.batches(seqs):
        rows = connection.execute(sa.select(table.c.seq, table.c.document).where(table.c.seq.in_(batch)))
        stored.update((row.seq, row.document) for row in rows)
    return stored


def registry_id(connection: sa.Connection) -> str:
    """Return the id of this registry, which is unique and never changes."""
    registry: str = connection.execute(sa.select(schema.identity.c.registry)).scalar_one()
    return registry


def digests(document: Mapping[str, Any]) -> set[str]:
    """Return the digests of the content that the document of a publication refers to."""
    listed = document.get("profiles", ())
    profiles: list[Mapping[str, Any]] = [profile for profile in listed if isinstance(profile, dict)]
    # The document of a profile has its values at the top level.
    if "values" in document:
        profiles.append(document)
    return {
        *document.get("models", {}).values(),
        *(digest for profile in profiles for digest in profile["values"].values()),
        *(digest for own in document.get("own_values", {}).values() for digest in own.values()),
    }


def contents(connection: sa.Connection, document: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, str]:
    """Return the content that a change's document and detail refer to, canonical JSON by digest.

    The envelope of a signed publication is named by the detail: mirrors of the version before ignore it there.
    """
    wanted = digests(document)
    if "signature" in detail:
        wanted.add(str(detail["signature"]))
    return {
        key: text
        for table in (schema.variable_set, schema.profile_values, schema.envelope)
        for key, text in lookup.documents(connection, table, wanted)
    }
