"""The databases: the one that is written, and a replica of it that takes reads where it has come far enough."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa

from app.storage import change, database

# A replica that is lost is not tried again for so long.
_LOST_SECONDS = 5.0
# So old may be what is known of the last change.
_FRESH_SECONDS = 0.5


class Databases:
    """Where the registry is read. No answer is older for a replica: one that lags behind is left out."""

    def __init__(self, primary: sa.Engine, replica: sa.Engine | None = None) -> None:
        self.primary = primary
        self._replica = replica
        self._lost_until = float("-inf")
        self._seq = 0
        self._noted = float("-inf")

    def note(self, seq: int) -> None:
        """Take note of the last change: a replica takes reads once it has it."""
        self._seq = seq
        self._noted = time.monotonic()

    def outdate(self) -> None:
        """Look for the last change before the next read: this process has made one."""
        self._noted = float("-inf")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the registry, at most a second old."""
        with ExitStack() as stack:
            connection = self._of_replica(stack) if self.has_replica else None
            if connection is None:
                connection = stack.enter_context(database.reading(self.primary))
            yield connection

    @property
    def has_replica(self) -> bool:
        """Return whether there is a replica that is not known to be lost."""
        return self._replica is not None and time.monotonic() >= self._lost_until

    def _of_replica(self, stack: ExitStack) -> sa.Connection | None:
        """Return a connection to the replica, None if it lags behind or is lost."""
        if self._replica is None:
            return None
        if time.monotonic() - self._noted > _FRESH_SECONDS:
            with database.reading(self.primary) as connection:
                self.note(change.head(connection))
        with ExitStack() as trying:
            try:
                connection = trying.enter_context(database.reading(self._replica))
                is_behind = change.head(connection) < self._seq
            except sa.exc.SQLAlchemyError:
                self.lose_replica()
                return None
            if is_behind:
                return None
            stack.push(trying.pop_all())
        return connection

    def lose_replica(self) -> bool:
        """Leave the replica out for a while; return whether it was in use, so that asking again may help."""
        was_in_use = self.has_replica
        self._lost_until = time.monotonic() + _LOST_SECONDS
        return was_in_use

    def dispose(self) -> None:
        """Close all connections."""
        for engine in (self.primary, self._replica):
            if engine is not None:
                engine.dispose()
