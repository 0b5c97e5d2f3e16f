"""Kinds of hosts (DESIGN 6): hosts that state the same are answered alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.values.canonical import canonical_json
from app.domain.verdict.destination import Destination, Unit

Kind = tuple[object, ...]


class Kinds:
    """Tells which hosts are of one kind; equal objects are looked at once."""

    def __init__(self) -> None:
        # Keyed by ids; the objects are held too, so that no id is reused. Hosts that state the same share objects.
        self._texts: dict[int, tuple[str, object]] = {}
        self._kinds: dict[int, tuple[Kind, Destination]] = {}

    def of(self, destination: Destination) -> Kind:
        """Return what is equal for hosts that state the same releases, restrictions, resolutions and units.

        The ids of units, and how many devices they have room for, decide nothing.
        """
        if destination.is_plain:
            return destination.releases
        known = self._kinds.get(id(destination))
        if known is None:
            places: list[Destination | Unit] = [destination, *destination.units]
            kind = tuple((place.releases, self.text(place.restrict), self.text(place.resolves)) for place in places)
            known = self._kinds[id(destination)] = (kind, destination)
        return known[0]

    def text(self, stated: object) -> str:
        """Return a text that is equal for equal restrictions or resolutions; empty for none."""
        if not stated:
            return ""
        known = self._texts.get(id(stated))
        if known is None:
            known = self._texts[id(stated)] = (canonical_json(stated), stated)
        return known[0]


@dataclass(frozen=True, slots=True)
class KindsOf:
    """The kinds of some destinations. first: of each kind the first one. numbers: of each destination its kind in that.

    A destination that is not known is a kind of its own.
    """

    destinations: Sequence[Destination]
    first: Sequence[Destination]
    numbers: Sequence[int]

    @classmethod
    def of(cls, destinations: Sequence[Destination], kinds: Kinds) -> "KindsOf":
        """Return the kinds of destinations."""
        first: list[Destination] = []
        known: dict[Kind, int] = {}
        numbers = []
        for destination in destinations:
            # No release is named None, so that this is no kind of hosts.
            kind = (None, destination.id) if destination.problem else kinds.of(destination)
            if kind not in known:
                known[kind] = len(first)
                first.append(destination)
            numbers.append(known[kind])
        return cls(destinations, first, numbers)

    def groups(self) -> Sequence[Sequence[Destination]]:
        """Return the destinations of each kind."""
        groups: list[list[Destination]] = [[] for _ in self.first]
        for destination, number in zip(self.destinations, self.numbers, strict=True):
            groups[number].append(destination)
        return groups
