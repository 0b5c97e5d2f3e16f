"""What a host restricts: per model and variable the only values that are to be had there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.allowed import AllowedValues
from app.domain.document import FaultCode, Place
from app.domain.model import Model
from app.domain.name import InvalidNameError, variable_name
from app.domain.problem import Caution, WarningCode
from app.domain.profile import read_name
from app.domain.variable_set import VariableSet

Restrictions: TypeAlias = Mapping[str, Mapping[str, Sequence[object]]]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What restrictions name that the registry does not have (yet)."""

    models: list[str] = field(default_factory=list)
    variables: dict[str, list[str]] = field(default_factory=dict)


def checked(restrict: Restrictions, models: Mapping[str, Model], standing: Restrictions, at: Place) -> Unknown:
    """Return what restrictions name that is not known; what can be no name or no value is reported.

    standing: what is registered already, which may stay, whatever was published since.
    """
    unknown = Unknown()
    for name, variables in restrict.items():
        place = Place() if standing.get(name) == variables else at / name
        read_name(name, place)
        model = models.get(name)
        if model is None:
            unknown.models.append(name)
        for variable, values in variables.items():
            here = place / variable
            try:
                variable_name(variable)
            except InvalidNameError as error:
                here.fault(FaultCode.INVALID_NAME, str(error))
            if model is not None and not _is_known(model, variable, values, here):
                unknown.variables.setdefault(name, []).append(variable)
    return unknown


def _is_known(model: Model, variable: str, values: Sequence[object], at: Place) -> bool:
    """Return whether the model has the variable; values of none of its types are reported."""
    types = model.stated_types(variable)
    tried = [Place() for _ in types]
    for of_type, place in zip(types, tried, strict=True):
        AllowedValues.read(of_type, list(values), place)
    if all(place.faults for place in tried):
        for fault in tried[0].faults if tried else ():
            (at / int(fault.pointer.split("/")[1]) if fault.pointer else at).fault(fault.code, fault.message)
    return bool(types)


def restricted(variable_set: VariableSet, restrict: Restrictions) -> tuple[VariableSet, Sequence[Caution]]:
    """Return a set with what a host restricts, and warnings of restrictions that name no value of a variable."""
    narrower = restrict.get(variable_set.model)
    if not narrower:
        return variable_set, ()
    narrowed, without_effect = variable_set.narrowed(narrower)
    return narrowed, [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message) for message in without_effect]
