"""The verdict on a VM at a host: which release, or which unit, serves each device (DESIGN 5)."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import NamedTuple, TypeAlias

from app.domain.things.release import Release
from app.domain.things.restriction import Limits
from app.domain.things.restriction import narrowed as narrowed_set
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.values.lazy import lazy
from app.domain.verdict.case import Case, source_configuration
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.judge import Verdict, judge
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.verdict.source import Device, Registry, Source, unknown_names
from app.domain.verdict.steps import AtEnd, step_11

# Where a `together` rule fails, at most this many ways to serve the devices are tried.
MAX_WAYS = 1_000
# What a device takes of a request's budget where rules across the VM are checked.
_STEPS_OF_A_PART = 2


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs releases: the whole host, or one of its units.

    releases: those that the registry has, in order. unknown: the others. position: of the unit in the host's order.
    """

    releases: Sequence[Release]
    unknown: Sequence[str]
    unit: Unit | None = None
    position: int | None = None

    @classmethod
    def of(
        cls, names: Iterable[str], registry: Registry, unit: Unit | None = None, position: int | None = None
    ) -> "Runner":
        """Look up releases."""
        releases = {name: registry.release(name) for name in dict.fromkeys(names)}
        return cls(
            [release for release in releases.values() if release is not None],
            [name for name, release in releases.items() if release is None],
            unit,
            position,
        )

    def implements(self, model: str) -> bool:
        """Return whether one of the releases implements a model."""
        return any(model in release.sets for release in self.releases)


# The verdict on a device at a release of the host or of a unit, with what these restrict and resolve.
Judge: TypeAlias = Callable[[Source, Release, Runner], Verdict]


class Served(NamedTuple):
    """The verdict on a device at a host.

    release: the one that serves it, or has these problems. unit: the position of its unit, None: the whole host.
    """

    release: str
    verdict: Verdict
    unit: int | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One way to serve some devices of a VM, by position: at which release, of the host or of a unit, and how."""

    runner: Runner
    releases: Mapping[int, Release]
    verdicts: Mapping[int, Verdict]

    @property
    def takes_all(self) -> bool:
        """Whether all the devices are compatible there."""
        return all(verdict.compatible for verdict in self.verdicts.values())

    @property
    def problem_count(self) -> int:
        """The number of problems of all the devices."""
        return sum(len(verdict.problems) for verdict in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class Group:
    """Devices of a VM that one thing has to serve together, by position, where nothing takes them all.

    ways: in the host's order. answered: the way whose problems are the answer.
    """

    sources: Mapping[int, Source]
    ways: Sequence[Way]
    answered: Way


def _without_remedies(verdict: Verdict, required: Container[str]) -> Verdict:
    """Return a verdict without remedies that change what a rule across the VM requires: they could break it."""
    if not any(change.variable in required for change in verdict.remedies):
        return verdict
    return replace(verdict, remedies=())


class _Ways:
    """The ways to serve some devices, in the host's order, each judged when it is first looked at."""

    def __init__(self, ways: Iterator[Way]) -> None:
        self._judged: list[Way] = []
        self._others = ways

    def __iter__(self) -> Iterator[Way]:
        yield from self._judged
        for way in self._others:
            self._judged.append(way)
            yield way

    @property
    def answered(self) -> Way:
        """The first that takes all; otherwise the first release, or the first unit with the fewest problems."""
        first = next((way for way in self if way.takes_all), None)
        return first or min(self, key=lambda way: way.problem_count if way.runner.unit else 0)


class Vm:
    """The devices of a VM: as the question links them, and what the registry has of their sources."""

    def __init__(self, devices: Sequence[Device], sources: Sequence[Source]) -> None:
        """devices: with their ids and what they are parts of; equal devices can share a source."""
        self.devices = devices
        self.sources = sources
        self.has_parts = any(device.role is not None for device in devices)

    @lazy
    def _here(self) -> Sequence[AtEnd]:
        """The devices at the source, parts with their configuration."""
        return [
            _at_source(source, is_part=device.role is not None)
            for device, source in zip(self.devices, self.sources, strict=True)
        ]

    def broken_together(self, ways: Iterable[Way]) -> Mapping[int, Sequence[Problem]]:
        """Return the problems of step 11 by the position of the device; devices without a way are not looked at."""
        problems: dict[int, list[Problem]] = {}
        if not self.has_parts:
            return problems
        spend(_STEPS_OF_A_PART * len(self.devices))
        there = [AtEnd(None, None, None)] * len(self.devices)
        for way in ways:
            for position, release in way.releases.items():
                variable_set = release.sets.get(self.sources[position].device.model)
                values = way.verdicts[position].configuration if self.devices[position].role is not None else None
                configuration = None if variable_set is None or values is None else variable_set.compared(values)
                there[position] = AtEnd(str(release.name), variable_set, configuration, self.sources[position].model)
        for position, problem in step_11(self.devices, (self._here, there)):
            problems.setdefault(position, []).append(problem)
        return problems

    def first_that_meets(self, choices: Sequence[Sequence[Way]]) -> list[Way] | None:
        """Return ways that meet the rules, one of each choice; None if none are found.

        Only rules couple the choices: those that state rules are combined, the first combination in the host's order
        that works counts; each of the others is then the first way that meets them.
        """
        if any(step_11(self.devices, (self._here,))):
            # What breaks a rule at the source breaks it wherever the VM goes.
            return None
        stating = [index for index, ways in enumerate(choices) if any(map(self._states_rules, ways))]
        for combination in islice(product(*(choices[index] for index in stating)), MAX_WAYS):
            chosen = dict(zip(stating, combination, strict=True))
            for index, ways in enumerate(choices):
                meeting = (way for way in ways if not self.broken_together([*combination, way]))
                if index not in chosen and (first := next(meeting, None)) is not None:
                    chosen[index] = first
            ways_of_all = [chosen[index] for index in sorted(chosen)]
            if len(chosen) == len(choices) and not self.broken_together(ways_of_all):
                return ways_of_all
        return None

    def _states_rules(self, way: Way) -> bool:
        sets = (release.sets.get(self.sources[position].device.model) for position, release in way.releases.items())
        return any(variable_set is not None and variable_set.together for variable_set in sets)

    def required(self, ways: Iterable[Way]) -> frozenset[str]:
        """Return the variables of parts that rules, at the source or there, require to have some values."""
        if not self.has_parts:
            return frozenset()
        models = [source.device.model for source in self.sources]
        there = (release.sets.get(models[at]) for way in ways for at, release in way.releases.items())
        sets = (*(source.set for source in self.sources), *there)
        return frozenset(name for own in sets if own is not None for rule in own.together for name in rule.require)


def _at_source(source: Source, *, is_part: bool) -> AtEnd:
    """Return a device at the source: without a release, what the profile and the question say of it."""
    if not is_part or source.model is None or any(unknown_names(source)):
        return AtEnd(source.device.release, source.set, None)
    case = Case.of(source, source.model, None, "")
    if source.set is not None:
        return AtEnd(source.device.release, source.set, source_configuration(case), source.model)
    # Of what is not named, a profile and complete values say that it is off.
    stated = {pair.name: pair.value for pair in case.pairs() if pair.value is not None}
    off = source.model.off_values(source.model.vendor)
    return AtEnd(None, None, {**off, **stated}, source.model)


# Returns the verdicts of the way that is answered, with remedies.
AddRemedies: TypeAlias = Callable[[Group], Mapping[int, Verdict]]


@dataclass(frozen=True, slots=True)
class Host:
    """A destination with what the registry has of its releases and units.

    name: of its first release. unknown: the releases that the registry lacks, of the host and of its units.
    """

    name: str
    whole: Runner
    units: Sequence[Runner]
    unknown: Sequence[str]
    warnings: Sequence[Caution]

    @classmethod
    def of(cls, destination: Destination, registry: Registry) -> "Host":
        """Look up the releases, and the models of which the host states something."""
        whole = Runner.of(destination.releases, registry)
        units = [Runner.of(unit.releases, registry, unit, index) for index, unit in enumerate(destination.units)]
        unknown = list(dict.fromkeys(name for runner in (whole, *units) for name in runner.unknown))
        warnings = [Caution(WarningCode.UNKNOWN_RELEASE, problem.message) for problem in map(unknown_release, unknown)]
        named = dict.fromkeys(destination.named_models())
        messages = (_unknown_model(model, verb) for model, verb in named if registry.model(model) is None)
        warnings += [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message) for message in messages]
        return cls(destination.releases[0], whole, units, unknown, warnings)

    def answer(self, vm: Vm, judge_at: Judge, add_remedies: AddRemedies | None = None) -> list[Served]:
        """Return for each device of a VM what serves it, and the verdict there.

        A device belongs to the first implementation, in the host's order, that implements its model. Of each
        implementation the first release that takes all its devices of the VM serves them. A device whose model none of
        the host's own releases implements goes to a unit: the first that takes it together with all its parts that are
        made from units. If nothing takes them, the problems at the first release are the answer, or those at the unit
        with the fewest, of the units that implement the model.
        """
        answers: dict[int, Served] = {}
        groups: list[tuple[Mapping[int, Source], _Ways]] = []
        for members, root in self._groups(vm):
            ways = _Ways(self._ways(members, root, judge_at))
            if any(True for _ in ways):
                groups.append((members, ways))
            else:
                answers |= {position: self._not_supported(source, judge_at) for position, source in members.items()}
        for members, way, verdicts in _chosen(vm, groups, add_remedies):
            for position in members:
                verdict = verdicts[position].with_warnings(*self.warnings)
                answers[position] = Served(str(way.releases[position].name), verdict, way.runner.position)
        return [answers[position] for position in range(len(vm.sources))]

    def serving(self, model: str) -> Iterator[tuple[Runner, Release]]:
        """Iterate over the releases that can serve a device of a model, in the host's order: its own, or its units'."""
        for runner, releases in self.choices(model):
            yield from ((runner, release) for release in releases if model in release.sets)

    def choices(self, model: str) -> Iterator[tuple[Runner, Sequence[Release]]]:
        """Iterate over the releases that are tried for a device of a model alone, of the host or of each of its units.

        They are those of the first implementation there that has the model, also releases of it that do not.
        """
        for runner in [self.whole] if self.whole.implements(model) else self.units:
            implementation = serving_implementation(model, runner.releases)
            if implementation is not None:
                yield runner, [release for release in runner.releases if release.name.implementation == implementation]

    def _groups(self, vm: Vm) -> Iterator[tuple[Mapping[int, Source], int | None]]:
        """Iterate over the devices that belong together, with the outermost one if they are made from units."""
        groups: dict[object, dict[int, Source]] = {}
        positions = {device.id: position for position, device in enumerate(vm.devices)}
        made_from_units = [bool(self.units) and not self.whole.implements(source.device.model) for source in vm.sources]
        outermost = _outermost(vm.devices, positions, made_from_units)
        for position, source in enumerate(vm.sources):
            key: object = (None, serving_implementation(source.device.model, self.whole.releases))
            if made_from_units[position]:
                # The outermost device that is made from a unit takes all behind it along.
                key = outermost[position]
            groups.setdefault(key, {})[position] = source
        for key, members in groups.items():
            yield members, key if isinstance(key, int) else None

    def _ways(self, members: Mapping[int, Source], root: int | None, judge_at: Judge) -> Iterator[Way]:
        """Iterate over the ways to serve devices that belong together, in the host's order; none: no known release."""
        models = [source.device.model for source in members.values()]
        if root is None:
            implementation = serving_implementation(models[0], self.whole.releases)
            releases = [release for release in self.whole.releases if release.name.implementation == implementation]
            yield from _by_any(self.whole, releases, members, judge_at)
            return
        # The outermost device decides which units there are to choose from.
        for wanted in ([members[root].device.model], models):
            units = [unit for unit in self.units if any(map(unit.implements, wanted))]
            if units:
                yield from (way for unit in units for way in _at_unit(unit, members, judge_at))
                return

    def _not_supported(self, source: Source, judge_at: Judge) -> Served:
        """Return the answer for a device whose model nothing known of the host implements."""
        if self.unknown or not self.whole.releases:
            return Served(self.name, Verdict((*unknown_names(source), *map(unknown_release, self.unknown))))
        return Served(self.name, judge_at(source, self.whole.releases[0], self.whole))


def _way(runner: Runner, releases: Mapping[int, Release], members: Mapping[int, Source], judge_at: Judge) -> Way:
    spend(len(members))
    verdicts = {position: judge_at(source, releases[position], runner) for position, source in members.items()}
    return Way(runner, releases, verdicts)


def _at_unit(unit: Runner, members: Mapping[int, Source], judge_at: Judge) -> Iterator[Way]:
    """Iterate over the ways in which a unit serves devices: each of its implementations by a release that takes all.

    An implementation of which no release does serves them by the first.
    """
    groups: dict[str | None, dict[int, Source]] = {}
    for position, source in members.items():
        groups.setdefault(serving_implementation(source.device.model, unit.releases), {})[position] = source
    choices = []
    for implementation, group in groups.items():
        releases = [release for release in unit.releases if release.name.implementation == implementation]
        choices.append(_Ways(_taking(_Ways(_by_any(unit, releases or unit.releases[:1], group, judge_at)))))
    first = _joined([next(iter(choice)) for choice in choices])
    yield first
    if first.takes_all:
        yield from map(_joined, islice(product(*choices), 1, MAX_WAYS))


def _by_any(
    runner: Runner, releases: Iterable[Release], members: Mapping[int, Source], judge_at: Judge
) -> Iterator[Way]:
    """Iterate over the ways in which one of some releases serves devices."""
    for release in releases:
        yield _way(runner, dict.fromkeys(members, release), members, judge_at)


def _taking(ways: _Ways) -> Iterator[Way]:
    """Iterate over the ways that take all, or over the first one if there are none."""
    yield ways.answered
    yield from (way for way in ways if way.takes_all and way is not ways.answered)


def _joined(parts: Sequence[Way]) -> Way:
    """Return the way in which one unit serves what each of its implementations serves."""
    spend(sum(len(part.verdicts) for part in parts))
    releases = {position: release for part in parts for position, release in part.releases.items()}
    verdicts = {position: verdict for part in parts for position, verdict in part.verdicts.items()}
    return Way(parts[0].runner, releases, verdicts)


def _outermost(
    devices: Sequence[Device], positions: Mapping[str, int], made_from_units: Sequence[bool]
) -> Mapping[int, int | None]:
    """Return for each device the outermost one, itself or above it, that is made from a unit; None if none is."""
    known: dict[int, int | None] = {}
    for start in range(len(devices)):
        path: dict[int, None] = {}
        at: int | None = start
        while at is not None and at not in known and at not in path:
            path[at] = None
            above = devices[at].part_of
            at = None if above is None else positions.get(above)
        top = None if at is None else known.get(at)
        for one in reversed(path):
            top = one if top is None and made_from_units[one] else top
            known[one] = top
    return known


def _chosen(
    vm: Vm,
    groups: Sequence[tuple[Mapping[int, Source], _Ways]],
    add_remedies: AddRemedies | None,
) -> Iterator[tuple[Mapping[int, Source], Way, Mapping[int, Verdict]]]:
    """Iterate over the groups with the way that is answered, and the verdicts there."""
    chosen = [ways.answered for _, ways in groups]
    broken = vm.broken_together(chosen)
    if broken and all(way.takes_all for way in chosen):
        # Everything has a place; perhaps other ways to serve the devices meet the rules, too.
        better = vm.first_that_meets([[way for way in ways if way.takes_all] for _, ways in groups])
        chosen, broken = (better, {}) if better is not None else (chosen, broken)
    required = vm.required(chosen)
    for (members, ways), way in zip(groups, chosen, strict=True):
        verdicts = way.verdicts
        if not way.takes_all and add_remedies is not None:
            verdicts = add_remedies(Group(members, list(ways), way))
            verdicts = {at: _without_remedies(verdict, required) for at, verdict in verdicts.items()}
        yield (
            members,
            way,
            {position: verdict.refused(broken.get(position, ())) for position, verdict in verdicts.items()},
        )


def serving_implementation(model: str, releases: Sequence[Release]) -> str | None:
    """Return the first implementation, in a host's order of releases, of which some release there has the model."""
    if len(releases) == 1:
        return releases[0].name.implementation if model in releases[0].sets else None
    implementing = {release.name.implementation for release in releases if model in release.sets}
    in_order = (release.name.implementation for release in releases)
    return next((implementation for implementation in in_order if implementation in implementing), None)


def unknown_release(name: str) -> Problem:
    """Return that the registry does not have a release that a destination runs."""
    return Problem(ProblemCode.UNKNOWN_RELEASE, f"The registry has no release {name}, which the destination runs.")


def _unknown_model(name: str, verb: str) -> str:
    return f"The destination {verb} {name}, but the registry has no device model {name}."


def narrowed(release: Release, model: str, limits: Sequence[Limits]) -> tuple[VariableSet | None, Sequence[Caution]]:
    """Return a release's set of a model with what a host states, and warnings of what has no effect."""
    variable_set = release.sets.get(model)
    if variable_set is None:
        return None, ()
    with_limits, without_effect = narrowed_set(variable_set, limits)
    return with_limits, [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message) for message in without_effect]


def unanswerable(source: Source, problem: Problem) -> Verdict:
    """Return the verdict on a device at a destination of which nothing is known."""
    return Verdict((*unknown_names(source), problem))


def judge_vm(sources: Sequence[Source], destination: Destination, registry: Registry, policy: Policy) -> list[Served]:
    """Return for each device of a VM what serves it at a destination, and the verdict there.

    Without remedies, which are searched for apart.
    """
    if destination.problem is not None:
        return [Served(destination.id, unanswerable(source, destination.problem)) for source in sources]

    def judge_at(source: Source, release: Release, runner: Runner) -> Verdict:
        limits = destination.limits(source.device.model, runner.unit)
        variable_set, cautions = narrowed(release, source.device.model, limits)
        return judge(source, release, variable_set, policy).with_warnings(*cautions)

    vm = Vm([source.device for source in sources], sources)
    return Host.of(destination, registry).answer(vm, judge_at)
