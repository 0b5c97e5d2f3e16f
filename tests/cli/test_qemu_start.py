"""How devices are started: what QEMU's tree says, and what is added to a device that does not start."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from app.cli.qemu.backends import back_ends
from app.cli.qemu.capture import Capture, CaptureError
from app.cli.qemu.process import HANGS, run
from app.cli.qemu.start import Start, arguments, behind_port, carriers_of, improved
from app.cli.qemu.tree import devices_of, free_buses, read_tree

TREE = """QEMU 7.2.22 monitor - type 'help' for more information
(qemu) info qtree
bus: main-system-bus
  type System
  dev: q35-pcihost, id ""
    MCFG = -1 (0xffffffffffffffff)
    pci-hole64-size = 34359738368 (32 GiB)
    bypass-iommu = false
    bus: pcie.0
      type PCIE
      dev: virtio-serial-pci, id "d0"
        disable-legacy = "off"
        romfile = ""
        name = <null>
        addr = 02.0
        class Class 00ff, addr 00:02.0, pci id 1af4:1005 (sub 1af4:0004)
        bus: virtio-bus
          type virtio-pci-bus
          dev: virtio-serial-device, id ""
            max_ports = 31 (0x1f)
            bus: d0.0
              type virtio-serial-bus
      dev: qemu-xhci, id "d1"
        p2 = 4 (0x4)
        bus: usb-bus.0
          type usb-bus
          dev: usb-kbd, id ""
            port = ""
"""
PARENTS = {
    "virtio-serial-bus": "bus", "usb-bus": "bus", "PCIE": "PCI", "PCI": "bus", "a-pci": "pci-device", "disk": "device",
    "vhost-user-x": "vhost-user-base",
}  # fmt: skip


def capture_with(**properties: list[str]) -> Capture:
    """Return a capture of device types with these properties."""
    return Capture.from_json(
        {
            "version": {"major": 7, "minor": 2, "micro": 0},
            "machines": [],
            "types": [{"name": name, "parent": parent} for name, parent in PARENTS.items()],
            "device-list-properties": {
                device.replace("_", "-"): [{"name": name, "type": "str"} for name in names]
                for device, names in properties.items()
            },
        }
    )


def test_the_tree_tells_devices_with_their_values() -> None:
    devices = {device.type: device for device in devices_of(read_tree(TREE))}
    assert list(devices) == [
        "q35-pcihost", "virtio-serial-pci", "virtio-serial-device", "qemu-xhci", "usb-kbd",
    ]  # fmt: skip
    host, serial = devices["q35-pcihost"], devices["virtio-serial-pci"]
    assert [host.value(name) for name in ("MCFG", "pci-hole64-size", "bypass-iommu")] == [-1, 34359738368, False]
    assert [serial.value(name) for name in ("disable-legacy", "romfile", "name", "addr")] == ["off", "", "", "02.0"]
    assert "class" not in serial.texts
    assert devices["virtio-serial-device"].value("max_ports") == 31


def test_a_bus_with_a_device_is_not_free() -> None:
    devices = {device.id: device for device in devices_of(read_tree(TREE))}
    assert free_buses(devices["d0"]) == {"virtio-serial-bus"}
    assert free_buses(devices["d1"]) == frozenset()


@pytest.mark.parametrize("text", ["", "no tree", 'bus: x\n  dev: y, id ""\n   z = 1', '  dev: y, id ""', "    a = b"])
def test_what_is_no_tree_has_no_devices_but_those_it_tells(text: str) -> None:
    assert [device.type for device in devices_of(read_tree(text))] == (["y"] if text.startswith("bus") else [])


def test_back_ends_are_what_the_properties_of_a_type_want() -> None:
    capture = capture_with(disk=["drive", "serial", "size"], vhost_user_x=["chardev", "tag"])
    disk = improved(Start("disk"), "drive property not set", capture, {})
    assert disk is not None
    assert list(disk.own_arguments("d0", 0, 64)) == [
        "-blockdev", "driver=null-co,read-zeroes=on,size=64,node-name=d0b0", "-device",
        "disk,drive=d0b0,serial=s100,id=d0",
    ]  # fmt: skip
    # What still does not start with all of them does not start.
    assert improved(disk, "drive property not set", capture, {}) is None
    served = improved(Start("vhost-user-x"), "missing chardev", capture, {})
    assert served is not None
    assert list(served.own_arguments("d1", 1, 64))[1] == "socket,path={vhost-user},id=d1b0"


def test_a_complaint_says_what_else_a_device_lacks() -> None:
    capture = capture_with(disk=["drive"])
    lines = {
        "nvdimm is not enabled: missing 'nvdimm' in '-M'": "nvdimm=on",
        "CXL host bridges present, but cxl=off": "cxl=on",
        "vhost initialization failed: requires kvm": "accel=kvm",
    }
    for complaint, option in lines.items():
        better = improved(Start("disk"), complaint, capture, {})
        assert better is not None
        assert arguments("q35", [better])[:2] == ["-M", f"q35,{option}"]
    slots = improved(Start("disk"), "no slots where allocated, please specify the 'slots' option", capture, {})
    assert slots is not None
    assert list(arguments("q35", [slots]))[2:4] == ["-m", "256M,slots=8,maxmem=8G"]
    # One that hangs once hangs again.
    assert improved(Start("disk"), HANGS, capture, {}) is None


def test_a_bus_that_is_missing_comes_with_a_device_that_starts() -> None:
    capture = capture_with(disk=["drive"], qemu_xhci=[], piix3_usb_uhci=[])
    starts = {name: Start(name) for name in ("qemu-xhci", "piix3-usb-uhci")}
    complaint = "No 'usb-bus' bus found for device 'disk'"
    assert improved(Start("disk"), complaint, capture, {}) is None
    carriers = carriers_of(starts, {"usb-bus": ["piix3-usb-uhci", "qemu-xhci", "not-started"]})
    better = improved(Start("disk"), complaint, capture, carriers)
    assert better is not None
    assert list(arguments("q35", [better, better])) == [
        "-M", "q35", "-device", "qemu-xhci,id=c0", "-device", "disk,id=d0", "-device", "disk,id=d1",
    ]  # fmt: skip
    # Behind the same controller it would fail in the same way.
    assert improved(better, complaint, capture, carriers) is None


def test_a_larger_vm_has_more_of_everything() -> None:
    capture = capture_with(disk=["drive"], a_pci=[], pcie_root_port=[])
    disk = improved(Start("disk"), "No drive specified", capture, {})
    assert disk is not None
    larger = " ".join(arguments("q35", [disk], larger=3))
    assert "-m 768M" in larger
    assert "-smp 3" in larger
    assert "size=1073741824" in larger
    assert behind_port(disk, capture) is None
    moved = behind_port(Start("a-pci"), capture)
    assert moved is not None
    assert list(moved.own_arguments("d4", 4, 64)) == [
        "-device", "pcie-root-port,id=d4p,chassis=5", "-device", "a-pci,bus=d4p,id=d4",
    ]  # fmt: skip


def test_a_vhost_user_back_end_answers_any_device() -> None:
    async def ask() -> list[bytes]:
        answers = []
        async with back_ends() as made:
            reader, writer = await asyncio.open_unix_connection(str(made.vhost_user))
            # GET_FEATURES; SET_OWNER with REPLY_ACK; GET_CONFIG; SET_OWNER, which has no answer; GET_QUEUE_NUM.
            for request, flags, payload in ((1, 1, b""), (3, 9, b""), (24, 1, b"config"), (3, 1, b""), (17, 1, b"")):
                writer.write(struct.pack("<III", request, flags, len(payload)) + payload)
            for _ in range(4):
                request, flags, size = struct.unpack("<III", await reader.readexactly(12))
                assert flags == 5
                answers.append(await reader.readexactly(size))
            writer.close()
            await writer.wait_closed()
        return answers

    features, owner, config, queues = asyncio.run(ask())
    assert int.from_bytes(features, "little") & (1 << 33) == 0
    assert (int.from_bytes(owner, "little"), config, int.from_bytes(queues, "little")) == (0, b"config", 256)


def test_a_missing_tpm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    async def fill() -> None:
        async with back_ends() as made:
            with made.filled_in(["-chardev", "socket,path={tpm}"]):
                pass

    with pytest.raises(CaptureError, match="swtpm is not installed"):
        asyncio.run(fill())


def test_a_process_that_does_not_quit_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    monkeypatch.setattr("app.cli.qemu.process._RUN_SECONDS", 0.2)
    assert asyncio.run(run(program, "-M", "x")) == (1, HANGS)


def test_the_socket_of_the_back_end_is_gone_with_it() -> None:
    async def path() -> Path:
        async with back_ends() as made:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(made.vhost_user))
            return made.vhost_user

    assert not asyncio.run(path()).exists()
