"""The database: its engine, the reading and writing transactions, and the migrations."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql

from app.storage import schema

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has the migrations in the package, a checkout next to it.
_MIGRATIONS = next(folder for folder in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations") if folder.is_dir())
# An arbitrary number; every publication takes the lock under this one.
_PUBLICATION_LOCK = 0x70726F66
_SQLITE_BUSY_SECONDS = 30
_TURN_SECONDS = 60
_COPIED_FROM = 100
# Notice a server that disappears without closing its connections. In seconds, tcp_user_timeout in milliseconds (libpq).
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
_turns: WeakKeyDictionary[sa.Engine, Lock] = WeakKeyDictionary()
POOL_SIZE = 10
# What this process keeps is checked again after this time, so that no answer is older than one second (DESIGN 8).
FRESH_SECONDS = 0.5


def create_engine(url: str, *, pool_size: int = POOL_SIZE, prepares: bool = True) -> sa.Engine:
    """Return an engine for `sqlite:///<path>` or `postgresql://…`; raises ValueError for any other URL.

    pool_size: the number of connections kept open; up to twice that number can be open at a time. prepares: whether
    PostgreSQL prepares statements that are repeated.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        message = "the database URL must be sqlite:///<path> or postgresql://…"
        raise ValueError(message) from error
    if parsed.drivername == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": _SQLITE_BUSY_SECONDS}, pool_size=pool_size)
        file = _ExistingFile(Path(parsed.database))
        sa.event.listen(engine, "do_connect", file)
        sa.event.listen(engine, "connect", file.note)
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "checkout", partial(_check_file, Path(parsed.database)))
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername == "postgresql":
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={**_PATIENCE, **({} if prepares else {"prepare_threshold": None})},
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
        )
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


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions; _begin_sqlite does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
        connection.execute(f"PRAGMA {pragma}")


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


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that sees one state of the registry."""
    isolation: dict[str, Any] = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with engine.connect().execution_options(**isolation) as connection:
        yield connection


def now() -> str:
    """Return the current time in UTC as ISO 8601, the form in which the registry stores and shows times."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Writing:
    """The only transaction that writes at this time.

    by, at, detail: who makes its changes, when, and the detail that is added to each. first_seq: the seq of its first
    change, None before that.
    """

    connection: sa.Connection
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=now)
    first_seq: int | None = None
    end_turn: Callable[[], None] = lambda: None

    def undo(self) -> None:
        """Roll back and let others write; this transaction cannot be used any more."""
        self.connection.close()
        self.end_turn()


@contextmanager
def writing(engine: sa.Engine, by: str, *, dry_run: bool = False) -> Iterator[Writing]:
    """Yield a transaction that writes; only one exists at a time, across all processes.

    It commits at the end; an error or a dry run rolls it back. by: who writes.
    """
    with ExitStack() as turn:
        # The writers of one process wait here without a connection, so that the pool stays free for readers.
        lock = _turns.setdefault(engine, Lock())
        if not lock.acquire(timeout=_TURN_SECONDS):
            raise sa.exc.TimeoutError
        turn.callback(lock.release)
        with _alone(engine, dry_run=dry_run) as connection:
            yield Writing(connection, by, end_turn=turn.close)


@contextmanager
def _alone(engine: sa.Engine, *, dry_run: bool = False) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as transaction:
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
        raised = sa.exc.DBAPIError.instance("COPY", None, error, psycopg.Error, dialect=connection.dialect)
        raise raised from error


@contextmanager
def noting(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that commits at the end; it publishes nothing, so it does not wait for publications."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def migrate(engine: sa.Engine) -> None:
    """Migrate the schema to the version of this program; any number of processes can do so at once."""
    config = _alembic_config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_migrated(connection: sa.Connection) -> bool:
    """Return whether the schema has the version of this program."""
    heads = set(ScriptDirectory.from_config(_alembic_config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads


def revision(connection: sa.Connection) -> int:
    """Return the revision of the registry: a number that grows with every change to what is published."""
    number: int = connection.execute(sa.select(schema.revision.c.number)).scalar_one()
    return number
