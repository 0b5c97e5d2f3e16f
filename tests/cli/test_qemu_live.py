"""A real QEMU, asked over QMP; runs where one is installed (CI installs Debian's)."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError

from app.cli.client import Registry
from app.cli.qemu import publication
from app.cli.qemu.capture import Capture
from app.cli.qemu.cpu import CpuModels, profile_name, publish_cpu_models, restriction, take_cpu_models
from app.cli.qemu.live import started, take_capture
from app.cli.qemu.properties import kind_of, scope_of
from app.domain.rendering import CPU_MODEL
from tests.cli.conftest import DATA, Run

BINARY = shutil.which("qemu-system-x86_64")
DEVICES = ["virtio-net-pci", "virtio-net-device", "e1000", "nvme", "virtio-blk-pci", "usb-uas", "pcie-root-port"]

pytestmark = pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")


@pytest.fixture(scope="module")
def taken() -> Capture:
    """Return what the QEMU says of some devices under two machine types."""
    assert BINARY is not None
    return take_capture(Path(BINARY), ["pc-q35-7.2", "pc-i440fx-2.4"], DEVICES, lambda *_: None)


def test_a_live_qemu_says_what_its_capture_says(taken: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    compared = 0
    for machine, devices in taken.effective.items():
        for device, values in devices.items():
            for name, value in values.items():
                known = recorded.live(machine, device, name)
                if taken.version == recorded.version and known is not None:
                    assert value == known, (machine, device, name)
                    compared += 1
    assert taken.version != recorded.version or compared > 150
    assert set(taken.effective["pc-q35-7.2"]) >= {"virtio-net-pci", "e1000"}


def test_a_live_qemu_tells_the_lineage_of_its_types(taken: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    for qom_type in ("qemu64-x86_64-cpu", "virtio-net-pci", "e1000"):
        assert list(taken.lineage(qom_type)) == list(recorded.lineage(qom_type))


def test_a_live_qemu_says_what_cannot_be_migrated(taken: Capture) -> None:
    assert taken.unmigratable is not None
    assert "usb-uas" in taken.unmigratable
    assert not {"virtio-net-pci", "e1000"} & taken.unmigratable


def test_a_live_qemu_is_published(taken: Capture, api: Registry) -> None:
    release = publication.default_name(taken)
    assert release == f"qemu.org/qemu-system-x86_64@{taken.version}"
    published = publication.publish(api, taken, release, lambda *_: None)
    assert (published.models, published.profiles) == (len(DEVICES), 2)
    (uas,) = api.get("/variable-sets", model="qemu.org/usb-uas")["items"]
    assert uas["migratable"] is False
    question = {"model": "qemu.org/usb-uas", "source": release, "destination": release}
    (result,) = api.get("/compatibility", **question)["results"]
    assert {problem["code"] for problem in result["devices"][0]["problems"]} == {"not-migratable"}


@pytest.fixture(scope="module")
def cpus() -> CpuModels:
    """Return what the QEMU says of CPUs."""
    assert BINARY is not None
    return take_cpu_models(Path(BINARY), lambda *_: None)


def test_cpu_models_are_profiles_of_one_model(cpus: CpuModels, api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    release = f"qemu.org/qemu-system-x86_64@{cpus.version}"
    added, finds = publish_cpu_models(api, cpus, release)
    assert added["added"]["profiles"] == len(cpus.models) > 60
    assert not finds
    again, finds = publish_cpu_models(api, cpus, release)
    assert not any(again["added"].values())
    assert not finds
    second = api.get(f"/profiles/{profile_name('Haswell-v2')}")
    assert second["extends"] == profile_name("Haswell-v1")
    assert second["values"] == {CPU_MODEL: {"hle": None, "rtm": None}}
    for name in ("Haswell-v4", "EPYC-v3", "qemu64-v1"):
        resolved = api.get(f"/profiles/{profile_name(name)}", resolved=True)["values"][CPU_MODEL]
        assert {feature for feature, value in resolved.items() if value} == cpus.models[name]


def test_a_guests_features_are_within_the_hosts(cpus: CpuModels, api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    release = f"qemu.org/qemu-system-x86_64@{cpus.version}"
    publish_cpu_models(api, cpus, release)
    for name in ("Haswell-v1", "Westmere-v1"):
        has = dict.fromkeys(cpus.features, False) | dict.fromkeys(cpus.models[name], True)
        host = CpuModels(cpus.version, cpus.target, cpus.is_kvm, has, {})
        document = {"releases": [release], "restrict": {CPU_MODEL: restriction(host, list(cpus.features))}}
        api.put(f"/hosts/{name}", document)
    question = {"model": CPU_MODEL, "host": ["Haswell-v1", "Westmere-v1"]}
    for name, features in cpus.models.items():
        results = api.get("/compatibility", profile=profile_name(name), **question)["results"]
        expected = {host: features <= cpus.models[host] for host in question["host"]}
        assert {each["destination"]: each["compatible"] for each in results} == expected, name
    (common,) = api.post("/baseline", {"models": [CPU_MODEL], "hosts": question["host"]})["models"].values()
    shared = cpus.models["Haswell-v1"] & cpus.models["Westmere-v1"]
    assert {feature for feature, value in common["values"].items() if value} == shared
    assert profile_name("Westmere-v1") in common["profiles"]
    # An invariant TSC goes nowhere.
    stuck = api.get("/compatibility", model=CPU_MODEL, source=release, destination=release, value="invtsc=on")
    assert {each["code"] for each in stuck["results"][0]["devices"][0]["problems"]} == {"not-migratable"}


def test_what_is_rendered_starts_and_is_what_was_answered(taken: Capture, api: Registry) -> None:
    assert BINARY is not None
    release = publication.default_name(taken)
    publication.publish(api, taken, release, lambda *_: None)
    asked = 0
    for device, machine, values in (
        ("virtio-net-pci", "pc-q35-7.2", {"mq": True, "mac": "52:54:00:12:34:56"}),
        ("virtio-net-pci", "pc-i440fx-2.4", {"guest_tso4": False, "rx_queue_size": 512}),
        ("e1000", "pc-q35-7.2", {"mitigation": False}),
        ("virtio-net-pci", "pc-q35-7.2", {}),
    ):
        question = {
            "devices": [
                {"model": f"qemu.org/{device}", "release": release, "profile": f"qemu.org/{machine}", "values": values}
            ],
            "destinations": [{"releases": [release]}],
        }
        (answer,) = api.post("/compatibility", question, render="qemu")["results"][0]["devices"]
        option, rendered = answer["arguments"]
        assert rendered.count(",") == len(values)
        real = asyncio.run(_read(Path(BINARY), machine, [option, f"{rendered},id=d0"], list(answer["configuration"])))
        for name, value in answer["configuration"].items():
            kind = kind_of(taken.properties[device][name])
            if kind is not None and scope_of(name, kind) != "backend" and real.get(name) is not None:
                assert kind.value(real[name]) == value, (device, machine, name)
                asked += 1
    assert asked > 150


async def _read(binary: Path, machine: str, arguments: list[str], names: list[str]) -> dict[str, Any]:
    """Return the properties that a device has which was started with these arguments."""
    values = {}
    async with started(binary, "-accel", "tcg", "-M", machine, *arguments) as qmp:
        for name in names:
            try:
                values[name] = await qmp.execute("qom-get", {"path": "/machine/peripheral/d0", "property": name})
            except ExecuteError:
                continue
    return values


def test_a_host_reports_itself(cpus: CpuModels, api: Registry, run: Run) -> None:
    assert BINARY is not None
    api.put("/vendors/qemu.org", {})
    release = f"qemu.org/qemu-system-x86_64@{cpus.version}"
    publish_cpu_models(api, cpus, release)
    done = run("host", "report", "--name", "here", "--binary", BINARY, "--json")
    assert done.exit_code == 0, done.output
    host = api.get("/hosts/here")
    assert host["releases"][0] == release
    lacking = {name for name, has in cpus.features.items() if not has}
    assert set(host["restrict"][CPU_MODEL]) == lacking
    assert api.post("/baseline", {"models": [CPU_MODEL], "hosts": ["here"]})["models"][CPU_MODEL]["values"] is not None
