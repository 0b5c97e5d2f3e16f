"""The destinations of a question by kind: each kind is judged once, however many hosts are of it (DESIGN 6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import NamedTuple

from app.domain.engine.kind import Kinds, KindsOf
from app.domain.fleet.kind import digest_of
from app.domain.verdict.destination import Destination, Unit

EXAMPLES = 5


class Named(NamedTuple):
    """A destination by name. order: the position in the question of what it belongs to, then what orders those."""

    order: tuple[int, str]
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """Destinations of one kind.

    first: stands for all of them. digest: of the kind; None where nothing is known of the destination. count: how many
    they are. stale: how many of them are hosts that have not reported for a long time. examples, stale_examples: the
    first five of each. explicit: those that the question names one by one.
    """

    first: Destination
    digest: str | None
    count: int
    examples: Sequence[Named]
    stale: int = 0
    stale_examples: Sequence[Named] = ()
    explicit: Sequence[Named] = ()

    def with_more(self, other: "Group") -> "Group":
        """Return the group with destinations of the same kind that are not in it yet."""
        return replace(
            self,
            count=self.count + other.count,
            examples=nsmallest(EXAMPLES, [*self.examples, *other.examples]),
            stale=self.stale + other.stale,
            stale_examples=nsmallest(EXAMPLES, [*self.stale_examples, *other.stale_examples]),
            explicit=[*self.explicit, *other.explicit],
        )


def groups_of(destinations: Iterable[tuple[int, Destination]]) -> Sequence[Group]:
    """Return the groups of destinations that a question names one by one, each with its position."""
    positions, named = [], []
    for position, destination in destinations:
        positions.append(position)
        named.append(destination)
    kinds = KindsOf.of(named, Kinds())
    members: list[list[Named]] = [[] for _ in kinds.first]
    stale: list[list[Named]] = [[] for _ in kinds.first]
    for position, destination, number in zip(positions, named, kinds.numbers, strict=True):
        entry = Named((position, ""), destination.id)
        members[number].append(entry)
        if destination.is_stale:
            stale[number].append(entry)
    return [
        Group(
            first,
            None if first.problem else digest_of(first),
            len(of_kind),
            of_kind[:EXAMPLES],
            len(stale_of_kind),
            stale_of_kind[:EXAMPLES],
            of_kind,
        )
        for first, of_kind, stale_of_kind in zip(kinds.first, members, stale, strict=True)
    ]


def merged(groups: Iterable[Group]) -> Sequence[Group]:
    """Return groups of which no two are of one kind, in the order of their first destinations."""
    kinds: dict[str, Group] = {}
    alone = []
    for group in groups:
        if group.digest is None:
            alone.append(group)
        elif group.digest in kinds:
            kinds[group.digest] = kinds[group.digest].with_more(group)
        else:
            kinds[group.digest] = group
    return sorted([*alone, *kinds.values()], key=lambda group: group.examples[0])


@dataclass(slots=True)
class Listing:
    """The destinations of a question one by one, in the order asked.

    first: of each kind the one that stands for it. numbers: of each destination its kind in that. units: by position,
    the units of those that have some. stale: the positions of hosts that have not reported for a long time.
    """

    first: list[Destination] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    units: dict[int, Sequence[Unit]] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, destinations: Sequence[Destination]) -> "Listing":
        """Return destinations that are named one by one."""
        kinds = KindsOf.of(destinations, Kinds())
        return cls(
            list(kinds.first),
            [destination.id for destination in destinations],
            list(kinds.numbers),
            {position: destination.units for position, destination in enumerate(destinations) if destination.units},
            {position for position, destination in enumerate(destinations) if destination.is_stale},
        )

    def add(self, destination: Destination, number: int | None = None) -> int:
        """Add a destination; number: of its kind, None: it is the first of its kind. Return the number."""
        if number is None:
            number = len(self.first)
            self.first.append(destination)
        position = len(self.ids)
        self.ids.append(destination.id)
        self.numbers.append(number)
        if destination.units:
            self.units[position] = destination.units
        if destination.is_stale:
            self.stale.add(position)
        return number
