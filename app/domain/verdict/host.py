"""The verdict on a VM at a host: which release serves each device (DESIGN 5, "Hosts with several releases")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.domain.things.release import Release
from app.domain.things.restriction import Restrictions, restricted
from app.domain.things.variable_set import VariableSet
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import Verdict, judge
from app.domain.verdict.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.verdict.source import Registry, Source, unknown_names
from app.domain.verdict.steps import Policy

# The verdict on a device at a release, as this host restricts it.
Judge: TypeAlias = Callable[[Source, Release], Verdict]


@dataclass(frozen=True, slots=True)
class Group:
    """The devices of a VM that one implementation serves, by their position, where no release takes them all.

    releases: of the implementation, in the host's order. verdicts: on each device, at each of the releases.
    """

    sources: Mapping[int, Source]
    releases: Sequence[Release]
    verdicts: Sequence[Mapping[int, Verdict]]


# Returns the verdicts of a group at its first release, with remedies.
AddRemedies: TypeAlias = Callable[[Group], Mapping[int, Verdict]]


@dataclass(frozen=True, slots=True)
class Host:
    """A destination with what the registry has of its releases.

    name: of its first release. unknown: releases that the registry lacks.
    """

    name: str
    releases: Sequence[Release]
    unknown: Sequence[str]
    warnings: Sequence[Caution]

    @classmethod
    def of(cls, destination: Destination, registry: Registry) -> "Host":
        """Look up the releases and the restricted models of a destination."""
        releases: list[Release] = []
        unknown: list[str] = []
        warnings: list[Caution] = []
        for name in dict.fromkeys(destination.releases):
            release = registry.release(name)
            if release is None:
                unknown.append(name)
                warnings.append(Caution(WarningCode.UNKNOWN_RELEASE, _unknown_release(name)))
            else:
                releases.append(release)
        unknown_models = [model for model in destination.restrict if registry.model(model) is None]
        warnings += [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, _unknown_model(model)) for model in unknown_models]
        return cls(destination.releases[0], releases, unknown, warnings)

    def answer(
        self, sources: Sequence[Source], judge_at: Judge, add_remedies: AddRemedies | None = None
    ) -> list[tuple[str, Verdict]]:
        """Return for each device of a VM the release that serves it, and the verdict there.

        A device belongs to the first implementation, in the host's order, that implements its model. Of each
        implementation the first release that takes all its devices of the VM serves them. If none does, the problems
        at its first release are the answer.
        """
        answers: dict[int, tuple[str, Verdict]] = {}
        groups: dict[str | None, dict[int, Source]] = {}
        for position, source in enumerate(sources):
            implementation = serving_implementation(source.device.model, self.releases)
            groups.setdefault(implementation, {})[position] = source
        for implementation, members in groups.items():
            if implementation is None:
                for position, source in members.items():
                    answers[position] = (self.name, self._not_supported(source, judge_at))
                continue
            releases = [release for release in self.releases if release.name.implementation == implementation]
            release, verdicts = _served(members, releases, judge_at, add_remedies)
            for position, verdict in verdicts.items():
                answers[position] = (str(release.name), verdict.with_warnings(*self.warnings))
        return [answers[position] for position in range(len(sources))]

    def _not_supported(self, source: Source, judge_at: Judge) -> Verdict:
        """Return the verdict on a device whose model no known release of the host implements."""
        if self.unknown or not self.releases:
            unknown = (Problem(ProblemCode.UNKNOWN_RELEASE, _unknown_release(name)) for name in self.unknown)
            return Verdict((*unknown_names(source), *unknown))
        return judge_at(source, self.releases[0])


def _served(
    sources: Mapping[int, Source], releases: Sequence[Release], judge_at: Judge, add_remedies: AddRemedies | None
) -> tuple[Release, Mapping[int, Verdict]]:
    """Return the first release that takes all the devices, the first of all if none does, and the verdicts there."""
    refused = []
    for release in releases:
        verdicts = {position: judge_at(source, release) for position, source in sources.items()}
        if all(verdict.compatible for verdict in verdicts.values()):
            return release, verdicts
        refused.append(verdicts)
    return releases[0], refused[0] if add_remedies is None else add_remedies(Group(sources, releases, refused))


def serving_implementation(model: str, releases: Sequence[Release]) -> str | None:
    """Return the first implementation, in a host's order of releases, of which some release there has the model."""
    if len(releases) == 1:
        return releases[0].name.implementation if model in releases[0].sets else None
    implementing = {release.name.implementation for release in releases if model in release.sets}
    in_order = (release.name.implementation for release in releases)
    return next((implementation for implementation in in_order if implementation in implementing), None)


def _unknown_release(name: str) -> str:
    return f"The registry has no release {name}, which the destination runs."


def _unknown_model(name: str) -> str:
    return f"The destination restricts {name}, but the registry has no device model {name}."


def narrowed(release: Release, model: str, restrict: Restrictions) -> tuple[VariableSet | None, Sequence[Caution]]:
    """Return a release's set of a model with what a host restricts, and warnings of what has no effect."""
    variable_set = release.sets.get(model)
    if variable_set is None:
        return None, ()
    narrowed_set, without_effect = restricted(variable_set, restrict)
    return narrowed_set, [Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message) for message in without_effect]


def unanswerable(source: Source, problem: Problem) -> Verdict:
    """Return the verdict on a device at a destination of which nothing is known."""
    return Verdict((*unknown_names(source), problem))


def judge_vm(
    sources: Sequence[Source], destination: Destination, registry: Registry, policy: Policy
) -> list[tuple[str, Verdict]]:
    """Return for each device of a VM the release that serves it at a destination, and the verdict there.

    Without remedies, which are searched for apart.
    """
    if destination.problem is not None:
        return [(destination.id, unanswerable(source, destination.problem)) for source in sources]

    def judge_at(source: Source, release: Release) -> Verdict:
        variable_set, cautions = narrowed(release, source.device.model, destination.restrict)
        return judge(source, release, variable_set, policy).with_warnings(*cautions)

    return Host.of(destination, registry).answer(sources, judge_at)
