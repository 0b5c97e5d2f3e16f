"""The version before and this one serve one database under load: an upgrade has no gap."""

import subprocess
import tarfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.storage import version
from tests import postgresql
from tests.running.conftest import ROOT, changes, client, command, environment, running
from tests.running.load import Load
from tests.running.test_kills import NIC, check_stored

_SECONDS = 2.0


def _git(*arguments: str) -> str:
    """Return what git answers in this checkout, nothing where it fails."""
    return _git_bytes(*arguments).decode().strip()


def _git_bytes(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout  # noqa: S607


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout of the last commit without the newest migration."""
    (newest,) = (ROOT / "migrations" / "versions").glob(f"{version.revisions()[0]}_*.py")
    if not _git("rev-parse", "HEAD"):
        pytest.skip("this is not a git checkout, so the version before is missing: the upgrade is not tested")
    added = _git("log", "--format=%H", "--diff-filter=A", "-1", "--", str(newest))
    # A migration that is not committed yet comes after all commits.
    archive = _git_bytes("archive", f"{added}^" if added else "HEAD")
    if not archive:
        pytest.skip("the history of this checkout ends too early (git fetch --unshallow): the upgrade is not tested")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    assert not (folder / newest.relative_to(ROOT)).exists()
    return folder


def _migrate(root: Path, url: str) -> str:
    """Migrate a database with the program of a checkout; return what it prints."""
    done = subprocess.run(
        command("migrate"),
        cwd=root,
        env=environment(root, database_url=url),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _check_hosts(old: httpx.Client, new: httpx.Client) -> None:
    """Check that the new version knows what the version before registers, changes and forgets, and the other way."""

    def registered(name: str, number: int, rack: str) -> tuple[str, dict[str, Any]]:
        return f"/hosts/{name}", {"releases": [f"vendor-a.com/fw@{number}"], "labels": {"rack": rack}}

    def counts(registry: httpx.Client, *labels: str) -> int:
        device = {"model": NIC, "release": "vendor-a.com/fw@1"}
        destination = {"labels": labels} if labels else {"all_hosts": True}
        question = {"devices": [device], "destinations": [destination], "detail": "summary"}
        (result,) = registry.post("/compatibility", json=question).json()["results"]
        return 0 if result["reasons"][:1] and result["reasons"][0]["code"] == "unknown-host" else _all(result)

    for name, number, rack, registry in (
        ("old-1", 1, "r1", old), ("old-2", 1, "r2", old), ("new-1", 1, "r1", new), ("new-2", 2, "r1", new),
    ):  # fmt: skip
        path, document = registered(name, number, rack)
        registry.put(path, json=document).raise_for_status()
    time.sleep(_SECONDS)
    assert [counts(registry, "rack=r1") for registry in (old, new)] == [3, 3]
    # The old version changes what the new one has filed.
    path, document = registered("new-1", 2, "r2")
    old.put(path, json=document).raise_for_status()
    old.delete("/hosts/old-2").raise_for_status()
    time.sleep(_SECONDS)
    assert [counts(registry, "rack=r1") for registry in (old, new)] == [2, 2]
    assert [counts(registry, "rack=r2") for registry in (old, new)] == [1, 1]
    assert [counts(registry) for registry in (old, new)] == [3, 3]
    kinds = {host["host"]: host["kind"] for host in new.get("/hosts").json()["items"]}
    assert kinds["new-1"] == kinds["new-2"] != kinds["old-1"]


def _all(result: Mapping[str, Any]) -> int:
    """Return how many destinations a summary is about."""
    return len(result["possible"]) + int(result["impossible"])


def test_an_upgrade_under_load(before: Path) -> None:
    load = Load()
    knows_versions = (before / "app" / "storage" / "version.py").exists()
    with postgresql.server() as store, ExitStack() as stack:
        _migrate(before, store.url)
        with running(store.url, root=before) as old:
            load.prepare(old)
            with load.on(old):
                time.sleep(_SECONDS)
                assert load.published
                _migrate(ROOT, store.url)
                new = stack.enter_context(running(store.url))
                stack.enter_context(load.on(new))
                time.sleep(_SECONDS)
                with client(old) as registry:
                    # A program that cannot tell that it fits is out of service from now on, but goes on answering.
                    assert registry.get("/readyz").status_code == (200 if knows_versions else 503)
                if knows_versions:
                    assert "newer" in _migrate(before, store.url)
            with client(old) as there, client(new) as here:
                # More is published meanwhile.
                count = len(load.published)
                assert changes(there)[:count] == changes(here)[:count]
                _check_hosts(there, here)
        time.sleep(_SECONDS)
        stack.pop_all().close()
        with running(store.url) as again:
            check_stored(again, load.published)
    assert load.statuses.keys() <= {200, 201, 503}, load.statuses
