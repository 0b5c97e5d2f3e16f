"""The baseline: which settings a new VM should get so that it can move anywhere in a fleet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce
from typing import TypeVar

from app.domain import search
from app.domain.allowed import AllowedValues
from app.domain.model import Model
from app.domain.problem import ProblemCode
from app.domain.profile import Profile, Values
from app.domain.question import Destination, restricted
from app.domain.release import Release
from app.domain.search import Requirement, UndecidedError
from app.domain.state import State
from app.domain.value import Type, Value
from app.domain.variable import Scope
from app.domain.variable_set import VariableSet
from app.domain.verdict import Registry, problems_accepting

# Of more that collide, all are named: which could be left out is not looked for.
_MOST_EXPLAINED = 30
_MOST_NAMED = 5

Colliding = TypeVar("Colliding")


class BaselineCode(StrEnum):
    """Why there is no baseline; the strings are part of the interface and never change."""

    UNKNOWN_MODEL = ProblemCode.UNKNOWN_MODEL
    UNKNOWN_RELEASE = ProblemCode.UNKNOWN_RELEASE
    UNKNOWN_HOST = ProblemCode.UNKNOWN_HOST
    MODEL_NOT_SUPPORTED = ProblemCode.MODEL_NOT_SUPPORTED
    NOT_MIGRATABLE = ProblemCode.NOT_MIGRATABLE
    RELEASE_RETIRED = ProblemCode.RELEASE_RETIRED
    NO_COMMON_VALUE = "no-common-value"
    NO_ASSIGNMENT = "no-assignment"
    UNDECIDED = "baseline-undecided"


@dataclass(frozen=True, slots=True)
class BaselineProblem:
    """Why a model has no baseline, and the members of the fleet that it is about."""

    code: BaselineCode
    message: str
    members: tuple[str, ...] = ()
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The best settings for a model that every member of a fleet accepts; values is None where there are none.

    domains: what all members allow. profiles: the published ones that all accept, the newest first.
    """

    values: Values | None
    domains: Mapping[str, AllowedValues]
    profiles: tuple[str, ...] = ()
    problems: tuple[BaselineProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Member:
    """A release, or a host with the releases of which one serves the model; in the order asked."""

    names: tuple[str, ...]
    releases: tuple[Release, ...]
    sets: tuple[VariableSet, ...]


@dataclass(frozen=True, slots=True)
class _Domains:
    """What each compared variable may be at each member, and at all."""

    by_member: Mapping[str, Sequence[AllowedValues]]
    common: Mapping[str, AllowedValues]


@dataclass(slots=True)
class _Found:
    members: list[_Member] = field(default_factory=list)
    problems: list[BaselineProblem] = field(default_factory=list)


def baseline(
    name: str, destinations: Sequence[Destination], registry: Registry, profiles: Sequence[Profile] = ()
) -> Baseline:
    """Return the baseline of a model over releases and hosts, in the order asked.

    The best assignment meets every constraint of every member with the fewest variables off their first choice; ties by
    variable name, then preference: the init values in the order asked, the off value, for ints the nearest to the first
    init value, for others canonical order. profiles: those that name the model, the newest first.
    """
    model = registry.model(name)
    if model is None:
        problem = BaselineProblem(BaselineCode.UNKNOWN_MODEL, f"the registry has no device model {name}")
        return Baseline(None, {}, (), (problem,))
    found = _members(model, destinations, registry)
    if found.problems or not found.members:
        return Baseline(None, {}, (), tuple(found.problems))
    members = found.members
    vendors = {release.name.vendor for member in members for release in member.releases}
    off = model.off_values(*vendors)
    domains = _domains(members, off)
    accepted = tuple(profile.name for profile in profiles if _all_accept(profile, model, members))
    collisions = tuple(_collisions(members, domains, off))
    if collisions:
        return Baseline(None, domains.common, accepted, collisions)
    try:
        values = _assignment(members, domains.common, off)
    except UndecidedError:
        message = f"no assignment was found among the {search.MAX_TRIES:,} that were looked at; the domains are exact"
        undecided = BaselineProblem(BaselineCode.UNDECIDED, message)
        return Baseline(None, domains.common, accepted, (undecided,))
    if values is None:
        problem = _unassignable(members, off)
        return Baseline(None, domains.common, accepted, (problem,))
    return Baseline(values, domains.common, accepted)


def _members(model: Model, destinations: Sequence[Destination], registry: Registry) -> _Found:
    """Return who has to accept the settings; those that accept the same are one member."""
    found = _Found()
    alike: dict[tuple[object, ...], _Member] = {}
    for destination in destinations:
        if destination.problem is not None:
            found.problems.append(
                BaselineProblem(BaselineCode.UNKNOWN_HOST, destination.problem.message, (destination.id,))
            )
            continue
        member = _member(model, destination, registry, found.problems)
        if member is None:
            continue
        key = tuple(
            (release.name.vendor, each.digest) for release, each in zip(member.releases, member.sets, strict=True)
        )
        same = alike.get(key)
        alike[key] = member if same is None else replace(same, names=same.names + member.names)
    found.members = list(alike.values())
    found.problems = _merged(found.problems)
    return found


def _member(
    model: Model, destination: Destination, registry: Registry, problems: list[BaselineProblem]
) -> _Member | None:
    def problem(code: BaselineCode, message: str) -> None:
        problems.append(BaselineProblem(code, message, (destination.id,)))

    known = [release for each in destination.releases if (release := registry.release(each)) is not None]
    unknown = [each for each in destination.releases if registry.release(each) is None]
    implementing = [release for release in known if model.name in release.sets]
    if not implementing:
        if unknown:
            problem(BaselineCode.UNKNOWN_RELEASE, f"the registry has no release {', '.join(unknown)}")
        else:
            problem(BaselineCode.MODEL_NOT_SUPPORTED, f"{model.name} is not implemented")
        return None
    # A device belongs to the first implementation in the host's order.
    first = implementing[0].name.implementation
    serving = [release for release in implementing if release.name.implementation == first]
    usable = [release for release in serving if release.state is not State.RETIRED]
    if not usable:
        problem(BaselineCode.RELEASE_RETIRED, f"{', '.join(str(release.name) for release in serving)} is retired")
        return None
    sets = [restricted(release.sets[model.name], destination.restrict)[0] for release in usable]
    movable = [(release, each) for release, each in zip(usable, sets, strict=True) if each.migratable]
    if not movable:
        problem(BaselineCode.NOT_MIGRATABLE, f"{model.name} cannot be migrated")
        return None
    return _Member((destination.id,), tuple(release for release, _ in movable), tuple(each for _, each in movable))


def _merged(problems: Sequence[BaselineProblem]) -> list[BaselineProblem]:
    """Return problems that are the same at several members once."""
    merged: dict[tuple[BaselineCode, str], BaselineProblem] = {}
    for each in problems:
        key = (each.code, each.message)
        members = (merged[key].members if key in merged else ()) + each.members
        merged[key] = replace(each, members=members)
    return [replace(each, message=f"{_named(each.members)}: {each.message}") for each in merged.values()]


def _domains(members: Sequence[_Member], off: Mapping[str, Value]) -> _Domains:
    everywhere: dict[str, list[tuple[Scope, Type]]] = {}
    for member in members:
        for each in member.sets:
            for name, variable in each.variables.items():
                everywhere.setdefault(name, []).append((variable.scope, variable.type))
    by_member: dict[str, Sequence[AllowedValues]] = {}
    common: dict[str, AllowedValues] = {}
    for name, stated in sorted(everywhere.items()):
        if {scope for scope, _ in stated} in ({Scope.BACKEND}, {Scope.INSTANCE}):
            continue
        by_member[name] = [
            reduce(_union, (_domain(each, name, off, stated[0][1]) for each in member.sets)) for member in members
        ]
        common[name] = reduce(_intersection, by_member[name])
    return _Domains(by_member, common)


def _domain(each: VariableSet, name: str, off: Mapping[str, Value], of_type: Type) -> AllowedValues:
    """Return what a set allows: without the variable its off value alone."""
    if name in each.variables:
        return each.variables[name].allowed
    return AllowedValues.only(off[name]) if name in off else AllowedValues(of_type, frozenset())


def _union(one: AllowedValues, other: AllowedValues) -> AllowedValues:
    return one.union(other) if one.type is other.type else one


def _intersection(one: AllowedValues, other: AllowedValues) -> AllowedValues:
    return one.intersection(other) if one.type is other.type else AllowedValues(one.type, frozenset())


def _collisions(members: Sequence[_Member], domains: _Domains, off: Mapping[str, Value]) -> Iterator[BaselineProblem]:
    for name, common in domains.common.items():
        if not common.is_empty:
            continue
        alike: dict[AllowedValues, list[int]] = {}
        for place, domain in enumerate(domains.by_member[name]):
            alike.setdefault(domain, []).append(place)
        colliding = _least(list(alike), _is_empty_for)
        said = "; ".join(
            f"{_named([each for place in alike[domain] for each in members[place].names])} "
            f"{_allows(members[alike[domain][0]], name, domain, off)}"
            for domain in colliding
        )
        names = tuple(each for domain in colliding for place in alike[domain] for each in members[place].names)
        yield BaselineProblem(BaselineCode.NO_COMMON_VALUE, f"{name} has no value for all: {said}", names, name)


def _is_empty_for(domains: Sequence[AllowedValues]) -> bool:
    return reduce(_intersection, domains).is_empty


def _allows(member: _Member, name: str, domain: AllowedValues, off: Mapping[str, Value]) -> str:
    if any(name in each.variables for each in member.sets):
        return f"allows {domain.shown()}"
    return "does not have it, so it has to be off" if name in off else "does not have it, and it has no off value"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _least(several: Sequence[Colliding], collide: Callable[[Sequence[Colliding]], bool]) -> Sequence[Colliding]:
    """Return some of several that collide, none of which can be left out; pairs first. All of very many."""
    if len(several) > _MOST_EXPLAINED:
        return several
    for index, one in enumerate(several):
        for other in several[:index]:
            if collide((other, one)):
                return (other, one)
    kept = list(several)
    for one in several:
        fewer = [each for each in kept if each is not one]
        if fewer and collide(fewer):
            kept = fewer
    return kept


def _places(
    members: Sequence[_Member], common: Mapping[str, AllowedValues], off: Mapping[str, Value]
) -> list[search.Place]:
    """Return the members with what they want beyond the common domains."""
    places: list[search.Place] = []
    for member in members:
        alternatives = []
        for each in member.sets:
            own = {name: _domain(each, name, off, common[name].type) for name in common}
            narrower = {name: values for name, values in own.items() if not common[name].is_within(values)}
            alternatives.append(Requirement(narrower, each))
        if any(each.allowed or each.set.constraints or each.set.blocks_migration for each in alternatives):
            places.append(alternatives)
    return places


def _assignment(
    members: Sequence[_Member], common: Mapping[str, AllowedValues], off: Mapping[str, Value]
) -> Values | None:
    places = _places(members, common, off)
    held_against = search.conditions_on(places)
    choices = {
        name: search.candidates(domain, list(_preferred(members, name, off)), held_against.get(name, []))
        for name, domain in common.items()
    }
    return search.best(choices, places)


def _preferred(members: Sequence[_Member], name: str, off: Mapping[str, Value]) -> Iterator[Value]:
    for member in members:
        yield from (each.variables[name].init_value for each in member.sets if name in each.variables)
    if name in off:
        yield off[name]


def _unassignable(members: Sequence[_Member], off: Mapping[str, Value]) -> BaselineProblem:
    def collide(some: Sequence[_Member]) -> bool:
        try:
            return _assignment(some, _domains(some, off).common, off) is None
        except UndecidedError:
            return False

    alone = [member for member in members if len(members) <= _MOST_EXPLAINED and collide([member])]
    colliding = alone[:1] or _least(members, collide)
    names = tuple(each for member in colliding for each in member.names)
    sets = [each for member in colliding for each in member.sets]
    told = [rule.description for each in sets for rule in each.constraints]
    told += [block.description for each in sets for block in each.blocks_migration]
    rules = list(dict.fromkeys(filter(None, told)))
    reason = f" ({'; '.join(rules)})" if rules else ""
    message = f"no settings meet the constraints of {_named(names)} together{reason}"
    return BaselineProblem(BaselineCode.NO_ASSIGNMENT, message, names)


def _all_accept(profile: Profile, model: Model, members: Sequence[_Member]) -> bool:
    """Return whether every member accepts what the profile says of the model, steps 1 to 6 of a verdict."""
    if profile.state is State.RETIRED:
        return False
    values = profile.values[model.name]
    return all(
        any(
            not problems_accepting(values, model, str(release.name), each)
            for release, each in zip(member.releases, member.sets, strict=True)
        )
        for member in members
    )
