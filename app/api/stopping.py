"""Ending the process: what follows the feed ends at once, other requests have a time of grace, none is cut silently."""

import signal
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from anyio import CancelScope


class Stopping:
    """Whether the process is about to end, and the requests that run."""

    def __init__(self) -> None:
        self.has_begun = False
        self._running: set[CancelScope] = set()

    @contextmanager
    def running(self) -> Iterator[CancelScope]:
        """Count a request as running; its scope is cancelled when the time of grace is over."""
        with CancelScope() as scope:
            self._running.add(scope)
            try:
                yield scope
            finally:
                self._running.discard(scope)

    def end(self) -> None:
        """Cancel the requests that still run."""
        for scope in list(self._running):
            scope.cancel()

    def listen(self, loop: AbstractEventLoop, drain_seconds: float, grace_seconds: float) -> None:
        """Begin to stop at SIGTERM and SIGINT, before the server does: it refuses connections after drain_seconds."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            serve_no_more = signal.getsignal(number)
            if not callable(serve_no_more):
                continue

            signal.signal(number, partial(self._begin, loop, drain_seconds, grace_seconds, serve_no_more))

    def _begin(
        self,
        loop: AbstractEventLoop,
        drain_seconds: float,
        grace_seconds: float,
        serve_no_more: Callable[[int, FrameType | None], object],
        number: int,
        frame: FrameType | None,
    ) -> None:
        # Who sends a second signal does not want to wait.
        is_second, self.has_begun = self.has_begun, True
        delay = 0 if is_second else drain_seconds
        loop.call_soon_threadsafe(loop.call_later, delay + grace_seconds, self.end)
        loop.call_soon_threadsafe(loop.call_later, delay, serve_no_more, number, frame)
