"""Turns: only some requests go on at a time, and the clients that wait take turns, however many requests they send."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from anyio import Event, move_on_after

from app.api.client import Client
from app.api.errors import ApiError, busy

_PATIENCE_SECONDS = 30


class _Place:
    """A place in a queue. is_decided: it has a turn, or was given up for another client's."""

    __slots__ = ("has_turn", "is_decided")

    def __init__(self) -> None:
        self.is_decided = Event()
        self.has_turn = False


class Turns:
    """The turns of one kind of long work, in one worker process; used on its event loop.

    Clients with and without a token wait in places of their own, and one turn is left for those with a token.
    """

    def __init__(self, words: str, reason: str, at_once: int, places: int, places_with_token: int) -> None:
        """words, reason: what waits, for its client and for the log. places: how many can wait for a turn."""
        self._words = words
        self._reason = reason
        self._at_once = {True: at_once, False: max(1, at_once - 1)}
        self._places = {True: places_with_token, False: places}
        self._running = Counter[bool]()
        # The client that waits longest for its next turn comes first.
        self._queues: dict[Client, deque[_Place]] = {}

    @asynccontextmanager
    async def turn(self, client: Client) -> AsyncIterator[None]:
        """Wait for a turn; raises 503 if that takes long, or if so many wait that the client has the most places."""
        place = _Place()
        self._queues.setdefault(client, deque()).append(place)
        self._give_turns()
        if not place.has_turn and self._waiting(client) > self._places[client.has_token]:
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
        places = max((len(queue) for other, queue in self._alike(client) if other != client), default=0)
        is_full = self._waiting(client) >= self._places[client.has_token]
        if is_full and len(self._queues.get(client, ())) + 1 >= places:
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
        return sum(len(queue) for _, queue in self._alike(client))

    def _alike(self, client: Client) -> Iterator[tuple[Client, deque[_Place]]]:
        """Iterate over the clients that wait in the same places as a client, with their requests."""
        return ((other, queue) for other, queue in self._queues.items() if other.has_token is client.has_token)

    def _give_turns(self) -> None:
        """Give each free turn to the client that comes first and can have it."""
        while client := next(self._entitled(), None):
            queue = self._queues.pop(client)
            place = queue.popleft()
            place.has_turn = True
            place.is_decided.set()
            self._running[client.has_token] += 1
            if queue:
                self._queues[client] = queue

    def _entitled(self) -> Iterator[Client]:
        for client in self._queues:
            running = self._running.total() if client.has_token else self._running[False]
            if self._running.total() < self._at_once[True] and running < self._at_once[client.has_token]:
                yield client

    def _give_up_a_place(self, newcomer: Client) -> None:
        """End the wait of the newest request of the client that has the most places, of those like the newcomer."""
        greediest = max(dict(self._alike(newcomer)), key=lambda client: (len(self._queues[client]), client == newcomer))
        place = self._queues[greediest][-1]
        self._leave(greediest, place)
        place.is_decided.set()

    def _leave(self, client: Client, place: _Place) -> None:
        queue = self._queues.get(client, deque())
        if place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[client]
