"""Closed directions: for how many device models a release lets no device move, or only some, to and from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.engine.question import TakesLongerError
from app.domain.fleet.difference import Difference, Direction, Extent
from app.service import diff
from app.storage.reader import Reader

# What a comparison of one model usually takes of a request's budget, in steps (measured with whole QEMUs).
_STEPS_OF_A_MODEL = 900
_BYTES = 500


@dataclass(frozen=True, slots=True)
class Closure:
    """The device models that differ between two releases, and of how many of them a direction is closed, by extent."""

    differing: int
    models: Mapping[Direction, Mapping[Extent, int]] = field(default_factory=dict)

    def count(self, direction: str, extent: str) -> int:
        """Return for how many models a direction is closed to this extent."""
        return self.models.get(Direction(direction), {}).get(Extent(extent), 0)


def between(before: str, after: str, reader: Reader, most: int | None = None) -> Closure | int:
    """Return what is closed between two releases; the number of models that differ if they are too many to compare.

    most: how many models can be compared now, None: any number. What was found before is remembered, and needs no
    comparison. Raises UnknownNameError.
    """
    known = reader.remembered("closure", before, after)
    if isinstance(known, Closure):
        return known
    names = diff.differing(before, after, None, reader)
    if most is not None and len(names) > most:
        return len(names)
    if not reader.can_wait:
        raise TakesLongerError(len(names) * _STEPS_OF_A_MODEL)
    compared = _closure(names, diff.differences(names, before, after, reader))
    reader.remember(("closure", before, after), compared, _BYTES)
    return compared


def _closure(names: Sequence[str], differences: Mapping[str, Sequence[Difference]]) -> Closure:
    counts: dict[Direction, dict[Extent, int]] = {direction: {} for direction in Direction}
    for of_model in differences.values():
        closed = [entry for difference in of_model for entry in (difference.closes or {}).items()]
        for direction in Direction:
            if extents := {extent for closed_direction, extent in closed if closed_direction is direction}:
                extent = Extent.ALWAYS if Extent.ALWAYS in extents else Extent.IN_PART
                counts[direction][extent] = counts[direction].get(extent, 0) + 1
    return Closure(len(names), counts)
