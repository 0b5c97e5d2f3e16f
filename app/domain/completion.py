"""Completion: what a variable set makes of a device of which nothing is in effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from app.domain.value import Value
from app.domain.variable_set import VariableSet


@dataclass(frozen=True, slots=True)
class Completion:
    """What step 5 of a verdict needs of a set, worked out once for the off values that it is asked with.

    off: the off values of the variables that are neither instance nor backend, where the set allows them.
    not_off: those variables that cannot take an off value.
    free_form: the strings that may be anything. resolved_by_host: the variables with values that each host decides.
    """

    off_values: Mapping[str, Value]
    off: Mapping[str, Value]
    not_off: Sequence[str]
    instances: Sequence[str]
    backends: Sequence[str]
    free_form: Sequence[str]
    resolved_by_host: Sequence[str]

    @classmethod
    def of(cls, variable_set: VariableSet, off_values: Mapping[str, Value]) -> "Completion":
        """Return the completion of a set; the one asked for last is kept as long as the set itself."""
        kept = _kept.get(variable_set)
        if kept is None or kept.off_values is not off_values:
            kept = _kept[variable_set] = cls._worked_out(variable_set, off_values)
        return kept

    @classmethod
    def _worked_out(cls, variable_set: VariableSet, off_values: Mapping[str, Value]) -> "Completion":
        variables = variable_set.variables
        off, not_off = {}, []
        for name, variable in variables.items():
            if variable.is_instance or variable.is_backend:
                continue
            value = off_values.get(name)
            if value is not None and value in variable.allowed:
                off[name] = value
            else:
                not_off.append(name)
        return cls(
            off_values,
            off,
            not_off,
            [name for name, variable in variables.items() if variable.is_instance],
            [name for name, variable in variables.items() if variable.is_backend],
            [name for name, variable in variables.items() if variable.allowed.is_free_form],
            [name for name, variable in variables.items() if variable.resolved_by_host],
        )


_kept: WeakKeyDictionary[VariableSet, Completion] = WeakKeyDictionary()
