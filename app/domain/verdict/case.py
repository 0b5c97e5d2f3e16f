"""What the steps of a verdict look at: one device at one destination, and each variable at both ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.things.model import Model
from app.domain.things.profile import Values, Written
from app.domain.things.variable import Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.values.value import Value, same
from app.domain.verdict.source import Source, given_value, made_value, stated_values, value_without_set


class Pair(NamedTuple):
    """One variable, at the source and at the destination.

    here, there: the variable in either set, None where the set lacks it.
    value: its value in the source configuration; None: nothing is known of it, or it is off by no known value.
    off: the off value that counts between source and destination, None if there is none.
    is_given: whether the device gives an explicit value; written: that value as it is written.
    is_foreign: the source release is known, and its set lacks the variable.
    is_in_effect: the value differs from the off value; a variable that the source release lacks is not in effect.
    """

    name: str
    here: Variable | None
    there: Variable | None
    value: Value | None
    off: Value | None
    is_given: bool
    written: Written | None
    is_foreign: bool
    is_in_effect: bool

    @property
    def is_compared(self) -> bool:
        """Whether the variable is compared: unless some side has it and every side that has it calls it backend."""
        here, there = self.here, self.there
        if here is None:
            return there is None or not there.is_backend
        return not here.is_backend or not (there is None or there.is_backend)

    @property
    def wanted(self) -> Value | None:
        """The value that the destination has to have: the one in effect, or else the off value; None: not known."""
        return self.value if self.is_in_effect else self.off

    @property
    def is_carried_over(self) -> bool:
        """Whether the destination takes the value from the one device: an instance variable that is not given."""
        return self.there is not None and self.there.is_instance and not self.is_given and not self.is_in_effect


# What a variable takes of a request's budget.
_STEPS = 6


@dataclass(frozen=True, slots=True)
class Case:
    """One device at one destination release.

    own, vendors: the variable set and the vendor of the source release; None and () without one.
    profile: what the source release makes of the device's profile, or else what the profile says; None without one.
    given: the explicit values.
    set, vendor: the variable set of the destination, narrowed by what the host restricts, and the vendor of its
    release; set is None if that does not implement the model.
    """

    model: Model
    own: VariableSet | None
    vendors: tuple[str, ...]
    profile: Values | None
    given: Mapping[str, Written | None]
    set: VariableSet | None
    vendor: str

    @classmethod
    def of(cls, source: Source, model: Model, variable_set: VariableSet | None, vendor: str) -> "Case":
        """Return the case of a source whose names are all known."""
        stated = stated_values(source.profile_values, source.own_values)
        return cls(model, source.set, source.vendors, stated, source.device.values, variable_set, vendor)

    @property
    def off(self) -> Mapping[str, Value]:
        """The off values that count between the source and the destination."""
        return self.model.off_values(*self.vendors, self.vendor)

    @property
    def source_off(self) -> Mapping[str, Value]:
        """The off values that count for the source release; without one, the destination decides."""
        return self.model.off_values(*self.vendors) if self.vendors else {}

    def pairs(self) -> Iterator[Pair]:
        """Iterate over every variable that either set, the profile or the device names."""
        off, source_off = self.off, self.source_off
        here = self.own.variables if self.own else {}
        there = self.set.variables if self.set else {}
        names = dict.fromkeys([*here, *(self.profile or ()), *there, *self.given])
        spend(_STEPS * len(names))
        for name in names:
            yield pair(self, name, here.get(name), there.get(name), off.get(name), source_off.get(name))


def pair(
    case: Case,
    name: str,
    here: Variable | None,
    there: Variable | None,
    off: Value | None,
    source_off: Value | None,
) -> Pair:
    """Return one variable of a case, with its value in the source configuration."""
    is_given = name in case.given
    written = case.given.get(name)
    if here is not None:
        value = given_value(here, written, source_off) if is_given else made_value(name, here, case.profile, source_off)
        is_in_effect = value is not None and not same(value, off)
        return Pair(name, here, there, value, off, is_given, written, is_foreign=False, is_in_effect=is_in_effect)
    has_release = case.own is not None
    stated = written if is_given or case.profile is None else case.profile.get(name)
    value = value_without_set(name, case.model, stated, vendor=case.vendor, has_release=has_release)
    is_in_effect = not has_release and value is not None and not same(value, off)
    return Pair(name, here, there, value, off, is_given, written, is_foreign=has_release, is_in_effect=is_in_effect)


def source_configuration(case: Case) -> dict[str, Value]:
    """Return the value of every variable of the source release's set that has one."""
    names = case.own.variables if case.own else {}
    return {pair.name: pair.value for pair in case.pairs() if pair.name in names and pair.value is not None}
