"""Variable sets on the wire."""

from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.domain.things.part import MAX_OVER
from app.domain.values.allowed import MAX_LISTED, MAX_STEPS
from app.domain.values.document import MAX_DESCRIPTION, has_controls
from app.domain.values.name import MAX_VARIABLE_NAME as MAX_ROLE
from app.domain.values.value import MAX_TEXT
from app.wire.base import CheckedInt, ModelName, Name, OpenShape, Shape, Value
from app.wire.problem import Allowed, StepRange


def _without_controls(text: str) -> str:
    if has_controls(text):
        message = "must not have control characters other than line breaks and tabs"
        raise ValueError(message)
    return text


Description = Annotated[
    str,
    Field(max_length=MAX_DESCRIPTION, description=f"for people, at most {MAX_DESCRIPTION:,} characters"),
    AfterValidator(_without_controls),
]
_LISTED = f"at most {MAX_LISTED:,} values and ranges, {MAX_STEPS} of them with steps"
When = Annotated[
    dict[str, list[Allowed]],
    Field(
        description=f"by variable, the values that the condition is about; not for backend or instance variables; "
        f"{_LISTED} each"
    ),
]
Require = Annotated[
    dict[str, list[Allowed]], Field(description=f"by variable, the values that are required then; {_LISTED} each")
]
DIGEST = "the sha256 of the canonical JSON of this object without `digest` and `releases`"


class StandsForDocument(Shape):
    """The variable that one is under another name."""

    variable: str = Field(default="", description="its name", examples=["x-native-hotplug"])
    inverted: bool = Field(default=False, description="true: with the opposite value; only for a bool")


class VariableDocument(Shape):
    """One thing that can differ between two devices of a model (the RFC's migration parameter)."""

    type: Literal["bool", "int", "str"] = Field(description="the type of its values; an int has at most 64 bits")
    init_value: Value = Field(description="the value in a new device that is created without a profile")
    # Document no default: no off value differs from false.
    off_value: Value = Field(
        default_factory=bool,
        description="the value that means “as before this variable existed”; leave it out if that is unknown. "
        "It belongs to the model: the value that the model's own vendor published first never changes.",
    )
    allowed_values: list[Allowed] = Field(
        default_factory=list,
        description='the allowed values; for int also inclusive ranges, "min-max" or {"min", "max", "step"}; '
        f"{_LISTED}. Absent: any value of the type; empty: none",
    )
    settable: bool = Field(default=True, description="false: the value is always init_value")
    runtime: bool = Field(default=False, description="true: it can be changed on a running device")
    scope: Literal["interface", "saved-state", "instance", "backend"] = Field(
        default="interface",
        description="interface: the guest sees it; saved-state: the format of the saved state depends on it; "
        "instance: it belongs to one device (mac, addr); "
        "backend: a resource of the host, never compared",
    )
    resolved_by_host: list[Value] = Field(
        default_factory=list, description="values whose meaning each host decides, such as auto"
    )
    may_grow: bool = Field(
        default=False,
        description="true: a running device may find more of it than it had: on where it was off, a larger int. A "
        "verdict then warns (`guest-may-see-more`) instead of refusing; not for str",
    )
    stands_for: StandsForDocument = Field(
        default_factory=StandsForDocument,
        description="the variable of earlier releases that this one is under another name: it is compared, and named "
        "in problems, as that one. Absent: it is a variable of its own",
    )
    description: Description = ""


Migratable = Annotated[
    bool | Literal["unknown"],
    Field(description='false: the device cannot be migrated at all; "unknown": nobody asked, so verdicts warn'),
]


class ConstraintDocument(Shape):
    """A constraint: if every variable under `when` has a listed value, every one under `require` must have one."""

    when: When
    require: Require
    description: Description = ""


class MigrationBlockDocument(Shape):
    """A configuration in which the device cannot be migrated."""

    when: When
    description: Description = ""


class SavedStateDocument(Shape):
    """The format in which a device's state is saved. It is not a variable: it is in no profile and no configuration."""

    writes: CheckedInt | str = Field(
        description="the format that this release writes: an int of at most 64 bits, or a string of at most "
        f"{MAX_TEXT:,} characters",
        examples=[2],
    )
    reads: list[CheckedInt | str | StepRange] = Field(
        description=f"the formats that it reads, of the type of `writes`; for int also ranges; {_LISTED}"
    )


class NeedDocument(Shape):
    """State that lies outside this layer: such a device is decided only together with a part in the role."""

    role: str = Field(
        min_length=1,
        max_length=MAX_ROLE,
        description="what the part is for the device: 1 to 128 characters, no = or /",
        examples=["host-device"],
    )
    when: When = Field(default_factory=dict, description="by variable, the values with which it is needed; {}: always")
    description: Description = ""


class TogetherDocument(Shape):
    """A rule across one VM: where more than `over` devices have a part in the role, all of these parts meet it."""

    role: str = Field(min_length=1, max_length=MAX_ROLE, description="the role", examples=["host-device"])
    over: int = Field(ge=0, le=MAX_OVER, description="with more devices than this, the rule applies", examples=[1])
    require: dict[str, list[Allowed]] = Field(
        description="by variable of the parts, backend ones too, the values that all of them need; a part without the "
        f"variable does not meet it; at most {MAX_LISTED:,} values and ranges",
        examples=[{"p2p": [True]}],
    )
    description: Description = ""


_NEEDS = "the parts that a device needs; an entry that is only a role is always needed"
_TOGETHER = "the rules across all devices of one VM"
_SAVED_STATE = (
    "absent: nothing is stated of it. Where both ends of a migration state it, the destination has to read what the "
    "source writes"
)


class SetDocument(Shape):
    """The variables and constraints of a device model in one release."""

    variables: dict[str, VariableDocument] = Field(
        default_factory=dict,
        description="by name (1 to 128 characters, no = or /); either `variables` or `params` is required",
    )
    params: dict[str, VariableDocument] = Field(
        default_factory=dict, description="the RFC's name of `variables`; a document has one of the two"
    )
    constraints: list[ConstraintDocument] = Field(
        default_factory=list, description="in any order; the init values have to meet every constraint"
    )
    migratable: Migratable = True
    blocks_migration: list[MigrationBlockDocument] = Field(
        default_factory=list, description="the configurations in which it cannot be migrated"
    )
    # Document no default: there is none.
    saved_state: SavedStateDocument = Field(
        default_factory=partial(SavedStateDocument.model_construct, writes=0, reads=[]), description=_SAVED_STATE
    )
    needs: list[NeedDocument | Annotated[str, Field(min_length=1, max_length=MAX_ROLE)]] = Field(
        default_factory=list, description=_NEEDS
    )
    together: list[TogetherDocument] = Field(default_factory=list, description=_TOGETHER)


class VariableSetDocument(SetDocument):
    """A variable set, and the release to add it to."""

    model: Name = Field(description="the device model, `<vendor>/<path>`", examples=["vendor-a.com/my-nic"])
    implementation: Name = Field(
        description="the implementation, `<vendor>/<path>`", examples=["vendor-a.com/my-nic-firmware"]
    )
    version: str = Field(
        description="the version: 1 to 64 letters, digits and ._+~:-, the first a letter or digit", examples=["2024.1"]
    )


class StoredSet(OpenShape):
    """A published variable set with all defaults filled in."""

    digest: str = Field(description=DIGEST)
    model: ModelName
    variables: dict[str, VariableDocument] = Field(description="the variables by name")
    constraints: list[ConstraintDocument] = Field(description="in canonical order, without duplicates")
    migratable: Migratable
    blocks_migration: list[MigrationBlockDocument] = Field(
        description="the configurations in which it cannot be migrated, in canonical order"
    )
    saved_state: SavedStateDocument | None = Field(default=None, description=_SAVED_STATE)
    needs: list[NeedDocument] = Field(default_factory=list, description=f"{_NEEDS}; absent: none")
    together: list[TogetherDocument] = Field(default_factory=list, description=f"{_TOGETHER}; absent: none")


class ListedSet(StoredSet):
    """A published variable set, with the releases that have it."""

    releases: list[str] = Field(description="the releases that have this set")
