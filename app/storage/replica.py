"""The databases: the one that is written, and a replica of it that takes reads where it has come far enough."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import sqlalchemy as sa

from app.storage import change, database

# A replica that is lost is not tried again for so long.
_LOST_SECONDS = 5.0


class ReplicaLostError(Exception):
    """The replica was lost while it was read: the same may be asked again, of the database that is written."""


class Databases:
    """Where the registry is read. No answer is older for a replica: one that lags behind is left out."""

    def __init__(self, primary: sa.Engine, replica: sa.Engine | None = None) -> None:
        self.primary = primary
        self._replica = replica
        self._lost_until = float("-inf")
        self._lock = Lock()
        self._seq = 0
        self._noted = float("-inf")
        self._outdated = 0
        self._is_same_registry = False

    def note(self, seq: int) -> None:
        """Take note of the last change: a replica takes reads once it has it."""
        with self._lock:
            self._seq = max(self._seq, seq)
            self._noted = time.monotonic()

    def outdate(self) -> None:
        """Look for the last change before the next read: this process has made one."""
        with self._lock:
            self._outdated += 1
            self._noted = float("-inf")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the registry, at most a second old; raises ReplicaLostError."""
        with ExitStack() as stack:
            connection = self._of_replica(stack)
            if connection is None:
                yield stack.enter_context(database.reading(self.primary))
                return
            try:
                yield connection
            except sa.exc.OperationalError as error:
                self._lose_replica()
                raise ReplicaLostError from error

    def _of_replica(self, stack: ExitStack) -> sa.Connection | None:
        """Return a connection to the replica, None if it lags behind or is lost."""
        if self._replica is None or time.monotonic() < self._lost_until:
            return None
        self._look()
        with ExitStack() as trying:
            try:
                connection = trying.enter_context(database.reading(self._replica))
                is_behind = change.head(connection) < self._seq or not self._is_ours(connection)
            except sa.exc.TimeoutError:
                return None  # busy
            except sa.exc.SQLAlchemyError:
                self._lose_replica()
                return None
            if is_behind:
                return None
            stack.push(trying.pop_all())
        return connection

    def _look(self) -> None:
        """Look for the last change, unless that was done just now."""
        with self._lock:
            is_fresh, outdated = time.monotonic() - self._noted <= database.FRESH_SECONDS, self._outdated
        if not is_fresh:
            with database.reading(self.primary) as connection:
                self.note(change.head(connection))
            if self._outdated != outdated:
                # This process has made a change meanwhile.
                self._noted = float("-inf")

    def _is_ours(self, connection: sa.Connection) -> bool:
        """Return whether a replica is one of this registry: the URL may be of another one."""
        if not self._is_same_registry:
            with database.reading(self.primary) as primary:
                self._is_same_registry = change.registry_id(primary) == change.registry_id(connection)
        return self._is_same_registry

    def _lose_replica(self) -> None:
        self._lost_until = time.monotonic() + _LOST_SECONDS

    def dispose(self) -> None:
        """Close all connections."""
        for engine in (self.primary, self._replica):
            if engine is not None:
                engine.dispose()
