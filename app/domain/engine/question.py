"""The whole question: whether the devices of VMs can move to these destinations, and which release serves them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from app.domain.engine.comparison import Comparison, Compiled, Origin
from app.domain.engine.kind import Kind, Kinds, KindsOf
from app.domain.engine.memo import Memo
from app.domain.engine.migration import Migration
from app.domain.engine.passage import Passage
from app.domain.things.release import Release
from app.domain.things.restriction import Limits
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import Group, Host, Runner, Served, Vm, Way, narrowed, unanswerable
from app.domain.verdict.judge import Change, Verdict
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Caution
from app.domain.verdict.source import Device, Registry, Source, at_destination, with_parts


class DeviceAnswer(NamedTuple):
    """The verdict on a device, and the release that serves it, or whose problems they are.

    source: the device with its aliases resolved. unit: the position of the destination's unit that serves it.
    """

    device: Device
    release: str
    verdict: Verdict
    source: Source
    unit: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdicts on the devices of one VM at one destination, in the order asked.

    compatible: whether every device can be re-created there.
    """

    devices: tuple[DeviceAnswer, ...]
    compatible: bool


@dataclass(frozen=True, slots=True)
class Remedy:
    """Changes to runtime variables of the source; the one with the lowest rank is the smallest."""

    changes: tuple[Change, ...]
    rank: tuple[int, list[str], list[int]]


# What a verdict takes of a request's budget, beside what is compared and worded for it.
_STEPS = 4
# A verdict takes as much memory as this many variables, and this many names as much as one.
_SIZE_OF_A_VERDICT = 4
_NAMES_OF_A_VARIABLE = 4
_NO_CHANGE = Remedy((), (0, [], []))


class Remedies(Protocol):
    """Searches for remedies; `fleet/remedy.py` does."""

    def is_possible(self, compiled: Compiled, verdict: Verdict) -> bool:
        """Return whether changes to a running device could meet what the verdict refuses."""

    def search(self, migration: Migration, release: Release, policy: Policy, verdict: Verdict) -> Remedy | None:
        """Return the smallest set of changes after which the device can move, None if there is none."""


class TakesLongerError(Exception):
    """A question that has to be answered on the event loop needs more than what is remembered, or is large.

    steps: the work that it takes, as far as that is known before.
    """

    def __init__(self, steps: int = 0) -> None:
        super().__init__()
        self.steps = steps


class Engine:
    """Judges devices at releases as hosts restrict them, for any number of VMs; each equal question once.

    It sees one state of the registry: use a new engine for each question, and one memo for all.
    """

    def __init__(
        self,
        registry: Registry,
        policy: Policy = Policy.STRICT,
        memo: Memo | None = None,
        *,
        remedies: Remedies | None = None,
        with_configurations: bool = True,
        only_remembered: bool = False,
    ) -> None:
        """memo: what earlier questions have compiled. remedies: None: none are searched for.

        with_configurations: False: verdicts carry no configuration, but those of parts; devices that differ only in
        values that cannot change the verdict share one.

        only_remembered: nothing is compiled; TakesLongerError is raised instead.
        """
        self.registry = registry
        self.policy = policy
        self.remedies = remedies
        self._with_configurations = with_configurations
        self._only_remembered = only_remembered
        self._memo = memo or Memo()
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self._compiled_of: dict[int, Compiled] = {}
        self._migrations: dict[tuple[int, int, str], Migration] = {}
        self._verdict_keys: dict[tuple[int, int, str], tuple[Comparison | None, tuple[Hashable, ...]]] = {}
        self._of_restricted: dict[tuple[int, int, str], Comparison] = {}
        self._verdicts: dict[tuple[int, int, tuple[str, ...]], tuple[Verdict, Release]] = {}
        self._remedies: dict[tuple[int, str, tuple[str, ...]], Remedy | None] = {}
        # Keyed by ids; the objects are held too, so that no id is reused. Hosts that restrict alike share the object.
        self._narrowed: dict[
            tuple[int, tuple[str, ...]], tuple[VariableSet | None, Sequence[Caution], VariableSet]
        ] = {}
        self.kinds = Kinds()
        self._hosts: dict[Kind, Host] = {}
        self._kinds_of: KindsOf | None = None

    def source(self, device: Device) -> Source:
        """Return what the registry has of a device's source; one object for devices that differ in the id alone."""
        # Compared as text, for 1 is not true. Values in another order cost one more source.
        host = (device.host.id, device.unit) if device.host else None
        filled, is_part = device.filled, device.role is not None
        key = (
            device.model,
            device.release,
            device.profile,
            device.complete,
            host,
            filled,
            is_part,
            repr(device.values),
        )
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = self._compile(Source.of(device, self.registry))
            self._compiled_of[id(compiled.source)] = compiled
        return compiled.source

    def _compile(self, source: Source) -> Compiled:
        without_origin = Compiled(source, None)
        if source.model is None or without_origin.unknown_names:
            return without_origin
        made_from = (source.model, source.set, source.profile_values, source.vendors, source.own_values)
        # What one host restricts is not worth remembering for other questions.
        is_narrowed = source.set is not None and source.set.is_narrowed
        return Compiled(source, Origin(*made_from) if is_narrowed else self._memo.origin(*made_from))

    def kinds_of(self, destinations: Sequence[Destination]) -> KindsOf:
        """Return the kinds of destinations; the same for every VM of a question."""
        if self._kinds_of is None or self._kinds_of.destinations is not destinations:
            self._kinds_of = KindsOf.of(destinations, self.kinds)
        return self._kinds_of

    def host(self, destination: Destination) -> Host:
        """Return a destination with what the registry has of its releases; hosts of one kind share it."""
        kind = self.kinds.of(destination)
        host = self._hosts.get(kind)
        if host is None:
            host = self._hosts[kind] = Host.of(destination, self.registry)
        return host

    def verdict(self, source: Source, release: Release, limits: Sequence[Limits]) -> Verdict:
        """Return the verdict on a device at a release; limits: what the host, and the unit, state of its model."""
        key = (id(source), id(release), self._key(limits) if limits else ())
        if key not in self._verdicts:
            spend(_STEPS)
            variable_set, cautions = self._narrow(source.device.model, release, limits)
            verdict = self._judged(source, release, variable_set)
            self._verdicts[key] = (verdict.with_warnings(*cautions), release)
        else:
            spend()
        return self._verdicts[key][0]

    def _judged(self, source: Source, release: Release, variable_set: VariableSet | None) -> Verdict:
        """Return the verdict on a device at a set; one without a configuration is remembered by its key."""
        passage = self._passage(source, release, variable_set)

        def judge() -> Verdict:
            return self._migration(source, release, variable_set).judge(release, self.policy, passage)

        # The configurations of parts decide step 11.
        if self._with_configurations or passage is None or not passage.decides_alone or source.device.role is not None:
            return judge()
        comparison, words = self._verdict_key(source, release, variable_set)
        if comparison is None:
            return judge()
        own_values = release.made_of(source.device.profile, source.device.model)
        return self._memo.verdicts.kept(
            (comparison, passage, own_values),
            words,
            lambda: replace(judge(), configuration=None),
            lambda verdict: _SIZE_OF_A_VERDICT + len(words) // _NAMES_OF_A_VARIABLE + len(verdict.problems),
        )

    def _verdict_key(
        self, source: Source, release: Release, variable_set: VariableSet | None
    ) -> tuple[Comparison | None, tuple[Hashable, ...]]:
        """Return the comparison of a device with a set, and its `verdict_key`; no comparison where there is none."""
        vendor = release.name.vendor
        key = (id(source), id(variable_set), vendor)
        if key not in self._verdict_keys:
            compiled = self._compiled_of[id(source)]
            is_renamed = at_destination(source, variable_set) is not source
            comparison = None if is_renamed else self._comparison(compiled, variable_set, vendor)
            words = None if comparison is None else comparison.verdict_key(compiled)
            self._verdict_keys[key] = (None, ()) if words is None else (comparison, words)
        return self._verdict_keys[key]

    def _migration(self, source: Source, release: Release, variable_set: VariableSet | None) -> Migration:
        """Return a device at a set; releases that have the same set share it."""
        vendor = release.name.vendor
        key = (id(source), id(variable_set), vendor)
        if key not in self._migrations:
            compiled = self._compiled_of[id(source)]
            here = at_destination(source, variable_set)
            compiled = compiled if here is source else self._compile(here)
            comparison = self._comparison(compiled, variable_set, vendor)
            self._migrations[key] = Migration(compiled, comparison, variable_set)
        return self._migrations[key]

    def _passage(self, source: Source, release: Release, variable_set: VariableSet | None) -> Passage | None:
        """Return what is known of a migration whatever the values are; None where a host states something of it."""
        own = source.set
        is_narrowed = (own is not None and own.is_narrowed) or (variable_set is not None and variable_set.is_narrowed)
        if is_narrowed or source.without_effect:
            return None
        return self._memo.passage(source, release, variable_set, self.policy)

    def _comparison(self, compiled: Compiled, variable_set: VariableSet | None, vendor: str) -> Comparison | None:
        origin = compiled.origin
        if origin is None:
            return None
        is_narrowed = any(own is not None and own.is_narrowed for own in (origin.set, variable_set))
        if not is_narrowed:
            known = self._memo.known(origin, variable_set, vendor)
            self._check_remembered(is_remembered=known is not None)
            return known or self._memo.comparison(origin, variable_set, vendor)
        self._check_remembered(is_remembered=False)
        key = (id(origin), id(variable_set), vendor)
        if key not in self._of_restricted:
            self._of_restricted[key] = Comparison(origin, variable_set, vendor)
        return self._of_restricted[key]

    def _check_remembered(self, *, is_remembered: bool) -> None:
        if self._only_remembered and not is_remembered:
            raise TakesLongerError

    def _narrow(
        self, model: str, release: Release, limits: Sequence[Limits]
    ) -> tuple[VariableSet | None, Sequence[Caution]]:
        """Return the release's set of a model with what a host states, and warnings of what has no effect."""
        variable_set = release.sets.get(model)
        if variable_set is None or not limits:
            return variable_set, ()
        key = (id(variable_set), self._key(limits))
        if key not in self._narrowed:
            spend(len(variable_set.variables))
            self._narrowed[key] = (*narrowed(release, model, limits), variable_set)
        return self._narrowed[key][:2]

    def _key(self, limits: Sequence[Limits]) -> tuple[str, ...]:
        """Return what is equal for equal statements of hosts and units."""
        return tuple(self.kinds.text(stated) for limit in limits for stated in limit)

    def add_remedies(self, group: Group, destination: Destination) -> Mapping[int, Verdict]:
        """Return the verdicts of the answer on a group that nothing takes, with remedies.

        The remedies are those after which one release or unit would take all the devices, with the fewest changes in
        all; if there is none, those of each device where it is answered.
        """
        answered = group.answered
        if self.remedies is None:
            return answered.verdicts
        options = [self._options(group.sources, way, destination) for way in group.ways]
        complete = [option for option in options if None not in option.values()]
        best = min(complete, key=_size, default=options[group.ways.index(answered)])
        return {
            position: replace(verdict, remedies=remedy.changes)
            if (remedy := best[position]) is not None and remedy.changes
            else verdict
            for position, verdict in answered.verdicts.items()
        }

    def _options(
        self, sources: Mapping[int, Source], way: Way, destination: Destination
    ) -> Mapping[int, Remedy | None]:
        """Return the remedy of each device served in a way: no change where it needs none."""
        options = {}
        for position, verdict in way.verdicts.items():
            source = sources[position]
            limits = destination.limits(source.device.model, way.runner.unit)
            options[position] = (
                _NO_CHANGE if verdict.compatible else self._remedy(source, way.releases[position], limits, verdict)
            )
        return options

    def _remedy(self, source: Source, release: Release, limits: Sequence[Limits], verdict: Verdict) -> Remedy | None:
        if self.remedies is None:
            return None
        key = (id(source), str(release.name), self._key(limits))
        if key not in self._remedies:
            variable_set, _ = self._narrow(source.device.model, release, limits)
            remedy = None
            if self.remedies.is_possible(self._compiled_of[id(source)], verdict):
                self._check_remembered(is_remembered=False)
                migration = self._migration(source, release, variable_set)
                remedy = self.remedies.search(migration, release, self.policy, verdict)
            self._remedies[key] = remedy
        return self._remedies[key]


def _size(option: Mapping[int, Remedy | None]) -> tuple[int, list[tuple[int, list[str], list[int]]]]:
    ranks = [remedy.rank for remedy in option.values() if remedy is not None]
    return sum(rank[0] for rank in ranks), ranks


class Question:
    """The devices of one VM, asked about at any number of destinations; equal hosts are judged once."""

    def __init__(self, devices: Iterable[Device], engine: Engine) -> None:
        self._devices = with_parts(devices)
        self._sources = [engine.source(device) for device in self._devices]
        self._vm = Vm(self._devices, self._sources)
        self._engine = engine

    def at(self, destination: Destination) -> Answer:
        """Return the answer for one destination."""
        return self.at_all([destination])[0]

    def at_all(self, destinations: Sequence[Destination]) -> Sequence[Answer]:
        """Return the answers for destinations, in their order; equal hosts share one."""
        spend(1 + len(destinations) // 8)
        kinds = self._engine.kinds_of(destinations)
        answers = [self._at(destination) for destination in kinds.first]
        return [answers[number] for number in kinds.numbers]

    def _at(self, destination: Destination) -> Answer:
        spend()
        problem = destination.problem
        if problem is not None:
            return self._answer([Served(destination.id, unanswerable(source, problem)) for source in self._sources])
        return self._answer(self._at_host(destination))

    def _at_host(self, destination: Destination) -> Sequence[Served]:
        engine = self._engine
        spend(len(self._devices))
        if destination.is_plain and len(destination.releases) == 1 and not self._vm.has_parts:
            release = engine.registry.release(destination.releases[0])
            if release is not None:
                return self._at_release(release, destination)

        def judge_at(source: Source, release: Release, runner: Runner) -> Verdict:
            return engine.verdict(source, release, destination.limits(source.device.model, runner.unit))

        host = engine.host(destination)
        return host.answer(self._vm, judge_at, lambda group: engine.add_remedies(group, destination))

    def _at_release(self, release: Release, destination: Destination) -> Sequence[Served]:
        """Return what `Host.answer` does where there is nothing to choose from: one release, no units, no parts."""
        engine, name = self._engine, str(release.name)
        verdicts = [engine.verdict(source, release, ()) for source in self._sources]
        if not all(verdict.compatible for verdict in verdicts) and engine.remedies is not None:
            members = {at: source for at, source in enumerate(self._sources) if source.device.model in release.sets}
            way = Way(Runner([release], []), dict.fromkeys(members, release), {at: verdicts[at] for at in members})
            if not way.takes_all:
                for at, verdict in engine.add_remedies(Group(members, [way], way), destination).items():
                    verdicts[at] = verdict
        return [Served(name, verdict) for verdict in verdicts]

    def _answer(self, served: Sequence[Served]) -> Answer:
        devices = tuple(
            DeviceAnswer(device, release, verdict, source, unit)
            for device, (release, verdict, unit), source in zip(self._devices, served, self._sources, strict=True)
        )
        return Answer(devices, all(device.verdict.compatible for device in devices))
