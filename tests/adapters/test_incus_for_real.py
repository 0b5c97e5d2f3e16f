"""A cluster of real Incus places and moves instances as the adapter's scriptlet says; skipped without Incus."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from app.adapters.incus import SETTING
from tests.adapters import incus_cluster
from tests.adapters.conftest import NIC, OLD, PROFILE, admin
from tests.adapters.incus_cluster import Cluster
from tests.running.conftest import ROOT, Server, command, environment

_PATIENCE_SECONDS = 40
_MEMBERS = ("old-1", "new-1", "new-2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Yield a cluster whose members have the names of hosts of the fleet, with profiles that describe a card."""
    if (reason := incus_cluster.missing()) is not None:
        pytest.skip(reason)
    with incus_cluster.running(_MEMBERS) as cluster:
        for profile, queues in (("eight", None), ("sixteen", 16)):
            done(cluster, "profile", "create", profile)
            keys = [f"user.dpr:nic0.model={NIC}", f"user.dpr:nic0.profile={PROFILE}"]
            keys += [] if queues is None else [f"user.dpr:nic0.values.num-queues={queues}"]
            done(cluster, "profile", "set", profile, *keys)
        yield cluster


def done(cluster: Cluster, *arguments: str) -> str:
    """Run the command incus, which succeeds; return what it prints."""
    ended = cluster.incus(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(cluster: Cluster, *arguments: str) -> str:
    """Run the command incus, which fails; return why."""
    ended = cluster.incus(*arguments)
    assert ended.returncode != 0, ended.stdout
    return ended.stderr


def location(cluster: Cluster, instance: str) -> str:
    """Return the member that an instance is on."""
    return done(cluster, "list", instance, "-f", "csv", "-c", "L").strip()


@contextmanager
def adapter(server: Server, cluster: Cluster, folder: Path, *options: str) -> Iterator[Path]:
    """Run the adapter meanwhile; yields its log."""
    log = folder / "adapter.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command("adapter", "incus", "--socket", str(cluster.socket), "--every", "1", *options),
            cwd=ROOT,
            env=environment(url=server.url, adapter_ask_seconds="3"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.terminate()
        assert process.wait(_PATIENCE_SECONDS) == 0, log.read_text(encoding="utf-8")


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def placed_by(cluster: Cluster, text: str) -> Callable[[], bool]:
    """Return whether the scriptlet has a text."""
    return lambda: text in done(cluster, "config", "get", SETTING)


def test_instances_are_placed_moved_and_refused_as_the_registry_says(
    own_fleet: Server, cluster: Cluster, tmp_path: Path
) -> None:
    with adapter(own_fleet, cluster, tmp_path) as log:
        until(placed_by(cluster, PROFILE))
        # Four instances, on the two members that can have them.
        for number in range(4):
            done(cluster, "init", "--empty", f"eight{number}", "-p", "default", "-p", "eight")
        where = [location(cluster, f"eight{number}") for number in range(4)]
        assert set(where) == {"new-1", "new-2"}
        assert "default/eight0 not on old-1: nic0: " in cluster.logged()
        # Nobody has sixteen queues.
        reason = refused(cluster, "init", "--empty", "sixteen", "-p", "default", "-p", "sixteen")
        assert "device-profile registry: default/sixteen is not placed: new-1, new-2: nic0: num-queues=16 " in reason
        assert " allows 1-8. (value-not-allowed); old-1: nic0: " in reason
        assert "default/sixteen is not placed" in cluster.logged()
        assert location(cluster, "sixteen") == ""
        # What nothing describes is placed by Incus alone, here on the member with the fewest instances.
        done(cluster, "init", "--empty", "plain")
        assert location(cluster, "plain") == "old-1"
        # A description that is in no profile is not known.
        keys = [option for key in ("model", "profile") for option in ("-c", f"user.dpr:nic1.{key}={NIC}")]
        assert "its devices are not known yet" in refused(cluster, "init", "--empty", "other", *keys)

        # The members that described instances run on are known a little later.
        until(lambda: all(f"from {member}: new-1, new-2" in log.read_text(encoding="utf-8") for member in set(where)))
        # To name a member does not help.
        assert "default/there is not placed: old-1: nic0: " in refused(
            cluster, "init", "--empty", "there", "-p", "default", "-p", "eight", "--target", "old-1"
        )
        assert "default/eight0 is not placed: old-1: nic0: " in refused(cluster, "move", "eight0", "--target", "old-1")

        # The members' instances leave one by one, to members that can have them; with the source now.
        done(cluster, "cluster", "evacuate", "new-1", "--force")
        assert {location(cluster, f"eight{number}") for number in range(4)} == {"new-2"}
        done(cluster, "cluster", "restore", "new-1", "--force")

        # The feed: new-2 turns out to run the old firmware.
        with admin(own_fleet) as registry:
            registry.put("/hosts/new-2", {"releases": [OLD]})
        until(lambda: f"dpr:nic0.profile={PROFILE}: new-1\n" in log.read_text(encoding="utf-8"))
        done(cluster, "init", "--empty", "late", "-p", "default", "-p", "eight")
        assert location(cluster, "late") == "new-1"

        # The registry is killed in the middle: no member takes what is described, and nothing else stops.
        own_fleet.kill()
        until(placed_by(cluster, "the registry gave no answer"))
        reason = refused(cluster, "init", "--empty", "away", "-p", "default", "-p", "eight")
        assert "the registry gave no answer" in reason
        done(cluster, "init", "--empty", "plain2")
        own_fleet.start()
        until(lambda: not placed_by(cluster, "the registry gave no answer")())
        done(cluster, "init", "--empty", "away", "-p", "default", "-p", "eight")
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_without_the_adapter_the_tables_end(own_fleet: Server, cluster: Cluster, tmp_path: Path) -> None:
    with adapter(own_fleet, cluster, tmp_path, "--lease", "10"):
        until(placed_by(cluster, "SECONDS = 10\n"))
        until(lambda: not placed_by(cluster, "the registry gave no answer")())
        done(cluster, "init", "--empty", "in-time", "-p", "default", "-p", "eight")
    reasons = (
        cluster.incus("init", "--empty", f"later{number}", "-p", "default", "-p", "eight").stderr for number in count()
    )
    until(lambda: "written more than 10 seconds ago; is the adapter running?" in next(reasons))
