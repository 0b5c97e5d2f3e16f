"""What a host states of variables: the only values that it allows (`restrict`), what it makes of some (`resolves`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, TypeVar

from app.domain.things.model import Model
from app.domain.things.variable import Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import read_name, variable_name
from app.domain.values.value import InvalidValueError, Type, Value

# By model and variable, the only values that a host allows.
Restrictions: TypeAlias = Mapping[str, Mapping[str, Sequence[object]]]
# By model, variable and value, as a command line writes it: what a host makes of the value.
Resolutions: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object]]]


class Limits(NamedTuple):
    """What a host, or a unit of it, states of the variables of one model; None where it states nothing."""

    restrict: Mapping[str, Sequence[object]] | None = None
    resolves: Mapping[str, Mapping[str, object]] | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The models and variables that a host names and that the registry does not have (yet)."""

    models: dict[str, None] = field(default_factory=dict)
    variables: dict[str, dict[str, None]] = field(default_factory=dict)


def check_restrictions(
    restrict: Restrictions, models: Mapping[str, Model], existing: Restrictions, place: Place, unknown: Unknown
) -> None:
    """Note the unknown names in restrictions; report invalid names and values.

    existing: the registered restrictions. They stay valid, whatever was published since.
    """
    for types, values, variable_place in _known(restrict, models, existing, place, unknown):
        _check_values(types, values, variable_place)


def check_resolutions(
    resolves: Resolutions, models: Mapping[str, Model], existing: Resolutions, place: Place, unknown: Unknown
) -> None:
    """Note the unknown names in what a host resolves; report invalid names and values. existing: as registered."""
    for types, made, variable_place in _known(resolves, models, existing, place, unknown):
        for value, result in made.items():
            for written in (value, result):
                if (problem := _invalid(types, written)) is not None:
                    (variable_place / value).fault(FaultCode.INVALID_VALUE, problem)


Stated = TypeVar("Stated")
_ByVariable: TypeAlias = Mapping[str, Mapping[str, Stated]]


def _known(
    stated: _ByVariable[Stated],
    models: Mapping[str, Model],
    existing: _ByVariable[Stated],
    place: Place,
    unknown: Unknown,
) -> Iterator[tuple[Sequence[Type], Stated, Place]]:
    """Iterate over what is stated of variables that releases have, with the types that they state.

    Report invalid names, and note unknown ones.
    """
    for name, variables in stated.items():
        model_place = Place() if existing.get(name) == variables else place / name
        read_name(name, model_place)
        model = models.get(name)
        if model is None:
            unknown.models[name] = None
        for variable, content in variables.items():
            read_name(variable, model_place / variable, variable_name)
            types = () if model is None else model.stated_types(variable)
            if types:
                yield types, content, model_place / variable
            elif model is not None:
                unknown.variables.setdefault(name, {})[variable] = None


def _check_values(types: Sequence[Type], values: Sequence[object], place: Place) -> None:
    """Report the values if they are of none of the types that releases state of the variable."""
    places = [Place() for _ in types]
    for of_type, type_place in zip(types, places, strict=True):
        AllowedValues.read(of_type, list(values), type_place)
    if all(type_place.faults for type_place in places):
        for fault in places[0].faults:
            (place / int(fault.pointer.split("/")[1]) if fault.pointer else place).fault(fault.code, fault.message)


def _invalid(types: Sequence[Type], written: object) -> str | None:
    """Return why a value is of none of the types, None if it is of one."""
    messages = []
    for of_type in types:
        try:
            of_type.read(written)
        except InvalidValueError as error:
            messages.append(str(error))
        else:
            return None
    return messages[0]


@dataclass(slots=True)
class _Narrowing:
    """A variable set while what a host states is applied to it. who: what messages call the host."""

    set: VariableSet
    who: str
    variables: dict[str, Variable]
    messages: list[str] = field(default_factory=list)

    def _variable(self, given: str, verb: str) -> tuple[str, Variable | None, bool]:
        """Return a variable by either of its names, and whether the given one has the opposite values."""
        rename = self.set.renames.get(given)
        name = given if rename is None else rename.variable
        variable = self.variables.get(name)
        if variable is None:
            self.messages.append(
                f"{self.who} {verb} {given} of {self.set.model}, but its release has no such variable."
            )
        return name, variable, rename is not None and rename.inverted

    def restrict(self, restrict: Mapping[str, Sequence[object]]) -> None:
        for given, values in restrict.items():
            name, variable, is_inverted = self._variable(given, "restricts")
            if variable is None:
                continue
            place = Place()
            allowed = AllowedValues.read(variable.type, values, place)
            self.messages += [
                f"{self.who} restricts {given} of {self.set.model}, but a value {fault.message}."
                for fault in place.faults
            ]
            self.variables[name] = variable.restricted(allowed.inverted() if is_inverted else allowed)

    def resolve(self, resolves: Sequence[Mapping[str, Mapping[str, object]]], *, is_source: bool) -> None:
        """Apply what is made of values; what is stated later of a value counts before what is stated earlier."""
        made: dict[str, dict[Value, Value]] = {}
        for given, stated in ((given, stated) for one in resolves for given, stated in one.items()):
            name, variable, is_inverted = self._variable(given, "resolves")
            if variable is None:
                continue
            for written in stated.items():
                try:
                    before, after = map(variable.type.read, written)
                except InvalidValueError as error:
                    self.messages.append(f"{self.who} resolves {given} of {self.set.model}, but a value {error}.")
                    continue
                of_variable = made.setdefault(name, {})
                of_variable[not before if is_inverted else before] = not after if is_inverted else after
        for name, values in made.items():
            self.variables[name] = self.variables[name].resolved(values, is_source=is_source)


def narrowed(
    variable_set: VariableSet, limits: Sequence[Limits], who: str = "The destination", *, is_source: bool = False
) -> tuple[VariableSet, Sequence[str]]:
    """Return a set with what its host states, and messages about statements without effect.

    limits: of the host, and of the unit where the device is made. who: what the messages call the host.
    is_source: values are replaced by what the host makes of them; otherwise only values are allowed of which the host
    makes the same (DESIGN 5, "Values that a host decides").
    """
    if not limits:
        return variable_set, ()
    narrowing = _Narrowing(variable_set, who, dict(variable_set.variables))
    for limit in limits:
        narrowing.restrict(limit.restrict or {})
    # What a unit makes of a value counts before what the host does.
    narrowing.resolve([limit.resolves for limit in limits if limit.resolves], is_source=is_source)
    return replace(variable_set, variables=narrowing.variables, is_narrowed=True), narrowing.messages
