"""Parts (DESIGN 2, 3): devices that other devices need, and what has to hold of them across one VM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.domain.values.allowed import MAX_LISTED, AllowedValues
from app.domain.values.canonical import canonical_json
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import read_name, variable_name
from app.domain.values.value import InvalidValueError, Type, Value

ROLE = frozenset({"role"})
MAX_OVER = 1_000
_TOGETHER = ROLE | {"over", "require"}

# Roles have the syntax of variable names: no white space, at most 128 characters.
role_name = variable_name


@dataclass(frozen=True, slots=True)
class Together:
    """A rule across one VM: where more than `over` devices have a part in the role, all these parts meet `require`.

    require: by variable of the parts, backend ones too, the values in JSON. They are of no type here: the parts can be
    of any device model. A part without the variable does not meet it.
    """

    role: str
    over: int
    require: Mapping[str, tuple[object, ...]]
    description: str = ""

    @classmethod
    def read(cls, document: object, place: Place) -> "Together":
        """Read it from a JSON object; report its faults."""
        fields = place.fields(document, required=_TOGETHER, optional=frozenset({"description"}))
        over = fields.get("over", 0)
        if isinstance(over, bool) or not isinstance(over, int) or not 0 <= over <= MAX_OVER:
            (place / "over").fault(FaultCode.INVALID_VALUE, f"must be an integer of 0 to {MAX_OVER:,}")
            over = 0
        require = {}
        for name, values, values_place in (place / "require").entries(fields.get("require", {})):
            read_name(name, values_place, variable_name)
            require[name] = _read_values(values, values_place)
        return cls(
            read_name(fields["role"], place / "role", role_name) if "role" in fields else "",
            over,
            require,
            (place / "description").text(fields.get("description", "")),
        )

    def broken_by(self, configuration: Mapping[str, Value]) -> Iterator[tuple[str, tuple[object, ...]]]:
        """Iterate over the variables of a part that do not meet the rule, with the values that it requires."""
        for name, values in self.require.items():
            if name not in configuration or not _has(values, configuration[name]):
                yield name, values

    def document(self) -> Mapping[str, object]:
        """Return it in JSON."""
        return {
            "role": self.role,
            "over": self.over,
            "require": {name: list(values) for name, values in self.require.items()},
            "description": self.description,
        }


def _read_values(document: object, place: Place) -> tuple[object, ...]:
    """Read a list of values and ranges of any type; report its faults. The result is sorted and without duplicates."""
    values: dict[str, object] = {}
    for index, (item, item_place) in enumerate(place.items(document)):
        if index == MAX_LISTED:
            place.fault(FaultCode.LIMIT_EXCEEDED, f"must list at most {MAX_LISTED:,} values and ranges")
            break
        if isinstance(item, dict):
            inside = Place()
            AllowedValues.read(Type.INT, [item], inside)
            for fault in inside.faults:
                item_place.fault(fault.code, fault.message)
        elif isinstance(item, bool | int | str):
            try:
                Type.of(item).read(item)
            except InvalidValueError as error:
                item_place.fault(FaultCode.INVALID_VALUE, str(error))
        else:
            item_place.fault(FaultCode.WRONG_TYPE, "must be a boolean, an integer, a string or a range")
            continue
        values[canonical_json(item)] = item
    return tuple(values[text] for text in sorted(values))


def _has(values: Sequence[object], value: Value) -> bool:
    """Return whether a value is listed, in the type that it has."""
    return value in AllowedValues.read(Type.of(value), list(values), Place())
