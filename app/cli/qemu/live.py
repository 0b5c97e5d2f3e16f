"""Asking a live QEMU: starts the binary, and takes a capture of it over QMP."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from app.cli.qemu.capture import Capture, CaptureError
from app.cli.qemu.properties import kind_of, scope_of

Progress = Callable[[str, int, int], None]

_START_SECONDS = 30
_LOOK_SECONDS = 0.02
_AT_ONCE = 4
# A PCI bus has 32 slots, of which the board itself takes a few.
_DEVICES_AT_ONCE = 24
_WITHOUT_GUEST = ("-S", "-nodefaults", "-display", "none", "-serial", "none")
# Buses for the devices that need one, so that they get as far as saying whether they can be migrated.
_CONTROLLERS = ("qemu-xhci", "virtio-scsi-pci", "virtio-serial-pci", "intel-hda")
_UNMIGRATABLE = re.compile(r"not migratable|only-migratable")
_CREATABLE = re.compile(r'^name "([^"]+)"', re.MULTILINE)


def take_capture(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    """Start a QEMU binary and return what it says of itself; machines and devices: only these, none: all.

    Raises CaptureError.
    """
    try:
        return asyncio.run(_take(binary, machines, devices, progress))
    except (QMPError, OSError, TimeoutError) as error:
        message = f"{binary} cannot be asked: {error}"
        raise CaptureError(message) from error


async def _take(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    document = await _introspect(binary, devices, progress)
    capture = Capture.from_json(document).selected(machines, devices)
    creatable = set(_CREATABLE.findall((await _run(binary, "-device", "help"))[1]))
    candidates = [device for device in capture.device_types if device in creatable]
    # The capture is completed with what only devices that were really made can tell.
    return Capture(
        capture.version,
        capture.machines,
        capture.types,
        capture.properties,
        await _read_effective(binary, capture, candidates, progress),
        await _find_unmigratable(binary, candidates, progress),
        document["target"],
    )


async def _introspect(binary: Path, devices: Sequence[str], progress: Progress) -> dict[str, Any]:
    async with started(binary, "-M", "none") as qmp:
        try:
            machines = await qmp.execute("query-machines", {"compat-props": True})
        except ExecuteError:
            machines = await qmp.execute("query-machines")
        # The parents are abstract; without them no lineage reaches further than a type itself.
        types: Any = await qmp.execute("qom-list-types", {"abstract": True})
        concrete: Any = await qmp.execute("qom-list-types", {"implements": "device", "abstract": False})
        names = sorted(each["name"] for each in concrete if not devices or each["name"] in devices)
        properties = {}
        for place, name in enumerate(names):
            progress("reading device types", place, len(names))
            properties[name] = await qmp.execute("device-list-properties", {"typename": name})
        version: Any = await qmp.execute("query-version")
        target: Any = await qmp.execute("query-target")
        return {
            "version": version["qemu"],
            "machines": machines,
            "types": types,
            "device-list-properties": properties,
            "target": target["arch"],
        }


async def _read_effective(
    binary: Path, capture: Capture, candidates: Sequence[str], progress: Progress
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what each versioned machine type really makes of the devices that start without arguments."""
    effective = {}
    startable: dict[str, list[str]] = {}
    machines = [machine.name for machine in reversed(capture.versioned_machines)]
    for place, machine in enumerate(machines):
        progress("reading machine types", place, len(machines))
        family = machine.rpartition("-")[0]
        if family not in startable:
            # The devices that start under the newest machine type of a family start under the older ones, too.
            startable[family] = await _startable(binary, machine, candidates)
        read: dict[str, dict[str, Any]] = {}
        for batch in _batches(startable[family], _DEVICES_AT_ONCE):
            try:
                read.update(await _read_devices(binary, capture, machine, batch))
            except QMPError:
                for device in batch:
                    try:
                        read.update(await _read_devices(binary, capture, machine, [device]))
                    except QMPError:
                        continue
        if read:
            effective[machine] = read
    return effective


async def _read_devices(
    binary: Path, capture: Capture, machine: str, devices: Sequence[str]
) -> dict[str, dict[str, Any]]:
    options = [option for place, device in enumerate(devices) for option in ("-device", f"{device},id=d{place}")]
    read: dict[str, dict[str, Any]] = {}
    async with started(binary, "-M", machine, *options) as qmp:
        for place, device in enumerate(devices):
            values = read[device] = {}
            for name, told in capture.properties[device].items():
                kind = kind_of(told)
                if kind is None or scope_of(name, kind) != "interface":
                    continue
                try:
                    path = f"/machine/peripheral/d{place}"
                    values[name] = await qmp.execute("qom-get", {"path": path, "property": name})
                except ExecuteError:
                    continue
    return read


async def _startable(binary: Path, machine: str, candidates: Sequence[str]) -> list[str]:
    started = await _each(candidates, lambda device: _run(binary, "-M", machine, *_probe(device)))
    return [device for device, (status, _) in started if status == 0]


async def _find_unmigratable(binary: Path, candidates: Sequence[str], progress: Progress) -> frozenset[str]:
    progress("asking what can be migrated", 0, 1)
    controllers = [option for controller in _CONTROLLERS for option in ("-device", controller)]
    asked = await _each(candidates, lambda device: _run(binary, "-only-migratable", *controllers, *_probe(device)))
    return frozenset(device for device, (_, output) in asked if _UNMIGRATABLE.search(output))


def _probe(device: str) -> tuple[str, ...]:
    return (*_WITHOUT_GUEST, "-monitor", "stdio", "-device", device)


async def _each(
    devices: Iterable[str], run: Callable[[str], Awaitable[tuple[int, str]]]
) -> list[tuple[str, tuple[int, str]]]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(device: str) -> tuple[str, tuple[int, str]]:
        async with slots:
            return device, await run(device)

    return await asyncio.gather(*(one(device) for device in devices))


async def _run(binary: Path, *arguments: str) -> tuple[int, str]:
    """Run the binary, tell its monitor to quit, and return its status with all that it printed."""
    return await asyncio.to_thread(_run_to_end, [str(binary), *arguments])


def _run_to_end(command: Sequence[str]) -> tuple[int, str]:
    try:
        ended = subprocess.run(
            command,
            input=b"quit\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "it does not end"
    return ended.returncode, ended.stdout.decode(errors="replace")


@asynccontextmanager
async def started(binary: Path, *arguments: str) -> AsyncIterator[QMPClient]:
    """Start a QEMU binary without a guest and yield its QMP connection; raises QMPError if it does not come up."""
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
                said = errors.read_text(errors="replace").strip()[-500:]
                message = f"{binary.name} {' '.join(arguments[:2])} does not start: {said or 'it does not answer'}"
                raise QMPError(message)
            yield qmp
            await qmp.disconnect()
        finally:
            process.kill()
            process.wait()


async def _connect(qmp: QMPClient, socket: Path, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the binary answers; return False if it has ended or takes too long."""
    for _ in range(int(_START_SECONDS / _LOOK_SECONDS)):
        if socket.exists():
            with suppress(ConnectError):
                await qmp.connect(str(socket))
                return True
        if process.poll() is not None:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return False


def _batches(devices: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    for start in range(0, len(devices), size):
        yield devices[start : start + size]
