"""The values that a variable allows: any of its type, or a list of values, ranges and steps, merged and sorted."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Self

from app.domain.document import FaultCode, Place
from app.domain.value import INT_MAX, INT_MIN, InvalidValueError, Type, Value, read_int, shown

_RANGE = re.compile(r"(-?(?:0x[0-9a-fA-F]+|[0-9]+))-(-?(?:0x[0-9a-fA-F]+|[0-9]+))")
MAX_LISTED = 1000
MAX_STEPS = 64
# Steps of more values than this stay steps, whatever range they touch.
_MOST_SINGLED = 4096
_MOST_SHOWN = 20
_STEP_KEYS = frozenset({"min", "max", "step"})


@dataclass(frozen=True, slots=True, order=True)
class Steps:
    """The ints min, min+step, … max; step 1 is a range, and min = max one value."""

    min: int
    max: int
    step: int = 1

    @classmethod
    def between(cls, low: int, high: int, step: int = 1) -> Self:
        """Return the ints from low to at most high; raises InvalidValueError if there are none."""
        if low > high:
            message = f"is empty: {low} is greater than {high}"
            raise InvalidValueError(message)
        high -= (high - low) % step
        if low == high:
            step = 1
        return cls(low, high, step)

    def __contains__(self, number: int) -> bool:
        return self.min <= number <= self.max and (number - self.min) % self.step == 0

    @property
    def count(self) -> int:
        """Return how many ints these are."""
        return (self.max - self.min) // self.step + 1

    def touches(self, ranges: "Sequence[Steps]") -> bool:
        """Return whether some of these ints are in one of the ranges or next to it."""
        return any(self.intersection(Steps(one.min - 1, one.max + 1)) is not None for one in ranges)

    def is_within(self, values: "AllowedValues") -> bool:
        """Return whether all these ints are among the values; of many with gaps it may say no."""
        if any(self.min in each and self.max in each and self.step % each.step == 0 for each in values.all_steps()):
            return True
        return self.count <= _MOST_SINGLED and all(
            number in values for number in range(self.min, self.max + 1, self.step)
        )

    def intersection(self, other: "Steps") -> "Steps | None":
        """Return the ints in both, by the Chinese remainder theorem, or None."""
        common = gcd(self.step, other.step)
        if (other.min - self.min) % common:
            return None
        step = self.step // common * other.step
        turns = (other.min - self.min) // common * pow(self.step // common, -1, other.step // common)
        meeting = self.min + self.step * (turns % (other.step // common))
        low = max(self.min, other.min)
        first = meeting + -((meeting - low) // step) * step
        last = min(self.max, other.max)
        return Steps.between(first, last, step) if first <= last else None

    def document(self) -> list[object]:
        """Return it in JSON, in the shortest form: values, "min-max" or {"min", "max", "step"}."""
        if self.min == self.max:
            return [self.min]
        if self.min + self.step == self.max:
            return [self.min, self.max]
        if self.step == 1:
            return [f"{self.min}-{self.max}"]
        return [{"min": self.min, "max": self.max, "step": self.step}]


_ALL_INTS = (Steps(INT_MIN, INT_MAX),)


@dataclass(frozen=True, slots=True)
class AllowedValues:
    """A set of values of one type."""

    type: Type
    values: frozenset[bool | str] | None = None
    ranges: tuple[Steps, ...] = ()
    steps: tuple[Steps, ...] = ()
    _lows: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lows", tuple(each.min for each in self.ranges))

    @classmethod
    def any(cls, of_type: Type) -> Self:
        """Return every value of the type."""
        return cls(of_type, ranges=_ALL_INTS) if of_type is Type.INT else cls(of_type)

    @classmethod
    def only(cls, value: Value) -> Self:
        """Return the set of one value."""
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(Type.INT, ranges=(Steps(value, value),))
        return cls(Type.of(value), frozenset({value}))

    @classmethod
    def read(cls, of_type: Type, written: object, at: Place) -> "AllowedValues":
        """Return the set that a JSON list states, its faults reported."""
        values: set[bool | str] = set()
        steps: list[Steps] = []
        if isinstance(written, list) and len(written) > MAX_LISTED:
            at.fault(FaultCode.LIMIT_EXCEEDED, f"lists more than {MAX_LISTED:,} values and ranges")
            written = []
        if isinstance(written, list) and sum(isinstance(each, dict) for each in written) > MAX_STEPS:
            at.fault(FaultCode.LIMIT_EXCEEDED, f"lists more than {MAX_STEPS} ranges with steps")
            written = []
        for each, here in at.items(written):
            try:
                if of_type is Type.INT:
                    steps.append(_read_steps(each))
                else:
                    value = of_type.read(each)
                    values.add(value if isinstance(value, bool) else str(value))
            except InvalidValueError as error:
                here.fault(FaultCode.INVALID_RANGE if isinstance(each, dict) else FaultCode.INVALID_VALUE, str(error))
        return AllowedValues._of_ints(steps) if of_type is Type.INT else cls(of_type, frozenset(values))

    @classmethod
    def _of_ints(cls, stated: Sequence[Steps]) -> Self:
        ranges = [each for each in stated if each.step == 1]
        steps = _merged([each for each in stated if each.step != 1])
        longer = [one for one in _merged(ranges) if one.min != one.max]
        for each in [each for each in steps if each.count <= _MOST_SINGLED and each.touches(longer)]:
            # Single values beside a range become a part of it.
            steps.remove(each)
            ranges += [Steps(number, number) for number in range(each.min, each.max + 1, each.step)]
        kept = [one for one in _merged(ranges) if one.min != one.max or not any(one.min in each for each in steps)]
        return cls(Type.INT, ranges=tuple(kept), steps=tuple(steps))

    @property
    def is_any(self) -> bool:
        """Return whether every value of the type is in it."""
        return self.ranges == _ALL_INTS if self.type is Type.INT else self.values is None

    @property
    def is_free_form(self) -> bool:
        """Return whether it is any string at all, so that nothing can check a value."""
        return self.type is Type.STR and self.values is None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.type is Type.BOOL and (self.values is None or value in self.values)
        if isinstance(value, int):
            if self.type is not Type.INT:
                return False
            place = bisect_right(self._lows, value) - 1
            return (place >= 0 and value <= self.ranges[place].max) or any(value in each for each in self.steps)
        return self.type is Type.STR and (self.values is None or value in self.values)

    def intersection(self, other: "AllowedValues") -> "AllowedValues":
        """Return the values in both, which are of one type."""
        if self.type is not Type.INT:
            if self.values is None or other.values is None:
                return other if self.values is None else self
            return AllowedValues(self.type, self.values & other.values)
        ranges = tuple(_common_ranges(self.ranges, other.ranges))
        pairs = [(one, two) for one in self.steps for two in other.all_steps()]
        pairs += [(one, two) for one in other.steps for two in self.ranges]
        steps = {both for one, two in pairs if (both := one.intersection(two)) is not None}
        return AllowedValues(Type.INT, ranges=ranges, steps=tuple(sorted(steps)))

    def union(self, other: "AllowedValues") -> "AllowedValues":
        """Return the values in either, which are of one type."""
        if self.type is Type.INT:
            return AllowedValues._of_ints(self.all_steps() + other.all_steps())
        if self.values is None or other.values is None:
            return self if self.values is None else other
        return AllowedValues(self.type, self.values | other.values)

    def is_within(self, other: "AllowedValues") -> bool:
        """Return whether every value is in the other, too; of long steps within shorter ones it may say no."""
        if self.type is not other.type:
            return False
        if self.type is Type.INT:
            return all(each.is_within(other) for each in self.all_steps())
        return other.values is None or (self.values is not None and self.values <= other.values)

    @property
    def is_empty(self) -> bool:
        """Return whether no value is in it."""
        return not self.all_steps() if self.type is Type.INT else self.values is not None and not self.values

    def all_steps(self) -> tuple[Steps, ...]:
        """Return the ints as ranges and steps."""
        return self.ranges + self.steps

    def document(self) -> list[object] | None:
        """Return the canonical list in JSON, or None for any value of the type."""
        if self.is_any:
            return None
        if self.type is Type.INT:
            return [part for each in sorted(self.all_steps()) for part in each.document()]
        return list[object](sorted(self.values or ()))

    def listed(self) -> list[object] | None:
        """Return the list in JSON, of all ints and bools, too; None for any string."""
        if self.type is Type.BOOL and self.values is None:
            return [False, True]
        return [f"{INT_MIN}-{INT_MAX}"] if self.type is Type.INT and self.is_any else self.document()

    def shown(self) -> str:
        """Return the set as a message shows it."""
        listed = self.document()
        if listed is None:
            return f"any {self.type}"
        parts = [
            f"{each['min']}-{each['max']} in steps of {each['step']}" if isinstance(each, dict) else shown(each)
            for each in listed
            if isinstance(each, dict | bool | int | str)
        ]
        return (
            ", ".join(parts[:_MOST_SHOWN])
            + (f" and {len(parts) - _MOST_SHOWN} more" if len(parts) > _MOST_SHOWN else "")
            or "nothing"
        )


def _read_steps(written: object) -> Steps:
    if isinstance(written, dict):
        if written.keys() != _STEP_KEYS:
            message = "is no range: it has exactly min, max and step"
            raise InvalidValueError(message)
        step = read_int(written["step"])
        if step < 1:
            message = "has a step less than 1"
            raise InvalidValueError(message)
        return Steps.between(read_int(written["min"]), read_int(written["max"]), step)
    if isinstance(written, str) and (ends := _RANGE.fullmatch(written)):
        return Steps.between(read_int(ends[1]), read_int(ends[2]))
    number = read_int(written)
    return Steps(number, number)


def _common_ranges(ones: Sequence[Steps], others: Sequence[Steps]) -> Iterator[Steps]:
    """Iterate over what is in a range of both sorted sequences."""
    place = other_place = 0
    while place < len(ones) and other_place < len(others):
        one, other = ones[place], others[other_place]
        low, high = max(one.min, other.min), min(one.max, other.max)
        if low <= high:
            yield Steps(low, high)
        if one.max < other.max:
            place += 1
        else:
            other_place += 1


def _merged(stated: Sequence[Steps]) -> list[Steps]:
    """Return the steps sorted, those that overlap or follow on in one rhythm made one."""
    merged: list[Steps] = []
    for each in sorted(stated, key=lambda one: (one.step, one.min % one.step, one.min)):
        last = merged[-1] if merged else None
        if (
            last
            and last.step == each.step
            and (each.min - last.min) % each.step == 0
            and each.min <= last.max + last.step
        ):
            merged[-1] = Steps(last.min, max(last.max, each.max), last.step)
        else:
            merged.append(each)
    return merged
