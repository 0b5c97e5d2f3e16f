"""Facts about QEMU's devices that QEMU does not report over QMP.

Measured on QEMU 7.2.22 and 10.0.13 for x86_64 by real saves and loads of every device type that starts, or read in the
source where a type needs hardware (vfio, vhost-scsi). A running binary that was asked itself counts before these facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.values.name import numeric

# The releases that were measured, by (major, minor); nothing is said of others.
_FIRST, _LAST = (7, 2), (10, 0)

# Device types whose state description is unmigratable, that always block migration, or that end QEMU when they are
# saved or loaded (pci-serial-2x, isa-cirrus-vga, isa-vga): in all releases, in the first, and in the last.
_NEVER = frozenset(
    {
        "amd-iommu", "hv-syndbg", "nvme", "nvme-ns", "pci-serial-2x", "rocker", "usb-audio", "usb-braille",
        "usb-mtp", "usb-net", "usb-serial", "usb-uas", "usb-wacom-tablet", "vhost-user-gpio-device",
        "vhost-user-gpio-pci", "vhost-user-i2c-device", "vhost-user-i2c-pci", "vhost-user-input",
        "vhost-user-input-pci", "vhost-user-rng", "vhost-user-rng-pci", "vhost-user-vsock-device",
        "vhost-user-vsock-pci", "vhost-user-vsock-pci-non-transitional", "virtio-crypto-device",
        "virtio-crypto-pci", "virtio-gpu-gl-device", "virtio-gpu-gl-pci", "virtio-input-host-device",
        "virtio-input-host-pci", "virtio-vga-gl", "x-pci-proxy-dev",
    }
)  # fmt: skip
_NEVER_IN_FIRST = frozenset({"isa-cirrus-vga", "vhost-user-fs-device", "vhost-user-fs-pci"})
_NEVER_IN_LAST = frozenset(
    {
        "isa-vga", "ufs", "ufs-lu", "vhost-user-device", "vhost-user-device-pci", "vhost-user-snd",
        "vhost-user-snd-pci", "vhost-vdpa-device", "vhost-vdpa-device-pci",
        "vhost-vdpa-device-pci-non-transitional", "vhost-vdpa-device-pci-transitional", "virtio-sound-device",
        "virtio-sound-pci", "xen-xenstore",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Values with which a device type cannot be migrated, on any release that has the properties.

    when: by property, as QEMU writes the values.
    """

    devices: frozenset[str]
    when: Mapping[str, Sequence[str]]
    description: str


_VFIO = frozenset({"vfio-pci", "vfio-pci-nohotplug"})
_VHOST_SCSI = frozenset(
    {"vhost-scsi", "vhost-scsi-pci", "vhost-scsi-pci-transitional", "vhost-scsi-pci-non-transitional"}
)
BLOCKS = (
    Block(_VFIO, {"x-enable-migration": ["off"]}, "migration of a passed-through device is off by default"),
    Block(_VFIO, {"enable-migration": ["off"]}, "migration is switched off for this passed-through device"),
    Block(
        frozenset({"ivshmem-plain", "ivshmem-doorbell"}),
        {"master": ["off"]},
        "the shared memory belongs to a peer: QEMU disables migration in peer mode",
    ),
    Block(_VHOST_SCSI, {"migratable": ["off"]}, "the state of vhost-scsi lies in the host's kernel"),
)


def blocks_of(device: str) -> Sequence[Block]:
    """Return the configurations in which a device type cannot be migrated."""
    return [block for block in BLOCKS if device in block.devices]


def unblocking(device: str) -> Mapping[str, str]:
    """Return the settings with which no block applies to a device type; the properties of blocks are switches."""
    return {
        name: "on" if "off" in values else "off" for block in blocks_of(device) for name, values in block.when.items()
    }


def is_never_migratable(device: str, version: str) -> bool:
    """Return whether a device type is known to be never migratable in a release."""
    release = numeric(version)[:2]
    if not _FIRST <= release <= _LAST:
        return False
    return (
        device in _NEVER
        or (release == _FIRST and device in _NEVER_IN_FIRST)
        or (release == _LAST and device in _NEVER_IN_LAST)
    )


@dataclass(frozen=True, slots=True)
class Rename:
    """A property that is an earlier one under another name; inverted: with the opposite value."""

    earlier: str
    inverted: bool


_PCIE_PORTS = frozenset({"pcie-root-port", "ioh3420", "xio3130-downstream", "cxl-rp", "cxl-downstream"})


def rename_of(device: str, name: str) -> Rename | None:
    """Return the earlier property that one stands for, None if it is a property of its own.

    QEMU 8.1 renamed the switch that hides the native hot-plug capability of PCIe ports, and turned it round.
    """
    if device in _PCIE_PORTS and name == "x-do-not-expose-native-hotplug-cap":
        return Rename("x-native-hotplug", inverted=True)
    return None


# What the host decides: the size of its ROM file, the block sizes of its storage, what its kernel driver offers.
_RESOLVED_BY_HOST: Mapping[str, Sequence[int | str]] = {
    "romsize": [2**32 - 1, -1],
    "logical_block_size": [0],
    "physical_block_size": [0],
    "discard_granularity": [2**32 - 1],
    "enable-migration": ["auto"],
    "x-pre-copy-dirty-page-tracking": ["auto"],
    "intremap": ["auto"],
    "eim": ["auto"],
    "aw-bits": [255],
    "granule": ["host"],
    "unplugged-inaccessible": ["auto"],
}


# What each VM decides when it starts, from its own disk and its number of CPUs: the geometry of a disk, the queues of
# virtio-blk. What a probe's null device makes of it is nothing that a profile says.
_RESOLVED_BY_VM: Mapping[str, Sequence[int]] = {"cyls": [0], "heads": [0], "secs": [0], "num-queues": [65535]}


def resolved_by_vm(name: str) -> Sequence[int | str]:
    """Return the values of a property whose meaning each VM decides for itself, the same on any host."""
    return _RESOLVED_BY_VM.get(name, ())


def resolved_by_host(name: str) -> Sequence[int | str]:
    """Return the values of a property whose meaning each host decides for itself."""
    return _RESOLVED_BY_HOST.get(name, ())
