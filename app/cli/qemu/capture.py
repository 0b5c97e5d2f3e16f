"""Captures: what a QEMU binary reports about itself over QMP."""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.cli.packed import read_document
from app.domain.values.lazy import lazy
from app.domain.values.name import numeric
from app.hypervisor.naming import board_of

# The version at the end of a machine type's name: pc-q35-7.2, pc-q35-rhel9.4.0, virt-10.0, pc-i440fx-2.11-hpb.
_VERSIONED = re.compile(r"-[a-z]*(\d+(?:\.\d+)+)(?:-[a-z]+)?$")
_PROXIED = re.compile(r"child<(.+)>")
# The machine type without a board or bus: no device can be plugged into it.
_WITHOUT_BOARD = "none"


class CaptureError(ValueError):
    """A file is not a capture, or a QEMU binary cannot be queried; the message says why."""


def lineage(qom_type: str | None, parents: Mapping[str, str | None]) -> Iterator[str]:
    """Iterate over a QOM type and its ancestors; parents: by type."""
    # A capture can be wrong: no type is its own ancestor.
    seen: set[str] = set()
    while qom_type is not None and qom_type not in seen:
        seen.add(qom_type)
        yield qom_type
        qom_type = parents.get(qom_type)


def is_cpu(qom_type: str, parents: Mapping[str, str | None]) -> bool:
    """Return whether a device type is a CPU, which has models of its own."""
    return "cpu" in lineage(qom_type, parents)


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a device type from `device-list-properties`; default: None if QEMU reports no default."""

    name: str
    type: str
    default: Any = None


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type; compat_props: (QOM type, property, value) in the order applied, None if not reported.

    alias: the short name of the newest machine type of its family. is_deprecated: whether QEMU says so.
    """

    name: str
    compat_props: Sequence[tuple[str, str, str]] | None = None
    alias: str | None = None
    is_deprecated: bool = False

    @property
    def family(self) -> str:
        """The board, such as pc-q35; machine types of one family differ in their version."""
        version = _VERSIONED.search(self.name)
        return self.name[: version.start()] if version else self.name.rpartition("-")[0] or self.name

    @property
    def age(self) -> tuple[tuple[int, ...], str] | None:
        """The sort key of a versioned machine type, the oldest first; None without a version."""
        version = _VERSIONED.search(self.name)
        return (tuple(map(int, version[1].split("."))), self.name) if version else None


@dataclass(frozen=True)
class Capture:
    """The machine types, device types and values that a QEMU binary reports.

    types: QOM type → parent. effective: machine type → device type → property → value read from a real device.
    unmigratable: the device types that -only-migratable refuses; None if that was not tested.
    asked: the device types of which the binary said whether it migrates them; of others nothing is known.
    device_aliases: other names that -device takes. skipped: device types that could not be read, and why.
    computed: by device type, the properties that QEMU computes for each VM, from its CPUs or from the bus. What it
    computes is not among the effective values. build: what a special build is called, such as microvm.
    package: the distribution and the version of its package, as QEMU states them; empty for upstream's own build.
    state: by device type, the properties that nobody can set to the value that they have. not_started: why device types
    start on no board. saved_states: by device type, the version of the state that is written, and the oldest that is
    read.
    """

    version: str
    machines: Sequence[MachineType]
    types: Mapping[str, str | None]
    properties: Mapping[str, Mapping[str, Property]]
    effective: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    unmigratable: frozenset[str] | None = None
    target: str = "x86_64"
    asked: frozenset[str] = frozenset()
    device_aliases: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    build: str = ""
    state: Mapping[str, frozenset[str]] = field(default_factory=dict)
    not_started: Mapping[str, str] = field(default_factory=dict)
    saved_states: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    package: str = ""

    @classmethod
    def load(cls, path: Path) -> "Capture":
        """Read a capture from a JSON file, optionally compressed with gzip; raises CaptureError."""
        try:
            return cls.from_json(json.loads(read_document(path)))
        except RecursionError:
            message = f"{path} cannot be read as a capture: it is nested too deeply"
            raise CaptureError(message) from None
        except (OSError, EOFError, zlib.error, ValueError) as error:
            message = f"{path} cannot be read as a capture: {error}"
            raise CaptureError(message) from error

    @classmethod
    def from_json(cls, document: Any) -> "Capture":
        """Read a capture; raises CaptureError."""
        try:
            version = document["version"]
            return cls(
                ".".join(str(version[part]) for part in ("major", "minor", "micro")),
                [_machine(machine) for machine in document["machines"] if machine["name"] != _WITHOUT_BOARD],
                {qom_type["name"]: qom_type.get("parent") for qom_type in document["types"]},
                {
                    device: {
                        entry["name"]: Property(entry["name"], entry["type"], entry.get("default-value"))
                        for entry in properties
                    }
                    for device, properties in document["device-list-properties"].items()
                },
                document.get("effective", {}),
                frozenset(document["unmigratable"]) if "unmigratable" in document else None,
                document.get("target", "x86_64"),
                frozenset(document.get("asked", ())),
                dict(document.get("device-aliases", {})),
                dict(document.get("skipped", {})),
                {device: frozenset(names) for device, names in document.get("computed", {}).items()},
                str(document.get("build", "")),
                {device: frozenset(names) for device, names in document.get("state", {}).items()},
                dict(document.get("not-started", {})),
                {device: (written, oldest) for device, (written, oldest) in document.get("saved-states", {}).items()},
                str(document.get("package", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"a field is missing or malformed: {error!r}"
            raise CaptureError(message) from error

    def to_json(self) -> dict[str, Any]:
        """Return the capture as a document that `from_json` reads."""
        major, minor, micro = (int(part) for part in self.version.split("."))
        return {
            "version": {"major": major, "minor": minor, "micro": micro},
            "target": self.target,
            "build": self.build,
            "package": self.package,
            "machines": [_machine_document(machine) for machine in self.machines],
            "types": [{"name": name, "parent": parent} for name, parent in self.types.items()],
            "device-list-properties": {
                device: [
                    {
                        "name": entry.name,
                        "type": entry.type,
                        **({} if entry.default is None else {"default-value": entry.default}),
                    }
                    for entry in properties.values()
                ]
                for device, properties in self.properties.items()
            },
            "effective": self.effective,
            **({} if self.unmigratable is None else {"unmigratable": sorted(self.unmigratable)}),
            "asked": sorted(self.asked),
            "device-aliases": self.device_aliases,
            "skipped": self.skipped,
            "computed": {device: sorted(names) for device, names in self.computed.items()},
            "state": {device: sorted(names) for device, names in self.state.items()},
            "not-started": self.not_started,
            "saved-states": self.saved_states,
        }

    def save(self, path: Path) -> None:
        """Write the capture to a file, compressed, as a whole or not at all; raises OSError."""
        partial = path.with_name(f"{path.name}.partial")
        try:
            with gzip.open(partial, "wt", encoding="utf-8") as file:
                json.dump(self.to_json(), file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def board(self, name: str) -> str:
        """Return the device type that stands for the board of a machine type, which can be named by its alias.

        Machine types of one family have one board; one without a version is a board of its own.
        """
        machine = next((own for own in self.machines if name in {own.name, own.alias}), MachineType(name))
        families = {own.family for own in self.startable_machines}
        return board_of(self.target, machine.family if machine.family in families else machine.name)

    def built_as(self, build: str) -> "Capture":
        """Return the capture as one of a special build."""
        return replace(self, build=build)

    def lineage(self, qom_type: str | None) -> Iterator[str]:
        """Iterate over a QOM type and its ancestors."""
        return lineage(qom_type, self.types)

    @lazy
    def device_types(self) -> Sequence[str]:
        """The device types without CPUs."""
        return [device for device in self.properties if not is_cpu(device, self.types)]

    @lazy
    def versioned_machines(self) -> Sequence[MachineType]:
        """The machine types with a version, the oldest first."""
        keys = [(machine.age, machine) for machine in self.machines]
        return [machine for age, machine in sorted(((a, m) for a, m in keys if a), key=lambda pair: pair[0])]

    @lazy
    def startable_machines(self) -> Sequence[MachineType]:
        """The machine types to start devices on, the oldest first: versioned ones, and others of their families.

        A distribution can name its machine types otherwise, such as pc-q35-jammy.
        """
        members = Counter(machine.family for machine in self.machines)
        # An alias of a board that has no other machine type is only a shorter name of it.
        families = {
            machine.family
            for machine in self.machines
            if machine.age or (machine.alias and members[machine.family] > 1)
        }
        others = [machine for machine in self.machines if not machine.age and machine.family in families]
        return [*sorted(others, key=lambda machine: machine.name), *self.versioned_machines]

    @lazy
    def read_machines(self) -> Sequence[MachineType]:
        """The machine types under which devices were read, the newest last: without versions where none has one."""
        versioned = self.versioned_machines
        return versioned or [machine for machine in self.machines if machine.name in self.effective]

    def is_own_version(self, machine: MachineType) -> bool:
        """Return whether a machine type has the version of this QEMU: its devices are as they are by default."""
        release = numeric(self.version)[:2]
        return (
            machine.age is not None
            and machine.age[0][:2] == release
            and machine.name.endswith(".".join(map(str, release)))
        )

    def proxied(self, device: str) -> str | None:
        """Return the type of the device inside a `*-pci` proxy, None for a device that is not a proxy."""
        backend = self.properties[device].get("virtio-backend")
        match = _PROXIED.fullmatch(backend.type) if backend else None
        return match[1] if match else None

    def live(self, machine: str, device: str, name: str) -> Any:
        """Return the value read from a real device of a machine, None if it was not read."""
        return self.effective.get(machine, {}).get(device, {}).get(name)

    def compat_values(self, machine: MachineType, device: str) -> Mapping[str, str]:
        """Return the values that a machine's compat properties set for a device, as QEMU writes them.

        They apply to all subtypes of their QOM type, and to a proxy through the device inside it.
        """
        if machine.compat_props is None:
            return {}
        values: dict[str, str] = {}
        for qom_type in (self.proxied(device), device):
            lineage = frozenset(self.lineage(qom_type))
            values.update({name: value for owner, name, value in machine.compat_props if owner in lineage})
        return values

    def selected(self, machines: Sequence[str], devices: Sequence[str]) -> "Capture":
        """Return the capture reduced to some machine and device types; an empty list selects all.

        Raises CaptureError for an unknown type.
        """
        for kind, names, known in (
            ("machine", machines, {machine.name for machine in self.machines}),
            ("device", devices, set(self.device_types)),
        ):
            if missing := sorted(set(names) - known):
                message = f"this QEMU has no {kind} type {', '.join(missing)}"
                raise CaptureError(message)
        return replace(
            self,
            machines=[machine for machine in self.machines if not machines or machine.name in machines],
            properties={
                name: properties for name, properties in self.properties.items() if not devices or name in devices
            },
        )


def _machine_document(machine: MachineType) -> dict[str, Any]:
    document: dict[str, Any] = {"name": machine.name}
    if machine.alias is not None:
        document["alias"] = machine.alias
    if machine.is_deprecated:
        document["deprecated"] = True
    if machine.compat_props is not None:
        keys = ("qom-type", "property", "value")
        document["compat-props"] = [dict(zip(keys, entry, strict=True)) for entry in machine.compat_props]
    return document


def _machine(document: Mapping[str, Any]) -> MachineType:
    compat_props = document.get("compat-props")
    applied = compat_props and [(entry["qom-type"], entry["property"], entry["value"]) for entry in compat_props]
    return MachineType(document["name"], applied, document.get("alias"), bool(document.get("deprecated")))
