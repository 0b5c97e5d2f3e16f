"""The feed and the audit: what happened, recorded in the transaction in which it does."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.change import ChangeKind, linked
from app.domain.name import vendor_of
from app.storage import lookup, schema
from app.storage.database import Writing, insert

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

# A host may be about any model.
OF_HOSTS = (ChangeKind.HOST_REGISTERED, ChangeKind.HOST_CHANGED, ChangeKind.HOST_FORGOTTEN)
_OF_NO_VENDOR = frozenset({*OF_HOSTS, ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED})
_COLUMNS = [each for each in schema.change.c if each.name not in {"id", "vendor"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that happens.

    document: what was added, content by its digest. digest: of what stands now under the name. models: those that it
    concerns. detail: what people want to know of it.
    """

    kind: ChangeKind
    name: str
    document: Mapping[str, Any] | None = None
    digest: str | None = None
    models: Collection[str] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


def record(writing: Writing, *changes: Change) -> None:
    """Record what happens, in this order."""
    connection = writing.connection
    seq, link = _last(connection)
    rows: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    concerned: list[dict[str, Any]] = []
    model_ids = lookup.ids(connection, schema.model, {model for each in changes for model in each.models})
    for each in changes:
        if not each.kind.is_audited_alone:
            seq += 1
            writing.first_seq = writing.first_seq or seq
        canonical = None if each.document is None else canonical_json(each.document)
        told: dict[str, Any] = {
            "seq": None if each.kind.is_audited_alone else seq,
            "part_of": None if each.kind.is_audited_alone else writing.first_seq,
            "at": writing.at,
            "by": writing.by,
            "kind": each.kind.value,
            "name": each.name,
            "digest": each.digest,
            "detail": {**each.detail, **writing.detail},
            "document_digest": None if canonical is None else digest(canonical),
        }
        if not each.kind.is_audited_alone:
            link = linked(link, told)
        rows.append(
            {
                **told,
                "detail": json.dumps(told["detail"]),
                "vendor": None if each.kind in _OF_NO_VENDOR else vendor_of(each.name),
                "link": None if each.kind.is_audited_alone else link,
            }
        )
        if canonical is not None:
            documents.append({"seq": seq, "document": canonical})
        concerned += [{"model_id": model_ids[model], "seq": seq} for model in each.models if model in model_ids]
    for table, several in (
        (schema.change, rows),
        (schema.change_document, documents),
        (schema.change_model, concerned),
    ):
        if several:
            insert(connection, table, several)


def head(connection: sa.Connection) -> int:
    """Return the seq of the last change, 0 if nothing ever happened."""
    last: int | None = connection.execute(sa.select(sa.func.max(schema.change.c.seq))).scalar_one()
    return last or 0


def _last(connection: sa.Connection) -> tuple[int, str]:
    """Return the seq and the link of the last change; of none 0 and what the first link is made of."""
    table = schema.change
    query = sa.select(table.c.seq, table.c.link).where(table.c.seq.is_not(None)).order_by(table.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return (0, registry_id(connection)) if row is None else (row.seq, row.link)


def feed(
    connection: sa.Connection, after: int, limit: int, *, vendor: str | None = None, model: str | None = None
) -> Sequence[Row]:
    """Return the changes behind one in order, with all that is told of them."""
    table = schema.change
    query = sa.select(*_COLUMNS).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
    if vendor is not None:
        query = query.where(table.c.vendor == vendor)
    if model is not None:
        concerned = sa.select(schema.change_model.c.seq).join(schema.model).where(schema.model.c.name == model)
        query = query.where(table.c.seq.in_(concerned) | table.c.kind.in_(OF_HOSTS))
    return connection.execute(query).all()


def models_since(connection: sa.Connection, after: int) -> Sequence[str]:
    """Return the models that the changes behind one are about."""
    table = schema.change_model
    query = sa.select(schema.model.c.name).join_from(table, schema.model).where(table.c.seq > after).distinct()
    return connection.execute(query).scalars().all()


def audit(connection: sa.Connection, after: int, limit: int) -> Sequence[Row]:
    """Return all that happened behind an id in order: id, and what the feed tells; seq is null if it leaves it out."""
    table = schema.change
    query = sa.select(table.c.id, *_COLUMNS).where(table.c.id > after).order_by(table.c.id).limit(limit)
    return connection.execute(query).all()


def documents(connection: sa.Connection, seqs: Collection[int]) -> dict[int, str]:
    """Return what changes added, canonical JSON by seq; those that have no document are left out."""
    table = schema.change_document
    found: dict[int, str] = {}
    for batch in lookup.batches(seqs):
        rows = connection.execute(sa.select(table.c.seq, table.c.document).where(table.c.seq.in_(batch)))
        found.update((row.seq, row.document) for row in rows)
    return found


def registry_id(connection: sa.Connection) -> str:
    """Return which registry this is: a name of its own that it has for ever."""
    found: str = connection.execute(sa.select(schema.identity.c.registry)).scalar_one()
    return found


def digests(document: Mapping[str, Any]) -> set[str]:
    """Return the digests by which content stands in the document of a publication."""
    profiles = [each for each in document.get("profiles", ()) if isinstance(each, dict)]
    # A profile's own document has its values beside its name.
    valued = [*profiles, *([document] if "values" in document else [])]
    return {
        *document.get("models", {}).values(),
        *(digest for each in valued for digest in each["values"].values()),
        *(digest for own in document.get("own_values", {}).values() for digest in own.values()),
    }


def contents(connection: sa.Connection, document: Mapping[str, Any]) -> dict[str, str]:
    """Return the content that stands in a document, canonical JSON by digest."""
    wanted = digests(document)
    return {
        key: text
        for table in (schema.variable_set, schema.profile_values)
        for key, text in lookup.documents(connection, table, wanted)
    }
