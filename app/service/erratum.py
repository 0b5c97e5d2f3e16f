"""Errata as JSON documents."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from app.domain.things.erratum import Others
from app.domain.values.name import ReleaseName
from app.storage import erratum as storage
from app.storage import lookup
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
    """Return the first errata of a release, or about a model, as JSON; withdrawn ones, too."""
    page = storage.errata(connection, release=release, model=model, is_withdrawn=None, after=None, limit=_MAX_SHOWN)
    return [erratum_document(storage.stored_erratum(row)) for row in page.rows]


def unknown_releases(connection: sa.Connection, others: Iterable[str]) -> list[str]:
    """Return the releases that an erratum names and the registry lacks; ranges are about any releases."""
    named = [text for text in others if Others.parse(text).version is not None]
    return [text for text in named if not _is_published(connection, ReleaseName.parse(text))]


def _is_published(connection: sa.Connection, name: ReleaseName) -> bool:
    return lookup.release_id(connection, name.implementation, name.version) is not None
