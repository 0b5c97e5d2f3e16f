"""The databases: the primary, which is written, and a replica, which serves reads while it is up to date."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import sqlalchemy as sa

from app.storage import change, database
from app.storage.database import Position
from app.storage.failure import Cause, FailureError, failure_of

# After a replica is lost, do not try it again for this time.
_LOST_SECONDS = 5.0


class ReplicaLostError(FailureError):
    """The replica failed during a read; ask again, and the primary answers."""

    def __init__(self) -> None:
        super().__init__(Cause.UNREACHABLE, report="the replica failed during a read")


class Databases:
    """Where the registry is read. A replica that lags behind is not used, so it makes no answer older."""

    def __init__(self, primary: sa.Engine, replica: sa.Engine | None = None) -> None:
        self.primary = primary
        self._replica = replica
        self._lost_until = float("-inf")
        self._lock = Lock()
        self._position: Position | None = None
        self._began = self._noted = float("-inf")
        self._outdated = 0

    def note(self, position: Position, began: float) -> None:
        """Note the last change of the primary; the replica serves reads once it has it.

        began: when the look began, by the monotonic clock; one that began before the last one noted says nothing new.
        """
        with self._lock:
            if began >= self._began:
                self._position, self._began = position, began
                self._noted = time.monotonic()

    def outdate(self) -> None:
        """Look for the last change before the next read; called after this process has made one."""
        with self._lock:
            self._outdated += 1
            self._noted = float("-inf")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the registry, at most one second old. Raises ReplicaLostError."""
        with ExitStack() as stack:
            connection = self._replica_connection(stack)
            if connection is None:
                yield stack.enter_context(database.reading(self.primary))
                return
            try:
                yield connection
            except (sa.exc.SQLAlchemyError, FailureError) as error:
                if failure_of(error) is None:
                    raise
                self._lose_replica()
                raise ReplicaLostError from error

    def _replica_connection(self, stack: ExitStack) -> sa.Connection | None:
        """Return a connection to the replica, None if it lags behind or is lost."""
        if self._replica is None or time.monotonic() < self._lost_until:
            return None
        self._look()
        with ExitStack() as attempt:
            try:
                connection = attempt.enter_context(database.reading(self._replica))
                is_same = self._has_same_history(connection)
            except sa.exc.TimeoutError:
                return None  # busy
            except (sa.exc.SQLAlchemyError, FailureError):
                self._lose_replica()
                return None
            if not is_same:
                return None
            stack.push(attempt.pop_all())
        return connection

    def _look(self) -> None:
        """Look for the last change, unless it was noted a moment ago."""
        with self._lock:
            is_fresh, outdated = time.monotonic() - self._noted <= database.FRESH_SECONDS, self._outdated
        if not is_fresh:
            began = time.monotonic()
            with database.reading(self.primary) as connection:
                self.note(change.position(connection), began)
            if self._outdated != outdated:
                # This process has made a change in the meantime, so look again before the next read.
                self._noted = float("-inf")

    def _has_same_history(self, connection: sa.Connection) -> bool:
        """Return whether a replica has what the primary has, and nothing else.

        Links are compared, not numbers: its URL can be that of another registry by mistake, and after the primary was
        set back, the replica can still have the history that was lost.
        """
        of_primary, of_replica = self._position, change.position(connection)
        if of_primary is None or of_replica == of_primary:
            return of_primary is not None
        if of_replica.seq <= of_primary.seq:
            return False
        # It has more than was noted a moment ago: changes since, or those that were lost.
        began = time.monotonic()
        with database.reading(self.primary) as primary:
            self.note(change.position(primary), began)
            return change.has(primary, of_replica) and change.has(connection, of_primary)

    def _lose_replica(self) -> None:
        self._lost_until = time.monotonic() + _LOST_SECONDS

    def pools(self) -> Iterator[tuple[str, sa.QueuePool]]:
        """Iterate over the pools of connections, by the name of their database."""
        for name, engine in (("primary", self.primary), ("replica", self._replica)):
            if engine is not None and isinstance(engine.pool, sa.QueuePool):
                yield name, engine.pool

    def dispose(self) -> None:
        """Close all connections."""
        for engine in (self.primary, self._replica):
            if engine is not None:
                engine.dispose()
