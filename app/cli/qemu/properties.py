"""How a QEMU property becomes a variable: its type, its bounds, its scope, its values."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.cli.qemu.capture import Property

Value: TypeAlias = bool | int | str

_UNSIGNED = re.compile(r"uint(\d+)")
_SIGNED = re.compile(r"int(\d+)")
_SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}

# The values of QEMU's enums (qapi/*.json); an enum that is not here may be any string.
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

# Wiring between objects, structures and lists: no variables.
_WIRING = re.compile(r"link<.*|child<.*|.*[Ll]ist|guest statistics|.*Info|.*Information")
_WIRING_NAMES = frozenset({"id", "bus"})

# What belongs to one device: where it sits, which address or serial number it has.
_INSTANCE = frozenset(
    {
        "acpi-index", "addr", "address", "bootindex", "bootindexA", "bootindexB", "bus_nr", "busnr", "cad", "channel",
        "chassis", "chassis_nr", "eui64", "failover_pair_id", "firstport", "fp_start_macaddr", "frontend-id",
        "guest-cid", "guid", "hba_serial", "idx", "index", "instanceid", "lun", "mac", "masterbus", "memaddr",
        "mount_tag", "name", "nguid", "node", "nqn", "nr", "nsid", "port", "port_index", "port_wwn", "sas_address",
        "scsi-id", "serial", "slot", "sn", "switch_id", "tag", "unit", "uuid", "vdev", "vf-token", "wwn", "wwpn",
    }
)  # fmt: skip
# A SCSI disk's identification page names the disk; elsewhere a device_id is a number that all such devices share.
_INSTANCE_TEXTS = frozenset({"device_id"})

# Names of what the host provides.
_BACKEND = re.compile(
    r"audiodev|backend|bootargs|cdat|cert\d|chardev\d*|db|display|drive|evdev|fd|file|filter|frudatafile|fsdev|hidraw|"
    r"host|host_ip|hostdevice|hostport|initrd|jsonfile|kernel|netdev|osk|pcap|rootdir|sdrfile|sysfsdev|tls-\w+|tpmdev|"
    r"vhostdev|vhostfd"
)

# PCI's `addr` is told as int32 or str: a slot may also be written as 04.0, so it is a string.
_WIDTHS = {"size": "uint64", "int": "int64"}
_WIDER = {("addr", "int32"): "str"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a property has: the variable's type, its bounds or its enum."""

    type: str
    bounds: tuple[int, int] | None = None
    members: tuple[str, ...] | None = None

    @property
    def empty(self) -> Value:
        """Return the value of a property that tells no default."""
        if self.type == "bool":
            return False
        if self.type == "int":
            return 0
        return self.members[0] if self.members else ""

    @property
    def allowed_values(self) -> list[Value] | None:
        """Return what a variable set states as allowed, None for any value of the type."""
        if self.bounds:
            return [f"{self.bounds[0]}-{self.bounds[1]}"]
        return list(self.members) if self.members else None

    def allows(self, value: Value) -> bool:
        """Return whether the property may have the value."""
        if self.bounds:
            return isinstance(value, int) and self.bounds[0] <= value <= self.bounds[1]
        return self.members is None or value in self.members

    def value(self, told: Any) -> Value | None:
        """Return the value that QEMU tells, in JSON or as its compat properties write it; None if it is none of these.

        A property that tells nothing has the type's empty value.
        """
        if told is None:
            return self.empty
        if self.type == "str":
            return ("on" if told else "off") if isinstance(told, bool) else str(told)
        if self.type == "bool":
            return _BOOLS.get(told) if isinstance(told, str) else bool(told)
        try:
            return _size(told) if isinstance(told, str) else int(told)
        except ValueError:
            return None

    def in_type(self, of_type: str) -> "Kind":
        """Return the kind with values of the type that the registry has for the variable."""
        if of_type == self.type:
            return self
        if of_type == "str":
            return Kind("str", members=("on", "off") if self.type == "bool" else None)
        return Kind(of_type, bounds=(-(2**63), 2**64 - 1) if of_type == "int" else None)


def _size(text: str) -> int:
    """Return a number as QEMU writes it: decimal, hexadecimal, or with a binary suffix."""
    suffix = _SUFFIXES.get(text[-1:].upper()) if not text.lower().startswith("0x") else None
    return int(text[:-1], 0) * suffix if suffix else int(text, 0)


def kind_of(told: Property) -> Kind | None:
    """Return what values a property has; None for one that is wiring."""
    if told.name in _WIRING_NAMES or _WIRING.fullmatch(told.type):
        return None
    of_type = _WIDER.get((told.name, told.type), _WIDTHS.get(told.type, told.type))
    if of_type == "bool":
        return Kind("bool")
    if width := _UNSIGNED.fullmatch(of_type):
        return Kind("int", (0, 2 ** int(width[1]) - 1))
    if width := _SIGNED.fullmatch(of_type):
        return Kind("int", (-(2 ** (int(width[1]) - 1)), 2 ** (int(width[1]) - 1) - 1))
    return Kind("str", members=_ENUMS.get(of_type))


def scope_of(name: str, kind: Kind) -> str:
    """Return the scope of the variable that a property becomes."""
    if name in _INSTANCE or (name in _INSTANCE_TEXTS and kind.type == "str"):
        return "instance"
    if kind.type == "str" and kind.members is None and _BACKEND.fullmatch(name):
        return "backend"
    return "interface"


def is_unset_marker(name: str, value: Value) -> bool:
    """Return whether a default stands for a value that the device chooses when it is made."""
    return value in _UNSET.get(name, ()) or value in ("auto", -1, 2**32 - 1, 2**64 - 1)


# Beside auto, -1 and the largest unsigned values: what these properties hold until the device is made.
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
