"""Restrictions of a host (`restrict`): per model and variable, the only values that the host allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.things.model import Model
from app.domain.things.variable_set import VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import Place
from app.domain.values.name import read_name, variable_name

Restrictions: TypeAlias = Mapping[str, Mapping[str, Sequence[object]]]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The models and variables in restrictions that the registry does not have (yet)."""

    models: list[str] = field(default_factory=list)
    variables: dict[str, list[str]] = field(default_factory=dict)


def checked(restrict: Restrictions, models: Mapping[str, Model], existing: Restrictions, place: Place) -> Unknown:
    """Return the unknown names in restrictions; report invalid names and values.

    existing: the registered restrictions. They stay valid, whatever was published since.
    """
    unknown = Unknown()
    for name, variables in restrict.items():
        model_place = Place() if existing.get(name) == variables else place / name
        read_name(name, model_place)
        model = models.get(name)
        if model is None:
            unknown.models.append(name)
        for variable, values in variables.items():
            variable_place = model_place / variable
            read_name(variable, variable_place, variable_name)
            if model is not None and not _is_known(model, variable, values, variable_place):
                unknown.variables.setdefault(name, []).append(variable)
    return unknown


def _is_known(model: Model, variable: str, values: Sequence[object], place: Place) -> bool:
    """Return whether the model has the variable; report the values if they are of none of its types."""
    types = model.stated_types(variable)
    places = [Place() for _ in types]
    for of_type, type_place in zip(types, places, strict=True):
        AllowedValues.read(of_type, list(values), type_place)
    if all(type_place.faults for type_place in places):
        for fault in places[0].faults if places else ():
            (place / int(fault.pointer.split("/")[1]) if fault.pointer else place).fault(fault.code, fault.message)
    return bool(types)


def restricted(
    variable_set: VariableSet, restrict: Restrictions, who: str = "The destination"
) -> tuple[VariableSet, Sequence[str]]:
    """Return a set narrowed by a host's restrictions, and messages about restrictions without effect.

    who: what the messages call the host.
    """
    variables = restrict.get(variable_set.model)
    return variable_set.narrowed(variables, who) if variables else (variable_set, ())
