"""A profile: a named set of variable values, a closed world for each device model that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.document import FaultCode, Place
from app.domain.model import Model
from app.domain.name import InvalidNameError, name, variable_name
from app.domain.state import State, read_state
from app.domain.value import INT_MAX, INT_MIN, InvalidValueError, Type, Value, same

Written: TypeAlias = bool | int | str
Values: TypeAlias = Mapping[str, Value]
OwnValues: TypeAlias = Mapping[str, Value | None]

FIELDS = frozenset({"name", "extends", "description", "values", "state"})


@dataclass(frozen=True, slots=True)
class Profile:
    """A published profile: its resolved values per device model.

    A variable that it does not name is off; for a model that it does not name it has no answer.
    """

    name: str
    values: Mapping[str, Values]
    state: State = State.PUBLISHED


@dataclass(frozen=True, slots=True)
class ProfileDocument:
    """A profile as a vendor publishes it, its values not yet held against the models."""

    name: str
    extends: str | None = None
    description: str | None = None
    values: Mapping[str, Mapping[str, Written | None]] = field(default_factory=dict)
    state: State | None = None

    @classmethod
    def read(cls, written: object, at: Place, *, named: str | None = None) -> "ProfileDocument":
        """Return the profile that a JSON object states, its faults reported.

        named: the name that the address gives, where it gives one; the document may then leave it out.
        """
        required = frozenset({"values"}) if named else frozenset({"name", "values"})
        fields = at.fields(written, required=required, optional=FIELDS - required)
        profile = read_name(fields["name"], at / "name") if "name" in fields else named or ""
        if named and profile != named:
            (at / "name").fault(FaultCode.INVALID_NAME, f"is not {named}, which the address names")
        values = {}
        for model, own, here in (at / "values").entries(fields.get("values", {})):
            read_name(model, here)
            values[model] = {
                variable: read_written(variable, each, there) for variable, each, there in here.entries(own)
            }
        return cls(
            profile,
            read_name(fields["extends"], at / "extends") if "extends" in fields else None,
            (at / "description").text(fields["description"]) if "description" in fields else None,
            values,
            read_state(fields, at),
        )


def read_name(written: object, at: Place) -> str:
    """Return the `<vendor>/<path>` name that stands here, its faults reported."""
    if not isinstance(written, str):
        at.fault(FaultCode.WRONG_TYPE, "is no string")
        return ""
    try:
        return name(written)
    except InvalidNameError as error:
        at.fault(FaultCode.INVALID_NAME, str(error))
        return ""


def read_written(variable: str, written: object, at: Place) -> Written | None:
    """Return the value that stands here as it is written, its faults reported; None also for null."""
    try:
        variable_name(variable)
    except InvalidNameError as error:
        at.fault(FaultCode.INVALID_NAME, str(error))
    if written is None or isinstance(written, bool | str):
        return written
    if not isinstance(written, int):
        at.fault(FaultCode.WRONG_TYPE, "is no value: true, false, an int, a string, or null to take it out")
        return None
    if not INT_MIN <= written <= INT_MAX:
        at.fault(FaultCode.INVALID_VALUE, "is outside the 64-bit range, -2^63 to 2^64-1")
    return written


def typed(own: Mapping[str, Written | None], model: Model, at: Place) -> OwnValues:
    """Return a profile's values for a model in the model's types, faults reported: unknown variables, wrong types."""
    values: dict[str, Value | None] = {}
    for variable, written in own.items():
        types = model.stated_types(variable)
        if not types:
            (at / variable).fault(FaultCode.UNKNOWN_VARIABLE, f"is no variable of {model.name}")
        elif written is None:
            values[variable] = None
        else:
            try:
                values[variable] = read_as(types, written)
            except InvalidValueError as error:
                (at / variable).fault(FaultCode.INVALID_VALUE, f"{written!r} {error}")
    return values


def read_as(types: tuple[Type, ...], written: Written) -> Value:
    """Return the value in the first type that it can be of; raises InvalidValueError of the first."""
    for of_type in types[1:]:
        if same(written, _read_or_none(of_type, written)):
            return written
    return types[0].read(written)


def _read_or_none(of_type: Type, written: Written) -> Value | None:
    try:
        return of_type.read(written)
    except InvalidValueError:
        return None


def overlaid(parent: Values, own: OwnValues) -> Values:
    """Return the resolved values: the parent's, overlaid with its own; null takes a variable out again."""
    merged = {**parent, **own}
    return {variable: value for variable, value in merged.items() if value is not None}
