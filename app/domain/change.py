"""Changes: what may happen to a registry."""

from collections.abc import Mapping
from enum import StrEnum

from app.domain.canonical import canonical_json, digest


class ChangeKind(StrEnum):
    """What happened; the strings are part of the interface and never change."""

    VENDOR_REGISTERED = "vendor-registered"
    VENDOR_COMPLETED = "vendor-completed"
    RELEASE_PUBLISHED = "release-published"
    RELEASE_EXTENDED = "release-extended"
    PROFILE_PUBLISHED = "profile-published"
    PROFILE_EXTENDED = "profile-extended"
    RELEASE_STATE_CHANGED = "release-state-changed"
    PROFILE_STATE_CHANGED = "profile-state-changed"
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
        """Return whether the feed leaves it out: no verdict, and no other registry, has to do with it."""
        return self in _AUDITED_ALONE


_AUDITED_ALONE = frozenset(
    {ChangeKind.DRAFT_KEPT, ChangeKind.DRAFT_DELETED, ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED}
)

# What a link of the chain is made of.
LINKED = ("seq", "part_of", "at", "by", "kind", "name", "digest", "detail", "document_digest")


def linked(before: str, change: Mapping[str, object]) -> str:
    """Return the link of a change: a digest over all that is told of it, and the link of the change before.

    Who has a link has, by that, all that the feed ever told until there. Before the first one: the registry's name.
    """
    return digest(canonical_json({"before": before, **{field: change[field] for field in LINKED}}))
