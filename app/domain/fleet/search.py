"""The best assignment of values to variables under rules: how baselines and remedies are found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm

from app.domain.things.condition import Condition, matches
from app.domain.things.variable_set import VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.budget import spend
from app.domain.values.value import Type, Value

# At most this many values of an int are looked at to find one of each kind.
_MAX_CANDIDATES = 50_000


class UndecidedError(Exception):
    """The search has reached its bound without an answer."""


class Tries:
    """How many more assignments can be tried."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, steps: int) -> None:
        """Count one try, of so many steps of the request's budget; raises UndecidedError if none is left."""
        spend(steps)
        if self._left == 0:
            raise UndecidedError
        self._left -= 1


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a variable set requires of a configuration.

    allowed: the values of variables, beyond what already limits their candidates.
    """

    allowed: Mapping[str, AllowedValues]
    set: VariableSet

    def conditions(self) -> Iterator[Condition]:
        """Iterate over every condition that values are checked against."""
        yield self.allowed
        for constraint in self.set.constraints:
            yield constraint.when
            yield constraint.require
        for block in self.set.blocks_migration:
            yield block.when

    def broken_by(self, values: Mapping[str, Value]) -> frozenset[str]:
        """Return the variables of the first rule that is broken, one of which has to change; none if all are met."""
        for name, allowed in self.allowed.items():
            if values[name] not in allowed:
                return frozenset({name})
        for constraint in self.set.constraints:
            if any(constraint.broken_by(values)):
                return frozenset(constraint.when) | frozenset(constraint.require)
        for block in self.set.blocks_migration:
            if matches(block.when, values):
                # A block without conditions holds whatever changes.
                return frozenset(block.when) or frozenset({""})
        return frozenset()


def conditions_on(requirements: Iterable[Requirement]) -> dict[str, list[AllowedValues]]:
    """Return the conditions on each variable."""
    conditions: dict[str, list[AllowedValues]] = {}
    for requirement in requirements:
        for condition in requirement.conditions():
            for name, values in condition.items():
                conditions.setdefault(name, []).append(values)
    return conditions


def candidates(domain: AllowedValues, preferred: Sequence[Value], conditions: Sequence[AllowedValues]) -> list[Value]:
    """Return values of a domain, the best first: of values that no condition tells apart, only the best.

    preferred: the values that come first where the domain has them. Then ints by distance from the first preferred
    one, the smaller of two first; others in canonical order. Where any string is allowed, only strings that a condition
    names are candidates. Raises UndecidedError beyond the limit of candidates.
    """
    ranked = [value for value in preferred if value in domain]
    if conditions or not ranked:
        near = next((value for value in preferred if Type.of(value) is domain.type), 0)
        ranked += _others(domain, near, conditions)
    spend(len(ranked) * sum(map(_size, (domain, *conditions))))
    best_of_kind: dict[tuple[bool, ...], Value] = {}
    for value in ranked:
        best_of_kind.setdefault(tuple(value in condition for condition in conditions), value)
    return list(best_of_kind.values())


def _size(values: AllowedValues) -> int:
    """Return about how many steps it takes to look a value up."""
    return 1 + len(values.steps) // 4


def _others(domain: AllowedValues, near: Value, conditions: Sequence[AllowedValues]) -> Sequence[Value]:
    if domain.type is Type.BOOL:
        return [value for value in (False, True) if value in domain]
    if domain.type is Type.STR:
        listed: set[bool | str] = set(domain.values or {""})
        if domain.values is None:
            listed.update(value for condition in conditions for value in condition.values or ())
        return sorted(listed, key=str)
    return _ints(domain, near if isinstance(near, int) else 0, conditions)


def _ints(domain: AllowedValues, near: int, conditions: Sequence[AllowedValues]) -> list[int]:
    """Return the ints of a domain nearest to one, enough that one of each kind is among them.

    Between two neighbouring ends of ranges, the conditions on an int repeat with a period: that of all steps together.
    """
    steps = [part for values in (domain, *conditions) for part in values.all_steps()]
    edges = sorted({edge for part in steps for edge in (part.min, part.max + 1)})
    period = lcm(*(part.step for part in steps))
    if period * len(edges) > _MAX_CANDIDATES:
        raise UndecidedError
    spend(period * len(edges))
    numbers: set[int] = set()
    for low, after in pairwise(edges):
        if near < low:
            numbers.update(range(low, min(after, low + period)))
        elif near >= after:
            numbers.update(range(max(low, after - period), after))
        else:
            numbers.update(range(max(low, near - period + 1), min(after, near + period)))
    allowed = [value for value in numbers if value in domain]
    return sorted(allowed, key=lambda value: (abs(value - near), value))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Values of variables, and how far they are from the first choices; the lowest rank is the best.

    rank: how many variables differ from their first choice, which ones, and the position of their choice.
    """

    values: Mapping[str, Value]
    rank: tuple[int, list[str], list[int]]


def best(
    choices: Mapping[str, Sequence[Value]], requirements: Sequence[Requirement], tries: Tries
) -> Assignment | None:
    """Return the values that meet all requirements with the fewest variables off their first choice, None if none do.

    Ties: by the names of those variables, then by the choice taken. Raises UndecidedError when no tries are left.
    """
    search = _Search(choices, requirements, tries)
    for changes in range(len(choices) + 1):
        assignment = search.with_changes(changes)
        if assignment is not None or not search.is_cut:
            return assignment
    return None


class _Search:
    """Changes first choices of the variables in a broken rule, until every rule is met."""

    def __init__(
        self, choices: Mapping[str, Sequence[Value]], requirements: Sequence[Requirement], tries: Tries
    ) -> None:
        self._choices = choices
        self._requirements = requirements
        self._first = {name: values[0] for name, values in choices.items()}
        self._tries = tries
        # A try copies the values, and checks them against rules.
        sets = [requirement.set for requirement in requirements]
        rules = sum(len(requirement.allowed) for requirement in requirements)
        rules += sum(1 + len(own.constraints) + len(own.blocks_migration) for own in sets)
        self._steps = 2 + rules + len(choices) // 16
        self._solutions: list[Mapping[str, int]] = []
        self._seen: set[frozenset[tuple[str, int]]] = set()
        self.is_cut = False

    def with_changes(self, changes: int) -> Assignment | None:
        """Return the best assignment with this many variables off their first choice; is_cut: more could succeed."""
        self.is_cut = False
        self._solutions.clear()
        self._seen.clear()
        self._go({}, changes)
        ranks = (
            (changes, sorted(positions), [positions[name] for name in sorted(positions)])
            for positions in self._solutions
        )
        best = min(ranks, default=None)
        return None if best is None else Assignment(self._changed(dict(zip(best[1], best[2], strict=True))), best)

    def _changed(self, changes: Mapping[str, int]) -> Mapping[str, Value]:
        return {**self._first, **{name: self._choices[name][position] for name, position in changes.items()}}

    def _broken_by(self, values: Mapping[str, Value]) -> frozenset[str]:
        broken = (requirement.broken_by(values) for requirement in self._requirements)
        return next(filter(None, broken), frozenset())

    def _go(self, changes: Mapping[str, int], left: int) -> None:
        self._tries.take(self._steps)
        broken = self._broken_by(self._changed(changes))
        if not broken:
            self._solutions.append(changes)
            return
        open_names = sorted(name for name in broken if name not in changes and len(self._choices.get(name, ())) > 1)
        if left == 0:
            self.is_cut = self.is_cut or bool(open_names)
            return
        for name in open_names:
            for position in range(1, len(self._choices[name])):
                further = {**changes, name: position}
                key = frozenset(further.items())
                if key not in self._seen:
                    self._seen.add(key)
                    self._go(further, left - 1)
