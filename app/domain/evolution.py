"""The evolution gate: a release must not take away what an earlier release of its implementation gave."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.name import ReleaseName
from app.domain.problem import Problem

_NUMBER = re.compile(r"[0-9]+")


class Mode(StrEnum):
    """What the gate holds a release to.

    `backward`: whatever published profile the previous release accepts for a model, the new one accepts too; `full`:
    and the other way round; `none`: nothing.
    """

    NONE = "none"
    BACKWARD = "backward"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Evolution:
    """The mode of an implementation; transitive: held against all earlier releases, not the previous one alone."""

    mode: Mode = Mode.BACKWARD
    transitive: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A profile that one release accepts for a model, and another one does not any more, and why."""

    profile: str
    model: str
    accepted_by: str
    refused_by: str
    problems: tuple[Problem, ...]


class EvolutionError(ValueError):
    """A release that breaks the gate; carries every profile that it breaks."""

    def __init__(self, release: str, broken: Sequence[Broken]) -> None:
        models = {each.model for each in broken}
        profiles = {each.profile for each in broken}
        pairs = "1 pair" if len(broken) == 1 else f"{len(broken):,} pairs"
        super().__init__(
            f"{release} and its earlier releases do not accept the same: {pairs} of a profile and a device model would "
            f"break (profiles: {len(profiles)}, models: {len(models)}). Mend it, or have an admin publish it all the "
            "same: ?override=<reason>"
        )
        self.broken = tuple(broken)


def numeric(version: str) -> tuple[int, ...]:
    """Return what versions are compared by: their numeric components."""
    return tuple(int(number) for number in _NUMBER.findall(version))


def earlier(version: str, others: Iterable[str], evolution: Evolution) -> list[str]:
    """Return the versions that a version is held against, the highest first: those lower, or the highest of them."""
    if evolution.mode is Mode.NONE:
        return []
    lower = sorted((each for each in others if numeric(each) < numeric(version)), key=numeric, reverse=True)
    return lower if evolution.transitive else lower[:1]


Refusals = Callable[[ReleaseName, str, str], Sequence[Problem]]


def broken(
    new: ReleaseName,
    before: Sequence[ReleaseName],
    entries: Mapping[str, Mapping[str, str]],
    evolution: Evolution,
    refusals: Refusals,
) -> Iterator[Broken]:
    """Iterate over the profile entries that break the gate between a new release and earlier ones.

    entries: the published profiles, model → digest of its values. refusals: why a release does not accept an entry.
    """
    directions = [(old, new) for old in before]
    if evolution.mode is Mode.FULL:
        directions += [(new, old) for old in before]
    for accepting, refusing in directions:
        for profile, models in entries.items():
            for model, values in models.items():
                problems = refusals(refusing, model, values)
                if problems and not refusals(accepting, model, values):
                    yield Broken(profile, model, str(accepting), str(refusing), tuple(problems))
