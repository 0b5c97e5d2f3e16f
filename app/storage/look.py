"""Looks at a database: one at a time, and whoever waits for one waits a bounded time."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from app.storage.failure import Cause, FailureError

# A database that answers later counts as away.
PATIENCE_SECONDS = 2.0

Result = TypeVar("Result")


class Look(Generic[Result]):
    """Looks at a database in a thread of its own, because one that hangs answers neither yes nor no.

    While a look goes on, no other one begins: of many requests that meet a database that hangs, one thread waits.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._lock = Lock()
        self._running: Future[Result] = Future()
        self._running.cancel()
        self._began = float("-inf")

    @property
    def is_running(self) -> bool:
        """Whether a look goes on."""
        return not self._running.done()

    def begin(self) -> Future[Result]:
        """Begin a look, unless one goes on; return it."""
        with self._lock:
            if self._running.done():
                self._running, self._began = Future(), time.monotonic()
                Thread(target=self._run, args=(self._running,), daemon=True).start()
            return self._running

    def wait(self) -> Result:
        """Return what a look sees; raises what it raises, and FailureError PATIENCE_SECONDS after it began."""
        running = self.begin()
        try:
            return running.result(timeout=max(0.0, self._began + PATIENCE_SECONDS - time.monotonic()))
        except TimeoutError as error:
            if running.done():
                raise
            report = f"no answer within {PATIENCE_SECONDS:.0f} s"
            raise FailureError(Cause.UNREACHABLE, report=report) from error

    def _run(self, running: Future[Result]) -> None:
        try:
            running.set_result(self._work())
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            running.set_exception(error)
