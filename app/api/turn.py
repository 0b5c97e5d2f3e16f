"""Turns: only some requests go on at a time, and the clients that wait take turns, however many requests they send."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio import Event, move_on_after
from cachetools import LRUCache

from app.api.client import Client
from app.api.errors import ApiError, busy

_PATIENCE_SECONDS = 30
# The clients of which the last turn is remembered.
_MAX_CLIENTS = 10_000


class _Place:
    """A place in a queue. is_decided: it has a turn, or was given up for another client's."""

    __slots__ = ("goes_on", "has_turn", "is_decided")

    def __init__(self, *, goes_on: bool) -> None:
        self.is_decided = Event()
        self.has_turn = False
        self.goes_on = goes_on


class Turns:
    """The turns of one kind of long work, in one worker process; used on its event loop.

    Clients with and without a token wait in places of their own. Some turns are kept for those with a token.
    """

    def __init__(
        self, words: str, reason: str, at_once: int, places: int, places_with_token: int | None, kept: int = 0
    ) -> None:
        """words, reason: what waits, for its client and for the log. places: how many can wait for a turn.

        places_with_token: None: clients with a token need no turn. kept: the turns that are kept for them, if one is
        left for the others.
        """
        self._words = words
        self._reason = reason
        self._at_once = {True: at_once, False: max(1, at_once - kept)}
        self._places: Mapping[bool, int | None] = {True: places_with_token, False: places}
        self._running = Counter[bool]()
        self._queues: dict[Client, deque[_Place]] = {}
        # When clients had their last turns: who had none yet comes first, and gives up its place last.
        self._last_turns: LRUCache[Client, int] = LRUCache(_MAX_CLIENTS)
        self._count = 0

    @asynccontextmanager
    async def turn(self, client: Client, *, goes_on: bool = False) -> AsyncIterator[None]:
        """Wait for a turn; raises 503 if that takes long, or if so many wait that the client has the most places.

        goes_on: it had a turn already, and holds what that turn has made, so it comes before all others.
        """
        places = self._places[client.has_token]
        if places is None:
            yield
            return
        place = _Place(goes_on=goes_on)
        queue = self._queues.setdefault(client, deque())
        (queue.appendleft if goes_on else queue.append)(place)
        self._give_turns()
        if not place.has_turn and self._waiting(client) > places:
            self._give_up_a_place(client)
        try:
            with move_on_after(_PATIENCE_SECONDS):
                await place.is_decided.wait()
            if not place.has_turn:
                raise self._busy()
            yield
        finally:
            if place.has_turn:
                self._running[client.has_token] -= 1
                self._give_turns()
            else:
                self._leave(client, place)

    def check(self, client: Client) -> None:
        """Raise 503 if a request of a client would get neither a turn nor a place."""
        places = self._places[client.has_token]
        if places is None or self._waiting(client) < places:
            return
        if self._greed(client, 1) >= max(map(self._greed, self._queues_like(client))):
            raise self._busy()

    def _busy(self) -> ApiError:
        return busy(f"Many {self._words} wait for their turn; try again.", self._reason)

    @property
    def running(self) -> int:
        """The number of requests that have a turn."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a turn."""
        return sum(map(len, self._queues.values()))

    def _waiting(self, client: Client) -> int:
        """Return how many requests wait in the same places as those of a client."""
        return sum(map(len, self._queues_like(client).values()))

    def _queues_like(self, client: Client) -> Mapping[Client, Sequence[_Place]]:
        """Return the requests that wait in the same places as those of a client."""
        return {other: queue for other, queue in self._queues.items() if other.has_token is client.has_token}

    def _give_turns(self) -> None:
        """Give each free turn to the client that has waited longest since its last one, of those that can have it."""
        while client := min(self._entitled(), key=self._rank, default=None):
            place = self._queues[client][0]
            self._leave(client, place)
            place.has_turn = True
            place.is_decided.set()
            self._running[client.has_token] += 1
            self._count += 1
            self._last_turns[client] = self._count

    def _rank(self, client: Client) -> tuple[bool, int]:
        return not self._queues[client][0].goes_on, self._last_turn(client)

    def _greed(self, client: Client, more: int = 0) -> tuple[int, int]:
        """Return what decides who gives up a place; more: places that the client is about to take."""
        return len(self._queues.get(client, ())) + more, self._last_turn(client)

    def _last_turn(self, client: Client) -> int:
        return self._last_turns.get(client, 0)

    def _entitled(self) -> Iterator[Client]:
        for client in self._queues:
            running = self._running.total() if client.has_token else self._running[False]
            if self._running.total() < self._at_once[True] and running < self._at_once[client.has_token]:
                yield client

    def _give_up_a_place(self, newcomer: Client) -> None:
        """End the wait of the newest request of the client that has the most places or, of several, the latest turn."""
        greediest = max(self._queues_like(newcomer), key=lambda client: (*self._greed(client), client == newcomer))
        place = self._queues[greediest][-1]
        self._leave(greediest, place)
        place.is_decided.set()

    def _leave(self, client: Client, place: _Place) -> None:
        queue = self._queues.get(client, deque())
        if place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[client]
