"""Translates the devices of a libvirt domain into QEMU's device models, for `check --domain`.

libvirt's names are those of its domain XML (https://libvirt.org/formatdomain.html), QEMU's those of `-device help`.
Unknown never means compatible: a device or setting that this module does not know is reported as unasked.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, ParseError  # only the types; defusedxml parses

import defusedxml
import defusedxml.ElementTree

from app.hypervisor.facts import BACKEND, HOST_DEVICE
from app.hypervisor.naming import profile_of
from app.hypervisor.virtual_machine import (
    CPU,
    backends_of,
    name_it_or_leave_it_out,
    other_architecture,
    parts_of,
    passed_through,
)

VENDOR = "qemu.org"
# What QEMU calls the architectures of guests that libvirt calls otherwise.
_TARGETS = {"": "x86_64", "i686": "i386", "armv6l": "arm", "armv7l": "arm", "ppc64le": "ppc64"}

_EMULATOR = re.compile(r"/qemu-system-([a-z0-9_]+)")

# libvirt counts memory in KiB.
_KIB = 1024
_KIB_OF_MIB = 1024
_MAX_DIGITS = 19
# libvirt's default period of a rate, in milliseconds.
_RATE_PERIOD = "1000"


def _virtio(device: str, prefix: str = "") -> Mapping[str, str]:
    """Return the three variants of a virtio device, by libvirt's name."""
    return {
        f"{prefix}virtio": f"{device}-pci",
        f"{prefix}virtio-transitional": f"{device}-pci-transitional",
        f"{prefix}virtio-non-transitional": f"{device}-pci-non-transitional",
    }


# QEMU's device, by XML element and by libvirt's name of the device in it (_NAMES).
_DEVICES: Mapping[str, Mapping[str, str]] = {
    "interface": {
        **_virtio("virtio-net"),
        **{name: name for name in ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3", "usb-net")},
        **{
            f"i8255{suffix}": f"i8255{suffix}"
            for suffix in ("0", "1", "7a", "7b", "7c", "8a", "8b", "9a", "9b", "9c", "9er")
        },
    },
    "disk": {
        "virtio/disk/": "virtio-blk-pci",
        **_virtio("virtio-blk", "virtio/disk/"),
        "scsi/disk/": "scsi-hd",
        "scsi/cdrom/": "scsi-cd",
        "scsi/lun/": "scsi-block",
        "sata/disk/": "ide-hd",
        "sata/cdrom/": "ide-cd",
        "ide/disk/": "ide-hd",
        "ide/cdrom/": "ide-cd",
        "usb/disk/": "usb-storage",
        "usb/cdrom/": "usb-storage",
        "fdc/floppy/": "floppy",
    },
    "controller": {
        "usb/piix3-uhci/": "piix3-usb-uhci",
        "usb/piix4-uhci/": "piix4-usb-uhci",
        "usb/ehci/": "usb-ehci",
        "usb/ich9-ehci1/": "ich9-usb-ehci1",
        "usb/ich9-uhci1/": "ich9-usb-uhci1",
        "usb/ich9-uhci2/": "ich9-usb-uhci2",
        "usb/ich9-uhci3/": "ich9-usb-uhci3",
        "usb/nec-xhci/": "nec-usb-xhci",
        "usb/qemu-xhci/": "qemu-xhci",
        **{f"{name}/": device for name, device in _virtio("virtio-scsi", "scsi/").items()},
        "scsi/virtio-scsi/": "virtio-scsi-pci",
        "scsi/lsilogic/": "lsi53c895a",
        "scsi/lsisas1068/": "mptsas1068",
        "scsi/lsisas1078/": "megasas",
        "scsi/vmpvscsi/": "pvscsi",
        **{f"{name}/": device for name, device in _virtio("virtio-serial", "virtio-serial/").items()},
        "virtio-serial//": "virtio-serial-pci",
        "sata//": "ich9-ahci",
        "ccid//": "usb-ccid",
        # The i440fx board has a built-in floppy controller, q35 does not.
        "fdc// of q35": "isa-fdc",
        "pci/pcie-root-port/": "pcie-root-port",
        "pci/pcie-root-port/pcie-root-port": "pcie-root-port",
        "pci/pcie-root-port/ioh3420": "ioh3420",
        **dict.fromkeys(("pci/pcie-to-pci-bridge/", "pci/pcie-to-pci-bridge/pcie-pci-bridge"), "pcie-pci-bridge"),
        **dict.fromkeys(("pci/pcie-expander-bus/", "pci/pcie-expander-bus/pxb-pcie"), "pxb-pcie"),
        **dict.fromkeys(
            ("pci/pcie-switch-upstream-port/", "pci/pcie-switch-upstream-port/x3130-upstream"), "x3130-upstream"
        ),
        **dict.fromkeys(
            ("pci/pcie-switch-downstream-port/", "pci/pcie-switch-downstream-port/xio3130-downstream"),
            "xio3130-downstream",
        ),
        **dict.fromkeys(("pci/dmi-to-pci-bridge/", "pci/dmi-to-pci-bridge/i82801b11-bridge"), "i82801b11-bridge"),
        **dict.fromkeys(("pci/pci-bridge/", "pci/pci-bridge/pci-bridge"), "pci-bridge"),
        **dict.fromkeys(("pci/pci-expander-bus/", "pci/pci-expander-bus/pxb"), "pxb"),
    },
    "video": {
        "virtio": "virtio-vga",
        "virtio second": "virtio-gpu-pci",
        "virtio gl": "virtio-vga-gl",
        "virtio gl second": "virtio-gpu-gl-pci",
        "qxl": "qxl-vga",
        "qxl second": "qxl",
        "vga": "VGA",
        "vga second": "secondary-vga",
        "cirrus": "cirrus-vga",
        "bochs": "bochs-display",
        "vmvga": "vmware-svga",
        "ramfb": "ramfb",
    },
    "sound": {
        "ich6": "intel-hda",
        "ich9": "ich9-intel-hda",
        "ac97": "AC97",
        "es1370": "ES1370",
        "sb16": "sb16",
        "usb": "usb-audio",
        "virtio": "virtio-sound-pci",
    },
    "codec": {name: f"hda-{name}" for name in ("duplex", "micro", "output")},
    "memballoon": _virtio("virtio-balloon"),
    "rng": _virtio("virtio-rng"),
    "input": {
        "usb/tablet/": "usb-tablet",
        "usb/mouse/": "usb-mouse",
        "usb/keyboard/": "usb-kbd",
        **dict.fromkeys(("virtio/tablet/", "virtio/tablet/virtio"), "virtio-tablet-pci"),
        **dict.fromkeys(("virtio/mouse/", "virtio/mouse/virtio"), "virtio-mouse-pci"),
        **dict.fromkeys(("virtio/keyboard/", "virtio/keyboard/virtio"), "virtio-keyboard-pci"),
        "virtio/passthrough/": "virtio-input-host-pci",
        **_virtio("virtio-input-host", "virtio/passthrough/"),
    },
    "vsock": _virtio("vhost-vsock"),
    "iommu": {"intel": "intel-iommu", "virtio": "virtio-iommu-pci"},
    "filesystem": {"virtiofs": "vhost-user-fs-pci", "path": "virtio-9p-pci", "": "virtio-9p-pci"},
    "redirdev": {"usb": "usb-redir"},
    "hub": {"usb": "usb-hub"},
    "panic": {"": "pvpanic", "isa": "pvpanic", "pvpanic": "pvpanic-pci"},
    "channel": {"virtio": "virtserialport"},
    "console": {"virtio": "virtconsole"},
    "serial": {"": "isa-serial", **{name: name for name in ("isa-serial", "pci-serial", "usb-serial")}},
    "parallel": {"": "isa-parallel"},
    "crypto": {"virtio": "virtio-crypto-pci"},
    "tpm": {name: name for name in ("tpm-tis", "tpm-crb")},
    "watchdog": {name: name for name in ("i6300esb", "ib700", "diag288")},
    "shmem": {name: name for name in ("ivshmem-plain", "ivshmem-doorbell")},
}
# Elements whose devices most VMs have, in the order in which people look for them.
_MOST_USED = ("interface", "disk", "controller", "hostdev", "memballoon", "rng", "video", "input")


def used_models() -> Sequence[str]:
    """Return QEMU's device models that libvirt's domains can have, those that most VMs have first."""
    elements = [*_MOST_USED, *_DEVICES]
    devices = (device for element in elements for device in _DEVICES.get(element, {}).values())
    return [f"{VENDOR}/{device}" for device in dict.fromkeys(devices)]


# Devices that are part of the board, or not separate devices: the machine type covers them.
_BUILT_IN: Mapping[str, Collection[str]] = {
    "controller": {"pci/pcie-root/", "pci/pci-root/", "fdc//", "ide//", "isa//", "usb/none/"},
    "input": {"ps2/mouse/", "ps2/keyboard/", "/evdev/"},
    "sound": {"pcspk"},
    "video": {"none"},
    "memballoon": {"none"},
    "watchdog": {"itco"},
    # This console is the preceding <serial> device.
    "console": {"serial", ""},
}
# Elements that describe only the host side.
_NO_DEVICES = frozenset({"emulator", "graphics", "audio", "lease", "redirfilter"})
# The attributes in which an element names its device; @model for the elements not listed.
_NAMES = {
    "interface": ("model@type",),
    "disk": ("target@bus", "@device", "@model"),
    "controller": ("@type", "@model", "model@name"),
    "codec": ("@type",),
    "input": ("@bus", "@type", "@model"),
    "filesystem": ("driver@type",),
    "redirdev": ("@bus",),
    "hub": ("@type",),
    "channel": ("target@type",),
    "console": ("target@type",),
    "serial": ("target@type",),
    "parallel": (),
    "shmem": ("model@type",),
}
# The buses of the QEMU devices above; the buses of other machines (ccw, virtio-mmio, spapr-vio) have other devices.
_BUSES = frozenset({"", "pci", "drive", "usb", "virtio-serial", "isa", "ccid", "unassigned"})

_Values: TypeAlias = Mapping[str, str]
# The variable that a setting maps to, or a function from the setting's value to variables; None: value unknown.
_Setting: TypeAlias = str | Callable[[str], _Values | None]
_SWITCH = {"on": "1", "yes": "1", "off": "0", "no": "0"}
_WRITE_CACHE = {"none": "on", "writeback": "on", "unsafe": "on", "writethrough": "off", "directsync": "off"}


def _choice(variable: str, values: _Values) -> _Setting:
    return lambda value: {variable: values[value]} if value in values else None


def _number(value: str) -> int | None:
    return int(value) if value.isdecimal() and len(value) <= _MAX_DIGITS else None


def _scaled(variable: str, factor: int = 1, divisor: int = 1) -> _Setting:
    def scale(value: str) -> _Values | None:
        number = _number(value)
        return None if number is None else {variable: str(number * factor // divisor)}

    return scale


def _queue_pairs(value: str) -> _Values | None:
    pairs = _number(value)
    if pairs is None:
        return None
    # libvirt starts the device with two vectors for each pair, one for control and one for configuration.
    return {"mq": "on", "vectors": str(2 * pairs + 2)} if pairs > 1 else {}


def _write_cache(value: str) -> _Values | None:
    return {} if value == "default" else {"write-cache": _WRITE_CACHE[value]} if value in _WRITE_CACHE else None


def _ignore(_value: str) -> _Values:
    """Return no variables: the setting has no effect on the device."""
    return {}


# Settings that map to variables of any device.
_SETTINGS: Mapping[str, _Setting] = {
    "boot@order": "bootindex",
    "acpi@index": "acpi-index",
    "rom@bar": _choice("rombar", _SWITCH),
    "rom@enabled": _choice("romfile", {"no": ""}),
    "address@multifunction": "multifunction",
    "driver@iommu": "iommu_platform",
    "driver@ats": "ats",
    "driver@packed": "packed",
    "driver@page_per_vq": "page-per-vq",
    "driver@event_idx": "event_idx",
    "driver@ioeventfd": "ioeventfd",
}
_SETTINGS_BY_ELEMENT: Mapping[str, Mapping[str, _Setting]] = {
    "interface": {"mac@address": "mac"},
    "hostdev": {"@display": "display", "@ramfb": "ramfb"},
    "disk": {
        # As libvirt writes it for QEMU (qemuBuildDiskDeviceProps): the guest sees the backslashes.
        "serial": lambda value: {"serial": value.replace(" ", "\\ ")},
        "wwn": lambda value: {"wwn": value if value.startswith("0x") else f"0x{value}"},
        "vendor": "vendor",
        "product": "product",
        "target@removable": "removable",
        "target@rotation_rate": "rotation_rate",
        "driver@queues": "num-queues",
        "driver@queue_size": "queue-size",
        "driver@cache": _write_cache,
        "blockio@logical_block_size": "logical_block_size",
        "blockio@physical_block_size": "physical_block_size",
        "blockio@discard_granularity": "discard_granularity",
        "geometry@cyls": "cyls",
        "geometry@heads": "heads",
        "geometry@secs": "secs",
        "shareable": lambda _: {"share-rw": "on"},
    },
    "controller": {
        "driver@queues": "num_queues",
        "driver@cmd_per_lun": "cmd_per_lun",
        "driver@max_sectors": "max_sectors",
        "@vectors": "vectors",
        "target@hotplug": "hotplug",
        "target/node": "numa_node",
    },
    "video": {"model@edid": "edid", "model@blob": "blob", "model/resolution@x": "xres", "model/resolution@y": "yres"},
    "memballoon": {"@autodeflate": "deflate-on-oom", "@freePageReporting": "free-page-reporting"},
    "rng": {"rate@bytes": "max-bytes", "rate@period": "period"},
    "iommu": {
        "driver@intremap": "intremap",
        "driver@caching_mode": "caching-mode",
        "driver@iotlb": "device-iotlb",
        "driver@eim": "eim",
        "driver@aw_bits": "aw-bits",
        "driver@dma_translation": "dma-translation",
    },
    "filesystem": {"driver@queue": "queue-size"},
    "shmem": {
        "@role": _choice("master", {"master": "on", "peer": "off"}),
        "msi@vectors": "vectors",
        "msi@ioeventfd": "ioeventfd",
    },
}
_QXL: Mapping[str, _Setting] = {
    "model@heads": "max_outputs",
    "model@ram": _scaled("ram_size", _KIB),
    "model@vram": _scaled("vram_size", _KIB),
    "model@vram64": _scaled("vram64_size_mb", divisor=_KIB_OF_MIB),
    "model@vgamem": _scaled("vgamem_mb", divisor=_KIB_OF_MIB),
}
_VIRTIO_NET: Mapping[str, _Setting] = {
    "mtu@size": "host_mtu",
    "driver@queues": _queue_pairs,
    "driver@rx_queue_size": "rx_queue_size",
    "driver@tx_queue_size": "tx_queue_size",
    "driver@txmode": _choice("tx", {"iothread": "bh", "timer": "timer"}),
    "driver@rss": "rss",
    "driver@rss_hash_report": "hash",
    "driver/host@csum": "csum",
    "driver/host@gso": "gso",
    "driver/host@mrg_rxbuf": "mrg_rxbuf",
    **{f"driver/host@{name}": f"host_{name}" for name in ("tso4", "tso6", "ecn", "ufo")},
    **{f"driver/guest@{name}": f"guest_{name}" for name in ("csum", "tso4", "tso6", "ecn", "ufo")},
    "teaming@type": _choice("failover", {"persistent": "on"}),
}
_XHCI: Mapping[str, _Setting] = {"@ports": lambda value: {"p2": value, "p3": value}}
_VIRTIO_SERIAL: Mapping[str, _Setting] = {"@ports": "max_ports"}
_VIRTIO_GPU: Mapping[str, _Setting] = {"model@heads": "max_outputs"}
_VGA: Mapping[str, _Setting] = {"model@vram": _scaled("vgamem_mb", divisor=_KIB_OF_MIB)}
# Settings that map to variables of some devices of an element only.
_SETTINGS_BY_DEVICE: Mapping[str, Mapping[str, _Setting]] = {
    "virtio-net-pci": _VIRTIO_NET,
    "virtio-net-pci-transitional": _VIRTIO_NET,
    "virtio-net-pci-non-transitional": _VIRTIO_NET,
    # The cache of a LUN is a setting of the host; the boot order of a floppy is a variable of its controller.
    "scsi-block": {"driver@cache": _ignore},
    "floppy": {"boot@order": _ignore, "driver@cache": _ignore},
    "qemu-xhci": _XHCI,
    "nec-usb-xhci": _XHCI,
    "virtio-serial-pci": _VIRTIO_SERIAL,
    "virtio-serial-pci-transitional": _VIRTIO_SERIAL,
    "virtio-serial-pci-non-transitional": _VIRTIO_SERIAL,
    "virtio-vga": _VIRTIO_GPU,
    "virtio-gpu-pci": _VIRTIO_GPU,
    "virtio-vga-gl": _VIRTIO_GPU,
    "virtio-gpu-gl-pci": _VIRTIO_GPU,
    "qxl-vga": _QXL,
    "qxl": _QXL,
    "VGA": _VGA,
    "secondary-vga": _VGA,
    "vmware-svga": _VGA,
    "bochs-display": {"model@vram": _scaled("vgamem", _KIB)},
}
# Settings to ignore: those of the host side, and the device's name and address, which can differ on each host.
_IGNORED = frozenset({"alias", "address", "source", "backend", "protocol", "log", "driver@name", "driver@iothread"})
_IGNORED_BY_ELEMENT: Mapping[str, Collection[str]] = {
    "interface": {
        *("@type", "@managed", "@trustGuestRxFilters", "mtu", "mac@type", "mac@check", "model", "target", "bandwidth"),
        *("virtualport", "vlan", "filterref", "port", "link", "tune", "ip", "route", "guest", "script", "downscript"),
        *("coalesce", "backenddomain", "teaming", "driver@rss_hash_report_source", "portForward"),
    },
    "disk": {
        *("@type", "@device", "@model", "@snapshot", "@rawio", "@sgio", "target@dev", "target@bus", "target@tray"),
        *("driver@type", "driver@io", "driver@error_policy", "driver@rerror_policy", "driver@discard"),
        *("driver@detect_zeroes", "driver@copy_on_read", "driver@discard_no_unref", "driver@max_bounce_buffer_size"),
        *("driver/metadata_cache", "driver/iothreads", "driver@statistics", "backingStore", "mirror", "iotune"),
        *("readonly", "transient", "encryption", "auth", "throttlefilters", "boot@loadparm"),
    },
    "controller": {
        *("@type", "@index", "@model", "model", "master", "driver/iothreads"),
        *("target@chassis", "target@chassisNr", "target@port", "target@busNr", "target@index"),
    },
    "hostdev": {"@mode", "@type", "@managed", "@model", "@sgio", "@rawio", "readonly", "shareable", "teaming"},
    "codec": {"@type"},
    "sound": {"@model", "codec", "audio"},
    "video": {"model@type", "model@primary", "model@heads", "model@vram", "model/acceleration"},
    "memballoon": {"@model", "stats"},
    "rng": {"@model"},
    "input": {"@type", "@bus", "@model"},
    "vsock": {"@model", "cid"},
    "iommu": {"@model"},
    "filesystem": {
        *("@type", "@accessmode", "@fmode", "@dmode", "@multidevs", "driver@type", "driver@format"),
        *("target", "driver@wrpolicy", "binary", "readonly", "space_hard_limit", "space_soft_limit", "idmap"),
    },
    "redirdev": {"@bus", "@type"},
    "hub": {"@type"},
    "panic": {"@model"},
    "channel": {"@type", "target"},
    "console": {"@type", "@tty", "target"},
    "serial": {"@type", "target"},
    "parallel": {"@type", "target"},
    "crypto": {"@model", "@type"},
    "tpm": {"@model"},
    "watchdog": {"@model", "@action"},
    "shmem": {"@name", "model", "size", "server", "msi@enabled"},
}


# Elements that only group settings: without children they have no meaning.
_GROUPS = frozenset({"driver", "driver/host", "driver/guest"})


class DomainError(ValueError):
    """A domain XML that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class DomainOptions:
    """What the user states in addition to the XML, by device id.

    models: the device model. releases: the release that provides the device. profiles: the profile that it was created
    with. values: of its variables. without: devices, or settings (id/setting), to leave out of the question.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    without: Collection[str] = ()

    def of_vm(self, vm: str) -> "DomainOptions":
        """Return the options about one of several VMs: those for any VM, and before them those for its own devices."""
        general = {name: name for name in self.names if is_general(name)}
        own = {name: own_id for name in self.names if (own_id := id_of_vm(name, vm)) is not None}
        values: dict[str, dict[str, str]] = {}
        for names in (general, own):
            for name in self.values.keys() & names.keys():
                values.setdefault(names[name], {}).update(self.values[name])

        def of_vm(options: Mapping[str, str]) -> Mapping[str, str]:
            return {names[name]: options[name] for names in (general, own) for name in options if name in names}

        without = {names[name] for names in (general, own) for name in self.without if name in names}
        return DomainOptions(of_vm(self.models), of_vm(self.releases), of_vm(self.profiles), values, without)

    @property
    def stated(self) -> set[str]:
        """The devices of which something is stated."""
        return {*self.models, *self.releases, *self.profiles, *self.values}

    @property
    def names(self) -> set[str]:
        """The devices and settings of which something is stated, and those that are left out."""
        return {*self.stated, *self.without}


# Parts of a domain whose names have a colon themselves.
_WITH_COLON = frozenset({"qemu:commandline", "qemu:override", "qemu:capabilities"})


# What names in a question say of the device that they belong to: which part of it they are.
_ROLES = {"-backend": BACKEND, "-device": HOST_DEVICE}


def is_general(name: str) -> bool:
    """Return whether an option is about a device or setting of any VM."""
    return ":" not in name or name in _WITH_COLON


def id_of_vm(name: str, vm: str) -> str | None:
    """Return the device or setting of an option about one VM, <vm>:<id>; None if it is not about this VM."""
    own = name.removeprefix(f"{vm}:")
    return own if own != name and is_general(own) else None


@dataclass(frozen=True, slots=True)
class Domain:
    """A VM as libvirt describes it.

    machine: the machine type. devices: the devices of the question. unasked: the reason why a device (id) or a setting
    (id/setting) is not part of the question. left_out: the settings that the user leaves out. default_cpu: the CPU, if
    the XML states nothing of it. names: the ids of all devices and settings. unknown: ids that the user gives, and that
    this VM does not have.
    """

    name: str
    machine: str
    devices: list[dict[str, Any]] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    default_cpu: list[dict[str, Any]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)

    @classmethod
    def read(
        cls, path: Path, options: DomainOptions, release: str | None = None, profile: str | None = None
    ) -> "Domain":
        """Read the output of `virsh dumpxml`; path: - for standard input.

        release: the QEMU release. profile: replaces the machine type. Raises DomainError.
        """
        try:
            text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        except OSError as error:
            message = f"{path} cannot be read as a libvirt domain: {error}"
            raise DomainError(message) from error
        return cls.of(parsed(text, str(path)), str(path), options, release, profile)

    @classmethod
    def of(
        cls, root: Element, source: str, options: DomainOptions, release: str | None = None, profile: str | None = None
    ) -> "Domain":
        """Return the devices of a parsed domain; source: where it comes from. Raises DomainError."""
        kind = root.find("os/type")
        if root.tag != "domain" or kind is None or not kind.get("machine"):
            message = f"{source} is not a libvirt domain: <os><type machine='…'> is missing"
            raise DomainError(message)
        domain = cls(root.findtext("name") or Path(source).stem, kind.get("machine") or "")
        options = options.of_vm(domain.name)
        _mark_first(root.findall("devices/video/model"))
        counts: dict[str, int] = {}
        ids: dict[str, int] = {}
        for element in root.findall("devices/*"):
            device_id = _id(element, counts.get(element.tag, 0))
            counts[element.tag] = counts.get(element.tag, 0) + 1
            # All parts of an EHCI controller have the same alias.
            ids[device_id] = ids.get(device_id, 0) + 1
            unique_id = device_id if ids[device_id] == 1 else f"{device_id}-{ids[device_id]}"
            domain._add(element, unique_id, options)
            domain.unasked.update(backends_of(element, unique_id))
            if options.models.get(unique_id, "").startswith(f"{VENDOR}/vfio-"):
                domain.unasked.update(passed_through(unique_id))
        domain._add_passed_through(root)
        parts = parts_of(root)
        domain.devices.extend(parts.devices)
        domain.unasked.update(parts.unasked)
        domain.unasked.update(other_architecture(root, release))
        # What is stated of a CPU that the XML does not name is a question.
        (domain.devices if CPU in options.stated else domain.default_cpu).extend(parts.default)
        domain._add_named(options)
        domain._complete(options, release, profile or profile_of(_target(root, release), domain.machine))
        domain._leave_out(options)
        return domain

    def _add_named(self, options: DomainOptions) -> None:
        """Add what is no element of <devices>, such as the firmware, under the model that the user states."""
        ids = {device["id"] for device in self.devices}
        for device in self.devices:
            if device["id"] == CPU and CPU in options.models:
                # The profile of a CPU model is one of QEMU's own.
                device.pop("profile", None)
                device["model"] = options.models[CPU]
        for name in [name for name in self.unasked if name in options.models and name not in ids]:
            self._add_device(name, options.models[name])
            del self.unasked[name]
            for suffix, role in _ROLES.items():
                if name.endswith(suffix) and (whole := name.removesuffix(suffix)) in ids:
                    self.devices[-1] |= {"part_of": whole, "role": role}

    def _add(self, element: Element, device_id: str, options: DomainOptions) -> None:
        kind, libvirt_name = element.tag, _libvirt_name(element)
        devices = _DEVICES.get(kind, {})
        if libvirt_name == "fdc//" and "q35" in self.machine:
            libvirt_name = "fdc// of q35"
        if device_id in options.models:
            self._add_with_model(element, device_id, options)
        elif kind == "hostdev" or (kind == "interface" and element.get("type") == "hostdev"):
            description = " ".join(filter(None, (element.get("type"), element.get("model"))))
            self.unasked[device_id] = f"a host device ({description}); {name_it_or_leave_it_out(device_id)}"
        elif kind in _NO_DEVICES:
            return
        elif libvirt_name in _BUILT_IN.get(kind, ()):
            self._read(element, device_id, {}, options)
        elif libvirt_name not in devices or _attribute(element, "address@type") not in _BUSES:
            description = " ".join(filter(None, (f"<{kind}>", libvirt_name.strip("/"))))
            self.unasked[device_id] = f"unknown device {description}; {name_it_or_leave_it_out(device_id)}"
        else:
            name = devices[libvirt_name]
            values = self._read(element, device_id, _settings_of(kind, name), options)
            self._add_device(device_id, f"{VENDOR}/{name}", values)
            if name.endswith("intel-hda"):
                # libvirt adds a duplex codec if the XML names none.
                codecs = element.findall("codec") or [Element("codec", type="duplex")]
                for index, codec in enumerate(codecs):
                    self._add(codec, f"{device_id}-codec{index}", options)

    def _add_with_model(self, element: Element, device_id: str, options: DomainOptions) -> None:
        """Add a device whose model the user states; the settings of another vendor's device are unknown."""
        model = options.models[device_id]
        vendor, _, name = model.partition("/")
        settings = _settings_of(element.tag, name) if vendor == VENDOR else {"boot@order": _ignore}
        self._add_device(device_id, model, self._read(element, device_id, settings, options))

    def _add_device(self, device_id: str, model: str, values: _Values | None = None) -> None:
        self.devices.append({"id": device_id, "model": model, "values": dict(values or {})})

    def _read(
        self, element: Element, device_id: str, settings: Mapping[str, _Setting], options: DomainOptions
    ) -> _Values:
        """Return the values of variables that an element sets; add its unknown settings to `unasked`."""
        ignored = _IGNORED | {*_IGNORED_BY_ELEMENT.get(element.tag, ())}
        values: dict[str, str] = {}
        for path, value in _settings(element):
            setting = settings.get(path)
            if f"{device_id}/{path}" in options.without:
                self.left_out.add(f"{device_id}/{path}")
                continue
            if setting is None and not ignored.isdisjoint(_ancestors(path)):
                continue
            variables = {setting: value} if isinstance(setting, str) else setting(value) if setting else None
            if variables is not None:
                values.update(variables)
                continue
            self.unasked[f"{device_id}/{path}"] = (
                f"unknown setting{f' (value {value})' if value else ''}; leave it out with "
                f"--without {device_id}/{path}, and if it sets a variable, add --value {device_id}/<variable>=<value>"
            )
        if "max-bytes" in values:
            values.setdefault("period", _RATE_PERIOD)
        return values

    def _add_passed_through(self, root: Element) -> None:
        """Add to `unasked` what can change devices outside <devices>: QEMU arguments and launch security."""
        for element in root:
            if element.tag == "launchSecurity":
                self.unasked[element.tag] = (
                    f"its requirements on a host cannot be checked; leave it out with --without {element.tag}"
                )
            namespace, _, tag = element.tag.rpartition("}")
            if namespace.endswith("/domain/qemu/1.0") and tag in {"commandline", "override", "capabilities"}:
                self.unasked[f"qemu:{tag}"] = (
                    f"cannot be checked; if it does not change any device, leave it out with --without qemu:{tag}"
                )

    def _complete(self, options: DomainOptions, release: str | None, profile: str) -> None:
        """Set each device's release, profile and values; the machine type is a profile only of QEMU's devices."""
        for device in [*self.devices, *self.default_cpu]:
            device_id, is_qemus = device["id"], device["model"].startswith(f"{VENDOR}/")
            defaults = {"release": release, "profile": profile} if is_qemus else {"release": None, "profile": None}
            # The CPU model is the profile of the CPU.
            defaults["profile"] = device.pop("profile", defaults["profile"])
            for field_name, given in (("release", options.releases), ("profile", options.profiles)):
                if name := given.get(device_id, defaults[field_name]):
                    device[field_name] = name
            device["values"].update(options.values.get(device_id, {}))

    def _leave_out(self, options: DomainOptions) -> None:
        ids = {device["id"] for device in [*self.devices, *self.default_cpu]}
        self.names.update(ids, self.unasked)
        back_ends = {f"{name}{suffix}" for name in options.without for suffix in _ROLES} - options.models.keys()
        without = {*options.without, *back_ends}
        self.unknown.update((options.stated - ids) | {*options.without} - ids - self.unasked.keys() - self.left_out)
        for devices in (self.devices, self.default_cpu):
            devices[:] = [device for device in devices if device["id"] not in without]
        left = {device["id"] for device in self.devices}
        for device in self.devices:
            if device.get("part_of", device["id"]) not in left:
                # What it is a part of is left out: it is asked about alone.
                del device["part_of"], device["role"]
        for name in [name for name in self.unasked if not {name, name.partition("/")[0]}.isdisjoint(without)]:
            del self.unasked[name]


def _target(root: Element, release: str | None) -> str:
    """Return what QEMU calls the architecture that runs a domain: that of the release or of the binary, if named."""
    for name in (release or "", root.findtext("devices/emulator") or ""):
        if (emulator := _EMULATOR.search(name)) is not None:
            return emulator[1]
    kind = root.find("os/type")
    architecture = (kind.get("arch") or "") if kind is not None else ""
    return _TARGETS.get(architecture, architecture)


def parsed(text: bytes, source: str) -> Element:
    """Return the root of an XML document; source: where it comes from. Raises DomainError."""
    try:
        root: Element = defusedxml.ElementTree.fromstring(text)
    except (LookupError, ValueError, ParseError, defusedxml.DefusedXmlException) as error:
        message = f"{source} cannot be read as a libvirt domain: {error}"
        raise DomainError(message) from error
    return root


def _id(element: Element, count: int) -> str:
    alias = element.find("alias")
    return (alias.get("name") if alias is not None else None) or f"{element.tag}{count}"


def _attribute(element: Element, path: str) -> str:
    """Return the attribute at `child@name` or `@name`, empty if it is missing."""
    child, _, name = path.partition("@")
    owner = element.find(child) if child else element
    return (owner.get(name) if owner is not None else None) or ""


def _libvirt_name(element: Element) -> str:
    """Return libvirt's name of the device: its model, or the attributes in _NAMES joined by slashes."""
    if element.tag == "disk" and element.get("type") == "vhostuser":
        return "a vhost-user server's"
    if element.tag == "video" and _attribute(element, "driver@name") == "vhostuser":
        return "a vhost-user server's"
    if element.tag == "video":
        is_second = _attribute(element, "model@primary") != "yes"
        is_accelerated = _attribute(element, "model/acceleration@accel3d") == "yes"
        parts = (_attribute(element, "model@type"), "gl" if is_accelerated else "", "second" if is_second else "")
        return " ".join(filter(None, parts))
    return "/".join(_attribute(element, path) for path in _NAMES.get(element.tag, ("@model",)))


def _settings_of(kind: str, device: str) -> Mapping[str, _Setting]:
    """Return the settings of an element that map to variables of a QEMU device."""
    return {**_SETTINGS, **_SETTINGS_BY_ELEMENT.get(kind, {}), **_SETTINGS_BY_DEVICE.get(device, {})}


def _mark_first(videos: Sequence[Element]) -> None:
    """Mark the first graphics card as primary if none is marked, as libvirt does."""
    if videos and not any(video.get("primary") == "yes" for video in videos):
        videos[0].set("primary", "yes")


def _settings(element: Element, parent: str = "") -> Iterator[tuple[str, str]]:
    """Iterate over (path, value) of all settings of an element; path: `@attribute`, `child@attribute` or `child`."""
    for name, value in element.attrib.items():
        yield f"{parent}@{name}", value
    for child in element:
        path = f"{parent}/{child.tag}" if parent else child.tag
        # libvirt takes the blanks of a serial number, too.
        text = child.text or "" if path == "serial" else (child.text or "").strip()
        if text or not (child.attrib or len(child) or path in _GROUPS):
            yield path, text
        yield from _settings(child, path)


def _ancestors(path: str) -> set[str]:
    """Return a path and its ancestors: for `a/b@c` also `a/b` and `a`."""
    steps = path.partition("@")[0].split("/")
    return {path, *("/".join(steps[:count]) for count in range(1, len(steps) + 1))} - {""}
