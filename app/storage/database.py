"""The database: its engine, the reading and writing transactions, and the migrations."""

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import orjson
import psycopg
import sqlalchemy as sa
from alembic import command
from psycopg import sql
from psycopg.abc import PQGen
from sqlalchemy.dialects import postgresql

from app.storage import schema, version
from app.storage.failure import Cause, FailureError, failure_of
from app.storage.turn import Shared, Turn

Result = TypeVar("Result")

# Writers of the version before exclude each other by this advisory lock alone (decision 0012); to be removed with it.
_LOCK_OF_THE_VERSION_BEFORE = 0x70726F66
_COPIED_FROM = 100
# Below the limits of SQLite and PostgreSQL on parameters in one statement.
_MOST_PARAMETERS = 10_000
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
    turn: Turn = field(default_factory=Turn)
    is_corrupt: bool = False
    is_full: bool = False
    version_checked: float = float("-inf")

    def check_sound(self) -> None:
        """Raise FailureError where nothing must be written."""
        if self.is_corrupt:
            raise FailureError(Cause.CORRUPT, report="nothing is written since a corrupt page was read")

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
    lock = options.get("lock_seconds", limits.lock)
    # The connection keeps its time limit from one transaction to the next.
    if connection.info.get("lock_seconds") != lock:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_milliseconds(lock)}")
        connection.info["lock_seconds"] = lock
    if options.get("is_alone", False) and not connection.info.get("adds"):
        _prepare_addition(connection)
        connection.info["adds"] = True
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _begin_postgresql(limits: Limits, connection: sa.Connection) -> None:
    """Set the limits for this transaction alone: a pooler gives its connection to somebody else afterwards."""
    options = connection.get_execution_options()
    # A statement that waits for a lock is not slow.
    statement = limits.statement and limits.statement + limits.lock
    own = Limits(options.get("lock_seconds", limits.lock), statement, limits.idle)
    _limit(connection, own, _LIMIT_AND_EXCLUDE if options.get("is_alone", False) else _LIMIT)


_SETTINGS = (
    "SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_LIMIT = sa.text(_SETTINGS)
# The columns are computed in their order, so the wait for the lock has the time limit already.
_LIMIT_AND_EXCLUDE = sa.text(f"{_SETTINGS}, pg_advisory_xact_lock({_LOCK_OF_THE_VERSION_BEFORE})")


def _limit(connection: sa.Connection, limits: Limits, statement: sa.TextClause = _LIMIT) -> None:
    driver: _Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    usual = limits.statement and limits.statement + _MARGIN_SECONDS
    driver.answer_seconds = connection.get_execution_options().get("answer_seconds", usual)
    names = {"lock": limits.lock, "statement": limits.statement, "idle": limits.idle}
    connection.execute(statement, {name: str(_milliseconds(seconds)) for name, seconds in names.items()})


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


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the feed of a registry: its last change, with the link that vouches for all changes before.

    seq: 0 if there is none; link: then the id of the registry.
    """

    registry: str
    seq: int
    link: str


@dataclass(slots=True)
class Writing:
    """The only transaction that writes at this time.

    by, at, detail: who makes its changes, when, and the detail that is added to each. first_seq: the seq of its first
    change, None before that. end: the end of the feed, None before it was read. is_dry: it is rolled back at the end.
    is_first: nobody else has written in this transaction before.
    """

    connection: sa.Connection
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=now)
    first_seq: int | None = None
    end: Position | None = None
    is_dry: bool = False
    is_first: bool = True
    end_turn: Callable[[], None] = lambda: None

    def undo(self) -> None:
        """Roll back and let others write; this transaction cannot be used any more."""
        self.connection.close()
        self.end_turn()


@contextmanager
def writing(engine: sa.Engine, by: str, *, dry_run: bool = False, can_share: bool = False) -> Iterator[Writing]:
    """Yield a transaction that writes; only one exists at a time, across all processes.

    It commits at the end; an error or a dry run rolls it back. by: who writes. can_share: the transaction can be that
    of others who wait, too; each writer then returns after the shared COMMIT, and an error undoes its own part. Raises
    FailureError if others do not let it write in time, and where nothing must be written.
    """
    known = condition(engine)
    seconds = known.limits.lock
    began = time.monotonic()
    # The writers of one process wait here without a connection, so that the pool stays free for readers.
    try:
        shared = known.turn.take(seconds or None, can_share=can_share)
    except TimeoutError:
        message = "Other publications are still being written; try again."
        raise FailureError(Cause.LOCKED, message, f"no turn to write within {seconds} s") from None
    with ExitStack() as turn:
        turn.callback(known.turn.release)
        if shared is not None:
            shared.begin_part()
        else:
            remaining = seconds and max(1, math.ceil(seconds - (time.monotonic() - began)))
            opened = ExitStack()
            shared = Shared(opened.enter_context(_checked(engine, known, remaining, dry_run=dry_run)), opened)
        try:
            known.check_sound()
            yield Writing(shared.connection, by, is_dry=dry_run, is_first=not shared.has_others, end_turn=turn.close)
        except BaseException as error:
            if not shared.has_others:
                shared.end(error)
            shared.undo_part(error)
            _commit(shared, known, turn)
            raise
        if can_share:
            _commit(shared, known, turn)
        else:
            shared.end()


def _commit(shared: Shared, known: Condition, turn: ExitStack) -> None:
    """Commit what writers wrote, or have the next one do it."""
    if known.turn.hand_on(shared):
        # The next one has the turn now.
        turn.pop_all()
        shared.wait()
    else:
        shared.end()


@contextmanager
def _checked(engine: sa.Engine, known: Condition, lock_seconds: int, *, dry_run: bool) -> Iterator[sa.Connection]:
    """Yield the one transaction that writes to a database with the right schema."""
    with _alone(engine, lock_seconds, dry_run=dry_run) as connection:
        version.check(connection)
        yield connection
    if not dry_run:
        known.is_full = False


# Each statement of a writer sees what is committed when it begins, whatever the default of the server is. A snapshot of
# the whole transaction would be older than the end of the wait for the lock (decision 0012).
_OF_WRITERS: Mapping[str, Any] = {"isolation_level": "READ COMMITTED"}
# An update, not FOR UPDATE: a server without that isolation then refuses a late snapshot here, where nothing is lost.
_LOCK = sa.update(schema.revision).values(number=schema.revision.c.number)
# serialization_failure, deadlock_detected: nothing was done, and it can be tried again.
_REPEATABLE = frozenset({"40001", "40P01"})


@contextmanager
def _alone(
    engine: sa.Engine, lock_seconds: int, *, dry_run: bool = False, has_schema: bool = True
) -> Iterator[sa.Connection]:
    """Yield the one transaction that writes; lock_seconds: how long it waits for the one before.

    has_schema: whether the database has the row that writers lock.
    """
    isolation = _OF_WRITERS if engine.dialect.name == "postgresql" else {}
    options: dict[str, Any] = {"writes": True, "is_alone": True, "lock_seconds": lock_seconds, **isolation}
    with (
        engine.connect().execution_options(**options) as connection,
        _begin_alone(connection, has_schema=has_schema) as transaction,
    ):
        yield connection
        if dry_run and transaction.is_active:
            transaction.rollback()


def _begin_alone(connection: sa.Connection, *, has_schema: bool) -> sa.RootTransaction:
    """Begin a transaction when no other one writes: on SQLite with BEGIN IMMEDIATE, otherwise by locking a row.

    A server that gives each transaction one snapshot refuses whoever has waited for the row: that one begins again.
    """
    until = time.monotonic() + connection.get_execution_options()["lock_seconds"]
    while True:
        try:
            transaction = connection.begin()
            if has_schema and connection.dialect.name == "postgresql":
                connection.execute(_LOCK)
        except sa.exc.DBAPIError as error:
            connection.rollback()
            version.refuse_missing(error)
            if getattr(error.orig, "sqlstate", None) not in _REPEATABLE or time.monotonic() >= until:
                raise
        else:
            return transaction


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, which must all have the same columns.

    Many rows go to the driver as they are: with COPY into PostgreSQL. This takes a third of the time.
    """
    if not rows:
        return
    if len(rows) < _COPIED_FROM:
        connection.execute(sa.insert(table), rows)
        return
    columns = list(rows[0])
    if any(row.keys() != rows[0].keys() for row in rows):
        message = f"all rows for {table.name} must have the same columns"
        raise ValueError(message)
    values = [tuple([row[column] for column in columns]) for row in rows]
    if connection.dialect.name != "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        listed, places = ", ".join(map(quote, columns)), ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {quote(table.name)} ({listed}) VALUES ({places})", values)  # noqa: S608 (names of the schema)
        return
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    driver: psycopg.Connection[Any] = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in values:
                copy.write_row(row)
    except psycopg.Error as error:
        condition(connection.engine).note(error)
        raised = sa.exc.DBAPIError.instance("COPY", None, error, psycopg.Error, dialect=connection.dialect)
        raise raised from error


Rows: TypeAlias = dict[sa.Table, list[dict[str, Any]]]

# Each after those that it refers to.
_TABLES = tuple(schema.metadata.sorted_tables)
# Content is named by its digest: what is stored already is the same.
_CONTENT = frozenset({schema.variable_set, schema.profile_values})


def count_revision(connection: sa.Connection) -> None:
    """Increase the revision: something was added or its state was changed."""
    connection.execute(_COUNT)


_COUNT = sa.update(schema.revision).values(number=schema.revision.c.number + 1)


def add(connection: sa.Connection, rows: Rows) -> None:
    """Insert the rows of a publication and increase the revision; all rows of a table must have the same columns.

    A statement costs more than a few rows, so all go into the database with one unless they are many. Content that is
    stored already is left out.
    """
    filled = {table: rows[table] for table in _TABLES if rows.get(table)}
    if sum(map(len, filled.values())) > _COPIED_FROM:
        for table, of_table in filled.items():
            insert(connection, table, _new_content(connection, table, of_table) if table in _CONTENT else of_table)
        count_revision(connection)
        return
    documents = {table.name: orjson.dumps(of_table).decode() for table, of_table in filled.items()}
    if connection.dialect.name == "postgresql":
        connection.execute(_addition(tuple((table, tuple(rows[0])) for table, rows in filled.items())), documents)
    else:
        names, places = ", ".join(documents), ", ".join("?" * len(documents))
        statement = f"INSERT INTO addition ({names}) VALUES ({places})"  # noqa: S608 (names of the schema)
        connection.exec_driver_sql(statement, tuple(documents.values()))


def _new_content(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return the rows of content that is not stored yet, each once."""
    new = {row["digest"]: row for row in rows}
    digests = list(new)
    for start in range(0, len(digests), _MOST_PARAMETERS):
        some = digests[start : start + _MOST_PARAMETERS]
        for digest in connection.execute(sa.select(table.c.digest).where(table.c.digest.in_(some))).scalars():
            del new[digest]
    return list(new.values())


@cache
def _addition(shape: tuple[tuple[sa.Table, tuple[str, ...]], ...]) -> sa.Insert:
    """Return the statement that inserts JSON arrays of rows on PostgreSQL; shape: each table with its columns."""
    inserts = []
    for table, names in shape:
        array = sa.cast(sa.bindparam(table.name, type_=sa.Text()), sa.JSON)
        columns = [sa.column(name, _plain(table.c[name])) for name in names]
        row = sa.func.json_to_recordset(array).table_valued(*columns, name=f"new_{table.name}")
        source = sa.select(*row.render_derived(with_types=True).c)
        if table in _CONTENT:
            inserts.append(postgresql.insert(table).from_select(names, source).on_conflict_do_nothing())
        else:
            inserts.append(postgresql.insert(table).from_select(names, source))
    *earlier, last = inserts
    counted = _COUNT.cte("counted")
    return last.add_cte(counted, *(insert.cte(f"added_{number}") for number, insert in enumerate(earlier)))


def _plain(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    return column.type if isinstance(column.type, sa.Integer | sa.Boolean) else sa.Text()


def _prepare_addition(connection: sa.Connection) -> None:
    """Give a connection to SQLite the view that takes the rows of several tables with one statement, as JSON arrays.

    The view and its trigger belong to the connection, not to the file.
    """
    inserts = ["UPDATE revision SET number = number + 1;"]
    for table in _TABLES:
        names = ", ".join(f'"{column.name}"' for column in table.c)
        values = ", ".join(f"value ->> '$.{column.name}'" for column in table.c)
        source = f"SELECT {values} FROM json_each(NEW.{table.name}) WHERE true"  # noqa: S608 (names of the schema)
        inserts.append(f"INSERT INTO {table.name} ({names}) {source}")
        inserts[-1] += " ON CONFLICT DO NOTHING;" if table in _CONTENT else ";"
    columns = ", ".join(f"NULL AS {table.name}" for table in _TABLES)
    connection.exec_driver_sql(f"CREATE TEMP VIEW addition AS SELECT {columns}")
    trigger = "CREATE TEMP TRIGGER add_rows INSTEAD OF INSERT ON addition BEGIN"
    connection.exec_driver_sql(f"{trigger} {' '.join(inserts)} END")


@contextmanager
def noting(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that commits at the end; it publishes nothing, so it does not wait for publications."""
    isolation = _OF_WRITERS if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(writes=True, **isolation) as connection, connection.begin():
        yield connection


def migrate(engine: sa.Engine, *, wait_seconds: int = 60, on_wait: Callable[[str], None] = lambda _: None) -> bool:
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
        _migrate(engine, _QUIET_SECONDS, fit)
    except sa.exc.DBAPIError as error:
        failure = failure_of(error)
        if getattr(error.orig, "sqlstate", None) in _CREATED_MEANWHILE and fit.revision is None:
            return migrate(engine, wait_seconds=wait_seconds, on_wait=on_wait)
        if failure is None or failure.cause is not Cause.LOCKED:
            raise
        on_wait(_writer(engine))
        _migrate(engine, wait_seconds, fit)
    return False


# An empty database has no row to lock. PostgreSQL lets one transaction create Alembic's table. Another one waits until
# the first has committed, and is refused: unique_violation in the server's catalog, or duplicate_table.
_CREATED_MEANWHILE = frozenset({"23505", "42P07"})


def _migrate(engine: sa.Engine, lock_seconds: int, fit: version.Fit) -> None:
    config = version.alembic_config()
    with _alone(engine, lock_seconds, has_schema=fit.revision is not None) as connection:
        if engine.dialect.name == "sqlite":
            # SQLite checks every trigger whenever a table is altered.
            connection.exec_driver_sql("DROP VIEW addition")
            connection.info["adds"] = False
        if engine.dialect.name == "postgresql":
            # Rewriting a large registry takes longer than any statement of a request.
            _limit(connection, Limits(_MIGRATION_LOCK_SECONDS, 0, 0))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


# Those that wait have locked the table, too, but not the row in it.
_WRITER = sa.text(
    "SELECT a.pid, a.application_name, host(a.client_addr), extract(epoch FROM now() - a.xact_start) "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE a.datname = current_database() AND l.granted AND a.wait_event_type IS DISTINCT FROM 'Lock' "
    "AND (l.relation = to_regclass(:table) AND l.mode = 'RowExclusiveLock' "
    "OR l.locktype = 'advisory' AND l.objid = :lock)"
)


def _writer(engine: sa.Engine) -> str:
    """Return who holds the lock of the writer."""
    if engine.dialect.name == "sqlite":
        return "another process that writes to the file"
    with snapshot(engine) as connection:
        names = {"table": schema.revision.name, "lock": _LOCK_OF_THE_VERSION_BEFORE}
        row = connection.execute(_WRITER, names).first()
    if row is None:
        return "another transaction"
    pid, application, address, seconds = row
    where = f" at {address}" if address else ""
    return f"the server process {pid} ({application or 'unnamed'}{where}), which began {seconds or 0:.0f} s ago"


def revision(connection: sa.Connection) -> int:
    """Return the revision of the registry: a number that grows with every change to what is published."""
    number: int = connection.execute(sa.select(schema.revision.c.number)).scalar_one()
    return number
