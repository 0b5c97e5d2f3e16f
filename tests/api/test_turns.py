"""Turns: clients that wait take turns, whoever of them sends the most requests."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

import pytest

from app.api import turn
from app.api.arriving import Arriving
from app.api.client import Client
from app.api.container import Container
from app.api.errors import ApiError
from app.api.turn import Turns
from app.settings import Settings

GREEDY, MODEST, SIGNED, OTHER = Client("greedy"), Client("modest"), Client("signed", True), Client("other", True)


class Work:
    """Work of clients that goes on until it is told to end; order: whose turns have come so far."""

    def __init__(self, at_once: int = 1, places: int = 9, places_with_token: int = 9) -> None:
        self.turns = Turns("questions", "questions", at_once, places, places_with_token, kept=1)
        self.order: list[str] = []
        self.refused: list[str] = []
        self.statuses: set[int] = set()
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *clients: Client) -> None:
        """Let requests of clients arrive, one after the other."""
        for client in clients:
            self.tasks.append(asyncio.create_task(self.work(client)))
            await settle()

    async def work(self, client: Client, *, goes_on: bool = False) -> None:
        """Send a request; it ends when it is told to."""
        try:
            async with self.turns.turn(client, goes_on=goes_on):
                self.order.append(client.key)
                end = asyncio.Event()
                self._ends.append(end)
                await end.wait()
        except ApiError as error:
            self.refused.append(client.key)
            self.statuses.add(error.status_code)

    async def end(self, count: int = 1) -> None:
        """End the work that began first."""
        for _ in range(count):
            self._ends.pop(0).set()
            await settle()

    async def end_all(self) -> None:
        """End all work, and check that every turn has come back."""
        while self._ends:
            await self.end()
        assert (self.turns.running, self.turns.waiting) == (0, 0)
        assert self.statuses <= {503}
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert {type(result) for result in ended} <= {type(None), asyncio.CancelledError}


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_client_that_sends_much_waits_for_one_that_sends_little() -> None:
    async def story() -> None:
        work = Work()
        await work.come(*[GREEDY] * 5, MODEST)
        await work.end_all()
        assert work.order == ["greedy", "modest", "greedy", "greedy", "greedy", "greedy"]

    run(story)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_only_so_many_go_on_at_a_time(at_once: int) -> None:
    async def story() -> None:
        work = Work(at_once)
        await work.come(*[SIGNED] * 6)
        assert (work.turns.running, work.turns.waiting) == (at_once, 6 - at_once)
        await work.end_all()
        assert len(work.order) == 6

    run(story)


def test_one_turn_is_left_for_clients_with_a_token() -> None:
    async def story() -> None:
        work = Work(at_once=2)
        await work.come(GREEDY, MODEST, SIGNED)
        assert work.order == ["greedy", "signed"]
        # Those with a token can use all turns.
        await work.end(2)
        assert work.order == ["greedy", "signed", "modest"]
        await work.come(OTHER, SIGNED)
        assert (work.turns.running, work.turns.waiting) == (2, 1)
        await work.end_all()

    run(story)


def test_where_many_wait_the_client_with_the_most_places_gives_one_up() -> None:
    async def story() -> None:
        work = Work(places=4)
        await work.come(*[GREEDY] * 5, MODEST)
        assert work.refused == ["greedy"]
        await work.come(MODEST)
        assert work.refused == ["greedy", "greedy"]
        # Now both have two: who comes is refused.
        await work.come(MODEST)
        assert work.refused == ["greedy", "greedy", "modest"]
        # Clients with a token wait in places of their own.
        await work.come(SIGNED)
        assert len(work.refused) == 3
        await work.end_all()

    run(story)


def test_who_had_a_turn_gives_up_its_place_to_who_had_none() -> None:
    """A question at a time, of more clients than there are places, must not keep another one out."""

    async def story() -> None:
        work, crowd = Work(places=4), [Client(str(number)) for number in range(5)]
        await work.come(*crowd)
        for _ in range(3):
            # Whoever's turn has ended comes again at once.
            await work.end()
            await work.come(Client(work.order[-2]))
        assert work.refused == []
        await work.come(MODEST)
        assert len(work.refused) == 1
        assert work.refused[0] in {client.key for client in crowd}
        await work.end(3)
        assert "modest" in work.order
        await work.end_all()

    run(story)


def test_what_has_had_a_turn_goes_on_before_all_others() -> None:
    async def story() -> None:
        work = Work()
        await work.come(GREEDY, MODEST)
        work.tasks.append(asyncio.create_task(work.work(GREEDY, goes_on=True)))
        await settle()
        await work.end_all()
        assert work.order == ["greedy", "greedy", "modest"]

    run(story)


def test_the_largest_body_of_the_greediest_client_is_given_up() -> None:
    async def receive(arriving: Arriving, client: Client, *sizes: int) -> bool:
        try:
            with arriving.body(client) as count:
                for size in sizes:
                    count(size)
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
        except ApiError as error:
            return error.reason != "bodies"
        return True

    async def story() -> None:
        arriving = Arriving(max_bytes=10)
        bodies = (receive(arriving, GREEDY, 3, 1), receive(arriving, GREEDY, 3), receive(arriving, MODEST, 4))
        assert list(await asyncio.gather(*bodies)) == [False, True, True]
        # A body that is too large alone is given up itself.
        assert await receive(arriving, MODEST, 11) is False
        assert await receive(arriving, MODEST, 10) is True

    run(story)


def test_only_clients_without_a_token_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    shared = Container.of(Settings(database_url="sqlite:///:memory:"))
    assert shared.give_way(SIGNED) is None
    give_way = shared.give_way(MODEST)
    assert give_way is not None
    give_way()
    with shared.urgency.urgent(is_urgent=False):
        give_way()
    assert pauses == []
    with shared.urgency.urgent():
        give_way()
    assert len(pauses) == 1


def test_who_would_get_no_place_is_told_before() -> None:
    async def story() -> None:
        work = Work(places=2)
        await work.come(GREEDY, GREEDY)
        work.turns.check(GREEDY)
        await work.come(GREEDY)
        with pytest.raises(ApiError):
            work.turns.check(GREEDY)
        work.turns.check(MODEST)
        await work.come(MODEST)
        assert work.refused == ["greedy"]
        await work.end_all()

    run(story)


def test_who_leaves_gives_back_the_place_or_the_turn() -> None:
    async def story() -> None:
        work = Work(places=2)
        await work.come(GREEDY, GREEDY, MODEST)
        for task in work.tasks[:2]:
            task.cancel()
        await settle()
        assert (work.turns.running, work.turns.waiting) == (1, 0)
        assert work.order == ["greedy", "modest"]
        await work.end_all()

    run(story)


def test_a_turn_that_comes_as_its_client_leaves_is_given_on() -> None:
    async def story() -> None:
        work = Work()
        await work.come(GREEDY, GREEDY, MODEST)
        work._ends[0].set()
        await asyncio.sleep(0)
        work.tasks[1].cancel()
        await settle()
        assert work.order[-1] == "modest"
        await work.end_all()

    run(story)


def test_nobody_waits_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE_SECONDS", 0.05)

    async def story() -> None:
        work = Work()
        await work.come(GREEDY, MODEST)
        await asyncio.sleep(0.1)
        assert work.refused == ["modest"]
        await work.end_all()

    run(story)


@pytest.mark.parametrize("clients", [[GREEDY] * 30, [GREEDY, MODEST] * 15, [GREEDY, SIGNED, MODEST, OTHER] * 9])
def test_whatever_happens_every_turn_comes_back(clients: Sequence[Client]) -> None:
    async def story() -> None:
        work = Work(at_once=2, places=5, places_with_token=5)
        for number, client in enumerate(clients):
            await work.come(client)
            if number % 3 == 0:
                work.tasks[number // 2].cancel()
            if number % 4 == 0:
                with suppress(IndexError):
                    await work.end()
        await work.end_all()

    run(story)
