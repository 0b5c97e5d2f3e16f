"""How a device type is started: its properties say which back ends it wants, and QEMU's complaint says the rest.

There is no list of types: what is said here of a property or of a complaint holds for any type that has it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.cli.qemu.capture import Capture
from app.cli.qemu.process import HANGS

# What a property of this name needs: the arguments that make it. {id}: unique in the process, {disk}: the size of a
# disk in bytes; other names in braces are filled in by BackEnds.
_BACK_ENDS: Mapping[str, tuple[str, ...]] = {
    "drive": ("-blockdev", "driver=null-co,read-zeroes=on,size={disk},node-name={id}"),
    "chardev": ("-chardev", "null,id={id}"),
    "memdev": ("-object", "memory-backend-ram,size=128M,share=on,id={id}"),
    "audiodev": ("-audiodev", "none,id={id}"),
    "cryptodev": ("-object", "cryptodev-backend-builtin,id={id}"),
    "canbus": ("-object", "can-bus,id={id}"),
    "canbus0": ("-object", "can-bus,id={id}"),
    "canbus1": ("-object", "can-bus,id={id}"),
    "bmc": ("-device", "ipmi-bmc-sim,id={id}"),
    "fsdev": ("-fsdev", "local,path={folder},security_model=none,id={id}"),
    "tpmdev": ("-chardev", "socket,path={tpm},id={id}c", "-tpmdev", "emulator,chardev={id}c,id={id}"),
}
_VHOST_USER = "vhost-user"
_VHOST_USER_CHARDEV = ("-chardev", "socket,path={vhost-user},id={id}")
# What identifies one device, where it cannot start without; {number}: unique in the process.
_IDENTITIES = {"serial": "s{number}", "mount_tag": "t{number}", "tag": "t{number}", "chassis_nr": "{number}"}
# pseries takes multiples of 256 MiB.
_MEMORY, _MORE_MEMORY = "256M", "768M"
_DISK, _LARGER_DISK = 2**26, 2**30
# The identities of other devices begin above those that a board has.
_FIRST_NUMBER = 100
# A device that writes to the guest's memory once: it needs all three.
_LOADED = {"addr": "0x1000", "data": "1", "data-len": "4"}
_PORT, _PCI = "pcie-root-port", "pci-device"
# The controllers that are taken for a bus if several have one, before others in the order of their names.
CARRIERS = (
    _PORT, "qemu-xhci", "virtio-scsi-pci", "virtio-scsi-ccw", "virtio-serial-pci", "virtio-serial-ccw", "intel-hda",
    "ich9-ahci", "sdhci-pci", "nvme", "ufs", "usb-ccid", "tpci200", "vmbus-bridge",
)  # fmt: skip
_NO_BUS = re.compile(r"No '([^']+)' bus found for device")
_NO_OPTION = re.compile(r"missing '([\w-]+)' in '-M'|\b([\w-]+)=off\b")
_NO_MEMORY = re.compile(r"maxmem|'slots'|memory hotplug")
_NO_ADDRESS = re.compile(r"must have address ([0-9a-f.]+)")
_NO_KVM = re.compile(r"requires kvm", re.IGNORECASE)
_NO_ARGUMENTS = re.compile(r"please include valid arguments")


@dataclass(frozen=True, slots=True)
class Start:
    """How a device is started; back_ends: by property, the arguments that make them.

    settings: values of other properties. carriers: the devices that it needs before it, such as a controller with its
    bus. options: of the machine type. needs_memory: room for memory devices. is_behind_port: whether it is plugged
    into a port of PCI Express of its own.
    """

    device: str
    back_ends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    carriers: tuple["Start", ...] = ()
    options: tuple[str, ...] = ()
    needs_memory: bool = False
    is_behind_port: bool = False

    @property
    def of_machine(self) -> tuple[tuple[str, ...], bool]:
        """What it needs of the VM: devices that differ in it do not start together."""
        options = {option for carrier in self.carriers for option in carrier.options}
        return tuple(sorted({*options, *self.options})), self.needs_memory

    def own_arguments(self, name: str, number: int, disk: int) -> Iterator[str]:
        """Iterate over the arguments that start it under a name, without its carriers; number: unique in the VM."""
        values: dict[str, str] = {}
        for index, (back_end, arguments) in enumerate(self.back_ends.items()):
            values[back_end] = f"{name}b{index}"
            yield from (
                argument.replace("{id}", values[back_end]).replace("{disk}", str(disk)) for argument in arguments
            )
        if self.is_behind_port:
            yield from ("-device", f"{_PORT},id={name}p,chassis={number + 1}")
            values["bus"] = f"{name}p"
        values |= {key: value.replace("{number}", str(_FIRST_NUMBER + number)) for key, value in self.settings.items()}
        options = "".join(f",{key}={value.replace(',', ',,')}" for key, value in values.items())
        yield from ("-device", f"{self.device}{options},id={name}")


def start_from(document: Mapping[str, Any]) -> Start:
    """Return a start from what `dataclasses.asdict` made of it."""
    return Start(
        document["device"],
        {name: tuple(made) for name, made in document["back_ends"].items()},
        document["settings"],
        tuple(map(start_from, document["carriers"])),
        tuple(document["options"]),
        document["needs_memory"],
        document["is_behind_port"],
    )


def arguments(machine: str, starts: Sequence[Start], *, larger: int = 0) -> Sequence[str]:
    """Return the arguments of a VM with these devices, which are called d0, d1, and so on.

    larger: with so many CPUs, and with more memory and larger disks than otherwise; 0: as the machine type has it.
    """
    disk = _LARGER_DISK if larger else _DISK
    options = sorted({option for start in starts for option in start.of_machine[0]})
    given = ["-M", ",".join((machine, *options))]
    if any(start.needs_memory for start in starts):
        given += ["-m", f"{_MORE_MEMORY if larger else _MEMORY},slots=8,maxmem=8G"]
    elif larger:
        given += ["-m", _MORE_MEMORY]
    if larger:
        given += ["-smp", str(larger)]
    carriers = list(dict.fromkeys(carrier.device for start in starts for carrier in start.carriers))
    by_device = {carrier.device: carrier for start in starts for carrier in start.carriers}
    for index, device in enumerate(carriers):
        given += by_device[device].own_arguments(f"c{index}", len(starts) + index, disk)
    for index, start in enumerate(starts):
        given += start.own_arguments(f"d{index}", index, disk)
    return given


def behind_port(start: Start, capture: Capture) -> Start | None:
    """Return the start with a port of its own; None for what is no PCI device, or a port itself."""
    is_plugged = _PCI in capture.lineage(start.device) and start.device != _PORT
    return replace(start, is_behind_port=True) if is_plugged and _PORT in capture.properties else None


def improved(start: Start, complaint: str, capture: Capture, carriers: Mapping[str, Start]) -> Start | None:
    """Return how a device starts that did not: with what QEMU says it lacks; None if nothing can be added.

    carriers: by the type of a bus, the device that has one.
    """
    if (match := _NO_BUS.search(complaint)) is not None:
        carrier = next((own for bus, own in carriers.items() if match[1] in capture.lineage(bus)), None)
        if carrier is None or carrier in start.carriers:
            return None
        return replace(start, carriers=(*carrier.carriers, carrier, *start.carriers))
    if _NO_MEMORY.search(complaint) and not start.needs_memory:
        return replace(start, needs_memory=True)
    option = "accel=kvm" if _NO_KVM.search(complaint) else ""
    if match := _NO_OPTION.search(complaint):
        option = f"{match[1] or match[2]}=on"
    if option and option not in start.options:
        return replace(start, options=(*start.options, option))
    if complaint == HANGS:
        return None
    properties = capture.properties[start.device]
    settings = dict(start.settings)
    if match := _NO_ADDRESS.search(complaint):
        settings["addr"] = match[1]
    if _NO_ARGUMENTS.search(complaint) and _LOADED.keys() <= properties.keys():
        settings |= _LOADED
    if not start.back_ends:
        settings |= {name: value for name, value in _IDENTITIES.items() if name in properties}
    changed = replace(start, back_ends=start.back_ends or _back_ends(start.device, capture), settings=settings)
    return changed if changed != start else None


def _back_ends(device: str, capture: Capture) -> Mapping[str, tuple[str, ...]]:
    wanted = {name: made for name, made in _BACK_ENDS.items() if name in capture.properties[device]}
    if "chardev" in wanted and any(kind.startswith(_VHOST_USER) for kind in capture.lineage(device)):
        wanted["chardev"] = _VHOST_USER_CHARDEV
    return wanted


def carriers_of(starts: Mapping[str, Start], buses: Mapping[str, Sequence[str]]) -> Mapping[str, Start]:
    """Return a device for each type of bus; buses: by type, the devices that have one."""
    order = {device: index for index, device in enumerate(CARRIERS)}
    return {
        bus: starts[min(startable, key=lambda device: (order.get(device, len(order)), device))]
        for bus, devices in sorted(buses.items())
        if (startable := [device for device in devices if device in starts])
    }
