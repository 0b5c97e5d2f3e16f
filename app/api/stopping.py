"""Ending the process: what follows the feed ends at once, other requests have a time of grace, none is cut silently."""

import logging
import os
import signal
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType

from anyio import CancelScope, sleep

# After the time of grace, what is left of it has this long to end.
_LAST_SECONDS = 2


class _Running:
    """Enters the scope of a request. A class, because every request enters one, and a generator takes twice as long."""

    def __init__(self, running: set[CancelScope]) -> None:
        self._all = running
        self._scope = CancelScope()

    def __enter__(self) -> CancelScope:
        scope = self._scope.__enter__()
        self._all.add(scope)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._all.discard(self._scope)
        return self._scope.__exit__(kind, error, traceback)


class Stopping:
    """Whether the process is about to end, and the requests that run."""

    def __init__(self) -> None:
        self.has_begun = False
        self._running: set[CancelScope] = set()

    def running(self) -> "_Running":
        """Count a request as running; its scope is cancelled when the time of grace is over."""
        return _Running(self._running)

    async def hold(self, seconds: float) -> None:
        """Wait, unless the process is about to end."""
        if not self.has_begun:
            await sleep(seconds)

    def end(self) -> None:
        """Cancel the requests that still run."""
        for scope in list(self._running):
            scope.cancel()

    def listen(self, loop: AbstractEventLoop, drain_seconds: float, grace_seconds: float) -> None:
        """Begin to stop at SIGTERM and SIGINT, before the server does: it refuses connections after drain_seconds."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            shut_down = signal.getsignal(number)
            if not callable(shut_down):
                continue
            signal.signal(number, partial(self._begin, loop, drain_seconds, grace_seconds, shut_down))

    def _begin(
        self,
        loop: AbstractEventLoop,
        drain_seconds: float,
        grace_seconds: float,
        shut_down: Callable[[int, FrameType | None], object],
        number: int,
        frame: FrameType | None,
    ) -> None:
        # Who sends a second signal does not want to wait.
        is_second, self.has_begun = self.has_begun, True
        delay = 0 if is_second else drain_seconds
        loop.call_soon_threadsafe(loop.call_later, delay + grace_seconds, self.end)
        loop.call_soon_threadsafe(loop.call_later, delay, shut_down, number, frame)
        last = threading.Timer(delay + grace_seconds + _LAST_SECONDS, _exit)
        last.daemon = True
        last.start()


def _exit() -> None:
    """End the process: a thread that waits for the database cannot be cancelled. Its transaction is rolled back."""
    logging.getLogger("registry").warning("stopped while requests still waited for the database")
    os._exit(0)
