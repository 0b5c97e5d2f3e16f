"""The question and its answer on the wire."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field

from app.wire.base import INT_MAX, AtMost, Based, Code, Name, OpenShape, Shape, Value
from app.wire.detail import Detail
from app.wire.problem import Allowed, Problem, StepRange, VerdictWarning

MAX_DEVICES = 1_000
MAX_DESTINATIONS = 10_000
MAX_PAIRS = 1_000_000
MAX_PAIRS_IN_FULL = 50_000
# name!=value, each of at most 255 characters.
MAX_LABEL = 512
MAX_LABELS = 64
# Distinct selections of registered hosts in a question.
MAX_SELECTIONS = 64
# Hosts that selections leave out.
MAX_LEFT_OUT = 1_000
MAX_UNITS = 64
# The same as in the domain, which the client has to do without; a test compares them.
MAX_ROLE = 128
MAX_LISTED = 1_000
# Destinations that are named in a summary. The same as in the domain.
MAX_NAMED = 1_000
# Models, variables and values that a host or a unit restricts or resolves, all together.
MAX_STATED = 10_000
# Explicit values of a device.
MAX_VALUES = 1_000
MAX_TRIES = 1_000

Id = Annotated[str, Field(min_length=1, max_length=255)]


POLICY = "strict: the destination has to list the device's profile; permissive: only variables are compared"
DETAIL = (
    "verdict: yes or no; problems: also why not; full: also what to apply, for at most 50,000 pairs of a device and a "
    "destination; summary: for each VM the possible kinds of destinations, and the reasons against the others"
)


class Policy(StrEnum):
    """How a verdict treats profiles: `strict` wants the destination to list the device's profile."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


class Device(Shape):
    """A device as it is on the source."""

    id: Id | None = Field(default=None, description="yours; defaults to the position, from 0", examples=["net0"])
    model: Name = Field(description="its device model, `<vendor>/<path>`")
    release: Name | None = Field(default=None, description="the release that it runs on, `<implementation>@<version>`")
    profile: Name | None = Field(default=None, description="the profile that it was created with")
    values: Annotated[dict[str, Value | None], AtMost(MAX_VALUES)] = Field(
        default_factory=dict,
        description=f"explicit values, at most {MAX_VALUES:,}, in their JSON type or as on a command line; strings of "
        "at most 4,096 characters; null: off",
    )
    complete: bool = Field(
        default=False,
        description="with neither release nor profile: `values` are all the variables in effect",
    )
    host: Id | None = Field(
        default=None,
        description="the registered host that it runs on: its release is the one there that implements the model, and "
        "what the host restricts and resolves counts for the source",
    )
    unit: Id | None = Field(
        default=None, description="the unit of that host that it is made from, where several differ", examples=["card0"]
    )
    part_of: Id | None = Field(
        default=None,
        description="the id of the device of the same VM that it is a part of: the one that needs it",
        examples=["hostdev0"],
    )
    role: Annotated[str, Field(min_length=1, max_length=MAX_ROLE)] | None = Field(
        default=None, description="what it is for that device, as the device's set calls it", examples=["host-device"]
    )


class Vm(Shape):
    """A VM; its host is the default of its devices, its release and profile those of its devices that are no parts."""

    id: Id | None = Field(default=None, description="yours; defaults to the position, from 0")
    release: Name | None = Field(default=None, description="for its devices that name none")
    profile: Name | None = Field(default=None, description="for its devices that name none")
    host: Id | None = Field(default=None, description="the registered host that it runs on; for devices that name none")
    devices: list[Device] = Field(
        min_length=1, max_length=MAX_DEVICES, description="at least 1; at most 1,000 in the whole question"
    )


Restrict = Annotated[
    dict[str, dict[str, Annotated[list[Allowed], Field(max_length=MAX_LISTED)]]],
    AtMost(MAX_STATED),
    Field(
        description=f"per model and variable, the only values that this host allows, at most {MAX_LISTED:,} of each; "
        f"at most {MAX_STATED:,} entries in all"
    ),
]
Resolves = Annotated[
    dict[str, dict[str, dict[str, Value]]],
    AtMost(MAX_STATED),
    Field(
        description="per model, variable and value, as a command line writes it, what this host makes of the value; on "
        "the source it takes the value's place, at a destination only values are allowed of which the host makes the "
        f"same; at most {MAX_STATED:,} entries in all",
        examples=[{"qemu.org/virtio-net-pci": {"guest_uso4": {"on": False}}}],
    ),
]


class UnitDocument(Shape):
    """A piece of a host that devices are made from: a card, an mdev parent, a vDPA management device."""

    id: Id = Field(description="its name on the host", examples=["pci/0000:3b:00.2"])
    releases: list[Name] = Field(
        min_length=1,
        max_length=100,
        description="what it provides, 1 to 100 releases: a firmware, an mdev type, a driver",
        examples=[["vendor-a.com/my-nic-firmware@2024.1"]],
    )
    restrict: Restrict = Field(default_factory=dict)
    resolves: Resolves = Field(default_factory=dict)
    available: int | None = Field(
        default=None,
        ge=0,
        le=INT_MAX,
        description="how many more devices it has room for, from 0 to 2^64-1; decides nothing",
    )


Units = Annotated[
    list[UnitDocument],
    Field(
        max_length=MAX_UNITS,
        description=f"at most {MAX_UNITS}, in the host's order of preference: a device whose model none of the host's "
        "own releases implements goes to the first that takes it together with its parts",
    ),
]
_LABEL = r"^(![^\x00-\x1f=!]+|[^\x00-\x1f=!]+(!?=[^\x00-\x1f]*)?)$"


def checked_label(label: str) -> str:
    """Return a condition on labels; raises ValueError if it has none of the four forms."""
    if not re.fullmatch(_LABEL, label):
        message = "must be name=value, name!=value, name or !name; a name has neither = nor !"
        raise ValueError(message)
    return label


Label = Annotated[
    str,
    AfterValidator(checked_label),
    Field(
        max_length=MAX_LABEL,
        json_schema_extra={"pattern": _LABEL},
        description="`name=value`, `name!=value` (also hosts without the label), `name` (any value) or `!name`",
        examples=["rack=r1"],
    ),
]


# Per model and variable the values that a host allows, as JSON has them.
Restrictions: TypeAlias = Mapping[str, Mapping[str, Sequence[object]]]


def restrictions(restrict: Mapping[str, Mapping[str, Sequence[Any]]]) -> Restrictions:
    """Return restrictions as plain JSON, which the domain and the database use."""
    return {
        model: {
            name: [value.model_dump() if isinstance(value, StepRange) else value for value in values]
            for name, values in variables.items()
        }
        for model, variables in restrict.items()
    }


class Destination(Shape):
    """A possible destination: a host by its releases or by its registered name, or many registered hosts.

    It has one of `releases`, `host`, `labels` and `all_hosts`; `label` is the same as `labels` with one.
    """

    id: Id | None = Field(default=None, description="yours; defaults to the host, or the position from 0")
    releases: list[Name] | None = Field(
        default=None, min_length=1, max_length=100, description="what it runs, 1 to 100, in its order of preference"
    )
    restrict: Restrict = Field(default_factory=dict)
    resolves: Resolves = Field(default_factory=dict)
    units: Units = Field(default_factory=list)
    host: Id | None = Field(default=None, description="a registered host", examples=["host-17"])
    labels: list[Label] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_LABELS,
        description=f"all registered hosts that have all these labels, at most {MAX_LABELS}",
    )
    label: Label | None = Field(default=None, description="the same with one label")
    all_hosts: bool = Field(default=False, description="all registered hosts")

    @property
    def is_selection(self) -> bool:
        """Return whether it stands for all registered hosts, or for those with some labels."""
        return self.all_hosts or self.labels is not None or self.label is not None

    @property
    def selection(self) -> tuple[str, ...]:
        """Return the labels that hosts must have; none: all hosts."""
        return tuple(self.labels or ([] if self.label is None else [self.label]))


class Question(Shape):
    """Can these devices move to these destinations? At most 1,000 devices, 10,000 destinations, 1,000,000 pairs."""

    devices: list[Device] | None = Field(
        default=None, min_length=1, max_length=MAX_DEVICES, description="of one VM, at most 1,000; or else `vms`"
    )
    vms: list[Vm] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_DEVICES,
        description="several VMs, with at most 1,000 devices in all",
    )
    destinations: list[Destination] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_DESTINATIONS,
        description="at most 10,000, of selected hosts each kind counts once; absent: every release that implements "
        "one of the models and is not retired",
    )
    leave_out: list[Id] = Field(
        default_factory=list,
        max_length=MAX_LEFT_OUT,
        description="registered hosts that neither `labels` nor `all_hosts` selects, such as the one that is drained; "
        "a name that is not registered leaves nothing out, and destinations that are named stay; "
        f"at most {MAX_LEFT_OUT:,}",
        examples=[["host-17"]],
    )
    policy: Annotated[Policy, Field(strict=False)] = Field(default=Policy.STRICT, description=POLICY)
    detail: Annotated[Detail, Field(strict=False)] = Field(
        default=Detail.PROBLEMS,
        description=DETAIL,
    )


class Remedy(OpenShape):
    """A change to a running device."""

    variable: str = Field(description="its name")
    before: Value = Field(alias="from", description="its value now")
    after: Value = Field(alias="to", description="the value that it needs")


class DeviceAnswer(OpenShape):
    """The verdict on one device at one destination."""

    id: str = Field(description="yours, or its position, from 0")
    compatible: bool = Field(description="whether there is no problem")
    release: str = Field(description="the release that serves it there, or that has these problems")
    unit: str | None = Field(
        default=None, description="the host's unit that serves it, or that has these problems; absent: the whole host"
    )
    available: int | None = Field(
        default=None,
        description="how many more devices that unit has room for, 0 to 2^64-1, as its host states; decides nothing",
        json_schema_extra={"minimum": 0, "maximum": INT_MAX},
    )
    problems: list[Problem] = Field(description="all problems; empty if it is compatible")
    warnings: list[VerdictWarning] = Field(description="warnings; they do not change the verdict")
    configuration: dict[str, Value] | None = Field(
        default=None,
        description="the value of every variable, to apply at the destination; null if incompatible; only with full",
    )
    carry_over: list[str] = Field(description="variables of the one device (mac, addr) that keep their values")
    unchecked: list[str] = Field(
        description="variables whose values nothing can check: free-form strings, and values that each host resolves; "
        "`migratable`: nobody stated whether the device can be migrated"
    )
    remedies: list[Remedy] = Field(
        description="the smallest set of changes to runtime variables of the source that would make it compatible; "
        f"empty if {MAX_TRIES:,} tries found none, or if the source release does not accept the device"
    )
    arguments: list[str] | None = Field(
        default=None,
        description="with `render`: the arguments of a program at the destination, without shell quoting; null if "
        "incompatible, or if no arguments can express the configuration (a warning says so)",
    )
    arguments_of: str | None = Field(
        default=None, description="with `render`: the program that they are for; absent if there are none"
    )


class DestinationAnswer(OpenShape):
    """The verdicts on the devices of one VM at one destination."""

    vm: str | None = Field(default=None, description="only if the question has `vms`")
    destination: str = Field(description="its id, the name of the host, or its position, from 0")
    compatible: bool = Field(description="whether all its devices are compatible")
    devices: list[DeviceAnswer] = Field(
        default_factory=list, description="in the order asked; absent with detail verdict"
    )


class Reason(OpenShape):
    """Why a VM cannot move to some of the destinations."""

    count: int = Field(description="the number of these destinations")
    code: Code = Field(description="the rule that is not met; stable")
    message: str = Field(description="the same for people")
    variable: str | None = Field(default=None, description="the variable concerned; absent if none is, or several are")
    variables: list[str] = Field(
        default_factory=list, description="the variables concerned, where the message is about several; else absent"
    )
    releases: list[str] = Field(description="the releases that have the problem")
    devices: list[str] = Field(description="the devices of the VM that have the problem")
    examples: list[str] = Field(description="the first five of these destinations")


class SummaryWarning(OpenShape):
    """A warning about some of the destinations to which a VM can move."""

    count: int = Field(description="the number of these destinations")
    code: Code = Field(description="the kind of warning; stable")
    message: str = Field(description="the same for people")
    releases: list[str] = Field(description="the releases that it is about")
    devices: list[str] = Field(description="the devices of the VM that it is about")
    examples: list[str] = Field(description="the first five of these destinations")


class KindAnswer(OpenShape):
    """The verdict on one VM at the destinations of one kind: they state the same, so they get the same answer."""

    kind: str | None = Field(
        description="the digest of what these destinations state: for registered hosts `GET /hosts?kind=` lists all of "
        "the kind, whatever their labels are; null: nothing is known of the destination"
    )
    count: int = Field(description="the number of these destinations")
    compatible: bool = Field(description="whether all devices of the VM are compatible there")
    releases: list[str] = Field(description="what they run, in their order of preference, units included")
    examples: list[str] = Field(description="the first five of these destinations")


class VmSummary(OpenShape):
    """Where one VM can move, with `detail=summary`."""

    vm: str | None = Field(default=None, description="only if the question has `vms`")
    compatible: bool = Field(description="whether all its devices can move to at least one destination")
    possible_count: int = Field(description="the number of destinations that all its devices can move to")
    impossible_count: int = Field(description="the number of the other destinations")
    possible: list[str] | None = Field(
        description="the names of the possible destinations, in the order asked; null if they are more than "
        f"{MAX_NAMED:,}: `GET /hosts?kind=` lists them page by page"
    )
    impossible: int = Field(description="the same as `impossible_count`", deprecated=True)
    kinds: list[KindAnswer] = Field(description="the destinations by kind, in the order asked")
    reasons: list[Reason] = Field(
        description="the reasons against the others, the most frequent first, without those that follow from another "
        "of the same device; a destination can have several"
    )
    warnings: list[SummaryWarning] = Field(
        default_factory=list,
        description="the warnings about the possible destinations, such as what was not compared there or must be set "
        "explicitly; the most frequent first; absent if there is nothing",
    )


class Answer(Based):
    """The answers in the order asked: by VM, then by destination; with `detail=summary` one for each VM."""

    results: list[DestinationAnswer | VmSummary] = Field(
        description="one for each VM and destination; with `detail=summary` one for each VM"
    )
