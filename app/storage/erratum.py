"""Errata (DESIGN 5): what releases turned out to do wrong; they are withdrawn, never deleted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.outcome import refuse_faults
from app.domain.things.erratum import Erratum, understood
from app.domain.values.canonical import canonical_json
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName
from app.storage import listing, lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing, count_revision


@dataclass(frozen=True, slots=True)
class StoredErratum:
    """An erratum as it is stored; withdrawn_at: None while it counts."""

    id: str
    document: Mapping[str, Any]
    at: str
    withdrawn_at: str | None


class WithdrawnError(Exception):
    """The erratum was published and withdrawn."""

    def __init__(self, stored: StoredErratum) -> None:
        super().__init__(f"This erratum was withdrawn at {stored.withdrawn_at}. State what is wrong in other words.")


def publish_erratum(writing: Writing, read: Mapping[str, Any], place: Place) -> tuple[StoredErratum, bool]:
    """Publish an erratum that was read from a document; return it, and whether it is new.

    Raises InvalidDocumentError with all faults, and WithdrawnError: what was withdrawn never counts again.
    """
    connection = writing.connection
    erratum, ids = _checked(connection, read, place)
    refuse_faults(place)
    assert erratum is not None  # noqa: S101 (without faults, the release and the model are known)
    existing = find(connection, erratum.id)
    if existing is not None and existing.withdrawn_at is not None:
        raise WithdrawnError(existing)
    if existing is not None:
        return existing, False
    document = erratum.document
    row = {**ids, "id": erratum.id, "at": writing.at, "document": canonical_json(document)}
    connection.execute(sa.insert(schema.erratum), row)
    _record(writing, ChangeKind.ERRATUM_PUBLISHED, erratum.id, document, document)
    return StoredErratum(erratum.id, document, writing.at, None), True


def _checked(
    connection: sa.Connection, read: Mapping[str, Any], place: Place
) -> tuple[Erratum | None, Mapping[str, int]]:
    """Return the erratum with the ids of its release and model; report what is unknown or wrong, None then."""
    if not read["release"] or not read["model"]:
        return None, {}
    name = ReleaseName.parse(read["release"])
    release_id = lookup.release_id(connection, name.implementation, name.version)
    if release_id is None:
        (place / "release").fault(FaultCode.UNKNOWN_RELEASE, f"the registry has no release {name}")
        return None, {}
    digest = lookup.release_models(connection, release_id).get(read["model"])
    if digest is None:
        message = f"{name} does not implement {read['model']}"
        (place / "model").fault(FaultCode.UNKNOWN_MODEL, message)
        return None, {}
    (variable_set,) = lookup.variable_sets(connection, [digest]).values()
    count = len(place.faults)
    if count:
        # What could not be read is reported already; the condition still can be checked.
        read = {**read, "with": None, "direction": "both"}
    erratum = understood(read, variable_set, place)
    model_id = lookup.ids(connection, schema.model, [read["model"]])[read["model"]]
    return erratum, {"release_id": release_id, "model_id": model_id}


def withdraw_erratum(writing: Writing, erratum_id: str) -> bool:
    """Withdraw an erratum; return whether it still counted. Raises KeyError for an unknown id."""
    stored = find(writing.connection, erratum_id)
    if stored is None:
        raise KeyError(erratum_id)
    if stored.withdrawn_at is not None:
        return False
    writing.connection.execute(sa.insert(schema.erratum_withdrawal), {"erratum_id": erratum_id, "at": writing.at})
    _record(writing, ChangeKind.ERRATUM_WITHDRAWN, erratum_id, stored.document, {"erratum": erratum_id})
    return True


def _record(
    writing: Writing, kind: ChangeKind, erratum_id: str, erratum: Mapping[str, Any], document: Mapping[str, Any]
) -> None:
    detail = {"erratum": erratum_id, "model": erratum["model"], "description": erratum["description"]}
    record(
        writing,
        Change(kind=kind, name=erratum["release"], document=document, models=[erratum["model"]], detail=detail),
    )
    count_revision(writing.connection)


_COLUMNS = (
    schema.erratum.c.at,
    schema.erratum.c.id,
    schema.erratum.c.document,
    schema.erratum_withdrawal.c.at.label("withdrawn_at"),
)
_ALL = sa.select(*_COLUMNS).select_from(schema.erratum.outerjoin(schema.erratum_withdrawal))


def find(connection: sa.Connection, erratum_id: str) -> StoredErratum | None:
    """Return an erratum, None if there is none with this id."""
    row = connection.execute(_ALL.where(schema.erratum.c.id == erratum_id)).first()
    return None if row is None else stored_erratum(row)


def stored_erratum(row: listing.Row) -> StoredErratum:
    """Return the erratum in a row of `errata`."""
    return StoredErratum(row.id, json.loads(row.document), row.at, row.withdrawn_at)


def errata(
    connection: sa.Connection,
    *,
    release: ReleaseName | None,
    model: str | None,
    is_withdrawn: bool | None,
    after: listing.Key | None,
    limit: int,
) -> listing.Page:
    """Return a page of errata, the oldest first; is_withdrawn: None: also those that are."""
    table = schema.erratum
    query = _selected(connection, release, model, is_withdrawn=is_withdrawn)
    return listing.page(connection, query, [table.c.at, table.c.id], after, limit)


def newest_errata(
    connection: sa.Connection, *, release: ReleaseName | None, model: str | None, is_withdrawn: bool, limit: int
) -> list[StoredErratum]:
    """Return the newest errata, those that count or those that were withdrawn."""
    table = schema.erratum
    query = _selected(connection, release, model, is_withdrawn=is_withdrawn)
    rows = connection.execute(query.order_by(table.c.at.desc(), table.c.id).limit(limit))
    return list(map(stored_erratum, rows))


def _selected(
    connection: sa.Connection, release: ReleaseName | None, model: str | None, *, is_withdrawn: bool | None
) -> listing.Query:
    table, query = schema.erratum, _ALL
    if release is not None:
        release_id = lookup.release_id(connection, release.implementation, release.version)
        query = query.where(table.c.release_id == (-1 if release_id is None else release_id))
    if model is not None:
        query = query.join(schema.model, schema.model.c.id == table.c.model_id).where(schema.model.c.name == model)
    if is_withdrawn is not None:
        withdrawn_at = schema.erratum_withdrawal.c.at
        query = query.where(withdrawn_at.is_not(None) if is_withdrawn else withdrawn_at.is_(None))
    return query
