"""Implementations as JSON documents."""

from typing import Any

import sqlalchemy as sa

from app.domain.values.name import vendor_of, version_order
from app.storage import lookup, schema
from app.storage.evolution import evolution_of


def implementation_document(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return an implementation as JSON, its releases by version; None if it is not published."""
    implementation_id = lookup.ids(connection, schema.implementation, [name]).get(name)
    if implementation_id is None:
        return None
    evolution = evolution_of(connection, implementation_id)
    versions = sorted(lookup.versions(connection, implementation_id), key=version_order)
    return {
        "implementation": name,
        "vendor": vendor_of(name),
        "evolution": evolution.mode.value,
        "transitive": evolution.transitive,
        "releases": [f"{name}@{version}" for version in versions],
    }
