"""Queries a real QEMU over QMP; skipped where none is installed (CI installs Debian's)."""

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
from app.cli.qemu.live import take_capture
from app.cli.qemu.process import start_qemu
from app.cli.qemu.properties import kind_of, scope_of
from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.facts import decided_by_probe
from tests.cli.conftest import DATA, Run

BINARY = shutil.which("qemu-system-x86_64")
DEVICES = ["virtio-net-pci", "virtio-net-device", "e1000", "nvme", "virtio-blk-pci", "usb-uas", "pcie-root-port"]

pytestmark = pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")


@pytest.fixture(scope="module")
def capture() -> Capture:
    """Return a capture of some devices under two machine types."""
    assert BINARY is not None
    return take_capture(Path(BINARY), ["pc-q35-7.2", "pc-i440fx-2.4"], DEVICES, lambda *_: None)


def test_a_live_qemu_has_the_values_of_its_recorded_capture(capture: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    compared = 0
    for machine, devices in capture.effective.items():
        for device, values in devices.items():
            for name, value in values.items():
                known = recorded.live(machine, device, name)
                if capture.version == recorded.version and known is not None:
                    assert value == known, (machine, device, name)
                    compared += 1
    assert capture.version != recorded.version or compared > 150
    assert set(capture.effective["pc-q35-7.2"]) >= {"virtio-net-pci", "e1000"}


def test_a_live_qemu_reports_the_lineage_of_its_types(capture: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    for qom_type in ("qemu64-x86_64-cpu", "virtio-net-pci", "e1000"):
        assert list(capture.lineage(qom_type)) == list(recorded.lineage(qom_type))


def test_a_live_qemu_reports_devices_that_cannot_be_migrated(capture: Capture) -> None:
    assert capture.unmigratable is not None
    assert "usb-uas" in capture.unmigratable
    assert not {"virtio-net-pci", "e1000"} & capture.unmigratable


def test_a_live_qemu_is_published(capture: Capture, api: Registry) -> None:
    release = publication.default_name(capture)
    assert release == f"qemu.org/qemu-system-x86_64@{capture.version}"
    published = publication.publish(api, capture, release, lambda *_: None)
    assert (published.models, published.profiles) == (len(DEVICES), 2)
    (uas,) = api.get("/variable-sets", model="qemu.org/usb-uas")["items"]
    assert uas["migratable"] is False
    question = {"model": "qemu.org/usb-uas", "source": release, "destination": release}
    (result,) = api.get("/compatibility", **question)["results"]
    assert {problem["code"] for problem in result["devices"][0]["problems"]} == {"not-migratable"}


@pytest.fixture(scope="module")
def cpus() -> CpuModels:
    """Return the CPU models of the QEMU."""
    assert BINARY is not None
    return take_cpu_models(Path(BINARY), lambda *_: None)


def test_cpu_models_are_profiles_of_one_model(cpus: CpuModels, api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    release = f"qemu.org/qemu-system-x86_64@{cpus.version}"
    first, differences = publish_cpu_models(api, cpus, release)
    assert first["added"]["profiles"] == len(cpus.models) > 60
    assert not differences
    second, differences = publish_cpu_models(api, cpus, release)
    assert not any(second["added"].values())
    assert not differences
    profile = api.get(f"/profiles/{profile_name('Haswell-v2')}")
    assert profile["extends"] == profile_name("Haswell-v1")
    assert profile["values"] == {CPU_MODEL: {"hle": None, "rtm": None}}
    for name in ("Haswell-v4", "EPYC-v3", "qemu64-v1"):
        resolved = api.get(f"/profiles/{profile_name(name)}", resolved=True)["values"][CPU_MODEL]
        assert {feature for feature, value in resolved.items() if value} == cpus.models[name]


def test_a_guest_needs_a_host_with_all_its_cpu_features(cpus: CpuModels, api: Registry) -> None:
    api.put("/vendors/qemu.org", {})
    release = f"qemu.org/qemu-system-x86_64@{cpus.version}"
    publish_cpu_models(api, cpus, release)
    for name in ("Haswell-v1", "Westmere-v1"):
        features = dict.fromkeys(cpus.features, False) | dict.fromkeys(cpus.models[name], True)
        host = CpuModels(cpus.version, cpus.target, cpus.is_kvm, features, {})
        document = {"releases": [release], "restrict": {CPU_MODEL: restriction(host, list(cpus.features))}}
        api.put(f"/hosts/{name}", document)
    question = {"model": CPU_MODEL, "host": ["Haswell-v1", "Westmere-v1"]}
    for name, guest in cpus.models.items():
        results = api.get("/compatibility", profile=profile_name(name), **question)["results"]
        expected = {hostname: guest <= cpus.models[hostname] for hostname in question["host"]}
        assert {result["destination"]: result["compatible"] for result in results} == expected, name
    (common,) = api.post("/baseline", {"models": [CPU_MODEL], "hosts": question["host"]})["models"].values()
    shared = cpus.models["Haswell-v1"] & cpus.models["Westmere-v1"]
    assert {feature for feature, value in common["values"].items() if value} == shared
    assert profile_name("Westmere-v1") in common["profiles"]
    # A CPU with an invariant TSC cannot be migrated.
    answer = api.get("/compatibility", model=CPU_MODEL, source=release, destination=release, value="invtsc=on")
    assert {problem["code"] for problem in answer["results"][0]["devices"][0]["problems"]} == {"not-migratable"}


def test_rendered_arguments_create_a_device_with_the_answered_configuration(capture: Capture, api: Registry) -> None:
    assert BINARY is not None
    release = publication.default_name(capture)
    publication.publish(api, capture, release, lambda *_: None)
    compared = 0
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
            kind = kind_of(capture.properties[device][name])
            is_resolved = value in decided_by_probe(name) or name in capture.computed.get(device, ())
            if (
                kind is not None
                and scope_of(name, kind) != "backend"
                and real.get(name) is not None
                and not is_resolved
            ):
                assert kind.value(real[name]) == value, (device, machine, name)
                compared += 1
    assert compared > 150


async def _read(binary: Path, machine: str, arguments: list[str], names: list[str]) -> dict[str, Any]:
    """Return the properties of the device d0 in a QEMU started with these arguments."""
    values = {}
    async with start_qemu(binary, "-accel", "tcg", "-M", machine, *arguments) as qmp:
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
    reported = run("host", "report", "--name", "here", "--binary", BINARY, "--json")
    assert reported.exit_code == 0, reported.output
    host = api.get("/hosts/here")
    assert host["releases"][0] == release
    missing = {name for name, is_available in cpus.features.items() if not is_available}
    assert set(host["restrict"][CPU_MODEL]) == missing
    assert api.post("/baseline", {"models": [CPU_MODEL], "hosts": ["here"]})["models"][CPU_MODEL]["values"] is not None


def test_a_host_without_kvm_restricts_what_kvm_gives_too(api: Registry, run: Run) -> None:
    """Whoever asks about a domain does not know whether it runs with KVM."""
    assert BINARY is not None
    api.put("/vendors/qemu.org", {})
    emulated = take_cpu_models(Path(BINARY), lambda *_: None, emulated=True)
    assert emulated.device_model == f"{CPU_MODEL}-tcg"
    release = f"qemu.org/qemu-system-x86_64@{emulated.version}"
    features = {**emulated.features, "only-of-kvm": True}
    for cpus in (emulated, CpuModels(emulated.version, "x86_64", True, features, {})):
        publish_cpu_models(api, cpus, release)
    reported = run("host", "report", "--name", "here", "--binary", BINARY, "--emulated", "--json")
    assert reported.exit_code == 0, reported.output
    restrict = api.get("/hosts/here")["restrict"]
    missing = {name for name, is_available in emulated.features.items() if not is_available}
    assert {model: set(names) for model, names in restrict.items()} == {
        CPU_MODEL: {*missing, "only-of-kvm"},
        f"{CPU_MODEL}-tcg": missing,
    }
