"""Allowed values of a variable (DESIGN 3): any of its type, or a merged and sorted list of values, ranges and steps."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any, Self

from app.domain.values.budget import spend
from app.domain.values.document import FaultCode, Place
from app.domain.values.value import INT_MAX, INT_MIN, InvalidValueError, Type, Value, read_int, shown

_RANGE = re.compile(r"(-?(?:0x[0-9a-fA-F]+|[0-9]+))-(-?(?:0x[0-9a-fA-F]+|[0-9]+))")
MAX_LISTED = 1000
MAX_STEPS = 64
# Steps of more ints than this are not split into single ints.
_MAX_SPLIT = 4096
# A message shows at most this many values and ranges.
_MAX_SHOWN = 20
# What the intersection of two ranges with steps takes of a request's budget.
_STEPS_OF_A_PAIR = 5
_STEP_KEYS = frozenset({"min", "max", "step"})


@dataclass(frozen=True, slots=True, order=True)
class Steps:
    """The ints min, min+step, …, max: with step 1 a range, with min = max a single int."""

    min: int
    max: int
    step: int = 1

    @classmethod
    def between(cls, low: int, high: int, step: int = 1) -> Self:
        """Return the ints low, low+step, … up to high; raises InvalidValueError if there are none."""
        if low > high:
            message = f"must not be an empty range: {low} is greater than {high}"
            raise InvalidValueError(message)
        high -= (high - low) % step
        if low == high:
            step = 1
        return cls(low, high, step)

    def __contains__(self, number: int) -> bool:
        return self.min <= number <= self.max and (number - self.min) % self.step == 0

    @property
    def count(self) -> int:
        """Return the number of ints."""
        return (self.max - self.min) // self.step + 1

    def touches(self, ranges: "Sequence[Steps]") -> bool:
        """Return whether any of the ints lies in one of the ranges or next to it."""
        return any(self.intersection(Steps(part.min - 1, part.max + 1)) is not None for part in ranges)

    def is_within(self, values: "AllowedValues") -> bool:
        """Return whether all the ints are among the values; can be wrongly False for many ints with gaps."""
        if any(self.min in part and self.max in part and self.step % part.step == 0 for part in values.all_steps()):
            return True
        return self.count <= _MAX_SPLIT and all(number in values for number in range(self.min, self.max + 1, self.step))

    def without(self, number: int) -> "Iterator[Steps]":
        """Iterate over what is left without one int: itself, or up to two parts."""
        if number not in self:
            yield self
            return
        if self.min < number:
            yield Steps.between(self.min, number - self.step, self.step)
        if number < self.max:
            yield Steps.between(number + self.step, self.max, self.step)

    def intersection(self, other: "Steps") -> "Steps | None":
        """Return the ints in both, by the Chinese remainder theorem, or None."""
        divisor = gcd(self.step, other.step)
        if (other.min - self.min) % divisor:
            return None
        step = self.step // divisor * other.step
        multiple = (other.min - self.min) // divisor * pow(self.step // divisor, -1, other.step // divisor)
        common = self.min + self.step * (multiple % (other.step // divisor))
        low = max(self.min, other.min)
        first = common + -((common - low) // step) * step
        last = min(self.max, other.max)
        return Steps.between(first, last, step) if first <= last else None

    def document(self) -> list[object]:
        """Return the ints in JSON, in the shortest form: values, "min-max" or {"min", "max", "step"}."""
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
    """A set of values of one type.

    excluded: of any string, those that are not allowed.
    """

    type: Type
    values: frozenset[bool | str] | None = None
    ranges: tuple[Steps, ...] = ()
    steps: tuple[Steps, ...] = ()
    excluded: frozenset[str] = frozenset()
    _lows: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lows", tuple(part.min for part in self.ranges))

    @classmethod
    def any(cls, of_type: Type) -> Self:
        """Return every value of the type."""
        return cls(of_type, ranges=_ALL_INTS) if of_type is Type.INT else cls(of_type)

    @classmethod
    def only(cls, value: Value) -> Self:
        """Return the set with one value."""
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(Type.INT, ranges=(Steps(value, value),))
        return cls(Type.of(value), frozenset({value}))

    @classmethod
    def read(cls, of_type: Type, document: object, place: Place) -> "AllowedValues":
        """Read the set from a JSON list; report its faults."""
        values: set[bool | str] = set()
        steps: list[Steps] = []
        if isinstance(document, list) and len(document) > MAX_LISTED:
            message = f"must list at most {MAX_LISTED:,} values and ranges, not {len(document):,}"
            place.fault(FaultCode.LIMIT_EXCEEDED, message)
            document = []
        stepped = sum(isinstance(item, dict) for item in document) if isinstance(document, list) else 0
        if stepped > MAX_STEPS:
            place.fault(FaultCode.LIMIT_EXCEEDED, f"must list at most {MAX_STEPS} ranges with steps, not {stepped}")
            document = []
        for item, item_place in place.items(document):
            try:
                if of_type is Type.INT:
                    steps.append(_read_steps(item))
                else:
                    value = of_type.read(item)
                    values.add(value if isinstance(value, bool) else str(value))
            except InvalidValueError as error:
                code = FaultCode.INVALID_RANGE if isinstance(item, dict) else FaultCode.INVALID_VALUE
                item_place.fault(code, str(error))
        return AllowedValues._of_ints(steps) if of_type is Type.INT else cls(of_type, frozenset(values))

    @classmethod
    def _of_ints(cls, parts: Sequence[Steps]) -> Self:
        ranges = [part for part in parts if part.step == 1]
        steps = _merged([part for part in parts if part.step != 1])
        longer = [part for part in _merged(ranges) if part.min != part.max]
        for part in [part for part in steps if part.count <= _MAX_SPLIT and part.touches(longer)]:
            # Split into single ints, which merge with the range: equal sets have one canonical form.
            steps.remove(part)
            ranges += [Steps(number, number) for number in range(part.min, part.max + 1, part.step)]
        kept = [
            part for part in _merged(ranges) if part.min != part.max or not any(part.min in other for other in steps)
        ]
        return cls(Type.INT, ranges=tuple(kept), steps=tuple(steps))

    @property
    def is_any(self) -> bool:
        """Return whether the set has every value of the type."""
        return self.ranges == _ALL_INTS if self.type is Type.INT else self.values is None and not self.excluded

    @property
    def is_free_form(self) -> bool:
        """Return whether any string is allowed, so that nothing can check a value."""
        return self.type is Type.STR and self.values is None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool):
            return self.type is Type.BOOL and (self.values is None or value in self.values)
        if isinstance(value, int):
            if self.type is not Type.INT:
                return False
            index = bisect_right(self._lows, value) - 1
            return (index >= 0 and value <= self.ranges[index].max) or any(value in part for part in self.steps)
        if self.type is not Type.STR:
            return False
        return value not in self.excluded if self.values is None else value in self.values

    def intersection(self, other: "AllowedValues") -> "AllowedValues":
        """Return the values in both sets, which must be of one type."""
        if self.type is not Type.INT:
            if self.values is None and other.values is None:
                return AllowedValues(self.type, excluded=self.excluded | other.excluded)
            some, rest = (other, self) if self.values is None else (self, other)
            return AllowedValues(self.type, frozenset(value for value in some.values or () if value in rest))
        # Steps multiply: before the pairs exist, count them.
        spend(_STEPS_OF_A_PAIR * (len(self.steps) * len(other.all_steps()) + len(other.steps) * len(self.ranges)))
        spend(len(self.ranges) + len(other.ranges))
        ranges = tuple(_common_ranges(self.ranges, other.ranges))
        pairs = [(left, right) for left in self.steps for right in other.all_steps()]
        pairs += [(left, right) for left in other.steps for right in self.ranges]
        steps = {common for left, right in pairs if (common := left.intersection(right)) is not None}
        return AllowedValues(Type.INT, ranges=ranges, steps=tuple(sorted(steps)))

    def inverted(self) -> "AllowedValues":
        """Return the bools whose opposite is in the set."""
        if self.values is None:
            return self
        return AllowedValues(Type.BOOL, frozenset(not value for value in self.values))

    def union(self, other: "AllowedValues") -> "AllowedValues":
        """Return the values in either set, which must be of one type."""
        if self.type is Type.INT:
            return AllowedValues._of_ints(self.all_steps() + other.all_steps())
        if self.values is None or other.values is None:
            excluded = frozenset(value for value in self.excluded | other.excluded if value not in self)
            return AllowedValues(self.type, excluded=frozenset(value for value in excluded if value not in other))
        return AllowedValues(self.type, self.values | other.values)

    def without(self, values: Iterable[Value]) -> "AllowedValues":
        """Return the set without some values, which must be of its type."""
        taken = set(values)
        if self.type is Type.INT:
            steps = list(self.all_steps())
            for number in map(int, taken):
                steps = [rest for part in steps for rest in part.without(number)]
            return AllowedValues._of_ints(steps)
        if self.type is Type.STR and self.values is None:
            return AllowedValues(self.type, excluded=self.excluded | frozenset(map(str, taken)))
        return AllowedValues(self.type, frozenset({False, True} if self.values is None else self.values) - taken)

    def is_within(self, other: "AllowedValues") -> bool:
        """Return whether the other set has every value; can be wrongly False for long steps within shorter ones."""
        if self.type is not other.type:
            return False
        if self.type is Type.INT:
            return all(part.is_within(other) for part in self.all_steps())
        if self.values is None:
            return other.values is None and other.excluded <= self.excluded
        return all(value in other for value in self.values)

    def least_above(self, value: Value) -> Value | None:
        """Return the least value in the set that is larger: on after off, the next int; None if there is none."""
        if self.type is Type.BOOL:
            return True if value is False and True in self else None
        if self.type is not Type.INT or Type.of(value) is not Type.INT:
            return None
        number = int(value)
        return min(
            (
                part.min if part.min > number else number + part.step - (number - part.min) % part.step
                for part in self.all_steps()
                if part.max > number
            ),
            default=None,
        )

    def with_smaller(self) -> "AllowedValues":
        """Return the values in the set, and all that are smaller than one of them: off before on, any lower int."""
        if self.type is Type.BOOL:
            return AllowedValues.any(Type.BOOL) if True in self else self
        if self.type is not Type.INT or self.is_empty:
            return self
        return AllowedValues(Type.INT, ranges=(Steps(INT_MIN, max(part.max for part in self.all_steps())),))

    @property
    def single(self) -> Value | None:
        """Return the only value, None if there is none or more than one."""
        if self.type is Type.INT:
            steps = self.all_steps()
            return steps[0].min if len(steps) == 1 and steps[0].count == 1 else None
        return next(iter(self.values)) if self.values is not None and len(self.values) == 1 else None

    @property
    def is_empty(self) -> bool:
        """Return whether the set has no value."""
        return not self.all_steps() if self.type is Type.INT else self.values is not None and not self.values

    def all_steps(self) -> tuple[Steps, ...]:
        """Return the ints as ranges and steps."""
        return self.ranges + self.steps

    def document(self) -> list[object] | None:
        """Return the canonical list in JSON, or None for any value of the type."""
        if self.is_any or self.excluded:
            return None
        spend(len(self.ranges) + len(self.steps) + len(self.values or ()))
        if self.type is Type.INT:
            return [item for part in sorted(self.all_steps()) for item in part.document()]
        return list[object](sorted(self.values or ()))

    def listed(self) -> list[object] | None:
        """Return the list in JSON, also for any int or bool; None for any string."""
        if self.type is Type.BOOL and self.values is None:
            return [False, True]
        return [f"{INT_MIN}-{INT_MAX}"] if self.type is Type.INT and self.is_any else self.document()

    def shown(self) -> str:
        """Return the set as a message shows it."""
        listed = self.document()
        if listed is None or self.excluded:
            return f"any {self.type}" + (
                f" but {', '.join(map(shown, sorted(self.excluded)))}" if self.excluded else ""
            )
        parts = [shown_item(item) for item in listed if isinstance(item, dict | bool | int | str)]
        return (
            ", ".join(parts[:_MAX_SHOWN]) + (f" and {len(parts) - _MAX_SHOWN} more" if len(parts) > _MAX_SHOWN else "")
            or "nothing"
        )


def shown_item(item: Mapping[str, Any] | Value) -> str:
    """Return an item of a list of allowed values as a message shows it: a value, or a range with steps."""
    return f"{item['min']}-{item['max']} in steps of {item['step']}" if isinstance(item, Mapping) else shown(item)


def _read_steps(document: object) -> Steps:
    if isinstance(document, dict):
        if document.keys() != _STEP_KEYS:
            message = "must be a range with exactly the fields min, max and step"
            raise InvalidValueError(message)
        step = read_int(document["step"])
        if step < 1:
            message = f"must have a step of at least 1, not {step}"
            raise InvalidValueError(message)
        return Steps.between(read_int(document["min"]), read_int(document["max"]), step)
    if isinstance(document, str) and (ends := _RANGE.fullmatch(document)):
        return Steps.between(read_int(ends[1]), read_int(ends[2]))
    number = read_int(document)
    return Steps(number, number)


def _common_ranges(ranges: Sequence[Steps], others: Sequence[Steps]) -> Iterator[Steps]:
    """Iterate over the intersections of the ranges of two sorted sequences."""
    index = other_index = 0
    while index < len(ranges) and other_index < len(others):
        one, other = ranges[index], others[other_index]
        low, high = max(one.min, other.min), min(one.max, other.max)
        if low <= high:
            yield Steps(low, high)
        if one.max < other.max:
            index += 1
        else:
            other_index += 1


def _merged(parts: Sequence[Steps]) -> list[Steps]:
    """Return the steps sorted; those of the same step and remainder that overlap or adjoin become one."""
    merged: list[Steps] = []
    for part in sorted(parts, key=lambda part: (part.step, part.min % part.step, part.min)):
        last = merged[-1] if merged else None
        if (
            last
            and last.step == part.step
            and (part.min - last.min) % part.step == 0
            and part.min <= last.max + last.step
        ):
            merged[-1] = Steps(last.min, max(last.max, part.max), last.step)
        else:
            merged.append(part)
    return merged
