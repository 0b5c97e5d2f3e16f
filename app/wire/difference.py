"""One difference on the wire."""

from typing import Any

from pydantic import Field

from app.domain.fleet.difference import DifferenceKind, Direction, Extent
from app.wire.base import OpenShape


class Difference(OpenShape):
    """One difference of a device model between two releases or two profiles."""

    variable: str | None = Field(description="the variable; null: the model as a whole")
    change: DifferenceKind = Field(description="whether it was added, removed or changed")
    before: Any = Field(
        default=None,
        alias="from",
        description="in profiles the value before, in releases the fields of the variable that differ; absent if there "
        "is none",
    )
    after: Any = Field(default=None, alias="to", description="the same after the change")
    message: str = Field(description="what the difference means, for people")
    closes: dict[Direction, Extent] = Field(
        description="the directions of migration that it closes (forward: `from` to `to`), always or for some values "
        "of the variable"
    )
