"""A primary of PostgreSQL is lost and its standby promoted: the service goes on with it, without a restart."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import postgresql
from tests.api.stories import NIC, QUEUES
from tests.running.conftest import TLS, Server, client, command, environment, running

_READY_SECONDS = 30


@contextmanager
def _standby(primary: postgresql.Server) -> Iterator[postgresql.Server]:
    """Yield a streaming standby of a server."""
    with tempfile.TemporaryDirectory(prefix="registry-", ignore_cleanup_errors=True) as folder:
        standby = postgresql.Server(Path(folder))
        shutil.rmtree(standby.data)
        standby.run("pg_basebackup", f"--dbname={primary.url}", "--write-recovery-conf", "--checkpoint=fast")
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()


def _publish(server: Server, release: str) -> None:
    with client(server) as registry:
        document = {"models": {NIC: {"variables": {"queues": QUEUES}}}}
        registry.put(f"/releases/{release}", json=document).raise_for_status()


def _cause(server: Server) -> str | None:
    """Return why a server is not ready, None if it is."""
    response = httpx.get(f"{server.url}/readyz", verify=TLS, timeout=60)
    return None if response.status_code == httpx.codes.OK else str(response.json()["cause"])


def test_the_service_goes_on_with_a_promoted_standby() -> None:
    with postgresql.server() as primary, _standby(primary) as standby:
        hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (primary, standby))
        url = f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write&connect_timeout=3"
        subprocess.run(command("migrate"), env=environment(database_url=url), check=True, stdout=subprocess.DEVNULL)
        with running(url, workers=2) as server:
            with client(server) as registry:
                registry.put("/vendors/vendor-a.com", json={"name": "A"}).raise_for_status()
            _publish(server, "vendor-a.com/fw@1")
            _wait_for_the_standby(primary)
            primary.kill()
            assert _cause(server) == "unreachable"
            standby.run("pg_ctl", "-w", "promote")
            deadline = time.monotonic() + _READY_SECONDS
            while _cause(server) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            _publish(server, "vendor-a.com/fw@2")
            with client(server) as registry:
                names = [release["release"] for release in registry.get("/releases").raise_for_status().json()["items"]]
    assert sorted(names) == ["vendor-a.com/fw@1", "vendor-a.com/fw@2"]


def _wait_for_the_standby(primary: postgresql.Server) -> None:
    """Wait until the standby has received and applied everything; otherwise what it lacks would be lost."""
    deadline = time.monotonic() + _READY_SECONDS
    while not primary.ask("SELECT bool_and(replay_lsn = pg_current_wal_lsn()) FROM pg_stat_replication"):
        if time.monotonic() > deadline:
            pytest.fail("the standby does not follow")
        time.sleep(0.05)
