"""A variable: one thing that may differ between two devices of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from app.domain.allowed import AllowedValues
from app.domain.document import FaultCode, Place
from app.domain.value import InvalidValueError, Type, Value, shown

_REQUIRED = frozenset({"type", "init_value"})
_OPTIONAL = frozenset(
    {"off_value", "allowed_values", "settable", "runtime", "scope", "resolved_by_host", "description"}
)

Member = TypeVar("Member", bound=StrEnum)


class Scope(StrEnum):
    """Whom a variable concerns."""

    INTERFACE = "interface"
    SAVED_STATE = "saved-state"
    INSTANCE = "instance"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """What one variable set states about one variable.

    init_value: the value in a new device created without a profile.
    off_value: the value that means "as before this variable existed"; None if this set states none.
    allowed: the values that a device may be given; of a variable that is not settable its init value alone.
    resolved_by_host: values whose meaning each host decides for itself.
    """

    type: Type
    init_value: Value
    off_value: Value | None = None
    allowed: AllowedValues
    settable: bool = True
    runtime: bool = False
    scope: Scope = Scope.INTERFACE
    resolved_by_host: frozenset[Value] = frozenset()
    description: str = ""

    @classmethod
    def read(cls, written: object, at: Place) -> "Variable | None":
        """Return the variable that a JSON object states, or None and its faults reported."""
        faults_before = len(at.faults)
        fields = at.fields(written, required=_REQUIRED, optional=_OPTIONAL)
        of_type = _read_enum(Type, fields.get("type"), at / "type") if "type" in fields else None
        scope = _read_enum(Scope, fields["scope"], at / "scope") if "scope" in fields else Scope.INTERFACE
        settable = (at / "settable").flag(fields["settable"]) if "settable" in fields else True
        runtime = (at / "runtime").flag(fields["runtime"]) if "runtime" in fields else False
        description = (at / "description").text(fields.get("description", ""))
        if of_type is None or scope is None or "init_value" not in fields:
            return None
        init = _read_value(of_type, fields["init_value"], at / "init_value")
        off = _read_value(of_type, fields["off_value"], at / "off_value") if "off_value" in fields else None
        allowed = (
            AllowedValues.read(of_type, fields["allowed_values"], at / "allowed_values")
            if "allowed_values" in fields
            else AllowedValues.any(of_type)
        )
        by_host = at / "resolved_by_host"
        resolved = [
            _read_value(of_type, each, here) for each, here in by_host.items(fields.get("resolved_by_host", []))
        ]
        if len(at.faults) > faults_before or init is None:
            return None
        if init not in allowed:
            (at / "init_value").fault(FaultCode.INIT_NOT_ALLOWED, f"{shown(init)} is not among the allowed values")
        if not settable:
            allowed = AllowedValues.only(init)
        if off is not None and off not in allowed:
            why = "is not among the allowed values" if settable else "is not the init value of an unsettable variable"
            (at / "off_value").fault(FaultCode.OFF_NOT_ALLOWED, f"{shown(off)} {why}")
        if len(at.faults) > faults_before:
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
            description=description,
        )

    @property
    def is_backend(self) -> bool:
        """Return whether it names a resource of the host."""
        return self.scope is Scope.BACKEND

    @property
    def is_instance(self) -> bool:
        """Return whether it belongs to one device."""
        return self.scope is Scope.INSTANCE

    def states_as(self, other: "Variable") -> bool:
        """Return whether another statement says the same; the off value is the model's, whoever repeats it."""
        return replace(self, off_value=None) == replace(other, off_value=None)

    def document(self) -> Mapping[str, object]:
        """Return it in JSON with every default filled in; without off or allowed values where it has none."""
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
        return document


def _read_enum(members: type[Member], written: object, at: Place) -> Member | None:
    for member in members:
        if written == member.value:
            return member
    at.fault(FaultCode.INVALID_VALUE, f"is none of {', '.join(member.value for member in members)}")
    return None


def _read_value(of_type: Type, written: object, at: Place) -> Value | None:
    try:
        return of_type.read(written)
    except InvalidValueError as error:
        at.fault(FaultCode.INVALID_VALUE, f"{written!r} {error}" if isinstance(written, str | int) else str(error))
        return None
