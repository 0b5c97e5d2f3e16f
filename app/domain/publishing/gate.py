"""The evolution gate (DESIGN 5): a release must accept the profiles that an earlier release accepts."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.things.profile import Values
from app.domain.values.name import ReleaseName, numeric
from app.domain.values.value import Value, same
from app.domain.verdict.problem import Problem


class Mode(StrEnum):
    """What the gate requires of a release.

    `backward`: it accepts every published profile that the previous release accepts for a model. `full`: the previous
    release also accepts every one that the new release accepts. `none`: nothing.
    """

    NONE = "none"
    BACKWARD = "backward"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Evolution:
    """The mode of an implementation; transitive: compare with all earlier releases, not only the previous one."""

    mode: Mode = Mode.BACKWARD
    transitive: bool = False

    def is_looser_than(self, other: "Evolution") -> bool:
        """Return whether it lets pass what the other refuses: that needs an admin (DESIGN 5, "Evolution gate")."""
        strictness = list(Mode)
        if self.mode is Mode.NONE or other.mode is Mode.NONE:
            return self.mode is Mode.NONE and other.mode is not Mode.NONE
        is_looser_mode = strictness.index(self.mode) < strictness.index(other.mode)
        return is_looser_mode or (other.transitive and not self.transitive)


@dataclass(frozen=True, slots=True)
class Broken:
    """A profile that one release accepts for a model and another refuses, with the reasons."""

    profile: str
    model: str
    accepted_by: str
    refused_by: str
    problems: tuple[Problem, ...]


class EvolutionError(ValueError):
    """A release that does not pass the gate; broken: every profile and model that it breaks."""

    def __init__(self, release: str, broken: Sequence[Broken]) -> None:
        models = {entry.model for entry in broken}
        profiles = {entry.profile for entry in broken}
        pairs = "1 pair" if len(broken) == 1 else f"{len(broken):,} pairs"
        super().__init__(
            f"{release} and earlier releases accept different profiles: {pairs} of a profile and a device model would "
            f"break (profiles: {len(profiles)}, models: {len(models)}). Fix the release, or ask an admin to publish it "
            'with --override "<reason>" (HTTP: ?override=<reason>).'
        )
        self.broken = tuple(broken)


def earlier(version: str, others: Iterable[str], evolution: Evolution) -> list[str]:
    """Return the versions to compare a version with, highest first: all lower ones if transitive, else the highest."""
    if evolution.mode is Mode.NONE:
        return []
    lower = sorted((other for other in others if numeric(other) < numeric(version)), key=numeric, reverse=True)
    return lower if evolution.transitive else lower[:1]


def previous(version: str, others: Iterable[str]) -> str | None:
    """Return the version before one: the highest lower one, whatever the mode; None if none is lower."""
    return next(iter(earlier(version, others, Evolution())), None)


def made_otherwise(
    values: Values, off: Mapping[str, Value], before: Values, after: Values
) -> Mapping[str, tuple[Value | None, Value | None]]:
    """Return the variables of which a release makes something else of a profile than the previous one.

    values: of the profile, for one model. before, after: what the two releases say that they make of it.
    """
    differing = {}
    for name in sorted(before.keys() | after.keys()):
        one, other = ({**off, **values, **own}.get(name) for own in (before, after))
        if not same(one, other):
            differing[name] = (one, other)
    return differing


def differing(new: Mapping[str, str], before: Iterable[Mapping[str, str]]) -> set[str]:
    """Return the models of which a release and an earlier one have different sets; model → digest of its set."""
    return {model for old in before for model in old.keys() | new.keys() if old.get(model) != new.get(model)}


def not_overridden(
    broken: Iterable[Broken], new_models: Container[str], overridden: Container[tuple[str, str, str]]
) -> list[Broken]:
    """Return what a release breaks, without what an earlier override of it has let pass.

    new_models: those that the release gains, of which no override has judged anything. overridden: profile, model and
    the release that refuses.
    """
    return [
        entry
        for entry in broken
        if entry.model in new_models or (entry.profile, entry.model, entry.refused_by) not in overridden
    ]


Refusals = Callable[[ReleaseName, str, str], Sequence[Problem]]


def broken(
    new: ReleaseName,
    before: Sequence[ReleaseName],
    entries: Mapping[str, Mapping[str, str]],
    evolution: Evolution,
    refusals: Refusals,
) -> Iterator[Broken]:
    """Iterate over the profile entries that break the gate between a new release and earlier ones.

    entries: per published profile, model → digest of its values. refusals: why a release does not accept an entry.
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
