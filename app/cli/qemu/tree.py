"""Reads the devices of a VM with their values from `info qtree`, which tells all of them in one call.

QMP reads one property a call (until `qom-list-get` of QEMU 10.1), which costs more than starting the process.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"^( *)(?:dev: (?P<device>.+), id \"(?P<id>.*)\"|bus: (?P<bus>.*)|(?P<rest>\S.*))$")
_PROPERTY = re.compile(r"([\w.\-\[\]]+) = (.*)")
_TYPE = re.compile(r"type (\S+)")
_NUMBER = re.compile(r"(-?\d+)(?: \(.*\))?")
# So deep are a device and its bus below the bus and the device that have them, in spaces.
_INDENT = 2


@dataclass(slots=True)
class Device:
    """A device of the tree; buses: what can be plugged into it. texts: its properties as they are printed."""

    type: str
    id: str
    texts: dict[str, str] = field(default_factory=dict)
    buses: list["Bus"] = field(default_factory=list)

    def inside(self) -> Iterator["Device"]:
        """Iterate over it and the devices behind it."""
        yield self
        for bus in self.buses:
            for device in bus.devices:
                yield from device.inside()

    def value(self, name: str) -> Any:
        """Return a value in its JSON type; raises KeyError if the tree does not have it."""
        return _value(self.texts[name])


@dataclass(slots=True)
class Bus:
    """A bus of the tree with the devices on it."""

    type: str = ""
    devices: list[Device] = field(default_factory=list)


def _value(text: str) -> Any:
    if text == "<null>":
        return ""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1]
    if text in {"true", "false"}:
        return text == "true"
    number = _NUMBER.fullmatch(text)
    return int(number[1]) if number else text


def read_tree(text: str) -> Sequence[Bus]:
    """Read what `info qtree` prints; other lines, such as the monitor's greeting, are skipped."""
    roots: list[Bus] = []
    # By indentation.
    buses: dict[int, Bus] = {}
    devices: dict[int, Device] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth = len(match[1])
        if match["bus"] is not None:
            bus = buses[depth] = Bus()
            owner = devices.get(depth - _INDENT)
            (roots if owner is None or depth == 0 else owner.buses).append(bus)
        elif match["device"] is not None and depth - _INDENT in buses:
            devices[depth] = Device(match["device"], match["id"])
            buses[depth - _INDENT].devices.append(devices[depth])
        elif match["rest"] is not None:
            _read_line(match["rest"], buses.get(depth - _INDENT), devices.get(depth - _INDENT))
    return roots


def _read_line(text: str, bus: Bus | None, device: Device | None) -> None:
    if bus is not None and not bus.type and (kind := _TYPE.fullmatch(text)):
        bus.type = kind[1]
    elif device is not None and (entry := _PROPERTY.fullmatch(text)):
        device.texts[entry[1]] = entry[2]


def devices_of(buses: Sequence[Bus]) -> Iterator[Device]:
    """Iterate over all devices of a tree."""
    for bus in buses:
        for device in bus.devices:
            yield from device.inside()


def free_buses(device: Device) -> frozenset[str]:
    """Return the types of the buses of a device, and of the devices inside it, that nothing is plugged into."""
    return frozenset(bus.type for inner in device.inside() for bus in inner.buses if not bus.devices and bus.type)
