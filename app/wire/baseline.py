"""Baselines on the wire."""

from pydantic import Field

from app.domain.fleet.member import BaselineCode
from app.wire.base import Based, Name, OpenShape, Shape, Value
from app.wire.compatibility import MAX_LABELS, Id, Label
from app.wire.problem import Allowed, VerdictWarning

MAX_MODELS = 1_000
MAX_MEMBERS = 10_000


class FleetQuestion(Shape):
    """The device models of a new VM, and the releases and hosts between which it has to be able to move."""

    models: list[Name] = Field(
        min_length=1, max_length=MAX_MODELS, description=f"the device models of the VM, 1 to {MAX_MODELS:,}"
    )
    releases: list[Name] = Field(
        default_factory=list,
        max_length=MAX_MEMBERS,
        description=f"at most {MAX_MEMBERS:,} releases; the init values of an earlier one are preferred",
    )
    hosts: list[Id] = Field(
        default_factory=list,
        max_length=MAX_MEMBERS,
        description=f"at most {MAX_MEMBERS:,} registered hosts; they follow the releases",
    )
    labels: list[Label] = Field(
        default_factory=list,
        max_length=MAX_LABELS,
        description=f"all registered hosts that have all these labels, at most {MAX_LABELS}",
    )
    label: Label | None = Field(default=None, description="the same with one label; used together, all must hold")


class BaselineProblem(OpenShape):
    """Why a model has no baseline."""

    code: BaselineCode = Field(description="the reason; stable")
    message: str = Field(description="the same for people")
    variable: str | None = Field(default=None, description="the variable concerned; absent if none is")
    releases: list[str] = Field(description="the releases concerned")
    hosts: list[str] = Field(
        default_factory=list,
        description="the hosts concerned; of a selection of more than 1,000, the first five of each kind",
    )


class ModelBaseline(OpenShape):
    """The best settings of one device model."""

    values: dict[str, Value] | None = Field(
        description="the best value of every compared variable that all members accept; null if there is none"
    )
    domains: dict[str, list[Allowed] | None] = Field(
        description="by variable, the values that all members allow; null: any string"
    )
    profiles: list[str] = Field(
        description="the published profiles that a strict verdict accepts for the model at all members: first those "
        "that all of them list, then the newest first"
    )
    problems: list[BaselineProblem] = Field(description="why there are no values; empty if there are values")
    warnings: list[VerdictWarning] = Field(
        default_factory=list,
        description="what nobody stated about the members, such as migratability; absent if there is nothing",
    )


class BaselineAnswer(Based):
    """The baseline of each model."""

    models: dict[str, ModelBaseline] = Field(description="by name, every model of the question")
