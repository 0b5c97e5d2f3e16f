"""The version before and this one serve one database under load: an upgrade has no gap."""

import subprocess
import tarfile
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest

from app.storage import version
from tests import postgresql
from tests.running.conftest import ROOT, changes, client, command, environment, running
from tests.running.load import Load
from tests.running.test_kills import check_stored

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
        time.sleep(_SECONDS)
        stack.pop_all().close()
        with running(store.url) as again:
            check_stored(again, load.published)
    assert load.statuses.keys() <= {200, 201, 503}, load.statuses
