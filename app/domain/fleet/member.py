"""The members of a fleet: releases and hosts that all have to accept the same settings for a device model."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.domain.things.erratum import with_errata
from app.domain.things.model import Model
from app.domain.things.release import Release
from app.domain.things.restriction import restricted
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json
from app.domain.values.name import ReleaseName
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import serving_implementation
from app.domain.verdict.problem import ProblemCode
from app.domain.verdict.source import Registry
from app.domain.verdict.steps import step_1, step_7

_MAX_NAMED = 5


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
        return (self.vendor, self.set.digest, release.profiles, frozenset(own), errata)


@dataclass(frozen=True, slots=True)
class Member:
    """A release, or a host with the releases of which any can serve the model; members that are alike are one."""

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
        equal: dict[tuple[tuple[str, ...], int], list[Destination]] = {}
        for destination in destinations:
            # Hosts that run the same releases share the object that they restrict with.
            key = (destination.releases, id(destination.restrict) if destination.restrict else 0)
            equal.setdefault(key, []).append(destination)
        fleet = cls()
        alike: dict[tuple[object, ...], Member] = {}
        releases: set[ReleaseName] = set()
        for group in equal.values():
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
    """Return the releases that can serve the model at a destination, or why none can."""
    if destination.problem is not None:
        return BaselineCode.UNKNOWN_HOST, destination.problem.message
    releases = {name: registry.release(name) for name in destination.releases}
    known = [release for release in releases.values() if release is not None]
    implementation = serving_implementation(model.name, known)
    serving = [
        release for release in known if release.name.implementation == implementation and model.name in release.sets
    ]
    if not serving:
        unknown = [name for name, release in releases.items() if release is None]
        if unknown:
            return BaselineCode.UNKNOWN_RELEASE, f"The registry has no release {', '.join(unknown)}."
        return BaselineCode.MODEL_NOT_SUPPORTED, f"No release there implements {model.name}."
    usable = [release for release in serving if not any(step_7(release, None, None))]
    if not usable:
        retired = ", ".join(str(release.name) for release in serving)
        return BaselineCode.RELEASE_RETIRED, f"{retired} is retired."
    sides = [Side(release, restricted(release.sets[model.name], destination.restrict)[0]) for release in usable]
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
