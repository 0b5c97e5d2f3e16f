"""Reads a running VM over QMP as a question: its devices and CPU with every value, and why QEMU would not migrate it.

The XML of a domain says what was ordered; the running QEMU says what it made of it, such as the number of queues. The
machine type decides the other devices of the board, so it is the profile of those that are read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.client import Registry
from app.cli.qemu.live import Progress
from app.cli.qemu.monitor import Call, Monitor, MonitorError, Refused
from app.cli.qemu.naming import releases_of
from app.cli.qemu.properties import Kind
from app.cli.qemu.release import qualified
from app.cli.qemu.unread import unread
from app.cli.virtual_machine import CPU
from app.domain.fleet.rendering import CPU_MODEL

_PERIPHERAL, _ANONYMOUS, _BOARD = "/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached"
_CHILD = "child<"
_MACHINE = "-machine"
_X86 = frozenset({"x86_64", "i386"})
# So many values are asked for between two steps of the progress bar.
_VALUES_AT_ONCE = 500
# What QEMU adds to a board by itself unless -nodefaults forbids it (system/vl.c); the machine type decides the rest.
_DEFAULTS = frozenset(
    {"VGA", "cirrus-vga", "e1000", "e1000e", "floppy", "ide-cd", "ide-hd", "isa-parallel", "isa-serial", "rtl8139"}
)
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

    unasked: what is not in the question, with the reason.
    """

    name: str
    machine: str
    release: str
    devices: Sequence[Mapping[str, Any]]
    blocked: Sequence[str]
    unasked: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Object:
    """A device as QEMU has it."""

    id: str
    path: str
    model: str


def read(
    monitor: Monitor, registry: Registry, release: str | None, without: Sequence[str], progress: Progress
) -> RunningVm:
    """Return the VM behind a monitor. release: QEMU's, None: what it says itself. without: the devices to leave out.

    Raises MonitorError and RegistryError.
    """
    name, version, target, machine_type, cpus, migration = _facts(monitor)
    number = ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro"))
    release = release or next(releases_of(registry, target["arch"], number, version.get("package", "")))
    machine = machine_type.removesuffix(_MACHINE)
    published = registry.find(f"/releases/{release}")
    digests = {entry["model"]: entry["digest"] for entry in (published or {}).get("models", ())}
    objects = list(_objects(monitor))
    cpu = cpus[0]["qom-path"] if cpus and target["arch"] in _X86 else None
    if cpu is not None:
        objects.append(_Object(CPU, cpu, CPU_MODEL))
    unasked = dict(unread(monitor, cpu))
    if cpu is None:
        unasked[CPU] = f"only CPUs of x86 are known, not of {target['arch']}; leave it out with --without {CPU}"
    _check_known(without, [*(device.id for device in objects), *unasked])
    asked = [device for device in objects if device.id not in without]
    sets = {
        model: registry.get(f"/variable-sets/{digests[model]}")["variables"]
        for model in {device.model for device in asked}
        if model in digests
    }
    values = _values(monitor, asked, sets, progress)
    devices = []
    for device in asked:
        stated = {"id": device.id, "model": device.model, "release": release, "values": values.get(device.id, {})}
        devices.append(stated if device.model == CPU_MODEL else {**stated, "profile": qualified(machine)})
    left = {part: why for part, why in unasked.items() if part not in without}
    return RunningVm(name.get("name") or "vm", machine, release, devices, migration.get("blocked-reasons") or (), left)


def _facts(monitor: Monitor) -> Sequence[Any]:
    answers = monitor.ask(_FACTS)
    for call, answer in zip(_FACTS, answers, strict=True):
        if isinstance(answer, Refused):
            message = f"QEMU does not answer {call.command}: {answer.reason}"
            raise MonitorError(message)
    return answers


def _check_known(without: Sequence[str], names: Sequence[str]) -> None:
    if unknown := [name for name in without if name not in names]:
        message = f"the VM has no device {', '.join(unknown)}; there are {', '.join(names)}"
        raise MonitorError(message)


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
        if isinstance(kind, Refused) or (folder == _BOARD and kind not in _DEFAULTS):
            continue
        counts[kind] += 1
        own_id = name if folder == _PERIPHERAL else f"{kind}-{counts[kind]}"
        yield _Object(own_id, f"{folder}/{name}", qualified(kind))


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
            # A variable without a property has its initial value.
            if not isinstance(raw, Refused) and (value := kind.value(raw)) is not None:
                values.setdefault(device.id, {})[name] = value
    return values
