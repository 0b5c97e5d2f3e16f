"""Variable sets on the wire."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.api.wire.base import ModelName, Name, Shape, Value
from app.api.wire.problem import Allowed
from app.domain.allowed import MAX_LISTED, MAX_STEPS
from app.domain.document import MAX_DESCRIPTION, has_controls


def _without_controls(text: str) -> str:
    if has_controls(text):
        message = "has control characters"
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
    Field(description=f"by variable, its values; none of the host's or one device's own; {_LISTED} each"),
]
Require = Annotated[
    dict[str, list[Allowed]], Field(description=f"by variable, the values that it then has to have; {_LISTED} each")
]
DIGEST = "sha256 of the canonical JSON of this object without `digest` and `releases`"


class VariableDocument(Shape):
    """One thing that may differ between two devices of a model (the RFC's migration parameter)."""

    type: Literal["bool", "int", "str"] = Field(description="of its values; an int has at most 64 bits")
    init_value: Value = Field(description="the value in a new device created without a profile")
    # No default is told: none is not the same as false.
    off_value: Value = Field(
        default_factory=bool,
        description="the value that means “as before this variable existed”; leave it out where that is not known. "
        "It belongs to the model: the first statement of the model's own vendor stands.",
    )
    allowed_values: list[Allowed] = Field(
        default_factory=list,
        description='values; for int also inclusive ranges "min-max" or {"min", "max", "step"}. '
        f"{_LISTED}. Absent: any value of the type; empty: none",
    )
    settable: bool = Field(default=True, description="false: the device always behaves as init_value")
    runtime: bool = Field(default=False, description="true: may be changed on a running device")
    scope: Literal["interface", "saved-state", "instance", "backend"] = Field(
        default="interface",
        description="interface: the guest sees it; saved-state: the saved state of the device depends on it; "
        "instance: belongs to one device (mac, addr); "
        "backend: a resource of the host, never compared",
    )
    resolved_by_host: list[Value] = Field(
        default_factory=list, description="values whose meaning each host decides for itself, such as auto"
    )
    description: Description = ""


class ConstraintDocument(Shape):
    """If every variable under `when` has a listed value, every one under `require` must have one."""

    when: When
    require: Require
    description: Description = ""


class MigrationBlockDocument(Shape):
    """A configuration in which the device cannot be migrated."""

    when: When
    description: Description = ""


class SetDocument(Shape):
    """What one release says about one device model."""

    variables: dict[str, VariableDocument] = Field(
        default_factory=dict,
        description="by name (1 to 128 characters, no = or /); it or `params`, one of the two, is required",
    )
    params: dict[str, VariableDocument] = Field(
        default_factory=dict, description="`variables`, as the RFC calls them; not beside them"
    )
    constraints: list[ConstraintDocument] = Field(
        default_factory=list, description="in any order; the init values together meet every one"
    )
    migratable: bool = Field(default=True, description="false: the device cannot be migrated at all")
    blocks_migration: list[MigrationBlockDocument] = Field(
        default_factory=list, description="the configurations in which it cannot be migrated"
    )


class VariableSetDocument(SetDocument):
    """One variable set and the release that it is added to."""

    model: Name = Field(description="`<vendor>/<path>`", examples=["vendor-a.com/my-nic"])
    implementation: Name = Field(description="`<vendor>/<path>`", examples=["vendor-a.com/my-nic-firmware"])
    version: str = Field(
        description="1 to 64 letters, digits and ._+~:-, the first a letter or digit", examples=["2024.1"]
    )


class StoredSet(Shape):
    """A published variable set, every default filled in."""

    digest: str = Field(description=DIGEST)
    model: ModelName
    variables: dict[str, VariableDocument] = Field(description="by name")
    constraints: list[ConstraintDocument] = Field(description="in canonical order, equal ones once")
    migratable: bool = Field(description="false: the device cannot be migrated at all")
    blocks_migration: list[MigrationBlockDocument] = Field(
        description="the configurations in which it cannot be migrated, in canonical order"
    )


class ListedSet(StoredSet):
    """A published variable set, and who has it."""

    releases: list[str] = Field(description="the releases whose set this is")
