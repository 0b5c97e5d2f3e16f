"""Differences on the wire."""

from typing import Any

from pydantic import Field

from app.api.wire.base import Shape
from app.domain.difference import DifferenceKind, Direction, Extent


class Difference(Shape):
    """One difference of a device model."""

    variable: str | None = Field(description="null: it is about the model as a whole")
    change: DifferenceKind = Field(description="what became of it from one to the other")
    before: Any = Field(
        default=None,
        alias="from",
        description="of profiles the value; of releases the variable's document as far as it differs; absent if none",
    )
    after: Any = Field(default=None, alias="to", description="the same on the other side")
    message: str = Field(description="what it means, for people")
    closes: dict[Direction, Extent] = Field(
        description="the directions that it closes (forward: from → to), always or for some values of the variable"
    )


class Diff(Shape):
    """What differs between two releases or two profiles, by device model; models without a difference are left out."""

    before: str = Field(alias="from", description="the release or profile, as asked")
    after: str = Field(alias="to", description="the other one, as asked")
    models: dict[str, list[Difference]] = Field(description="by name")
