"""A registry that was set back: a backup was restored, or a standby that lagged behind was promoted.

The same number of changes is then made anew, so that no number tells the difference: every worker has to notice by the
link of the last change, within a second.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests import postgresql
from tests.api.stories import NIC, QUEUES
from tests.conftest import AUTHORIZATION, fresh_database
from tests.running.conftest import TLS, Server, client, running

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
_FRESH_SECONDS = 1.0
_QUESTIONS = 40

# Keeps the present state of a database; returns what sets the database back to it.
Keep = Callable[[str, Path], Callable[[], None]]


def _path(url: str) -> Path:
    return Path(sa.make_url(url).database or "")


def in_place(url: str, folder: Path) -> Callable[[], None]:
    """Restore a SQLite database into its file, as SQLite's own backup does."""
    backup = folder / "backup.db"
    with closing(sqlite3.connect(_path(url))) as live, closing(sqlite3.connect(backup)) as copy:
        live.backup(copy)

    def restore() -> None:
        with closing(sqlite3.connect(_path(url), timeout=30)) as live, closing(sqlite3.connect(backup)) as copy:
            copy.backup(live)

    return restore


def by_another_file(url: str, folder: Path) -> Callable[[], None]:
    """Put a copy in the place of a SQLite database."""
    backup = folder / "backup.db"
    with closing(sqlite3.connect(_path(url))) as live, closing(sqlite3.connect(backup)) as copy:
        live.backup(copy)

    def restore() -> None:
        path = _path(url)
        shutil.copy(backup, folder / "restored.db")
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        (folder / "restored.db").replace(path)

    return restore


def by_a_copy_without_the_log(url: str, folder: Path) -> Callable[[], None]:
    """Copy a backup over the SQLite file itself, with its log removed."""
    in_place(url, folder)

    def restore() -> None:
        path = _path(url)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(folder / "backup.db", path)

    return restore


def by_another_database(url: str, _folder: Path) -> Callable[[], None]:
    """Put a copy in the place of a PostgreSQL database, as a promoted standby is."""
    live = sa.make_url(url)
    maintenance = live.set(database="postgres")
    backup, lost = f"{live.database}_backup", f"{live.database}_lost"

    # The name is of our own making.
    disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{live.database}'"  # noqa: S608

    postgresql.administer(maintenance, disconnect, f"CREATE DATABASE {backup} TEMPLATE {live.database}")

    def restore() -> None:
        postgresql.administer(
            maintenance,
            f"ALTER DATABASE {live.database} WITH ALLOW_CONNECTIONS false",
            disconnect,
            f"ALTER DATABASE {live.database} RENAME TO {lost}",
            f"ALTER DATABASE {backup} RENAME TO {live.database}",
            f"DROP DATABASE {lost}",
        )

    return restore


@pytest.fixture(
    params=[in_place, by_another_file, by_a_copy_without_the_log, by_another_database], ids=lambda keep: keep.__name__
)
def setting(request: pytest.FixtureRequest) -> Iterator[tuple[str, Keep]]:
    """Yield the URL of a database, and how it is kept and restored."""
    kind = "postgresql" if request.param is by_another_database else "sqlite"
    with fresh_database(kind, request) as url:
        yield url, request.param


def publish(registry: httpx.Client, release: str, queues: str) -> None:
    """Publish a release of the network card; queues: the allowed values."""
    document = {"models": {NIC: {"variables": {"num-queues": {**QUEUES, "allowed_values": [1, queues]}}}}}
    registry.put(f"/releases/{release}", json=document).raise_for_status()


def answers(server: Server) -> list[Any]:
    """Return the answers of all workers to one question: every connection is taken by one of them."""
    device = {"model": NIC, "release": OLD, "values": {"num-queues": 16}}
    question = {"devices": [device], "destinations": [{"releases": [NEW]}]}
    found = []
    for _ in range(_QUESTIONS):
        response = httpx.post(
            f"{server.url}/compatibility", json=question, headers=AUTHORIZATION, verify=TLS, timeout=30
        )
        found.append(response.raise_for_status().json())
    return found


def test_no_worker_answers_from_a_history_that_is_lost(setting: tuple[str, Keep], tmp_path: Path) -> None:
    url, keep = setting
    with running(url, workers=2) as server, client(server) as registry:
        registry.put("/vendors/vendor-a.com", json={}).raise_for_status()
        publish(registry, OLD, "2-16")
        restore = keep(url, tmp_path)
        publish(registry, NEW, "2-16")
        time.sleep(_FRESH_SECONDS)
        before = answers(server)
        assert all(answer["results"][0]["compatible"] for answer in before)
        restore()
        time.sleep(_FRESH_SECONDS)
        lost = answers(server)
        problems = {problem["code"] for answer in lost for problem in answer["results"][0]["devices"][0]["problems"]}
        assert problems == {"unknown-release"}
        publish(registry, NEW, "2-8")
        time.sleep(_FRESH_SECONDS)
        after = answers(server)
        assert {answer["seq"] for answer in after} == {answer["seq"] for answer in before}
        assert not any(answer["results"][0]["compatible"] for answer in after)
        links = {answer["link"] for answer in after}
        assert len(links) == 1
        assert links.isdisjoint(answer["link"] for answer in before)
        assert {answer["registry"] for answer in after} == {answer["registry"] for answer in before}


def test_the_same_changes_made_anew_at_once_are_noticed(setting: tuple[str, Keep], tmp_path: Path) -> None:
    """Between two looks of a worker, the registry is set back and has the same number of changes again."""
    url, keep = setting
    with running(url, workers=2) as server, running(url) as other, client(other) as registry:
        registry.put("/vendors/vendor-a.com", json={}).raise_for_status()
        publish(registry, OLD, "2-16")
        restore = keep(url, tmp_path)
        publish(registry, NEW, "2-16")
        time.sleep(_FRESH_SECONDS)
        assert all(answer["results"][0]["compatible"] for answer in answers(server))
        restore()
        publish(registry, NEW, "2-8")
        time.sleep(_FRESH_SECONDS)
        assert not any(answer["results"][0]["compatible"] for answer in answers(server))
