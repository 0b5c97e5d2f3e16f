"""Starts the devices of a QEMU on a board: which start and how, which can be migrated, and what their values are."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.qemu.backends import BackEnds
from app.cli.qemu.capture import Capture, CaptureError, Property
from app.cli.qemu.process import run, start_qemu
from app.cli.qemu.properties import Kind, kind_of, scope_of
from app.cli.qemu.start import Start, arguments, behind_port, carriers_of, improved, start_from
from app.cli.qemu.tree import Device, devices_of, free_buses, read_tree
from app.hypervisor.facts import unblocking

# By device type and property.
Values: TypeAlias = dict[str, dict[str, Any]]

# How often a device that does not start is given what it lacks.
_ROUNDS = 6
# A PCI bus has 32 slots; the board uses some of them.
_MOST_ON_PCI, _MOST = 22, 60
_PCI = "pci-device"
# How many CPUs another VM has, on boards that can have so many.
_MORE_CPUS = (3, 1)
# As in `Device usb-uas is not migratable, but --only-migratable was specified` (hw/core/qdev.c), or of a blocker:
# `disallowing migration blocker (--only-migratable) for: …` (migration/migration.c).
_UNMIGRATABLE = re.compile(r"Device (\S+) is not migratable")
_BLOCKER = re.compile(r"only-migratable\) for:")
# What the monitor says of a migration: that it cannot begin, as in `Error: State blocked by non-migratable device
# 'zpci'`, or how it went.
_CANNOT_SAVE = re.compile(r"^Error: (.*)$", re.MULTILINE)
_STATUS = re.compile(r"[Ss]tatus:\s+(\w+)")
_LOOK = ("info version",)
_SAVE = ("info qtree", 'migrate "exec:cat >/dev/null"', "info migrate")
# Where the devices of a board are in QEMU's tree of objects: below /machine, and some below another of them.
_MACHINE = "/machine"
_DEPTH = 2
_CHILD = re.compile(r"child<(.+)>")
_OF_USERS = frozenset({"peripheral", "peripheral-anon"})
_CULPRIT = re.compile(r"-device \S*\bid=d(\d+): ")
_NOT_WRITABLE = re.compile(r"Property '(?:[^']*\.)?([^'.]+)' (?:is not writable|not found)")
_NOT_SETTABLE = re.compile(r"is not writable|not found|Insufficient permission")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a device that was started; complaint: why it did not start, empty if it did.

    refusal: why it cannot be saved, empty if it can. buses: the types of its free buses.
    """

    complaint: str = ""
    refusal: str = ""
    buses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Vm:
    """A VM that devices are read in; larger: how many CPUs it has if it is larger than by itself."""

    machine: str
    larger: int = 0


class Board:
    """A machine type of a QEMU binary with the devices that start on it.

    name: what the board is called as a device type of its own. starts: how each of them starts. complaints: why others
    do not. refusals: why some cannot be migrated.
    """

    def __init__(
        self, binary: Path, name: str, machine: str, capture: Capture, back_ends: BackEnds, slots: int
    ) -> None:
        self._binary = binary
        self.name = name
        self.machine = machine
        self._capture = capture
        self._back_ends = back_ends
        self._slots = asyncio.Semaphore(slots)
        # A save takes a second at least, in which QEMU waits.
        self._savers = asyncio.Semaphore(4 * slots)
        self.starts: dict[str, Start] = {}
        self.complaints: dict[str, str] = {}
        self.refusals: dict[str, str] = {}
        # Why devices that start were not read.
        self.unread: dict[str, str] = {}
        # The machine types of which a device of the board ends QEMU when it is asked.
        self._ending: set[str] = set()
        self.can_be_saved = False
        # The types of the devices that the board has itself.
        self.own: frozenset[str] = frozenset()
        # Its own properties, those of the machine type.
        self.properties: dict[str, Property] = {}
        self.state: dict[str, frozenset[str]] = {}
        self._groups: list[list[Start]] = []
        self._larger: int | None = None
        # What the tree prints otherwise than QMP says: the types and properties.
        self._unreliable: set[tuple[str, str]] = set()
        self._compared: dict[str, Mapping[str, Kind]] = {}

    async def learn(self, candidates: Sequence[str]) -> None:
        """Find out which devices start, and which of them can be saved."""
        status, output = await self._run([], "-only-migratable", save=True)
        own_refusal = _last_line(output) if status != 0 and _is_refusal(output) else ""
        if own_refusal:
            status, output = await self._run([], save=True)
        if status != 0:
            self.complaints |= dict.fromkeys(candidates, _last_line(output))
            return
        self.properties = await self._own_properties()
        self.can_be_saved = not (own_refusal or _attempt(status, output).refusal)
        self.own = frozenset(device.type for device in devices_of(read_tree(output)))
        buses: dict[str, list[str]] = {}
        left = [Start(device) for device in candidates]
        waiting: list[tuple[Start, str]] = []
        for _ in range(_ROUNDS):
            attempts = await asyncio.gather(*map(self._try, left))
            failed = []
            for start, attempt in zip(left, attempts, strict=True):
                if attempt.complaint:
                    failed.append((start, attempt.complaint))
                    continue
                self.starts[start.device] = start
                for bus in attempt.buses:
                    buses.setdefault(bus, []).append(start.device)
                # What QEMU says of the board alone, it does not say of the device.
                if attempt.refusal and (
                    self.can_be_saved
                    or (attempt.refusal != own_refusal and _names(attempt.refusal, start.device, self._capture))
                ):
                    self.refusals[start.device] = attempt.refusal
            self.complaints |= {start.device: complaint for start, complaint in failed}
            # A bus can come with a device that starts in a later round.
            waiting += failed
            carriers = self._carriers(buses)
            left = [
                better
                for start, complaint in waiting
                if (better := improved(start, complaint, self._capture, carriers)) is not None
            ]
            tried = {start.device for start in left}
            waiting = [(start, complaint) for start, complaint in waiting if start.device not in tried]
            if not left:
                break
        for device in self.starts:
            self.complaints.pop(device, None)

    def to_json(self) -> dict[str, Any]:
        """Return what was learnt of the board, for `restore`."""
        return {
            "starts": [asdict(start) for start in self.starts.values()],
            "complaints": self.complaints,
            "refusals": self.refusals,
            "can_be_saved": self.can_be_saved,
            "own": sorted(self.own),
            "properties": {name: entry.type for name, entry in self.properties.items()},
            "groups": [[start.device for start in group] for group in self._groups],
            "unread": self.unread,
            "state": {device: sorted(names) for device, names in self.state.items()},
            "unreliable": sorted(map(list, self._unreliable)),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take what was learnt of the board before."""
        self.starts = {start.device: start for start in map(start_from, document["starts"])}
        self.complaints, self.refusals = document["complaints"], document["refusals"]
        self.can_be_saved, self.own = document["can_be_saved"], frozenset(document["own"])
        self.properties = {name: Property(name, kind) for name, kind in document["properties"].items()}
        self._groups = [[self.starts[device] for device in group] for group in document["groups"]]
        self.unread = document["unread"]
        self.state = {device: frozenset(names) for device, names in document["state"].items()}
        self._unreliable = {(device, name) for device, name in document["unreliable"]}

    async def _own_properties(self) -> dict[str, Property]:
        """Return the properties of the machine itself, of those that can be read.

        They are asked of the object: some machine types end QEMU when their properties are asked by the type.
        """
        try:
            async with self._slots, start_qemu(self._binary, "-M", self.machine) as qmp:
                listed: Any = await qmp.execute("qom-list", {"path": _MACHINE})
                properties = {entry["name"]: Property(entry["name"], entry["type"]) for entry in listed}
                properties.pop("type", None)
                values = await _values_of(qmp, _MACHINE, self._compared_of(properties))
        except (QMPError, OSError, EOFError):
            # The board is then no device model; its devices are.
            return {}
        return {name: properties[name] for name, value in values.items() if isinstance(value, bool | int | str)}

    def _carriers(self, buses: Mapping[str, Sequence[str]]) -> Mapping[str, Start]:
        """Return what to take for each type of bus: what can be migrated, if there is such a device."""
        migratable = {device: start for device, start in self.starts.items() if device not in self.refusals}
        return {**carriers_of(self.starts, buses), **carriers_of(migratable, buses)}

    async def _try(self, start: Start) -> Attempt:
        """Start a device with -only-migratable and save it; one that is refused is started without."""
        free = unblocking(start.device)
        settings = {name: value for name, value in free.items() if name in self._capture.properties[start.device]}
        asked = replace(start, settings={**start.settings, **settings})
        attempt = await self._attempt(asked, "-only-migratable")
        if not _is_refusal(attempt.complaint):
            return attempt
        again = await self._attempt(start)
        return replace(again, refusal=attempt.complaint)

    async def _attempt(self, start: Start, *more: str) -> Attempt:
        try:
            return _attempt(*await self._run([start], *more, save=True))
        except CaptureError as error:
            return Attempt(complaint=str(error))

    async def _run(self, starts: Sequence[Start], *more: str, save: bool) -> tuple[int, str]:
        given = [*arguments(self.machine, starts), *more]
        async with self._savers if save else self._slots:
            with self._back_ends.filled_in(given) as filled:
                return await run(self._binary, *filled, monitor=_SAVE if save else _LOOK)

    def _kinds(self, device: str) -> Mapping[str, Kind]:
        """Return the properties of a device type that are compared."""
        if device not in self._compared:
            self._compared[device] = self._compared_of(self._capture.properties[device])
        return self._compared[device]

    @staticmethod
    def _compared_of(properties: Mapping[str, Property]) -> Mapping[str, Kind]:
        kinds = {name: kind_of(entry) for name, entry in properties.items()}
        return {name: kind for name, kind in kinds.items() if kind is not None and scope_of(name, kind) == "interface"}

    async def read(self, machine: str, *, devices: Iterable[str]) -> Values:
        """Return the values of devices under a machine type of this board's family.

        The devices that the board has itself, or that come with another, are among them.
        """
        if not self._groups:
            self._groups = await self._learn_groups()
        return await self._read_groups(_Vm(machine), [[], *self._chosen(devices)])

    async def read_one(self, start: Start) -> dict[str, Any] | None:
        """Return the values of a device that is started in this way; None if it does not start."""
        values, _ = await self._read_group(_Vm(self.machine), [start])
        return values.get(start.device)

    async def read_elsewhere(self, machine: str, *, devices: Iterable[str]) -> Sequence[Values]:
        """Return the values of devices in other VMs: larger ones, and behind ports of PCI Express.

        Where the board takes neither, there are none.
        """
        groups = self._chosen(devices)
        if self._larger is None:
            self._larger = await self._learn_larger()
        larger = [await self._read_groups(_Vm(machine, self._larger), [[], *groups])] if self._larger else []
        behind = [
            [moved for start in group if (moved := behind_port(start, self._capture)) is not None] for group in groups
        ]
        return [*larger, await self._read_groups(_Vm(machine), [group for group in behind if group])]

    async def _learn_larger(self) -> int:
        """Return how many CPUs the board can have, more than one if it can; 0 if it cannot be larger at all."""
        for cpus in _MORE_CPUS:
            status, _ = await run(self._binary, *arguments(self.machine, [], larger=cpus), monitor=_LOOK)
            if status == 0:
                return cpus
        return 0

    def _chosen(self, devices: Iterable[str]) -> list[list[Start]]:
        chosen = set(devices)
        groups = [[start for start in group if start.device in chosen] for group in self._groups]
        return [group for group in groups if group]

    async def _learn_groups(self) -> list[list[Start]]:
        """Return groups of devices that start together, learnt once for the family of the machine type."""
        left: dict[Any, list[Start]] = {}
        for start in self.starts.values():
            left.setdefault(start.of_machine, []).append(start)
        groups: list[list[Start]] = []
        for starts in left.values():
            waiting = starts
            while waiting:
                batches = list(_batches(waiting, self._capture))
                results = await asyncio.gather(*(self._together(batch) for batch in batches))
                groups += [group for group, _ in results if group]
                rest = [start for _, others in results for start in others]
                if len(rest) == len(waiting):
                    groups += [[start] for start in rest]
                    break
                waiting = rest
        return groups

    async def _together(self, starts: Sequence[Start]) -> tuple[list[Start], list[Start]]:
        """Return those of the devices that start together, and the others."""
        group, others = list(starts), []
        while group:
            try:
                status, output = await self._run(group, save=False)
            except CaptureError:
                status, output = 1, ""
            if status == 0:
                break
            index = _culprit(output, len(group))
            if index is None:
                # QEMU names none of them: half of them can be the reason.
                middle = len(group) // 2
                others += group[middle:]
                del group[middle:]
            else:
                others.append(group.pop(index))
        return group, others

    async def _read_groups(self, vm: _Vm, groups: Sequence[Sequence[Start]]) -> Values:
        readings = await asyncio.gather(*(self._read_group(vm, group) for group in groups))
        values: Values = {}
        others: dict[str, dict[str, Any]] = {}
        # What the board has itself counts as it is without other devices: their VMs can be made otherwise.
        own = {device for group, (_, inner) in zip(groups, readings, strict=True) if not group for device in inner}
        for group, (started, inner) in zip(groups, readings, strict=True):
            values |= started
            _add(others, {device: several for device, several in inner.items() if not group or device not in own})
        return {**{device: _agreed(several) for device, several in others.items() if device not in values}, **values}

    async def _read_group(self, vm: _Vm, group: Sequence[Start]) -> tuple[Values, Values]:
        """Return the values of devices that start together, and of those that come with them."""
        try:
            return await self._read(vm, group)
        except (QMPError, CaptureError, OSError, EOFError) as error:
            if not group and vm.machine not in self._ending:
                # One of the board's own devices ends QEMU when it is asked: then only what the tree has of them counts.
                self._ending.add(vm.machine)
                return await self._read_group(vm, group)
            if len(group) <= 1:
                if vm == _Vm(self.machine):
                    # Older machine types and other VMs do not have all of the devices.
                    self.unread |= {
                        start.device: f"it starts, but cannot be read: {error}"
                        for start in group
                        if not start.is_behind_port
                    }
                return {}, {}
            index = _culprit(str(error), len(group))
            middle = len(group) // 2
            # Without a name, the group is halved; with one, only that device is read alone.
            parts = (
                [group[:middle], group[middle:]]
                if index is None
                else [[*group[:index], *group[index + 1 :]], [group[index]]]
            )
            values, others = await self._read_group(vm, parts[0])
            more, inner = await self._read_group(vm, parts[1])
            _add(others, inner)
            return values | more, others

    async def _read(self, vm: _Vm, group: Sequence[Start]) -> tuple[Values, Values]:
        verify = vm == _Vm(self.machine)
        given = arguments(vm.machine, group, larger=vm.larger)
        async with self._slots:
            with self._back_ends.filled_in(given) as filled:
                async with start_qemu(self._binary, *filled) as qmp:
                    tree = await _tree(qmp)
                    named = {device.id: device for device in tree if device.id}
                    values = {
                        start.device: await self._values(
                            qmp, f"d{index}", start.device, named.get(f"d{index}"), verify=verify
                        )
                        for index, start in enumerate(group)
                    }
                    others = self._others(tree)
                    if not group:
                        values[self.name] = await _values_of(qmp, _MACHINE, self._compared_of(self.properties))
                        if vm.machine not in self._ending:
                            await self._read_rest(qmp, others)
        return values, others

    def _others(self, tree: Sequence[Device]) -> dict[str, dict[str, Any]]:
        """Return the values of the devices that the board or another device has, several of a type together."""
        others: dict[str, dict[str, Any]] = {}
        for device in tree:
            if device.type in self._capture.properties and device.type not in self.starts:
                printed = self._in_tree(device, device.type)
                _add(others, {device.type: {name: [value] for name, value in printed.items()}})
        return others

    async def _read_rest(self, qmp: QMPClient, others: Values) -> None:
        """Add the values of the board's own devices that the tree does not have, several of a type together."""
        in_tree = {device: frozenset(values) for device, values in others.items()}
        for device, path in [pair async for pair in _children(qmp, _MACHINE, _DEPTH)]:
            if device in self._capture.properties and device not in self.starts:
                names = self._kinds(device).keys() - in_tree.get(device, frozenset())
                values = await _values_of(qmp, path, sorted(names))
                _add(others, {device: {name: [value] for name, value in values.items()}})

    async def _values(
        self, qmp: QMPClient, name: str, device: str, node: Device | None, *, verify: bool
    ) -> dict[str, Any]:
        """Return the values of a device: those that the tree tells, the others one by one.

        verify: compare what the tree tells with what QMP says.
        """
        printed = self._in_tree(node, device)
        if not verify:
            printed = {own: value for own, value in printed.items() if (device, own) not in self._unreliable}
        asked = [own for own in self._kinds(device) if verify or own not in printed]
        values = await _values_of(qmp, f"/machine/peripheral/{name}", asked)
        self._unreliable |= {(device, own) for own in printed.keys() & values.keys() if printed[own] != values[own]}
        return {**printed, **values}

    def _in_tree(self, node: Device | None, device: str) -> dict[str, Any]:
        """Return the compared values that the tree tells of a device; a proxy has those of the device inside it."""
        if node is None:
            return {}
        inner = self._capture.proxied(device)
        texts: dict[str, Any] = {}
        for part in node.inside():
            if part is node or part.type == inner:
                texts = {**{name: part.value(name) for name in part.texts}, **texts}
        return {name: _unsigned(texts[name], kind) for name, kind in self._kinds(device).items() if name in texts}

    async def find_state(self, values: Values, known: Iterable[str]) -> None:
        """Find the properties that cannot be set to the value that they have: they are state, not settings.

        known: the devices that another board was asked about.
        """
        devices = sorted(device for device in self.starts.keys() - set(known) if values.get(device))
        results = await asyncio.gather(*(self._refused(device, values[device]) for device in devices))
        self.state = {device: names for device, names in zip(devices, results, strict=True) if names}

    async def _refused(self, device: str, values: Mapping[str, Any]) -> frozenset[str]:
        left = {
            name: ("on" if value else "off") if isinstance(value, bool) else str(value)
            for name, value in values.items()
            if isinstance(value, bool | int | str)
        }
        refused: set[str] = set()
        while left and (output := await self._set(device, left)):
            named = _NOT_WRITABLE.search(output)
            if named is None or named[1] not in left:
                # Another value cannot be set together with the others, or QEMU does not say which.
                singles = [(name, await self._set(device, {name: value})) for name, value in left.items()]
                return frozenset({*refused, *(name for name, said in singles if _NOT_SETTABLE.search(said))})
            refused.add(named[1])
            del left[named[1]]
        return frozenset(refused)

    async def _set(self, device: str, values: Mapping[str, str]) -> str:
        start = self.starts[device]
        kept = {name: value for name, value in values.items() if name not in start.back_ends}
        changed = replace(start, settings={**kept, **start.settings})
        try:
            status, output = await self._run([changed], save=False)
        except CaptureError:
            return ""
        return output if status else ""


def _attempt(status: int, output: str) -> Attempt:
    """Read what a process said that started a device and saved it."""
    tree = read_tree(output)
    if status != 0 and not tree:
        return Attempt(complaint=_last_line(output) or f"QEMU ends with status {status}")
    refusal = "; ".join(_CANNOT_SAVE.findall(output))
    migration = _STATUS.findall(output)
    if not refusal and status != 0:
        refusal = f"QEMU ends when it saves it: {_last_line(output)}"
    elif not refusal and migration and migration[-1] != "completed":
        refusal = f"the migration does not complete: {migration[-1]}"
    own = next((device for device in devices_of(tree) if device.id == "d0"), None)
    return Attempt("", refusal, free_buses(own) if own else frozenset())


def _is_refusal(complaint: str) -> bool:
    return _UNMIGRATABLE.search(complaint) is not None or _BLOCKER.search(complaint) is not None


def _names(refusal: str, device: str, capture: Capture) -> bool:
    """Return whether a refusal is one of a device, or of the device inside its proxy: not of another of the VM."""
    own = {device, capture.proxied(device)}
    return any(name in own for name in _UNMIGRATABLE.findall(refusal)) or _BLOCKER.search(refusal) is not None


def _last_line(output: str) -> str:
    """Return what a binary says last, without its name and the option, the monitor's greeting and its echo."""
    lines = [line.removeprefix("(qemu) ").strip() for line in output.splitlines() if "warning:" not in line]
    said = [line for line in lines if line and "\x1b" not in line and not line.startswith("QEMU ")]
    return said[-1].rpartition("id=d0: ")[2].strip() if said else ""


def _unsigned(value: Any, kind: Kind) -> Any:
    """Return a value as QMP has it: the tree prints the largest unsigned numbers as negative ones."""
    is_wrapped = kind.bounds is not None and kind.bounds[0] == 0 and isinstance(value, int) and value < 0
    return value + kind.bounds[1] + 1 if is_wrapped and kind.bounds is not None else value


async def _values_of(qmp: QMPClient, path: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of an object, of those properties that can be read."""
    values = {}
    for name in names:
        with suppress(ExecuteError):
            values[name] = await qmp.execute("qom-get", {"path": path, "property": name})
    return values


async def _children(qmp: QMPClient, path: str, depth: int) -> AsyncIterator[tuple[str, str]]:
    """Iterate over the objects below a path that the board has itself, with their types."""
    for entry in cast("list[dict[str, str]]", await qmp.execute("qom-list", {"path": path})):
        child = _CHILD.fullmatch(entry["type"])
        if child is None or entry["name"] in _OF_USERS:
            continue
        below = f"{path}/{entry['name']}"
        yield child[1], below
        if depth > 1:
            async for pair in _children(qmp, below, depth - 1):
                yield pair


async def _tree(qmp: QMPClient) -> Sequence[Device]:
    """Return all devices of a VM; none where QEMU has no such command."""
    try:
        text: Any = await qmp.execute("human-monitor-command", {"command-line": "info qtree"})
    except ExecuteError:
        return []
    return list(devices_of(read_tree(text)))


def _culprit(output: str, count: int) -> int | None:
    """Return which of the devices QEMU complains of, None if it names none."""
    culprit = _CULPRIT.search(output)
    return int(culprit[1]) if culprit and int(culprit[1]) < count else None


def _add(values: Values, more: Values) -> None:
    """Add the values of other devices to those of the same type: by type and property, all different ones."""
    for device, names in more.items():
        own = values.setdefault(device, {})
        for name, several in names.items():
            own[name] = [*own.get(name, ()), *(value for value in several if value not in own.get(name, ()))]


def _agreed(values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the values that all devices of a type have."""
    return {name: several[0] for name, several in values.items() if len(several) == 1}


def _batches(starts: Sequence[Start], capture: Capture) -> Iterator[list[Start]]:
    batch: list[Start] = []
    on_pci = 0
    for start in starts:
        is_on_pci = _PCI in capture.lineage(start.device)
        if batch and (len(batch) == _MOST or (is_on_pci and on_pci == _MOST_ON_PCI)):
            yield batch
            batch, on_pci = [], 0
        batch.append(start)
        on_pci += is_on_pci
    if batch:
        yield batch
