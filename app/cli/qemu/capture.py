"""A capture: what a QEMU binary said of itself over QMP."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.lazy import lazy

_VERSIONED = re.compile(r"-(\d+(?:\.\d+)+)$")
_PROXIED = re.compile(r"child<(.+)>")
# No board and no bus: nothing can be plugged into it.
_WITHOUT_BOARD = "none"


class CaptureError(ValueError):
    """A file that is no capture, or a QEMU that cannot be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a device type as `device-list-properties` tells it; default is None where it tells none."""

    name: str
    type: str
    default: Any = None


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type; compat_props: (QOM type, property, value) in the order applied, None where QEMU does not tell."""

    name: str
    compat_props: Sequence[tuple[str, str, str]] | None = None

    @property
    def age(self) -> tuple[tuple[int, ...], str] | None:
        """Return what versioned machine types sort by, the oldest first; None for one without a version."""
        version = _VERSIONED.search(self.name)
        return (tuple(map(int, version[1].split("."))), self.name) if version else None


@dataclass(frozen=True)
class Capture:
    """What a QEMU binary says of itself.

    types: each QOM type's parent. effective: machine type → device type → property → value, as a device really has it.
    unmigratable: device types that -only-migratable refuses; None where that was not asked.
    """

    version: str
    machines: Sequence[MachineType]
    types: Mapping[str, str | None]
    properties: Mapping[str, Mapping[str, Property]]
    effective: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    unmigratable: frozenset[str] | None = None
    target: str = "x86_64"

    @classmethod
    def load(cls, path: Path) -> "Capture":
        """Read a capture from a JSON file, gzip-compressed or not; raises CaptureError."""
        try:
            raw = path.read_bytes()
            return cls.from_json(json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw))
        except (OSError, EOFError, ValueError) as error:
            message = f"{path} cannot be read as a capture: {error}"
            raise CaptureError(message) from error

    @classmethod
    def from_json(cls, document: Any) -> "Capture":
        """Read a capture; raises CaptureError."""
        try:
            version = document["version"]
            return cls(
                ".".join(str(version[part]) for part in ("major", "minor", "micro")),
                [_machine(each) for each in document["machines"] if each["name"] != _WITHOUT_BOARD],
                {each["name"]: each.get("parent") for each in document["types"]},
                {
                    device: {
                        each["name"]: Property(each["name"], each["type"], each.get("default-value"))
                        for each in properties
                    }
                    for device, properties in document["device-list-properties"].items()
                },
                document.get("effective", {}),
                frozenset(document["unmigratable"]) if "unmigratable" in document else None,
                document.get("target", "x86_64"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            message = f"it lacks what a capture has: {error!r}"
            raise CaptureError(message) from error

    def lineage(self, qom_type: str | None) -> Iterator[str]:
        """Iterate over a QOM type and its ancestors."""
        while qom_type is not None:
            yield qom_type
            qom_type = self.types.get(qom_type)

    @lazy
    def device_types(self) -> Sequence[str]:
        """The device types that are no CPUs."""
        return [device for device in self.properties if "cpu" not in self.lineage(device)]

    @lazy
    def versioned_machines(self) -> Sequence[MachineType]:
        """The machine types with a version, the oldest first."""
        aged = [(machine.age, machine) for machine in self.machines]
        return [machine for age, machine in sorted(((a, m) for a, m in aged if a), key=lambda pair: pair[0])]

    def proxied(self, device: str) -> str | None:
        """Return the type of the device inside a `*-pci` proxy, None if there is none."""
        backend = self.properties[device].get("virtio-backend")
        inner = _PROXIED.fullmatch(backend.type) if backend else None
        return inner[1] if inner else None

    def live(self, machine: str, device: str, name: str) -> Any:
        """Return the value that a device of a machine really has, None if it was not read."""
        return self.effective.get(machine, {}).get(device, {}).get(name)

    def compatible(self, machine: MachineType, device: str) -> Mapping[str, str]:
        """Return the properties that a machine's compat properties set for a device, as QEMU writes them.

        They reach a device along its type hierarchy, and the properties of the device inside a proxy.
        """
        if machine.compat_props is None:
            return {}
        found: dict[str, str] = {}
        for qom_type in (self.proxied(device), device):
            lineage = frozenset(self.lineage(qom_type))
            found.update({name: value for owner, name, value in machine.compat_props if owner in lineage})
        return found

    def selected(self, machines: Sequence[str], devices: Sequence[str]) -> "Capture":
        """Return the part of the capture that these machine and device types make; none named: all of them.

        Raises CaptureError for one that is not there.
        """
        for kind, asked, known in (
            ("machine", machines, {machine.name for machine in self.machines}),
            ("device", devices, set(self.device_types)),
        ):
            if missing := sorted(set(asked) - known):
                message = f"this QEMU has no {kind} type {', '.join(missing)}"
                raise CaptureError(message)
        return Capture(
            self.version,
            [machine for machine in self.machines if not machines or machine.name in machines],
            self.types,
            {device: each for device, each in self.properties.items() if not devices or device in devices},
            self.effective,
            self.unmigratable,
            self.target,
        )


def _machine(document: Mapping[str, Any]) -> MachineType:
    compat_props = document.get("compat-props")
    if compat_props is None:
        return MachineType(document["name"])
    return MachineType(document["name"], [(each["qom-type"], each["property"], each["value"]) for each in compat_props])
