"""The devices of a libvirt domain, in the words of QEMU: what `check --domain` asks about.

libvirt's names are those of its domain XML (https://libvirt.org/formatdomain.html), QEMU's those of `-device help`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError  # only their types; the reading is defusedxml's

import defusedxml
import defusedxml.ElementTree

VENDOR = "qemu.org"

# Where libvirt calls a device otherwise than QEMU does; by element, then by the model (or bus) that it names.
_DEVICES: Mapping[str, Mapping[str, str]] = {
    "interface": {
        "virtio": "virtio-net-pci",
        "virtio-transitional": "virtio-net-pci-transitional",
        "virtio-non-transitional": "virtio-net-pci-non-transitional",
    },
    "disk": {
        "virtio/disk/": "virtio-blk-pci",
        "virtio/disk/virtio": "virtio-blk-pci",
        "virtio/disk/virtio-transitional": "virtio-blk-pci-transitional",
        "virtio/disk/virtio-non-transitional": "virtio-blk-pci-non-transitional",
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
        "usb/piix3-uhci": "piix3-usb-uhci",
        "usb/piix4-uhci": "piix4-usb-uhci",
        "usb/ehci": "usb-ehci",
        "usb/ich9-ehci1": "ich9-usb-ehci1",
        "usb/ich9-uhci1": "ich9-usb-uhci1",
        "usb/ich9-uhci2": "ich9-usb-uhci2",
        "usb/ich9-uhci3": "ich9-usb-uhci3",
        "usb/nec-xhci": "nec-usb-xhci",
        "usb/qemu-xhci": "qemu-xhci",
        "scsi/virtio-scsi": "virtio-scsi-pci",
        "scsi/virtio-transitional": "virtio-scsi-pci-transitional",
        "scsi/virtio-non-transitional": "virtio-scsi-pci-non-transitional",
        "scsi/lsilogic": "lsi",
        "scsi/lsisas1068": "lsisas1068",
        "scsi/vmpvscsi": "pvscsi",
        "virtio-serial/": "virtio-serial-pci",
        "virtio-serial/virtio": "virtio-serial-pci",
        "sata/": "ich9-ahci",
        "ccid/": "usb-ccid",
        "pci/pcie-root-port": "pcie-root-port",
        "pci/pcie-to-pci-bridge": "pcie-pci-bridge",
        "pci/pcie-expander-bus": "pxb-pcie",
        "pci/pcie-switch-upstream-port": "x3130-upstream",
        "pci/pcie-switch-downstream-port": "xio3130-downstream",
        "pci/dmi-to-pci-bridge": "i82801b11-bridge",
        "pci/pci-bridge": "pci-bridge",
        "pci/pci-expander-bus": "pxb",
    },
    "video": {
        "virtio": "virtio-vga",
        "qxl": "qxl-vga",
        "vga": "VGA",
        "cirrus": "cirrus-vga",
        "bochs": "bochs-display",
        "vmvga": "vmware-svga",
    },
    "sound": {"ich6": "intel-hda", "ich9": "ich9-intel-hda", "ac97": "AC97", "es1370": "ES1370", "usb": "usb-audio"},
    "memballoon": {
        "virtio": "virtio-balloon-pci",
        "virtio-transitional": "virtio-balloon-pci-transitional",
        "virtio-non-transitional": "virtio-balloon-pci-non-transitional",
    },
    "rng": {
        "virtio": "virtio-rng-pci",
        "virtio-transitional": "virtio-rng-pci-transitional",
        "virtio-non-transitional": "virtio-rng-pci-non-transitional",
    },
    "input": {
        "usb/tablet": "usb-tablet",
        "usb/mouse": "usb-mouse",
        "usb/keyboard": "usb-kbd",
        "virtio/tablet": "virtio-tablet-pci",
        "virtio/mouse": "virtio-mouse-pci",
        "virtio/keyboard": "virtio-keyboard-pci",
        "virtio/passthrough": "virtio-input-host-pci",
    },
    "vsock": {"virtio": "vhost-vsock-pci"},
    "iommu": {"intel": "intel-iommu", "virtio": "virtio-iommu-pci"},
    "filesystem": {"virtiofs": "vhost-user-fs-pci", "path": "virtio-9p-pci", "": "virtio-9p-pci"},
    "redirdev": {"usb": "usb-redir"},
    "hub": {"usb": "usb-hub"},
    "panic": {"isa": "pvpanic", "pvpanic": "pvpanic-pci"},
    "channel": {"virtio": "virtserialport", "spicevmc": "virtserialport"},
    "console": {"virtio": "virtconsole"},
    "serial": {"isa-serial": "isa-serial", "pci-serial": "pci-serial", "usb-serial": "usb-serial"},
    "tpm": {},
    "watchdog": {},
    "shmem": {},
}
# What the board brings along, or what is none of QEMU's devices.
_BUILT_IN = {
    "controller": {"pci/pcie-root", "pci/pci-root", "fdc/", "ide/", "isa/", "usb/none"},
    "input": {"ps2/mouse", "ps2/keyboard"},
    "video": {"none"},
    "memballoon": {"none"},
    "watchdog": {"itco"},
    "sound": set[str](),
}
_NO_DEVICES = {"emulator", "graphics", "audio", "parallel", "console", "lease", "crypto"}
# Where an element names its device.
_NAMES = {
    "interface": ("model@type",),
    "disk": ("target@bus", "@device", "@model"),
    "controller": ("@type", "@model"),
    "input": ("@bus", "@type"),
    "video": ("model@type",),
    "filesystem": ("driver@type",),
    "redirdev": ("@bus",),
    "hub": ("@type",),
    "channel": ("target@type",),
    "console": ("target@type",),
    "serial": ("target@type",),
    "shmem": ("model@type",),
}
# Attributes that are properties of the device.
_VALUES = {
    "boot@order": "bootindex",
    "driver@iommu": "iommu_platform",
    "driver@ats": "ats",
    "driver@packed": "packed",
    "driver@page_per_vq": "page_per_vq",
}
_VALUES_OF = {
    "interface": {
        "mac@address": "mac",
        "mtu@size": "host_mtu",
        "driver@rx_queue_size": "rx_queue_size",
        "driver@tx_queue_size": "tx_queue_size",
        "driver@event_idx": "event_idx",
    },
    "disk": {
        "driver@queues": "num-queues",
        "driver@event_idx": "event_idx",
        "blockio@logical_block_size": "logical_block_size",
        "blockio@physical_block_size": "physical_block_size",
    },
    "controller": {"driver@queues": "num_queues"},
}


class DomainError(ValueError):
    """A domain XML that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A VM as libvirt describes it.

    machine: its machine type. devices: as a question asks of them. unasked: what no question can be made of.
    """

    name: str
    machine: str
    devices: list[dict[str, Any]] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, models: Mapping[str, str]) -> "Domain":
        """Read a file of `virsh dumpxml`; models: by the id of a device, its model, where the XML does not tell.

        Raises DomainError.
        """
        try:
            root = defusedxml.ElementTree.fromstring(path.read_bytes())
        except (OSError, ParseError, defusedxml.DefusedXmlException) as error:
            message = f"{path} cannot be read as a libvirt domain: {error}"
            raise DomainError(message) from error
        kind = root.find("os/type")
        if root.tag != "domain" or kind is None or not kind.get("machine"):
            message = f"{path} is no libvirt domain: it has no <os><type machine='…'>"
            raise DomainError(message)
        domain = cls(root.findtext("name") or path.stem, kind.get("machine") or "")
        for place, element in enumerate(root.findall("devices/*")):
            domain._add(element, _id(element, place), models)
        unknown = models.keys() - {each["id"] for each in domain.devices}
        if unknown:
            message = f"{path} has no device {', '.join(sorted(unknown))}"
            raise DomainError(message)
        return domain

    def _add(self, element: Element, own_id: str, models: Mapping[str, str]) -> None:
        kind, named = element.tag, _named(element)
        if own_id in models:
            self.devices.append({"id": own_id, "model": models[own_id], "values": {}})
        elif kind == "hostdev":
            what = f"{element.get('type', '')} {element.get('model', '')}".strip()
            self.unasked.append(f"{own_id}: a host's own device ({what}): --device {own_id}=<its device model>")
        elif kind in _DEVICES and named not in _BUILT_IN.get(kind, set()):
            known = _DEVICES[kind]
            name = known.get(named, named.rpartition("/")[2])
            if not name:
                self.unasked.append(f"{own_id}: <{kind}> without a model: --device {own_id}=<its device model>")
                return
            values = dict(_values(element))
            self.devices.append({"id": own_id, "model": f"{VENDOR}/{name}", "values": values})
        elif kind not in _DEVICES and kind not in _NO_DEVICES:
            self.unasked.append(f"{own_id}: <{kind}> is not known here: --device {own_id}=<its device model>")


def _id(element: Element, place: int) -> str:
    alias = element.find("alias")
    return (alias.get("name") if alias is not None else None) or f"{element.tag}{place}"


def _attribute(element: Element, where: str) -> str:
    """Return an attribute, written path@name, empty where there is none."""
    path, _, name = where.partition("@")
    found = element.find(path) if path else element
    return (found.get(name) if found is not None else None) or ""


def _named(element: Element) -> str:
    """Return what the element calls its device: the model, or where there is none, the bus and the kind."""
    return "/".join(_attribute(element, where) for where in _NAMES.get(element.tag, ("@model",)))


def _values(element: Element) -> Iterator[tuple[str, str]]:
    """Iterate over what the element tells of the device's variables."""
    if serial := element.findtext("serial"):
        yield "serial", serial
    for where, variable in {**_VALUES, **_VALUES_OF.get(element.tag, {})}.items():
        if value := _attribute(element, where):
            yield variable, value
    queues = _attribute(element, "driver@queues")
    if element.tag == "interface" and queues.isdecimal() and int(queues) > 1:
        # As libvirt starts it: a vector for each direction of a pair, one for control, one for configuration.
        yield "mq", "on"
        yield "vectors", str(2 * int(queues) + 2)
