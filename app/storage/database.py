"""The database: its engine, its reading and writing transactions, its migrations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
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

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# Any number will do, as long as every publication takes the same.
_PUBLICATION_LOCK = 0x70726F66
_SQLITE_BUSY_SECONDS = 30
_TURN_SECONDS = 60
_COPIED_FROM = 100
# A server that is lost without a word is noticed: in seconds, as libpq has it (tcp_user_timeout: in milliseconds).
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10}
_turns: WeakKeyDictionary[sa.Engine, Lock] = WeakKeyDictionary()
POOL_SIZE = 10
# What another process does is seen at most this much later (the promise is one second).
FRESH_SECONDS = 0.5


def create_engine(url: str, *, pool_size: int = POOL_SIZE, prepares: bool = True) -> sa.Engine:
    """Return an engine for `sqlite:///<path>` or `postgresql://…`; raises ValueError for any other URL.

    pool_size: connections kept open; twice as many may be open at a time. prepares: whether statements are prepared.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        message = "the database URL is not of the form sqlite:///<path> or postgresql://…"
        raise ValueError(message) from error
    if parsed.drivername == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": _SQLITE_BUSY_SECONDS}, pool_size=pool_size)
        sa.event.listen(engine, "connect", _configure_sqlite)
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
    message = f"the database is sqlite:///<path> or postgresql://…, not {parsed.drivername}"
    raise ValueError(message)


def _configure_sqlite(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin with _begin_sqlite, never by themselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
        connection.execute(f"PRAGMA {pragma}")


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
    """Return the time in UTC, as it is stored and told (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Writing:
    """The one transaction that writes: by whom, when, and with what detail its changes are recorded.

    first_seq: the first change of the transaction, once there is one.
    """

    connection: sa.Connection
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=now)
    first_seq: int | None = None
    end_turn: Callable[[], None] = lambda: None

    def undo(self) -> None:
        """Undo all that was written, and let others write; nothing more can be written then."""
        self.connection.close()
        self.end_turn()


@contextmanager
def writing(engine: sa.Engine, by: str, *, dry_run: bool = False) -> Iterator[Writing]:
    """Yield the transaction that alone writes, whatever other processes want to.

    It commits at the end; after an error, or of a dry run, nothing is kept. by: who writes.
    """
    with ExitStack() as turn:
        # Those of one process wait for one another without a connection, so that reading goes on meanwhile.
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
    """Insert rows, of which all name the same columns; many into PostgreSQL with COPY, in a third of the time."""
    if connection.dialect.name != "postgresql" or len(rows) < _COPIED_FROM:
        connection.execute(sa.insert(table), rows)
        return
    columns = list(rows[0])
    if any(row.keys() != rows[0].keys() for row in rows):
        message = f"rows of {table.name} name different columns"
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
    """Yield a connection that commits what is no publication, and need not wait for one."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to this program's version; any number of processes may do so at once."""
    config = _alembic_config()
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_migrated(connection: sa.Connection) -> bool:
    """Return whether the schema is of this program's version."""
    heads = set(ScriptDirectory.from_config(_alembic_config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads


def revision(connection: sa.Connection) -> int:
    """Return how often anything was added."""
    number: int = connection.execute(sa.select(schema.revision.c.number)).scalar_one()
    return number
