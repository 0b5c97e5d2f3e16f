"""check --domain checks all devices of a libvirt domain."""

import json
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.publication import publish
from app.hypervisor.domain import Domain, DomainError, DomainOptions
from tests.cli.conftest import DATA, RELEASE, Run

DOMAIN = DATA / "domain.xml"
MDEV = "vendor-a.com/gfx"


def test_libvirts_devices_become_qemus_device_models() -> None:
    domain = Domain.read(DOMAIN, DomainOptions(models={"hostdev0": MDEV}), RELEASE["7.2"])
    assert (domain.name, domain.machine, domain.unasked) == ("web-1", "pc-q35-7.2", {})
    assert {device["id"]: device["model"] for device in domain.devices} == {
        "virtio-disk0": "qemu.org/virtio-blk-pci",
        "sata0-0-0": "qemu.org/ide-cd",
        "usb": "qemu.org/qemu-xhci",
        "pci.1": "qemu.org/pcie-root-port",
        "scsi0": "qemu.org/virtio-scsi-pci",
        "virtio-serial0": "qemu.org/virtio-serial-pci",
        "net0": "qemu.org/virtio-net-pci",
        "input0": "qemu.org/usb-tablet",
        "video0": "qemu.org/virtio-vga",
        "hostdev0": MDEV,
        "balloon0": "qemu.org/virtio-balloon-pci",
        "rng0": "qemu.org/virtio-rng-pci",
    }
    values = {device["id"]: device["values"] for device in domain.devices}
    assert values["net0"] == {"mac": "52:54:00:12:34:56", "mq": "on", "vectors": "10"}
    assert values["virtio-disk0"] == {"serial": "WEB1-ROOT", "num-queues": "4"}
    assert values["usb"] == {"p2": "15", "p3": "15"}
    # The machine type and the QEMU release apply only to QEMU's devices.
    sources = {device["id"]: (device.get("release"), device.get("profile")) for device in domain.devices}
    assert sources.pop("hostdev0") == (None, None)
    assert set(sources.values()) == {(RELEASE["7.2"], "qemu.org/pc-q35-7.2")}


def _read(tmp_path: Path, devices: str, options: DomainOptions | None = None, after: str = "") -> Domain:
    path = tmp_path / "vm.xml"
    path.write_text(
        "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><os><type machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices>{devices}</devices>{after}</domain>"
    )
    return Domain.read(path, options or DomainOptions())


@pytest.mark.parametrize(
    ("xml", "model", "values"),
    [
        ("<interface><model type='virtio'/><rom bar='off'/></interface>", "virtio-net-pci", {"rombar": "0"}),
        (
            (
                "<interface><model type='virtio'/><driver page_per_vq='on'><host tso4='off'/><guest csum='off'/>"
                "</driver></interface>"
            ),
            "virtio-net-pci",
            {"page-per-vq": "on", "host_tso4": "off", "guest_csum": "off"},
        ),
        ("<interface><model type='e1000e'/></interface>", "e1000e", {}),
        (
            "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>",
            "virtio-balloon-pci",
            {"deflate-on-oom": "on", "free-page-reporting": "on"},
        ),
        (
            (
                "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='writethrough' io='native'/>"
                "<source file='/a' index='1'/><backingStore/><target dev='sda' bus='scsi'/><wwn>5000c50015ea71aa</wwn>"
                "<address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>"
            ),
            "scsi-hd",
            {"write-cache": "off", "wwn": "0x5000c50015ea71aa"},
        ),
        (
            (
                "<controller type='pci' index='3' model='pcie-root-port'><model name='ioh3420'/>"
                "<target chassis='3' port='0x10' hotplug='off'/></controller>"
            ),
            "ioh3420",
            {"hotplug": "off"},
        ),
        (
            "<controller type='virtio-serial' index='0' ports='8' vectors='4'/>",
            "virtio-serial-pci",
            {"max_ports": "8", "vectors": "4"},
        ),
        ("<video><model type='virtio' heads='2' primary='yes'/></video>", "virtio-vga", {"max_outputs": "2"}),
        (
            "<video><model type='qxl' ram='65536' vram='32768' vgamem='16384' heads='1' primary='yes'/></video>",
            "qxl-vga",
            {"ram_size": "67108864", "vram_size": "33554432", "vgamem_mb": "16", "max_outputs": "1"},
        ),
        ("<video><model type='vga' vram='16384' heads='1'/></video>", "VGA", {"vgamem_mb": "16"}),
        ("<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>", "virtio-crypto-pci", {}),
        ("<parallel type='pty'><target port='0'/></parallel>", "isa-parallel", {}),
        ("<serial type='pty'><target port='0'/></serial>", "isa-serial", {}),
        (
            "<disk device='disk'><target dev='sda' bus='sata'/><serial>  WD 1</serial></disk>",
            "ide-hd",
            {"serial": r"\ \ WD\ 1"},
        ),
        (
            "<rng model='virtio'><rate period='500' bytes='1'/></rng>",
            "virtio-rng-pci",
            {"max-bytes": "1", "period": "500"},
        ),
        ("<rng model='virtio'><rate bytes='1'/></rng>", "virtio-rng-pci", {"max-bytes": "1", "period": "1000"}),
        ("<disk device='lun'><driver cache='none'/><target bus='scsi'/></disk>", "scsi-block", {}),
        ("<disk device='floppy'><boot order='1'/><target bus='fdc'/></disk>", "floppy", {}),
        ("<interface><model type='e1000e'/><mtu size='1500'/></interface>", "e1000e", {}),
        ("<interface><model type='virtio'/><mtu size='1500'/></interface>", "virtio-net-pci", {"host_mtu": "1500"}),
        ("<controller type='fdc' index='0'/>", "isa-fdc", {}),
        ("<shmem name='s' role='master'><model type='ivshmem-plain'/></shmem>", "ivshmem-plain", {"master": "on"}),
        (
            "<input type='passthrough' bus='virtio' model='virtio-transitional'/>",
            "virtio-input-host-pci-transitional",
            {},
        ),
        (
            "<rng model='virtio'><rate bytes='1024' period='1000'/></rng>",
            "virtio-rng-pci",
            {"max-bytes": "1024", "period": "1000"},
        ),
        (
            "<input type='tablet' bus='usb'><address type='pci' bus='0x1' slot='0x0' multifunction='on'/></input>",
            "usb-tablet",
            {"multifunction": "on"},
        ),
    ],
)
def test_settings_become_values_of_variables(tmp_path: Path, xml: str, model: str, values: dict[str, str]) -> None:
    domain = _read(tmp_path, xml)
    assert domain.unasked == {}
    assert [(device["model"], device["values"]) for device in domain.devices] == [(f"qemu.org/{model}", values)]


@pytest.mark.parametrize(
    ("xml", "name"),
    [
        ("<interface><model type='virtio'/><driver new='on'/></interface>", "interface0/driver@new"),
        ("<interface><model type='virtio'/><new>1</new></interface>", "interface0/new"),
        ("<interface><model type='virtio'/><rom bar='maybe'/></interface>", "interface0/rom@bar"),
        ("<interface type='hostdev'><model type='virtio'/></interface>", "interface0"),
        ("<interface><model type='brand-new'/></interface>", "interface0"),
        ("<interface><model type='virtio'/><address type='ccw'/></interface>", "interface0"),
        ("<disk type='vhostuser' device='disk'><target dev='vda' bus='virtio'/></disk>", "disk0"),
        ("<video><model type='virtio'/><driver name='vhostuser'/></video>", "video0"),
        ("<controller type='pci' model='pcie-root'><pcihole64>1</pcihole64></controller>", "controller0/pcihole64"),
        ("<memory model='dimm'/>", "memory0"),
        ("<input type='tablet' bus='virtio' model='virtio-transitional'/>", "input0"),
        (f"<interface><model type='virtio'/><driver queues='{'9' * 5000}'/></interface>", "interface0/driver@queues"),
        ("<hostdev type='mdev' model='vfio-pci'/>", "hostdev0"),
        ("<console type='pty'><target type='sclp'/></console>", "console0"),
    ],
)
def test_an_unknown_part_is_unasked_and_can_be_left_out(tmp_path: Path, xml: str, name: str) -> None:
    assert list(_read(tmp_path, xml).unasked) == [name]
    assert _read(tmp_path, xml, DomainOptions(without=[name])).unasked == {}


def test_arguments_passed_directly_to_qemu_are_unasked(tmp_path: Path) -> None:
    domain = _read(tmp_path, "", after="<qemu:commandline><qemu:arg value='-device'/></qemu:commandline>")
    assert list(domain.unasked) == ["qemu:commandline"]


def test_elements_that_are_not_separate_devices_are_ignored(tmp_path: Path) -> None:
    domain = _read(
        tmp_path,
        "<emulator>/qemu</emulator><graphics type='vnc'/><video><model type='none'/></video>"
        "<input type='mouse' bus='ps2'/>"
        "<input type='evdev'><source dev='/dev/input/event1'/></input>",
    )
    assert (domain.devices, domain.unasked) == ([], {})


def test_a_console_that_is_a_serial_port_is_checked_once(tmp_path: Path) -> None:
    domain = _read(
        tmp_path,
        "<serial type='pty'><target type='isa-serial' port='0'/><alias name='serial0'/></serial>"
        "<console type='pty' tty='/dev/pts/1'><target type='serial' port='0'/><alias name='serial0'/></console>",
    )
    assert [device["id"] for device in domain.devices] == ["serial0"]


def test_all_parts_of_a_usb_controller_are_checked(tmp_path: Path) -> None:
    part = "<controller type='usb' index='0' model='ich9-{}'><alias name='usb'/></controller>"
    domain = _read(tmp_path, part.format("ehci1") + part.format("uhci1"))
    assert [(device["id"], device["model"]) for device in domain.devices] == [
        ("usb", "qemu.org/ich9-usb-ehci1"),
        ("usb-2", "qemu.org/ich9-usb-uhci1"),
    ]


@pytest.mark.parametrize("first", ["", " primary='yes'"])
def test_exactly_one_graphics_card_is_primary(tmp_path: Path, first: str) -> None:
    domain = _read(tmp_path, f"<video><model type='virtio'{first}/></video><video><model type='virtio'/></video>")
    assert [device["model"] for device in domain.devices] == ["qemu.org/virtio-vga", "qemu.org/virtio-gpu-pci"]


def test_settings_of_a_device_with_a_stated_model_are_read(tmp_path: Path) -> None:
    xml = (
        "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci' display='on'>"
        "<source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source><boot order='1'/><rom bar='off'/>"
        "</hostdev>"
    )
    qemu = _read(tmp_path, xml, DomainOptions(models={"hostdev0": "qemu.org/vfio-pci"}))
    assert qemu.devices[0]["values"] == {"display": "on", "bootindex": "1", "rombar": "0"}
    assert list(qemu.unasked) == ["hostdev0-device"]
    other = _read(tmp_path, xml, DomainOptions(models={"hostdev0": MDEV}))
    assert (other.devices[0]["values"], list(other.unasked)) == ({}, ["hostdev0/@display", "hostdev0/rom@bar"])


def test_a_known_setting_can_be_left_out(tmp_path: Path) -> None:
    xml = "<interface><model type='virtio'/><rom bar='off'/></interface>"
    assert _read(tmp_path, xml, DomainOptions(without=["interface0/rom@bar"])).devices[0]["values"] == {}
    assert _read(tmp_path, xml, DomainOptions(without=["interface0/no"])).unknown == {"interface0/no"}


def test_launch_security_is_unasked(tmp_path: Path) -> None:
    assert list(_read(tmp_path, "", after="<launchSecurity type='sev'/>").unasked) == ["launchSecurity"]


def test_a_sound_device_has_codecs(tmp_path: Path) -> None:
    domain = _read(tmp_path, "<sound model='ich9'/><sound model='ich6'><codec type='micro'/></sound>")
    assert {device["id"]: device["model"].removeprefix("qemu.org/") for device in domain.devices} == {
        "sound0": "ich9-intel-hda",
        "sound0-codec0": "hda-duplex",
        "sound1": "intel-hda",
        "sound1-codec0": "hda-micro",
    }


def test_options_complete_the_devices_of_a_domain(tmp_path: Path) -> None:
    options = DomainOptions(
        models={"hostdev0": MDEV},
        releases={"hostdev0": "vendor-a.com/gfx/gfx-4GB@1"},
        profiles={"hostdev0": "vendor-a.com/gfx-4GB"},
        values={"hostdev0": {"memory-gb": "4"}, "interface0": {"rombar": "0"}},
    )
    domain = _read(tmp_path, "<interface><model type='virtio'/></interface><hostdev type='mdev'/>", options)
    assert domain.unasked == {}
    assert domain.devices[1] == {
        "id": "hostdev0",
        "model": MDEV,
        "release": "vendor-a.com/gfx/gfx-4GB@1",
        "profile": "vendor-a.com/gfx-4GB",
        "values": {"memory-gb": "4"},
    }
    assert domain.devices[0]["values"] == {"rombar": "0"}
    assert _read(tmp_path, "", DomainOptions(values={"other": {}})).unknown == {"other"}


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<domain>", "cannot be read"),
        ("<network/>", "is not a libvirt domain: <os><type machine='…'> is missing"),
        ("<?xml version='1.0' encoding='foo'?><domain/>", "cannot be read"),
        ("<?xml version='1.0' encoding='shift_jis'?><domain/>", "cannot be read"),
        ("<domain><os><type>hvm</type></os></domain>", "is not a libvirt domain: <os><type machine='…'> is missing"),
        ('<!DOCTYPE d [<!ENTITY a "a">]><domain>&a;</domain>', "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_domain_is_refused(tmp_path: Path, xml: str, message: str) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(xml)
    with pytest.raises(DomainError, match=message):
        Domain.read(path, DomainOptions())


def test_all_devices_of_a_domain_are_checked(api: Registry, run: Run, tmp_path: Path) -> None:
    known = Domain.read(DOMAIN, DomainOptions()).devices
    devices = [device["model"].removeprefix("qemu.org/") for device in known]
    for version, release in RELEASE.items():
        capture = Capture.load(DATA / f"qemu-{version}.json.gz").selected([], devices)
        publish(api, capture, release, lambda *_: None, override="a test")
    question = ["check", "--domain", str(DOMAIN), "--source", RELEASE["7.2"], "--destination", RELEASE["10.0"]]
    answer = run(*question)
    # Unknown never means compatible.
    assert answer.exit_code == 2, answer.output
    assert "not checked: hostdev0: a host device (mdev vfio-pci); name its model with --device" in answer.stderr
    assert "Everything checked is compatible; 1 device was not checked." in answer.stderr
    assert "virtio-disk0" in answer.stdout
    assert run(*question, "--without", "hostdev0").exit_code == 0
    assert run(*question, "--without", "hostdev0", "--detail", "summary").exit_code == 0
    # QEMU 7.2 does not have this variable.
    assert run(*question, "--without", "hostdev0", "--value", "net0/no-such=1").exit_code == 1
    document = json.loads(run(*question, "--json").stdout)
    assert [device["id"] for device in document["results"][0]["devices"]] == [device["id"] for device in known]
    assert list(document) == ["results", "registry", "seq", "link", "unasked"]
    assert list(document["unasked"]) == ["hostdev0"]
    # An option states the model that the XML does not contain.
    answer = run(*question, "--device", f"hostdev0={MDEV}", "--json")
    assert answer.exit_code == 1
    refused = [device for device in json.loads(answer.stdout)["results"][0]["devices"] if not device["compatible"]]
    assert [(device["id"], device["problems"][0]["code"]) for device in refused] == [("hostdev0", "unknown-model")]
    assert "has no device other" in run(*question, "--device", "other=a.com/b").stderr
    assert run(*question, "--device", "other").exit_code == 2
    assert run("check", "--domain", str(tmp_path / "none.xml")).exit_code == 2
    assert run("check", "--domain", str(DOMAIN), "--model", "a.com/b").exit_code == 2
