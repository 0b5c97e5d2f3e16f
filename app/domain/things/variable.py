"""A variable (DESIGN 3): one thing that can differ between two devices of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from app.domain.values.allowed import AllowedValues
from app.domain.values.document import FaultCode, Place, must_be_one_of
from app.domain.values.name import read_name, variable_name
from app.domain.values.value import InvalidValueError, Type, Value, same, shown

_REQUIRED = frozenset({"type", "init_value"})
_OPTIONAL = frozenset(
    {
        "off_value",
        "allowed_values",
        "settable",
        "runtime",
        "scope",
        "resolved_by_host",
        "may_grow",
        "stands_for",
        "description",
    }
)

Member = TypeVar("Member", bound=StrEnum)


class Scope(StrEnum):
    """Who is concerned by a variable (DESIGN 3): the guest, the saved state, one device, or the host."""

    INTERFACE = "interface"
    SAVED_STATE = "saved-state"
    INSTANCE = "instance"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class StandsFor:
    """The variable that a release has under another name; inverted: with the opposite value (DESIGN 3)."""

    variable: str
    inverted: bool = False

    @classmethod
    def read(cls, document: object, place: Place) -> "StandsFor":
        """Read `{"variable": name, "inverted"?: bool}`; report its faults."""
        fields = place.fields(document, required=frozenset({"variable"}), optional=frozenset({"inverted"}))
        name = read_name(fields["variable"], place / "variable", variable_name) if "variable" in fields else ""
        return cls(name, (place / "inverted").flag(fields["inverted"]) if "inverted" in fields else False)

    def converted(self, value: Any) -> Any:
        """Return a value of one of the two variables as a value of the other.

        None, and what is no bool where the values are opposite, stays as it is: steps refuse it later.
        """
        if not self.inverted or value is None:
            return value
        try:
            return not Type.BOOL.read(value)
        except InvalidValueError:
            return value

    def document(self) -> Mapping[str, object]:
        """Return it in JSON."""
        return {"variable": self.variable, "inverted": self.inverted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable as one variable set states it.

    init_value: the value in a new device created without a profile.
    off_value: the value that means "as before this variable existed"; None if the set states none.
    allowed: the values that a device can have; only the init value if the variable is not settable.
    resolved_by_host: values whose meaning each host decides for itself.
    may_grow: a running device may find more of it than it had: on where it was off, a larger int.
    stands_for: the variable that this one is under another name.
    unrestricted: the values that the release allows, where a host allows fewer; None without a restriction.
    made: what the host makes of values; empty where nobody says.
    """

    type: Type
    init_value: Value
    off_value: Value | None = None
    allowed: AllowedValues
    settable: bool = True
    runtime: bool = False
    scope: Scope = Scope.INTERFACE
    resolved_by_host: frozenset[Value] = frozenset()
    may_grow: bool = False
    description: str = ""
    stands_for: StandsFor | None = None
    unrestricted: AllowedValues | None = None
    made: Mapping[Value, Value] = field(default_factory=dict)

    @classmethod
    def read(cls, document: object, place: Place) -> "Variable | None":
        """Read the variable from a JSON object; report its faults, and return None if there are any."""
        faults_before = len(place.faults)
        fields = place.fields(document, required=_REQUIRED, optional=_OPTIONAL)
        of_type = _read_enum(Type, fields.get("type"), place / "type") if "type" in fields else None
        scope = _read_enum(Scope, fields["scope"], place / "scope") if "scope" in fields else Scope.INTERFACE
        settable = (place / "settable").flag(fields["settable"]) if "settable" in fields else True
        runtime = (place / "runtime").flag(fields["runtime"]) if "runtime" in fields else False
        may_grow = (place / "may_grow").flag(fields["may_grow"]) if "may_grow" in fields else False
        description = (place / "description").text(fields.get("description", ""))
        if of_type is None or scope is None or "init_value" not in fields:
            return None
        init = _read_value(of_type, fields["init_value"], place / "init_value")
        off = _read_value(of_type, fields["off_value"], place / "off_value") if "off_value" in fields else None
        allowed = (
            AllowedValues.read(of_type, fields["allowed_values"], place / "allowed_values")
            if "allowed_values" in fields
            else AllowedValues.any(of_type)
        )
        resolved_place = place / "resolved_by_host"
        resolved = [
            _read_value(of_type, item, item_place)
            for item, item_place in resolved_place.items(fields.get("resolved_by_host", []))
        ]
        stands_for = StandsFor.read(fields["stands_for"], place / "stands_for") if "stands_for" in fields else None
        if stands_for is not None and stands_for.inverted and of_type is not Type.BOOL:
            message = f"must be false: only a bool has an opposite value, and the type is {of_type}"
            (place / "stands_for" / "inverted").fault(FaultCode.INVALID_VALUE, message)
        if may_grow and (of_type is Type.STR or (stands_for is not None and stands_for.inverted)):
            message = "must be false: only an int, or a bool that is not inverted, can grow"
            (place / "may_grow").fault(FaultCode.INVALID_VALUE, message)
        if may_grow and scope in {Scope.BACKEND, Scope.INSTANCE}:
            message = f"must be false: the guest of a device finds no more of a variable of scope {scope}"
            (place / "may_grow").fault(FaultCode.WRONG_SCOPE, message)
        if len(place.faults) > faults_before or init is None:
            return None
        if init not in allowed:
            message = f"must be an allowed value ({allowed.shown()}), not {shown(init)}"
            (place / "init_value").fault(FaultCode.INIT_NOT_ALLOWED, message)
        if not settable:
            # Fixed hardware may lack its off value: a capability that cannot be switched off (DESIGN 3).
            allowed = AllowedValues.only(init)
        elif off is not None and off not in allowed:
            message = f"must be an allowed value ({allowed.shown()}), not {shown(off)}"
            (place / "off_value").fault(FaultCode.OFF_NOT_ALLOWED, message)
        if len(place.faults) > faults_before:
            return None
        return cls(
            type=of_type,
            init_value=init,
            off_value=off,
            allowed=allowed,
            settable=settable,
            runtime=runtime,
            scope=scope,
            resolved_by_host=frozenset(value for value in resolved if value is not None),
            may_grow=may_grow,
            description=description,
            stands_for=stands_for,
        )

    def inverted(self) -> "Variable":
        """Return the bool variable whose values are the opposite of this one's."""
        return replace(
            self,
            init_value=not self.init_value,
            off_value=None if self.off_value is None else not self.off_value,
            allowed=self.allowed.inverted(),
            resolved_by_host=frozenset(not value for value in self.resolved_by_host),
        )

    def restricted(self, allowed: AllowedValues) -> "Variable":
        """Return the variable with only those of its values that a host allows."""
        return replace(
            self,
            allowed=self.allowed.intersection(allowed),
            unrestricted=self.allowed if self.unrestricted is None else self.unrestricted,
        )

    def resolved(self, made: Mapping[Value, Value], *, is_source: bool) -> "Variable":
        """Return the variable on a host that makes something of values; made: by the value asked for.

        At a destination a value is allowed only if the host makes the same of it.
        """
        changed = [before for before, after in made.items() if not same(before, after)]
        return replace(
            self,
            made=made,
            allowed=self.allowed if is_source else self.allowed.without(changed),
            resolved_by_host=self.resolved_by_host - made.keys(),
        )

    @property
    def admissible(self) -> AllowedValues:
        """The values with which a running device can come: those allowed, and those that can grow into one."""
        return self.allowed.with_smaller() if self.may_grow and not self.resolved_by_host else self.allowed

    @property
    def is_backend(self) -> bool:
        """Return whether the variable names a resource of the host."""
        return self.scope is Scope.BACKEND

    @property
    def is_instance(self) -> bool:
        """Return whether the variable belongs to a single device."""
        return self.scope is Scope.INSTANCE

    def states_as(self, other: "Variable") -> bool:
        """Return whether another statement is equal, apart from the off value: that belongs to the model (DESIGN 3)."""
        return replace(self, off_value=None) == replace(other, off_value=None)

    def document(self) -> Mapping[str, object]:
        """Return the variable in JSON, every default filled in, but off_value and allowed_values only if stated."""
        document: dict[str, object] = {
            "type": self.type.value,
            "init_value": self.init_value,
            "settable": self.settable,
            "runtime": self.runtime,
            "scope": self.scope.value,
            "resolved_by_host": sorted(self.resolved_by_host),
            "description": self.description,
        }
        if self.off_value is not None:
            document["off_value"] = self.off_value
        if (listed := self.allowed.document()) is not None:
            document["allowed_values"] = listed
        # Absent where nothing is stated, as before this field existed: digests of published sets stay.
        if self.may_grow:
            document["may_grow"] = True
        if self.stands_for is not None:
            document["stands_for"] = self.stands_for.document()
        return document


def wrong_scope(variable: Variable) -> str:
    """Return the message for a backend or instance variable in a profile's values or in a condition."""
    return f"must be an interface or saved-state variable, not {variable.scope}"


def _read_enum(members: type[Member], document: object, place: Place) -> Member | None:
    for member in members:
        if document == member.value:
            return member
    place.fault(FaultCode.INVALID_VALUE, must_be_one_of([member.value for member in members], document))
    return None


def _read_value(of_type: Type, document: object, place: Place) -> Value | None:
    try:
        return of_type.read(document)
    except InvalidValueError as error:
        place.fault(FaultCode.INVALID_VALUE, str(error))
        return None
