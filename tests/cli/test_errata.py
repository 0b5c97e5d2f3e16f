"""profile-registry erratum, and the exit statuses of what publishes."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Registry
from tests.api.stories import FIRMWARE, NIC, QUEUES
from tests.cli.conftest import Run

ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P = "vendor-a.com/p"


@pytest.fixture
def published(api: Registry, run: Run) -> Run:
    """Return the command, for a registry with two releases."""
    api.put("/vendors/vendor-a.com", {})
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    for release in (ONE, TWO):
        models = {NIC: {"variables": {"num-queues": QUEUES}}}
        api.put(f"/releases/{release}", {"models": models, "profiles": profiles if release == ONE else [P]})
    return run


ADD = ("erratum", "add", TWO, NIC, "--description", "it loses packets", "--when", "num-queues=5-8", "--with", ONE)


def test_an_erratum_is_added_listed_and_withdrawn(published: Run) -> None:
    question = ("check", "--model", NIC, "--source", ONE, "--profile", P, "--destination", TWO)
    assert published(*question).exit_code == 0
    tried = published(*ADD, "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert published("erratum", "list").stdout.count("it loses packets") == 0
    added = published(*ADD, "--url", "https://vendor-a.com/1", "--json")
    assert added.exit_code == 0, added.output
    erratum: Any = json.loads(added.stdout)
    assert published(*ADD, "--url", "https://vendor-a.com/1").exit_code == 0
    refused = published(*question)
    assert (refused.exit_code, "known-broken" in refused.stdout) == (1, True)
    assert "it loses packets (https://vendor-a.com/1)" in refused.stdout
    listed = published("erratum", "list", "--release", TWO, "--model", NIC).stdout
    assert f"to and from {ONE}" in listed
    assert erratum["id"] in listed
    assert published("erratum", "list", "--release", ONE).stdout.count(erratum["id"]) == 0
    withdrawn = published("erratum", "withdraw", erratum["id"])
    assert (withdrawn.exit_code, "withdrawn" in withdrawn.stdout) == (0, True)
    assert published(*question).exit_code == 0
    assert erratum["id"] not in published("erratum", "list").stdout
    assert json.loads(published("erratum", "list", "--withdrawn", "--json").stdout)[0]["state"] == "withdrawn"
    again = published(*ADD, "--url", "https://vendor-a.com/1")
    assert (again.exit_code, "State what is wrong in other words" in again.stderr) == (1, True)


def test_an_erratum_without_others_keeps_its_direction(published: Run) -> None:
    published("erratum", "add", TWO, NIC, "--description", "it cannot leave", "--direction", "to", "--local")
    assert "to any release" in published("erratum", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("erratum", "add", "vendor-a.com/fw@9", NIC, "--description", "x"), 1),
        (("erratum", "add", TWO, NIC, "--description", "x", "--when", "queue=1"), 1),
        (("erratum", "add", TWO, NIC, "--description", " "), 1),
        (("erratum", "withdraw", "a/b?x"), 1),
    ],
)
def test_a_refused_erratum_has_the_status_of_a_refusal(published: Run, arguments: tuple[str, ...], status: int) -> None:
    assert published(*arguments).exit_code == status


def test_an_import_says_whether_it_was_refused_or_could_not_ask(
    published: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = tmp_path / "smaller.json"
    fewer = {**QUEUES, "allowed_values": ["1-4"]}
    document: dict[str, Any] = {"models": {NIC: {"variables": {"num-queues": fewer}}}}
    smaller.write_text(json.dumps(document))
    arguments = ("import", "migration-info", str(smaller), "--release", f"{FIRMWARE}@3")
    refused = published(*arguments)
    assert (refused.exit_code, "would break" in refused.stderr) == (1, True)
    # A draft is not refused, and is told what it would break.
    smaller.write_text(json.dumps({**document, "state": "draft"}))
    draft = published(*arguments)
    assert (draft.exit_code, "A draft: once published, it would break earlier releases" in draft.stdout) == (0, True)
    assert json.loads(published(*arguments, "--json").stdout)["breaks"][0]["model"] == NIC
    smaller.write_text("no JSON")
    assert published(*arguments).exit_code == 2

    # Without a valid token, nothing was asked of the release.
    smaller.write_text(json.dumps(document))
    monkeypatch.setenv("REGISTRY_TOKEN", "wrong")
    assert published(*arguments).exit_code == 2
