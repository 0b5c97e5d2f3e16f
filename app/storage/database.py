"""The database: its engine, the reading and writing transactions, and the migrations."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from alembic import command
from psycopg import sql
from psycopg.abc import PQGen

from app.storage import schema, version
from app.storage.failure import Cause, FailureError, failure_of

Result = TypeVar("Result")

# An arbitrary number; every publication takes the lock under this one.
_PUBLICATION_LOCK = 0x70726F66
_COPIED_FROM = 100
# Notice a server that disappears without closing its connections. In seconds, tcp_user_timeout in milliseconds (libpq).
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
# A connection from the pool answers this soon, or it is replaced.
_PING_SECONDS = 2.0
# PostgreSQL ends a statement at its limit by itself. One that hangs does not, so this much later nobody waits for it.
_MARGIN_SECONDS = 5.0
# Looks at the database, and at tokens, do not wait longer for one answer.
QUICK_SECONDS = 10.0
# While a migration waits for a lock of a table, everybody else waits behind it.
_MIGRATION_LOCK_SECONDS = 10
# A migration tries this long before it says what it waits for.
_QUIET_SECONDS = 1
# Readers look at the version of the schema again after this time; writers always do.
_VERSION_SECONDS = 1.0
POOL_SIZE = 10
# What this process keeps is checked again after this time, so that no answer is older than one second (DESIGN 8).
FRESH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the database can keep a request waiting, in seconds.

    lock: for a lock, and for the turn to write. statement: for one statement, locks apart. idle: while a transaction
    does nothing, because its process has stopped; PostgreSQL then ends it, so that its locks are free again. 0: without
    end.
    """

    lock: int = 30
    statement: int = 60
    idle: int = 300


@dataclass(slots=True)
class Condition:
    """What this process knows about a database. turn: held by its writer.

    is_corrupt: a corrupt page was read; nothing is written until the database was repaired. is_full: the last write
    found its disk full. version_checked: when the schema was last found to fit, by the monotonic clock.
    """

    limits: Limits
    turn: Lock = field(default_factory=Lock)
    is_corrupt: bool = False
    is_full: bool = False
    version_checked: float = float("-inf")

    def note(self, error: BaseException) -> None:
        """Note what an error says about the database."""
        failure = failure_of(error)
        if failure is not None and failure.cause is Cause.CORRUPT:
            self.is_corrupt = True
        if failure is not None and failure.cause is Cause.FULL:
            self.is_full = True


_conditions: WeakKeyDictionary[sa.Engine, Condition] = WeakKeyDictionary()


def condition(engine: sa.Engine) -> Condition:
    """Return what this process knows about the database of an engine."""
    return _conditions[engine]


class _Connection(psycopg.Connection[Any]):
    """A connection that does not wait for ever for a server that hangs, or whose packets are dropped.

    answer_seconds: how long it waits for one answer; 0: without end.
    """

    answer_seconds: float = _PING_SECONDS

    def wait(self, gen: PQGen[Result], *args: Any, **options: Any) -> Result:
        """Wait for what a statement returns; raises psycopg.OperationalError, and closes, where no answer comes."""
        return super().wait(self._bounded(gen), *args, **options)

    def _bounded(self, gen: PQGen[Result]) -> PQGen[Result]:
        deadline = time.monotonic() + self.answer_seconds
        try:
            state = next(gen)
            while True:
                ready = yield state
                # Called with nothing ready several times a second.
                if not ready and self.answer_seconds and time.monotonic() > deadline:
                    self.close()
                    message = f"the server has not answered for {self.answer_seconds:.0f} s"
                    raise psycopg.OperationalError(message)
                state = gen.send(ready)
        except StopIteration as ended:
            result: Result = ended.value
            return result


def _connect(_dialect: object, _record: object, arguments: Sequence[Any], options: Mapping[str, Any]) -> _Connection:
    return _Connection.connect(*arguments, **options)


def _expect_ping(connection: object, _record: object) -> None:
    """Expect the next answer soon: it is that to the ping with which a connection leaves the pool."""
    if isinstance(connection, _Connection):
        connection.answer_seconds = _PING_SECONDS


def create_engine(
    url: str, *, pool_size: int = POOL_SIZE, prepares: bool = True, limits: Limits = Limits()
) -> sa.Engine:
    """Return an engine for `sqlite:///<path>` or `postgresql://…`; raises ValueError for any other URL.

    pool_size: the number of connections kept open; up to twice that number can be open at a time. prepares: whether
    PostgreSQL prepares statements that are repeated.
    """
    engine = _engine(url, pool_size, limits, prepares=prepares)
    known = _conditions[engine] = Condition(limits)
    sa.event.listen(engine, "handle_error", lambda context: known.note(context.original_exception))
    return engine


def _engine(url: str, pool_size: int, limits: Limits, *, prepares: bool) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        message = "the database URL must be sqlite:///<path> or postgresql://…"
        raise ValueError(message) from error
    if parsed.drivername == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": limits.lock}, pool_size=pool_size)
        file = _ExistingFile(Path(parsed.database))
        sa.event.listen(engine, "do_connect", file)
        sa.event.listen(engine, "connect", file.note)
        sa.event.listen(engine, "connect", partial(_configure_sqlite, Path(parsed.database)))
        sa.event.listen(engine, "checkout", partial(_check_file, Path(parsed.database)))
        sa.event.listen(engine, "begin", partial(_begin_sqlite, limits))
        return engine
    if parsed.drivername == "postgresql":
        named = {"fallback_application_name": "profile-registry"}
        # What the URL says counts.
        patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={**patience, **named, **({} if prepares else {"prepare_threshold": None})},
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
        )
        sa.event.listen(engine, "do_connect", _connect)
        sa.event.listen(engine, "checkin", _expect_ping)
        sa.event.listen(engine, "begin", partial(_begin_postgresql, limits))
        return engine
    message = f"the database URL must be sqlite:///<path> or postgresql://…, not {parsed.drivername}://…"
    raise ValueError(message)


class _ExistingFile:
    """Refuses to create the file of a database anew: it was there, so somebody is putting a backup in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_there = False

    def __call__(self, *_connecting: object) -> None:
        """Raise sqlite3.OperationalError if the file is gone."""
        if self._was_there and not self._path.exists():
            message = f"{self._path} is gone"
            raise sqlite3.OperationalError(message)

    def note(self, *_connected: object) -> None:
        """Note that the file is there now."""
        self._was_there = True


def _configure_sqlite(path: Path, connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions; _begin_sqlite does
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.OperationalError as error:
        if is_writable(path):
            raise
        # The log of SQLite (-wal) has to be written even to read.
        message = "The file or the folder of the database is read-only: SQLite cannot even read there."
        raise FailureError(Cause.READ_ONLY, message, f"{path}: {error}") from error


def is_writable(path: Path) -> bool:
    """Return whether the file and the folder of a SQLite database can be written."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _check_file(
    path: Path, _connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry, _proxy: object
) -> None:
    """Refuse a connection to files that are no longer there: a backup was put in their place.

    The log (-wal) is looked at as well: a copy over the file itself keeps its inode, and who copies removes the log.
    """
    for part in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = part.stat()
            file = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            file = None
        # The log comes into being with the first transaction.
        known = record.info.get(part) or file
        if known != file:
            message = f"{part} was replaced"
            raise sa.exc.DisconnectionError(message)
        record.info[part] = known


def _begin_sqlite(limits: Limits, connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={_milliseconds(options.get('lock_seconds', limits.lock))}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _begin_postgresql(limits: Limits, connection: sa.Connection) -> None:
    """Set the limits for this transaction alone: a pooler gives its connection to somebody else afterwards."""
    lock = connection.get_execution_options().get("lock_seconds", limits.lock)
    # A statement that waits for a lock is not slow.
    statement = limits.statement and limits.statement + limits.lock
    _limit(connection, Limits(lock, statement, limits.idle))


_LIMIT = sa.text(
    "SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)


def _limit(connection: sa.Connection, limits: Limits) -> None:
    driver: _Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    usual = limits.statement and limits.statement + _MARGIN_SECONDS
    driver.answer_seconds = connection.get_execution_options().get("answer_seconds", usual)
    names = {"lock": limits.lock, "statement": limits.statement, "idle": limits.idle}
    connection.execute(_LIMIT, {name: str(_milliseconds(seconds)) for name, seconds in names.items()})


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


@contextmanager
def reading(engine: sa.Engine, *, quickly: bool = False) -> Iterator[sa.Connection]:
    """Yield a connection that sees one state of the registry; raises FailureError where the schema does not fit.

    quickly: a server that does not answer for QUICK_SECONDS has failed: others wait for this.
    """
    known = condition(engine)
    with snapshot(engine, quickly=quickly) as connection:
        now = time.monotonic()
        if now - known.version_checked > _VERSION_SECONDS:
            version.check(connection)
            known.version_checked = now
        yield connection


@contextmanager
def snapshot(engine: sa.Engine, *, quickly: bool = False) -> Iterator[sa.Connection]:
    """Yield a connection that sees one state of the database, whatever its schema is. quickly: as for reading."""
    options: dict[str, Any] = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    if quickly:
        options["answer_seconds"] = QUICK_SECONDS
    with engine.connect().execution_options(**options) as connection:
        yield connection


def now() -> str:
    """Return the current time as the registry writes it."""
    return written_time(datetime.now(UTC))


def written_time(moment: datetime) -> str:
    """Return a time in UTC as ISO 8601, the form in which the registry stores, compares and shows times."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Writing:
    """The only transaction that writes at this time.

    by, at, detail: who makes its changes, when, and the detail that is added to each. first_seq: the seq of its first
    change, None before that. is_dry: it is rolled back at the end.
    """

    connection: sa.Connection
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=now)
    first_seq: int | None = None
    is_dry: bool = False
    end_turn: Callable[[], None] = lambda: None

    def undo(self) -> None:
        """Roll back and let others write; this transaction cannot be used any more."""
        self.connection.close()
        self.end_turn()


@contextmanager
def writing(engine: sa.Engine, by: str, *, dry_run: bool = False) -> Iterator[Writing]:
    """Yield a transaction that writes; only one exists at a time, across all processes.

    It commits at the end; an error or a dry run rolls it back. by: who writes. Raises FailureError if others do not let
    it write in time, and where nothing must be written.
    """
    known = condition(engine)
    seconds: float = known.limits.lock
    began = time.monotonic()
    with ExitStack() as turn:
        # The writers of one process wait here without a connection, so that the pool stays free for readers.
        if not known.turn.acquire(timeout=seconds or -1):
            message = "Other publications are still being written; try again."
            raise FailureError(Cause.LOCKED, message, f"no turn to write within {seconds} s")
        turn.callback(known.turn.release)
        remaining = seconds and max(1.0, seconds - (time.monotonic() - began))
        with _alone(engine, remaining, dry_run=dry_run) as connection:
            version.check(connection)
            if known.is_corrupt:
                raise FailureError(Cause.CORRUPT, report="nothing is written since a corrupt page was read")
            yield Writing(connection, by, is_dry=dry_run, end_turn=turn.close)
        if not dry_run:
            known.is_full = False


@contextmanager
def _alone(engine: sa.Engine, lock_seconds: float, *, dry_run: bool = False) -> Iterator[sa.Connection]:
    """Yield the one transaction that writes; lock_seconds: how long it waits for the one before."""
    options: dict[str, Any] = {"writes": True, "lock_seconds": lock_seconds}
    with engine.connect().execution_options(**options) as connection, connection.begin() as transaction:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PUBLICATION_LOCK)))
        yield connection
        if dry_run and transaction.is_active:
            transaction.rollback()


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, which must all have the same columns.

    Many rows go into PostgreSQL with COPY, which takes a third of the time.
    """
    if connection.dialect.name != "postgresql" or len(rows) < _COPIED_FROM:
        connection.execute(sa.insert(table), rows)
        return
    columns = list(rows[0])
    if any(row.keys() != rows[0].keys() for row in rows):
        message = f"all rows for {table.name} must have the same columns"
        raise ValueError(message)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    driver: psycopg.Connection[Any] = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([row[column] for column in columns])
    except psycopg.Error as error:
        condition(connection.engine).note(error)
        raised = sa.exc.DBAPIError.instance("COPY", None, error, psycopg.Error, dialect=connection.dialect)
        raise raised from error


@contextmanager
def noting(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that commits at the end; it publishes nothing, so it does not wait for publications."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def migrate(engine: sa.Engine, *, wait_seconds: float = 60, on_wait: Callable[[str], None] = lambda _: None) -> bool:
    """Migrate the schema to the version of this program; any number of processes can do so at once.

    Return whether the schema fits a newer version already, and so was left alone. Raises FailureError if it fits only
    newer versions. wait_seconds: how long it waits for whoever writes; on_wait: is called with who that is first.
    """
    with snapshot(engine) as connection:
        fit = version.fit(connection)
    if not fit.is_older:
        fit.check()
        return fit.is_newer
    try:
        _migrate(engine, _QUIET_SECONDS)
    except sa.exc.DBAPIError as error:
        failure = failure_of(error)
        if failure is None or failure.cause is not Cause.LOCKED:
            raise
        on_wait(_writer(engine))
        _migrate(engine, wait_seconds)
    return False


def _migrate(engine: sa.Engine, lock_seconds: float) -> None:
    config = version.alembic_config()
    with _alone(engine, lock_seconds) as connection:
        if engine.dialect.name == "postgresql":
            # Rewriting a large registry takes longer than any statement of a request.
            _limit(connection, Limits(_MIGRATION_LOCK_SECONDS, 0, 0))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


_WRITER = sa.text(
    "SELECT a.pid, a.application_name, host(a.client_addr), extract(epoch FROM now() - a.xact_start) "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objid = :lock AND a.datname = current_database()"
)


def _writer(engine: sa.Engine) -> str:
    """Return who holds the lock of the writer."""
    if engine.dialect.name == "sqlite":
        return "another process that writes to the file"
    with snapshot(engine) as connection:
        row = connection.execute(_WRITER, {"lock": _PUBLICATION_LOCK}).first()
    if row is None:
        return "another transaction"
    pid, application, address, seconds = row
    where = f" at {address}" if address else ""
    return f"the server process {pid} ({application or 'unnamed'}{where}), which began {seconds or 0:.0f} s ago"


def revision(connection: sa.Connection) -> int:
    """Return the revision of the registry: a number that grows with every change to what is published."""
    number: int = connection.execute(sa.select(schema.revision.c.number)).scalar_one()
    return number
