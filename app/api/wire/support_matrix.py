"""The support matrix on the wire."""

from pydantic import Field

from app.api.wire.base import ProfileName, ReleaseName, Shape
from app.api.wire.problem import Problem
from app.domain.matrix import MAX_PROBLEMS


class Cell(Shape):
    """The verdict on a profile at a release."""

    release: ReleaseName
    compatible: bool = Field(
        description="whether every device of the profile that the release implements can be there, policy strict; "
        "where `model` is asked, each of these, implemented or not"
    )
    problems: list[Problem] = Field(description=f"at most the first {MAX_PROBLEMS}")
    problem_count: int = Field(description="how many there are, also those that are not told")
    accepted_models: int = Field(description="for how many of its models the release accepts the profile")
    refused_models: int = Field(description="for how many of its models, which the release implements, it does not")
    model_count: int = Field(description="of how many models the profile speaks")


class Row(Shape):
    """A profile at every release."""

    profile: ProfileName
    cells: list[Cell] = Field(description="in the order of `releases`")


class SupportMatrix(Shape):
    """Every profile at every release."""

    releases: list[str] = Field(description="the columns, in the order published")
    rows: list[Row] = Field(description="the newest profile first; at most 100,000 cells in all")
