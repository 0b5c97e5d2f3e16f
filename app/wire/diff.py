"""Comparisons on the wire."""

from pydantic import Field

from app.wire.base import Based
from app.wire.difference import Difference
from app.wire.release import MadeOtherwise


class Diff(Based):
    """The differences between two releases or two profiles; models without a difference are left out."""

    before: str = Field(alias="from", description="the first release or profile, as in the request")
    after: str = Field(alias="to", description="the second one, as in the request")
    models: dict[str, list[Difference]] = Field(description="the differences by device model")
    no_longer_listed: list[str] = Field(
        default_factory=list, description="of releases: profiles that the first one lists and the second one does not"
    )
    makes_otherwise: list[MadeOtherwise] = Field(
        default_factory=list,
        description="of releases: profiles that both list, and of which the second one makes other values by itself",
    )
