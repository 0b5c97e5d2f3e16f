"""The support matrix on the wire."""

from pydantic import Field

from app.domain.fleet.support_matrix import MAX_PROBLEMS
from app.wire.base import Based, OpenShape, ProfileName, ReleaseName
from app.wire.problem import Problem


class Cell(OpenShape):
    """Whether one release, or the hosts of one kind, support one profile."""

    release: ReleaseName | None = Field(default=None, description="the column; absent if the columns are kinds")
    kind: str | None = Field(
        default=None,
        description="the column, by the digest of the kind; null: nothing is known of the host; absent if the columns "
        "are releases",
    )
    compatible: bool = Field(
        description="whether the release accepts the profile for every model of it that it implements, policy strict; "
        "with the parameter `model`, for every given model. Of a kind: whether new devices with the profile, of every "
        "such model, could be re-created on its hosts, each asked about alone, with its parts taken as given"
    )
    problems: list[Problem] = Field(description=f"the first problems, at most {MAX_PROBLEMS}")
    problem_count: int = Field(description="the number of all problems")
    accepted_models: int = Field(
        description="the number of its models for which the profile is accepted there, lists and states apart"
    )
    refused_models: int = Field(description="the number of its models that are implemented there, but refused")
    model_count: int = Field(description="the number of models of the profile")


class Row(OpenShape):
    """One profile on every release, or on the hosts of every kind."""

    profile: ProfileName
    cells: list[Cell] = Field(description="in the order of `releases`, or of `kinds`")


class KindOfHosts(OpenShape):
    """The selected hosts of one kind: they state the same, so they accept the same."""

    kind: str | None = Field(
        description="the digest of what these hosts state: `GET /hosts?kind=` lists all of the kind, whatever their "
        "labels are; null: no such host is registered, or no host meets the conditions"
    )
    count: int = Field(description="the number of the selected hosts of the kind")
    releases: list[str] = Field(description="what they run, in their order of preference, units included")
    unknown_releases: list[str] = Field(
        description="those of `releases` that the registry does not have: nothing is judged there"
    )
    examples: list[str] = Field(description="the first five of these hosts")


class SupportMatrix(Based):
    """Every profile on every release, or on the hosts of every kind."""

    releases: list[str] = Field(description="the columns, in the order published; empty with `host` or `label`")
    kinds: list[KindOfHosts] = Field(
        description="the columns with `host` or `label`: in the order of the named hosts, then by the name of the "
        "first host; otherwise empty"
    )
    rows: list[Row] = Field(description="one for each profile, newest first; at most 100,000 cells in all")
