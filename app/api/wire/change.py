"""Changes on the wire."""

from typing import Annotated, Any

from pydantic import Field

from app.api.wire.base import DryRun, Shape, printable
from app.domain.change import ChangeKind

Kind = Annotated[ChangeKind, Field(strict=False, description="what happened; stable")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", examples=[f"sha256:{'0' * 64}"])]


class Change(Shape):
    """Something that happened to the registry."""

    seq: int = Field(ge=1, description="its place in the feed: 1, 2, 3, … without gaps, in the order committed")
    part_of: int = Field(
        ge=1, description="the seq of the first change of the same transaction: all of it or none is there"
    )
    at: str = Field(max_length=40, description="when, in UTC (ISO 8601)")
    by: str = Field(max_length=255, description="the name of the token; admin: the operator's own")
    kind: Kind
    name: str = Field(max_length=400, description="the vendor, release, profile, implementation or host")
    digest: Digest | None = Field(
        default=None, description="of the release, profile or host as it stands after the change"
    )
    detail: dict[str, Any] = Field(default_factory=dict, description="what people want to know of it")
    document_digest: Digest | None = Field(
        default=None,
        description="of what was added, GET /changes/{seq}; null for a profile that came with a release: the change "
        "that `part_of` names",
    )
    link: Digest = Field(
        description="over all that is told of the change, and as `before` the link of the one before (canonical JSON): "
        "it stands for all that the feed told until here"
    )


class Feed(Shape):
    """Some of the changes, in order."""

    registry: str = Field(description="which registry this is: a name of its own that it has for ever")
    head: int = Field(description="the seq of the last change there is, 0 if none")
    items: list[Change] = Field(description="at most `limit` of them, in their order")
    next: int | None = Field(description="`after` of the next request; null if these are the last ones now")


class ChangeDocument(Change):
    """A change with what it added, so that it can be added elsewhere."""

    document: dict[str, Any] | None = Field(description="what was added; content stands by its digest")
    contents: dict[str, dict[str, Any]] = Field(
        description="by digest: variable sets and values of profiles; the digest is sha256 over their canonical JSON"
    )


class AuditedChange(Shape):
    """Something that happened, with what the feed leaves out: drafts and tokens."""

    id: int = Field(description="its place in the audit; ascending")
    seq: int | None = Field(description="its place in the feed; null: the feed leaves it out")
    part_of: int | None = Field(description="the seq of the first change of its transaction; null where seq is")
    at: str = Field(description="when, in UTC (ISO 8601), to the millisecond")
    by: str = Field(description="the name of the token; admin: the operator's own")
    kind: Kind
    name: str = Field(description="the vendor, release, profile, implementation or host, or the id of the token")
    digest: str | None = Field(description="of what stands under the name after the change; null where nothing does")
    detail: dict[str, Any] = Field(description="what people want to know of it")
    document_digest: str | None = Field(description="of what was added, GET /changes/{seq}")
    link: str | None = Field(description="as in the feed; null where the feed leaves it out")


class Audit(Shape):
    """Some of what happened, in order."""

    items: list[AuditedChange] = Field(description="at most `limit` of them, in their order")
    next: int | None = Field(description="`after` of the next request; null if these are the last ones now")


class MirroredChange(Change):
    """A change of another registry, with what it added."""

    document: dict[str, Any] | None = Field(
        default=None, description="what it added, as GET /changes/{seq} gives it; null where that has none"
    )


class MirroredChanges(Shape):
    """Changes of another registry, in its order, those of one of its transactions together."""

    url: Annotated[str, printable] = Field(
        max_length=2000, description="where that registry is, or what file it was read from; at most 2,000 characters"
    )
    changes: list[MirroredChange] = Field(
        min_length=1, max_length=10_000, description="1 to 10,000, in their order, whole transactions"
    )
    contents: dict[Digest, dict[str, Any]] = Field(default_factory=dict, description="as GET /changes/{seq} gives them")
    hosts: bool = Field(default=False, description="its hosts, too: to restore a backup")


class Mirror(Shape):
    """How far another registry is mirrored into this one."""

    registry: str = Field(description="which registry it is; at most 100 characters")
    url: str = Field(description="where it was read from last")
    seq: int = Field(description="the last of its changes that is here")
    link: str = Field(description="of that change")
    at: str = Field(description="when that was written, in UTC (ISO 8601)")


class Mirrored(Mirror):
    """What came of mirroring changes."""

    added: int = Field(description="of how many changes something was not here yet")
    dry_run: DryRun
