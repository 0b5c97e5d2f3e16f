"""profile-registry changes: prints the feed, and follows it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.cli import changes
from app.cli.client import Registry
from app.client import RegistryError
from tests.api.serving import served
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import Run
from tests.conftest import AUTHORIZATION, make_app

ONE = f"{FIRMWARE}@1"


@pytest.fixture
def filled(api: Registry, run: Run) -> Run:
    """Return the command, for a registry with some changes."""
    api.put("/vendors/vendor-a.com", {})
    api.put(f"/releases/{ONE}", {"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
    api.patch(f"/releases/{ONE}", {"state": "deprecated"})
    api.put("/vendors/vendor-b.com", {})
    return run


def test_changes_are_lines_for_people_and_programs(filled: Run) -> None:
    lines = [line.split("\t") for line in filled("changes").stdout.splitlines()]
    assert [(seq, kind, name, detail) for seq, _, kind, name, detail, _ in lines] == [
        ("1", "vendor-registered", "vendor-a.com", ""),
        ("2", "release-published", ONE, ""),
        ("3", "release-state-changed", ONE, "published → deprecated"),
        ("4", "vendor-registered", "vendor-b.com", ""),
    ]
    as_json = [json.loads(line) for line in filled("changes", "--json").stdout.splitlines()]
    assert [change["seq"] for change in as_json] == [1, 2, 3, 4]
    assert as_json[2]["detail"] == {"before": "published", "state": "deprecated"}


def _seqs(output: str) -> list[int]:
    return [json.loads(line)["seq"] for line in output.splitlines()]


def test_changes_are_filtered(filled: Run) -> None:
    assert _seqs(filled("changes", "--after", "2", "--json").stdout) == [3, 4]
    assert _seqs(filled("changes", "--vendor", "vendor-b.com", "--json").stdout) == [4]
    assert _seqs(filled("changes", "--model", NIC, "--json").stdout) == [2, 3]
    kinds = ("--kind", "release-published", "--kind", "release-state-changed")
    assert _seqs(filled("changes", *kinds, "--json").stdout) == [2, 3]
    assert filled("changes", "--after", "4").stdout == ""


def test_long_feeds_are_read_page_by_page(filled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_PAGE", 1)
    assert _seqs(filled("changes", "--json").stdout) == [1, 2, 3, 4]
    assert _seqs(filled("changes", "--vendor", "vendor-a.com", "--json").stdout) == [1, 2, 3]


def test_kinds_that_only_the_audit_has_are_refused(filled: Run) -> None:
    refused = filled("changes", "--kind", "token-created")
    assert (refused.exit_code, "only the audit" in refused.stderr) == (2, True)
    misspelt = filled("changes", "--kind", "release-publish")
    assert (misspelt.exit_code, "Did you mean 'release-published'" in misspelt.stderr) == (2, True)


@pytest.fixture
def address(database_url: str) -> Iterator[str]:
    """Yield the address of a served registry with one change."""
    app = make_app(database_url)
    with TestClient(app, headers=AUTHORIZATION) as registry:
        vendor(registry)
    with served(app) as address:
        yield address


def test_a_feed_is_followed_until_an_interrupt(address: str, database_url: str) -> None:
    # Programs that a shell starts in the background ignore interrupts; this one must not.
    program = ["env", "--default-signal=INT", sys.executable, "-m", "app.cli", "changes", "--follow", "--json"]
    variables = {**os.environ, "REGISTRY_URL": address}
    with subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["name"] == "vendor-a.com"
        with TestClient(make_app(database_url), headers=AUTHORIZATION) as registry:
            assert publish(registry, ONE, {"num-queues": QUEUES}).is_success
        assert json.loads(running.stdout.readline())["name"] == ONE
        running.send_signal(signal.SIGINT)
        try:
            _, errors = running.communicate(timeout=30)
        finally:
            running.kill()
    assert (running.returncode, errors) == (0, "")


def test_a_follower_connects_again(filled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read, waits = Registry.get, list[int]()

    def read_with_failures(self: Registry, path: str, **parameters: int | str) -> object:
        wait = int(parameters["wait"])
        if wait:
            waits.append(int(parameters["after"]))
            if len(waits) == 1:
                message = "the registry cannot be reached"
                raise RegistryError(message, is_transient=True)
            if len(waits) == 3:
                raise KeyboardInterrupt
        return read(self, path, **{**parameters, "wait": 0})

    monkeypatch.setattr(Registry, "get", read_with_failures)
    monkeypatch.setattr("app.cli.retrying._MAX_PAUSE_SECONDS", 0.01)
    followed = filled("changes", "--follow", "--json")
    assert followed.exit_code == 0
    assert _seqs(followed.stdout) == [1, 2, 3, 4]
    assert waits == [4, 4, 4]
    assert followed.stderr.count("cannot be reached; retrying") == 1


def test_a_follower_goes_on_where_the_registry_was_set_back(filled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    def read(_: Registry, path: str, **parameters: int) -> object:
        assert path == "/changes"
        if parameters["wait"]:
            waits.append(parameters["after"])
        if len(waits) == 2:
            raise KeyboardInterrupt
        return {"head": 2 if waits else 5, "items": [], "next": None}

    monkeypatch.setattr(Registry, "get", read)
    followed = filled("changes", "--follow")
    assert (followed.exit_code, waits) == (0, [5, 2])
    assert "set back to change 2" in followed.stderr
