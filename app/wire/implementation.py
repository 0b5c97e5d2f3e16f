"""Implementations on the wire."""

from typing import Annotated

from pydantic import Field

from app.domain.publishing.gate import Mode
from app.wire.base import ImplementationName, OpenShape, Shape, VendorName

EvolutionMode = Annotated[
    Mode,
    Field(
        strict=False,
        description="backward: a new release has to accept, per model, every published profile that the previous one "
        "accepts; full: both have to accept the same profiles; none: no check",
    ),
]


class ImplementationDocument(Shape):
    """The evolution mode of an implementation, which its next releases have to meet."""

    evolution: EvolutionMode = Mode.BACKWARD
    transitive: bool = Field(
        default=False, description="true: compare with all lower versions; false: only with the previous one"
    )


class StoredImplementation(OpenShape):
    """An implementation: a product that provides devices, with its evolution mode."""

    implementation: ImplementationName
    vendor: VendorName
    evolution: EvolutionMode
    transitive: bool = Field(description="true: compare with all lower versions; false: only with the previous one")
    releases: list[str] = Field(description="its releases, `<implementation>@<version>`, lowest version first")
