"""Errata as JSON documents."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from app.domain.things.erratum import Others
from app.domain.values.name import ReleaseName
from app.storage import erratum as storage
from app.storage import lookup, schema
from app.storage.erratum import StoredErratum

_MAX_SHOWN = 100


def erratum_document(stored: StoredErratum) -> dict[str, Any]:
    """Return an erratum as JSON."""
    return {
        "id": stored.id,
        **stored.document,
        "at": stored.at,
        "state": "published" if stored.withdrawn_at is None else "withdrawn",
        "withdrawn_at": stored.withdrawn_at,
    }


def errata_documents(
    connection: sa.Connection, *, release: ReleaseName | None = None, model: str | None = None
) -> list[dict[str, Any]]:
    """Return the newest errata of a release, or about a model, as JSON: those that count, then those withdrawn."""
    return [
        erratum_document(stored)
        for is_withdrawn in (False, True)
        for stored in storage.newest_errata(
            connection, release=release, model=model, is_withdrawn=is_withdrawn, limit=_MAX_SHOWN
        )
    ]


def unknown_releases(connection: sa.Connection, others: Iterable[str]) -> list[str]:
    """Return what an erratum names and the registry lacks: releases, and the implementations of ranges."""
    unknown = []
    for text in others:
        named = Others.parse(text)
        if named.version is None:
            is_known = bool(lookup.ids(connection, schema.implementation, [named.implementation]))
        else:
            is_known = _is_published(connection, ReleaseName.parse(text))
        if not is_known:
            unknown.append(text)
    return unknown


def _is_published(connection: sa.Connection, name: ReleaseName) -> bool:
    return lookup.release_id(connection, name.implementation, name.version) is not None
