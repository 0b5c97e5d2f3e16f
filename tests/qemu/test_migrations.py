"""Holds verdicts against real migrations: both QEMU are imported as a user would, asked about, and migrated between.

The first QEMU is the installed one, the second that of .ci/second-qemu; with one alone, it is at both ends.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry
from app.cli.qemu import publication
from app.cli.qemu.cpu import profile_name, publish_cpu_models, take_cpu_models
from app.cli.qemu.live import take_capture
from app.domain.fleet.rendering import CPU_MODEL
from tests.cli.conftest import client_of
from tests.conftest import fresh_database, make_app
from tests.qemu.migration import BINARIES, Look, Vm, migrate, port, register, time_stamp_frequency, why_no_kvm, written

_MACHINES = ["pc-q35-7.2", "pc-q35-6.1"]
_DEVICES = [
    "amd-iommu", "e1000", "ivshmem-plain", "nec-usb-xhci", "nvme", "pcie-root-port", "pvpanic", "usb-audio", "usb-net",
    "virtio-blk-pci", "virtio-gpu-pci", "virtio-net-pci",
]  # fmt: skip

Published = tuple[Registry, Mapping[Path, str]]
Ask = Callable[[Path, Path, str, str, Mapping[str, Any]], Mapping[str, Any]]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not BINARIES, reason="qemu-system-x86_64 is not installed"),
]
needs_two = pytest.mark.skipif(len(BINARIES) == 1, reason="there is no second QEMU: run .ci/second-qemu")
needs_kvm = pytest.mark.skipif(bool(why_no_kvm()), reason=f"the CPU's time stamp counter needs KVM: {why_no_kvm()}")
each_way = pytest.mark.parametrize(("source", "destination"), list(product(BINARIES, repeat=2)), ids=lambda _: "")


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest) -> Iterator[Published]:
    """Yield a registry with what each binary says of itself, and the name of each one's release."""
    with (
        fresh_database("sqlite", request) as url,
        TestClient(make_app(url)) as service,
        client_of(service) as api,
    ):
        api.put("/vendors/qemu.org", {})
        releases = {}
        for binary in BINARIES:
            capture = take_capture(binary, _MACHINES, _DEVICES, lambda *_: None)
            releases[binary] = publication.default_name(capture)
            publication.publish(api, capture, releases[binary], lambda *_: None, override="a test")
        yield api, releases


@pytest.fixture
def ask(registry: Published) -> Ask:
    """Return a function that asks for the verdict on a device of one binary that moves to another."""
    api, releases = registry

    def ask(source: Path, destination: Path, model: str, profile: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        device = {"model": model, "release": releases[source], "profile": profile, "values": dict(values)}
        question = {"devices": [device], "destinations": [{"releases": [releases[destination]]}]}
        (result,) = api.post("/compatibility", question)["results"]
        verdict: Mapping[str, Any] = result["devices"][0]
        return verdict

    return ask


def ask_of(ask: Ask, vm: Vm, destination: Path) -> Mapping[str, Any]:
    """Ask for the verdict on the device of a VM."""
    return ask(vm.binary, destination, f"qemu.org/{vm.device}", f"qemu.org/{vm.machine}", vm.values)


def must_be_set(verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values that the warnings of a verdict ask to set explicitly."""
    return {
        name: value
        for warning in verdict["warnings"]
        if warning["code"] == "must-be-set"
        for name, value in warning["values"].items()
    }


@each_way
@pytest.mark.parametrize(
    ("machine", "device", "values"),
    [
        ("pc-q35-6.1", "pcie-root-port", {}),
        ("pc-q35-7.2", "pcie-root-port", {}),
        ("pc-q35-7.2", "virtio-blk-pci", {}),
        ("pc-q35-7.2", "virtio-net-pci", {}),
        ("pc-q35-7.2", "virtio-gpu-pci", {}),
        ("pc-q35-7.2", "e1000", {}),
        ("pc-q35-7.2", "pvpanic", {}),
        ("pc-q35-7.2", "nec-usb-xhci", {}),
        ("pc-q35-7.2", "ivshmem-plain", {}),
        ("pc-q35-7.2", "ivshmem-plain", {"master": "off"}),
        ("pc-q35-7.2", "ivshmem-plain", {"master": "on"}),
        ("pc-q35-7.2", "nvme", {}),
        ("pc-q35-7.2", "usb-audio", {}),
        ("pc-q35-7.2", "usb-net", {}),
        ("pc-q35-7.2", "amd-iommu", {}),
    ],
)
def test_a_verdict_is_what_happens(
    ask: Ask, source: Path, destination: Path, machine: str, device: str, values: Mapping[str, Any]
) -> None:
    vm = Vm(source, machine, device, values)
    verdict = ask_of(ask, vm, destination)
    outcome = migrate(vm, Vm(destination, machine, device, {**values, **must_be_set(verdict)}))
    assert verdict["compatible"] is (outcome.refused is None), (verdict["problems"], outcome.refused)


@each_way
@pytest.mark.parametrize(
    ("device", "look", "name"),
    [("pvpanic", port(0x505), "events"), ("nec-usb-xhci", register(0x10), "streams")],
    ids=["pvpanic", "nec-usb-xhci"],
)
def test_what_must_be_set_keeps_what_the_guest_sees(
    ask: Ask, source: Path, destination: Path, device: str, look: Look, name: str
) -> None:
    vm = Vm(source, "pc-q35-7.2", device, {})
    values = must_be_set(ask_of(ask, vm, destination))
    assert set(values) == (set() if source == destination else {name})
    silent, told = (migrate(vm, Vm(destination, vm.machine, device, given), look) for given in ({}, values))
    assert told.refused is None
    assert told.before
    assert told.after == told.before
    # The migration arrives without the values as well: nobody but the registry says that the device changed.
    assert silent.refused is None
    assert (silent.after != silent.before) is bool(values)


@each_way
def test_the_size_of_a_hosts_rom_file_is_not_compared_and_said(ask: Ask, source: Path, destination: Path) -> None:
    vm = Vm(source, "pc-q35-7.2", "e1000", {})
    assert "romsize" in ask_of(ask, vm, destination)["unchecked"]
    set_here, set_there = (
        Vm(binary, vm.machine, vm.device, {"romsize": size})
        for binary, size in ((source, 262144), (destination, 524288))
    )
    assert migrate(set_here, set_there).refused is not None


@needs_kvm
@each_way
@pytest.mark.parametrize("is_given", [False, True], ids=["no frequency", "frequency"])
def test_an_invariant_time_stamp_counter_moves_with_its_frequency_alone(
    ask: Ask,
    registry: Published,
    source: Path,
    destination: Path,
    is_given: bool,
) -> None:
    api, releases = registry
    for binary in {source, destination}:
        publish_cpu_models(api, take_cpu_models(binary, lambda *_: None), releases[binary], override="a test")
    frequency = {"tsc-frequency": time_stamp_frequency(source)} if is_given else {}
    values = {"invtsc": True, **frequency}
    model = ",".join(["qemu64", *(f"{name}={written(value)}" for name, value in values.items())])
    more = ("-accel", "kvm", "-cpu", model)
    verdict = ask(source, destination, CPU_MODEL, profile_name("qemu64-v1"), values)
    vm, arriving = (Vm(binary, "pc-q35-7.2", "e1000", {}, more) for binary in (source, destination))
    outcome = migrate(vm, arriving)
    assert verdict["compatible"] is is_given, verdict["problems"]
    assert (outcome.refused is None) is is_given, outcome


@needs_two
def test_the_two_binaries_differ(registry: Published) -> None:
    assert len(set(registry[1].values())) == len(BINARIES)
