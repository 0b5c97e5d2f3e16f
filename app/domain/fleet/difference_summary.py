"""The summary of the differences of many models: how many models differ, and the differences that they share."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.domain.fleet.difference import Closed, Difference, DifferenceKind, Direction, Extent

# What a message calls a variable's value where variables that differ in it alone share an entry.
_VALUE = "the value in parentheses"
_ARROWS = {Direction.FORWARD: "→", Direction.BACKWARD: "←"}
_EXTENTS = {Extent.ALWAYS: "closed", Extent.IN_PART: "closed in part"}
# Directions and extents, to compare by.
_Closed: TypeAlias = tuple[tuple[Direction, Extent], ...]
_OF_MODELS = {DifferenceKind.REMOVED: "gone", DifferenceKind.ADDED: "new"}


@dataclass(frozen=True, slots=True)
class SharedDifference:
    """A difference that models share, and variables whose messages differ in a value alone.

    variables: each with that value in parentheses; empty where models differ as a whole.
    """

    change: DifferenceKind
    message: str
    closes: Closed
    models: tuple[str, ...]
    variables: tuple[str, ...]

    @property
    def weight(self) -> tuple[int, int, bool, Sequence[str]]:
        """Return the key that sorts what closes most first."""
        extents = list(self.closes.values())
        return (-extents.count(Extent.ALWAYS), -extents.count(Extent.IN_PART), bool(self.variables), self.variables)


@dataclass(frozen=True, slots=True)
class Summary:
    """How many models differ: models that only one side has (added, removed), and models of both sides (changed).

    closed: for these kinds, how many models each direction is closed for; a model counts by its worst extent.
    """

    models: Mapping[DifferenceKind, int]
    variables: Mapping[DifferenceKind, int]
    closed: Mapping[tuple[DifferenceKind, Direction, Extent], int]

    @property
    def model_count(self) -> int:
        """Return how many models differ."""
        return sum(self.models.values())

    def closed_count(self, direction: Direction, extent: Extent, kind: DifferenceKind | None = None) -> int:
        """Return for how many models a direction is closed to an extent; kind: None: models of all kinds."""
        return sum(self.closed[key, direction, extent] for key in DifferenceKind if kind in {None, key})

    @property
    def sentence(self) -> str:
        """Return how many models and variables differ, in words."""
        if not self.model_count:
            return "No model differs."
        parts = [_number(self.model_count, "model") + (" differs" if self.model_count == 1 else " differ")]
        parts += [
            f"{_number(self.models[kind], 'model')} {word}" for kind, word in _OF_MODELS.items() if self.models[kind]
        ]
        kinds = (DifferenceKind.REMOVED, DifferenceKind.ADDED, DifferenceKind.CHANGED)
        parts += [f"{_number(self.variables[kind], 'variable')} {kind.value}" for kind in kinds if self.variables[kind]]
        return f"{', '.join(parts)}."

    @property
    def closed_sentence(self) -> str:
        """Return for how many models each direction of migration is closed, in words; empty if no model differs."""
        if not self.model_count:
            return ""
        return " ".join(self._closed_in(direction) for direction in Direction)

    def _closed_in(self, direction: Direction) -> str:
        counts = {extent: self.closed_count(direction, extent) for extent in Extent}
        parts = [f"{_EXTENTS[extent]} for {_number(count, 'model')}" for extent, count in counts.items() if count]
        return f"{_ARROWS[direction]} {direction.value} is {' and '.join(parts) or 'open for every model'}."


def summary(models: Mapping[str, Sequence[Difference]]) -> Summary:
    """Return the summary of differences by model; every model has some."""
    kinds, variables = Counter[DifferenceKind](), Counter[DifferenceKind]()
    closed = Counter[tuple[DifferenceKind, Direction, Extent]]()
    for differences in models.values():
        kind = kind_of(differences)
        kinds[kind] += 1
        variables.update(difference.change for difference in differences if difference.variable is not None)
        closed.update((kind, direction, extent) for direction, extent in closed_by(differences).items())
    return Summary(kinds, variables, closed)


def kind_of(differences: Sequence[Difference]) -> DifferenceKind:
    """Return added or removed for the differences of a model that only one side has, otherwise changed."""
    for difference in differences:
        # Only a difference of the saved state or of rules has something before or after it.
        if difference.variable is None and difference.before is None and difference.after is None:
            return difference.change
    return DifferenceKind.CHANGED


def closed_by(differences: Collection[Difference]) -> Closed:
    """Return the directions that differences of a model close, each to the worst extent."""
    closed: dict[Direction, Extent] = {}
    for direction in Direction:
        extents = {(difference.closes or {}).get(direction) for difference in differences}
        for extent in (Extent.IN_PART, Extent.ALWAYS):
            if extent in extents:
                closed[direction] = extent
    return closed


def shared_differences(models: Mapping[str, Sequence[Difference]]) -> list[SharedDifference]:
    """Return all differences, equal ones of several models once, then those of several variables once."""
    equal: dict[tuple[str | None, DifferenceKind, str, _Closed], list[str]] = {}
    for model, differences in models.items():
        for difference in differences:
            # The message begins with the name of the variable or model.
            subject = f"{difference.variable or model} "
            message = difference.message.removeprefix(subject).replace(f"for {model}", "for it")
            stated = difference.closes or {}
            closes = tuple((direction, stated[direction]) for direction in Direction if direction in stated)
            equal.setdefault((difference.variable, difference.change, message, closes), []).append(model)
    entries: dict[tuple[DifferenceKind, str, _Closed, tuple[str, ...]], list[str]] = {}
    for (variable, change, message, closes), names in equal.items():
        value = _value_in(message, variable)
        common = message if value is None else message.replace(f"{variable}={value}", _VALUE)
        variables = entries.setdefault((change, common, closes, tuple(names)), [])
        if variable is not None:
            variables.append(variable if value is None else f"{variable} ({value})")
    return [
        SharedDifference(change, message, dict(closes), names, tuple(variables))
        for (change, message, closes, names), variables in entries.items()
    ]


def _value_in(message: str, variable: str | None) -> str | None:
    """Return the value that a message states of a variable as name=value, None if it states none."""
    match = None if variable is None else re.search(rf"\b{re.escape(variable)}=(.*?)(?:\.$|, which )", message)
    return None if match is None else match[1]


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
