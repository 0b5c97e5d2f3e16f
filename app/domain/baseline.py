"""The baseline: which settings a new VM should get so that it can move anywhere in a fleet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice, product
from math import prod

from app.domain.allowed import AllowedValues
from app.domain.fleet import BaselineCode, BaselineProblem, Fleet, Member, Side, named, names_of
from app.domain.model import Model
from app.domain.profile import Profile, Values
from app.domain.question import Destination
from app.domain.search import Assignment, Requirement, Tries, UndecidedError, best, candidates, conditions_on
from app.domain.source import Registry
from app.domain.state import State
from app.domain.value import Type, Value, same
from app.domain.variable import Scope
from app.domain.variable_set import VariableSet
from app.domain.verdict import problems_accepting

# How many assignments are looked at for a model before its baseline is undecided.
MAX_TRIES = 20_000
# Of hosts with several releases, how many ways to choose one of each are looked at.
MAX_CHOICES = 64
# What an explanation may cost beside; of more members that collide, all are named.
_EXPLAINING_TRIES = 5_000
_MOST_EXPLAINED = 30

Collide = Callable[[Sequence[Member]], bool]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The best settings for a model that every member of a fleet accepts; values is None where there are none.

    domains: what all members allow. profiles: the published ones that all accept, the newest first.
    """

    values: Values | None
    domains: Mapping[str, AllowedValues]
    profiles: tuple[str, ...] = ()
    problems: tuple[BaselineProblem, ...] = ()


def baseline(
    name: str, destinations: Sequence[Destination], registry: Registry, profiles: Sequence[Profile] = ()
) -> Baseline:
    """Return the baseline of a model over releases and hosts, in the order asked.

    The best assignment meets every constraint of every member with the fewest variables off their first choice; ties by
    variable name, then preference: the init values in the order asked, the off value, for ints the nearest to the first
    init value, for others canonical order. A host with several releases takes what one of them takes whole.
    profiles: those that name the model, the newest first.
    """
    model = registry.model(name)
    if model is None:
        problem = BaselineProblem(BaselineCode.UNKNOWN_MODEL, f"the registry has no device model {name}")
        return Baseline(None, {}, (), (problem,))
    fleet = Fleet.of(model, destinations, registry)
    if fleet.problems or not fleet.members:
        return Baseline(None, {}, (), tuple(fleet.problems))
    found = _best_choice(model, fleet.members)
    accepted = tuple(profile.name for profile in profiles if _all_accept(profile, model, fleet.members))
    return Baseline(found.values, found.domains, accepted, found.problems)


def _best_choice(model: Model, members: Sequence[Member]) -> Baseline:
    """Return the baseline for the best choice of a release for each member; if none does, why the first does not."""
    tries = Tries(MAX_TRIES)
    first: Baseline | None = None
    decided: list[tuple[tuple[int, list[int]], Baseline]] = []
    preferred = _Sets(model, [side for member in members for side in member.sides])
    for sides in islice(product(*(member.sides for member in members)), MAX_CHOICES):
        sets = _Sets(model, sides)
        try:
            found = None if any(domain.is_empty for domain in sets.common.values()) else sets.best(tries)
        except UndecidedError:
            first = first or _undecided(sets.common)
            continue
        if found is not None:
            rank = (found.rank[0], [preferred.place(name, value) for name, value in sorted(found.values.items())])
            decided.append((rank, Baseline(found.values, sets.common)))
        if found is None and first is None:
            chosen = [Member(member.names, (side,)) for member, side in zip(members, sides, strict=True)]
            first = Baseline(None, sets.common, (), tuple(_explained(model, chosen, sets.common)))
    if decided:
        return min(decided, key=lambda each: each[0])[1]
    if first is None or prod(len(member.sides) for member in members) > MAX_CHOICES:
        return _undecided(first.domains if first else {})
    return first


def _undecided(domains: Mapping[str, AllowedValues]) -> Baseline:
    message = f"nothing was found in {MAX_TRIES:,} tries and {MAX_CHOICES} choices of releases, but not all was tried"
    return Baseline(None, domains, (), (BaselineProblem(BaselineCode.UNDECIDED, message),))


class _Sets:
    """The variable sets that have to accept the settings: the compared variables, and what all allow of them."""

    def __init__(self, model: Model, sides: Sequence[Side]) -> None:
        self._sets = list(dict.fromkeys(side.set for side in sides))
        self.off = model.off_values(*(side.vendor for side in sides))
        stated: dict[str, list[tuple[Scope, Type]]] = {}
        for each in self._sets:
            for name, variable in each.variables.items():
                stated.setdefault(name, []).append((variable.scope, variable.type))
        self.common = {
            name: reduce(_intersection, (self.domain(each, name, kinds[0][1]) for each in self._sets))
            for name, kinds in sorted(stated.items())
            if {scope for scope, _ in kinds} not in ({Scope.BACKEND}, {Scope.INSTANCE})
        }

    def domain(self, each: VariableSet, name: str, of_type: Type) -> AllowedValues:
        """Return what a set allows of a variable: without it, the off value alone."""
        if name in each.variables:
            return each.variables[name].allowed
        return AllowedValues.only(self.off[name]) if name in self.off else AllowedValues(of_type, frozenset())

    def best(self, tries: Tries) -> Assignment | None:
        """Return the best assignment that all sets accept; raises UndecidedError."""
        requirements = [Requirement({}, each) for each in self._sets if each.constraints or each.blocks_migration]
        held_against = conditions_on(requirements)
        choices = {
            name: candidates(domain, list(self._preferred(name)), held_against.get(name, []))
            for name, domain in self.common.items()
        }
        found = best(choices, requirements, tries)
        if found is None and any(self.common[name].is_free_form for name in held_against if name in self.common):
            # Some string that nobody names might do.
            raise UndecidedError
        return found

    def place(self, name: str, value: Value) -> int:
        """Return the place of a value among those that are preferred for a variable."""
        preferred = list(self._preferred(name))
        return next((place for place, each in enumerate(preferred) if same(each, value)), len(preferred))

    def _preferred(self, name: str) -> Iterator[Value]:
        yield from (each.variables[name].init_value for each in self._sets if name in each.variables)
        if name in self.off:
            yield self.off[name]


def _intersection(one: AllowedValues, other: AllowedValues) -> AllowedValues:
    return one.intersection(other) if one.type is other.type else AllowedValues(one.type, frozenset())


def _explained(
    model: Model, members: Sequence[Member], common: Mapping[str, AllowedValues]
) -> Iterator[BaselineProblem]:
    """Iterate over what is wrong: for each variable without a common value, or else the constraints, who collides."""
    empty = [name for name, domain in common.items() if domain.is_empty]
    for name in empty:
        yield _without_common_value(model, members, name)
    if not empty:
        yield _without_assignment(model, members)


def _without_common_value(model: Model, members: Sequence[Member], name: str) -> BaselineProblem:
    alike: dict[tuple[str, AllowedValues | None], Member] = {}
    for member in members:
        (side,) = member.sides
        variable = side.set.variables.get(name)
        key = (side.vendor, variable.allowed if variable else None)
        standing = alike.get(key)
        alike[key] = member if standing is None else Member(standing.names + member.names, member.sides)

    def collide(some: Sequence[Member]) -> bool:
        domain = _Sets(model, [side for member in some for side in member.sides]).common.get(name)
        return domain is not None and domain.is_empty

    colliding = _least(list(alike.values()), collide)
    off = _Sets(model, [side for member in colliding for side in member.sides]).off
    said = "; ".join(f"{named(member.names)} {_allows(member.sides[0].set, name, off)}" for member in colliding)
    return BaselineProblem(
        BaselineCode.NO_COMMON_VALUE, f"{name} has no value for all: {said}", tuple(names_of(colliding)), name
    )


def _allows(each: VariableSet, name: str, off: Mapping[str, Value]) -> str:
    if name in each.variables:
        return f"allows {each.variables[name].allowed.shown()}"
    if name in off:
        return f"does not have it, so it has to be off ({off[name]})"
    return "does not have it, and it has no off value that counts for all"


def _without_assignment(model: Model, members: Sequence[Member]) -> BaselineProblem:
    tries = Tries(_EXPLAINING_TRIES)

    def collide(some: Sequence[Member]) -> bool:
        sets = _Sets(model, [side for member in some for side in member.sides])
        if any(domain.is_empty for domain in sets.common.values()):
            return False
        try:
            return sets.best(tries) is None
        except UndecidedError:
            return False

    alone = next((member for member in members if len(members) <= _MOST_EXPLAINED and collide([member])), None)
    colliding = [alone] if alone else _least(members, collide)
    sets = [side.set for member in colliding for side in member.sides]
    told = [rule.description for each in sets for rule in each.constraints]
    told += [block.description for each in sets for block in each.blocks_migration]
    rules = list(dict.fromkeys(filter(None, told)))
    names = tuple(names_of(colliding))
    reason = f" ({'; '.join(rules)})" if rules else ""
    message = f"no settings meet the constraints of {named(names)} together{reason}"
    return BaselineProblem(BaselineCode.NO_ASSIGNMENT, message, names)


def _least(members: Sequence[Member], collide: Collide) -> Sequence[Member]:
    """Return some of the members that collide, none of which can be left out; pairs first. All of very many."""
    if len(members) > _MOST_EXPLAINED:
        return members
    for index, one in enumerate(members):
        for other in members[:index]:
            if collide((other, one)):
                return (other, one)
    kept = list(members)
    for one in members:
        fewer = [each for each in kept if each is not one]
        if len(fewer) > 1 and collide(fewer):
            kept = fewer
    return kept


def _all_accept(profile: Profile, model: Model, members: Sequence[Member]) -> bool:
    """Return whether every member accepts what the profile says of the model, steps 1 to 6 of a verdict."""
    if profile.state is State.RETIRED:
        return False
    values = profile.values[model.name]
    accepted: dict[tuple[VariableSet, str], bool] = {}

    def accepts(side: Side) -> bool:
        key = (side.set, side.vendor)
        if key not in accepted:
            accepted[key] = not problems_accepting(values, model, str(side.release.name), side.set)
        return accepted[key]

    return all(any(map(accepts, member.sides)) for member in members)
