"""Backups can be restored: the drill of deploy, on a dump of PostgreSQL, a copy of SQLite and an archive."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgresql
from tests.api.stories import NIC, QUEUES
from tests.running.conftest import ROOT, Server, client, environment, running, running_anew

_DRILL = ROOT / "deploy" / "restore-drill"


def _publish(server: Server, *versions: int) -> None:
    with client(server) as registry:
        registry.put("/vendors/vendor-a.com", json={"name": "A"}).raise_for_status()
        for version in versions:
            document = {"models": {NIC: {"variables": {"queues": QUEUES}}}}
            registry.put(f"/releases/vendor-a.com/fw@{version}", json=document).raise_for_status()


def _programs() -> str:
    """Return a PATH with the command, and with the programs of the PostgreSQL that tests start."""
    return os.pathsep.join((str(Path(sys.executable).parent), str(postgresql.programs()), os.environ["PATH"]))


def _run(*command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    variables = {**environment(ROOT, **settings), "PATH": _programs()}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def _drill(backup: Path, database_url: str, live: Server) -> tuple[int, str]:
    """Run the drill; return its exit status and the last line that it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = {**environment(), "PATH": _programs(), "DRILL_PORT": port}
    done = subprocess.run(
        [_DRILL, backup, database_url, live.url], env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


def _copy(live: Path, backup: Path) -> None:
    """Copy a SQLite database that is in use."""
    assert _run("sqlite3", live, f"VACUUM INTO '{backup}'").returncode == 0


@pytest.fixture
def restored(tmp_path: Path) -> str:
    """The URL of an empty SQLite database for the drill."""
    return f"sqlite:///{tmp_path}/restored.db"


_NEEDS_SQLITE = pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed")


def test_a_dump_of_postgresql_is_a_part_of_the_live_history(tmp_path: Path) -> None:
    with postgresql.server() as database:
        database.execute("CREATE DATABASE live", "CREATE DATABASE drill")
        live, drill = (database.url.removesuffix("postgres") + name for name in ("live", "drill"))
        assert _run("profile-registry", "migrate", database_url=live).returncode == 0
        with running(live) as server:
            _publish(server, 1)
            backup = tmp_path / "registry.dump"
            assert _run("pg_dump", "--format=custom", f"--file={backup}", live).returncode == 0
            _publish(server, 2)
            status, line = _drill(backup, drill, server)
            assert (status, line) == (0, _whole(seq=2, head=3))
            # The drill does not write to what it compares with, and a second one needs an empty database.
            assert _drill(backup, drill, server) == (1, "The drill failed: pg_restore.")


@_NEEDS_SQLITE
def test_a_copy_of_sqlite_is_a_part_of_the_live_history(tmp_path: Path, restored: str) -> None:
    with running_anew(tmp_path) as server:
        _publish(server, 1, 2)
        backup = tmp_path / "registry.db"
        _copy(tmp_path / "r.db", backup)
        assert _drill(backup, restored, server) == (0, _whole(seq=3, head=3))


def test_an_archive_is_a_part_of_the_live_history(tmp_path: Path, restored: str) -> None:
    with running_anew(tmp_path) as server:
        _publish(server, 1)
        backup = tmp_path / "registry.jsonl.gz"
        assert _run("profile-registry", "export", backup, url=server.url).returncode == 0
        _publish(server, 2)
        assert _drill(backup, restored, server) == (0, _whole(seq=2, head=3))


@_NEEDS_SQLITE
def test_the_drill_finds_a_history_that_is_not_the_live_one(tmp_path: Path, restored: str) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "set-back").mkdir()
    backup = tmp_path / "registry.db"
    with running_anew(tmp_path / "live") as server:
        _publish(server, 1)
        _copy(tmp_path / "live" / "r.db", tmp_path / "set-back" / "r.db")
        _publish(server, 2)
        _copy(tmp_path / "live" / "r.db", backup)
    with running(f"sqlite:///{tmp_path}/set-back/r.db") as server:
        message = "The drill failed: the backup has 3 changes, the live registry only 2: it was set back."
        assert _drill(backup, restored, server) == (1, message)
        (tmp_path / "restored.db").unlink()
        # As many changes are made anew.
        _publish(server, 3)
        message = "The drill failed: change 3 of the backup is not that of the live registry."
        assert _drill(backup, restored, server) == (1, message)


@_NEEDS_SQLITE
def test_the_drill_finds_a_damaged_copy(tmp_path: Path, restored: str) -> None:
    with running_anew(tmp_path) as server:
        _publish(server, 1)
        backup = tmp_path / "registry.db"
        _copy(tmp_path / "r.db", backup)
        content = bytearray(backup.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
        backup.write_bytes(content)
        assert _drill(backup, restored, server) == (1, f"The drill failed: {backup} is damaged.")


def _whole(*, seq: int, head: int) -> str:
    same = f"The backup is whole: change {seq} of {head} is the same in the live registry."
    return f"{same} Changes since then: {head - seq}."
