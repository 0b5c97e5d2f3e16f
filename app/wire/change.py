"""Changes on the wire."""

from typing import Annotated, Any

from pydantic import Field

from app.domain.publishing.change import ChangeKind
from app.wire.base import DryRun, OpenShape, Shape, printable

Kind = Annotated[ChangeKind, Field(strict=False, description="what happened; stable")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", examples=[f"sha256:{'0' * 64}"])]


class Change(Shape):
    """A change to the registry."""

    seq: int = Field(ge=1, description="the number of the change: 1, 2, 3, … without gaps, in the order committed")
    part_of: int = Field(
        ge=1,
        description="the seq of the first change of the same transaction; a transaction is stored whole or not at all",
    )
    at: str = Field(max_length=40, description="the time in UTC (ISO 8601)")
    by: str = Field(max_length=255, description="the name of the token; admin: the operator's token")
    kind: Kind
    name: str = Field(max_length=400, description="the vendor, release, profile, implementation or host")
    digest: Digest | None = Field(
        default=None, description="the digest of the release, profile or host after the change"
    )
    detail: dict[str, Any] = Field(default_factory=dict, description="more about the change, for people")
    document_digest: Digest | None = Field(
        default=None,
        description="the digest of `document` in GET /changes/{seq}; null if the change added nothing, or if the "
        "document is that of the change `part_of` (a profile that was published with a release)",
    )
    link: Digest = Field(
        description="a hash chain: the digest of all other fields of this change, with the link of the previous change "
        "as `before` (canonical JSON); equal links mean equal feeds up to here"
    )


class Feed(OpenShape):
    """A page of the feed."""

    registry: str = Field(description="the id of this registry; it never changes")
    head: int = Field(description="the seq of the last change of the registry; 0 if there is none")
    link: str = Field(description="the link of the last change; the id of the registry if there is none")
    items: list[Change] = Field(description="at most `limit` changes, in order")
    next: int | None = Field(description="`after` of the next request; null on the last page")


class ChangeDocument(Change):
    """A change with the content that it added, so that a mirror can add it, too."""

    document: dict[str, Any] | None = Field(
        description="what was added; it names variable sets and profile values by digest; null if nothing was"
    )
    contents: dict[str, dict[str, Any]] = Field(
        description="by digest, the variable sets and profile values; a digest is the sha256 of the canonical JSON"
    )


class AuditedChange(OpenShape):
    """A change, possibly one that is not in the feed: of a draft or a token."""

    id: int = Field(description="the number of the entry in the audit; ascending")
    seq: int | None = Field(description="the number in the feed; null: not in the feed")
    part_of: int | None = Field(
        description="the seq of the first change of the same transaction; null: not in the feed"
    )
    at: str = Field(description="the time in UTC (ISO 8601), to the millisecond")
    by: str = Field(description="the name of the token; admin: the operator's token")
    kind: Kind
    name: str = Field(
        description="the vendor, release, profile, implementation or host, or the id of the token or trusted publisher"
    )
    digest: str | None = Field(description="the digest of the entry after the change; null if it has none")
    detail: dict[str, Any] = Field(description="more about the change, for people")
    document_digest: str | None = Field(
        description="the digest of `document` in GET /changes/{seq}; null if it has none"
    )
    link: str | None = Field(description="as in the feed; null: not in the feed")


class Audit(OpenShape):
    """A page of the audit."""

    items: list[AuditedChange] = Field(description="at most `limit` entries, in order")
    next: int | None = Field(description="`after` of the next request; null on the last page")


class MirroredChange(Change):
    """A change of another registry, with the content that it added."""

    document: dict[str, Any] | None = Field(
        default=None, description="as in GET /changes/{seq} of that registry; null if it has none"
    )


class MirroredChanges(Shape):
    """Changes of another registry, in its order; a transaction of it comes whole."""

    url: Annotated[str, printable] = Field(
        max_length=2000,
        description="the URL of that registry, or the file that was read; at most 2,000 characters; credentials in it "
        "are not stored",
    )
    changes: list[MirroredChange] = Field(
        min_length=1, max_length=10_000, description="1 to 10,000 changes, in order, whole transactions"
    )
    contents: dict[Digest, dict[str, Any]] = Field(
        default_factory=dict, description="as in GET /changes/{seq} of that registry"
    )
    hosts: bool = Field(default=False, description="true: also add its hosts, to restore a backup")


class Mirror(OpenShape):
    """A registry that is mirrored into this one, and how far."""

    registry: str = Field(description="the id of the other registry, at most 100 characters")
    url: str = Field(description="the URL or file that its changes were last read from")
    seq: int = Field(description="the seq of its last change that was added here")
    link: str = Field(description="the link of that change")
    at: str = Field(description="when that change was added here, in UTC (ISO 8601)")


class Mirrored(Mirror):
    """The result of mirroring changes."""

    added: int = Field(description="the number of changes that added something here")
    dry_run: DryRun
