"""profile-registry adapter placement, as processes: what it prints, how it ends, and what it has done then."""

import inspect
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.adapters import placement as adapter
from app.adapters.accepted import MAX_PROFILES
from app.adapters.trait import trait_of
from app.cli.adapter import placement as placement_command
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, admin
from tests.adapters.openstack import PlacementServer, needs_placement, placement_in
from tests.running.conftest import Server, command, environment

TRAIT = trait_of(PROFILE)
REFUSAL = f"{NIC}: The profile sets num-queues=8, but {OLD} allows 1-4. (value-not-allowed)"
_PATIENCE_SECONDS = 60

pytestmark = needs_placement


@pytest.fixture
def placement(tmp_path: Path) -> Iterator[PlacementServer]:
    """Yield a Placement with a compute node for two hosts of the fleet."""
    with placement_in(tmp_path) as server:
        for host in ("old-1", "new-1"):
            server.add(f"{host}.example.org")
        yield server


def variables(registry: Server, placement: PlacementServer) -> dict[str, str]:
    return {**environment(url=registry.url), **placement.variables}


def run(registry: Server, placement: PlacementServer, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("adapter", "placement", "--suffix", ".example.org", *options),
        env=variables(registry, placement),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )


def document(registry: Server, placement: PlacementServer, *options: str) -> Any:
    done = run(registry, placement, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_shows_what_would_change_and_does_it_once(own_fleet: Server, placement: PlacementServer) -> None:
    done = run(own_fleet, placement, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "trait\tprofile\tproviders",
        f"{TRAIT}\t{PROFILE}\t1",
        "\ttrait\tproviders\twhy",
        f"would be added\t{TRAIT}\tnew-1.example.org\tthe host accepts {PROFILE}",
        f"not there\t{TRAIT}\told-1.example.org\t{REFUSAL}",
        "No provider stands for these registered hosts: new-2, old-2",
    ]
    assert placement.candidates(required=TRAIT) == set()
    planned, done_once = (document(own_fleet, placement, option) for option in ("--dry-run", "--once"))
    assert planned == {**done_once, "dry_run": True}
    assert done_once["traits"] == [{"trait": TRAIT, "profile": PROFILE, "providers": 1}]
    (change,) = done_once["changes"]
    assert change["change"] == "added"
    assert change["provider"] == "new-1.example.org"
    assert change["reason"] == f"the host accepts {PROFILE}"
    assert done_once["refusals"] == [{"trait": TRAIT, "reason": REFUSAL, "providers": ["old-1.example.org"]}]
    assert done_once["absent_hosts"] == ["new-2", "old-2"]
    assert placement.candidates(required=TRAIT) == {"new-1.example.org"}
    assert "Nothing changed." in run(own_fleet, placement, "--once").stdout
    assert run(own_fleet, placement, "--withdraw").stdout.splitlines()[1:] == [
        f"removed\t{TRAIT}\tnew-1.example.org\t--withdraw"
    ]
    assert placement.candidates(required=TRAIT) == set()


def test_without_a_registry_it_removes_the_traits_and_says_why(own_fleet: Server, placement: PlacementServer) -> None:
    document(own_fleet, placement, "--once")
    own_fleet.kill()
    done = run(own_fleet, placement, "--dry-run")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert placement.candidates(required=TRAIT) == {"new-1.example.org"}
    done = run(own_fleet, placement, "--once", "--hold", "2")
    assert done.returncode == 2
    assert "the registry has given no answer for 2 seconds: " in done.stderr
    assert done.stdout.splitlines()[1].startswith(f"removed\t{TRAIT}\tnew-1.example.org\tthe registry has given no")
    assert placement.candidates(required=TRAIT) == set()


def test_without_placement_it_says_so(own_fleet: Server, placement: PlacementServer) -> None:
    placement.kill()
    done = run(own_fleet, placement, "--once")
    assert done.returncode == 2
    assert "Placement cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_follows_until_it_is_told_to_stop(own_fleet: Server, placement: PlacementServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command("adapter", "placement", "--suffix", ".example.org", "--profile", "vendor-a.com/*"),
            env=variables(own_fleet, placement),
            stdout=file,
            stderr=file,
        )
    try:
        _wait(placement, {"new-1.example.org"})
        with admin(own_fleet) as writer:
            writer.put("/hosts/old-1", {"releases": [NEW]})
        _wait(placement, {"new-1.example.org", "old-1.example.org"})
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(_PATIENCE_SECONDS)
    assert status == 0
    lines = log.read_text().splitlines()
    assert [line.partition(" INFO ")[2] for line in lines] == [
        f"{TRAIT} added to new-1.example.org: the host accepts {PROFILE}",
        f"{TRAIT} is not on old-1.example.org: {REFUSAL}",
        f"{TRAIT} added to old-1.example.org: the host accepts {PROFILE}",
    ]
    # They stay: a restart is no reason to empty the cloud.
    assert placement.candidates(required=TRAIT) == {"new-1.example.org", "old-1.example.org"}


def _wait(placement: PlacementServer, expected: set[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while placement.candidates(required=TRAIT) != expected:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--once", "--dry-run"], "only one of --once, --dry-run and --withdraw has an effect"),
        (["--json"], "--json needs --once, --dry-run or --withdraw"),
        (["--hold", "10"], "--hold must be at least 15"),
        (["--once", "--names", "names.json"], 'must contain a JSON object such as {"compute-1.example.org": "host-1"}'),
        (["--once", "--names", "broken.json"], "broken.json cannot be read"),
        (["--once"], "the variables OS_… do not say how to sign in"),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "names.json").write_text('{"compute-1": 1}')
    (tmp_path / "broken.json").write_text("{")
    done = subprocess.run(
        command("adapter", "placement", *options),
        env={name: value for name, value in environment().items() if not name.startswith("OS_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_defaults_of_the_options_are_those_of_the_adapter() -> None:
    parameters = inspect.signature(placement_command.placement).parameters
    assert parameters["limit"].default == MAX_PROFILES
    assert parameters["hold"].default == adapter.HOLD_SECONDS
