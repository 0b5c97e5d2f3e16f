"""Reads a running VM over QMP as a question: its devices and CPU with every value, and why QEMU would not migrate it.

The XML of a domain says what was ordered; the running QEMU says what it made of it, such as the number of queues. The
machine type decides the other devices of the board, so it is the profile of those that are read.
"""

import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.client import Registry
from app.cli.host.behind import Behind, Known
from app.cli.host.naming import Names
from app.cli.host.tool import Machine
from app.cli.qemu.live import Progress
from app.cli.qemu.monitor import Call, Monitor, MonitorError, Refused
from app.cli.qemu.negotiated import negotiated
from app.cli.qemu.properties import Kind
from app.cli.qemu.release import qualified
from app.cli.qemu.unread import unread
from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.naming import product_of, profile_of, releases_of
from app.hypervisor.virtual_machine import CPU

_PERIPHERAL, _ANONYMOUS, _BOARD = "/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached"
_CHILD, _DEVICE = "child<", "device["
_MACHINE = "-machine"
_PASSED_THROUGH = qualified("vfio-")
_X86 = frozenset({"x86_64", "i386"})
# So many values are asked for between two steps of the progress bar.
_VALUES_AT_ONCE = 500
# What a board of x86 has with -nodefaults, in QEMU 7.2 and 10.0: the machine type decides it. Everything else in that
# place was ordered, such as by -nic, -vga or -usbdevice.
_OF_THE_BOARD = frozenset(
    {
        "ICH9-LPC", "ICH9-SMB", "PIIX3", "PIIX4_PM", "acpi-ged-x86", "apic", "hpet", "i440FX", "i8042", "i8257",
        "ich9-ahci", "ioapic", "isa-fdc", "isa-i8259", "isa-pcspk", "isa-pit", "isabus-bridge", "kvm-apic", "kvm-i8259",
        "kvm-ioapic", "kvm-pit", "kvmclock", "kvmvapic", "mc146818rtc", "piix3-ide", "port92", "smbus-eeprom",
        "virtio-mmio", "vmmouse", "vmport",
    }
)  # fmt: skip
# The first CPU stands for all of them.
_CPU_TYPE = "-cpu"
_NO_PROPERTY = re.compile(r"Property '.*' not found")
# Since this version QEMU says what blocks a migration (qapi/migration.json).
_TELLS_BLOCKERS = 6
_FACTS = (
    Call("query-name"),
    Call("query-version"),
    Call("query-target"),
    Call("qom-get", {"path": "/machine", "property": "type"}),
    Call("query-cpus-fast"),
    Call("query-migrate"),
)


@dataclass(frozen=True, slots=True)
class RunningVm:
    """A running VM. devices: as a question has them. blocked: why QEMU does not migrate it now, in its own words.

    release, package: what it runs, for the registry and as its distribution calls it. unasked: what is not in the
    question, with the reason. host: the registered host that it runs on, None if that is not known, or if another
    release is registered for it. negotiated: by device, the features of virtio that its guest uses.
    """

    name: str
    release: str
    package: str
    devices: Sequence[Mapping[str, Any]]
    blocked: Sequence[str]
    unasked: Mapping[str, str]
    host: str | None
    negotiated: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Object:
    """A device as QEMU has it."""

    id: str
    path: str
    model: str
    is_of_board: bool = False


def read(monitor: Monitor, registry: Registry, release: str | None, host: str | None, progress: Progress) -> RunningVm:
    """Return the VM behind a monitor. release: QEMU's, None: what it says itself. host: None: what the monitor says.

    Raises MonitorError and RegistryError.
    """
    name, version, target, machine_type, cpus, migration = _facts(monitor)
    number = ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro"))
    package = version.get("package", "")
    release = release or next(releases_of(registry.is_published, product_of(target["arch"]), number, package))
    profile = profile_of(target["arch"], machine_type.removesuffix(_MACHINE))
    published = registry.find(f"/releases/{release}")
    digests = {entry["model"]: entry["digest"] for entry in (published or {}).get("models", ())}
    unasked: dict[str, str] = {}
    objects = []
    for device in _objects(monitor):
        if published is not None and device.is_of_board and device.model not in digests:
            unasked[device.id] = f"{release} does not publish this device of the board; {_leave_out(device.id)}"
        else:
            objects.append(device)
    cpu = cpus[0]["qom-path"] if cpus and target["arch"] in _X86 else None
    if cpu is not None:
        objects.append(_Object(CPU, cpu, CPU_MODEL))
    else:
        unasked[CPU] = f"only CPUs of x86 are known, not of {target['arch']}; {_leave_out(CPU)}"
    if twice := [name for name, count in Counter(device.id for device in objects).items() if count > 1]:
        message = f"the VM has several devices that are called {', '.join(twice)} here"
        raise MonitorError(message)
    unasked.update(unread(monitor, cpu))
    if version["qemu"]["major"] < _TELLS_BLOCKERS:
        unasked["migration"] = f"QEMU {number} does not say what blocks a migration; {_leave_out('migration')}"
    sets = {
        model: registry.get(f"/variable-sets/{digests[model]}")["variables"]
        for model in {device.model for device in objects}
        if model in digests
    }
    values = _values(monitor, objects, sets, progress)
    devices = []
    for device in objects:
        stated = {"id": device.id, "model": device.model, "release": release, "values": values.get(device.id, {})}
        devices.append(stated if device.model == CPU_MODEL else {**stated, "profile": profile})
    paths = {device.id: device.path for device in objects}
    # libvirt says the whole name, and a report the one that the machine has for itself.
    own = [monitor.host or "", (monitor.host or "").partition(".")[0], *([socket.gethostname()] * monitor.is_local)]
    known = Known.of(registry, [host] if host else own, Machine() if monitor.is_local else None)
    if known is None and host:
        message = f"no host {host} is registered"
        raise MonitorError(message)
    if known is not None:
        behind = _behind(monitor, registry, known, objects)
        devices += behind.parts
        unasked = {name: why for name, why in unasked.items() if name not in behind.replaced}
        unasked |= {name: f"{why}; {_leave_out(name)}" for name, why in behind.unasked.items()}
    return RunningVm(
        name.get("name") or "vm",
        release,
        package,
        devices,
        migration.get("blocked-reasons") or (),
        unasked,
        known.name if known is not None and release in known.document["releases"] else None,
        negotiated(monitor, paths),
    )


def _behind(monitor: Monitor, registry: Registry, host: Known, objects: Sequence[_Object]) -> Behind:
    """Return what is behind the devices, as far as the report of the host knows it."""
    behind = Behind(Names(registry), host)
    passed = [device for device in objects if device.model.startswith(_PASSED_THROUGH)]
    for device in passed:
        calls = [Call("qom-get", {"path": device.path, "property": name}) for name in ("sysfsdev", "host")]
        stated = [answer for answer in monitor.ask(calls) if isinstance(answer, str) and answer]
        behind.add_passed_through(device.id, next(iter(stated), ""))
    for device_id, node in monitor.vdpa_nodes():
        behind.add_vdpa(device_id, node)
    return behind


def _leave_out(name: str) -> str:
    return f"leave it out with --without {name}"


def _facts(monitor: Monitor) -> Sequence[Any]:
    answers = monitor.ask(_FACTS)
    for call, answer in zip(_FACTS, answers, strict=True):
        if isinstance(answer, Refused):
            message = f"QEMU does not answer {call.command}: {answer.reason}"
            raise MonitorError(message)
    return answers


def _objects(monitor: Monitor) -> Iterator[_Object]:
    """Iterate over the devices that were added, by whoever started QEMU or by QEMU itself."""
    folders = (_PERIPHERAL, _ANONYMOUS, _BOARD)
    children = [
        (folder, name)
        for folder, entries in zip(
            folders, monitor.ask([Call("qom-list", {"path": folder}) for folder in folders]), strict=True
        )
        if not isinstance(entries, Refused)
        for name in sorted(entry["name"] for entry in entries if entry["type"].startswith(_CHILD))
    ]
    types = monitor.ask(
        [Call("qom-get", {"path": f"{folder}/{name}", "property": "type"}) for folder, name in children]
    )
    counts = Counter[str]()
    for (folder, name), kind in zip(children, types, strict=True):
        if isinstance(kind, Refused):
            continue
        is_of_board = folder == _BOARD
        if kind.endswith(_CPU_TYPE) or (is_of_board and (kind in _OF_THE_BOARD or not name.startswith(_DEVICE))):
            continue
        counts[kind] += 1
        own_id = name if folder == _PERIPHERAL else f"{kind}-{counts[kind]}"
        yield _Object(own_id, f"{folder}/{name}", qualified(kind), is_of_board)


def _values(
    monitor: Monitor, objects: Sequence[_Object], sets: Mapping[str, Mapping[str, Any]], progress: Progress
) -> Mapping[str, Mapping[str, Any]]:
    """Return what QEMU says of the variables of each device, by its id; what names parts of this host is left out."""
    wanted = [
        (device, name, Kind(variable["type"]))
        for device in objects
        for name, variable in sets.get(device.model, {}).items()
        if variable.get("scope") != "backend"
    ]
    values: dict[str, dict[str, Any]] = {}
    for start in range(0, len(wanted), _VALUES_AT_ONCE):
        progress("reading the running VM", start, len(wanted))
        batch = wanted[start : start + _VALUES_AT_ONCE]
        calls = [Call("qom-get", {"path": device.path, "property": name}) for device, name, _ in batch]
        for (device, name, kind), raw in zip(batch, monitor.ask(calls), strict=True):
            if isinstance(raw, Refused):
                # A variable without a property has its initial value.
                if not _NO_PROPERTY.match(raw.reason):
                    message = f"{name} of {device.id} cannot be read: {raw.reason}"
                    raise MonitorError(message)
            elif (value := kind.value(raw)) is not None:
                values.setdefault(device.id, {})[name] = value
    return values
