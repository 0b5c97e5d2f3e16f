"""Releases as JSON documents, published and drafts."""

import json
from typing import Any

import sqlalchemy as sa

from app.domain.things import release as domain
from app.domain.things.profile import Values
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.signing.envelope import Subject
from app.storage import listing, lookup
from app.storage.evolution import overrides
from app.storage.signature import signatures_of
from app.wire.problem import MAX_BROKEN


def release_document(reading: sa.Connection, name: ReleaseName) -> dict[str, Any] | None:
    """Return a release as JSON, None if it is not published."""
    stored = listing.release(reading, name)
    if stored is None:
        return None
    parts = lookup.parts(reading, [stored.id])[stored.id]
    return {
        "release": str(name),
        "implementation": stored.implementation,
        "version": stored.version,
        "state": stored.state or State.PUBLISHED,
        "description": stored.description,
        "digest": stored.digest,
        "models": [{"model": model, "digest": digest} for model, digest in sorted(parts.sets.items())],
        "profiles": None if parts.listed is None else sorted(parts.listed),
        "aliases": dict(sorted(parts.aliases.items())),
        "overrides": [
            {
                "reason": override.reason,
                "at": override.at,
                "broken": override.broken[:MAX_BROKEN],
                "broken_count": len(override.broken),
            }
            for override in overrides(reading, stored.id)
        ],
        "signatures": signatures_of(reading, Subject.RELEASE, str(name)),
    }


def draft_document(reading: sa.Connection, name: ReleaseName) -> dict[str, Any] | None:
    """Return the draft of a release as JSON, None if there is none."""
    draft = listing.release_draft(reading, name)
    if draft is None:
        return None
    document = domain.ReleaseDocument.read(json.loads(draft.document), Place())
    names = [profile if isinstance(profile, str) else profile.name for profile in document.profiles or ()]
    return {
        "release": str(name),
        "implementation": name.implementation,
        "version": name.version,
        "state": State.DRAFT,
        "description": document.description,
        "digest": draft.digest,
        "models": [{"model": model, "digest": own.digest} for model, own in sorted(document.sets.items())],
        "profiles": None if document.profiles is None else sorted(names),
        "aliases": dict(sorted(document.aliases.items())),
        "overrides": [],
        "signatures": [],
    }


def own_values_document(reading: sa.Connection, release_id: int) -> dict[str, dict[str, Values]]:
    """Return the values that a release makes of its profiles itself: profile → model → values."""
    digests = lookup.own_values_of(reading, [release_id]).get(release_id, {})
    values = lookup.profile_values(reading, {digest for models in digests.values() for digest in models.values()})
    return {
        profile: {model: values[digest] for model, digest in sorted(models.items())}
        for profile, models in sorted(digests.items())
    }
