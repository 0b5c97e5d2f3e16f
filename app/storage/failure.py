"""Failures of the database: why it cannot do its work, decided in one place from what the drivers raise."""

import errno
import os
import sqlite3
from dataclasses import dataclass
from enum import StrEnum

import psycopg
import sqlalchemy as sa


class Cause(StrEnum):
    """Why the database cannot do its work now."""

    UNREACHABLE = "unreachable"
    STARTING = "starting"
    REFUSED = "refused"
    READ_ONLY = "read-only"
    FULL = "full"
    DISK = "disk"
    MEMORY = "memory"
    CORRUPT = "corrupt"
    LOCKED = "locked"
    SLOW = "slow"
    CONNECTIONS = "connections"
    BUSY = "busy"
    DESCRIPTORS = "descriptors"
    SCHEMA = "schema"


WORDS = {
    Cause.UNREACHABLE: "The database cannot be reached; try again.",
    Cause.STARTING: "The database is restarting, or has ended the connection; try again.",
    Cause.REFUSED: "The database refuses the user of this service, or what it asks for.",
    Cause.READ_ONLY: "The database is read-only: questions are answered, but nothing can be published.",
    Cause.FULL: "The disk of the database is full: nothing can be published until there is room.",
    Cause.DISK: "The database cannot read or write its disk.",
    Cause.MEMORY: "The database has run out of memory; try again.",
    Cause.CORRUPT: "The database is corrupt: it has to be repaired or restored from a backup.",
    Cause.LOCKED: "Another transaction holds a lock of the database; try again.",
    Cause.SLOW: "The database took longer than its time limit; try again.",
    Cause.CONNECTIONS: "The database accepts no more connections; try again.",
    Cause.BUSY: "All connections of this service to the database are in use; try again.",
    Cause.DESCRIPTORS: "This service has no file descriptors left; try again.",
    Cause.SCHEMA: "The schema of the database does not fit this version: run profile-registry migrate.",
}
# Of these, nothing is known of the database while they last.
AWAY = frozenset({Cause.UNREACHABLE, Cause.STARTING, Cause.CONNECTIONS})
# These last until an operator acts: retrying every two seconds does not help.
_LASTING = frozenset({Cause.REFUSED, Cause.READ_ONLY, Cause.FULL, Cause.DISK, Cause.CORRUPT, Cause.SCHEMA})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure: words: for whoever sent the request. report: what the driver said, on one line, for the log."""

    cause: Cause
    words: str
    report: str

    @property
    def is_lasting(self) -> bool:
        """Whether it usually lasts until an operator acts."""
        return self.cause in _LASTING


class FailureError(Exception):
    """A failure that no driver raises: no turn to write in time, a schema that does not fit, altered content."""

    def __init__(self, cause: Cause, words: str | None = None, report: str = "") -> None:
        super().__init__(words or WORDS[cause])
        self.failure = Failure(cause, words or WORDS[cause], report or words or WORDS[cause])


def failure_of(error: BaseException) -> Failure | None:
    """Return the failure of the database that an error reports; None: the error is one of this program."""
    if isinstance(error, FailureError):
        return error.failure
    cause = _cause_of(error)
    if cause is None:
        return None
    if cause is Cause.UNREACHABLE and not _can_open_files():
        cause = Cause.DESCRIPTORS
    original = getattr(error, "orig", None) or error
    report = " ".join(str(original).split()) or type(original).__name__
    for code in (getattr(original, "sqlstate", None), getattr(original, "sqlite_errorname", None)):
        report += f" ({code})" if code else ""
    return Failure(cause, WORDS[cause], report)


def _cause_of(error: BaseException) -> Cause | None:
    """Return the cause of an error of SQLAlchemy or of a driver."""
    cause: Cause | None = None
    match error:
        case sa.exc.TimeoutError():
            cause = Cause.BUSY
        case sa.exc.DBAPIError():
            cause = None if error.orig is None else _cause_of(error.orig)
            if cause is None and error.connection_invalidated:
                cause = Cause.UNREACHABLE
        case sa.exc.PendingRollbackError() | sa.exc.DisconnectionError():
            # The connection was lost earlier in the same transaction.
            cause = Cause.UNREACHABLE
        case sqlite3.Error():
            cause = _cause_in_sqlite(error)
        case psycopg.Error():
            cause = _cause_in_postgresql(error)
        case OSError():
            cause = _OF_ERRNO.get(error.errno or 0)
    return cause


_OF_ERRNO = {errno.EMFILE: Cause.DESCRIPTORS, errno.ENFILE: Cause.DESCRIPTORS}

# Result codes of SQLite: https://sqlite.org/rescode.html. A code's low byte is its primary code.
_OF_SQLITE_EXTENDED = {
    sqlite3.SQLITE_READONLY_DBMOVED: Cause.UNREACHABLE,
    sqlite3.SQLITE_IOERR_CORRUPTFS: Cause.CORRUPT,
    sqlite3.SQLITE_IOERR_DATA: Cause.CORRUPT,
    # The index of the log (-shm) could not be made larger.
    sqlite3.SQLITE_IOERR_SHMSIZE: Cause.FULL,
    sqlite3.SQLITE_IOERR_NOMEM: Cause.MEMORY,
}
_OF_SQLITE = {
    sqlite3.SQLITE_PERM: Cause.REFUSED,
    sqlite3.SQLITE_AUTH: Cause.REFUSED,
    sqlite3.SQLITE_BUSY: Cause.LOCKED,
    sqlite3.SQLITE_LOCKED: Cause.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Cause.LOCKED,
    sqlite3.SQLITE_NOMEM: Cause.MEMORY,
    sqlite3.SQLITE_READONLY: Cause.READ_ONLY,
    sqlite3.SQLITE_INTERRUPT: Cause.SLOW,
    sqlite3.SQLITE_IOERR: Cause.DISK,
    sqlite3.SQLITE_CORRUPT: Cause.CORRUPT,
    sqlite3.SQLITE_NOTADB: Cause.CORRUPT,
    sqlite3.SQLITE_FULL: Cause.FULL,
    sqlite3.SQLITE_CANTOPEN: Cause.UNREACHABLE,
    sqlite3.SQLITE_SCHEMA: Cause.SCHEMA,
}


def _cause_in_sqlite(error: sqlite3.Error) -> Cause | None:
    code = getattr(error, "sqlite_errorcode", None)
    message = str(error)
    if code is None:
        # Python's own: text that is not UTF-8; and the file that app.storage.database does not create anew.
        if message.startswith("Could not decode to UTF-8"):
            return Cause.CORRUPT
        return Cause.UNREACHABLE if isinstance(error, sqlite3.OperationalError) else None
    cause = _OF_SQLITE_EXTENDED.get(code) or _OF_SQLITE.get(code & 0xFF)
    if cause is None and message.startswith(("no such table", "no such column")):
        return Cause.SCHEMA
    if cause is None and message.startswith("malformed database schema"):
        return Cause.CORRUPT
    return cause


def _can_open_files() -> bool:
    """Return whether this process has a file descriptor left: not every driver says why it cannot open a file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


# SQLSTATEs of PostgreSQL, and below their classes: https://www.postgresql.org/docs/current/errcodes-appendix.html.
_OF_SQLSTATE = {
    "25006": Cause.READ_ONLY,  # read_only_sql_transaction
    "25P03": Cause.SLOW,  # idle_in_transaction_session_timeout
    "25P04": Cause.SLOW,  # transaction_timeout
    "3D000": Cause.UNREACHABLE,  # the database does not exist: it is being restored, or the URL is wrong
    "3F000": Cause.SCHEMA,  # invalid_schema_name
    "42501": Cause.REFUSED,  # insufficient_privilege
    "42703": Cause.SCHEMA,  # undefined_column
    "42P01": Cause.SCHEMA,  # undefined_table
    "53100": Cause.FULL,  # disk_full
    "53200": Cause.MEMORY,  # out_of_memory
    "53300": Cause.CONNECTIONS,  # too_many_connections
    "55P03": Cause.LOCKED,  # lock_not_available: lock_timeout
    "57014": Cause.SLOW,  # query_canceled: statement_timeout
    "57P04": Cause.UNREACHABLE,  # database_dropped
    "57P05": Cause.UNREACHABLE,  # idle_session_timeout
    "58P01": Cause.CORRUPT,  # undefined_file: the file of a table
    "XX001": Cause.CORRUPT,  # data_corrupted
    "XX002": Cause.CORRUPT,  # index_corrupted
}
_OF_SQLSTATE_CLASS = {
    "08": Cause.UNREACHABLE,  # connection exception
    "28": Cause.REFUSED,  # invalid authorization
    "40": Cause.LOCKED,  # transaction rollback: deadlock, conflict with recovery
    "53": Cause.MEMORY,  # insufficient resources
    "57": Cause.STARTING,  # operator intervention: shutdown, crash, "cannot connect now"
    "58": Cause.DISK,  # system error, external to PostgreSQL
    "XX": Cause.CORRUPT,  # internal error: what is read makes no sense to it
}
# libpq gives no SQLSTATE for a connection that is refused. These are PostgreSQL's words; where they are translated, the
# cause is "unreachable", and the log has the words.
_OF_REFUSALS = {
    "too many clients already": Cause.CONNECTIONS,
    "too many connections": Cause.CONNECTIONS,
    "connection slots are reserved": Cause.CONNECTIONS,
    "No space left on device": Cause.FULL,
    "could not write init file": Cause.FULL,
    "the database system is": Cause.STARTING,
    "is not permitted to log in": Cause.REFUSED,
    "authentication failed": Cause.REFUSED,
    "no pg_hba.conf entry": Cause.REFUSED,
    "no password supplied": Cause.REFUSED,
    "permission denied": Cause.REFUSED,
    'role "': Cause.REFUSED,
}


def _cause_in_postgresql(error: psycopg.Error) -> Cause | None:
    if error.sqlstate is not None:
        return _OF_SQLSTATE.get(error.sqlstate) or _OF_SQLSTATE_CLASS.get(error.sqlstate[:2])
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    message = str(error)
    return next((cause for words, cause in _OF_REFUSALS.items() if words in message), Cause.UNREACHABLE)
