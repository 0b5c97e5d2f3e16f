"""Starts a QEMU binary and takes a capture of it over QMP."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from app.cli.qemu.capture import Capture, CaptureError, is_cpu
from app.cli.qemu.facts import unblocking
from app.cli.qemu.naming import build_of
from app.cli.qemu.properties import kind_of, scope_of

Progress = Callable[[str, int, int], None]

_START_SECONDS = 30
_POLL_SECONDS = 0.02
_MAX_PROCESSES = 4
# A PCI bus has 32 slots; the board uses some of them.
_MAX_DEVICES = 24
_WITHOUT_GUEST = ("-S", "-nodefaults", "-display", "none", "-serial", "none")
# Controllers that provide buses: without its bus, a device would fail before QEMU checks whether it is migratable.
_CONTROLLERS = ("qemu-xhci", "virtio-scsi-pci", "virtio-serial-pci", "intel-hda")
# As in `Device usb-uas is not migratable, but --only-migratable was specified` (hw/core/qdev.c), or of a blocker:
# `disallowing migration blocker (--only-migratable) for: …` (migration/migration.c).
_UNMIGRATABLE = re.compile(r"Device (\S+) is not migratable")
_BLOCKER = re.compile(r"only-migratable\) for:")
_CREATABLE = re.compile(r'^name "([^"]+)"(?:.*?, alias "([^"]+)")?', re.MULTILINE)
# What is different in another VM: the number of CPUs, and the bus.
_MORE_CPUS = ("-smp", "3")
_PORT, _PCI = "pcie-root-port", "pci-device"
# What a property of this name needs: the arguments that make it. {id}: unique in the process.
_BACK_ENDS: Mapping[str, tuple[str, ...]] = {
    "drive": ("-blockdev", "driver=null-co,read-zeroes=on,node-name={id}"),
    "chardev": ("-chardev", "null,id={id}"),
    "memdev": ("-object", "memory-backend-ram,size=16M,id={id}"),
    "audiodev": ("-audiodev", "none,id={id}"),
    "cryptodev": ("-object", "cryptodev-backend-builtin,id={id}"),
    "canbus": ("-object", "can-bus,id={id}"),
    "bmc": ("-device", "ipmi-bmc-sim,id={id}"),
}


def executable(text: str) -> Path:
    """Return the binary that a user names: one of a folder by its path, any other as the shell finds it.

    Raises CaptureError.
    """
    found = shutil.which(text)
    if found is None:
        message = f"{text} is not a program that can be started"
        raise CaptureError(message)
    return Path(found).absolute()


def take_capture(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    """Start a QEMU binary and return its capture; machines, devices: only these types, all if empty.

    Raises CaptureError.
    """
    try:
        return asyncio.run(_take(binary, machines, devices, progress))
    except (QMPError, OSError, EOFError, TimeoutError) as error:
        message = f"{binary} cannot be queried: {error}"
        raise CaptureError(message) from error


async def _take(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    document = await _introspect(binary, devices, progress)
    skipped = document.pop("skipped")
    all_machines = Capture.from_json(document)
    capture = all_machines.selected(machines, [device for device in devices if device not in skipped])
    creatable = dict(_CREATABLE.findall((await _run(binary, "-device", "help"))[1]))
    candidates = [device for device in capture.device_types if device in creatable]
    boards = _boards(all_machines)
    # Add what QEMU reports only for devices that exist.
    asked, unmigratable = await _ask_migratable(binary, boards, capture, candidates, progress)
    newest = {machine.family: machine.name for machine in all_machines.startable_machines}
    effective, computed = await _read_effective(binary, capture, newest, candidates, progress)
    return replace(
        capture,
        effective=effective,
        computed=computed,
        unmigratable=unmigratable,
        asked=asked,
        target=document["target"],
        build=build_of(binary.name),
        device_aliases={alias: device for device, alias in creatable.items() if alias},
        skipped=skipped,
    )


def _boards(capture: Capture) -> Sequence[str]:
    """Return the newest machine type of each family: a device can start on one board alone."""
    newest = {machine.family: machine.name for machine in capture.startable_machines}
    return list(newest.values())


async def _introspect(binary: Path, devices: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Return what QEMU reports of its types; `skipped`: the device types that end it when they are asked for."""
    async with start_qemu(binary, "-M", "none") as qmp:
        try:
            machines = await qmp.execute("query-machines", {"compat-props": True})
        except ExecuteError:
            machines = await qmp.execute("query-machines")
        # Parents are abstract types: without them the lineage of a type would end at the type itself.
        types: Any = await qmp.execute("qom-list-types", {"abstract": True})
        concrete: Any = await qmp.execute("qom-list-types", {"implements": "device", "abstract": False})
        version: Any = await qmp.execute("query-version")
        target: Any = await qmp.execute("query-target")
    parents = {entry["name"]: entry.get("parent") for entry in types}
    names = sorted(
        entry["name"]
        for entry in concrete
        if (not devices or entry["name"] in devices) and not is_cpu(entry["name"], parents)
    )
    properties: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    while len(properties) + len(skipped) < len(names):
        # Some types of modules that are not installed end the process: start it again without them.
        async with _restartable(binary) as qmp:
            for name in names[len(properties) + len(skipped) :]:
                progress("reading device types", len(properties) + len(skipped), len(names))
                try:
                    properties[name] = await qmp.execute("device-list-properties", {"typename": name})
                except ExecuteError as error:
                    skipped[name] = str(error)
                except (QMPError, OSError, EOFError):
                    skipped[name] = "QEMU ends when it is asked for this type; is a module of it not installed?"
                    break
    return {
        "version": version["qemu"],
        "machines": machines,
        "types": types,
        "device-list-properties": properties,
        "target": target["arch"],
        "skipped": skipped,
    }


@asynccontextmanager
async def _restartable(binary: Path) -> AsyncIterator[QMPClient]:
    """Yield a connection to a process that can end at any time."""
    manager = start_qemu(binary, "-M", "none")
    qmp = await manager.__aenter__()
    try:
        yield qmp
    finally:
        with suppress(QMPError, OSError, EOFError):
            await manager.__aexit__(None, None, None)


# By device type and property.
_Values: TypeAlias = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Startable:
    """A device that starts; properties: those for which it needs back ends; settings: values of others.

    is_behind_port: whether it is plugged into a port of PCI Express of its own.
    """

    device: str
    properties: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    is_behind_port: bool = False

    def arguments(self, index: int) -> tuple[str, ...]:
        """Return the arguments that start it as the device d<index>."""
        back_ends = tuple(part.format(id=f"b{index}{name}") for name in self.properties for part in _BACK_ENDS[name])
        port = ("-device", f"{_PORT},id=p{index},chassis={index + 1}") if self.is_behind_port else ()
        bus = {"bus": f"p{index}"} if self.is_behind_port else {}
        values = {**{name: f"b{index}{name}" for name in self.properties}, **self.settings, **bus}
        settings = "".join(f",{name}={value}" for name, value in values.items())
        return (*port, *back_ends, "-device", f"{self.device}{settings},id=d{index}")


async def _read_effective(
    binary: Path, capture: Capture, newest: Mapping[str, str], candidates: Sequence[str], progress: Progress
) -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, frozenset[str]]]:
    """Return the values of real devices under each machine type, of those that start, with null back ends if needed.

    What QEMU computes for each VM is not among them; it is returned in addition, by device type, as it is under the
    newest machine type of each family, also where only older ones are asked for.
    """
    effective = {}
    computed: dict[str, frozenset[str]] = {}
    startable: dict[str, list[_Startable]] = {}
    varying: dict[str, list[_Startable]] = {}
    of_newest: dict[str, tuple[_Values, list[_Values]]] = {}
    machines = list(reversed(capture.startable_machines))
    for index, machine in enumerate(machines):
        progress("reading machine types", index, len(machines))
        family = machine.family
        if family not in startable:
            # The devices that start under the newest machine type of a family start under the older ones, too.
            startable[family] = await _startable(binary, machine.name, capture, candidates)
            reading = await _read_twice(binary, capture, newest[family], startable[family], startable[family])
            of_newest[family] = reading
            for device, names in _differing(*reading):
                computed[device] = computed.get(device, frozenset()) | names
            varying[family] = [device for device in startable[family] if device.device in computed]
        is_newest = machine.name == newest[family]
        values, again = (
            of_newest[family]
            if is_newest
            else await _read_twice(binary, capture, machine.name, startable[family], varying[family])
        )
        for device, names in _differing(values, again):
            computed[device] = computed.get(device, frozenset()) | names
            values[device] = {name: value for name, value in values[device].items() if name not in names}
        if values:
            effective[machine.name] = values
    return effective, computed


async def _read_twice(
    binary: Path, capture: Capture, machine: str, devices: Sequence[_Startable], again: Sequence[_Startable]
) -> tuple[_Values, list[_Values]]:
    """Return the values of devices under a machine type, and those of some in other VMs.

    The others have more CPUs, or PCI devices behind a port of PCI Express. Where the board takes neither, nothing is
    read again, and nothing counts as computed.
    """
    values = await _read_all(binary, capture, machine, devices)
    on_pci = [device for device in again if _PCI in capture.lineage(device.device) and device.device != _PORT]
    behind = [replace(device, is_behind_port=True) for device in on_pci]
    return values, [
        await _read_all(binary, capture, machine, again, *_MORE_CPUS),
        await _read_all(binary, capture, machine, behind),
    ]


def _differing(
    values: Mapping[str, Mapping[str, Any]], others: Sequence[Mapping[str, Mapping[str, Any]]]
) -> Iterator[tuple[str, frozenset[str]]]:
    """Iterate over the devices with the properties that have another value in another VM."""
    for device, own in values.items():
        names = {
            name for other in others for name, value in other.get(device, own).items() if value != own.get(name, value)
        }
        if names:
            yield device, frozenset(names)


async def _read_all(
    binary: Path, capture: Capture, machine: str, devices: Sequence[_Startable], *arguments: str
) -> dict[str, dict[str, Any]]:
    """Return the values of devices under a machine type, of those that start."""
    values: dict[str, dict[str, Any]] = {}
    for batch in _batches(devices, _MAX_DEVICES):
        try:
            values.update(await _read_devices(binary, capture, machine, batch, *arguments))
        except QMPError:
            for device in batch:
                with suppress(QMPError):
                    values.update(await _read_devices(binary, capture, machine, [device], *arguments))
    return values


async def _read_devices(
    binary: Path, capture: Capture, machine: str, devices: Sequence[_Startable], *arguments: str
) -> dict[str, dict[str, Any]]:
    options = [option for index, startable in enumerate(devices) for option in startable.arguments(index)]
    device_values: dict[str, dict[str, Any]] = {}
    async with start_qemu(binary, "-M", machine, *arguments, *options) as qmp:
        for index, startable in enumerate(devices):
            device = startable.device
            values = device_values[device] = {}
            for name, qemu_property in capture.properties[device].items():
                kind = kind_of(qemu_property)
                if kind is None or scope_of(name, kind) != "interface":
                    continue
                try:
                    path = f"/machine/peripheral/d{index}"
                    values[name] = await qmp.execute("qom-get", {"path": path, "property": name})
                except ExecuteError:
                    continue
    return device_values


async def _startable(binary: Path, machine: str, capture: Capture, candidates: Sequence[str]) -> list[_Startable]:
    """Return the devices that start on a board, alone or with null back ends for what their properties want."""
    alone = [_Startable(device) for device in candidates]
    started = await _starting(binary, machine, alone)
    names = {startable.device for startable in started}
    with_back_ends = [
        startable
        for device in candidates
        if device not in names and (startable := _with_back_ends(device, capture)).properties
    ]
    return [*started, *await _starting(binary, machine, with_back_ends)]


def _with_back_ends(device: str, capture: Capture) -> _Startable:
    return _Startable(device, tuple(name for name in _BACK_ENDS if name in capture.properties[device]))


def _unblocking(device: str, capture: Capture) -> Mapping[str, str]:
    return {name: value for name, value in unblocking(device).items() if name in capture.properties[device]}


async def _starting(binary: Path, machine: str, devices: Sequence[_Startable]) -> list[_Startable]:
    results = await _run_all(devices, lambda device: _run(binary, "-M", machine, *_probe(device)))
    return [device for device, (status, _) in results if status == 0]


async def _ask_migratable(
    binary: Path, boards: Sequence[str], capture: Capture, candidates: Sequence[str], progress: Progress
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the device types that said whether they can be migrated, and those that cannot.

    Each is asked on every board until it starts or refuses: one that needs another board, or a device of the host,
    fails before it can tell. What a known block forbids by default is asked without it: the block is conditional.
    """
    unmigratable: set[str] = set()
    asked: set[str] = set()
    for index, board in enumerate(boards):
        progress("testing which devices can be migrated", index, len(boards))
        controllers = await _controllers(binary, board)
        for has_back_ends in (False, True):
            left = [
                replace(startable, settings=_unblocking(device, capture))
                for device in candidates
                if device not in asked
                for startable in (_with_back_ends(device, capture) if has_back_ends else _Startable(device),)
            ]
            results = await _run_all(left, partial(_ask, binary, board, controllers))
            refused = {startable.device for startable, (_, output) in results if _refuses(output, startable, capture)}
            unmigratable |= refused
            asked |= refused | {startable.device for startable, (status, _) in results if status == 0}
    return frozenset(asked), frozenset(unmigratable)


def _refuses(output: str, startable: _Startable, capture: Capture) -> bool:
    """Return whether QEMU says of a device, or of the device inside its proxy, that it cannot migrate it.

    What it says of another device of the VM, such as the board's, does not count.
    """
    own = {startable.device, capture.proxied(startable.device)}
    return any(name in own for name in _UNMIGRATABLE.findall(output)) or _BLOCKER.search(output) is not None


async def _ask(binary: Path, board: str, controllers: Sequence[str], startable: _Startable) -> tuple[int, str]:
    """Start a device with -only-migratable: QEMU refuses one that it cannot migrate."""
    return await _run(binary, "-M", board, "-only-migratable", *controllers, *_probe(startable))


async def _controllers(binary: Path, board: str) -> Sequence[str]:
    """Return the arguments of the controllers that start on a board and can be migrated themselves."""
    results = await _run_all(list(map(_Startable, _CONTROLLERS)), partial(_ask, binary, board, ()))
    return [part for startable, (status, _) in results if status == 0 for part in ("-device", startable.device)]


def _probe(startable: _Startable) -> tuple[str, ...]:
    return (*_WITHOUT_GUEST, "-monitor", "stdio", *startable.arguments(0))


async def _run_all(
    devices: Iterable[_Startable], run: Callable[[_Startable], Awaitable[tuple[int, str]]]
) -> list[tuple[_Startable, tuple[int, str]]]:
    slots = asyncio.Semaphore(_MAX_PROCESSES)

    async def run_one(device: _Startable) -> tuple[_Startable, tuple[int, str]]:
        async with slots:
            return device, await run(device)

    return await asyncio.gather(*(run_one(device) for device in devices))


async def _run(binary: Path, *arguments: str) -> tuple[int, str]:
    """Run the binary, send `quit` to its monitor, and return its exit status and output."""
    return await asyncio.to_thread(_run_to_end, [str(binary), *arguments])


def _run_to_end(command: Sequence[str]) -> tuple[int, str]:
    try:
        finished = subprocess.run(
            command,
            input=b"quit\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "it does not exit"
    return finished.returncode, finished.stdout.decode(errors="replace")


@asynccontextmanager
async def start_qemu(binary: Path, *arguments: str) -> AsyncIterator[QMPClient]:
    """Start a QEMU binary without a guest and yield its QMP connection; raises QMPError if it does not start."""
    with TemporaryDirectory(prefix="qmp-") as folder:
        socket, errors = Path(folder) / "qmp.sock", Path(folder) / "errors"
        command = [str(binary), *_WITHOUT_GUEST, "-monitor", "none", "-qmp", f"unix:{socket},server=on,wait=off"]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
            )
        qmp = QMPClient("profile-registry")
        try:
            if not await _connect(qmp, socket, process):
                output = errors.read_text(errors="replace").strip()[-500:]
                message = f"{binary.name} {' '.join(arguments[:2])} does not start: {output or 'it does not answer'}"
                raise QMPError(message)
            yield qmp
        finally:
            with suppress(QMPError, OSError, EOFError):
                await qmp.disconnect()
            process.kill()
            process.wait()


async def _connect(qmp: QMPClient, socket: Path, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the binary answers; return False if it exits or takes too long."""
    for _ in range(int(_START_SECONDS / _POLL_SECONDS)):
        if socket.exists():
            with suppress(ConnectError):
                await qmp.connect(str(socket))
                return True
        if process.poll() is not None:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _batches(devices: Sequence[_Startable], size: int) -> Iterable[Sequence[_Startable]]:
    for start in range(0, len(devices), size):
        yield devices[start : start + size]
