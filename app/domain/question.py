"""The whole question: whether the devices of a VM may go to these destinations, and which release serves them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.canonical import canonical_json
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.release import Release
from app.domain.remedy import remedies
from app.domain.variable_set import VariableSet
from app.domain.verdict import Device, Policy, Registry, Source, Verdict, judge

Restrictions = Mapping[str, Mapping[str, Sequence[object]]]


@dataclass(frozen=True, slots=True)
class Destination:
    """A host that a VM may go to.

    releases: what it runs, in its own order of preference.
    restrict: per model and variable the only values that this host allows.
    problem: why nothing can be said about it: it is no registered host.
    """

    id: str
    releases: tuple[str, ...]
    restrict: Restrictions = field(default_factory=dict)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """The verdict on a device, and the release that serves it, or whose problems they are."""

    device: Device
    release: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdicts on the devices of one VM at one destination, in the order asked."""

    devices: tuple[DeviceAnswer, ...]

    @property
    def compatible(self) -> bool:
        """Return whether every device can be re-created there."""
        return all(each.verdict.compatible for each in self.devices)


class Question:
    """The devices of one VM, to be asked about at any number of destinations; equal hosts are judged once."""

    def __init__(self, devices: Iterable[Device], registry: Registry, policy: Policy = Policy.STRICT) -> None:
        self._sources = [Source.of(device, registry) for device in devices]
        self._registry = registry
        self._policy = policy
        self._verdicts: dict[tuple[int, str], Verdict] = {}
        self._answers: dict[tuple[tuple[str, ...], str], Answer] = {}

    def at(self, destination: Destination) -> Answer:
        """Return the answer for one destination."""
        if destination.problem is not None:
            return self._unanswerable(destination, destination.problem)
        restrict = canonical_json(destination.restrict) if destination.restrict else ""
        key = (destination.releases, restrict)
        answer = self._answers.get(key)
        if answer is None:
            verdicts = {} if restrict else self._verdicts
            answer = _Host(destination, self._registry).answer(self._sources, self._policy, verdicts)
            self._answers[key] = answer
        return answer

    def _unanswerable(self, destination: Destination, problem: Problem) -> Answer:
        verdicts = (Verdict((*source.problems, problem), (), None, (), ()) for source in self._sources)
        pairs = zip(self._sources, verdicts, strict=True)
        return Answer(tuple(DeviceAnswer(source.device, destination.id, verdict) for source, verdict in pairs))


def restricted(variable_set: VariableSet, restrict: Restrictions) -> tuple[VariableSet, Sequence[Caution]]:
    """Return a set with what a host restricts, and warnings of restrictions that name no value of a variable."""
    narrower = restrict.get(variable_set.model)
    if narrower is None:
        return variable_set, ()
    narrowed, without_effect = variable_set.narrowed(narrower)
    return narrowed, [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message) for message in without_effect]


class _Host:
    """A destination with what the registry knows of its releases."""

    def __init__(self, destination: Destination, registry: Registry) -> None:
        found = [(name, registry.release(name)) for name in destination.releases]
        self._first = destination.releases[0]
        self._restrict = destination.restrict
        self._releases = [release for _, release in found if release]
        self._unknown = [name for name, release in found if release is None]
        self._warnings = tuple(
            Caution(WarningCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
            for name in self._unknown
        )

    def answer(self, sources: Sequence[Source], policy: Policy, verdicts: dict[tuple[int, str], Verdict]) -> Answer:
        """Return the answer for the devices of a VM: each implementation serves those whose model it implements."""
        answers: dict[int, DeviceAnswer] = {}
        groups: dict[str | None, list[int]] = {}
        for place, source in enumerate(sources):
            groups.setdefault(self._implementation_for(source.device.model), []).append(place)
        for implementation, places in groups.items():
            if implementation is None:
                answers.update((place, self._unsupported(sources[place], policy)) for place in places)
                continue
            chosen: list[DeviceAnswer] | None = None
            for release in self._releases:
                if release.name.implementation != implementation:
                    continue
                judged = [self._judge(place, sources[place], release, policy, verdicts) for place in places]
                is_taken = all(each.verdict.compatible for each in judged)
                if chosen is None or is_taken:
                    chosen = judged
                if is_taken:
                    break
            answers.update(zip(places, chosen or (), strict=True))
        return Answer(tuple(answers[place] for place in range(len(sources))))

    def _implementation_for(self, model: str) -> str | None:
        """Return the first implementation, in the host's order, of which some release there has the model."""
        having = {release.name.implementation for release in self._releases if model in release.sets}
        ordered = (release.name.implementation for release in self._releases)
        return next((implementation for implementation in ordered if implementation in having), None)

    def _judge(
        self, place: int, source: Source, release: Release, policy: Policy, verdicts: dict[tuple[int, str], Verdict]
    ) -> DeviceAnswer:
        key = (place, str(release.name))
        verdict = verdicts.get(key)
        if verdict is None:
            variable_set = release.sets.get(source.device.model)
            cautions: Sequence[Caution] = ()
            if variable_set is not None:
                variable_set, cautions = restricted(variable_set, self._restrict)
            verdict = judge(source, release, variable_set, policy).with_warnings(*cautions)
            verdict = replace(verdict, remedies=remedies(source, release, variable_set, policy, verdict))
            verdicts[key] = verdict
        return DeviceAnswer(source.device, str(release.name), verdict.with_warnings(*self._warnings))

    def _unsupported(self, source: Source, policy: Policy) -> DeviceAnswer:
        """Return the answer on a device whose model no known release of the host implements."""
        unknown = tuple(
            Problem(ProblemCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
            for name in self._unknown
        )
        if unknown or not self._releases:
            verdict = Verdict(source.problems + unknown, (), None, (), ())
        else:
            verdict = judge(source, self._releases[0], None, policy)
        return DeviceAnswer(source.device, self._first, verdict)
