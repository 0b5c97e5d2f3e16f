"""What drivers raise is a failure of the database with a cause, or an error of this program."""

import errno
import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from app.storage import database
from app.storage.failure import Cause, FailureError, failure_of

_OF_SQLSTATE = {
    "08006": Cause.UNREACHABLE,
    "25006": Cause.READ_ONLY,
    "25P03": Cause.SLOW,
    "28P01": Cause.REFUSED,
    "3D000": Cause.UNREACHABLE,
    "40P01": Cause.LOCKED,
    "42501": Cause.REFUSED,
    "42703": Cause.SCHEMA,
    "42P01": Cause.SCHEMA,
    "53100": Cause.FULL,
    "53200": Cause.MEMORY,
    "53300": Cause.CONNECTIONS,
    "55P03": Cause.LOCKED,
    "57014": Cause.SLOW,
    "57P01": Cause.STARTING,
    "57P03": Cause.STARTING,
    "58030": Cause.DISK,
    "58P01": Cause.CORRUPT,
    "XX000": Cause.CORRUPT,
    "XX001": Cause.CORRUPT,
    "XX002": Cause.CORRUPT,
    # Errors of this program: a statement that is wrong, a rule of a table that is broken.
    "23505": None,
    "42601": None,
}


@pytest.mark.parametrize(("sqlstate", "cause"), _OF_SQLSTATE.items())
def test_a_cause_follows_from_the_sqlstate(sqlstate: str, cause: Cause | None) -> None:
    error = psycopg.errors.lookup(sqlstate)("what the server said")
    wrapped = sa.exc.DBAPIError.instance("SELECT 1", None, error, psycopg.Error, dialect=None)
    for raised in (error, wrapped):
        failure = failure_of(raised)
        assert (failure and failure.cause) == cause
        if failure is not None:
            assert failure.report == f"what the server said ({sqlstate})"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("FATAL:  sorry, too many clients already", Cause.CONNECTIONS),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Cause.CONNECTIONS),
        ('FATAL:  too many connections for role "registry"', Cause.CONNECTIONS),
        ("FATAL:  the database system is starting up", Cause.STARTING),
        ("FATAL:  the database system is not yet accepting connections", Cause.STARTING),
        ('FATAL:  password authentication failed for user "registry"', Cause.REFUSED),
        ('FATAL:  role "registry" does not exist', Cause.REFUSED),
        ("Connection refused", Cause.UNREACHABLE),
        ("server closed the connection unexpectedly", Cause.UNREACHABLE),
        ("FATAL:  das Datenbanksystem startet", Cause.UNREACHABLE),
    ],
)
def test_a_refused_connection_has_its_cause_in_words(words: str, cause: Cause) -> None:
    failure = failure_of(psycopg.OperationalError(f"connection failed: {words}"))
    assert failure is not None
    assert failure.cause is cause


def test_errors_of_this_program_are_not_failures_of_the_database() -> None:
    for error in (ZeroDivisionError(), sa.exc.ArgumentError("x"), psycopg.ProgrammingError("x"), OSError(errno.ENOENT)):
        assert failure_of(error) is None
    own = failure_of(FailureError(Cause.BUSY))
    assert own is not None
    assert own.cause is Cause.BUSY


@pytest.fixture
def file(migrated_sqlite: Path, tmp_path: Path) -> Path:
    """Return a SQLite database in one file, without a log."""
    path = tmp_path / "registry.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    return path


def _cause_of_writing(path: Path, **limits: int) -> Cause | None:
    engine = database.create_engine(f"sqlite:///{path}", limits=database.Limits(**limits))
    try:
        with database.writing(engine, "a test") as writing:
            writing.connection.exec_driver_sql("INSERT INTO vendor (name) VALUES ('a.com')")
    except (sa.exc.SQLAlchemyError, sqlite3.Error, FailureError) as error:
        failure = failure_of(error)
        return None if failure is None else failure.cause
    finally:
        engine.dispose()
    return None


def test_sqlite_is_locked(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _cause_of_writing(file, lock=1) is Cause.LOCKED
    assert _cause_of_writing(file) is None


def test_a_file_is_not_a_sqlite_database(file: Path) -> None:
    file.write_text("This is a text. " * 1000)
    assert _cause_of_writing(file) is Cause.CORRUPT


@pytest.mark.parametrize("content", [b"\0", b"\xff"])
def test_sqlite_has_a_page_of_nonsense(file: Path, content: bytes) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'vendor'").fetchone()
    with file.open("r+b") as pages:
        pages.seek((root - 1) * size)
        pages.write(content * size)
    assert _cause_of_writing(file) is Cause.CORRUPT


def test_sqlite_lacks_a_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE vendor RENAME TO once")
    assert _cause_of_writing(file) is Cause.SCHEMA


def test_sqlite_has_no_room(file: Path) -> None:
    engine = database.create_engine(f"sqlite:///{file}")

    @sa.event.listens_for(engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    with database.noting(engine) as connection, pytest.raises(sa.exc.OperationalError) as raised:
        connection.exec_driver_sql("INSERT INTO vendor (name, title) VALUES ('a.com', randomblob(1000000))")
    failure = failure_of(raised.value)
    assert failure is not None
    assert (failure.cause, failure.report) == (Cause.FULL, "database or disk is full (SQLITE_FULL)")
    engine.dispose()


def test_no_file_descriptor_is_left(file: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0], hard))
    try:
        assert _cause_of_writing(file) is Cause.DESCRIPTORS
        with pytest.raises(psycopg.OperationalError) as raised:
            psycopg.connect("host=127.0.0.1 port=1 user=a")
        failure = failure_of(raised.value)
        assert failure is not None
        assert failure.cause is Cause.DESCRIPTORS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(opened[0])
    assert _cause_of_writing(file) is None
