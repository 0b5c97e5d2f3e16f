"""Takes a capture of a QEMU binary: starts it and asks it over QMP."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.qemu.backends import BackEnds, back_ends
from app.cli.qemu.board import Board, Values
from app.cli.qemu.capture import Capture, CaptureError, MachineType, is_cpu
from app.cli.qemu.journal import Journal
from app.cli.qemu.process import HANGS, run, start_qemu
from app.cli.qemu.start import CARRIERS
from app.cli.qemu.tree import devices_of, read_tree
from app.hypervisor.naming import build_of

Progress = Callable[[str, int, int], None]

_CREATABLE = re.compile(r'^name "([^"]+)"(?:.*?, alias "([^"]+)")?', re.MULTILINE)
_ENDS = "QEMU ends when it is asked for this type; is a module of it not installed?"


def take_capture(
    binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress, *, folder: Path | None = None
) -> Capture:
    """Start a QEMU binary and return its capture; machines, devices: only these types, all if empty.

    folder: where to keep what it says until all is asked, so that a later call goes on if this one is interrupted.
    Raises CaptureError.
    """
    try:
        return asyncio.run(_take(binary, machines, devices, progress, folder))
    except (QMPError, OSError, EOFError, TimeoutError) as error:
        message = f"{binary} cannot be queried: {error}"
        raise CaptureError(message) from error


async def _take(
    binary: Path, machines: Sequence[str], devices: Sequence[str], progress: Progress, folder: Path | None
) -> Capture:
    document = await introspect(binary, devices, progress)
    journal = Journal(folder, binary, document, [sorted(machines), sorted(devices)])
    skipped = document.pop("skipped")
    everything = Capture.from_json(document)
    named = {everything.board(machine.name) for machine in everything.machines}
    types = [device for device in devices if device not in skipped and device not in named]
    capture = everything.selected(machines, types)
    if devices and not types:
        capture = replace(capture, properties={})
    creatable = dict(_CREATABLE.findall((await run(binary, "-device", "help"))[1]))
    candidates = [device for device in everything.device_types if device in creatable]
    async with back_ends() as made:
        asking = _Asking(binary, made, journal, progress)
        boards = await _learn_boards(asking, everything, candidates, machines)
        unversioned = boards.keys() - {machine.family for machine in everything.startable_machines}
        own_boards = {board.name for board in boards.values()}
        chosen = {*capture.device_types, *(own_boards & set(devices) if devices else own_boards)}
        effective, computed = await _read_values(asking, capture, boards, unversioned, chosen)
    # A board is a device model of its own.
    own = {board.name: board.properties for board in boards.values() if board.name in chosen and board.properties}
    capture = replace(capture, properties={**capture.properties, **own})
    asked, refusals = _ask(boards, chosen)
    taken = replace(
        capture,
        effective=effective,
        computed=computed,
        state=_states(boards, chosen),
        unmigratable=frozenset(refusals),
        asked=asked,
        target=document["target"],
        build=build_of(binary.name),
        device_aliases={alias: device for device, alias in creatable.items() if alias},
        skipped=skipped,
        not_started=_not_started(boards, chosen & set(candidates), effective),
        saved_states=await _saved_states(binary, boards),
    )
    journal.forget()
    return taken


async def introspect(binary: Path, devices: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Return what QEMU reports of its types, as a capture; `skipped`: the device types that end it when they are asked.

    devices: only these are asked for, with those that others need before them.
    """
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
    wanted = {*devices, *CARRIERS} if devices else {entry["name"] for entry in concrete}
    names = sorted(
        entry["name"] for entry in concrete if entry["name"] in wanted and not is_cpu(entry["name"], parents)
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
                    skipped[name] = _ENDS
                    break
    return {
        "version": version["qemu"],
        "package": version.get("package", ""),
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


@dataclass(frozen=True, slots=True)
class _Asking:
    """How a binary is asked."""

    binary: Path
    back_ends: BackEnds
    journal: Journal
    progress: Progress


async def _learn_boards(
    asking: _Asking, capture: Capture, candidates: Sequence[str], chosen: Sequence[str]
) -> Mapping[str, Board]:
    """Return the boards of a QEMU by the family of their machine types, with what starts on each.

    A family has the board of its newest machine type: what starts there starts under the older ones, too. Of the
    machine types without a version it is one for each set of buses, with the devices that start on no other. chosen:
    only the boards of these machine types, all if empty.
    """
    slots = os.cpu_count() or 1
    families = {machine.family for machine in capture.machines if not chosen or machine.name in chosen}
    newest = {machine.family: machine for machine in capture.startable_machines if machine.family in families}
    boards: dict[str, Board] = {}
    for index, (family, machine) in enumerate(newest.items()):
        asking.progress("starting devices", index, len(newest))
        # One that hangs costs the most, and does so everywhere.
        hanging = {name for board in boards.values() for name, why in board.complaints.items() if why == HANGS}
        boards[family] = Board(
            asking.binary, capture.board(machine.name), machine.name, capture, asking.back_ends, slots
        )
        await _learn(boards[family], [device for device in candidates if device not in hanging], asking.journal)
    versioned = {machine.family for machine in capture.startable_machines}
    others = [machine for machine in capture.machines if machine.family in families - versioned]
    left = [device for device in candidates if not any(device in board.starts for board in boards.values())]
    distinct = await _distinct(asking.binary, others, [board.machine for board in boards.values()])
    for index, name in enumerate(distinct):
        if not left:
            break
        asking.progress("starting devices on other boards", index, len(distinct))
        board = Board(asking.binary, capture.board(name), name, capture, asking.back_ends, slots)
        await _learn(board, left, asking.journal)
        if board.starts:
            boards[name] = board
        left = [device for device in left if device not in board.starts]
    return boards


async def _learn(board: Board, candidates: Sequence[str], journal: Journal) -> None:
    if (known := journal.get("board", board.machine)) is not None:
        board.restore(known)
        return
    await board.learn(candidates)
    journal.add("board", board.machine, board.to_json())


async def _distinct(binary: Path, machines: Sequence[MachineType], known: Sequence[str]) -> Sequence[str]:
    """Return the machine types that start, one for each set of buses that none of the known ones has."""

    async def buses(machine: str) -> frozenset[str]:
        status, output = await run(binary, "-M", machine, monitor=("info qtree",))
        tree = read_tree(output) if status == 0 else ()
        return frozenset(bus.type for device in devices_of(tree) for bus in device.buses) | {bus.type for bus in tree}

    slots = asyncio.Semaphore(os.cpu_count() or 1)

    async def limited(machine: str) -> frozenset[str]:
        async with slots:
            return await buses(machine)

    names = [*known, *sorted(machine.name for machine in machines)]
    seen: list[frozenset[str]] = []
    distinct = []
    for name, own in zip(names, await asyncio.gather(*map(limited, names)), strict=True):
        if own and not any(own <= other for other in seen):
            seen.append(own)
            if name not in known:
                distinct.append(name)
    return distinct


async def _read_values(
    asking: _Asking,
    capture: Capture,
    boards: Mapping[str, Board],
    unversioned: AbstractSet[str],
    chosen: AbstractSet[str],
) -> tuple[dict[str, Values], dict[str, frozenset[str]]]:
    """Return the values of real devices under each machine type, of those that start, and of those that come with them.

    What QEMU computes for each VM is not among them; it is returned in addition, by device type, as it is under the
    newest machine type of each family, also where only older ones are asked for. unversioned: boards of no family.
    """
    by_family: dict[str, list[str]] = {}
    for machine in reversed(capture.startable_machines):
        by_family.setdefault(machine.family, []).append(machine.name)
    by_family |= {board: [board] for board in unversioned}
    total = sum(map(len, by_family.values()))
    effective: dict[str, Values] = {}
    asked: set[str] = set()
    computed: dict[str, set[str]] = {}
    for family, board in boards.items():
        if not (machines := by_family.get(family, [])):
            continue
        newest = await _read_newest(board, chosen, asked, asking.journal)
        asked |= newest.values.keys()
        _add_names(computed, newest.computed)
        for name in machines:
            asking.progress("reading machine types", len(effective), total)
            reading = (
                newest if name == board.machine else await _read_machine(board, name, chosen, computed, asking.journal)
            )
            _add_names(computed, reading.computed)
            effective[name] = {
                device: _without(own, frozenset(reading.computed.get(device, ())))
                for device, own in sorted(reading.values.items())
                if device in chosen
            }
    # What is state was asked on one of the boards, and is state on all.
    state = _states(boards, chosen)
    effective = {
        name: {device: _without(own, state.get(device, frozenset())) for device, own in values.items()}
        for name, values in effective.items()
    }
    return effective, {device: frozenset(names) for device, names in computed.items() if device in chosen}


@dataclass(frozen=True, slots=True)
class _Reading:
    """The values of devices under a machine type; computed: the properties that differ in another VM, by device."""

    values: Values
    computed: Mapping[str, Sequence[str]]


async def _read_newest(board: Board, chosen: AbstractSet[str], asked: AbstractSet[str], journal: Journal) -> _Reading:
    """Read all devices under the newest machine type, in several VMs, and find out what is state."""
    if (known := journal.get("newest", board.machine)) is not None:
        board.restore(known["board"])
        return _Reading(known["values"], known["computed"])
    values = await board.read(board.machine, devices=chosen)
    reading = _Reading(values, dict(_differing(values, await board.read_elsewhere(board.machine, devices=chosen))))
    await board.find_state(values, asked)
    journal.add("newest", board.machine, {**asdict(reading), "board": board.to_json()})
    return reading


async def _read_machine(
    board: Board, machine: str, chosen: AbstractSet[str], computed: Iterable[str], journal: Journal
) -> _Reading:
    """Read all devices under an older machine type; again in other VMs those of which QEMU computes something."""
    if (known := journal.get("machine", machine)) is not None:
        return _Reading(known["values"], known["computed"])
    values = await board.read(machine, devices=chosen)
    reading = _Reading(values, dict(_differing(values, await board.read_elsewhere(machine, devices=computed))))
    journal.add("machine", machine, asdict(reading))
    return reading


def _add_names(names: dict[str, set[str]], more: Mapping[str, Iterable[str]]) -> None:
    for device, own in more.items():
        names.setdefault(device, set()).update(own)


def _without(values: Mapping[str, Any], names: AbstractSet[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _differing(values: Values, others: Sequence[Values]) -> Iterator[tuple[str, list[str]]]:
    """Iterate over the devices with the properties that have another value in another VM."""
    for device, own in values.items():
        names = {
            name for other in others for name, value in other.get(device, own).items() if value != own.get(name, value)
        }
        if names:
            yield device, sorted(names)


def _ask(boards: Mapping[str, Board], chosen: AbstractSet[str]) -> tuple[frozenset[str], Mapping[str, str]]:
    """Return the device types that said whether they can be migrated, and why some cannot.

    One that can be saved on one board can be migrated, unless QEMU says of the type itself that it cannot. What a board
    has itself can be if the board can.
    """
    asked: set[str] = set()
    refusals: dict[str, str] = {}
    for board in boards.values():
        refusals |= board.refusals
        asked |= board.refusals.keys() | (
            (board.starts.keys() | board.own | {board.name}) if board.can_be_saved else set()
        )
    saved = {
        device
        for board in boards.values()
        if board.can_be_saved
        for device in board.starts.keys() - board.refusals.keys()
    }
    final = {
        device: refusal
        for device, refusal in refusals.items()
        if device in chosen and (device not in saved or f"'{device}'" in refusal or f" {device} " in refusal)
    }
    return frozenset(asked & chosen), final


def _states(boards: Mapping[str, Board], chosen: AbstractSet[str]) -> dict[str, frozenset[str]]:
    states: dict[str, frozenset[str]] = {}
    for board in boards.values():
        for device, names in board.state.items():
            if device in chosen:
                states[device] = states.get(device, frozenset()) | names
    return states


def _not_started(
    boards: Mapping[str, Board], candidates: AbstractSet[str], effective: Mapping[str, Values]
) -> dict[str, str]:
    """Return the device types that start on no board, or could not be read, with what QEMU says of it.

    One that was read inside another device, or on a board, is not among them.
    """
    started = {device for board in boards.values() for device in board.starts}
    started |= {device for values in effective.values() for device in values}
    complaints: dict[str, str] = {}
    for board in boards.values():
        for device in (candidates - started) & board.complaints.keys():
            complaints.setdefault(device, board.complaints[device])
        complaints |= {device: why for device, why in board.unread.items() if device in candidates}
    return dict(sorted(complaints.items()))


async def _saved_states(binary: Path, boards: Mapping[str, Board]) -> dict[str, tuple[int, int]]:
    """Return the versions of the saved states: what is written, and the oldest that is read.

    They are QEMU's, not the machine type's: -dump-vmstate prints the same of each.
    """
    board = next(iter(boards.values()), None)
    with TemporaryDirectory(prefix="vmstate-") as folder:
        file = Path(folder) / "vmstate.json"
        await run(binary, *(("-M", board.machine) if board else ()), "-dump-vmstate", str(file))
        try:
            document = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return {}
    return {
        device: (entry["version_id"], entry["minimum_version_id"])
        for device, entry in sorted(document.items())
        if isinstance(entry, dict) and "version_id" in entry
    }
