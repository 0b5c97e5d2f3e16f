"""What an import makes of values: honest off values, deprecated machine types, distributors, CPUs of other targets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.cpu import CpuModels, publish_cpu_models
from app.cli.qemu.publication import default_name, publish
from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.naming import board_of, cpu_of, release_name
from tests.cli.conftest import Run

SILENT = lambda *_: None  # noqa: E731 (no progress is shown)


def capture_of(version: str, values: dict[str, dict[str, dict[str, Any]]], **more: Any) -> Capture:
    """Return a capture with these values of bool and int properties: machine type → device type → property → value."""
    major, minor, micro = map(int, version.split("."))
    properties: dict[str, dict[str, Any]] = {}
    for devices in values.values():
        for device, own in devices.items():
            properties.setdefault(device, {}).update(own)
    return Capture.from_json(
        {
            "version": {"major": major, "minor": minor, "micro": micro},
            "machines": [{"name": machine, "compat-props": []} for machine in values],
            "types": [{"name": name, "parent": "device"} for name in properties],
            "device-list-properties": {
                device: [
                    {"name": name, "type": "bool" if isinstance(value, bool) else "int32", "default-value": value}
                    for name, value in own.items()
                ]
                for device, own in properties.items()
            },
            "effective": values,
            "asked": list(properties),
            "unmigratable": [],
            "computed": {"other": ["x"]},
            **more,
        }
    )


def imported(api: Registry, *captures: Capture) -> list[str]:
    """Publish captures in this order and return their releases."""
    for capture in captures:
        publish(api, capture, default_name(capture), SILENT, override="a test")
    return [default_name(capture) for capture in captures]


def variables(api: Registry, model: str) -> dict[str, Any]:
    """Return a model's variables with their off values."""
    return {name: entry.get("off_value") for name, entry in api.get(f"/models/qemu.org/{model}")["variables"].items()}


def test_a_new_property_is_off_as_under_the_machine_types_of_the_earlier_release(api: Registry) -> None:
    old = capture_of("5.2.0", {name: {"a": {"x": True}} for name in ("pc-q35-4.2", "pc-q35-5.2")})
    new = capture_of(
        "7.2.0",
        {
            # Under older machine types it is something that the earlier release never was.
            "pc-q35-4.2": {"a": {"x": True, "same": 1, "other": 7}},
            "pc-q35-5.2": {"a": {"x": True, "same": 1, "other": 8}},
            "pc-q35-7.2": {"a": {"x": True, "same": 2, "other": 9}},
        },
    )
    releases = imported(api, old, new)
    assert variables(api, "a") == {"x": True, "same": 1, "other": 8}
    question = {"model": "qemu.org/a", "profile": "qemu.org/pc-q35-4.2", "source": releases[0]}
    (device,) = api.get("/compatibility", **question, destination=releases[1], detail="full")["results"][0]["devices"]
    assert (device["compatible"], device["configuration"]["other"]) == (True, 8)
    assert [warning["code"] for warning in device["warnings"]] == ["must-be-set"]


def test_boards_that_disagree_give_no_off_value(api: Registry) -> None:
    beside = {"b": {"z": True}}
    families = {"pc-i440fx-5.2": 1, "pc-q35-5.2": 2}
    old = capture_of("5.2.0", {name: {"a": {"x": True}, **beside} for name in families})
    new = capture_of("7.2.0", {name: {"a": {"x": True, "y": y}, **beside} for name, y in families.items()})
    imported(api, old, new)
    assert variables(api, "a") == {"x": True, "y": None}


def test_a_value_that_changed_twice_has_no_off_value_in_the_first_release(api: Registry) -> None:
    values = {"pc-q35-2.4": (1, 1), "pc-q35-4.2": (2, 2), "pc-q35-7.2": (2, 3)}
    imported(
        api, capture_of("7.2.0", {name: {"a": {"once": one, "twice": two}} for name, (one, two) in values.items()})
    )
    assert variables(api, "a") == {"once": 1, "twice": None}


def test_a_device_of_a_board_is_nothing_on_another(api: Registry) -> None:
    capture = capture_of("7.2.0", {"pc-i440fx-7.2": {"PIIX3": {"x": True}}, "pc-q35-7.2": {"mch": {"y": 1}}})
    imported(api, capture)
    assert set(api.get("/profiles/qemu.org/pc-q35-7.2")["values"]) == {"qemu.org/mch"}


def test_rombar_is_the_same_whatever_was_imported_between(api: Registry) -> None:
    first = capture_of("7.2.0", {"pc-q35-7.2": {"a": {"rombar": 1}}})
    later = [capture_of(version, {"pc-q35-7.2": {"a": {"rombar": -1}}}) for version in ("10.0.0", "11.1.0")]
    first = replace(first, properties={"a": {"rombar": replace(first.properties["a"]["rombar"], type="uint32")}})
    releases = imported(api, first, *later)
    question = {"model": "qemu.org/a", "profile": "qemu.org/pc-q35-7.2"}
    for source in releases:
        for result in api.get("/compatibility", **question, source=source, destination=releases)["results"]:
            assert result["compatible"], (source, result)


def test_what_qemu_deprecates_is_deprecated(run: Run, api: Registry, tmp_path: Path) -> None:
    capture = capture_of("10.0.0", {name: {"a": {"x": True}} for name in ("pc-q35-2.4", "pc-q35-10.0")})
    machines = [replace(machine, is_deprecated=machine.name == "pc-q35-2.4") for machine in capture.machines]
    replace(capture, machines=machines).save(tmp_path / "capture.json.gz")
    done = run("import", "qemu", "--capture", str(tmp_path / "capture.json.gz"))
    assert "QEMU deprecates these machine types, so their profiles are deprecated: qemu.org/pc-q35-2.4" in done.stdout
    states = {name: api.get(f"/profiles/qemu.org/{name}")["state"] for name in ("pc-q35-2.4", "pc-q35-10.0")}
    assert states == {"pc-q35-2.4": "deprecated", "pc-q35-10.0": "published"}
    changes = api.get("/changes")
    assert run("import", "qemu", "--capture", str(tmp_path / "capture.json.gz")).exit_code == 0
    assert api.get("/changes") == changes


def test_a_distributor_publishes_its_own_beside_upstreams(run: Run, api: Registry, tmp_path: Path) -> None:
    upstream = capture_of("7.2.0", {"pc-q35-7.2": {"a": {"x": True}}})
    imported(api, upstream)
    api.put("/vendors/example.org", {})
    own = capture_of(
        "7.2.22",
        {"pc-q35-7.2": {"a": {"x": True}}, "pc-q35-rhel9.2.0": {"a": {"x": False}}},
        package="Example 1:7.2+dfsg-7",
    )
    own.save(tmp_path / "own.json.gz")
    done = run("import", "qemu", "--capture", str(tmp_path / "own.json.gz"), "--vendor", "example.org", "--json")
    assert done.exit_code == 0, done.output
    release = "example.org/qemu-system-x86_64@1:7.2+dfsg-7"
    assert json.loads(done.stdout)["release"] == release
    assert api.get(f"/releases/{release}")["profiles"] == ["example.org/pc-q35-rhel9.2.0", "qemu.org/pc-q35-7.2"]
    cpus = CpuModels("7.2.22", "x86_64", True, {"sse": True}, {"Haswell-v1": frozenset({"sse"})})
    publish_cpu_models(api, cpus, default_name(upstream))
    mine = {**cpus.models, "Own-v1": frozenset({"sse"})}
    publish_cpu_models(api, replace(cpus, models=mine), release)
    names = {name for name in api.get(f"/releases/{release}")["profiles"] if "cpu" in name}
    assert names == {f"{CPU_MODEL}/Haswell-v1", "example.org/x86-cpu/Own-v1"}
    question = {
        "devices": [{"model": CPU_MODEL, "release": release, "profile": "example.org/x86-cpu/Own-v1"}],
        "destinations": [{"releases": [release]}],
    }
    (answer,) = api.post("/compatibility", question, render="qemu")["results"][0]["devices"]
    assert answer["arguments"] == ["-cpu", "Own-v1"]


def test_a_distributors_errata_are_about_its_own_releases(api: Registry) -> None:
    upstream = capture_of("7.2.22", {"pc-q35-7.2": {"dc390": {"x": True}}})
    imported(api, upstream)
    api.put("/vendors/debian.org", {})
    for version, package in (("7.2.22", "1:7.2+dfsg-7+deb12u18"), ("10.0.13", "1:10.0.13+ds-0+deb13u1")):
        own = capture_of(
            version,
            {
                "pc-q35-7.2": {
                    "dc390": {"x": True},
                }
            },
            package=f"Debian {package}",
        )
        publish(api, own, default_name(own, "debian.org"), SILENT)
    releases = [
        f"debian.org/qemu-system-x86_64@{package}" for package in ("1:7.2+dfsg-7+deb12u18", "1:10.0.13+ds-0+deb13u1")
    ]
    question = {
        "model": "qemu.org/dc390",
        "profile": "qemu.org/pc-q35-7.2",
        "source": releases[0],
        "destination": releases[1],
    }
    (device,) = api.get("/compatibility", **question)["results"][0]["devices"]
    assert [problem["code"] for problem in device["problems"]] == ["known-broken"]


def test_a_distributors_new_properties_have_off_values(api: Registry) -> None:
    api.put("/vendors/debian.org", {})
    imported(api, capture_of("7.2.22", {"pc-q35-7.2": {"a": {"x": True}}}))
    values = {"pc-q35-7.2": {"a": {"x": True, "y": 1}}, "pc-q35-10.0": {"a": {"x": True, "y": 2}}}
    older = capture_of("7.2.22", {"pc-q35-7.2": {"a": {"x": True}}}, package="Debian 1:7.2+dfsg-7")
    newer = capture_of("10.0.13", values, package="Debian 1:10.0.13+ds-0")
    for capture in (older, newer):
        publish(api, capture, default_name(capture, "debian.org"), SILENT)
    (own,) = api.items("/variable-sets", model="qemu.org/a", version="1:10.0.13+ds-0")
    assert own["variables"]["y"]["off_value"] == 1


def test_what_qemu_saves_nothing_of_is_not_called_migratable(api: Registry) -> None:
    """`edu` is known to lose its state, `pc-dimm` has none; of a type that nobody looked at, nothing is known."""
    devices = {name: {"x": True} for name in ("edu", "pc-dimm", "sp-mem", "saved", "pc-q35-board")}
    capture = capture_of("11.1.0", {"pc-q35-11.1": devices}, **{"saved-states": {"saved": [1, 1]}})
    imported(api, capture)
    answers = {entry["model"].partition("/")[2]: entry["migratable"] for entry in api.items("/variable-sets")}
    assert answers == {"edu": False, "pc-dimm": True, "sp-mem": "unknown", "saved": True, "pc-q35-board": True}


def test_an_import_takes_one_source(run: Run) -> None:
    for options in ((), ("--all", "--binary", "x"), ("--capture", "x", "--binary", "x")):
        done = run("import", "qemu", *options)
        assert (done.exit_code, "one of --capture FILE, --binary PATH and --all" in done.stderr) == (2, True)
    unknown = run("import", "qemu", "--all", "--vendor", "example.org")
    assert (unknown.exit_code, "the vendor example.org is not registered" in unknown.stderr) == (1, True)
    named = run("import", "qemu", "--all", "--release", "example.org/x@1")
    assert (named.exit_code, "--all names each release by itself" in named.stderr) == (2, True)


def test_names() -> None:
    assert board_of("x86_64", "pc-q35") == "pc-q35-board"
    assert board_of("s390x", "s390-ccw-virtio") == "s390x-s390-ccw-virtio-board"
    assert cpu_of("i386", is_kvm=True) == CPU_MODEL
    assert cpu_of("x86_64", is_kvm=False) == f"{CPU_MODEL}-tcg"
    assert cpu_of("aarch64", is_kvm=True) == "qemu.org/aarch64-cpu"
    assert release_name("qemu.org", "qemu-system-arm", "7.2.22", "Debian 1:7.2") == "qemu.org/qemu-system-arm@7.2.22"
    assert release_name("debian.org", "qemu-system-arm", "7.2.22", "Debian 1:7.2") == "debian.org/qemu-system-arm@1:7.2"
    assert release_name("example.org", "qemu-system-arm", "7.2.22", "") == "example.org/qemu-system-arm@7.2.22"


def test_an_emulated_cpu_is_none_that_kvm_gives(api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    cpus = CpuModels("7.2.22", "x86_64", False, {"sse": True}, {"Haswell-v1": frozenset({"sse"})})
    release = "qemu.org/qemu-system-x86_64@7.2.22"
    publish_cpu_models(api, cpus, release)
    assert api.find(f"/models/{CPU_MODEL}") is None
    publish_cpu_models(api, replace(cpus, is_kvm=True, models={"Haswell-v1": frozenset()}), release)
    names = {profile["name"] for profile in api.items("/profiles", vendor="qemu.org")}
    assert names == {f"{CPU_MODEL}/Haswell-v1", f"{CPU_MODEL}-tcg/Haswell-v1"}
    question = {"model": CPU_MODEL, "profile": f"{CPU_MODEL}-tcg/Haswell-v1", "source": release, "destination": release}
    codes = [
        problem["code"] for problem in api.get("/compatibility", **question)["results"][0]["devices"][0]["problems"]
    ]
    assert codes == ["profile-not-for-model"]


def test_the_name_of_a_cpu_model_counts_where_qemu_tells_no_more(api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    models = {"cortex-a57": frozenset({"pmu"}), "cortex-a72": frozenset({"pmu"})}
    cpus = CpuModels("10.0.13", "aarch64", True, {"pmu": True}, models)
    release = "qemu.org/qemu-system-aarch64@10.0.13"
    publish_cpu_models(api, cpus, release)
    host = {"restrict": {cpus.device_model: {"model": ["cortex-a57"]}}, "releases": [release]}
    answers = {}
    for name in models:
        question = {
            "devices": [{"model": cpus.device_model, "release": release, "profile": cpus.profile(name)}],
            "destinations": [host],
        }
        answers[name] = api.post("/compatibility", question)["results"][0]["compatible"]
    assert answers == {"cortex-a57": True, "cortex-a72": False}
    # Real migrations of the board alone failed between these releases.
    errata = {(entry["model"], tuple(entry["with"])) for entry in api.items("/errata")}
    assert errata == set()
    publish_cpu_models(api, replace(cpus, is_kvm=False), release)
    assert [entry["model"] for entry in api.items("/errata")] == ["qemu.org/aarch64-cpu-tcg"]
