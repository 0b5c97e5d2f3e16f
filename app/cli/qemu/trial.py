"""Migrates devices between two QEMU binaries, for real: saves the state of a VM that never ran, and loads it."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.qemu.backends import BackEnds, back_ends
from app.cli.qemu.board import Board
from app.cli.qemu.capture import Capture, CaptureError
from app.cli.qemu.live import Progress, introspect
from app.cli.qemu.process import start_qemu
from app.cli.qemu.start import CARRIERS, Start, arguments

_SECONDS = 60
_POLL_SECONDS = 0.02
# Before the description of what a stream holds, as JSON at its end: its mark (QEMU_VM_VMDESCRIPTION) and its length.
_DESCRIPTION, _LENGTH = b"\x06", 4


class _TooLongError(Exception):
    """A migration that does not end."""


class Outcome(StrEnum):
    """What became of a migration."""

    COMPLETED = "completed"
    NOT_STARTED = "not-started"
    NOT_SAVED = "not-saved"
    FAILED = "failed"
    TIMED_OUT = "timed-out"


@dataclass(frozen=True, slots=True)
class Trial:
    """A migration that was tried; reason: what QEMU says if it did not complete.

    device: empty for the board alone. carriers: the devices that it needs, which were tried before it. board: what the
    board is called as a device type. differs: what the two descriptions of the state have differently, for a device
    without what they have for the board alone. It is a hint: QEMU loads many states that differ.
    """

    device: str
    machine: str
    outcome: Outcome
    reason: str = ""
    differs: Sequence[str] = ()
    board: str = ""
    carriers: Sequence[str] = ()


def try_migrations(
    source: Path,
    destination: Path,
    machines: Sequence[str],
    devices: Sequence[str],
    values: Mapping[str, str],
    progress: Progress,
) -> tuple[Capture, Capture, Sequence[Trial]]:
    """Migrate each device under each machine type from one binary to the other, and before that the board alone.

    machines: the newest of each family that both have, if empty. values: of the device's properties. Returns what the
    two binaries are, and what became of the migrations. Raises CaptureError.
    """
    try:
        return asyncio.run(_try_all(source, destination, machines, devices, values, progress))
    except (QMPError, OSError, EOFError, TimeoutError) as error:
        message = f"{source} or {destination} cannot be queried: {error}"
        raise CaptureError(message) from error


async def _try_all(
    source: Path,
    destination: Path,
    machines: Sequence[str],
    devices: Sequence[str],
    values: Mapping[str, str],
    progress: Progress,
) -> tuple[Capture, Capture, Sequence[Trial]]:
    sender, receiver = [
        Capture.from_json(await introspect(binary, [*devices, *CARRIERS], progress)) for binary in (source, destination)
    ]
    if missing := sorted(set(devices) - set(sender.device_types)):
        message = f"{source} has no device type {', '.join(missing)}"
        raise CaptureError(message)
    trials = []
    async with back_ends() as made:
        chosen = machines or _common(sender, receiver)
        for index, machine in enumerate(chosen):
            progress("migrating", index, len(chosen))
            name = sender.board(machine)
            board = Board(source, name, machine, sender, made, 2)
            await board.learn(list(dict.fromkeys([*devices, *(own for own in CARRIERS if own in sender.properties)])))
            alone = replace(await _try(source, destination, machine, None, made), board=name)
            trials.append(alone)
            starts = {device: board.starts[device] for device in devices if device in board.starts}
            # A controller that fails is the reason why what is behind it fails.
            carriers = {
                own.device: own for start in starts.values() for own in start.carriers if own.device not in starts
            }
            for device, start in {**carriers, **starts}.items():
                given = values if device in starts else {}
                changed = replace(start, settings={**start.settings, **given})
                trial = await _try(source, destination, machine, changed, made)
                own_differences = [difference for difference in trial.differs if difference not in alone.differs]
                names = [carrier.device for carrier in start.carriers]
                trials.append(replace(trial, differs=own_differences, carriers=names))
            for device in devices:
                if device not in starts:
                    reason = f"at the source: {board.complaints.get(device, '')}"
                    trials.append(Trial(device, machine, Outcome.NOT_STARTED, reason))
    return sender, receiver, trials


def _common(source: Capture, destination: Capture) -> Sequence[str]:
    """Return the newest machine type of each family that both have."""
    names = {machine.name for machine in destination.machines}
    newest = {machine.family: machine.name for machine in source.startable_machines if machine.name in names}
    if not newest:
        message = "they have no versioned machine type in common; name one"
        raise CaptureError(message)
    return list(newest.values())


async def _try(source: Path, destination: Path, machine: str, start: Start | None, made: BackEnds) -> Trial:
    given = arguments(machine, [] if start is None else [start])
    with TemporaryDirectory(prefix="migration-") as folder:
        state, own = Path(folder) / "state", Path(folder) / "own"
        outcome, reason = await _save(source, given, made, state)
        if outcome is Outcome.COMPLETED:
            outcome, reason = await _load(destination, given, made, state)
        differs: list[str] = []
        if outcome in {Outcome.COMPLETED, Outcome.FAILED} and (await _save(destination, given, made, own))[0] is (
            Outcome.COMPLETED
        ):
            differs = list(differences(read_description(state), read_description(own)))
    return Trial(start.device if start else "", machine, outcome, reason, differs)


async def _save(binary: Path, given: Sequence[str], made: BackEnds, file: Path) -> tuple[Outcome, str]:
    save = {"uri": f"exec:cat > {quote(str(file))}"}
    return await _move(binary, given, made, "migrate", save, Outcome.NOT_SAVED)


async def _load(binary: Path, given: Sequence[str], made: BackEnds, file: Path) -> tuple[Outcome, str]:
    load = {"uri": f"exec:cat {quote(str(file))}"}
    outcome, reason = await _move(
        binary, [*given, "-incoming", "defer"], made, "migrate-incoming", load, Outcome.FAILED
    )
    return outcome, f"at the destination: {reason}" if reason else ""


async def _move(
    binary: Path, given: Sequence[str], made: BackEnds, command: str, uri: Mapping[str, str], failed: Outcome
) -> tuple[Outcome, str]:
    """Start one end of a migration and carry its command out; return what became of it, and why if it failed."""
    outcome = Outcome.NOT_STARTED
    try:
        with made.filled_in(given) as filled:
            async with start_qemu(binary, *filled) as qmp:
                outcome = failed
                await qmp.execute(command, uri)
                reason = await _end(qmp)
    except _TooLongError as error:
        return Outcome.TIMED_OUT, str(error)
    except (QMPError, CaptureError, OSError, EOFError) as error:
        # A destination that cannot load what arrives ends.
        return outcome, str(error) if isinstance(error, ExecuteError) else _words(error)
    return (outcome, reason) if reason else (Outcome.COMPLETED, "")


async def _end(qmp: QMPClient) -> str:
    """Wait for a migration; return why it failed, empty if it completed."""
    for _ in range(int(_SECONDS / _POLL_SECONDS)):
        state: Any = await qmp.execute("query-migrate")
        status = state.get("status")
        if status == "completed":
            return ""
        if status in {"failed", "cancelled"}:
            return str(state.get("error-desc", "it failed"))
        await asyncio.sleep(_POLL_SECONDS)
    message = f"it takes longer than {_SECONDS} s"
    raise _TooLongError(message)


def _words(error: Exception) -> str:
    """Return what QEMU said, without its warnings and its name."""
    text = str(error) or type(error).__name__
    said = text.rpartition(": \n")[2].splitlines()
    return "; ".join(line.partition(": ")[2] or line for line in said if "warning:" not in line)


def read_description(file: Path) -> Mapping[str, Any]:
    """Return QEMU's own description of what a stream holds, by device; empty if it has none."""
    stream = file.read_bytes()
    end = len(stream)
    while (end := stream.rfind(_DESCRIPTION, 0, end)) >= 0:
        begin = end + len(_DESCRIPTION) + _LENGTH
        if begin + int.from_bytes(stream[end + len(_DESCRIPTION) : begin], "big") == len(stream):
            document = json.loads(stream[begin:])
            return {f"{device['name']}/{device.get('instance_id', 0)}": device for device in document["devices"]}
    return {}


def differences(source: Mapping[str, Any], destination: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over what one end saves and the other does not."""
    for name in sorted(source.keys() | destination.keys()):
        if name not in destination:
            yield f"{name}: only the source saves it"
        elif name not in source:
            yield f"{name}: only the destination saves it"
        else:
            yield from _differing_fields(name, source[name], destination[name])


def _differing_fields(name: str, source: Mapping[str, Any], destination: Mapping[str, Any]) -> Iterator[str]:
    if source.get("version") != destination.get("version"):
        yield f"{name}: version {source.get('version')} at the source, {destination.get('version')} at the destination"
    own, other = [{field["name"]: field for field in end.get("fields", ())} for end in (source, destination)]
    for field in sorted(own.keys() ^ other.keys()):
        yield f"{name}.{field}: only the {'source' if field in own else 'destination'} saves it"
    for field in sorted(own.keys() & other.keys()):
        sizes = [end[field].get("size") for end in (own, other)]
        if sizes[0] != sizes[1]:
            yield f"{name}.{field}: {sizes[0]} bytes at the source, {sizes[1]} at the destination"
    parts, others = [
        {part.get("vmsd_name"): part for part in end.get("subsections", ())} for end in (source, destination)
    ]
    for part in sorted(filter(None, parts.keys() ^ others.keys())):
        yield f"{name}: only the {'source' if part in parts else 'destination'} saves the part {part}"
    for part in sorted(filter(None, parts.keys() & others.keys())):
        yield from _differing_fields(part, parts[part], others[part])
