"""The plan of a drain: which host each VM moves to, and in which order, so that as many as possible find a place.

Units state how many more devices they have room for. That decides no verdict (DESIGN 5, Units): it is a hint, and a
unit that states nothing does not limit the plan.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import NamedTuple, TypeAlias

# The search ends after this many steps. A step looks at the places of one VM, or copies a part of a matching.
MAX_STEPS = 300_000
# How many entries of a matching are copied in the time of one step.
_COPIED_PER_STEP = 250

# What one device needs: a place in any of these units, by their positions at the hosts of a kind.
Need: TypeAlias = frozenset[int]
Needs: TypeAlias = tuple[Need, ...]


class Room(NamedTuple):
    """A host of a kind. available: how many more devices each unit has room for, None where that is not stated."""

    host: str
    kind: str
    available: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Leaver:
    """A VM that has to leave. name: unique. kinds: by each kind of hosts that takes it, what it needs of their units.

    No needs: the whole host serves all its devices. host_count: how many hosts take it.
    """

    name: str
    kinds: Mapping[str, Needs]
    host_count: int


@dataclass(frozen=True, slots=True)
class Move:
    """Where a VM moves when its turn comes.

    host: None: any host of these kinds, because it takes no place of a unit there. units: the positions of the units
    with a stated room that it takes a place of. is_unstated: it also needs units whose room the host does not state.
    others: the hosts that it could take instead, each without a place that the plan gives to another VM.
    """

    vm: str
    kinds: Sequence[str]
    host: str | None = None
    units: Sequence[int] = ()
    is_unstated: bool = False
    others: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The order in which VMs leave. placeless: those whose hosts have no place left. stuck: those that no host takes.

    is_best: no other plan moves more VMs; False: the search ended at its bound, so another one could.
    """

    moves: Sequence[Move]
    placeless: Sequence[str]
    stuck: Sequence[str]
    is_best: bool


def by_scarcity(host_count: int, kind_count: int, name: str) -> tuple[int, int, str]:
    """Return the key that sorts VMs for people: those with the fewest possible hosts first."""
    return host_count, kind_count, name


def ranges(positions: Sequence[int]) -> str:
    """Return the ascending positions of kinds, from 0, as numbers for people: `1-4, 7`."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][-1] == position:
            runs[-1].append(position + 1)
        else:
            runs.append([position + 1])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def plan(leavers: Sequence[Leaver], rooms: Iterable[Room]) -> Plan:
    """Return where each VM moves, those with the least choice first; no plan within the stated room moves more.

    rooms: the hosts of the kinds at which VMs need places. Of VMs with equal choice, the first ones are preferred.
    """
    options = _Options(rooms)
    stays = [_Choice(leaver, options.of(leaver)) for leaver in leavers if leaver.kinds]
    stays.sort(key=_Choice.scarcity)
    limited = [choice for choice in stays if choice.is_limited]
    placed, is_best = _Search(limited).most()
    hosts = _Hosts()
    for choice in limited:
        if choice.name in placed:
            hosts.take(choice.name, placed[choice.name])
    for choice in stays:
        # These leave in any case; a place that is stated is surer than one that is not.
        if not choice.is_limited and not choice.kinds_without_needs:
            hosts.take_first(choice.name, choice.options)
    return Plan(
        [hosts.move(choice) for choice in stays if choice.name in placed or not choice.is_limited],
        [choice.name for choice in limited if choice.name not in placed],
        [leaver.name for leaver in leavers if not leaver.kinds],
        is_best,
    )


def has_room(needs: Needs, room: Room) -> bool:
    """Return whether a host has room for what a VM needs, if nothing else moves there."""
    option = _option(needs, room)
    return _copies(option.needs, room.available, 1) > 0


class _Option(NamedTuple):
    """A host with room for a VM, if nothing else moves there. needs: those that only units with stated room meet."""

    room: Room
    needs: Needs
    is_unstated: bool


class _Options:
    """The hosts that have room for VMs; equal VMs share them."""

    def __init__(self, rooms: Iterable[Room]) -> None:
        self._rooms: dict[str, list[Room]] = {}
        for room in rooms:
            self._rooms.setdefault(room.kind, []).append(room)
        self._known: dict[frozenset[tuple[str, Needs]], Sequence[_Option]] = {}

    def of(self, leaver: Leaver) -> Sequence[_Option]:
        """Return the hosts at which a VM needs places, and that have room for it."""
        key = frozenset((kind, needs) for kind, needs in leaver.kinds.items() if needs)
        if key not in self._known:
            options = (_option(needs, room) for kind, needs in sorted(key) for room in self._rooms.get(kind, ()))
            self._known[key] = [option for option in options if _copies(option.needs, option.room.available, 1)]
        return self._known[key]


def _option(needs: Needs, room: Room) -> _Option:
    left = (need for need in needs if all(room.available[unit] is not None for unit in need))
    ordered = tuple(sorted(left, key=sorted))
    return _Option(room, ordered, len(ordered) < len(needs))


def _copies(needs: Needs, available: Sequence[int | None], limit: int) -> int:
    """Return how many VMs with the same needs have room at a host, at most limit.

    They have, if each collection of needs has room in its units together (Hall's theorem).
    """
    counts = Counter(needs)
    for size in range(1, len(counts) + 1):
        for together in combinations(counts, size):
            units = frozenset[int]().union(*together)
            limit = min(limit, sum(available[unit] or 0 for unit in units) // sum(counts[need] for need in together))
    return limit


@dataclass(frozen=True, slots=True)
class _Choice:
    """A VM, and the hosts that have room for it."""

    leaver: Leaver
    options: Sequence[_Option]

    @property
    def name(self) -> str:
        return self.leaver.name

    @property
    def kinds_without_needs(self) -> Sequence[str]:
        return [kind for kind, needs in self.leaver.kinds.items() if not needs]

    @property
    def is_limited(self) -> bool:
        """Whether it needs a place whose number is stated, wherever it moves."""
        return not self.kinds_without_needs and all(option.needs for option in self.options)

    def scarcity(self) -> tuple[bool, bool, int, int]:
        """Return the key that sorts VMs by their choice, the least first."""
        is_free = bool(self.kinds_without_needs)
        return is_free, not self.is_limited, 0 if is_free else len(self.options), self.leaver.host_count


# A place of a unit, by host and position; position None: for one whole VM at a host.
_Place: TypeAlias = tuple[str, int | None]
# What takes a place: a VM for one of its needs; 0 also for all of them together.
_Taker: TypeAlias = tuple[str, int]
_Wishes: TypeAlias = dict[_Taker, tuple[_Place, ...]]


def _wishes(name: str, option: _Option) -> _Wishes:
    """Return what a VM takes at a host, each with the units that will do."""
    return {
        (name, number): tuple((option.room.host, unit) for unit in sorted(need))
        for number, need in enumerate(option.needs)
    }


@dataclass(slots=True)
class _Effort:
    """How many steps were taken, in all copies of a matching."""

    steps: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether the search ends."""
        return self.steps >= MAX_STEPS


@dataclass(slots=True)
class _Matching:
    """Gives places to takers. Whoever has a place keeps one, but is moved where that helps (augmenting paths).

    room: how many more takers each place has room for. wishes: the places that will do for each taker. closed: the
    places from which no path leads to a free one, nor ever will.
    """

    room: dict[_Place, int]
    effort: _Effort = field(default_factory=_Effort)
    wishes: _Wishes = field(default_factory=dict)
    given: dict[_Taker, _Place] = field(default_factory=dict)
    takers: dict[_Place, AbstractSet[_Taker]] = field(default_factory=dict)
    closed: AbstractSet[_Place] = frozenset()

    @property
    def size(self) -> int:
        """How many entries a copy has."""
        return len(self.room) + len(self.wishes) + len(self.given) + len(self.takers)

    def copy(self) -> "_Matching":
        """Return an independent copy."""
        return replace(
            self, room=dict(self.room), wishes=dict(self.wishes), given=dict(self.given), takers=dict(self.takers)
        )

    def add(self, taker: _Taker, places: tuple[_Place, ...]) -> bool:
        """Give a taker one of some places, and move others if that is needed; return whether it has one."""
        self.wishes[taker] = places
        reached: dict[_Place, _Taker] = {}
        waiting = deque([taker])
        while waiting:
            current = waiting.popleft()
            self.effort.steps += 1
            new = [place for place in self.wishes[current] if place not in reached and place not in self.closed]
            reached.update(dict.fromkeys(new, current))
            # The one with the most room, to spread VMs over hosts.
            free = max(new, key=self.room.__getitem__, default=None)
            if free is not None and self.room[free]:
                self._give(free, taker, reached)
                return True
            waiting.extend(other for place in new for other in sorted(self.takers.get(place, ())))
        self.closed |= reached.keys()
        del self.wishes[taker]
        return False

    def add_all(self, wishes: _Wishes) -> bool:
        """Add takers; return whether all have a place. If not, the matching cannot be used any more."""
        return all(self.add(taker, places) for taker, places in wishes.items())

    def _give(self, place: _Place, first: _Taker, reached: Mapping[_Place, _Taker]) -> None:
        """Give a free place to the taker from which it was reached, that one's place to the one before, and so on."""
        self.room[place] -= 1
        while True:
            taker = reached[place]
            left = self.given.get(taker)
            self.given[taker] = place
            self.takers[place] = self.takers.get(place, frozenset()) | {taker}
            if taker == first or left is None:
                return
            self.takers[left] = self.takers[left] - {taker}
            place = left


def _count(matching: _Matching) -> int:
    """Return how many VMs have their places."""
    return len({name for name, _ in matching.given})


class _Node(NamedTuple):
    """A step of the search. looked_at: how many of the VMs that need several places; placed: how many of these are."""

    matching: _Matching
    looked_at: int
    placed: int


class _Search:
    """Finds the hosts with which most VMs move, among VMs that need places whose number is stated.

    A VM that needs one place takes any that will do: matching finds the most of these. Where all VMs need the same of a
    host, it has room for a number of whole VMs, so that each needs one place, too. The other VMs need several places of
    one host: those are tried at one host after the other.
    """

    def __init__(self, choices: Sequence[_Choice]) -> None:
        self._total = len(choices)
        self._options = {choice.name: choice.options for choice in choices}
        distinct = {id(choice.options): choice.options for choice in choices}.values()
        demands: dict[str, set[Needs]] = {}
        for options in distinct:
            for option in options:
                demands.setdefault(option.room.host, set()).add(option.needs)
        self._even = {host for host, needs in demands.items() if len(needs) == 1}
        self._room: dict[_Place, int] = {}
        for option in (option for options in distinct for option in options):
            host, available = option.room.host, option.room.available
            if host in self._even:
                self._room[host, None] = _copies(option.needs, available, self._total)
            else:
                self._room.update({(host, unit): places or 0 for unit, places in enumerate(available)})
        places = {id(options): self._places(options) for options in distinct}
        self._single = {
            name: some for name, options in self._options.items() if (some := places[id(options)]) is not None
        }
        self._several = [name for name in self._options if name not in self._single]

    def most(self) -> tuple[Mapping[str, _Option], bool]:
        """Return the hosts of those VMs that move, and whether it is certain that no more can."""
        empty = _Matching(self._room)
        effort = empty.effort
        best = self._completed(empty)
        most_single = _count(best)
        best = self._with_several(best)
        best_count = _count(best)
        bound = self._bound()
        # Depth first, those that need several places before the others; each iterator has what becomes of one VM.
        waiting = [iter([_Node(empty, 0, 0)])]
        while waiting and best_count < bound and not effort.is_spent:
            node = next(waiting[-1], None)
            if node is None:
                waiting.pop()
                continue
            if node.placed + len(self._several) - node.looked_at + most_single <= best_count:
                continue
            if node.looked_at < len(self._several):
                waiting.append(self._tried(node))
                continue
            matching = self._completed(node.matching)
            if (count := _count(matching)) > best_count:
                best, best_count = matching, count
        hosts = {name: host for (name, _), (host, _) in best.given.items()}
        placed = {
            name: next(option for option in self._options[name] if option.room.host == host)
            for name, host in hosts.items()
        }
        return placed, best_count == bound or not (waiting or effort.is_spent)

    def _bound(self) -> int:
        """Return how many VMs move at most: as many as would if each of them needed only one of its places."""
        most = self._total
        longest = max((len(option.needs) for name in self._several for option in self._options[name]), default=0)
        for number in range(longest):
            matching = self._completed(_Matching(self._room))
            for name in self._several:
                wishes = (list(self._wishes(name, option).values()) for option in self._options[name])
                matching.add(
                    (name, 0), tuple(place for places in wishes for place in places[min(number, len(places) - 1)])
                )
            most = min(most, _count(matching))
        return most

    def _with_several(self, matching: _Matching) -> _Matching:
        """Add VMs that need several places where these are left."""
        for name in self._several:
            for option in self._options[name]:
                further = matching.copy()
                if further.add_all(self._wishes(name, option)):
                    matching = further
                    break
                if matching.effort.is_spent:
                    return matching
        return matching

    def _places(self, options: Sequence[_Option]) -> tuple[_Place, ...] | None:
        """Return the places of which a VM needs one, wherever they are; None if it needs several of some host."""
        places: list[_Place] = []
        for option in options:
            wishes = list(self._wishes("", option).values())
            if len(wishes) > 1:
                return None
            places += wishes[0]
        return tuple(places)

    def _wishes(self, name: str, option: _Option) -> _Wishes:
        return {(name, 0): ((option.room.host, None),)} if option.room.host in self._even else _wishes(name, option)

    def _completed(self, matching: _Matching) -> _Matching:
        """Return a matching with as many as possible of the VMs that need one place."""
        matching = matching.copy()
        for name, places in self._single.items():
            matching.add((name, 0), places)
        return matching

    def _tried(self, node: _Node) -> Iterator[_Node]:
        """Iterate over what becomes of the next VM: it moves to one host or the other, or finds no place."""
        name = self._several[node.looked_at]
        there: dict[str, list[tuple[int | None, ...]]] = {}
        for wished in node.matching.wishes.values():
            there.setdefault(wished[0][0], []).append(tuple(unit for _, unit in wished))
        tried: set[tuple[object, ...]] = set()
        for option in self._options[name]:
            if node.matching.effort.is_spent:
                return
            room = option.room
            # Hosts of a kind with the same room, to which VMs with the same needs move, are interchangeable.
            key = (room.kind, room.available, tuple(sorted(there.get(room.host, ()), key=str)))
            if key in tried:
                continue
            tried.add(key)
            matching = node.matching.copy()
            matching.effort.steps += 1 + matching.size // _COPIED_PER_STEP
            if matching.add_all(self._wishes(name, option)):
                yield _Node(matching, node.looked_at + 1, node.placed + 1)
        yield _Node(node.matching, node.looked_at + 1, node.placed)


class _Hosts:
    """The hosts with the VMs that move there, and the units of which these take places."""

    def __init__(self) -> None:
        self._taken: dict[str, _Matching] = {}
        self._chosen: dict[str, _Option] = {}
        self._spare: dict[int, tuple[Sequence[_Option], Sequence[str]]] = {}

    def take(self, name: str, option: _Option) -> bool:
        """Move a VM to a host, if there is room left."""
        matching = self._at(option.room).copy()
        if not matching.add_all(_wishes(name, option)):
            return False
        self._taken[option.room.host] = matching
        self._chosen[name] = option
        return True

    def take_first(self, name: str, options: Sequence[_Option]) -> None:
        """Move a VM to the first host with room left, those that state their room first."""
        any(self.take(name, option) for option in sorted(options, key=lambda option: option.is_unstated))

    def move(self, choice: _Choice) -> Move:
        """Return where a VM moves, once all VMs have their places."""
        option = self._chosen.get(choice.name)
        if option is None:
            return Move(choice.name, choice.kinds_without_needs)
        room, given = option.room, self._at(option.room).given
        units = [unit for number in range(len(option.needs)) if (unit := given[choice.name, number][1]) is not None]
        others = [host for host in self._with_room(choice.options) if host != room.host]
        return Move(choice.name, [room.kind], room.host, units, option.is_unstated, others)

    def _at(self, room: Room) -> _Matching:
        if room.host not in self._taken:
            free: dict[_Place, int] = {(room.host, unit): places or 0 for unit, places in enumerate(room.available)}
            self._taken[room.host] = _Matching(free)
        return self._taken[room.host]

    def _with_room(self, options: Sequence[_Option]) -> Sequence[str]:
        """Return the hosts that have room for another VM; equal VMs share the answer."""
        if id(options) not in self._spare:
            # Places that are given stay where they are.
            hosts = sorted(
                option.room.host
                for option in options
                if _Matching(dict(self._at(option.room).room)).add_all(_wishes("", option))
            )
            self._spare[id(options)] = options, hosts
        return self._spare[id(options)][1]
