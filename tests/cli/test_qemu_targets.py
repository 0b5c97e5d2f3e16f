"""Every QEMU is imported under names that the registry can have: odd type names, other targets, special builds."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.cpu import CpuModels, profile_name, publish_cpu_models
from app.cli.qemu.live import take_capture
from app.cli.qemu.publication import default_name, publish
from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.naming import build_of, component, profile_of
from tests.cli.conftest import DATA, Run

BINARY = shutil.which("qemu-system-x86_64")
BOOL = {"name": "x", "type": "bool", "default-value": True}


def capture_of(target: str, devices: dict[str, list[dict[str, Any]]], *machines: str) -> Capture:
    """Return a capture in which each device starts under each machine type with the defaults of its properties."""
    values = {name: {entry["name"]: entry["default-value"] for entry in entries} for name, entries in devices.items()}
    return Capture.from_json(
        {
            "version": {"major": 7, "minor": 2, "micro": 0},
            "target": target,
            "machines": [{"name": machine, "compat-props": []} for machine in machines],
            "types": [{"name": name, "parent": "device"} for name in devices],
            "device-list-properties": devices,
            "effective": dict.fromkeys(machines, values),
        }
    )


def test_a_name_that_the_registry_cannot_have_is_mapped_and_told(run: Run, api: Registry, tmp_path: Path) -> None:
    file = tmp_path / "capture.json.gz"
    capture_of("x86_64", {"ICH9 SMB": [BOOL], "a": [BOOL]}, "pc-q35-5.2").save(file)
    done = run("import", "qemu", "--capture", str(file))
    assert done.exit_code == 0, done.output
    assert "The registry cannot have the name ICH9 SMB, so this device type is called ICH9-SMB there." in done.stdout
    assert api.find("/models/qemu.org/ICH9-SMB") is not None
    again = json.loads(run("import", "qemu", "--capture", str(file), "--json").stdout)
    assert again["renamed"] == {"ICH9 SMB": "ICH9-SMB"}
    assert not any(again["added"].values())


def test_of_two_types_with_one_name_the_one_that_is_called_so_counts(api: Registry) -> None:
    capture = capture_of("x86_64", {"a b": [BOOL], "a-b": [{**BOOL, "name": "y"}]}, "pc-q35-5.2")
    published = publish(api, capture, default_name(capture), lambda *_: None)
    assert published.left_out == {"a b": "another device type has its name in the registry"}
    assert published.renamed == {}
    assert list(api.get("/models/qemu.org/a-b")["variables"]) == ["y"]


@pytest.mark.parametrize(
    ("target", "profile"),
    [
        ("x86_64", "qemu.org/virt-7.2"),
        ("i386", "qemu.org/virt-7.2"),
        ("aarch64", "qemu.org/aarch64/virt-7.2"),
        ("m68k", "qemu.org/m68k/virt-7.2"),
    ],
)
def test_a_profile_names_the_target_but_for_x86(api: Registry, target: str, profile: str) -> None:
    capture = capture_of(target, {"a": [BOOL]}, "virt-7.2")
    release = default_name(capture)
    publish(api, capture, release, lambda *_: None)
    assert [entry["name"] for entry in api.items("/profiles")] == [profile] == [profile_of(target, "virt-7.2")]
    assert api.get(f"/releases/{release}")["profiles"] == [profile]


def test_a_machine_type_without_a_version_is_no_profile(api: Registry) -> None:
    boards = ("raspi3b", "mps3-an536", "qcom-dc-scm-v1-bmc")
    capture = capture_of("aarch64", {"a": [BOOL]}, "virt-7.2", *boards)
    aliased = [replace(machine, alias=f"{machine.name}-alias") for machine in capture.machines]
    capture = replace(capture, machines=aliased)
    publish(api, capture, default_name(capture), lambda *_: None)
    assert [entry["name"] for entry in api.items("/profiles")] == ["qemu.org/aarch64/virt-7.2"]


def test_a_target_without_versioned_boards_says_nothing_of_profiles(api: Registry) -> None:
    capture = capture_of("riscv64", {"a": [BOOL]}, "virt", "spike")
    release = default_name(capture)
    publish(api, capture, release, lambda *_: None)
    assert api.get(f"/releases/{release}")["profiles"] is None


@pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")
def test_what_is_computed_does_not_depend_on_the_machine_types_that_are_asked_for() -> None:
    assert BINARY is not None
    capture = take_capture(Path(BINARY), ["pc-q35-5.1"], ["virtio-scsi-pci"], lambda *_: None)
    assert "num_queues" in capture.computed["virtio-scsi-pci"]
    assert capture.effective["pc-q35-5.1"]["virtio-scsi-pci"]["num_queues"] == 1


@pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")
def test_what_a_binary_states_is_saved_also_if_it_is_refused(run: Run, api: Registry, tmp_path: Path) -> None:
    file = tmp_path / "saved.json.gz"
    options = ("--machine", "pc-q35-7.2", "--device", "e1000", "--save-capture")
    refused = run("import", "qemu", "--binary", str(BINARY), "--release", "none.example/x@1", *options, str(file))
    assert refused.exit_code != 0
    assert Capture.load(file).effective["pc-q35-7.2"]["e1000"]
    assert run("import", "qemu", "--capture", str(file)).exit_code == 0
    assert api.find("/models/qemu.org/e1000") is not None
    nowhere = run("import", "qemu", "--binary", str(BINARY), *options, "/none/x")
    assert (nowhere.exit_code, "/none/x cannot be written" in nowhere.stderr) == (2, True)
    assert run("import", "qemu", "--capture", str(file), "--save-capture", str(file)).exit_code == 2


def test_a_build_is_in_the_name_of_its_binary() -> None:
    names = ("qemu-system-x86_64", "qemu-system-x86_64-microvm", "qemu-system-x86_64-10.0", "qemu-kvm")
    assert [build_of(name) for name in names] == ["", "microvm", "", ""]


def test_a_device_does_not_go_to_another_target_for_its_name_alone(api: Registry) -> None:
    releases = []
    for target in ("m68k", "aarch64"):
        capture = capture_of(target, {"a": [BOOL]}, "virt-7.2")
        releases.append(default_name(capture))
        publish(api, capture, releases[-1], lambda *_: None)
    question = {"model": "qemu.org/a", "profile": "qemu.org/m68k/virt-7.2", "source": releases[0]}
    answer = api.get("/compatibility", **question, destination=releases)
    assert [result["compatible"] for result in answer["results"]] == [True, False]


def test_a_special_build_is_an_implementation_of_its_own() -> None:
    capture = capture_of("x86_64", {"a": [BOOL]}, "pc-q35-7.2")
    assert default_name(capture) == "qemu.org/qemu-system-x86_64@7.2.0"
    assert default_name(replace(capture, build="microvm")) == "qemu.org/qemu-system-x86_64-microvm@7.2.0"


def test_a_capture_is_written_as_it_is_read(tmp_path: Path) -> None:
    document = json.loads(gzip.decompress((DATA / "qemu-10.0.json.gz").read_bytes()))
    capture = Capture.from_json(
        {**document, "computed": {"a": ["x"]}, "build": "microvm", "asked": ["a"], "skipped": {"b": "c"}}
    )
    capture.save(tmp_path / "copy.json.gz")
    assert Capture.load(tmp_path / "copy.json.gz") == capture


@pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")
def test_what_qemu_computes_for_each_vm_is_no_value(api: Registry) -> None:
    assert BINARY is not None
    devices = ["virtio-blk-pci", "virtio-scsi-pci", "virtio-rng-pci", "e1000e"]
    capture = take_capture(Path(BINARY), ["pc-q35-7.2", "pc-q35-5.1"], devices, lambda *_: None)
    assert capture.computed["virtio-blk-pci"] >= {"num-queues", "vectors", "disable-legacy"}
    assert capture.computed["virtio-scsi-pci"] >= {"num_queues", "vectors", "disable-legacy"}
    assert "e1000e" not in capture.computed
    release = default_name(capture)
    publish(api, capture, release, lambda *_: None)
    (scsi,) = api.items("/variable-sets", model="qemu.org/virtio-scsi-pci")
    # The marker means what a host makes of it; under old machine types QEMU makes one queue of it everywhere.
    assert scsi["variables"]["num_queues"]["resolved_by_host"] == [4294967295]
    assert scsi["variables"]["num_queues"]["init_value"] == 4294967295
    old = capture.effective["pc-q35-5.1"]["virtio-scsi-pci"]
    assert (old["num_queues"], "num_queues" in capture.effective["pc-q35-7.2"]["virtio-scsi-pci"]) == (1, False)
    question = {"model": "qemu.org/virtio-scsi-pci", "profile": "qemu.org/pc-q35-7.2", "source": release}
    answer = api.get("/compatibility", **question, destination=release, detail="full")
    (device,) = answer["results"][0]["devices"]
    assert device["compatible"], device
    assert {"num_queues", "vectors", "disable-legacy"} <= set(device["unchecked"])


def test_names_are_mapped_by_one_rule() -> None:
    assert [component(text) for text in ("ICH9 SMB", "a@b=c?d#e%f", " x ", "\t")] == [
        "ICH9-SMB",
        "a-b-c-d-e-f",
        "x",
        "unnamed",
    ]


def test_a_cpu_model_that_cannot_be_migrated_is_published_as_such(api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    release = "qemu.org/qemu-system-x86_64@10.0.13"
    models = {"YongFeng-v1": frozenset({"invtsc", "sse"}), "qemu64-v1": frozenset({"sse"})}
    publish_cpu_models(api, CpuModels("10.0.13", "x86_64", True, {"invtsc": True, "sse": True}, models), release)
    verdicts = {}
    for name in models:
        answer = api.get("/compatibility", model=CPU_MODEL, profile=profile_name(name), destination=release)
        verdicts[name] = [problem["code"] for problem in answer["results"][0]["devices"][0]["problems"]]
    assert verdicts == {"YongFeng-v1": ["not-migratable"], "qemu64-v1": []}
    # With a frequency of its own it can go where that is the same.
    question = {"model": CPU_MODEL, "profile": profile_name("YongFeng-v1"), "value": "tsc-frequency=2000000000"}
    assert api.get("/compatibility", **question, destination=release)["results"][0]["compatible"]


def test_migrations_that_are_known_to_fail_are_errata(run: Run, api: Registry, tmp_path: Path) -> None:
    releases = {}
    for major, minor in ((7, 2), (10, 0)):
        capture = replace(
            capture_of("x86_64", {"dc390": [BOOL], "a": [BOOL]}, "pc-q35-7.2"), version=f"{major}.{minor}.1"
        )
        capture.save(tmp_path / f"{major}.json.gz")
        releases[major] = default_name(capture)
        done = run("import", "qemu", "--capture", str(tmp_path / f"{major}.json.gz"))
        assert done.exit_code == 0, done.output
        assert ("Erratum: qemu.org/dc390 cannot move to" in done.stdout) == (major == 7)

    def codes(source: int, destination: int, device: str = "dc390") -> list[str]:
        question = {"model": f"qemu.org/{device}", "profile": "qemu.org/pc-q35-7.2", "source": releases[source]}
        answer = api.get("/compatibility", **question, destination=releases[destination])
        return [problem["code"] for problem in answer["results"][0]["devices"][0]["problems"]]

    assert (codes(7, 10), codes(10, 7), codes(7, 10, "a")) == (["known-broken"], [], [])
    changes = api.get("/changes")
    assert run("import", "qemu", "--capture", str(tmp_path / "7.json.gz")).exit_code == 0
    assert api.get("/changes") == changes
