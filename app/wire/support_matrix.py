"""The support matrix on the wire."""

from pydantic import Field

from app.domain.fleet.support_matrix import MAX_PROBLEMS
from app.wire.base import Based, OpenShape, ProfileName, ReleaseName
from app.wire.problem import Problem


class Cell(OpenShape):
    """Whether one release supports one profile."""

    release: ReleaseName
    compatible: bool = Field(
        description="whether the release accepts the profile for every model of it that it implements, policy strict; "
        "with the parameter `model`, for every given model"
    )
    problems: list[Problem] = Field(description=f"the first problems, at most {MAX_PROBLEMS}")
    problem_count: int = Field(description="the number of all problems")
    accepted_models: int = Field(description="the number of its models for which the release accepts the profile")
    refused_models: int = Field(
        description="the number of its models that the release implements, but refuses the profile for"
    )
    model_count: int = Field(description="the number of models of the profile")


class Row(OpenShape):
    """One profile on every release."""

    profile: ProfileName
    cells: list[Cell] = Field(description="in the order of `releases`")


class SupportMatrix(Based):
    """Every profile on every release."""

    releases: list[str] = Field(description="the columns, in the order published")
    rows: list[Row] = Field(description="one for each profile, newest first; at most 100,000 cells in all")
