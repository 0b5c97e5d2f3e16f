"""The commands for planning a fleet."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry
from app.cli.host import emulator
from app.cli.host.tool import Machine
from tests.cli.conftest import Run

NIC = "vendor-a.com/nic"
ONE, TWO = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
P = "vendor-a.com/p"
QUEUES = {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-8"]}
NEW = {"type": "bool", "init_value": True, "off_value": False, "runtime": True}


def _publish(run: Run, release: str, variables: object, **fields: object) -> None:
    document = json.dumps({"models": {NIC: {"variables": variables}}, **fields})
    published = run("import", "migration-info", "-", "--release", release, stdin=document)
    assert published.exit_code == 0, published.output


@pytest.fixture
def fleet(run: Run, api: object) -> Run:
    """Return the command on a registry with two releases."""
    api.put("/vendors/vendor-a.com", {})  # type: ignore[attr-defined]
    profiles = [{"name": P, "values": {NIC: {"queues": 8}}}]
    _publish(run, ONE, {"queues": QUEUES}, profiles=profiles)
    _publish(run, TWO, {"queues": QUEUES, "new": NEW, "mac": {"type": "str", "init_value": "", "scope": "instance"}})
    return run


def test_a_dry_run_shows_what_a_release_would_break(fleet: Run) -> None:
    fewer = {"models": {NIC: {"variables": {"queues": {**QUEUES, "allowed_values": ["1-4"]}}}}}
    arguments = ("import", "migration-info", "-", "--release", "vendor-a.com/fw@3")
    refused = fleet(*arguments, "--dry-run", stdin=json.dumps(fewer))
    assert refused.exit_code == 1
    assert f"{NIC}, {P}: value-not-allowed: The profile sets queues=8" in " ".join(refused.stderr.split())
    as_json = fleet(*arguments, "--dry-run", "--json", stdin=json.dumps(fewer))
    assert (as_json.exit_code, json.loads(as_json.stdout)["code"]) == (1, "evolution-gate")
    overridden = fleet(*arguments, "--override", "a smaller chip", stdin=json.dumps(fewer))
    assert overridden.exit_code == 0
    assert "Published although it breaks earlier releases" in overridden.stdout


def test_baseline_finds_values_that_all_releases_accept(fleet: Run) -> None:
    shown = fleet("baseline", "--model", NIC, "--release", ONE, "--release", TWO)
    assert shown.exit_code == 0
    assert "queues" in shown.stdout
    assert f"most useful first: {P}" in shown.stdout
    answer = json.loads(fleet("baseline", "--model", NIC, "--release", ONE, "--release", TWO, "--json").stdout)
    assert answer["models"][NIC]["values"] == {"new": False, "queues": 4}
    none = fleet("baseline", "--model", NIC, "--release", "vendor-a.com/fw@9")
    assert (none.exit_code, "unknown-release" in none.stdout) == (1, True)
    assert fleet("baseline", "--model", NIC).exit_code == 2


def test_diff_shows_the_differences_between_releases(fleet: Run) -> None:
    shown = fleet("diff", ONE, TWO)
    assert shown.exit_code == 1
    assert "new (off)" in shown.stdout
    assert "1 model differs, 2 variables added" in shown.stdout
    assert fleet("diff", ONE, ONE).exit_code == 0
    assert f"{ONE} and {ONE} do not differ in {NIC}" in fleet("diff", ONE, ONE, "--model", NIC).stdout
    assert set(json.loads(fleet("diff", ONE, TWO, "--json").stdout)["models"]) == {NIC}
    assert fleet("diff", ONE, "vendor-a.com/fw@9").exit_code == 2


def test_the_page_diff_begins_with_the_sentences_of_the_command(fleet: Run, service: TestClient) -> None:
    printed = fleet("diff", ONE, TWO).stdout.splitlines()
    page = service.get("/ui/diff", params={"from": ONE, "to": TWO}).text
    assert printed[2:4] == [
        "1 model differs, 2 variables added.",
        "→ forward is open for every model. ← backward is closed in part for 1 model.",
    ]
    assert all(sentence in page for sentence in printed[2:4])


def test_matrix_shows_which_release_supports_which_profile(fleet: Run) -> None:
    shown = fleet("matrix")
    assert shown.exit_code == 0
    assert f"1: {ONE}" in shown.stdout
    assert fleet("matrix", "--csv").stdout.splitlines()[1] == f"{P},yes,yes"
    assert json.loads(fleet("matrix", "--json").stdout)["releases"] == [ONE, TWO]
    assert fleet("matrix", "--profile", "vendor-a.com/none").exit_code == 2


def test_matrix_shows_which_kinds_of_hosts_accept_which_profile(fleet: Run, api: Registry) -> None:
    for name, more in {"h-1": {}, "h-2": {}, "h-3": {"restrict": {NIC: {"queues": [1]}}}}.items():
        api.put(f"/hosts/{name}", {"releases": [TWO], "labels": {"rack": "r1"}, **more})
    shown = fleet("matrix", "--label", "rack=r1").stdout.splitlines()
    assert shown[0] == f"1: 2 hosts (h-1, h-2): {TWO}"
    assert shown[1] == f"2: 1 host (h-3): {TWO}"
    assert f"{P}\tyes\tno" in shown
    header, row = fleet("matrix", "--label", "rack=r1", "--host", "h-3", "--csv").stdout.splitlines()
    assert header.startswith("profile,sha256:")
    assert row.endswith(",yes")
    kinds = json.loads(fleet("matrix", "--host", "h-1", "--host", "h-2", "--json").stdout)["kinds"]
    assert [kind["examples"] for kind in kinds] == [["h-1", "h-2"]]
    misspelt = fleet("matrix", "--host", "h-11", "--host", "h-3")
    assert "1: h-11: no registered host" in misspelt.stdout
    assert f"{P}\tunknown\tno" in misspelt.stdout
    assert "Did you mean h-1?" in misspelt.stderr
    refused = fleet("matrix", "--host", "h-1", "--implementation", "vendor-a.com/fw")
    assert (refused.exit_code, "must not be given together with host" in refused.stderr) == (2, True)


def test_impact_names_what_would_flip(fleet: Run) -> None:
    shown = fleet("impact", ONE)
    assert (shown.exit_code, P in shown.stdout) == (0, True)
    assert json.loads(fleet("impact", ONE, "--json").stdout)["releases"] == [ONE]
    assert fleet("impact", "vendor-a.com/fw@9").exit_code == 2


def test_hosts_report_list_and_forget(fleet: Run, tmp_path: Path) -> None:
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text('#!/bin/sh\necho "QEMU emulator version 9.2.1 (Debian 1:9.2.1+ds-1)"\n')
    binary.chmod(0o755)
    report = ("host", "report", "--name", "host-1", "--binary", str(binary), "--release", TWO)
    assert fleet(*report, "--label", "rack=r1", "--dry-run").exit_code == 0
    assert json.loads(fleet("host", "list", "--json").stdout) == []
    registered = fleet(*report, "--label", "rack=r1")
    assert registered.exit_code == 0, registered.output
    # Without --label the registered labels stay.
    host = json.loads(fleet(*report, "--json").stdout)
    assert host["labels"] == {"rack": "r1"}
    assert host["releases"][:2] == [TWO, "qemu.org/qemu-system-x86_64@9.2.1"]
    assert host["releases"][2].startswith("kernel.org/linux@")
    assert host["unknown_releases"] == host["releases"][1:]
    assert "host-1" in fleet("host", "list", "--label", "rack=r1").stdout
    checked = fleet("check", "--model", NIC, "--source", TWO, "--host", "host-1")
    assert checked.exit_code == 0
    assert fleet("check", "--model", NIC, "--source", TWO, "--label", "rack=r1", "--json").exit_code == 0
    assert fleet("host", "forget", "host-1").exit_code == 0
    assert fleet("host", "forget", "host-1").exit_code == 2
    assert fleet("host", "report", "--label", "rack").exit_code == 2
    assert fleet("host", "report", "--binary", str(tmp_path / "none")).exit_code == 2


def test_a_report_keeps_other_products_and_names_removed_releases(fleet: Run, tmp_path: Path) -> None:
    for name, output in (("x86_64", "QEMU emulator version 9.2.1"), ("i386", "QEMU emulator version 9.2.1")):
        binary = tmp_path / f"qemu-system-{name}"
        binary.write_text(f'#!/bin/sh\necho "{output}"\n')
        binary.chmod(0o755)
    both = [option for name in ("i386", "x86_64") for option in ("--binary", str(tmp_path / f"qemu-system-{name}"))]
    report = ("host", "report", "--name", "host-1")
    assert fleet(*report, *both, "--release", TWO).exit_code == 0
    host = json.loads(fleet(*report, *both[:2], "--json").stdout)
    assert host["releases"][0] == "qemu.org/qemu-system-i386@9.2.1"
    assert host["releases"][-1] == TWO
    assert not any("x86_64" in release for release in host["releases"])
    message = "removed because it was not found on this host: qemu.org/qemu-system-x86_64@9.2.1"
    assert message in fleet(*report, *both).stderr + fleet(*report, *both[:2]).stderr
    # Another version of the same product replaces the registered one.
    newer = json.loads(fleet(*report, *both, "--release", ONE, "--json").stdout)["releases"]
    assert (ONE in newer, TWO in newer) == (True, False)


def test_a_report_keeps_units_and_what_the_host_resolves(
    fleet: Run, api: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text('#!/bin/sh\necho "QEMU emulator version 9.2.1"\n')
    binary.chmod(0o755)
    unit = {"id": "card0", "releases": [TWO], "restrict": {NIC: {"queues": [1]}}, "resolves": {}, "available": 2}
    registered = {"releases": [ONE], "resolves": {NIC: {"queues": {"0": 4}}}, "units": [unit]}
    api.put("/hosts/host-1", registered)
    reported = json.loads(fleet("host", "report", "--name", "host-1", "--binary", str(binary), "--json").stdout)
    assert (reported["units"], reported["resolves"]) == ([unit], registered["resolves"])
    monkeypatch.setenv("COLUMNS", "200")
    listed = fleet("host", "list").stdout
    assert f"card0: {TWO}" in listed
    assert f"resolves {NIC}: 1 variable; restrict {NIC} (card0): 1 variable" in listed


def test_binaries_for_the_hosts_own_architecture_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aarch64", "i386", "x86_64", "x86_64-microvm"):
        binary = tmp_path / f"qemu-system-{name}"
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
    monkeypatch.setattr(emulator, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert [path.name for path in emulator.binaries(Machine())] == [
        f"qemu-system-{target}" for target in ("x86_64", "aarch64", "i386")
    ]


def test_check_sums_up_a_drain_and_shows_remedies_and_arguments(fleet: Run) -> None:
    vm = {"id": "db", "release": TWO, "devices": [{"id": "net0", "model": NIC}]}
    destinations = [{"id": "old", "releases": [ONE]}, {"id": "new", "releases": [TWO]}]
    question = {"vms": [vm], "destinations": destinations, "detail": "summary"}
    summed_up = fleet("check", "-", stdin=json.dumps(question))
    assert summed_up.exit_code == 0
    assert "1 of 2: new" in summed_up.stdout
    assert "1: new=on at the source" in " ".join(summed_up.stdout.replace("│", " ").split())
    stuck = fleet("check", "--model", NIC, "--source", TWO, "--destination", ONE)
    assert (stuck.exit_code, "remedy: set new to False" in stuck.stdout) == (1, True)
    rendered = fleet(
        "check", "--model", NIC, "--source", TWO, "--destination", TWO, "--value", "queues=2", "--render", "qemu"
    )
    assert "-device nic,queues=2" in rendered.stdout
