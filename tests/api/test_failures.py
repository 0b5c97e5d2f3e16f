"""A failure of the database is a 503 that says its cause, in the answer and in the log; what can go on goes on."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.api import observer
from app.storage import database, listing, readiness
from app.storage.failure import Cause, FailureError
from tests import postgresql
from tests.api.stories import NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, fresh_database, make_app

_SHORT = {"database_lock_seconds": 1, "database_statement_seconds": 1}


@pytest.fixture
def short(database_url: str) -> Iterator[TestClient]:
    """Yield a client of a service that waits for the database for a second."""
    with TestClient(make_app(database_url, **_SHORT), headers=AUTHORIZATION) as registry:
        yield registry


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh PostgreSQL database."""
    with fresh_database("postgresql", request) as url:
        yield url


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a fresh SQLite database."""
    with fresh_database("sqlite", request) as url:
        yield url


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Log the failures of each test from the beginning."""
    logger = logging.getLogger("registry.database")
    before = logger.handlers, logger.propagate, logger.level
    observer._noted.clear()
    yield
    logger.handlers, logger.propagate = list(before[0]), before[1]
    logger.setLevel(before[2])


def failed(response: httpx2.Response, cause: Cause) -> dict[str, Any]:
    """Check that a response is the 503 of a cause; return its body."""
    problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
    body: dict[str, Any] = response.json()
    assert body["cause"] == cause
    return body


@contextmanager
def _read_only(url: str) -> Iterator[None]:
    """Make a PostgreSQL database read-only, as after a failover to a standby."""
    name = sa.make_url(url).database
    disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 (ours)
    maintenance = sa.make_url(url).set(database="postgres")
    postgresql.administer(maintenance, f"ALTER DATABASE {name} SET default_transaction_read_only = on", disconnect)
    try:
        yield
    finally:
        postgresql.administer(maintenance, f"ALTER DATABASE {name} RESET default_transaction_read_only", disconnect)


def test_a_read_only_database_answers_questions(postgresql_url: str) -> None:
    with TestClient(make_app(postgresql_url), headers=AUTHORIZATION) as registry:
        vendor(registry)
        publish(registry, "vendor-a.com/fw@1", {"queues": QUEUES})
        with _read_only(postgresql_url):
            for path in ("/vendors", f"/compatibility?model={NIC}&source=vendor-a.com/fw@1", "/support-matrix"):
                assert registry.get(path).status_code == 200
            assert failed(registry.put("/vendors/vendor-b.com", json={}), Cause.READ_ONLY)["detail"] == (
                "The database is read-only: questions are answered, but nothing can be published."
            )
            assert failed(registry.get("/readyz"), Cause.READ_ONLY)["can_read"]
            assert registry.get("/readyz?for=reading").json() == {"status": "read-only"}
        assert registry.get("/readyz").json() == {"status": "ok"}
        assert registry.put("/vendors/vendor-b.com", json={}).status_code == 201


def test_a_read_only_file_is_not_ready(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(make_app(sqlite_url)) as registry:
        assert registry.get("/readyz").status_code == 200
        monkeypatch.setattr(database, "is_writable", lambda _: False)
        failed(registry.get("/readyz"), Cause.READ_ONLY)
        assert registry.get("/readyz?for=reading").json() == {"status": "read-only"}


def test_writers_wait_for_a_lock_within_a_bound(short: TestClient, database_url: str) -> None:
    other = database.create_engine(database_url)
    with database._alone(other, 1):
        began = time.monotonic()
        answers: list[httpx2.Response] = []
        writers = [
            threading.Thread(target=lambda n=n: answers.append(short.put(f"/vendors/v{n}.com", json={})))
            for n in range(5)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        for answer in answers:
            failed(answer, Cause.LOCKED)
        # One waits for the lock, the others for the first; none of them longer than a second in all.
        assert time.monotonic() - began < 5
        assert short.get("/vendors").status_code == 200
        assert short.get("/readyz").status_code == 200
    other.dispose()
    assert short.put("/vendors/vendor-a.com", json={}).status_code == 201


def test_readers_wait_for_a_lock_within_a_bound(postgresql_url: str) -> None:
    other = database.create_engine(postgresql_url)
    with TestClient(make_app(postgresql_url, **_SHORT)) as registry, database.noting(other) as connection:
        connection.exec_driver_sql("LOCK TABLE vendor IN ACCESS EXCLUSIVE MODE")
        failed(registry.get("/vendors"), Cause.LOCKED)
    other.dispose()


def test_a_statement_that_takes_too_long_is_ended(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "vendors", lambda connection, *_: connection.exec_driver_sql("SELECT pg_sleep(20)"))
    with TestClient(make_app(postgresql_url, **_SHORT)) as registry:
        failed(registry.get("/vendors"), Cause.SLOW)


def test_a_server_that_hangs_is_waited_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PING_SECONDS", 0.5)
    monkeypatch.setattr(database, "_MARGIN_SECONDS", 0.5)
    with postgresql.server() as store:
        url = f"{store.url}?connect_timeout=2"
        engine = database.create_engine(url, limits=database.Limits(lock=0, statement=1))
        database.migrate(engine)
        with TestClient(make_app(url, **_SHORT), headers=AUTHORIZATION) as registry:
            vendor(registry)
            with store.hanging():
                began = time.monotonic()
                failed(registry.get("/vendors"), Cause.UNREACHABLE)
                failed(registry.put("/vendors/vendor-b.com", json={}), Cause.UNREACHABLE)
                assert time.monotonic() - began < 10
            assert registry.put("/vendors/vendor-b.com", json={}).status_code == 201
        with database.snapshot(engine) as connection:
            connection.exec_driver_sql("SELECT 1")
            with store.hanging(), pytest.raises(sa.exc.OperationalError, match="has not answered for 2 s"):
                connection.exec_driver_sql("SELECT 1")
        monkeypatch.setattr(database, "QUICK_SECONDS", 1.0)
        with (
            database.reading(engine, quickly=True) as connection,
            store.hanging(),
            pytest.raises(sa.exc.OperationalError, match="has not answered for 1 s"),
        ):
            connection.exec_driver_sql("SELECT 1")
        engine.dispose()


def test_a_transaction_that_does_nothing_is_ended(postgresql_url: str) -> None:
    stopped = database.create_engine(postgresql_url, limits=database.Limits(idle=1))
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"))
        transaction = stack.enter_context(database.writing(stopped, "a test"))
        with TestClient(make_app(postgresql_url), headers=AUTHORIZATION) as registry:
            assert registry.put("/vendors/vendor-a.com", json={}).status_code == 201
        transaction.connection.exec_driver_sql("SELECT 1")
    stopped.dispose()


def test_the_limits_stay_in_their_transaction(postgresql_url: str) -> None:
    """A pooler gives the connection to somebody else afterwards."""
    engine = database.create_engine(postgresql_url, pool_size=1)
    show = "SELECT current_setting('lock_timeout') || current_setting('statement_timeout')"
    with database.reading(engine) as connection:
        assert connection.exec_driver_sql(show).scalar_one() == "30s90s"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.exec_driver_sql(show).scalar_one() == "00"
    engine.dispose()


def _damage(url: str, table: str) -> bytes:
    """Overwrite the first page of a table of a SQLite database; return the file as it was."""
    path = Path(sa.make_url(url).database or "")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    before = path.read_bytes()
    with path.open("r+b") as pages:
        pages.seek((root - 1) * size)
        pages.write(b"\xff" * size)
    return before


def test_a_corrupt_database_is_not_written(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_CHECK_SECONDS", 0)
    with TestClient(make_app(sqlite_url), headers=AUTHORIZATION) as registry:
        vendor(registry)
        publish(registry, "vendor-a.com/fw@1", {"queues": QUEUES})
        before = _damage(sqlite_url, "variable_set")
        registry.app.state.container.databases.dispose()  # type: ignore[attr-defined]
        failed(registry.get("/variable-sets"), Cause.CORRUPT)
        # Nothing is added to what may be lost, also where no corrupt page is touched.
        failed(registry.put("/vendors/vendor-b.com", json={}), Cause.CORRUPT)
        assert not failed(registry.get("/readyz"), Cause.CORRUPT).get("can_read")
        failed(registry.get("/readyz?for=reading"), Cause.CORRUPT)
        assert registry.get("/vendors").status_code == 200
        Path(sa.make_url(sqlite_url).database or "").write_bytes(before)
        registry.app.state.container.databases.dispose()  # type: ignore[attr-defined]
        assert registry.get("/readyz").json() == {"status": "ok"}
        assert registry.put("/vendors/vendor-b.com", json={}).status_code == 201


def test_altered_content_is_never_judged(registry: TestClient, engine: sa.Engine) -> None:
    vendor(registry)
    publish(registry, "vendor-a.com/fw@1", {"queues": QUEUES})
    statements = {
        "sqlite": ["DROP TRIGGER variable_set_refuses_update"],
        "postgresql": ["DROP TRIGGER variable_set_refuses_update ON variable_set"],
    }
    with engine.begin() as connection:
        for statement in statements[engine.dialect.name]:
            connection.exec_driver_sql(statement)
        # As if bits of a page had flipped.
        connection.exec_driver_sql("UPDATE variable_set SET document = replace(document, '1-8', '1-9')")
    asked = registry.get("/compatibility", params={"model": NIC, "source": "vendor-a.com/fw@1"})
    failed(asked, Cause.CORRUPT)
    failed(registry.get("/readyz"), Cause.CORRUPT)


def test_a_full_disk_is_not_ready_until_there_is_room(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    known = database.condition(registry.app.state.container.primary)  # type: ignore[attr-defined]
    known.is_full = True
    with monkeypatch.context() as full:
        full.setattr(readiness, "_has_room", lambda _: False)
        assert failed(registry.get("/readyz"), Cause.FULL)["can_read"]
        assert registry.get("/readyz?for=reading").json() == {"status": "full"}
    assert registry.get("/readyz").json() == {"status": "ok"}
    assert not known.is_full


def test_a_write_shows_that_there_is_room(registry: TestClient) -> None:
    known = database.condition(registry.app.state.container.primary)  # type: ignore[attr-defined]
    known.is_full = True
    vendor(registry)
    assert not known.is_full


def test_a_failure_is_logged_once_with_its_cause_and_the_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "postgresql://u@127.0.0.1:1/none"
    with TestClient(make_app(away), headers=AUTHORIZATION) as registry:
        observer.log_failures(as_json=True)
        for number in range(20):
            failed(registry.get("/vendors", headers={"X-Request-ID": f"r-{number}"}), Cause.UNREACHABLE)
        (line,) = capsys.readouterr().err.splitlines()
        logged = json.loads(line)
        assert "Connection refused" in logged.pop("report")
        assert logged.pop("at").endswith("Z")
        assert logged == {"event": "database-failure", "cause": "unreachable", "more": 0, "request_id": "r-0"}
        monkeypatch.setattr(observer, "_REPEAT_SECONDS", 0)
        observer.log_failures(as_json=False)
        registry.get("/vendors", headers={"X-Request-ID": "r-20"})
        (line,) = capsys.readouterr().err.splitlines()
        assert " database: unreachable: " in line
        assert line.endswith(" (and 19 more before) id=r-20")


def test_the_line_of_a_request_names_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("registry.request")
    before = logger.handlers, logger.propagate, logger.level
    with TestClient(make_app("postgresql://u@127.0.0.1:1/none"), headers=AUTHORIZATION) as registry:
        observer.log_requests(as_json=False)
        registry.get("/vendors")
        registry.get("/healthz")
    refused, healthy = [line for line in capsys.readouterr().err.splitlines() if " GET " in line]
    assert refused.endswith(" cause=unreachable")
    assert "cause" not in healthy
    logger.handlers, logger.propagate = list(before[0]), before[1]
    logger.setLevel(before[2])


def test_a_stream_ends_at_a_failure(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor(registry)

    def fail(*_: object) -> None:
        raise FailureError(Cause.UNREACHABLE)

    monkeypatch.setattr(database, "reading", fail)
    # The server would raise what nobody handles.
    streamed = registry.get("/changes", headers={"Accept": "text/event-stream"})
    assert streamed.text == ": the feed of changes\n\n"
