"""profile-registry vendor, release, profile, and token whoami."""

import json

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry
from tests.api.stories import FIRMWARE, NIC, QUEUES
from tests.cli.conftest import Run
from tests.conftest import AUTHORIZATION

ONE = f"{FIRMWARE}@1"
P = "vendor-a.com/my-profile"


@pytest.fixture
def published(api: Registry, run: Run) -> Run:
    """Return the command, for a registry with a release that lists a profile, and a host."""
    api.put("/vendors/vendor-a.com", {})
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    api.put(f"/releases/{ONE}", {"models": {NIC: {"variables": {"num-queues": QUEUES}}}, "profiles": profiles})
    api.put("/hosts/host-1", {"releases": [ONE]})
    return run


def test_a_vendor_is_created_once(run: Run) -> None:
    create = ("vendor", "create", "vendor-a.com", "--name", "Vendor A")
    dry = run(*create, "--dry-run")
    assert (dry.exit_code, "would be registered" in dry.stdout) == (0, True)
    assert "vendor-a.com" not in run("vendor", "list").stdout
    assert run(*create).stdout == "vendor-a.com: registered\n"
    assert "nothing to add" in run("vendor", "create", "vendor-a.com").stdout
    changed = run("vendor", "create", "vendor-a.com", "--name", "Another")
    assert (changed.exit_code, "must stay as published: Vendor A" in changed.stderr) == (1, True)
    assert run("vendor", "create", "vendor-a.com", "--url", "https://vendor-a.com", "--signed").exit_code == 0
    listed = run("vendor", "list").stdout.splitlines()
    assert listed[1].split("\t") == ["vendor-a.com", "Vendor A", "https://vendor-a.com", "must be signed"]
    assert json.loads(run("vendor", "list", "--json").stdout)[0]["name"] == "Vendor A"
    assert json.loads(run(*create, "--json").stdout)["added"]["vendors"] == 0
    assert run("vendor", "create", "no vendor").exit_code == 1


@pytest.mark.parametrize(("group", "name"), [("release", ONE), ("profile", P)])
def test_a_state_is_changed_and_taken_back(published: Run, group: str, name: str) -> None:
    foreseen = published(group, "retire", name, "--dry-run")
    assert foreseen.exit_code == 0, foreseen.output
    assert f"{name}: would be retired, was published" in foreseen.stdout
    assert "hosts\t1\thost-1" in foreseen.stdout
    assert f"listed pairs\t1\t{P} at {ONE}" in foreseen.stdout
    assert published(group, "deprecate", name).stdout == f"{name}: deprecated, was published\n"
    assert published(group, "deprecate", name).stdout == f"{name} is deprecated already\n"
    assert json.loads(published(group, "retire", name, "--json").stdout)["before"] == "deprecated"
    assert name in published(group, "list", "--state", "retired").stdout
    assert published(group, "publish", name).stdout == f"{name}: published, was retired\n"
    assert name not in published(group, "list", "--state", "retired").stdout


def test_releases_and_profiles_are_listed(published: Run) -> None:
    releases = published("release", "list", "--implementation", FIRMWARE).stdout.splitlines()
    assert releases[1].split("\t") == [ONE, "published", "1", "1"]
    assert len(published("release", "list", "--model", "vendor-a.com/none").stdout.splitlines()) == 1
    assert published("profile", "list", "--vendor", "vendor-a.com").stdout.splitlines()[1].split("\t")[0] == P
    assert json.loads(published("profile", "list", "--model", NIC, "--json").stdout)[0]["name"] == P


def test_a_draft_is_published(published: Run, api: Registry) -> None:
    draft = {"models": {NIC: {"variables": {"num-queues": QUEUES}}}, "state": "draft"}
    api.put(f"/releases/{FIRMWARE}@2", draft)
    assert f"{FIRMWARE}@2" in published("release", "list", "--state", "draft").stdout
    shown = published("release", "publish", f"{FIRMWARE}@2")
    assert (shown.exit_code, "device models of the release\t1" in shown.stdout) == (0, True)
    narrow = {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}
    api.put(f"/releases/{FIRMWARE}@3", {"models": {NIC: {"variables": narrow}}, "state": "draft"})
    refused = published("release", "publish", f"{FIRMWARE}@3")
    assert (refused.exit_code, "evolution-gate" in refused.stderr) == (1, True)
    assert published("release", "publish", f"{FIRMWARE}@3", "--override", "the card is gone").exit_code == 0


def test_an_unknown_name_is_refused_with_one_that_resembles_it(published: Run) -> None:
    refused = published("release", "retire", f"{FIRMWARE}@1.0")
    assert (refused.exit_code, f"Did you mean {ONE}?" in refused.stderr) == (1, True)
    refused = published("profile", "retire", "vendor-a.com/q")
    assert refused.exit_code == 1


def test_verdicts_on_unknown_names_suggest_others(published: Run) -> None:
    nowhere = published("check", "--model", "vendor-a.com/my-nik")
    assert (nowhere.exit_code, f"Did you mean {NIC}?" in nowhere.stderr) == (2, True)
    misspelt = ("--source", f"{FIRMWARE}@1.0", "--profile", "vendor-a.com/my-profil", "--host", "host-11")
    unknown = published("check", "--model", NIC, *misspelt)
    assert unknown.exit_code == 1
    for name in (ONE, P, "host-1"):
        assert f"Did you mean {name}?" in unknown.stderr
    summary = published("check", "--model", NIC, "--host", "host-11", "--detail", "summary")
    assert "Did you mean host-1?" in summary.stderr
    baseline = published("baseline", "--model", "vendor-a.com/my-nik", "--release", ONE)
    assert f"Did you mean {NIC}?" in baseline.stderr
    assert "Did you mean" not in published("check", "--model", NIC, "--source", ONE, "--host", "host-1").stderr


def test_a_token_says_what_it_is(published: Run, service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = published("token", "whoami").stdout
    assert "role\tadmin" in operator
    assert "the operator's token" in operator
    document = {"name": "pipeline", "role": "publisher", "vendor": "vendor-a.com", "expires_in": 3600}
    created = service.post("/tokens", json=document, headers=AUTHORIZATION).json()
    monkeypatch.setenv("REGISTRY_TOKEN", created["token"])
    own = published("token", "whoami").stdout
    assert f"id\t{created['id']}" in own
    assert f"expires\t{created['expires_at']}" in own
    assert "publish names that begin with vendor-a.com/" in own
    assert json.loads(published("token", "whoami", "--json").stdout)["vendor"] == "vendor-a.com"
    for token in ("wrong", ""):
        monkeypatch.setenv("REGISTRY_TOKEN", token)
        refused = published("token", "whoami")
        assert (refused.exit_code, "Not signed in" in refused.stderr) == (2, True)
