"""Turns a QEMU property into a variable: its type, bounds, scope and values."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.cli.qemu.capture import Property

Value: TypeAlias = bool | int | str

_UNSIGNED = re.compile(r"uint(\d+)")
_SIGNED = re.compile(r"int(\d+)")
_SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}

# The values of QEMU's enums (qapi/*.json); a property of an enum that is not listed allows any string.
_ENUMS: dict[str, tuple[str, ...]] = {
    "OnOffAuto": ("auto", "on", "off"),
    "OffAutoPCIBAR": ("off", "auto", "bar0", "bar1", "bar2", "bar3", "bar4", "bar5"),
    "BlockdevOnError": ("report", "ignore", "enospc", "stop", "auto"),
    "FdcDriveType": ("144", "288", "120", "none", "auto"),
    "FloppyDriveType": ("144", "288", "120", "none", "auto"),
    "BiosAtaTranslation": ("auto", "none", "lba", "large", "rechs"),
    "LostTickPolicy": ("discard", "delay", "slew"),
    "GranuleMode": ("4k", "8k", "16k", "64k", "host"),
    "PCIELinkSpeed": ("2_5", "5", "8", "16", "32", "64"),
    "PCIELinkWidth": ("1", "2", "4", "8", "12", "16", "32"),
    "MigMode": ("normal", "cpr-reboot", "cpr-transfer"),
    "ZeroPageDetection": ("none", "legacy", "multifd"),
    "MultiFDCompression": ("none", "zlib", "zstd", "qatzip", "qpl", "uadk"),
}

# Types of properties that do not become variables: links between objects, structures and lists.
_WIRING = re.compile(r"link<.*|child<.*|.*[Ll]ist|guest statistics|.*Info|.*Information")
_WIRING_NAMES = frozenset({"id", "bus"})

# Properties of a single device, such as its slot, address or serial number.
_INSTANCE = frozenset(
    {
        "acpi-index", "addr", "address", "bootindex", "bootindexA", "bootindexB", "bus_nr", "busnr", "cad", "channel",
        "chassis", "chassis_nr", "eui64", "failover_pair_id", "firstport", "fp_start_macaddr", "frontend-id",
        "guest-cid", "guid", "hba_serial", "idx", "index", "instanceid", "lun", "mac", "masterbus", "memaddr",
        "mount_tag", "name", "nguid", "node", "nqn", "nr", "nsid", "port", "port_index", "port_wwn", "sas_address",
        "scsi-id", "serial", "slot", "sn", "switch_id", "tag", "unit", "uuid", "vdev", "vf-token", "wwn", "wwpn",
    }
)  # fmt: skip
# As a string, device_id identifies one SCSI disk; as a number, it is the same for all devices of a type.
_INSTANCE_STRINGS = frozenset({"device_id"})

# Names of properties that refer to resources of the host.
_BACKEND = re.compile(
    r"append|audiodev|backend|bootargs|cdat|cert\d|chardev\d*|db|display|drive|dtb|dumpdtb|evdev|fd|file|filter|"
    r"firmware|frudatafile|fsdev|hidraw|host|host_ip|host-model|host-serial|hostdevice|hostport|initrd|jsonfile|kernel|"
    r"memory-backend|memory-encryption|netdev|osk|pcap|pcspk-audiodev|pflash\d|rootdir|sdrfile|shim|sysfsdev|tls-\w+|tpmdev|vhostdev|"
    r"vhostfd"
)

# PCI's `addr` is int32 in some releases and str in others; it is a string because a slot can be written as 04.0.
_WIDTHS = {"size": "uint64", "int": "int64", "uint64_t": "uint64", "string": "str"}
_WIDER = {("addr", "int32"): "str"}


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a property allows: the variable's type, and its bounds or enum members."""

    type: str
    bounds: tuple[int, int] | None = None
    members: tuple[str, ...] | None = None

    @property
    def empty(self) -> Value:
        """The value of a property without a default."""
        if self.type == "bool":
            return False
        if self.type == "int":
            return 0
        return self.members[0] if self.members else ""

    @property
    def allowed_values(self) -> list[Value] | None:
        """The allowed values in a variable set, None for any value of the type."""
        if self.bounds:
            return [f"{self.bounds[0]}-{self.bounds[1]}"]
        return list(self.members) if self.members else None

    def allows(self, value: Value) -> bool:
        """Return whether the property allows the value."""
        if self.bounds:
            return isinstance(value, int) and self.bounds[0] <= value <= self.bounds[1]
        return self.members is None or value in self.members

    def value(self, raw: Any) -> Value | None:
        """Return the value that QEMU reports, as JSON or in the text form of compat properties; None if it is invalid.

        Without a reported value it is the type's empty value.
        """
        if raw is None:
            return self.empty
        if self.type == "str":
            return ("on" if raw else "off") if isinstance(raw, bool) else str(raw)
        if self.type == "bool":
            return _BOOLS.get(raw) if isinstance(raw, str) else bool(raw)
        try:
            return _size(raw) if isinstance(raw, str) else int(raw)
        except ValueError:
            return None

    def in_type(self, type_name: str) -> "Kind":
        """Return the kind converted to the type that the registry has for the variable."""
        if type_name == self.type:
            return self
        if type_name == "str":
            return Kind("str", members=("on", "off") if self.type == "bool" else None)
        return Kind(type_name, bounds=(-(2**63), 2**64 - 1) if type_name == "int" else None)


def _size(text: str) -> int:
    """Parse a number as QEMU writes it: decimal, hexadecimal, or with a binary suffix."""
    suffix = _SUFFIXES.get(text[-1:].upper()) if not text.lower().startswith("0x") else None
    return int(text[:-1], 0) * suffix if suffix else int(text, 0)


def kind_of(qemu_property: Property) -> Kind | None:
    """Return the kind of a property; None for wiring, which does not become a variable."""
    if qemu_property.name in _WIRING_NAMES or _WIRING.fullmatch(qemu_property.type):
        return None
    type_name = _WIDTHS.get(qemu_property.type, qemu_property.type)
    type_name = _WIDER.get((qemu_property.name, qemu_property.type), type_name)
    if type_name == "bool":
        return Kind("bool")
    if width := _UNSIGNED.fullmatch(type_name):
        return Kind("int", (0, 2 ** int(width[1]) - 1))
    if width := _SIGNED.fullmatch(type_name):
        return Kind("int", (-(2 ** (int(width[1]) - 1)), 2 ** (int(width[1]) - 1) - 1))
    return Kind("str", members=_ENUMS.get(type_name))


def scope_of(name: str, kind: Kind) -> str:
    """Return the scope of a property's variable."""
    if name in _INSTANCE or (name in _INSTANCE_STRINGS and kind.type == "str"):
        return "instance"
    if kind.type == "str" and kind.members is None and _BACKEND.fullmatch(name):
        return "backend"
    return "interface"


def is_unset_marker(name: str, value: Value) -> bool:
    """Return whether a default means that the device chooses the value when it is created."""
    return value in _UNSET.get(name, ()) or value in ("auto", -1, 2**32 - 1, 2**64 - 1)


# Further unset markers of these properties, in addition to auto, -1 and the largest unsigned values.
_UNSET: dict[str, tuple[Value, ...]] = {
    "class": (0,),
    "dma_mask": (0,),
    "guid": ("",),
    "logical_block_size": (0,),
    "physical_block_size": (0,),
    "romfile": ("",),
    "ver": ("",),
    "world": ("",),
    "xres": (0,),
    "yres": (0,),
}
