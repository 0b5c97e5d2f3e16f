"""The members of a fleet: releases and hosts that all have to accept the same settings for a device model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.domain.model import Model
from app.domain.problem import ProblemCode
from app.domain.question import Destination, serving_implementation
from app.domain.release import Release
from app.domain.restriction import restricted
from app.domain.source import Registry
from app.domain.state import State
from app.domain.variable_set import VariableSet

_MOST_NAMED = 5


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
class Side:
    """A release that may serve the model at a member, and its variable set as the host restricts it."""

    release: Release
    set: VariableSet

    @property
    def vendor(self) -> str:
        """Return the vendor of the release."""
        return self.release.name.vendor


@dataclass(frozen=True, slots=True)
class Member:
    """A release, or a host with the releases of which any one may serve the model; those alike are one member."""

    names: tuple[str, ...]
    sides: tuple[Side, ...]


@dataclass(slots=True)
class Fleet:
    """The members in the order asked, and what is wrong with those that cannot take part."""

    members: list[Member] = field(default_factory=list)
    problems: list[BaselineProblem] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, destinations: Sequence[Destination], registry: Registry) -> "Fleet":
        """Return the fleet that releases and hosts make for a model."""
        equal: dict[tuple[tuple[str, ...], int], list[Destination]] = {}
        for destination in destinations:
            # Hosts that run the same share what they restrict.
            key = (destination.releases, id(destination.restrict) if destination.restrict else 0)
            equal.setdefault(key, []).append(destination)
        fleet = cls()
        alike: dict[tuple[tuple[str, str], ...], Member] = {}
        for several in equal.values():
            names = tuple(each.id for each in several)
            found = _sides(model, several[0], registry)
            if isinstance(found, tuple):
                code, message = found
                fleet.problems.append(BaselineProblem(code, f"{named(names)}: {message}", names))
                continue
            key_of_sides = tuple((side.vendor, side.set.digest) for side in found)
            standing = alike.get(key_of_sides, Member((), tuple(found)))
            alike[key_of_sides] = replace(standing, names=standing.names + names)
        fleet.members = list(alike.values())
        return fleet


def _sides(model: Model, destination: Destination, registry: Registry) -> list[Side] | tuple[BaselineCode, str]:
    """Return the releases that may serve the model at a destination, or why none may."""
    if destination.problem is not None:
        return BaselineCode.UNKNOWN_HOST, destination.problem.message
    known = [release for name in destination.releases if (release := registry.release(name)) is not None]
    implementation = serving_implementation(model.name, known)
    serving = [each for each in known if each.name.implementation == implementation and model.name in each.sets]
    if not serving:
        unknown = [name for name in destination.releases if registry.release(name) is None]
        if unknown:
            return BaselineCode.UNKNOWN_RELEASE, f"the registry has no release {', '.join(unknown)}"
        return BaselineCode.MODEL_NOT_SUPPORTED, f"{model.name} is not implemented"
    usable = [release for release in serving if release.state is not State.RETIRED]
    if not usable:
        return BaselineCode.RELEASE_RETIRED, f"{', '.join(str(release.name) for release in serving)} is retired"
    sides = [Side(release, restricted(release.sets[model.name], destination.restrict)[0]) for release in usable]
    movable = [side for side in sides if side.set.migratable]
    return movable or (BaselineCode.NOT_MIGRATABLE, f"{model.name} cannot be migrated")


def named(names: Sequence[str]) -> str:
    """Return the names of members as a message shows them."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def names_of(members: Sequence[Member]) -> Iterator[str]:
    """Iterate over the names of members."""
    for member in members:
        yield from member.names
