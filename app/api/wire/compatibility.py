"""The question and its answer on the wire."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from app.api.wire.base import Name, Shape, Value
from app.api.wire.problem import Allowed, Problem, StepRange, VerdictWarning
from app.domain.allowed import MAX_LISTED
from app.domain.problem import ProblemCode
from app.domain.remedy import MAX_TRIES
from app.domain.restriction import Restrictions
from app.domain.verdict import Policy

MAX_DEVICES = 1_000
MAX_DESTINATIONS = 10_000
MAX_PAIRS = 1_000_000
MAX_PAIRS_IN_FULL = 50_000
# name=value, each of at most 255 characters.
MAX_LABEL = 511

Id = Annotated[str, Field(min_length=1, max_length=255)]


POLICY = "strict: the destination has to list the device's profile; permissive: only variables are compared"
DETAIL = (
    "verdict: yes or no; problems: and why; full: and what to apply, at most 50,000 pairs of device and destination; "
    "summary: per VM where it may go, and the reasons for the other destinations summed up"
)


class Detail(StrEnum):
    """How much an answer tells."""

    VERDICT = "verdict"
    PROBLEMS = "problems"
    FULL = "full"
    SUMMARY = "summary"


class Device(Shape):
    """A device as it is on the source."""

    id: Id | None = Field(default=None, description="yours; defaults to the position, from 0", examples=["net0"])
    model: Name = Field(description="its device model, `<vendor>/<path>`")
    release: Name | None = Field(default=None, description="the release that it runs on, `<implementation>@<version>`")
    profile: Name | None = Field(default=None, description="the profile that it was created with")
    values: dict[str, Value | None] = Field(
        default_factory=dict,
        description="variables set beside, in their JSON type or as a command line writes them, strings of at most "
        "4,096 characters; null: off",
    )
    complete: bool = Field(
        default=False,
        description="with neither release nor profile: `values` are all the variables in effect (else: source-unknown)",
    )


class Vm(Shape):
    """A VM; what it says of release and profile is the default of its devices."""

    id: Id | None = Field(default=None, description="yours; defaults to the position, from 0")
    release: Name | None = Field(default=None, description="of its devices that name none")
    profile: Name | None = Field(default=None, description="of its devices that name none")
    devices: list[Device] = Field(min_length=1, description="at least 1; at most 1,000 in the whole question")


Restrict = Annotated[
    dict[str, dict[str, Annotated[list[Allowed], Field(max_length=MAX_LISTED)]]],
    Field(description=f"per model and variable, the only values that this host allows, at most {MAX_LISTED:,} of each"),
]
Label = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_LABEL,
        pattern=r"^[^\x00-\x1f]+$",
        description="`name=value`, or `name` for any value",
        examples=["rack=r1"],
    ),
]


def restrictions(restrict: Mapping[str, Mapping[str, Sequence[Any]]]) -> Restrictions:
    """Return what a host restricts as the domain and the database have it."""
    return {
        model: {
            name: [each.model_dump() if isinstance(each, StepRange) else each for each in values]
            for name, values in variables.items()
        }
        for model, variables in restrict.items()
    }


class Destination(Shape):
    """A host that the devices may go to: what it runs, or the name it is registered by; or many registered hosts.

    It has one of `releases`, `host`, `label` and `all_hosts`.
    """

    id: Id | None = Field(default=None, description="yours; defaults to the host, or the position from 0")
    releases: list[Name] | None = Field(
        default=None, min_length=1, max_length=100, description="what it runs, 1 to 100, in its order of preference"
    )
    restrict: Restrict = Field(default_factory=dict)
    host: Id | None = Field(default=None, description="a registered host", examples=["host-17"])
    label: Label | None = Field(
        default=None, description="all registered hosts that have the label: name or name=value"
    )
    all_hosts: bool = Field(default=False, description="all registered hosts")


class Question(Shape):
    """May these devices go to these destinations? At most 1,000 devices, 10,000 destinations and 1,000,000 pairs."""

    devices: list[Device] | None = Field(
        default=None, min_length=1, description="of one VM, at most 1,000; or else `vms`"
    )
    vms: list[Vm] | None = Field(
        default=None, min_length=1, description="several VMs, with at most 1,000 devices in all"
    )
    destinations: list[Destination] | None = Field(
        default=None,
        min_length=1,
        description="at most 10,000, registered hosts counted one by one; absent: every release that "
        "implements one of the models and is not retired",
    )
    policy: Annotated[Policy, Field(strict=False)] = Field(default=Policy.STRICT, description=POLICY)
    detail: Annotated[Detail, Field(strict=False)] = Field(
        default=Detail.PROBLEMS,
        description=DETAIL,
    )


class Remedy(Shape):
    """A change to a running device."""

    variable: str = Field(description="its name")
    before: Value = Field(alias="from", description="its value now")
    after: Value = Field(alias="to", description="the value that it is to be given")


class DeviceAnswer(Shape):
    """The verdict on one device at one destination."""

    id: str = Field(description="yours, or its position, from 0")
    compatible: bool = Field(description="whether there is no problem")
    release: str = Field(description="the release that serves it there, or whose problems these are")
    problems: list[Problem] = Field(description="every one of them; empty if it is compatible")
    warnings: list[VerdictWarning] = Field(description="what to know beside; they change no verdict")
    configuration: dict[str, Value] | None = Field(
        default=None, description="the value of every variable, to be applied; null if incompatible; only with full"
    )
    carry_over: list[str] = Field(description="variables of the one device (mac, addr) that are to be set as they are")
    unchecked: list[str] = Field(
        description="variables whose values nothing can check: free strings, and values that each host resolves"
    )
    remedies: list[Remedy] = Field(
        description="the smallest set of changes to runtime variables of the source that would make it compatible; "
        f"none where {MAX_TRIES:,} tries found none, or where the source is not what it is said to be"
    )
    arguments: list[str] | None = Field(
        default=None,
        description="with `render`: what the destination's program is started with, each as it receives it, "
        "no shell quoting; null if incompatible or not expressible, which a warning says",
    )


class DestinationAnswer(Shape):
    """The verdicts on the devices of one VM at one destination."""

    vm: str | None = Field(default=None, description="only where `vms` were asked")
    destination: str = Field(description="its id, the name of the host, or its position, from 0")
    compatible: bool = Field(description="whether all its devices are")
    devices: list[DeviceAnswer] = Field(default_factory=list, description="in the order asked; not with detail verdict")


class Reason(Shape):
    """Why a VM cannot go to some of the destinations."""

    count: int = Field(description="to how many")
    code: ProblemCode = Field(description="the rule that is not met; stable")
    message: str = Field(description="the same for people")
    variable: str | None = Field(default=None, description="the variable concerned; absent if none is")
    releases: list[str] = Field(description="the releases there whose problem it is")
    devices: list[str] = Field(description="the devices of the VM that are concerned")
    examples: list[str] = Field(description="the first five of these destinations")


class VmSummary(Shape):
    """Where one VM may go, with `detail=summary`."""

    vm: str | None = Field(default=None, description="only where `vms` were asked")
    compatible: bool = Field(description="whether there is a destination that all its devices may go to")
    possible: list[str] = Field(description="the destinations that all its devices may go to, in the order asked")
    impossible: int = Field(description="how many others there are")
    reasons: list[Reason] = Field(description="why not to the others, the most frequent first; one may have several")


class Answer(Shape):
    """The answers in the order asked: by VM, then by destination; with `detail=summary` one for each VM."""

    results: list[DestinationAnswer | VmSummary] = Field(
        description="one for each VM and destination; with `detail=summary` one for each VM"
    )
    seq: int = Field(
        description="the last change that it is based on: it holds until a change behind it touches a model, profile, "
        "release or host of the question (GET /changes)"
    )
