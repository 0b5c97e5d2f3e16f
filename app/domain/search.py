"""The best assignment of values to variables under rules: how baselines and remedies are found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm

from app.domain.allowed import AllowedValues
from app.domain.value import Type, Value
from app.domain.variable_set import Condition, VariableSet, matches

# How many values of an int are looked at to find one of each kind.
_MOST_CANDIDATES = 50_000


class UndecidedError(Exception):
    """The search has reached its bound without an answer."""


class Tries:
    """How many more assignments may be looked at."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> None:
        """Count one; raises UndecidedError if none is left."""
        if self._left == 0:
            raise UndecidedError
        self._left -= 1


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a variable set wants of a configuration.

    allowed: the values of variables beyond what their candidates are held to already.
    """

    allowed: Mapping[str, AllowedValues]
    set: VariableSet

    def conditions(self) -> Iterator[Condition]:
        """Iterate over all that values are held against."""
        yield self.allowed
        for constraint in self.set.constraints:
            yield constraint.when
            yield constraint.require
        for block in self.set.blocks_migration:
            yield block.when

    def broken_by(self, values: Mapping[str, Value]) -> frozenset[str]:
        """Return the variables of the first rule that is not met, one of which has to change; none if all are met."""
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
    """Return what each variable is held against anywhere."""
    found: dict[str, list[AllowedValues]] = {}
    for requirement in requirements:
        for condition in requirement.conditions():
            for name, values in condition.items():
                found.setdefault(name, []).append(values)
    return found


def candidates(domain: AllowedValues, preferred: Sequence[Value], held_against: Sequence[AllowedValues]) -> list[Value]:
    """Return values of a domain, the best first: of all that the rules cannot tell apart, the best alone.

    preferred: the values that come first where the domain has them, the first of them for ints also the one that the
    rest is near to. Then ints by distance, the smaller of two first; others in canonical order. Of strings that may be
    anything only those are candidates that somebody names. Raises UndecidedError where it takes too many.
    """
    ranked = [value for value in preferred if value in domain]
    if held_against or not ranked:
        near = next((value for value in preferred if Type.of(value) is domain.type), 0)
        ranked += _others(domain, near, held_against)
    best: dict[tuple[bool, ...], Value] = {}
    for value in ranked:
        best.setdefault(tuple(value in each for each in held_against), value)
    return list(best.values())


def _others(domain: AllowedValues, near: Value, held_against: Sequence[AllowedValues]) -> Sequence[Value]:
    if domain.type is Type.BOOL:
        return [value for value in (False, True) if value in domain]
    if domain.type is Type.STR:
        listed: set[bool | str] = set(domain.values or {""})
        if domain.values is None:
            listed.update(value for each in held_against for value in each.values or ())
        return sorted(listed, key=str)
    return _ints(domain, near if isinstance(near, int) else 0, held_against)


def _ints(domain: AllowedValues, near: int, held_against: Sequence[AllowedValues]) -> list[int]:
    """Return the ints of a domain nearest to one, enough that one of each kind is among them.

    Between two neighbouring ends of ranges, what an int is held against repeats with the rhythm of their steps.
    """
    steps = [each for values in (domain, *held_against) for each in values.all_steps()]
    edges = sorted({edge for each in steps for edge in (each.min, each.max + 1)})
    rhythm = lcm(*(each.step for each in steps))
    if rhythm * len(edges) > _MOST_CANDIDATES:
        raise UndecidedError
    found: set[int] = set()
    for low, after in pairwise(edges):
        if near < low:
            found.update(range(low, min(after, low + rhythm)))
        elif near >= after:
            found.update(range(max(low, after - rhythm), after))
        else:
            found.update(range(max(low, near - rhythm + 1), min(after, near + rhythm)))
    allowed = [value for value in found if value in domain]
    return sorted(allowed, key=lambda value: (abs(value - near), value))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Values of variables, and how far they are off the first choice; the lowest rank is the best.

    rank: how many variables are off their first choice, which these are, and the place of their values.
    """

    values: Mapping[str, Value]
    rank: tuple[int, list[str], list[int]]


def best(
    choices: Mapping[str, Sequence[Value]], requirements: Sequence[Requirement], tries: Tries
) -> Assignment | None:
    """Return the values that meet all requirements, with the fewest variables off their first choice; None if none do.

    Ties: by the names of those variables, then by the choice taken. Raises UndecidedError when no tries are left.
    """
    search = _Search(choices, requirements, tries)
    for changes in range(len(choices) + 1):
        found = search.with_so_many(changes)
        if found is not None or not search.is_cut:
            return found
    return None


class _Search:
    """Changes first choices, of the variables in a rule that is not met, until every rule is."""

    def __init__(
        self, choices: Mapping[str, Sequence[Value]], requirements: Sequence[Requirement], tries: Tries
    ) -> None:
        self._choices = choices
        self._requirements = requirements
        self._first = {name: values[0] for name, values in choices.items()}
        self._tries = tries
        self._found: list[Mapping[str, int]] = []
        self._seen: set[frozenset[tuple[str, int]]] = set()
        self.is_cut = False

    def with_so_many(self, changes: int) -> Assignment | None:
        """Return the best assignment with so many variables off their first choice; is_cut: more might do."""
        self.is_cut = False
        self._found.clear()
        self._seen.clear()
        self._go({}, changes)
        ranked = ((changes, sorted(each), [each[name] for name in sorted(each)]) for each in self._found)
        best = min(ranked, default=None)
        return None if best is None else Assignment(self._changed(dict(zip(best[1], best[2], strict=True))), best)

    def _changed(self, changes: Mapping[str, int]) -> Mapping[str, Value]:
        return {**self._first, **{name: self._choices[name][place] for name, place in changes.items()}}

    def _broken_by(self, values: Mapping[str, Value]) -> frozenset[str]:
        broken = (requirement.broken_by(values) for requirement in self._requirements)
        return next(filter(None, broken), frozenset())

    def _go(self, changes: Mapping[str, int], left: int) -> None:
        self._tries.take()
        broken = self._broken_by(self._changed(changes))
        if not broken:
            self._found.append(changes)
            return
        open_names = sorted(name for name in broken if name not in changes and len(self._choices.get(name, ())) > 1)
        if left == 0:
            self.is_cut = self.is_cut or bool(open_names)
            return
        for name in open_names:
            for place in range(1, len(self._choices[name])):
                further = {**changes, name: place}
                key = frozenset(further.items())
                if key not in self._seen:
                    self._seen.add(key)
                    self._go(further, left - 1)
