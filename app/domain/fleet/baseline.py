"""The baseline: which settings a new VM should get so that it can move anywhere in a fleet."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice, product
from math import prod

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.memo import Memo
from app.domain.fleet.member import BaselineCode, BaselineProblem, Fleet, Member, Side, named, names_of
from app.domain.fleet.search import Assignment, Requirement, Tries, UndecidedError, best, candidates, conditions_on
from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.variable import Scope
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.budget import spend
from app.domain.values.canonical import canonical_json
from app.domain.values.value import Type, Value, same, shown
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import Caution, Problem, WarningCode
from app.domain.verdict.source import Registry
from app.domain.verdict.steps import admitted, has_compared, step_7, step_8, step_12_of_profile, unreadable_state
from app.domain.verdict.wording import migratability_unknown

# The search for a model's baseline ends undecided after this many assignments.
MAX_TRIES = 20_000
# Where hosts run several releases, at most this many ways to choose one of each are tried.
MAX_CHOICES = 64
# An explanation has tries of its own. Beyond this many members that collide, all are named.
_EXPLAINING_TRIES = 5_000
# What a profile at a member takes of a request's budget, beyond its first time.
_STEPS_OF_A_PROFILE = 10
_MAX_EXPLAINED = 30
# So many names and states are compared with what is remembered in a step of a request's budget.
_WORDS_OF_A_STEP = 8

Collide = Callable[[Sequence[Member]], bool]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The best settings for a model that every member of a fleet accepts; values is None where there are none.

    domains: what all members allow. profiles: the published ones that a strict verdict accepts at all members: first
    those that all list, then the newest first. warnings: what nobody stated.
    """

    values: Values | None
    domains: Mapping[str, AllowedValues]
    profiles: tuple[str, ...] = ()
    problems: tuple[BaselineProblem, ...] = ()
    warnings: tuple[Caution, ...] = ()


def kept_baseline(
    name: str, destinations: Sequence[Destination], registry: Registry, profiles: Sequence[Profile], memo: Memo
) -> Baseline:
    """Return the baseline, remembered for as long as nothing changes that it depends on.

    Of hosts that restrict or resolve something, or have units, nothing is remembered.
    """
    model = registry.model(name)
    if model is None or not all(destination.is_plain for destination in destinations):
        return baseline(name, destinations, registry, profiles, memo)
    objects: list[object] = [model]
    words: list[str | None] = ["baseline", name]
    for destination in destinations:
        words += [destination.id, str(len(destination.releases)), *destination.releases]
        for release in map(registry.release, destination.releases):
            words.append(release.state.value if release else None)
            if release is not None:
                own = {profile: models[name] for profile, models in release.own_values.items() if name in models}
                words += [str(len(own)), *own]
                objects += [release.sets.get(name), release.profiles, release.errata.get(name), *own.values()]
    for profile in profiles:
        words += [profile.name, profile.state.value]
        objects.append(profile.values[name])
    spend(len(words) // _WORDS_OF_A_STEP)
    return memo.kept(
        tuple(objects), tuple(words), lambda: baseline(name, destinations, registry, profiles, memo), _size_of
    )


def _size_of(baseline: Baseline) -> int:
    """Return as how many variables a baseline counts."""
    problems = sum(4 + len(problem.members) for problem in baseline.problems)
    return 10 + 3 * len(baseline.domains) + len(baseline.profiles) + problems + 4 * len(baseline.warnings)


def baseline(
    name: str,
    destinations: Sequence[Destination],
    registry: Registry,
    profiles: Sequence[Profile] = (),
    memo: Memo | None = None,
) -> Baseline:
    """Return the baseline of a model over releases and hosts, in the order asked.

    The best assignment meets every constraint of every member with the fewest variables off their first choice; ties by
    variable name, then preference: the init values in the order asked, the off value, for ints the nearest to the first
    init value, for others canonical order. A host with several releases takes what one of them takes whole.
    profiles: those that name the model, the newest first. memo: what is remembered of the profiles that sets accept.
    """
    model = registry.model(name)
    if model is None:
        problem = BaselineProblem(BaselineCode.UNKNOWN_MODEL, f"The registry has no device model {name}.")
        return Baseline(None, {}, (), (problem,))
    fleet = Fleet.of(model, destinations, registry)
    if fleet.problems or not fleet.members:
        return Baseline(None, {}, (), tuple(fleet.problems))
    choice = _best_choice(model, fleet.members)
    warnings = tuple(_warnings(name, fleet.members))
    if (unreadable := _unreadable(fleet.members)) is not None:
        return Baseline(None, choice.domains, (), (*choice.problems, unreadable), warnings)
    acceptance = Acceptance(memo)
    accepted = [profile.name for profile in profiles if _all_accept(profile, model, fleet.members, acceptance)]
    # A profile that all list is more certain than one that a release without a list lets pass.
    accepted.sort(key=lambda name: not _all_list(name, fleet.members))
    return Baseline(choice.values, choice.domains, tuple(accepted), choice.problems, warnings)


def _unreadable(members: Sequence[Member]) -> BaselineProblem | None:
    """Return that a member does not read the saved state that a member writes, None if all do (step 9).

    Every release of a host, and of its units, can be the one that writes; one of them has to read what comes.
    """
    writing = {side.set.saved_state: side for member in reversed(members) for side in reversed(member.sides)}
    for writer, reader in product(reversed(writing.values()), members):
        problems = [_not_read(writer, side) for side in reader.sides]
        if all(problem is not None for problem in problems):
            states = {writer.set.saved_state, *(side.set.saved_state for side in reader.sides)}
            concerned = [member for member in members if any(side.set.saved_state in states for side in member.sides)]
            message = next(problem.message for problem in problems if problem is not None)
            return BaselineProblem(BaselineCode.STATE_NOT_READABLE, message, tuple(names_of(concerned)))
    return None


def _not_read(writer: Side, reader: Side) -> Problem | None:
    """Return that a release does not read the saved state of another one, None if it does or nothing is stated."""
    problems = unreadable_state(str(writer.release.name), writer.set, str(reader.release.name), reader.set)
    return next(problems, None)


def _warnings(model: str, members: Sequence[Member]) -> Iterator[Caution]:
    releases = dict.fromkeys(
        str(side.release.name)
        for member in members
        for side in member.sides
        if side.set.migratable is Migratable.UNKNOWN
    )
    if releases:
        yield migratability_unknown(named(list(releases)), model)
    roles = sorted({need.role for member in members for side in member.sides for need in side.set.needs})
    if roles:
        message = f"{model} needs parts, in the roles {', '.join(roles)}: ask for a baseline of their models, too."
        yield Caution(WarningCode.PARTS_NOT_COMPARED, message)
    states = {str(side.release.name): side.set.saved_state for member in members for side in member.sides}
    silent = [release for release, saved_state in states.items() if saved_state is None]
    if 0 < len(silent) < len(states):
        message = f"No saved state of {model} is stated by {named(silent)}, so that of the others was not compared."
        yield Caution(WarningCode.STATE_NOT_COMPARED, message)


def _best_choice(model: Model, members: Sequence[Member]) -> Baseline:
    """Return the baseline for the best choice of a release for each member; if none does, why the first does not."""
    tries = Tries(MAX_TRIES)
    first: Baseline | None = None
    decided: list[tuple[tuple[int, list[int]], Baseline]] = []
    preferred = _Sets(model, [side for member in members for side in member.sides])
    for sides in islice(product(*(member.sides for member in members)), MAX_CHOICES):
        sets = _Sets(model, sides)
        try:
            assignment = None if any(domain.is_empty for domain in sets.common.values()) else sets.best(tries)
        except UndecidedError:
            first = first or _undecided(sets.common)
            continue
        problem = None if assignment is None else _nothing_compared(model, members, sides, sets.common)
        if problem is not None:
            first = first or Baseline(None, sets.common, (), (problem,))
        elif assignment is not None:
            ranks = [preferred.rank(name, value) for name, value in sorted(assignment.values.items())]
            decided.append(((assignment.rank[0], ranks), Baseline(assignment.values, sets.common)))
        elif first is None:
            chosen = [Member(member.names, (side,)) for member, side in zip(members, sides, strict=True)]
            first = Baseline(None, sets.common, (), tuple(_explained(model, chosen, sets.common)))
    if decided:
        return min(decided, key=lambda ranked: ranked[0])[1]
    if first is None or prod(len(member.sides) for member in members) > MAX_CHOICES:
        return _undecided(first.domains if first else {})
    return first


def _nothing_compared(
    model: Model, members: Sequence[Member], sides: Sequence[Side], settings: Container[str]
) -> BaselineProblem | None:
    """Return that no settings say that a device is the same at some of these sides (step 12), None if they do."""
    opaque = [side for side in sides if not has_compared(side.set, settings)]
    if not opaque:
        return None
    releases = named(list(dict.fromkeys(str(side.release.name) for side in opaque)))
    message = (
        f"No variable of {model.name} that is compared, and no saved state, is stated by {releases}, so nothing says "
        "that devices are the same there."
    )
    names = tuple(names_of([member for member, side in zip(members, sides, strict=True) if side in opaque]))
    return BaselineProblem(BaselineCode.NOTHING_COMPARED, message, names)


def _undecided(domains: Mapping[str, AllowedValues]) -> Baseline:
    message = (
        f"No settings were found in {MAX_TRIES:,} tries and {MAX_CHOICES} choices of releases; more were not tried."
    )
    return Baseline(None, domains, (), (BaselineProblem(BaselineCode.UNDECIDED, message),))


class _Sets:
    """The variable sets that have to accept the settings: the compared variables, and what all allow of them."""

    def __init__(self, model: Model, sides: Sequence[Side]) -> None:
        self._sets = list(dict.fromkeys(side.set for side in sides))
        self.off = model.off_values(*(side.vendor for side in sides))
        stated: dict[str, list[tuple[Scope, Type]]] = {}
        for variable_set in self._sets:
            for name, variable in variable_set.variables.items():
                stated.setdefault(name, []).append((variable.scope, variable.type))
        self.common = {
            name: reduce(
                _intersection,
                (admitted(own.variables.get(name), self.off.get(name), kinds[0][1]) for own in self._sets),
            )
            for name, kinds in sorted(stated.items())
            if {scope for scope, _ in kinds} not in ({Scope.BACKEND}, {Scope.INSTANCE})
        }

    def best(self, tries: Tries) -> Assignment | None:
        """Return the best assignment that all sets accept; raises UndecidedError."""
        requirements = [Requirement({}, own) for own in self._sets if own.constraints or own.blocks_migration]
        conditions = conditions_on(requirements)
        choices = {
            name: candidates(domain, list(self._preferred(name)), conditions.get(name, []))
            for name, domain in self.common.items()
        }
        assignment = best(choices, requirements, tries)
        if assignment is None and any(self.common[name].is_free_form for name in conditions if name in self.common):
            # A string that no condition names could meet them all.
            raise UndecidedError
        return assignment

    def rank(self, name: str, value: Value) -> int:
        """Return the rank of a value among those that are preferred for a variable."""
        preferred = list(self._preferred(name))
        return next((rank for rank, other in enumerate(preferred) if same(other, value)), len(preferred))

    def _preferred(self, name: str) -> Iterator[Value]:
        yield from (own.variables[name].init_value for own in self._sets if name in own.variables)
        if name in self.off:
            yield self.off[name]


def _intersection(one: AllowedValues, other: AllowedValues) -> AllowedValues:
    return one.intersection(other) if one.type is other.type else AllowedValues(one.type, frozenset())


def _explained(
    model: Model, members: Sequence[Member], common: Mapping[str, AllowedValues]
) -> Iterator[BaselineProblem]:
    """Report the members that collide: over each variable without a common value, or else over the constraints."""
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
        known = alike.get(key)
        alike[key] = member if known is None else Member(known.names + member.names, member.sides)

    def collide(some: Sequence[Member]) -> bool:
        domain = _Sets(model, [side for member in some for side in member.sides]).common.get(name)
        return domain is not None and domain.is_empty

    colliding = _least(list(alike.values()), collide)
    off = _Sets(model, [side for member in colliding for side in member.sides]).off
    statements = "; ".join(f"{named(member.names)} {_allows(member.sides[0].set, name, off)}" for member in colliding)
    message = f"No value of {name} is allowed everywhere: {statements}."
    return BaselineProblem(BaselineCode.NO_COMMON_VALUE, message, tuple(names_of(colliding)), name)


def _allows(variable_set: VariableSet, name: str, off: Mapping[str, Value]) -> str:
    if name in variable_set.variables:
        return f"allows {variable_set.variables[name].allowed.shown()}"
    if name in off:
        return f"does not know it, which means {shown(off[name])}"
    return "does not know it, and no off_value counts for all"


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

    alone = next((member for member in members if len(members) <= _MAX_EXPLAINED and collide([member])), None)
    colliding = [alone] if alone else _least(members, collide)
    sets = [side.set for member in colliding for side in member.sides]
    descriptions = [rule.description for own in sets for rule in own.constraints]
    descriptions += [block.description for own in sets for block in own.blocks_migration]
    rules = list(dict.fromkeys(filter(None, descriptions)))
    names = tuple(names_of(colliding))
    reason = f" ({'; '.join(rules)})" if rules else ""
    message = f"No settings meet the constraints, migration blocks and errata of {named(names)} together{reason}."
    return BaselineProblem(BaselineCode.NO_ASSIGNMENT, message, names)


def _least(members: Sequence[Member], collide: Collide) -> Sequence[Member]:
    """Return members that collide, none of which can be left out, a pair if there is one; of very many, all."""
    if len(members) > _MAX_EXPLAINED:
        return members
    for index, one in enumerate(members):
        for other in members[:index]:
            if collide((other, one)):
                return (other, one)
    kept = list(members)
    for candidate in members:
        fewer = [member for member in kept if member is not candidate]
        if len(fewer) > 1 and collide(fewer):
            kept = fewer
    return kept


def _all_list(profile: str, members: Sequence[Member]) -> bool:
    """Return whether some release of every member has the profile on its list."""
    return all(any(profile in (side.release.profiles or ()) for side in member.sides) for member in members)


def _all_accept(profile: Profile, model: Model, members: Sequence[Member], acceptance: Acceptance) -> bool:
    """Return whether a strict verdict accepts, at every member, the profile's devices as each member makes them."""
    values = profile.values[model.name]
    own = (side.release.made_of(profile.name, model.name) for member in members for side in member.sides)
    distinct = {canonical_json(stated): stated for stated in own if stated}
    made = [values, *({**values, **stated} for stated in distinct.values())]

    def accepts(side: Side) -> bool:
        spend(_STEPS_OF_A_PROFILE)
        refusals = (*step_7(side.release, profile.name, profile.state), *step_8(side.release, profile.name))
        is_opaque = any(step_12_of_profile(side.release, profile.name, side.set))
        return (
            not is_opaque
            and not refusals
            and all(acceptance.makes(stated, model, str(side.release.name), side.set) for stated in made)
        )

    return all(any(map(accepts, member.sides)) for member in members)
