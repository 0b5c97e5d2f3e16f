"""Hosts on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import DryRun, Name, Shape
from app.api.wire.compatibility import Restrict

HostName = Annotated[str, Field(description="its name: 1 to 255 characters, no /, no white space")]
LabelPart = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f=]+$")]
LabelValue = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]*$")]


class HostDocument(Shape):
    """What a host runs: an operator's own, replaced as a whole."""

    releases: list[Name] = Field(
        min_length=1,
        max_length=100,
        description="1 to 100, in its order of preference: a device belongs to the first implementation that has its "
        "model",
        examples=[["qemu.org/qemu-system-x86_64@10.0.13"]],
    )
    restrict: Restrict = Field(default_factory=dict)
    labels: dict[LabelPart, LabelValue] = Field(
        default_factory=dict,
        max_length=64,
        description="to choose hosts by, at most 64: a name of 1 to 255 characters without =, a value of at most 255",
        examples=[{"rack": "r1"}],
    )


class StoredHost(HostDocument):
    """A registered host."""

    host: HostName


class HostRegistration(Shape):
    """What came of registering a host."""

    host: HostName
    dry_run: DryRun
    unknown_releases: list[str] = Field(description="what it runs that the registry does not know (yet)")
    unknown_models: list[str] = Field(description="models that it restricts, and that the registry does not know (yet)")
    unknown_variables: dict[str, list[str]] = Field(description="by model, variables that it restricts, and no set has")
