"""Real live migrations between two QEMU binaries on this machine."""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.qemu.process import start_qemu

_SECONDS = 30
_POLL_SECONDS = 0.05

_INSTALLED = shutil.which("qemu-system-x86_64")
_SECOND = Path(__file__).parents[2] / "var" / "second-qemu" / "qemu-system-x86_64"
# The installed one, and that of .ci/second-qemu.
BINARIES = [Path(path) for path in (_INSTALLED, str(_SECOND) if _SECOND.exists() else None) if path]
Look = Callable[[QMPClient], Awaitable[str]]

# What a device type needs beside itself: {backend arguments}, and its own arguments for them.
_BACK_ENDS: Mapping[str, tuple[Sequence[str], str]] = {
    "ivshmem-plain": (("-object", "memory-backend-ram,size=1M,share=on,id=m"), ",memdev=m"),
    "nvme": (("-blockdev", "null-co,node-name=b,size=1048576,read-zeroes=on"), ",drive=b,serial=s"),
    "virtio-blk-pci": (("-blockdev", "null-co,node-name=b,size=1048576,read-zeroes=on"), ",drive=b"),
    "usb-audio": (("-device", "qemu-xhci", "-audiodev", "none,id=a"), ",audiodev=a"),
    "usb-net": (("-device", "qemu-xhci"), ""),
}


@dataclass(frozen=True, slots=True)
class Vm:
    """One end of a migration; values: properties of the device that are set explicitly; more: further arguments."""

    binary: Path
    machine: str
    device: str
    values: Mapping[str, Any]
    more: Sequence[str] = ()

    @property
    def arguments(self) -> Sequence[str]:
        """Return QEMU's arguments."""
        back_end, own = _BACK_ENDS.get(self.device, ((), ""))
        properties = "".join(f",{name}={written(value)}" for name, value in self.values.items())
        return (
            "-M",
            self.machine,
            "-m",
            "64",
            *self.more,
            *back_end,
            "-device",
            f"{self.device}{own}{properties},id=device",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a migration: `refused` is None if the VM arrived; before, after: what the guest sees."""

    refused: str | None
    before: str = ""
    after: str = ""


async def _nothing(_qmp: QMPClient) -> str:
    return ""


def port(number: int) -> Look:
    """Return a function that reads a byte of an I/O port, as the guest would."""

    async def look(qmp: QMPClient) -> str:
        return await _monitor(qmp, f"i/b {number:#x}")

    return look


def register(offset: int) -> Look:
    """Return a function that reads a register of the device, as the guest would, once the BIOS has placed it."""

    async def look(qmp: QMPClient) -> str:
        await qmp.execute("cont")
        address = None
        while address is None:
            await asyncio.sleep(_POLL_SECONDS)
            address = _address_of_device(await _monitor(qmp, "info pci"))
        await qmp.execute("stop")
        answer = await _monitor(qmp, f"xp/wx {address + offset:#x}")
        return answer.partition(": ")[2]

    return look


def _address_of_device(buses: str) -> int | None:
    """Return where the BIOS placed the device's first memory, None while it has not."""
    own = next(part for part in buses.split("Bus ") if 'id "device"' in part)
    found = re.search(r"memory at 0x(?!f{8})([0-9a-f]+)", own)
    return int(found[1], 16) if found else None


def migrate(source: Vm, destination: Vm, look: Look = _nothing) -> Outcome:
    """Migrate a VM, and look at both ends."""
    return asyncio.run(asyncio.wait_for(_migrate(source, destination, look), _SECONDS * 2))


@cache
def why_no_kvm() -> str:
    """Return why KVM cannot give a guest the CPU of this host, empty if it can; on some machines it cannot."""
    for binary in BINARIES:
        try:
            time_stamp_frequency(binary)
        except QMPError as error:
            return " ".join(str(error).split())
    return ""


def time_stamp_frequency(binary: Path) -> int:
    """Return the frequency of the host's time stamp counter under KVM, in hertz."""

    async def read() -> int:
        async with start_qemu(binary, "-M", "q35", "-accel", "kvm", "-cpu", "host") as qmp:
            cpu: Any = await qmp.execute("query-cpus-fast")
            path = cpu[0]["qom-path"]
            return int(str(await qmp.execute("qom-get", {"path": path, "property": "tsc-frequency"})))

    return asyncio.run(read())


async def _migrate(source: Vm, destination: Vm, look: Look) -> Outcome:
    with TemporaryDirectory(prefix="migration-") as folder:
        address = f"unix:{folder}/migration"
        try:
            async with (
                start_qemu(source.binary, *source.arguments) as sender,
                start_qemu(destination.binary, *destination.arguments, "-incoming", "defer") as receiver,
            ):
                before = await look(sender)
                await receiver.execute("migrate-incoming", {"uri": address})
                refused = await _send(sender, address) or await _end_of(receiver)
                return Outcome(refused, before, "" if refused else await look(receiver))
        except (QMPError, OSError, EOFError) as error:
            # A destination that refuses what arrives ends.
            return Outcome(str(error) or type(error).__name__)


async def _send(qmp: QMPClient, address: str) -> str | None:
    try:
        await qmp.execute("migrate", {"uri": address})
    except ExecuteError as error:
        return str(error)
    return await _end_of(qmp)


async def _end_of(qmp: QMPClient) -> str | None:
    """Return why a migration failed, None once it has completed."""
    while True:
        state: Any = await qmp.execute("query-migrate")
        if state.get("status") == "completed":
            return None
        if state.get("status") in {"failed", "cancelled"}:
            return str(state.get("error-desc", "it failed"))
        await asyncio.sleep(_POLL_SECONDS)


async def _monitor(qmp: QMPClient, command: str) -> str:
    answer: Any = await qmp.execute("human-monitor-command", {"command-line": command})
    return str(answer).strip()


def written(value: Any) -> str:
    """Return a value as QEMU's command line takes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
