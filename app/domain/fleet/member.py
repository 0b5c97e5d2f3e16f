"""The members of a fleet: releases and hosts that all have to accept the same settings for a device model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.domain.engine.kind import Kinds, KindsOf
from app.domain.things.erratum import with_errata
from app.domain.things.model import Model
from app.domain.things.release import Release
from app.domain.things.restriction import narrowed
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.values.canonical import canonical_json
from app.domain.values.meaning import Meaning
from app.domain.values.name import ReleaseName
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import Host
from app.domain.verdict.problem import ProblemCode
from app.domain.verdict.source import Registry
from app.domain.verdict.steps import step_1, step_7

_MAX_NAMED = 5
# What a member takes of a request's budget, its variables apart.
_STEPS = 50


class BaselineCode(StrEnum):
    """Why there is no baseline; the strings are part of the interface and never change."""

    UNKNOWN_MODEL = ProblemCode.UNKNOWN_MODEL
    UNKNOWN_RELEASE = ProblemCode.UNKNOWN_RELEASE
    UNKNOWN_HOST = ProblemCode.UNKNOWN_HOST
    MODEL_NOT_SUPPORTED = ProblemCode.MODEL_NOT_SUPPORTED
    NOT_MIGRATABLE = ProblemCode.NOT_MIGRATABLE
    RELEASE_RETIRED = ProblemCode.RELEASE_RETIRED
    STATE_NOT_READABLE = ProblemCode.STATE_NOT_READABLE
    NOTHING_COMPARED = ProblemCode.NOTHING_COMPARED
    NO_COMMON_VALUE = "no-common-value"
    NO_ASSIGNMENT = "no-assignment"
    UNDECIDED = "baseline-undecided"


# The other codes have the same meaning as in a verdict.
BASELINES: Mapping[BaselineCode, Meaning] = {
    BaselineCode.NO_COMMON_VALUE: Meaning(
        "Every variable has a value that all releases and hosts allow.",
        "Leave out one of the releases that the problem names, or update them until they have a value in common.",
        "No value of queues is allowed everywhere: vendor-a.com/fw@1 allows 1-4; vendor-a.com/fw@2 allows 8.",
    ),
    BaselineCode.NO_ASSIGNMENT: Meaning(
        "Some combination of the common values meets all constraints, migration blocks and errata.",
        "Leave out one of the releases that the problem names.",
        "No settings meet the constraints, migration blocks and errata of vendor-a.com/fw@1 and vendor-a.com/fw@2 "
        "together.",
    ),
    BaselineCode.UNDECIDED: Meaning(
        "The search ends before its limit.",
        "Ask for fewer releases at once. The answer has the common values of each variable: choose from them, and "
        "check "
        "the choice with a question.",
        "No settings were found in 20,000 tries and 64 choices of releases; more were not tried.",
    ),
}


@dataclass(frozen=True, slots=True)
class BaselineProblem:
    """Why a model has no baseline, and the members of the fleet that are concerned."""

    code: BaselineCode
    message: str
    members: tuple[str, ...] = ()
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A release that can serve the model at a member, and its variable set as the host restricts it."""

    release: Release
    set: VariableSet

    @property
    def vendor(self) -> str:
        """Return the vendor of the release."""
        return self.release.name.vendor

    @property
    def key(self) -> tuple[object, ...]:
        """What decides on settings and profiles: sides with the same key are alike."""
        release, model = self.release, self.set.model
        own = tuple(
            (profile, canonical_json(models[model]))
            for profile, models in release.own_values.items()
            if model in models
        )
        errata = tuple(erratum.id for erratum in release.errata.get(model, ()))
        # A digest says nothing of the strings that a host does not take.
        excluded = tuple((name, variable.allowed.excluded) for name, variable in self.set.variables.items())
        taken = tuple(entry for entry in excluded if entry[1])
        return (self.vendor, self.set.digest, taken, release.profiles, frozenset(own), errata)


@dataclass(frozen=True, slots=True)
class Member:
    """A release, or a host with the releases and units of which any can serve the model; those alike are one."""

    names: tuple[str, ...]
    sides: tuple[Side, ...]


@dataclass(slots=True)
class Fleet:
    """The members in the order asked, and the problems of those that cannot take part."""

    members: list[Member] = field(default_factory=list)
    problems: list[BaselineProblem] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, destinations: Sequence[Destination], registry: Registry) -> "Fleet":
        """Return the fleet that releases and hosts make for a model."""
        groups = KindsOf.of(destinations, Kinds()).groups()
        spend(len(destinations) + _STEPS * len(groups))
        fleet = cls()
        alike: dict[tuple[object, ...], Member] = {}
        releases: set[ReleaseName] = set()
        for group in groups:
            names = tuple(destination.id for destination in group)
            sides = _sides(model, group[0], registry)
            if isinstance(sides, tuple):
                code, message = sides
                fleet.problems.append(BaselineProblem(code, f"{named(names)}: {message}", names))
                continue
            releases |= {side.release.name for side in sides}
            key_of_sides = tuple(side.key for side in sides)
            member = alike.get(key_of_sides, Member((), tuple(sides)))
            alike[key_of_sides] = replace(member, names=member.names + names)
        fleet.members = [
            replace(member, sides=tuple(_with_errata(side, releases) for side in member.sides))
            for member in alike.values()
        ]
        return fleet


def _sides(model: Model, destination: Destination, registry: Registry) -> list[Side] | tuple[BaselineCode, str]:
    """Return the releases, of the host or of its units, that can serve the model at a destination, or why none can."""
    if destination.problem is not None:
        return BaselineCode.UNKNOWN_HOST, destination.problem.message
    spend(len(destination.all_releases()))
    host = Host.of(destination, registry)
    serving = list(host.serving(model.name))
    if not serving:
        if host.unknown:
            return BaselineCode.UNKNOWN_RELEASE, f"The registry has no release {', '.join(host.unknown)}."
        return BaselineCode.MODEL_NOT_SUPPORTED, f"No release there implements {model.name}."
    usable = [(runner, release) for runner, release in serving if not any(step_7(release, None, None))]
    if not usable:
        retired = ", ".join(dict.fromkeys(str(release.name) for _, release in serving))
        return BaselineCode.RELEASE_RETIRED, f"{retired} is retired."
    sides = [
        Side(release, narrowed(release.sets[model.name], destination.limits(model.name, runner.unit))[0])
        for runner, release in usable
    ]
    migratable = [side for side in sides if not any(step_1(model.name, side.set, str(side.release.name)))]
    return migratable or (BaselineCode.NOT_MIGRATABLE, f"No release there migrates {model.name}.")


def _with_errata(side: Side, releases: Collection[ReleaseName]) -> Side:
    """Return a side whose set has what errata forbid between it and any release of the fleet, either way."""
    errata = [
        erratum
        for erratum in side.release.errata.get(side.set.model, ())
        if any(erratum.forbids(release) for release in releases)
    ]
    return replace(side, set=with_errata(side.set, errata))


def named(names: Sequence[str]) -> str:
    """Return the names of members as a message shows them."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def names_of(members: Sequence[Member]) -> Iterator[str]:
    """Iterate over the names of members."""
    for member in members:
        yield from member.names
