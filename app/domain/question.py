"""The whole question: whether the devices of a VM may go to these destinations, and which release serves them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.canonical import canonical_json
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.release import Release
from app.domain.remedy import NO_CHANGE, Remedy, remedy
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

    def __init__(
        self,
        devices: Iterable[Device],
        registry: Registry,
        policy: Policy = Policy.STRICT,
        *,
        with_remedies: bool = True,
    ) -> None:
        self._sources = [Source.of(device, registry) for device in devices]
        self._registry = registry
        self._policy = policy
        self._with_remedies = with_remedies
        self._verdicts: dict[tuple[int, str], Verdict] = {}
        self._restricts: dict[int, tuple[str, Restrictions]] = {}
        self._answers: dict[tuple[tuple[str, ...], str], Answer] = {}

    def at(self, destination: Destination) -> Answer:
        """Return the answer for one destination."""
        if destination.problem is not None:
            return self._unanswerable(destination, destination.problem)
        key = (destination.releases, self._canonical(destination.restrict) if destination.restrict else "")
        answer = self._answers.get(key)
        if answer is None:
            host = _Host(destination, self._registry, self._policy, with_remedies=self._with_remedies)
            answer = host.answer(self._sources, self._verdicts)
            self._answers[key] = answer
        return answer

    def _canonical(self, restrict: Restrictions) -> str:
        """Return what is equal for hosts that restrict the same; registered hosts share it as an object."""
        kept = self._restricts.get(id(restrict))
        if kept is None:
            kept = self._restricts[id(restrict)] = (canonical_json(restrict), restrict)
        return kept[0]

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


def serving_implementation(model: str, releases: Sequence[Release]) -> str | None:
    """Return the first implementation, in a host's order of releases, of which some release there has the model."""
    having = {release.name.implementation for release in releases if model in release.sets}
    ordered = (release.name.implementation for release in releases)
    return next((implementation for implementation in ordered if implementation in having), None)


def _size(remedies: Mapping[int, Remedy | None]) -> tuple[int, list[tuple[int, list[str], list[int]]]]:
    ranks = [each.rank for each in remedies.values() if each is not None]
    return sum(rank[0] for rank in ranks), ranks


class _Host:
    """A destination with what the registry knows of its releases."""

    def __init__(self, destination: Destination, registry: Registry, policy: Policy, *, with_remedies: bool) -> None:
        found = [(name, registry.release(name)) for name in destination.releases]
        self._first = destination.releases[0]
        self._restrict = destination.restrict
        self._policy = policy
        self._with_remedies = with_remedies
        self._own_verdicts: dict[tuple[int, str], Verdict] = {}
        self._releases = [release for _, release in found if release]
        self._unknown = [name for name, release in found if release is None]
        self._warnings = tuple(
            Caution(WarningCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
            for name in self._unknown
        )

    def answer(self, sources: Sequence[Source], verdicts: dict[tuple[int, str], Verdict]) -> Answer:
        """Return the answer for the devices of a VM: each implementation serves those whose model it implements."""
        answers: dict[int, DeviceAnswer] = {}
        groups: dict[str | None, list[int]] = {}
        for place, source in enumerate(sources):
            groups.setdefault(serving_implementation(source.device.model, self._releases), []).append(place)
        for implementation, places in groups.items():
            if implementation is None:
                answers.update((place, self._unsupported(sources[place])) for place in places)
                continue
            releases = [release for release in self._releases if release.name.implementation == implementation]
            served = self._served({place: sources[place] for place in places}, releases, verdicts)
            answers.update(served)
        return Answer(tuple(answers[place] for place in range(len(sources))))

    def _served(
        self,
        sources: Mapping[int, Source],
        releases: Sequence[Release],
        verdicts: dict[tuple[int, str], Verdict],
    ) -> Mapping[int, DeviceAnswer]:
        """Return the answers of the first release that takes all the devices; of the first one where none does."""
        judged = []
        for release in releases:
            answers = {place: self._judge(place, source, release, verdicts) for place, source in sources.items()}
            if all(each.verdict.compatible for each in answers.values()):
                return answers
            judged.append(answers)
        if not self._with_remedies:
            return judged[0]
        options = [self._remedies(sources, *each) for each in zip(releases, judged, strict=True)]
        # A release that would take all of them then, with the fewest changes; else what mends the first one's problems.
        whole = [each for each in options if None not in each.values()]
        mended = min(whole, key=_size, default=options[0])
        return {
            place: replace(each, verdict=replace(each.verdict, remedies=found.changes))
            if (found := mended[place]) is not None
            else each
            for place, each in judged[0].items()
        }

    def _remedies(
        self, sources: Mapping[int, Source], release: Release, answers: Mapping[int, DeviceAnswer]
    ) -> Mapping[int, Remedy | None]:
        """Return the remedy of each device at a release: without changes where it needs none."""
        return {
            place: NO_CHANGE
            if answer.verdict.compatible
            else remedy(
                sources[place], release, self._narrowed(sources[place], release)[0], self._policy, answer.verdict
            )
            for place, answer in answers.items()
        }

    def _judge(
        self, place: int, source: Source, release: Release, verdicts: dict[tuple[int, str], Verdict]
    ) -> DeviceAnswer:
        # What the host restricts is judged for it alone.
        own = self._own_verdicts if source.device.model in self._restrict else verdicts
        key = (place, str(release.name))
        verdict = own.get(key)
        if verdict is None:
            variable_set, cautions = self._narrowed(source, release)
            verdict = own[key] = judge(source, release, variable_set, self._policy).with_warnings(*cautions)
        return DeviceAnswer(source.device, str(release.name), verdict.with_warnings(*self._warnings))

    def _narrowed(self, source: Source, release: Release) -> tuple[VariableSet | None, Sequence[Caution]]:
        variable_set = release.sets.get(source.device.model)
        return (None, ()) if variable_set is None else restricted(variable_set, self._restrict)

    def _unsupported(self, source: Source) -> DeviceAnswer:
        """Return the answer on a device whose model no known release of the host implements."""
        unknown = tuple(
            Problem(ProblemCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
            for name in self._unknown
        )
        if unknown or not self._releases:
            verdict = Verdict(source.problems + unknown, (), None, (), ())
        else:
            verdict = judge(source, self._releases[0], None, self._policy)
        return DeviceAnswer(source.device, self._first, verdict)
