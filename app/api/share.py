"""Fair shares: how many requests a client can send in a minute, and how much it can have going at a time.

A client is the token that it sends or, without a valid one, its address. Counts are kept by each worker process.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http import HTTPStatus
from math import ceil
from typing import NamedTuple

from cachetools import LRUCache

from app.api.arriving import Arriving
from app.api.client import Client
from app.api.error_code import ErrorCode
from app.api.errors import ApiError, busy
from app.api.turn import Turns
from app.settings import Settings

# A page that waits for its turn to ask holds a thread, so only some can wait. A body that waits holds memory.
_PLACES = 12
_PLACES_WITH_TOKEN = 24
_PLACES_OF_BODIES = 24
# Short questions and pages of clients without a token. A page holds one of the threads that publications need, too.
_SHORT_AT_ONCE = 2
_PAGES_AT_ONCE = 48
_PAGES_PER_CLIENT = 12
_PLACES_OF_MANY = 500
# Turns to read from the database that are kept for clients with a token.
_KEPT_READS = 2
_MAX_FOLLOWING = 1_000
_RETRY_SECONDS = 1
# Reading so many bytes takes as long as a request that does nothing.
_BYTES_OF_A_REQUEST = 8 * 1024
_MINUTE_SECONDS = 60
# The clients of which the use is remembered; the others have used nothing.
_MAX_CLIENTS = 100_000


class Use(NamedTuple):
    """What a client has used of its limit. remaining: requests that it can send now. seconds: until it has all again.

    wait: the seconds until it can send another request.
    """

    limit: int
    remaining: int
    seconds: int
    wait: int

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that say so (IETF draft-ietf-httpapi-ratelimit-headers-10)."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w={_MINUTE_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={self.seconds}',
        }


class Rate:
    """Limits requests to a number in a minute: a whole minute's at once, then evenly spread (GCRA, the leaky bucket).

    The library `limits` visits all clients at each request, which those who have many addresses could use.
    """

    def __init__(self, limit: int) -> None:
        """limit: requests in a minute; 0: any number."""
        self._limit = limit
        self._interval = _MINUTE_SECONDS / limit if limit else 0.0
        # Until when the requests so far count, by client; on the monotonic clock.
        self._used_until: LRUCache[str, float] = LRUCache(_MAX_CLIENTS)

    def use(self, key: str) -> Use | None:
        """Count a request, unless the client has none left; None where the number is not limited."""
        if not self._limit:
            return None
        now = time.monotonic()
        used = self._used_until.get(key, now) - now
        wait = self._wait(used)
        if not wait:
            used = max(0, used) + self._interval
            self._used_until[key] = now + used
        return Use(self._limit, max(0, int((_MINUTE_SECONDS - used) / self._interval)), ceil(used), wait)

    def charge(self, key: str, count: int) -> None:
        """Count further requests, also beyond what the client has left; below zero: take back so many."""
        if self._limit and count:
            now = time.monotonic()
            self._used_until[key] = max(now, self._used_until.get(key, now)) + self._interval * count

    def wait(self, key: str) -> int:
        """Return the seconds until a client can send a request, 0 if it can now."""
        now = time.monotonic()
        return self._wait(self._used_until.get(key, now) - now) if self._limit else 0

    def _wait(self, used: float) -> int:
        return max(0, ceil(used + self._interval - _MINUTE_SECONDS))


class Shares:
    """The shares of all clients of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._of_addresses = Rate(settings.requests_per_minute)
        self._of_tokens = Rate(settings.token_requests_per_minute)
        self._of_wrong_tokens = Rate(settings.wrong_tokens_per_minute)
        # Clients' long questions, those that wait for their turn included.
        self._asking = Counter[str]()
        self._questions = Turns(
            "long questions", "questions", settings.questions_at_once, _PLACES, _PLACES_WITH_TOKEN, kept=1
        )
        self._short_questions = Turns("questions", "questions", _SHORT_AT_ONCE, _PLACES_OF_MANY, None)
        self._pages = Turns("pages", "pages", _PAGES_AT_ONCE, _PLACES_OF_MANY, None)
        self._bodies = Turns("large bodies", "bodies", 1, _PLACES_OF_BODIES, None)
        self._making_pages = Counter[str]()
        self._arriving = Arriving()
        self._reads = Turns(
            "reads", "reads", settings.database_pool_size, _PLACES_OF_MANY, _PLACES_OF_MANY, kept=_KEPT_READS
        )
        self._following = Counter[str]()

    def use(self, client: Client) -> Use | None:
        """Count a request; None where the number is not limited."""
        return self._rate(client).use(client.key)

    def charge(self, client: Client, requests: int) -> None:
        """Count what a request took as further requests, so that the next ones come later."""
        self._rate(client).charge(client.key, requests)

    def _rate(self, client: Client) -> Rate:
        return self._of_tokens if client.has_token else self._of_addresses

    def check_tokens(self, client: Client) -> None:
        """Raise 429 for a client that has sent too many wrong tokens: it could be guessing."""
        wait = self._of_wrong_tokens.wait(client.key)
        if wait:
            message = f"This address has sent too many wrong tokens; it can send another one in {wait} seconds."
            raise too_many(message, wait, "wrong-tokens")

    def note_wrong_token(self, client: Client) -> None:
        """Count a wrong token."""
        self._of_wrong_tokens.use(client.key)

    def note_right_token(self, client: Client) -> None:
        """Take back that a token was counted as wrong."""
        self._of_wrong_tokens.charge(client.key, -1)

    @asynccontextmanager
    async def turn_to_ask(self, client: Client) -> AsyncIterator[None]:
        """Wait for a turn to answer a long question; raises 429 beyond the client's share, 503 if many wait."""
        limit = self._settings.token_questions_per_client if client.has_token else self._settings.questions_per_client
        with _counted(self._asking, client.key, limit, "questions"):
            async with self._questions.turn(client):
                yield

    def turn_to_ask_shortly(self, client: Client) -> AbstractAsyncContextManager[None]:
        """Return a context that waits for a turn to answer a short question; raises 503 if many wait."""
        return self._short_questions.turn(client)

    @asynccontextmanager
    async def turn_of_page(self, client: Client) -> AsyncIterator[None]:
        """Wait for a turn to make a page; raises 429 beyond the client's share, 503 if many wait."""
        if client.has_token:
            yield
            return
        with _counted(self._making_pages, client.key, _PAGES_PER_CLIENT, "pages"):
            async with self._pages.turn(client):
                yield

    @contextmanager
    def receiving(self, client: Client) -> Iterator[Callable[[int], None]]:
        """Yield what counts the bytes of a large body as they arrive, and so as further requests.

        Raises 503 if many bodies arrive, or wait to be read: it is then not received.
        """
        if client.has_token:
            yield lambda _: None
            return
        self._bodies.check(client)
        size = 0

        def count(more: int) -> None:
            nonlocal size
            size += more
            count_arriving(more)

        try:
            with self._arriving.body(client) as count_arriving:
                yield count
        finally:
            self.charge(client, size // _BYTES_OF_A_REQUEST)

    def turn_to_parse(self, client: Client, *, goes_on: bool) -> AbstractAsyncContextManager[None]:
        """Return a context that waits for a turn to parse a large body; raises 503 if many wait.

        What is parsed takes thirty times the memory of the body, and parsing it stops everything else for a moment: the
        bodies of clients without a token are parsed one by one. goes_on: it is parsed, and is now read as its shape.
        """
        return self._bodies.turn(client, goes_on=goes_on)

    def turn_to_read(self, client: Client) -> AbstractAsyncContextManager[None]:
        """Return a context that waits for a turn to read from the database; raises 503 if many wait."""
        return self._reads.turn(client)

    @contextmanager
    def following(self, client: Client) -> Iterator[None]:
        """Count a request that follows the feed; raises 429 beyond the client's share, 503 beyond that of all."""
        if self._following.total() >= _MAX_FOLLOWING:
            message = "Very many clients follow the feed; try again."
            raise busy(message, "streams")
        with _counted(self._following, client.key, self._settings.streams_per_client, "streams"):
            yield

    @property
    def questions(self) -> Mapping[str, int]:
        """The number of long questions, by state."""
        return {"running": self._questions.running, "waiting": self._questions.waiting}

    @property
    def streams(self) -> int:
        """The number of requests that follow the feed."""
        return self._following.total()


_WORDS = {
    "questions": "long questions",
    "streams": "requests that wait for changes",
    "pages": "pages",
}


@contextmanager
def _counted(counts: Counter[str], key: str, limit: int, reason: str) -> Iterator[None]:
    if counts[key] >= limit:
        message = f"You have {limit} {_WORDS[reason]} at a time, which is the limit; wait for one of them."
        raise too_many(message, _RETRY_SECONDS, reason)
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]


def too_many(message: str, seconds: int, reason: str) -> ApiError:
    """Return the 429 error; seconds: when the client can try again."""
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS, ErrorCode.TOO_MANY_REQUESTS, message, {"Retry-After": str(seconds)}, reason
    )
