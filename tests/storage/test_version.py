"""A program knows whether it fits a schema, older or newer than itself."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from app.storage import database, version
from app.storage.failure import FailureError
from app.storage.version import Fit


def _set(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def _use(engine: sa.Engine) -> None:
    """Use a database as a program that was just started."""
    database.condition(engine).version_checked = float("-inf")
    with database.reading(engine) as connection:
        database.revision(connection)
    with database.writing(engine, "a test", dry_run=True):
        pass


def _with_older_schema(engine: sa.Engine) -> str:
    """Give a database the schema before this program's, as an older program made it; return its revision."""
    older = version.revisions()[1]
    tables = sa.MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    if engine.dialect.name == "postgresql":
        _set(engine, "DROP FUNCTION refuse_change()", "DROP FUNCTION host_leaves_group()")
    config = version.alembic_config()
    with database._alone(engine, 1, has_schema=False) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, older)
    return older


def test_a_newer_schema_that_names_this_program_is_used(engine: sa.Engine) -> None:
    _set(engine, "UPDATE alembic_version SET version_num = '9999'")
    for oldest in version.revisions():
        _set(engine, f"UPDATE program SET oldest = '{oldest}'")  # noqa: S608 (a revision)
        _use(engine)
    assert database.migrate(engine)


@pytest.mark.parametrize(
    "statement", ["UPDATE program SET oldest = '9998'", "DELETE FROM program", "DROP TABLE program"]
)
def test_a_newer_schema_that_does_not_is_refused(engine: sa.Engine, statement: str) -> None:
    _set(engine, "UPDATE alembic_version SET version_num = '9999'", statement)
    newest = version.revisions()[0]
    words = f"revision 9999, of a newer version of the registry, and this version knows revisions up to {newest}"
    for use in (_use, database.migrate):
        with pytest.raises(FailureError, match=words):
            use(engine)
    with pytest.raises(FailureError, match=words), database.writing(engine, "a test"):
        pass


def test_an_older_schema_is_migrated_first(engine: sa.Engine) -> None:
    older = _with_older_schema(engine)
    with pytest.raises(FailureError, match=f"has revision {older}, and this version of the registry needs .* migrate"):
        _use(engine)
    assert not database.migrate(engine)
    _use(engine)


def test_a_database_without_a_schema_says_so(tmp_path: Path) -> None:
    engine = database.create_engine(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(FailureError, match="no schema yet: run profile-registry migrate"):
        _use(engine)
    engine.dispose()


def test_the_oldest_program_is_one_that_is_known(engine: sa.Engine) -> None:
    with database.reading(engine) as connection:
        assert connection.execute(sa.text("SELECT oldest FROM program")).scalar_one() in version.revisions()
        assert version.fit(connection) == Fit(version.revisions()[0])


def test_migrating_says_who_writes_and_gives_up(engine: sa.Engine) -> None:
    _with_older_schema(engine)
    waited: list[str] = []
    with database._alone(engine, 1), pytest.raises(sa.exc.OperationalError):
        database.migrate(engine, wait_seconds=1, on_wait=waited.append)
    writer = "another process" if engine.dialect.name == "sqlite" else "the server process"
    assert [words[: len(writer)] for words in waited] == [writer]
    assert not database.migrate(engine, wait_seconds=1)


def test_nothing_waits_where_nothing_is_migrated(engine: sa.Engine) -> None:
    with database._alone(engine, 1):
        assert not database.migrate(engine, wait_seconds=1)


def test_a_schema_that_nobody_can_read_is_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('cafe')")
        connection.commit()
    engine = database.create_engine(f"sqlite:///{path}")
    with pytest.raises(FailureError, match="revision cafe, of a newer version"):
        database.migrate(engine)
    engine.dispose()
