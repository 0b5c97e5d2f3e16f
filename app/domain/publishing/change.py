"""Changes of a registry: their kinds, and the chain of digests that links them."""

from collections.abc import Mapping
from enum import StrEnum

from app.domain.values.canonical import canonical_json, digest


class ChangeKind(StrEnum):
    """The kinds of changes; the strings are part of the interface and never change."""

    VENDOR_REGISTERED = "vendor-registered"
    VENDOR_COMPLETED = "vendor-completed"
    RELEASE_PUBLISHED = "release-published"
    RELEASE_EXTENDED = "release-extended"
    PROFILE_PUBLISHED = "profile-published"
    PROFILE_EXTENDED = "profile-extended"
    RELEASE_STATE_CHANGED = "release-state-changed"
    PROFILE_STATE_CHANGED = "profile-state-changed"
    ERRATUM_PUBLISHED = "erratum-published"
    ERRATUM_WITHDRAWN = "erratum-withdrawn"
    EVOLUTION_SET = "evolution-set"
    GATE_OVERRIDDEN = "gate-overridden"
    HOST_REGISTERED = "host-registered"
    HOST_CHANGED = "host-changed"
    HOST_FORGOTTEN = "host-forgotten"
    DRAFT_KEPT = "draft-kept"
    DRAFT_DELETED = "draft-deleted"
    TOKEN_CREATED = "token-created"  # noqa: S105 (the name of a kind)
    TOKEN_REVOKED = "token-revoked"  # noqa: S105

    @property
    def is_audited_alone(self) -> bool:
        """Return whether only the audit shows the change; verdicts and mirrors do not need it, so the feed omits it."""
        return self in _AUDITED_ALONE


_AUDITED_ALONE = frozenset(
    {ChangeKind.DRAFT_KEPT, ChangeKind.DRAFT_DELETED, ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED}
)

# The fields of a change that its link covers.
LINKED = ("seq", "part_of", "at", "by", "kind", "name", "digest", "detail", "document_digest")


def linked(before: str, change: Mapping[str, object]) -> str:
    """Return the link of a change: the digest of its fields and of the link before it.

    A link thereby vouches for the whole feed up to its change. before: for the first change, the registry's name.
    """
    return digest(canonical_json({"before": before, **{field: change[field] for field in LINKED}}))
