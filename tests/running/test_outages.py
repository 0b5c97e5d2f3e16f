"""The service and its database are killed, and disks fill up: nothing is lost, and nothing is answered but 503."""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import pytest
from fastapi.testclient import TestClient

from app.storage import database
from tests import postgresql
from tests.conftest import TOKEN
from tests.counts import full
from tests.running.conftest import Server, client, command, environment, running, wait_until_ready
from tests.running.load import PATHS, Load
from tests.running.test_kills import check_stored, document

_LOGGER = logging.getLogger(__name__)
ROUNDS = full(30, short=4)
_DISK_MEGABYTES = 100
_ROOM = 2_000_000
_LARGE = 1000


def migrate(url: str) -> None:
    """Migrate a database."""
    engine = database.create_engine(url)
    database.migrate(engine)
    engine.dispose()


@pytest.mark.long
def test_the_service_and_the_database_are_killed() -> None:
    random = Random(7)  # noqa: S311 (not for secrets)
    load, seconds = Load(), []
    with postgresql.server() as store:
        migrate(store.url)
        with running(store.url, workers=2) as server:
            load.prepare(server)
            with load.on(server):
                for turn in range(ROUNDS):
                    time.sleep(random.uniform(0.2, 1.0))
                    # In turn the database, the service, and both.
                    if turn % 3 != 1:
                        store.kill()
                    if turn % 3 != 0:
                        server.kill()
                    time.sleep(random.uniform(0.0, 0.5))
                    began = time.monotonic()
                    if turn % 3 != 1:
                        store.start()
                    if turn % 3 != 0:
                        server.start()
                    wait_until_ready(server.url)
                    seconds.append(time.monotonic() - began)
            check_stored(server, load.published)
    assert load.published
    assert load.statuses.keys() <= {200, 201, 503}, load.statuses
    half = sorted(seconds)[len(seconds) // 2]
    _LOGGER.info("%d rounds, %s; well again after %.1f s, at most %.1f s", ROUNDS, load.statuses, half, max(seconds))


@pytest.fixture
def disk() -> Iterator[Path]:
    """Yield the folder of a small disk, which PostgreSQL's user can reach."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MEGABYTES}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("a small disk can only be mounted by root, outside of most containers: a full disk is not tested")
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 (where it is differs)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Leave little room on a disk."""
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - _ROOM))
    yield
    ballast.unlink()


def _fill(server: Server, load: list[int]) -> httpx.Response:
    """Publish until the disk is full; return the answer then."""
    with client(server) as registry:
        while True:
            number = len(load) + 1
            answer = registry.put(f"/releases/vendor-a.com/fw@{number}", json=document(number, _LARGE))
            if answer.status_code != httpx.codes.CREATED:
                return answer
            load.append(number)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_disk_of_the_database_is_full(kind: str, disk: Path) -> None:
    if kind == "sqlite":
        _meet_a_full_disk(f"sqlite:///{disk}/registry.db", disk)
        return
    # PostgreSQL's log (pg_wal) is on another disk: where it is full, the server stops.
    with tempfile.TemporaryDirectory() as wal:
        Path(wal).chmod(0o755)
        # A checkpoint on a full disk stops it, too, unless there are no replication origins to note.
        store = postgresql.Server(disk, max_wal_size="4MB", min_wal_size="2MB", max_active_replication_origins="0")
        store.move_wal(Path(wal))
        store.start()
        try:
            _meet_a_full_disk(store.url, disk)
        finally:
            store.stop()


def _meet_a_full_disk(url: str, disk: Path) -> None:
    migrate(url)
    published: list[int] = []
    with running(url) as server:
        Load.prepare(server)
        with client(server) as registry:
            assert registry.put("/releases/vendor-a.com/fw@1", json=document(1)).status_code == 201
            published.append(1)
            with _filled(disk):
                refused = _fill(server, published)
                assert (refused.status_code, refused.json()["cause"]) == (503, "full")
                # Questions are answered; readiness reports the failure.
                for path in PATHS:
                    assert registry.get(path).status_code == 200
                ready = registry.get("/readyz")
                assert (ready.status_code, ready.json()["cause"], ready.json()["can_read"]) == (503, "full", True)
                assert registry.get("/readyz?for=reading").json() == {"status": "full"}
            wait_until_ready(server.url)
            number = len(published) + 1
            answer = registry.put(f"/releases/vendor-a.com/fw@{number}", json=document(number))
            assert answer.status_code == 201
            published.append(number)
        with _filled(disk):
            _fill(server, published)
            server.kill()
        server.start()
        check_stored(server, published)


def test_the_disk_of_an_export_is_full(database_url: str, disk: Path) -> None:
    with running(database_url) as server, _filled(disk):
        Load.prepare(server)
        with client(server) as registry:
            for number in range(1, 4):
                registry.put(f"/releases/vendor-a.com/fw@{number}", json=document(number)).raise_for_status()
        (disk / "more").write_bytes(bytes(_ROOM - 4096))
        before = sorted(disk.iterdir())
        exported = subprocess.run(
            command("export", str(disk / "registry.jsonl.gz")),
            env=environment(url=server.url, token=TOKEN),
            capture_output=True,
            text=True,
            check=False,
        )
        assert exported.returncode == 2
        assert "cannot be written: No space left on device" in exported.stderr.replace("\n", " ")
        assert sorted(disk.iterdir()) == before


def test_a_clock_that_is_set_back_changes_no_order(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is ordered by seq, and waits by the monotonic clock; the feed shows the times as they were."""
    years = (2030, 2020, 2025)
    for year in years:
        monkeypatch.setattr(database, "now", lambda year=year: f"{year}-01-01T00:00:00.000Z")
        assert registry.put(f"/vendors/v{year}.com", json={}).status_code == 201
    feed = registry.get("/changes").json()["items"]
    assert [change["name"] for change in feed] == [f"v{year}.com" for year in years]
    assert [change["seq"] for change in feed] == [1, 2, 3]
    assert registry.get("/readyz").status_code == 200
