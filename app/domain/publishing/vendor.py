"""Plans a vendor: its title and URL can be added later, and never change."""

from collections.abc import Mapping

from app.domain.values.document import FaultCode, Place

# The field of the document that a stored field comes from.
_FIELDS = {"title": "name", "url": "url"}


def gained(
    existing: Mapping[str, str | None], stated: Mapping[str, str | None], place: Place
) -> Mapping[str, str | None]:
    """Return the fields (title, url) that a published vendor gains; report those that would change."""
    gains = {}
    for field, document_field in _FIELDS.items():
        before, after = existing[field], stated[field]
        if before is None and after is not None:
            gains[field] = after
        elif after is not None and before != after:
            (place / document_field).fault(FaultCode.ENTRY_CHANGED, f"must stay as published: {before}")
    return gains
