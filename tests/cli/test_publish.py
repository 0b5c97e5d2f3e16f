"""profile-registry publish: what it stores, what it foresees, and how it shows what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import Result

from app.cli.client import Registry
from app.client import RegistryError
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES
from tests.cli.conftest import Run
from tests.conftest import AUTHORIZATION

ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P, OLD = "vendor-a.com/my-nic-2024", "vendor-a.com/my-nic-2023"

Publish = Callable[..., Result]


def release(variables: Any, **more: Any) -> dict[str, Any]:
    """Return the document of a release of one device model."""
    return {"models": {NIC: {"variables": variables}}, **more}


@pytest.fixture
def publish(api: Registry, run: Run, tmp_path: Path) -> Publish:
    """Return a function that publishes a document, in a registry with one release and a host that runs it."""
    api.put("/vendors/vendor-a.com", {})
    profiles = [{"name": name, "values": {NIC: {"num-queues": 8}}} for name in (P, OLD)]
    api.put(f"/releases/{ONE}", release({"num-queues": QUEUES}, profiles=profiles))
    api.put("/hosts/host-1", {"releases": [ONE]})
    api.put("/hosts/host-2", {"releases": ["vendor-a.com/other@1"], "units": [{"id": "pci/0", "releases": [ONE]}]})
    api.put("/hosts/host-3", {"releases": ["vendor-a.com/other@1"]})

    def publish(document: Any, name: str, *options: str) -> Result:
        file = tmp_path / "release.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document, indent=2))
        return run("publish", str(file), "--release", name, *options)

    return publish


def test_a_release_is_published_once(publish: Publish, run: Run) -> None:
    document = release({"num-queues": QUEUES})
    published = publish(document, TWO)
    assert (published.exit_code, f"published {TWO}" in published.stdout) == (0, True)
    again = publish(document, TWO)
    assert (again.exit_code, "nothing was added" in again.stdout) == (0, True)
    # The RFC's migration information, from a program.
    information = json.dumps({"models": {NIC: {"params": {"num-queues": QUEUES}}}})
    piped = run("publish", "-", "--release", f"{FIRMWARE}@3", "--json", stdin=information)
    assert piped.exit_code == 0
    assert json.loads(piped.stdout)["added"]["releases"] == 1


def test_a_dry_run_shows_what_would_change_and_stores_nothing(publish: Publish, run: Run) -> None:
    document = release({"num-queues": QUEUES, "new-feature": FEATURE}, profiles=[P])
    document["models"][NIC]["saved_state"] = {"writes": 2, "reads": [2]}
    foreseen = publish(document, TWO, "--dry-run")
    assert foreseen.exit_code == 0, foreseen.output
    assert f"→ {TWO}\n← {ONE}\n1 model differs, 1 variable added." in foreseen.stdout
    assert "migrating back needs the value in parentheses" in foreseen.stdout
    assert f"No longer listed, though {ONE} lists it: {OLD}" in foreseen.stdout
    assert f"2 registered hosts run {ONE}: host-1, host-2" in foreseen.stdout
    assert "Nothing was stored" in foreseen.stdout
    assert run("release", "list").stdout.count(TWO) == 0
    as_json = json.loads(publish(document, TWO, "--dry-run", "--json").stdout)
    assert [entry["variable"] for entry in as_json["differences"][NIC]] == [None, "new-feature"]
    assert as_json["hosts"] == {"release": ONE, "count": 2, "names": ["host-1", "host-2"]}
    # What is stored is what was foreseen.
    assert publish(document, TWO).exit_code == 0
    answer = json.loads(run("diff", ONE, TWO, "--json").stdout)
    assert answer["models"] == as_json["differences"]


def test_a_saved_state_that_cannot_be_read_is_named(publish: Publish) -> None:
    one, two = release({"num-queues": QUEUES}), release({"num-queues": QUEUES})
    one["models"][NIC]["saved_state"] = {"writes": 1, "reads": [1]}
    two["models"][NIC]["saved_state"] = {"writes": 2, "reads": [2]}
    assert publish(one, TWO).exit_code == 0
    foreseen = publish(two, f"{FIRMWARE}@3", "--dry-run")
    assert f"Does not read the saved state that {TWO} writes, so its devices cannot move: {NIC}" in foreseen.stdout


def test_a_first_release_has_nothing_to_compare_with(publish: Publish) -> None:
    first = publish(release({"num-queues": QUEUES}), "vendor-a.com/other@1", "--dry-run")
    assert first.exit_code == 0
    assert "would be the first release of vendor-a.com/other" in first.stdout
    assert "registered host" not in first.stdout


def test_what_would_break_is_refused_with_what_would_change(publish: Publish, run: Run) -> None:
    document = release({"num-queues": {**QUEUES, "allowed_values": ["1-4"]}})
    foreseen = publish(document, TWO, "--dry-run")
    assert foreseen.exit_code == 1
    assert f"Would break: {ONE} accepts these profiles, {TWO} does not" in foreseen.stdout
    assert f"The profile sets num-queues=8, but {TWO} allows 1-4." in foreseen.stdout
    assert "num-queues\tallows 1-4, not 1-8.\t" in foreseen.stdout
    assert f"2 registered hosts run {ONE}" in foreseen.stdout
    assert '--override "<reason>"' in foreseen.stderr
    as_json = publish(document, TWO, "--dry-run", "--json")
    assert as_json.exit_code == 1
    problem = json.loads(as_json.stdout)
    assert (problem["code"], problem["previous"], problem["hosts"]["count"]) == ("evolution-gate", ONE, 2)
    assert list(problem["differences"]) == [NIC]
    refused = publish(document, TWO)
    assert (refused.exit_code, "Would break" in refused.stdout) == (1, True)
    assert TWO not in run("release", "list").stdout
    passed = publish(document, TWO, "--override", "the card is gone")
    assert (passed.exit_code, "Published although it breaks" in passed.stdout) == (0, True)


def test_a_release_that_grows_into_the_gate_says_what_it_breaks(publish: Publish) -> None:
    # It cannot be a draft any more, so what else would change is not known.
    assert publish({"models": {}}, TWO, "--override", "models follow").exit_code == 0
    grown = publish(release({"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}), TWO, "--dry-run")
    assert grown.exit_code == 1
    assert "Would break" in grown.stdout
    assert "←" not in grown.stdout


FAULTY = """{
  "models": {
    "vendor-a.com/my-nic": {
      "variables": {
        "num-queues": {"type": "int", "init_value": 9, "off_value": 1, "allowed_values": ["1-8"]},
        "größe": {"typ": "int", "init_value": 1}
      }
    }
  },
  "profils": []
}
"""


def test_all_faults_are_shown_at_their_lines(publish: Publish) -> None:
    refused = publish(FAULTY, TWO)
    assert refused.exit_code == 1
    places = [line.partition("release.json:")[2] for line in refused.stderr.splitlines() if "release.json:" in line]
    assert [place.split(": ")[:2] for place in places[1:]] == [
        ["5:39", "/models/vendor-a.com~1my-nic/variables/num-queues/init_value"],
        ["6:9", "/models/vendor-a.com~1my-nic/variables/größe"],
        ["6:19", "/models/vendor-a.com~1my-nic/variables/größe/typ"],
        ["10:3", "/profils"],
    ]
    assert 'did you mean "profiles"?' in refused.stderr
    assert '   10 |   "profils": []\n      |   ^' in refused.stderr
    as_json = publish(FAULTY, TWO, "--json")
    assert [(fault["line"], fault["column"]) for fault in json.loads(as_json.stdout)["faults"]] == [
        (5, 39),
        (6, 9),
        (6, 19),
        (10, 3),
    ]


def test_a_changed_entry_is_shown_at_its_line(publish: Publish) -> None:
    refused = publish(release({"num-queues": {**QUEUES, "init_value": 2}}), ONE)
    assert refused.exit_code == 1
    assert "release.json:5:9: /models/vendor-a.com~1my-nic/variables/num-queues: must stay" in refused.stderr


def test_faults_of_a_signed_release_have_the_lines_of_the_file(publish: Publish, run: Run, tmp_path: Path) -> None:
    key = tmp_path / "vendor-a.key"
    assert run("key", "create", "vendor-a.com/2026", "--file", str(key)).exit_code == 0
    assert run("key", "register", "vendor-a.com", run("key", "show", str(key)).stdout.strip()).exit_code == 0
    refused = publish(FAULTY, TWO, "--sign", str(key))
    assert refused.exit_code == 1
    assert "release.json:10:3: /profils: unknown field" in refused.stderr
    document = release({"num-queues": QUEUES})
    assert publish({**document, "state": "draft"}, TWO, "--sign", str(key)).exit_code == 1
    signed = publish(document, TWO, "--sign", str(key), "--json")
    assert json.loads(signed.stdout)["added"]["signatures"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "release.json:1:1: is not valid JSON"),
        ('{"models": {},\n "größe": 1,}', "release.json:2:12: is not valid JSON: trailing comma is not allowed"),
        ('{"models": {\n  "a": 1, "a": 2}}', "release.json:2:11: /models/a: is there twice: JSON has each field once"),
        ('{"models": NaN}', "release.json:1:12: is not valid JSON"),
        ("[" * 5000 + "]" * 5000, "release.json"),
    ],
)
def test_what_is_not_json_is_not_sent(publish: Publish, text: str, message: str) -> None:
    refused = publish(text, TWO)
    assert (refused.exit_code, message in refused.stderr) == (1, True), refused.stderr


@pytest.mark.parametrize(
    ("document", "message"),
    [("null", "is missing"), ("[]", "must be an object"), ("7", "must be an object"), ('"text"', "must be an object")],
)
def test_what_is_no_document_is_refused(publish: Publish, document: str, message: str) -> None:
    refused = publish(document, TWO)
    assert (refused.exit_code, f"release.json:1:1: the document: {message}" in refused.stderr) == (1, True), refused


def test_a_file_that_cannot_be_read_is_named(publish: Publish, run: Run, tmp_path: Path) -> None:
    missing = run("publish", str(tmp_path / "none.json"), "--release", TWO)
    assert (missing.exit_code, "none.json cannot be read: No such file or directory" in missing.stderr) == (1, True)
    (tmp_path / "binary").write_bytes(b'{"a": "\xff"}')
    binary = run("publish", str(tmp_path / "binary"), "--release", TWO)
    assert (binary.exit_code, "byte 8 is not UTF-8" in binary.stderr) == (1, True)
    assert publish({"models": {}}, "nonsense").exit_code == 1


def test_a_token_that_cannot_publish_is_told_so(
    publish: Publish, service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = service.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION).json()["token"]
    monkeypatch.setenv("REGISTRY_TOKEN", reader)
    assert publish(release({"num-queues": QUEUES}), TWO).exit_code == 1
    monkeypatch.setenv("REGISTRY_TOKEN", "wrong")
    refused = publish(release({"num-queues": QUEUES}), TWO)
    assert (refused.exit_code, "Not signed in" in refused.stderr) == (2, True)


def test_hosts_that_the_token_cannot_see_are_not_counted(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Registry.get

    def read_without_hosts(self: Registry, path: str, **parameters: Any) -> Any:
        if path == "/hosts":
            message = "The registered hosts are closed here."
            raise RegistryError(message, {"status": 401, "code": "unauthorized"})
        return read(self, path, **parameters)

    monkeypatch.setattr(Registry, "get", read_without_hosts)
    foreseen = publish(release({"num-queues": QUEUES}), TWO, "--dry-run")
    assert foreseen.exit_code == 0
    assert f"The hosts that run {ONE} are not shown: this token cannot see registered hosts." in foreseen.stdout
    assert json.loads(publish(release({"num-queues": QUEUES}), TWO, "--dry-run", "--json").stdout)["hosts"] is None
