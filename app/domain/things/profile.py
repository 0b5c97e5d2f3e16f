"""A profile (DESIGN 4): a named set of variable values, a closed world for each device model that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.things.model import Model
from app.domain.things.variable_set import renamed, report_given_twice
from app.domain.values.document import FaultCode, Place, must_be
from app.domain.values.name import read_name, variable_name
from app.domain.values.state import State, read_state
from app.domain.values.value import INT_MAX, INT_MIN, InvalidValueError, Type, Value, same

Written: TypeAlias = bool | int | str
Values: TypeAlias = Mapping[str, Value]
OwnValues: TypeAlias = Mapping[str, Value | None]

FIELDS = frozenset({"name", "extends", "description", "values", "state"})


@dataclass(frozen=True, slots=True)
class Profile:
    """A published profile: its resolved values per device model.

    A variable that it does not name is off. It has no answer for a model that it does not name.
    """

    name: str
    values: Mapping[str, Values]
    state: State = State.PUBLISHED


@dataclass(frozen=True, slots=True)
class ProfileDocument:
    """A profile as a vendor publishes it; its values are not yet checked against the models."""

    name: str
    extends: str | None = None
    description: str | None = None
    values: Mapping[str, Mapping[str, Written | None]] = field(default_factory=dict)
    state: State | None = None

    @classmethod
    def read(cls, document: object, place: Place, *, named: str | None = None) -> "ProfileDocument":
        """Read the profile from a JSON object; report its faults.

        named: the name in the address, if there is one; the document can then leave it out.
        """
        required = frozenset({"values"}) if named else frozenset({"name", "values"})
        fields = place.fields(document, required=required, optional=FIELDS - required)
        profile = read_name(fields["name"], place / "name") if "name" in fields else named or ""
        if named and profile != named:
            (place / "name").fault(FaultCode.INVALID_NAME, f"must be {named}, the name in the address")
        values = {}
        for model, entry, model_place in (place / "values").entries(fields.get("values", {})):
            read_name(model, model_place)
            values[model] = {
                variable: read_written(variable, value, value_place)
                for variable, value, value_place in model_place.entries(entry)
            }
        return cls(
            profile,
            read_name(fields["extends"], place / "extends") if "extends" in fields else None,
            (place / "description").text(fields["description"]) if "description" in fields else None,
            values,
            read_state(fields, place),
        )


def read_written(variable: str, document: object, place: Place) -> Written | None:
    """Read a variable's value as it is written, and check its name; report faults. Return None also for null."""
    read_name(variable, place, variable_name)
    if document is None or isinstance(document, bool | str):
        return document
    if not isinstance(document, int):
        place.fault(FaultCode.WRONG_TYPE, must_be("a boolean, an integer, a string or null", document))
        return None
    if not INT_MIN <= document <= INT_MAX:
        place.fault(FaultCode.INVALID_VALUE, "must be in the 64-bit range, -2^63 to 2^64-1")
    return document


def typed(own: Mapping[str, Written | None], model: Model, vendor: str, place: Place) -> OwnValues:
    """Return a profile's values for a model in the model's types; report unknown variables and wrong types.

    vendor: of the profile. A variable that stands for another one is read as that one.
    """
    values: dict[str, Value | None] = {}
    renames = model.renames_for(vendor)
    report_given_twice(own, renames, place)
    known = {variable for statements in model.statements.values() for variable in statements}
    for variable, written in own.items():
        types = model.stated_types(variable)
        if not types:
            message = f"unknown variable of {model.name}{place.hint(variable, known)}"
            (place / variable).fault(FaultCode.UNKNOWN_VARIABLE, message)
        elif written is None:
            values[variable] = None
        else:
            try:
                values[variable] = read_as(types, written)
            except InvalidValueError as error:
                (place / variable).fault(FaultCode.INVALID_VALUE, str(error))
    return renamed(values, renames)


def read_as(types: tuple[Type, ...], written: Written) -> Value:
    """Return the value in the type of its JSON form if that is listed, else in the first; raises InvalidValueError."""
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
    """Return the resolved values (DESIGN 4): the parent's, overlaid with the own; None takes a variable out again."""
    merged = {**parent, **own}
    return {variable: value for variable, value in merged.items() if value is not None}
