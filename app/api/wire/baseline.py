"""Baselines on the wire."""

from pydantic import Field

from app.api.wire.base import Name, Shape, Value
from app.api.wire.compatibility import Id, Label
from app.api.wire.problem import Allowed
from app.domain.fleet import BaselineCode

MAX_MODELS = 1_000
MAX_MEMBERS = 10_000


class FleetQuestion(Shape):
    """The models of a new VM, and the releases and hosts among which it is to move anywhere."""

    models: list[Name] = Field(
        min_length=1, max_length=MAX_MODELS, description=f"the device models of the VM, 1 to {MAX_MODELS:,}"
    )
    releases: list[Name] = Field(
        default_factory=list,
        max_length=MAX_MEMBERS,
        description=f"in the order of whose init values are preferred, at most {MAX_MEMBERS:,}",
    )
    hosts: list[Id] = Field(
        default_factory=list,
        max_length=MAX_MEMBERS,
        description=f"registered hosts, after the releases, at most {MAX_MEMBERS:,}",
    )
    label: Label | None = Field(default=None, description="all registered hosts that have the label")


class BaselineProblem(Shape):
    """Why a model has no baseline."""

    code: BaselineCode = Field(description="why; stable")
    message: str = Field(description="the same for people")
    variable: str | None = Field(default=None, description="the variable that has no value for all; absent if none is")
    releases: list[str] = Field(description="the releases that collide, or are concerned")
    hosts: list[str] = Field(default_factory=list, description="the hosts that collide, or are concerned")


class ModelBaseline(Shape):
    """The settings of one model."""

    values: dict[str, Value] | None = Field(
        description="the best settings that all accept, of every compared variable; null if there are none"
    )
    domains: dict[str, list[Allowed] | None] = Field(description="what all allow of a variable; null: any string")
    profiles: list[str] = Field(description="the published profiles that all accept for the model, the newest first")
    problems: list[BaselineProblem] = Field(description="why there are no values; empty where there are")


class BaselineAnswer(Shape):
    """The baseline of each model."""

    models: dict[str, ModelBaseline] = Field(description="by name, each model asked about")
