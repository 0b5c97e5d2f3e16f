"""check --live reads VMs that a real libvirt has started: every value is that of the running QEMU."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.cli.qemu.monitor import Call, Refused, VirshMonitor
from app.client import Registry
from tests.libvirt.conftest import MACHINE, OLD, OLD_BOARD, command_of, installed
from tests.libvirt.daemons import Daemon, missing
from tests.running.conftest import Server

_WHY_NOT = missing()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=f"a libvirtd cannot run here: {_WHY_NOT}")

_DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>{cpus}</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
  <features><acpi/></features>
  {cpu}
  <devices>{devices}<memballoon model='none'/></devices>
</domain>
"""
_DISK = """<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{file}'/>
<target dev='{target}' bus='{bus}'/><serial>S 1</serial></disk>"""
_NETWORK = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>"
_USB = "<controller type='usb' model='qemu-xhci'/><input type='tablet' bus='usb'/>"
_NO_USB = "<controller type='usb' model='none'/>"
_SCSI = "<controller type='scsi' model='virtio-scsi'/>"
_TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
_CPU = "<cpu mode='custom'><model>Nehalem</model><feature policy='require' name='aes'/></cpu>"
# Domains by name: the machine type, CPUs, the CPU, and the devices.
_DOMAINS: dict[str, tuple[str, int, str, str]] = {
    "network": (MACHINE, 4, "", _NETWORK + _DISK.format(file="{file}", target="vda", bus="virtio") + _NO_USB),
    "scsi": (
        *(OLD_BOARD, 3, ""),
        "<controller type='scsi' model='virtio-scsi'/>"
        + _DISK.format(file="{file}", target="sda", bus="scsi")
        + _NO_USB,
    ),
    "video": (MACHINE, 1, "", _USB + "<video><model type='virtio'/></video>" + "{tpm}"),
    "cpu": (OLD_BOARD, 1, _CPU, _NO_USB + "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"),
}
_HOTPLUGGED = "<rng model='virtio'><backend model='random'>/dev/urandom</backend><alias name='ua-plugged'/></rng>"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """Yield a libvirtd with four VMs that run."""
    with TemporaryDirectory(prefix="l") as folder:
        started = Daemon(Path(folder), 49400)
        try:
            started.start()
            for name, (machine, cpus, cpu, devices) in _DOMAINS.items():
                disk = Path(folder) / f"{name}.raw"
                disk.write_bytes(bytes(1024 * 1024))
                # Without swtpm, there is no TPM to ask about; the test says so.
                written = devices.format(file=disk, tpm=_TPM if shutil.which("swtpm") else "")
                started.create(_DOMAIN.format(name=name, machine=machine, cpus=cpus, cpu=cpu, devices=written))
            yield started
        finally:
            started.stop()


def _question(server: Server, daemon: Daemon, name: str) -> dict[str, dict[str, Any]]:
    """Return the devices that are asked about, by id."""
    options = ("--source", installed(), "--show-question")
    printed = command_of(server, "check", "--live", name, *options, libvirt=daemon.uri)
    (vm,) = json.loads(printed)["vms"]
    assert vm["id"] == name
    return {device["id"]: device for device in vm["devices"]}


def _folder(device: str) -> str:
    return "/machine/unattached/device[0]" if device == "cpu" else f"/machine/peripheral/{device}"


@pytest.mark.parametrize("name", _DOMAINS)
def test_every_value_is_that_of_the_running_qemu(
    server: Server, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    devices = _question(server, daemon, name)
    assert "cpu" in devices
    expected = {"network": "virtio-disk0", "scsi": "scsi0-0-0-0", "video": "video0", "cpu": "rng0"}[name]
    assert expected in devices
    if name == "video" and shutil.which("swtpm"):
        assert devices["tpm0"]["model"] == "qemu.org/tpm-crb"
    stated = [(device["id"], name, value) for device in devices.values() for name, value in device["values"].items()]
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", daemon.uri)
    calls = [Call("qom-get", {"path": _folder(device), "property": variable}) for device, variable, _ in stated]
    count = 0
    for (device, variable, value), really in zip(stated, VirshMonitor(name).ask(calls), strict=True):
        # What libvirt did not add has another place; tests/cli covers it. A LUN has variables without a property.
        if not isinstance(really, Refused):
            written = {True: "on", False: "off"}[really] if isinstance(really, bool) else str(really)
            assert value == really or str(value) == written, (device, variable)
            count += 1
    assert count > 30


def test_what_qemu_computes_from_the_number_of_cpus_is_read(server: Server, daemon: Daemon) -> None:
    assert _question(server, daemon, "network")["virtio-disk0"]["values"]["num-queues"] == 4
    assert _question(server, daemon, "scsi")["scsi0"]["values"]["num_queues"] == 3
    assert _question(server, daemon, "cpu")["cpu"]["values"]["aes"] is True


def test_a_device_that_was_plugged_in_later_is_there(server: Server, daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "rng.xml"
    file.write_text(_HOTPLUGGED)
    plugged = daemon.virsh("attach-device", "cpu", str(file), "--live")
    assert plugged.returncode == 0, plugged.stderr
    assert _question(server, daemon, "cpu")["ua-plugged"]["model"] == "qemu.org/virtio-rng-pci"


def test_what_libvirt_really_starts_can_run_where_it_runs(server: Server, daemon: Daemon) -> None:
    options = ("--source", installed(), "--destination", installed(), "--json")
    printed = command_of(server, "check", "--live", "scsi", *options, libvirt=daemon.uri)
    answer = json.loads(printed)
    assert answer["results"][0]["compatible"]
    assert answer["unasked"] == {}


def test_all_that_runs_on_a_libvirt_host_is_drained(server: Server, daemon: Daemon, api: Registry) -> None:
    # libvirt says this name, too, and the report would be registered under it.
    here = socket.gethostname()
    hosts = {here: (installed(), "new"), "other": (installed(), "new"), "old": (OLD, "old")}
    for name, (release, generation) in hosts.items():
        api.put(f"/hosts/{name}", {"releases": [release], "labels": {"gen": generation}})
    drain = ("drain", "--live-host", daemon.uri, "--source", installed(), "--json")
    answer = json.loads(command_of(server, *drain, status=None))
    assert sorted(vm["vm"] for vm in answer["vms"]) == sorted(_DOMAINS)
    assert answer["left_out"] == [here]
    assert {"network", "scsi", "cpu"} <= set(answer["order"])
    (scsi,) = [vm for vm in answer["vms"] if vm["vm"] == "scsi"]
    assert [kind["examples"] for kind in scsi["kinds"] if kind["compatible"]] == [["other"]]
    # The older QEMU has none of these machine types.
    stuck = json.loads(command_of(server, *drain, "--label", "gen=old", status=1))
    assert sorted(stuck["stuck"]) == sorted(_DOMAINS)
    helps = {entry["change"]: entry for vm in stuck["vms"] if vm["vm"] == "scsi" for entry in vm["help"]}
    assert helps["labels"]["examples"] == ["other"]
    # It has a machine type, but of another board.
    assert "profile" not in helps
    for name in hosts:
        api.delete(f"/hosts/{name}")
