"""Hosts on the wire."""

from typing import Annotated

from pydantic import Field

from app.wire.base import DryRun, Name, OpenShape, Shape
from app.wire.compatibility import Resolves, Restrict, Units

MAX_INVENTORY = 100_000

HostName = Annotated[str, Field(description="the name of the host: 1 to 255 characters, no / and no white space")]
# Conditions on labels begin with ! or have != after the name.
LabelPart = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f=!]+$")]
LabelValue = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]*$")]


Labels = Annotated[
    dict[LabelPart, LabelValue],
    Field(
        max_length=64,
        description="at most 64 labels, which select hosts: a name of 1 to 255 characters without = and !, and a value "
        "of at most 255",
        examples=[{"rack": "r1"}],
    ),
]


class Labelled(Shape):
    """The labels of a host."""

    labels: Labels


class HostDocument(Shape):
    """What a host runs and what it makes of values, with its units and labels; a new document replaces the old one."""

    releases: list[Name] = Field(
        min_length=1,
        max_length=100,
        description="what the host runs: 1 to 100 releases in its order of preference; the first implementation that "
        "has a device's model serves the device",
        examples=[["qemu.org/qemu-system-x86_64@10.0.13"]],
    )
    restrict: Restrict = Field(default_factory=dict)
    resolves: Resolves = Field(default_factory=dict)
    units: Units = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)


class StoredHost(HostDocument):
    """A registered host."""

    host: HostName
    kind: str = Field(
        description="the digest of its kind: hosts that state the same, apart from the ids and free places of units "
        "and from labels, are of one kind and get the same answers"
    )
    reported_at: str | None = Field(
        description="when it was last registered, or reported the same again, in UTC (ISO 8601); a report that "
        "changes nothing is noted at most every hour (a 24th of REGISTRY_HOST_STALE_HOURS); null: not known"
    )
    stale: bool = Field(
        description="whether that is longer ago than the service allows (REGISTRY_HOST_STALE_HOURS): what it runs may "
        "have changed since"
    )


class HostRegistration(OpenShape):
    """The result of registering a host."""

    host: HostName
    dry_run: DryRun
    unknown_releases: list[str] = Field(description="releases of the host, and of its units, that are not published")
    unknown_models: list[str] = Field(description="restricted or resolved models that are not published")
    unknown_variables: dict[str, list[str]] = Field(
        description="by model, restricted or resolved variables that no variable set has"
    )


class Inventory(Shape):
    """What many hosts run."""

    hosts: dict[str, HostDocument] = Field(
        max_length=MAX_INVENTORY,
        description=f"by their names, at most {MAX_INVENTORY:,} hosts; each replaces an earlier registration",
    )
    forget_others: bool = Field(default=False, description="true: forget all other registered hosts")


class InventoryResult(OpenShape):
    """The result of registering an inventory."""

    added: int = Field(description="the number of new hosts")
    changed: int = Field(description="the number of hosts that state something else than before")
    unchanged: int = Field(description="the number of hosts that state the same as before")
    forgotten: int = Field(description="the number of hosts that were forgotten")
    dry_run: DryRun
    unknown_releases: list[str] = Field(description="releases of the hosts, and of their units, that are not published")
    unknown_models: list[str] = Field(description="restricted or resolved models that are not published")
    unknown_variables: dict[str, list[str]] = Field(
        description="by model, restricted or resolved variables that no variable set has"
    )
