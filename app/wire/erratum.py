"""Errata on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from app.domain.things.erratum import Way
from app.wire.base import DryRun, ModelName, Name, OpenShape, ReleaseName, Shape
from app.wire.variable_set import Description, When

Direction = Annotated[
    Way,
    Field(
        strict=False,
        description="to: from the release to the others; from: from the others to the release; both",
    ),
]
Local = Annotated[bool, Field(description="true: an admin's own, which mirrors do not take")]


class ErratumDocument(Shape):
    """What a release turned out to do wrong: devices of a model cannot be migrated, though its variable set says so."""

    release: Name = Field(description="the release, `<implementation>@<version>`")
    model: Name = Field(description="a device model that it implements")
    when: When = Field(
        default_factory=dict, description="the configurations at the release that are concerned; absent: all"
    )
    others: list[str] | None = Field(
        default=None,
        alias="with",
        min_length=1,
        max_length=100,
        description="the releases at the other end of the migration, 1 to 100: releases, or ranges of an "
        "implementation such as `qemu.org/qemu-system-x86_64@>=7.0,<8.1` or `…@*`, by the numeric components of the "
        "version; absent: it cannot be migrated at all",
        examples=[["vendor-a.com/my-nic-firmware@<2024.1"]],
    )
    direction: Direction = Way.BOTH
    description: Description
    url: str | None = Field(default=None, max_length=2048, description="where to read more: an http or https address")
    local: Local = False


class StoredErratum(OpenShape):
    """A published erratum."""

    id: str = Field(description="16 hexadecimal digits, from the content: equal errata are one")
    release: ReleaseName
    model: ModelName
    when: When
    others: list[str] | None = Field(alias="with", description="the releases at the other end; null: all")
    direction: Direction
    description: str = Field(description="what is wrong, for people")
    url: str | None = Field(description="where to read more; null if nothing is given")
    local: Local
    at: str = Field(description="when it was published here, in UTC (ISO 8601)")
    state: Literal["published", "withdrawn"] = Field(description="withdrawn: no verdict looks at it any more")
    withdrawn_at: str | None = Field(description="when it was withdrawn here; null while it counts")


class ErratumPublication(StoredErratum):
    """What the publication or the withdrawal of an erratum did, or with `dry_run` would do."""

    dry_run: DryRun
    unknown_releases: list[str] = Field(description="releases under `with` that are not published here")


class ErratumState(Shape):
    """The new state of an erratum."""

    state: Literal["withdrawn"] = Field(description="withdrawn: no verdict looks at it any more")
