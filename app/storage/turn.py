"""The turn to write: the writers of one process, one at a time; those that wait can share a transaction.

Publications are few, but pipelines send many at once. BEGIN and COMMIT take a third of the time of a small publication.
"""

import time
from collections import deque
from contextlib import ExitStack
from threading import Event, Lock

import sqlalchemy as sa

from app.storage.failure import Cause, failure_of

# At most this many writers share a transaction, and it is handed on for no longer than this. The first one still waits
# for the work of the last one.
_MOST_SHARING = 16
_SHARING_SECONDS = 0.05
# After these failures of one writer the transaction goes on for the others.
_OF_ONE = frozenset({Cause.LOCKED, Cause.SLOW})


class Shared:
    """An open transaction that several writers share: either what all of them wrote is committed, or nothing.

    So the answer to each is true, also to one that is refused because of what another one wrote: all wait for the end.
    """

    def __init__(self, connection: sa.Connection, opened: ExitStack) -> None:
        """opened: what commits the transaction when it is left, and rolls it back after an error."""
        self.connection = connection
        self.size = 1
        self._opened = opened
        self._began = time.monotonic()
        self._ended = Event()
        self._error: BaseException | None = None

    @property
    def has_others(self) -> bool:
        """Whether others have written before the last writer."""
        return self.size > 1

    @property
    def has_room(self) -> bool:
        """Whether one more writer can share it."""
        is_young = time.monotonic() - self._began < _SHARING_SECONDS
        return is_young and self.size < _MOST_SHARING and self._error is None

    def begin_part(self) -> None:
        """Begin the part of a further writer; raises why that failed, and rolls back, because nothing can be added."""
        try:
            self.connection.exec_driver_sql("SAVEPOINT part")
        except Exception as error:  # noqa: BLE001 (each of the writers raises it)
            self.end(error)

    def undo_part(self, error: BaseException) -> None:
        """Undo what the last writer wrote since its part began; error: why."""
        failure = failure_of(error)
        if failure is not None and failure.cause not in _OF_ONE:
            self._error = error
            return
        try:
            self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT part")
        except Exception as failed:  # noqa: BLE001 (each of the writers raises it)
            # Then the database has undone more than this part.
            self._error = failed if failure is None else error

    def end(self, error: BaseException | None = None) -> None:
        """Commit it; raises why that failed, as `wait` does for the others. error: why it is rolled back."""
        self._error = error or self._error
        try:
            if self._error is None:
                self._opened.close()
            else:
                self._opened.__exit__(type(self._error), self._error, self._error.__traceback__)
        except BaseException as failure:
            self._error = failure
            raise
        finally:
            self._ended.set()
        self._raise()

    def wait(self) -> None:
        """Wait until it is committed; raises the error that rolled it back."""
        self._ended.wait()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class _Waiting:
    """A writer that waits for its turn.

    can_share: whether it takes an open transaction of the writer before. shared: that transaction.
    """

    def __init__(self, *, can_share: bool) -> None:
        self.can_share = can_share
        self.shared: Shared | None = None
        self.has_turn = Event()


class Turn:
    """Held by one writer at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_taken = False
        self._waiting: deque[_Waiting] = deque()

    def take(self, seconds: float | None, *, can_share: bool) -> Shared | None:
        """Wait for the turn; return the transaction of the writers before, if it is handed on to this one.

        seconds: None: without end. Raises TimeoutError.
        """
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return None
            writer = _Waiting(can_share=can_share)
            self._waiting.append(writer)
        if not writer.has_turn.wait(seconds):
            with self._lock:
                # It can have been its turn just now.
                if not writer.has_turn.is_set():
                    self._waiting.remove(writer)
                    raise TimeoutError
        return writer.shared

    def release(self) -> None:
        """Give the turn to the next writer."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().has_turn.set()
            else:
                self._is_taken = False

    def hand_on(self, shared: Shared) -> bool:
        """Give the turn and an open transaction to the next writer, if there is one that can share it."""
        with self._lock:
            if not self._waiting or not self._waiting[0].can_share or not shared.has_room:
                return False
            writer = self._waiting.popleft()
            shared.size += 1
            writer.shared = shared
            writer.has_turn.set()
            return True
