"""Facts about QEMU's devices that QEMU does not report over QMP.

Measured on QEMU 7.2.22 and 10.0.13 for x86_64 by real saves and loads of every device type that starts, or read in the
source where a type needs hardware (vfio, vhost-scsi). A running binary that was asked itself counts before these facts.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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


# Device types without a saved state (-dump-vmstate has none of them) that nevertheless have one to lose: QEMU neither
# saves it nor refuses, so after a migration the guest finds the device reset.
_WITHOUT_STATE = frozenset(
    {
        "AMDVI-PCI", "adlib", "ati-vga", "base-xhci", "ccid-card-emulated", "cxl-downstream", "cxl-rp",
        "cxl-switch-mailbox-cci", "cxl-type3", "cxl-upstream", "edu", "gpio_i2c", "hv-balloon", "hyperv-testdev",
        "i2c-echo", "igbvf", "isa-applesmc", "ivshmem-flat", "pc-testdev", "pci-testdev", "pvrdma", "pxb-cxl",
        "sgx-epc", "sysbus-ohci", "vhost-user-gpu", "vhost-user-gpu-pci", "virtio-pmem", "virtio-pmem-pci",
        "xen-backend", "xen-cdrom", "xen-console", "xen-disk", "xen-net-device", "xen-primary-console",
    }
)  # fmt: skip
_WITHOUT_STATE_IN_FIRST = frozenset({"ramfb"})
# The others without one, looked at one by one: another device, the bus or the machine saves their state, or the guest
# can change nothing in them.
STATELESS = frozenset(
    {
        # Saved by the virtio device behind them.
        "virtconsole", "virtio-mmio", "virtserialport",
        # Saved by their controller, their vCPU, or by code of their own that -dump-vmstate does not show.
        "apic", "esp", "floppy", "i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b", "i82559a",
        "i82559b", "i82559c", "i82559er", "i82562", "i82801", "hyperv-synic", "ide-cd", "ide-cf", "ide-hd",
        "ipmi-bmc-extern", "ipmi-bmc-sim", "isa-ide", "isa-ipmi-bt", "isa-ipmi-kcs", "kvm-apic", "piix3-ide",
        "piix4-ide", "serial", "vfio-pci", "vfio-pci-nohotplug",
        # Memory, which is migrated as such; what is loaded before the guest starts; bridges and ports without registers
        # that a guest writes.
        "cpu-cluster", "guest-loader", "isa-debug-exit", "isa-debugcon", "isabus-bridge", "loader", "migration",
        "nvdimm", "nvme-subsys", "pc-dimm", "pvpanic", "pxb", "pxb-pcie", "sga", "vfio-pci-igd-lpc-bridge", "vmport",
        "xen-bridge", "xen-sysdev",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Migrations that fail though every property is equal: real ones were recorded. Nothing is said of other releases.

    types: of the devices, or types above them. release: what they were saved by, from this version on, of the same
    (major, minor). ranges: what could not load them, from a version on to before another. when: the configurations that
    fail, all if empty.
    """

    types: frozenset[str]
    release: tuple[int, ...]
    ranges: Sequence[tuple[str, str]]
    description: str
    when: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def concerns(self, lineage: Iterable[str], version: str) -> bool:
        """Return whether it is known of a release and a device; lineage: the type of the device and its ancestors."""
        own = numeric(version)
        return own[:2] == self.release[:2] and own >= self.release and not self.types.isdisjoint(lineage)


_7_2, _10_0, _11_1 = ("7.2", "7.3"), ("10.0", "10.1"), ("11.1", "11.2")
_ESP, _SD, _IPMI = frozenset({"am53c974", "dc390"}), frozenset({"sd-card-spi"}), frozenset({"pci-ipmi-kcs"})
# Virtio devices but those of virtio-mmio, and the ports of virtio-serial. The disks of a virtio-scsi go where it goes.
_ON_QUEUES = frozenset({"virtio-pci", "virtio-ccw-device", "virtio-serial-port"})
_MEMORY = frozenset({"virtio-mem-pci", "virtio-mem"})
_FOOTER = "the saved state of the SCSI controller cannot be read: Missing section footer"
_ASSERTION = "QEMU ends when it loads the state of the card: sd_ocr_powerup, Assertion failed"
_BLOCKS_DIFFER = (
    "without block-size, QEMU takes one of its own choice, and they choose differently: the state cannot be read"
)
_QUEUES_DIFFER = (
    "a queue that the guest has not set up is saved with 1024 entries, more than the other has: it cannot be read "
    "(vring.num 1024 exceeds allocated max)"
)
_ARM = frozenset({"aarch64-cpu-tcg"})
_CPU_DIFFERS = "the saved state of the emulated CPU cannot be read: the registers that it has differ"
_DEFAULT_BLOCKS = {"block-size": [0]}
FAILURES = (
    Failure(_ESP, (7, 2), (_10_0, _11_1), _FOOTER),
    Failure(_ESP, (11, 1), (_7_2, _10_0), _FOOTER),
    Failure(_SD, (10, 0), (_11_1,), _ASSERTION),
    Failure(_SD, (11, 1), (_10_0,), _ASSERTION),
    Failure(_IPMI, (11, 1), (_7_2, _10_0), "the saved state has version 2 of ipmi-bmc-sim, and they read version 1"),
    Failure(_MEMORY, (7, 2), (_10_0, _11_1), _BLOCKS_DIFFER, _DEFAULT_BLOCKS),
    Failure(_MEMORY, (10, 0), (_7_2,), _BLOCKS_DIFFER, _DEFAULT_BLOCKS),
    Failure(_MEMORY, (11, 1), (_7_2,), _BLOCKS_DIFFER, _DEFAULT_BLOCKS),
    Failure(_ARM, (7, 2), (_10_0, _11_1), _CPU_DIFFERS),
    Failure(_ARM, (10, 0), (_7_2,), _CPU_DIFFERS),
    Failure(_ARM, (11, 1), (_7_2, _10_0), _CPU_DIFFERS),
    # From 10.0.2 they go; the releases between were not tried.
    Failure(_ON_QUEUES, (10, 0, 13), (_11_1,), _QUEUES_DIFFER),
)


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
        or device in _WITHOUT_STATE
        or (release == _FIRST and device in _WITHOUT_STATE_IN_FIRST)
    )


def loses_state(device: str) -> bool | None:
    """Return whether a device type that QEMU saves nothing of loses what the guest made of it; None: nobody looked."""
    return True if device in _WITHOUT_STATE else False if device in STATELESS else None


# The roles of the parts that lie behind QEMU's devices: a device of the host that QEMU passes through, and the program
# or kernel driver that does the work of a vhost device.
HOST_DEVICE, BACKEND = "host-device", "backend"
_PASSED_THROUGH = frozenset(
    {
        "vfio-amd-xgbe", "vfio-ap", "vfio-calxeda-xgmac", "vfio-ccw", "vfio-pci", "vfio-pci-nohotplug", "vfio-platform",
        "vfio-user-pci",
    }
)  # fmt: skip
_OF_BACKENDS = ("vhost-user-", "vhost-vdpa-", "vhost-scsi")


@dataclass(frozen=True, slots=True)
class Need:
    """A part that a device type needs: its state lies there."""

    role: str
    description: str


def needs_of(device: str) -> Sequence[Need]:
    """Return the parts that a device type needs."""
    if device in _PASSED_THROUGH:
        return [Need(HOST_DEVICE, "the state lies in the device that is passed through, and in its driver")]
    if device.startswith(_OF_BACKENDS):
        return [Need(BACKEND, "the state lies in the back end of the device")]
    return ()


def together_of(device: str) -> Sequence[Mapping[str, object]]:
    """Return the rules across all devices of a VM that a device type brings, as they are published.

    vfio_multiple_devices_migration_is_supported: of several passed-through devices, each has to be able to stop its
    traffic to the others (VFIO_MIGRATION_P2P) before any of them is saved.
    """
    if device not in _VFIO:
        return ()
    description = "QEMU migrates several passed-through devices only if all of them support P2P"
    return [{"role": HOST_DEVICE, "over": 1, "require": {"p2p": [True]}, "description": description}]


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


# Properties that QEMU sets itself, on types and those below them: it refuses to have them set, or they say what became
# of a device. A binary that was asked tells them itself; these are for captures that do not have it.
_STATE = {
    "device": {"attached", "dev_id", "subch_id", "date", "hotplugged", "hotpluggable", "realized"},
    "pc-dimm": {"size"},
    "virtio-mem-pci": {"size"},
    "virtio-mem": {"size"},
    "virtio-mem-ccw": {"size"},
    "virtio-pmem-pci": {"size"},
}


def is_state(lineage: Iterable[str], name: str) -> bool:
    """Return whether a property is state that nobody can set; lineage: the type and its ancestors."""
    return any(name in _STATE.get(qom_type, ()) for qom_type in lineage)


# The modules of a QEMU with PCI that a distribution can package apart, with the device types that they bring.
_MODULES: Mapping[str, Sequence[str]] = {
    "hw-display-qxl": ["qxl", "qxl-vga"],
    "hw-display-virtio-gpu": ["virtio-gpu-device"],
    "hw-display-virtio-gpu-gl": ["virtio-gpu-gl-device"],
    "hw-display-virtio-gpu-pci": ["virtio-gpu-pci"],
    "hw-display-virtio-gpu-pci-gl": ["virtio-gpu-gl-pci"],
    "hw-display-virtio-vga": ["virtio-vga"],
    "hw-display-virtio-vga-gl": ["virtio-vga-gl"],
    "hw-usb-host": ["usb-host"],
    "hw-usb-redirect": ["usb-redir"],
    "hw-usb-smartcard": ["ccid-card-emulated", "ccid-card-passthru"],
}
_OF_X86 = frozenset({"hw-display-virtio-vga", "hw-display-virtio-vga-gl"})


def missing_modules(types: Container[str], target: str) -> Mapping[str, Sequence[str]]:
    """Return the modules of which a QEMU with PCI lacks the device types.

    QEMU itself does not tell which it could have. types: the device types that it has.
    """
    if "pcie-root-port" not in types and "pci-bridge" not in types:
        return {}
    return {
        module: names
        for module, names in _MODULES.items()
        if (module not in _OF_X86 or target == "x86_64") and not any(name in types for name in names)
    }


# Values that mean the same: the default of rombar became -1, which is 1 unless the machine type wants none.
_SAME: Mapping[str, tuple[int, int]] = {"rombar": (-1, 1)}


def same_as(name: str, value: object, stated: object) -> bool:
    """Return whether a value of a property means what a stated one means, though they differ."""
    return _SAME.get(name) == (value, stated) and type(value) is type(stated) is int


# What the host decides: the size of its ROM file, the block sizes of its storage, what its kernel driver offers.
_RESOLVED_BY_HOST: Mapping[str, Sequence[int | str]] = {
    "romsize": [2**32 - 1, -1],
    "logical_block_size": [0],
    "physical_block_size": [0],
    "discard_granularity": [2**32 - 1],
    "block-size": [0],
    "duplex": [""],
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


def decided_by_host(name: str) -> Sequence[int | str]:
    """Return the values of a property whose meaning each host decides, whatever the device."""
    return _RESOLVED_BY_HOST.get(name, ())


def decided_by_probe(name: str) -> Sequence[int | str]:
    """Return the values of a property of which a live device shows what the probe's own host or VM made of them."""
    return (*_RESOLVED_BY_HOST.get(name, ()), *resolved_by_vm(name))


# What QEMU computes when it starts a VM and nobody gives it (measured on 7.2.22 and 10.0.13): queues from the number of
# CPUs, vectors from the queues, and whether a device has the legacy interface from the bus that it sits on.
_QUEUES = {"virtio-blk": "num-queues", "vhost-user-blk": "num-queues", "virtio-scsi": "num_queues"}
_WITH_VECTORS = frozenset({*_QUEUES, "virtio-net", "vhost-user-fs", "virtio-rng", "virtio-balloon", "virtio-9p"})
_BY_BUS = frozenset({*_QUEUES, "virtio-net", "virtio-serial", "virtio-rng", "virtio-balloon", "virtio-9p"})


def computed(device: str) -> frozenset[str]:
    """Return the properties of a device type that QEMU computes for each VM unless they are given."""
    kind, pci, variant = device.partition("-pci")
    if not pci:
        return frozenset()
    names = {_QUEUES[kind]} if kind in _QUEUES else set()
    names |= {"vectors"} if kind in _WITH_VECTORS else set()
    names |= {"disable-legacy"} if kind in _BY_BUS and not variant else set()
    return frozenset(names)


# Offloads of virtio-net: QEMU offers the guest only what the host's kernel and back end have (virtio_net_get_features).
_OFFLOADS = frozenset(
    {
        "csum", "gso", "guest_csum", "guest_ecn", "guest_tso4", "guest_tso6", "guest_ufo", "guest_uso4", "guest_uso6",
        "host_ecn", "host_tso4", "host_tso6", "host_ufo", "host_uso",
    }
)  # fmt: skip


def resolved_by_host(device: str, name: str) -> Sequence[bool | int | str]:
    """Return the values of a property whose meaning each host decides for itself."""
    if name in _OFFLOADS and device.startswith("virtio-net-"):
        return [True]
    return _RESOLVED_BY_HOST.get(name, ())
