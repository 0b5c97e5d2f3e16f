"""The devices of a libvirt domain, in the words of QEMU: what `check --domain` asks about.

libvirt's names are those of its domain XML (https://libvirt.org/formatdomain.html), QEMU's those of `-device help`.
Unknown never means compatible: a device, or a setting of one, that is not understood here is told as not asked about.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, ParseError  # only their types; the reading is defusedxml's

import defusedxml
import defusedxml.ElementTree

VENDOR = "qemu.org"

# libvirt counts memory in KiB.
_KIB = 1024
_KIB_OF_MIB = 1024
_MOST_DIGITS = 19
# What libvirt says to a rate without a period, in milliseconds.
_RATE_PERIOD = "1000"


def _virtio(device: str, before: str = "") -> Mapping[str, str]:
    """Return the three forms that a virtio device has, by what libvirt calls them."""
    return {
        f"{before}virtio": f"{device}-pci",
        f"{before}virtio-transitional": f"{device}-pci-transitional",
        f"{before}virtio-non-transitional": f"{device}-pci-non-transitional",
    }


# By element, then by what it names as its device (_NAMES): QEMU's device.
_DEVICES: Mapping[str, Mapping[str, str]] = {
    "interface": {
        **_virtio("virtio-net"),
        **{each: each for each in ("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3", "usb-net")},
        **{
            f"i8255{each}": f"i8255{each}" for each in ("0", "1", "7a", "7b", "7c", "8a", "8b", "9a", "9b", "9c", "9er")
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
        **{f"{each}/": device for each, device in _virtio("virtio-scsi", "scsi/").items()},
        "scsi/virtio-scsi/": "virtio-scsi-pci",
        "scsi/lsilogic/": "lsi53c895a",
        "scsi/lsisas1068/": "mptsas1068",
        "scsi/lsisas1078/": "megasas",
        "scsi/vmpvscsi/": "pvscsi",
        **{f"{each}/": device for each, device in _virtio("virtio-serial", "virtio-serial/").items()},
        "virtio-serial//": "virtio-serial-pci",
        "sata//": "ich9-ahci",
        "ccid//": "usb-ccid",
        # An i440fx has one on board.
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
    "codec": {each: f"hda-{each}" for each in ("duplex", "micro", "output")},
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
    "serial": {"": "isa-serial", **{each: each for each in ("isa-serial", "pci-serial", "usb-serial")}},
    "parallel": {"": "isa-parallel"},
    "crypto": {"virtio": "virtio-crypto-pci"},
    "tpm": {each: each for each in ("tpm-tis", "tpm-crb")},
    "watchdog": {each: each for each in ("i6300esb", "ib700", "diag288")},
    "shmem": {each: each for each in ("ivshmem-plain", "ivshmem-doorbell")},
}
# What the board brings along, or what is no device of its own: the machine type stands for it.
_BUILT_IN: Mapping[str, Collection[str]] = {
    "controller": {"pci/pcie-root/", "pci/pci-root/", "fdc//", "ide//", "isa//", "usb/none/"},
    "input": {"ps2/mouse/", "ps2/keyboard/", "/evdev/"},
    "sound": {"pcspk"},
    "video": {"none"},
    "memballoon": {"none"},
    "watchdog": {"itco"},
    "panic": {"hyperv"},
    # The same device as the <serial> before it.
    "console": {"serial", ""},
}
# What belongs to the host alone.
_NO_DEVICES = frozenset({"emulator", "graphics", "audio", "lease", "redirfilter"})
# Where an element names its device; without one, its model.
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
# The buses that QEMU's devices above sit on: not those of other machines (ccw, virtio-mmio, spapr-vio).
_BUSES = frozenset({"", "pci", "drive", "usb", "virtio-serial", "isa", "ccid", "unassigned"})

_Values: TypeAlias = Mapping[str, str]
# A variable, or what a setting means for some; None where that is not known.
_Setting: TypeAlias = str | Callable[[str], _Values | None]
_SWITCH = {"on": "1", "yes": "1", "off": "0", "no": "0"}
_WRITE_CACHE = {"none": "on", "writeback": "on", "unsafe": "on", "writethrough": "off", "directsync": "off"}


def _of(variable: str, meanings: _Values) -> _Setting:
    return lambda value: {variable: meanings[value]} if value in meanings else None


def _number(value: str) -> int | None:
    return int(value) if value.isdecimal() and len(value) <= _MOST_DIGITS else None


def _scaled(variable: str, times: int = 1, by: int = 1) -> _Setting:
    def meant(value: str) -> _Values | None:
        number = _number(value)
        return None if number is None else {variable: str(number * times // by)}

    return meant


def _queue_pairs(value: str) -> _Values | None:
    pairs = _number(value)
    if pairs is None:
        return None
    # As libvirt starts it: a vector for each direction of a pair, one for control, one for configuration.
    return {"mq": "on", "vectors": str(2 * pairs + 2)} if pairs > 1 else {}


def _write_cache(value: str) -> _Values | None:
    return {} if value == "default" else {"write-cache": _WRITE_CACHE[value]} if value in _WRITE_CACHE else None


def _nothing(_value: str) -> _Values:
    """Say that the device is not told of a setting."""
    return {}


# Settings that are variables of the device.
_SETTINGS: Mapping[str, _Setting] = {
    "boot@order": "bootindex",
    "acpi@index": "acpi-index",
    "rom@bar": _of("rombar", _SWITCH),
    "rom@enabled": _of("romfile", {"no": ""}),
    "address@multifunction": "multifunction",
    "driver@iommu": "iommu_platform",
    "driver@ats": "ats",
    "driver@packed": "packed",
    "driver@page_per_vq": "page-per-vq",
    "driver@event_idx": "event_idx",
    "driver@ioeventfd": "ioeventfd",
}
_SETTINGS_OF: Mapping[str, Mapping[str, _Setting]] = {
    "interface": {"mac@address": "mac"},
    "hostdev": {"@display": "display", "@ramfb": "ramfb"},
    "disk": {
        "serial": "serial",
        "wwn": lambda value: {"wwn": f"0x{value}"},
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
        "@role": _of("master", {"master": "on", "peer": "off"}),
        "msi@vectors": "vectors",
        "msi@ioeventfd": "ioeventfd",
    },
}
_QXL: Mapping[str, _Setting] = {
    "model@heads": "max_outputs",
    "model@ram": _scaled("ram_size", _KIB),
    "model@vram": _scaled("vram_size", _KIB),
    "model@vram64": _scaled("vram64_size_mb", by=_KIB_OF_MIB),
    "model@vgamem": _scaled("vgamem_mb", by=_KIB_OF_MIB),
}
_VIRTIO_NET: Mapping[str, _Setting] = {
    "mtu@size": "host_mtu",
    "driver@queues": _queue_pairs,
    "driver@rx_queue_size": "rx_queue_size",
    "driver@tx_queue_size": "tx_queue_size",
    "driver@txmode": _of("tx", {"iothread": "bh", "timer": "timer"}),
    "driver@rss": "rss",
    "driver@rss_hash_report": "hash",
    "driver/host@csum": "csum",
    "driver/host@gso": "gso",
    "driver/host@mrg_rxbuf": "mrg_rxbuf",
    **{f"driver/host@{each}": f"host_{each}" for each in ("tso4", "tso6", "ecn", "ufo")},
    **{f"driver/guest@{each}": f"guest_{each}" for each in ("csum", "tso4", "tso6", "ecn", "ufo")},
    "teaming@type": _of("failover", {"persistent": "on"}),
}
_XHCI: Mapping[str, _Setting] = {"@ports": lambda value: {"p2": value, "p3": value}}
_VIRTIO_SERIAL: Mapping[str, _Setting] = {"@ports": "max_ports"}
_VIRTIO_GPU: Mapping[str, _Setting] = {"model@heads": "max_outputs"}
_VGA: Mapping[str, _Setting] = {"model@vram": _scaled("vgamem_mb", by=_KIB_OF_MIB)}
# What one attribute of an element means to some of its devices, and to others not.
_SETTINGS_OF_DEVICE: Mapping[str, Mapping[str, _Setting]] = {
    "virtio-net-pci": _VIRTIO_NET,
    "virtio-net-pci-transitional": _VIRTIO_NET,
    "virtio-net-pci-non-transitional": _VIRTIO_NET,
    # Of a LUN the cache is the host's affair, of a floppy the controller is booted from.
    "scsi-block": {"driver@cache": _nothing},
    "floppy": {"boot@order": _nothing, "driver@cache": _nothing},
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
# What belongs to the host, says which device it is, or where it sits: that is its own on every host.
_HOSTS_OWN = frozenset({"alias", "address", "source", "backend", "protocol", "log", "driver@name", "driver@iothread"})
_HOSTS_OWN_OF: Mapping[str, Collection[str]] = {
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


# What holds settings, and says nothing where it holds none.
_GROUPS = frozenset({"driver", "driver/host", "driver/guest"})


class DomainError(ValueError):
    """A domain XML that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody says beside the XML, by the id of a device.

    models: which device model it is. releases: which release provides it. profiles: what it was made with. values:
    of its variables. without: devices, or settings (id/setting), that are not to be asked about.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    without: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """A VM as libvirt describes it.

    machine: its machine type. devices: as a question asks of them. unasked: by device, or by a setting of one, why no
    question can be made of it. left_out: settings that somebody does not want to be asked about.
    """

    name: str
    machine: str
    devices: list[dict[str, Any]] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path, told: Told, release: str | None = None, profile: str | None = None) -> "Domain":
        """Read a file of `virsh dumpxml`; release: the QEMU that it runs on; profile: in place of its machine type.

        Raises DomainError.
        """
        try:
            root = defusedxml.ElementTree.fromstring(path.read_bytes())
        except (OSError, LookupError, ValueError, ParseError, defusedxml.DefusedXmlException) as error:
            message = f"{path} cannot be read as a libvirt domain: {error}"
            raise DomainError(message) from error
        kind = root.find("os/type")
        if root.tag != "domain" or kind is None or not kind.get("machine"):
            message = f"{path} is no libvirt domain: it has no <os><type machine='…'>"
            raise DomainError(message)
        domain = cls(root.findtext("name") or path.stem, kind.get("machine") or "")
        _mark_first(root.findall("devices/video/model"))
        counts: dict[str, int] = {}
        called: dict[str, int] = {}
        for element in root.findall("devices/*"):
            named = _id(element, counts.get(element.tag, 0))
            counts[element.tag] = counts.get(element.tag, 0) + 1
            # The parts of an EHCI controller all have the alias of the whole.
            called[named] = called.get(named, 0) + 1
            domain._add(element, named if called[named] == 1 else f"{named}-{called[named]}", told)
        domain._add_passed_through(root)
        domain._complete(told, release, profile or f"{VENDOR}/{domain.machine}")
        domain._leave_out(path, told)
        return domain

    def _add(self, element: Element, own_id: str, told: Told) -> None:
        kind, named = element.tag, _named(element)
        known = _DEVICES.get(kind, {})
        if named == "fdc//" and "q35" in self.machine:
            named = "fdc// of q35"
        if own_id in told.models:
            self._add_told(element, own_id, told)
        elif kind == "hostdev" or (kind == "interface" and element.get("type") == "hostdev"):
            what = " ".join(filter(None, (element.get("type"), element.get("model"))))
            self.unasked[own_id] = f"a host's own device ({what}): --device {own_id}=<its device model>"
        elif kind in _NO_DEVICES:
            return
        elif named in _BUILT_IN.get(kind, ()):
            self._read(element, own_id, {}, told)
        elif named not in known or _attribute(element, "address@type") not in _BUSES:
            what = " ".join(filter(None, (f"<{kind}>", named.strip("/"))))
            self.unasked[own_id] = f"{what} is not known here: --device {own_id}=<its device model>"
        else:
            name = known[named]
            self._add_device(own_id, f"{VENDOR}/{name}", self._read(element, own_id, _settings_of(kind, name), told))
            if name.endswith("intel-hda"):
                # libvirt adds one where none is named.
                codecs = element.findall("codec") or [Element("codec", type="duplex")]
                for place, codec in enumerate(codecs):
                    self._add(codec, f"{own_id}-codec{place}", told)

    def _add_told(self, element: Element, own_id: str, told: Told) -> None:
        """Add a device of which somebody says what it is; what the XML says of another vendor's is not understood."""
        model = told.models[own_id]
        vendor, _, name = model.partition("/")
        settings = _settings_of(element.tag, name) if vendor == VENDOR else {"boot@order": _nothing}
        self._add_device(own_id, model, self._read(element, own_id, settings, told))

    def _add_device(self, own_id: str, model: str, values: _Values | None = None) -> None:
        self.devices.append({"id": own_id, "model": model, "values": dict(values or {})})

    def _read(self, element: Element, own_id: str, settings: Mapping[str, _Setting], told: Told) -> _Values:
        """Return what an element says of the device's variables; what is not known here is noted."""
        own = _HOSTS_OWN | {*_HOSTS_OWN_OF.get(element.tag, ())}
        values: dict[str, str] = {}
        for where, value in _settings(element):
            setting = settings.get(where)
            if f"{own_id}/{where}" in told.without:
                self.left_out.add(f"{own_id}/{where}")
                continue
            if setting is None and not own.isdisjoint(_around(where)):
                continue
            meant = {setting: value} if isinstance(setting, str) else setting(value) if setting else None
            if meant is not None:
                values.update(meant)
                continue
            self.unasked[f"{own_id}/{where}"] = (
                f"a setting that is not known here{f', {value}' if value else ''}: leave it out, --without "
                f"{own_id}/{where}, and tell what it means, --value {own_id}/<variable>=<value>, if it means anything"
            )
        if "max-bytes" in values:
            values.setdefault("period", _RATE_PERIOD)
        return values

    def _add_passed_through(self, root: Element) -> None:
        """Note what is handed to QEMU past libvirt: devices and properties of which the XML itself does not tell."""
        for element in root:
            if element.tag == "launchSecurity":
                self.unasked[element.tag] = f"what it needs of a host is not known here: --without {element.tag}"
            namespace, _, tag = element.tag.rpartition("}")
            if namespace.endswith("/domain/qemu/1.0") and tag in {"commandline", "override"}:
                self.unasked[f"qemu:{tag}"] = f"what it adds is not known here: --without qemu:{tag} if that is nothing"

    def _complete(self, told: Told, release: str | None, profile: str) -> None:
        """Say of each device where it comes from: the machine type is a profile of QEMU's own devices alone."""
        for device in self.devices:
            own_id, is_qemus = device["id"], device["model"].startswith(f"{VENDOR}/")
            said = {"release": release, "profile": profile} if is_qemus else {"release": None, "profile": None}
            for name, more in (("release", told.releases), ("profile", told.profiles)):
                if found := more.get(own_id, said[name]):
                    device[name] = found
            device["values"].update(told.values.get(own_id, {}))

    def _leave_out(self, path: Path, told: Told) -> None:
        ids = {each["id"] for each in self.devices}
        named = {*told.models, *told.releases, *told.profiles, *told.values}
        unknown = sorted((named - ids) | {*told.without} - ids - self.unasked.keys() - self.left_out)
        if unknown:
            message = (
                f"{path} has no device {', '.join(unknown)}: it has {', '.join(sorted(ids | self.unasked.keys()))}"
            )
            raise DomainError(message)
        self.devices[:] = [each for each in self.devices if each["id"] not in told.without]
        for name in [each for each in self.unasked if not {each, each.partition("/")[0]}.isdisjoint(told.without)]:
            del self.unasked[name]


def _id(element: Element, count: int) -> str:
    alias = element.find("alias")
    return (alias.get("name") if alias is not None else None) or f"{element.tag}{count}"


def _attribute(element: Element, where: str) -> str:
    """Return an attribute, written path@name, empty where there is none."""
    path, _, name = where.partition("@")
    found = element.find(path) if path else element
    return (found.get(name) if found is not None else None) or ""


def _named(element: Element) -> str:
    """Return what the element calls its device: the model, or where there is none, the bus and the kind."""
    if element.tag == "disk" and element.get("type") == "vhostuser":
        return "a vhost-user server's"
    if element.tag == "video" and _attribute(element, "driver@name") == "vhostuser":
        return "a vhost-user server's"
    if element.tag == "video":
        is_second = _attribute(element, "model@primary") != "yes"
        is_accelerated = _attribute(element, "model/acceleration@accel3d") == "yes"
        said = (_attribute(element, "model@type"), "gl" if is_accelerated else "", "second" if is_second else "")
        return " ".join(filter(None, said))
    return "/".join(_attribute(element, where) for where in _NAMES.get(element.tag, ("@model",)))


def _settings_of(kind: str, device: str) -> Mapping[str, _Setting]:
    """Return what the settings of an element mean to one of QEMU's devices."""
    return {**_SETTINGS, **_SETTINGS_OF.get(kind, {}), **_SETTINGS_OF_DEVICE.get(device, {})}


def _mark_first(videos: Sequence[Element]) -> None:
    """Say of the first graphics card that it is the primary one, where none is said to be: so libvirt takes it."""
    if videos and not any(each.get("primary") == "yes" for each in videos):
        videos[0].set("primary", "yes")


def _settings(element: Element, path: str = "") -> Iterator[tuple[str, str]]:
    """Iterate over all that an element says, each with where: `@attribute`, `child@attribute` or `child`."""
    for name, value in element.attrib.items():
        yield f"{path}@{name}", value
    for child in element:
        where = f"{path}/{child.tag}" if path else child.tag
        text = (child.text or "").strip()
        if text or not (child.attrib or len(child) or where in _GROUPS):
            yield where, text
        yield from _settings(child, where)


def _around(where: str) -> set[str]:
    """Return a place and what is around it: of `a/b@c` also `a/b` and `a`."""
    steps = where.partition("@")[0].split("/")
    return {where, *("/".join(steps[:count]) for count in range(1, len(steps) + 1))} - {""}
