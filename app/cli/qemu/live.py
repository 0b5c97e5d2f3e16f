"""Starts a QEMU binary and takes a capture of it over QMP."""

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
_POLL_SECONDS = 0.02
_MAX_PROCESSES = 4
# A PCI bus has 32 slots; the board uses some of them.
_MAX_DEVICES = 24
_WITHOUT_GUEST = ("-S", "-nodefaults", "-display", "none", "-serial", "none")
# Controllers that provide buses: without its bus, a device would fail before QEMU checks whether it is migratable.
_CONTROLLERS = ("qemu-xhci", "virtio-scsi-pci", "virtio-serial-pci", "intel-hda")
_UNMIGRATABLE = re.compile(r"not migratable|only-migratable")
_CREATABLE = re.compile(r'^name "([^"]+)"', re.MULTILINE)


def take_capture(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    """Start a QEMU binary and return its capture; machines, devices: only these types, all if empty.

    Raises CaptureError.
    """
    try:
        return asyncio.run(_take(binary, machines, devices, progress))
    except (QMPError, OSError, TimeoutError) as error:
        message = f"{binary} cannot be queried: {error}"
        raise CaptureError(message) from error


async def _take(binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress) -> Capture:
    document = await _introspect(binary, devices, progress)
    capture = Capture.from_json(document).selected(machines, devices)
    creatable = set(_CREATABLE.findall((await _run(binary, "-device", "help"))[1]))
    candidates = [device for device in capture.device_types if device in creatable]
    # Add what QEMU reports only for devices that exist.
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
    async with start_qemu(binary, "-M", "none") as qmp:
        try:
            machines = await qmp.execute("query-machines", {"compat-props": True})
        except ExecuteError:
            machines = await qmp.execute("query-machines")
        # Parents are abstract types: without them the lineage of a type would end at the type itself.
        types: Any = await qmp.execute("qom-list-types", {"abstract": True})
        concrete: Any = await qmp.execute("qom-list-types", {"implements": "device", "abstract": False})
        names = sorted(entry["name"] for entry in concrete if not devices or entry["name"] in devices)
        properties = {}
        for index, name in enumerate(names):
            progress("reading device types", index, len(names))
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
    """Return the values of real devices under each versioned machine type, of those that start without arguments."""
    effective = {}
    startable: dict[str, list[str]] = {}
    machines = [machine.name for machine in reversed(capture.versioned_machines)]
    for index, machine in enumerate(machines):
        progress("reading machine types", index, len(machines))
        family = machine.rpartition("-")[0]
        if family not in startable:
            # The devices that start under the newest machine type of a family start under the older ones, too.
            startable[family] = await _startable(binary, machine, candidates)
        values: dict[str, dict[str, Any]] = {}
        for batch in _batches(startable[family], _MAX_DEVICES):
            try:
                values.update(await _read_devices(binary, capture, machine, batch))
            except QMPError:
                for device in batch:
                    try:
                        values.update(await _read_devices(binary, capture, machine, [device]))
                    except QMPError:
                        continue
        if values:
            effective[machine] = values
    return effective


async def _read_devices(
    binary: Path, capture: Capture, machine: str, devices: Sequence[str]
) -> dict[str, dict[str, Any]]:
    options = [option for index, device in enumerate(devices) for option in ("-device", f"{device},id=d{index}")]
    device_values: dict[str, dict[str, Any]] = {}
    async with start_qemu(binary, "-M", machine, *options) as qmp:
        for index, device in enumerate(devices):
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


async def _startable(binary: Path, machine: str, candidates: Sequence[str]) -> list[str]:
    results = await _run_all(candidates, lambda device: _run(binary, "-M", machine, *_probe(device)))
    return [device for device, (status, _) in results if status == 0]


async def _find_unmigratable(binary: Path, candidates: Sequence[str], progress: Progress) -> frozenset[str]:
    progress("testing which devices can be migrated", 0, 1)
    controllers = [option for controller in _CONTROLLERS for option in ("-device", controller)]
    results = await _run_all(candidates, lambda device: _run(binary, "-only-migratable", *controllers, *_probe(device)))
    return frozenset(device for device, (_, output) in results if _UNMIGRATABLE.search(output))


def _probe(device: str) -> tuple[str, ...]:
    return (*_WITHOUT_GUEST, "-monitor", "stdio", "-device", device)


async def _run_all(
    devices: Iterable[str], run: Callable[[str], Awaitable[tuple[int, str]]]
) -> list[tuple[str, tuple[int, str]]]:
    slots = asyncio.Semaphore(_MAX_PROCESSES)

    async def run_one(device: str) -> tuple[str, tuple[int, str]]:
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
            await qmp.disconnect()
        finally:
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


def _batches(devices: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    for start in range(0, len(devices), size):
        yield devices[start : start + size]
