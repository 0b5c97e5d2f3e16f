"""Large bodies of clients without a token, while they arrive: together they hold only so much memory."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anyio import CancelScope

from app.api.client import Client
from app.api.errors import busy

_MAX_BYTES = 64 * 1024 * 1024


class _Body:
    """A body that arrives."""

    __slots__ = ("client", "scope", "size")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.size = 0
        self.scope = CancelScope()


class Arriving:
    """The bodies that arrive in one worker process; used on its event loop."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bodies: list[_Body] = []

    @contextmanager
    def body(self, client: Client) -> Iterator[Callable[[int], None]]:
        """Yield what counts bytes of a body as they arrive.

        Where all bodies together become too large, the largest one of the client with the most bytes is given up: its
        request gets a 503.
        """
        body = _Body(client)
        self._bodies.append(body)

        def count(size: int) -> None:
            body.size += size
            if sum(other.size for other in self._bodies) > self._max_bytes:
                self._give_up_one()

        try:
            with body.scope:
                yield count
        finally:
            if body in self._bodies:
                self._bodies.remove(body)
        if body.scope.cancelled_caught:
            message = "Many large bodies arrive; try again."
            raise busy(message, "bodies")

    def _give_up_one(self) -> None:
        sizes = Counter[Client]()
        for body in self._bodies:
            sizes[body.client] += body.size
        largest = max(self._bodies, key=lambda body: (sizes[body.client], body.size))
        self._bodies.remove(largest)
        largest.scope.cancel()
