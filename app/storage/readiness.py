"""Readiness: whether the database can be read, and whether it can be written."""

import shutil
import time
from pathlib import Path
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from app.storage import database, lookup, version
from app.storage.failure import Cause, Failure, FailureError, failure_of

# A check of a whole SQLite file can take seconds.
_CHECK_SECONDS = 30
_ROOM_BYTES = 1024 * 1024
# Rows of 64 bytes.
_FILL = sa.text("CREATE TEMPORARY TABLE room ON COMMIT DROP AS SELECT md5(n::text) FROM generate_series(1, :rows) AS n")
_READ_ONLY = sa.text("SELECT current_setting('transaction_read_only') = 'on'")
_STARTED = sa.text("SELECT pg_postmaster_start_time()::text")


def check(engine: sa.Engine) -> Failure | None:
    """Return why a database that can be read cannot be written, None if it can be.

    Raises the error of the driver, or FailureError, if it cannot be read.
    """
    known = database.condition(engine)
    with database.snapshot(engine, quickly=True) as connection:
        version.check(connection)
        if known.is_corrupt:
            known.is_corrupt = not _is_repaired(engine, connection)
        if known.is_corrupt:
            raise FailureError(Cause.CORRUPT, report="a corrupt page was read before")
        if _is_read_only(connection):
            return FailureError(Cause.READ_ONLY, report="transactions are read-only").failure
        if known.is_full:
            known.is_full = not _has_room(connection)
        return FailureError(Cause.FULL, report="the last write failed").failure if known.is_full else None


def _is_read_only(connection: sa.Connection) -> bool:
    if connection.dialect.name == "postgresql":
        return bool(connection.execute(_READ_ONLY).scalar_one())
    return not database.is_writable(Path(connection.engine.url.database or ""))


def _has_room(connection: sa.Connection) -> bool:
    """Return whether there is room again; without this nobody would notice where nobody is sent any requests."""
    if connection.dialect.name == "sqlite":
        return shutil.disk_usage(Path(connection.engine.url.database or "").parent).free >= _ROOM_BYTES
    try:
        # A commit needs less than a publication. Nothing is left of this.
        connection.execute(_FILL, {"rows": _ROOM_BYTES // 64})
    except sa.exc.DBAPIError as error:
        failure = failure_of(error)
        if failure is None:
            raise
        return False
    return True


# When a corrupt database was last checked, and by which server.
_checked: WeakKeyDictionary[sa.Engine, tuple[float, str]] = WeakKeyDictionary()


def _is_repaired(engine: sa.Engine, connection: sa.Connection) -> bool:
    """Return whether a database that was found corrupt is whole again.

    PostgreSQL cannot say so at a bearable cost; whoever repairs or replaces it restarts the server, or fails over.
    """
    at, server = _checked.get(engine, (float("-inf"), ""))
    if connection.dialect.name == "postgresql":
        started = str(connection.execute(_STARTED).scalar_one())
        _checked[engine] = (time.monotonic(), started)
        return server not in {"", started}
    if time.monotonic() - at < _CHECK_SECONDS:
        return False
    _checked[engine] = (time.monotonic(), "")
    return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() == "ok" and lookup.is_unaltered(connection)
