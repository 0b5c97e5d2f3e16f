"""Profiles as JSON documents, published and drafts."""

from typing import Any

import sqlalchemy as sa

from app.domain.values.state import State
from app.signing.envelope import Subject
from app.storage import listing, lookup, state
from app.storage.signature import signatures_of


def draft_document(reading: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return the draft of a profile as JSON, None if there is none."""
    draft = state.profile_draft(reading, name)
    return (
        None
        if draft is None
        else {"extends": None, "description": None, **draft, "name": name, "digest": None, "signatures": []}
    )


def profile_document(reading: sa.Connection, name: str, *, resolved: bool = False) -> dict[str, Any] | None:
    """Return a profile as JSON, None if it is not published; resolved: with inherited values."""
    stored = listing.profile(reading, name)
    if stored is None:
        return None
    if resolved:
        digests = lookup.resolved_entries(reading, [stored.id])[stored.id]
    else:
        entries = lookup.profile_entries(reading, [stored.id])[stored.id]
        digests = {model: own for model, (own, _) in entries.items()}
    values = lookup.profile_values(reading, digests.values())
    return {
        "name": name,
        "extends": stored.extends,
        "description": stored.description,
        "state": stored.state or State.PUBLISHED,
        "digest": stored.digest,
        "values": {model: values[digest] for model, digest in sorted(digests.items())},
        "signatures": signatures_of(reading, Subject.PROFILE, name),
    }
