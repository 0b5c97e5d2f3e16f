"""Implementations on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import ImplementationName, Shape, VendorName
from app.domain.evolution import Mode

EvolutionMode = Annotated[
    Mode,
    Field(
        strict=False,
        description="backward: whatever published profile the previous release accepts for a model, a new one accepts "
        "too; full: and the other way round; none: nothing is asked",
    ),
]


class ImplementationDocument(Shape):
    """What the releases of an implementation are held to from now on."""

    evolution: EvolutionMode = Mode.BACKWARD
    transitive: bool = Field(default=False, description="held against all earlier releases, not the previous one alone")


class StoredImplementation(Shape):
    """A product that provides devices, and what its releases are held to."""

    implementation: ImplementationName
    vendor: VendorName
    evolution: EvolutionMode
    transitive: bool = Field(description="true: held against all lower versions; false: the highest of them alone")
    releases: list[str] = Field(description="as `<implementation>@<version>`, the lowest version first")
