"""The whole question: whether the devices of a VM may go to these destinations, and which release serves them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from app.domain.canonical import canonical_json
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.release import Release
from app.domain.remedy import NO_CHANGE, Remedy, is_mendable, remedy
from app.domain.restriction import Restrictions, restricted
from app.domain.source import Device, Registry, Source
from app.domain.variable_set import VariableSet
from app.domain.verdict import Comparison, Comparisons, Crossing, Policy, Verdict, judge


class Destination(NamedTuple):
    """A host that a VM may go to.

    releases: what it runs, in its own order of preference.
    restrict: per model and variable the only values that this host allows.
    problem: why nothing can be said about it: it is no registered host.
    """

    id: str
    releases: tuple[str, ...]
    restrict: Restrictions = MappingProxyType({})
    problem: Problem | None = None


class DeviceAnswer(NamedTuple):
    """The verdict on a device, and the release that serves it, or whose problems they are."""

    device: Device
    release: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdicts on the devices of one VM at one destination, in the order asked.

    compatible: whether every device can be re-created there.
    """

    devices: tuple[DeviceAnswer, ...]
    compatible: bool


class TakesLongerError(Exception):
    """A question that is to be answered at once takes more than what is worked out already."""


class Judging:
    """Judges devices at releases as hosts restrict them, for any number of VMs; each equal question once."""

    def __init__(
        self,
        registry: Registry,
        policy: Policy = Policy.STRICT,
        comparisons: Comparisons | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        """comparisons: what earlier questions have worked out; at_once: no others are, TakesLongerError is raised."""
        self.registry = registry
        self.policy = policy
        self._at_once = at_once
        self._comparisons = comparisons or Comparisons()
        self._sources: dict[tuple[object, ...], Source] = {}
        self._crossings: dict[tuple[int, int, str], tuple[Crossing, VariableSet | None]] = {}
        self._of_restricted: dict[tuple[int, int, str], Comparison] = {}
        self._verdicts: dict[tuple[int, int, str], tuple[Verdict, Release]] = {}
        self._remedies: dict[tuple[int, str, str], Remedy | None] = {}
        # What is kept by identity is kept alive with it; registered hosts that restrict the same share the object.
        self._narrowed: dict[tuple[int, str], tuple[VariableSet, Sequence[Caution], VariableSet]] = {}
        self._canonical: dict[int, tuple[str, object]] = {}
        self._unknown: dict[str, bool] = {}

    def source(self, device: Device) -> Source:
        """Return what the registry knows of where a device is, one object for devices that differ in the id alone."""
        # As a text, for 1 is not true; values in another order only cost a look more.
        key = (device.model, device.release, device.profile, device.complete, repr(device.values))
        if key not in self._sources:
            self._sources[key] = Source.of(device, self.registry, self._comparisons.origin)
        return self._sources[key]

    def verdict(self, source: Source, release: Release, restrict: Restrictions) -> Verdict:
        """Return the verdict on a device at a release on a host that restricts it so."""
        narrower = restrict.get(source.device.model)
        key = (id(source), id(release), self.canonical(narrower))
        if key not in self._verdicts:
            variable_set, cautions = self.narrowed(source.device.model, release, restrict)
            crossing = self._crossing(source, release, variable_set)
            verdict = judge(crossing, release, variable_set, self.policy).with_warnings(*cautions)
            self._verdicts[key] = (verdict, release)
        return self._verdicts[key][0]

    def _crossing(self, source: Source, release: Release, variable_set: VariableSet | None) -> Crossing:
        """Return a device at a set; releases that have the same set share it."""
        vendor = release.name.vendor
        key = (id(source), id(variable_set), vendor)
        if key not in self._crossings:
            crossing = Crossing(source, self._comparison(source, variable_set, vendor))
            self._crossings[key] = (crossing, variable_set)
        return self._crossings[key][0]

    def _comparison(self, source: Source, variable_set: VariableSet | None, vendor: str) -> Comparison | None:
        if source.origin is None:
            return None
        if variable_set is None or not variable_set.is_narrowed:
            known = self._comparisons.known(source.origin, variable_set, vendor)
            self._check_time(is_short=known is not None)
            return known or self._comparisons.comparison(source.origin, variable_set, vendor)
        self._check_time(is_short=False)
        # What one host restricts is not worth keeping for other questions.
        key = (id(source.origin), id(variable_set), vendor)
        if key not in self._of_restricted:
            self._of_restricted[key] = Comparison(source.origin, variable_set, vendor)
        return self._of_restricted[key]

    def _check_time(self, *, is_short: bool) -> None:
        if self._at_once and not is_short:
            raise TakesLongerError

    def remedy(self, source: Source, release: Release, restrict: Restrictions, verdict: Verdict) -> Remedy | None:
        """Return the smallest set of changes to a device after which it could be there, None if there is none."""
        key = (id(source), str(release.name), self.canonical(restrict.get(source.device.model)))
        if key not in self._remedies:
            self._check_time(is_short=not is_mendable(source, verdict))
            variable_set, _ = self.narrowed(source.device.model, release, restrict)
            self._remedies[key] = remedy(self._crossing(source, release, variable_set), release, self.policy, verdict)
        return self._remedies[key]

    def narrowed(
        self, model: str, release: Release, restrict: Restrictions
    ) -> tuple[VariableSet | None, Sequence[Caution]]:
        """Return the release's set of a model with what a host restricts, and warnings of what has no effect."""
        variable_set = release.sets.get(model)
        if variable_set is None or not restrict.get(model):
            return variable_set, ()
        key = (id(variable_set), self.canonical(restrict[model]))
        if key not in self._narrowed:
            self._narrowed[key] = (*restricted(variable_set, restrict), variable_set)
        return self._narrowed[key][:2]

    def unknown_models(self, restrict: Restrictions) -> Sequence[str]:
        """Return the models that a host restricts but the registry does not have."""
        for model in restrict:
            if model not in self._unknown:
                self._unknown[model] = self.registry.model(model) is None
        return [model for model in restrict if self._unknown[model]]

    def canonical(self, restrict: object) -> str:
        """Return what is equal for equal restrictions; empty for none."""
        if not restrict:
            return ""
        kept = self._canonical.get(id(restrict))
        if kept is None:
            kept = self._canonical[id(restrict)] = (canonical_json(restrict), restrict)
        return kept[0]


class Question:
    """The devices of one VM, to be asked about at any number of destinations; equal hosts are judged once."""

    def __init__(self, devices: Iterable[Device], judging: Judging, *, with_remedies: bool = True) -> None:
        self._devices = list(devices)
        self._sources = [judging.source(device) for device in self._devices]
        self._judging = judging
        self._with_remedies = with_remedies
        self._answers: dict[tuple[tuple[str, ...], str], Answer] = {}

    def at(self, destination: Destination) -> Answer:
        """Return the answer for one destination."""
        return self.at_all([destination])[0]

    def at_all(self, destinations: Iterable[Destination]) -> Sequence[Answer]:
        """Return the answers for destinations."""
        answers = []
        for destination in destinations:
            if destination.problem is not None:
                answers.append(self._unanswerable(destination, destination.problem))
                continue
            restrict = destination.restrict
            key = (destination.releases, self._judging.canonical(restrict) if restrict else "")
            answer = self._answers.get(key)
            if answer is None:
                verdicts = _Host(destination, self._judging, with_remedies=self._with_remedies).verdicts(self._sources)
                answer = self._answers[key] = self._answer(verdicts)
            answers.append(answer)
        return answers

    def _unanswerable(self, destination: Destination, problem: Problem) -> Answer:
        verdicts = (Verdict((*source.problems, problem)) for source in self._sources)
        return self._answer([(destination.id, verdict) for verdict in verdicts])

    def _answer(self, verdicts: Sequence[tuple[str, Verdict]]) -> Answer:
        pairs = zip(self._devices, verdicts, strict=True)
        devices = tuple(DeviceAnswer(device, release, verdict) for device, (release, verdict) in pairs)
        return Answer(devices, all(each.verdict.compatible for each in devices))


def serving_implementation(model: str, releases: Sequence[Release]) -> str | None:
    """Return the first implementation, in a host's order of releases, of which some release there has the model."""
    if len(releases) == 1:
        return releases[0].name.implementation if model in releases[0].sets else None
    having = {release.name.implementation for release in releases if model in release.sets}
    ordered = (release.name.implementation for release in releases)
    return next((implementation for implementation in ordered if implementation in having), None)


def _size(remedies: Mapping[int, Remedy | None]) -> tuple[int, list[tuple[int, list[str], list[int]]]]:
    ranks = [each.rank for each in remedies.values() if each is not None]
    return sum(rank[0] for rank in ranks), ranks


class _Host:
    """A destination with what the registry knows of its releases."""

    def __init__(self, destination: Destination, judging: Judging, *, with_remedies: bool) -> None:
        found = [(name, judging.registry.release(name)) for name in destination.releases]
        self._first = destination.releases[0]
        self._restrict = destination.restrict
        self._judging = judging
        self._with_remedies = with_remedies
        self._releases = [release for _, release in found if release]
        self._unknown = [name for name, release in found if release is None]
        self._warnings = (
            *(
                Caution(WarningCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
                for name in self._unknown
            ),
            *(
                Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, f"the registry has no device model {model}")
                for model in judging.unknown_models(destination.restrict)
            ),
        )

    def verdicts(self, sources: Sequence[Source]) -> Sequence[tuple[str, Verdict]]:
        """Return for each device of a VM the release that serves it, and the verdict.

        Each implementation serves the devices whose model it implements.
        """
        verdicts: dict[int, tuple[str, Verdict]] = {}
        groups: dict[str | None, list[int]] = {}
        for place, source in enumerate(sources):
            groups.setdefault(serving_implementation(source.device.model, self._releases), []).append(place)
        for implementation, places in groups.items():
            if implementation is None:
                verdicts.update((place, (self._first, self._unsupported(sources[place]))) for place in places)
                continue
            releases = [release for release in self._releases if release.name.implementation == implementation]
            serving, served = self._served({place: sources[place] for place in places}, releases)
            warned = {place: verdict.with_warnings(*self._warnings) for place, verdict in served.items()}
            verdicts.update((place, (str(serving.name), verdict)) for place, verdict in warned.items())
        return [verdicts[place] for place in range(len(sources))]

    def _served(
        self, sources: Mapping[int, Source], releases: Sequence[Release]
    ) -> tuple[Release, Mapping[int, Verdict]]:
        """Return the first release that takes all the devices, and its verdicts; the first one where none does."""
        judged = []
        for release in releases:
            verdicts = {
                place: self._judging.verdict(source, release, self._restrict) for place, source in sources.items()
            }
            if all(verdict.compatible for verdict in verdicts.values()):
                return release, verdicts
            judged.append(verdicts)
        if not self._with_remedies:
            return releases[0], judged[0]
        options = [self._remedies(sources, *each) for each in zip(releases, judged, strict=True)]
        # A release that would take all of them then, with the fewest changes; else what mends the first one's problems.
        whole = [each for each in options if None not in each.values()]
        mended = min(whole, key=_size, default=options[0])
        return releases[0], {
            place: replace(verdict, remedies=found.changes) if (found := mended[place]) is not None else verdict
            for place, verdict in judged[0].items()
        }

    def _remedies(
        self, sources: Mapping[int, Source], release: Release, verdicts: Mapping[int, Verdict]
    ) -> Mapping[int, Remedy | None]:
        """Return the remedy of each device at a release: without changes where it needs none."""
        return {
            place: NO_CHANGE
            if verdict.compatible
            else self._judging.remedy(sources[place], release, self._restrict, verdict)
            for place, verdict in verdicts.items()
        }

    def _unsupported(self, source: Source) -> Verdict:
        """Return the verdict on a device whose model no known release of the host implements."""
        unknown = tuple(
            Problem(ProblemCode.UNKNOWN_RELEASE, f"the registry has no release {name}, which the destination runs")
            for name in self._unknown
        )
        if unknown or not self._releases:
            return Verdict(source.problems + unknown)
        return self._judging.verdict(source, self._releases[0], self._restrict)
