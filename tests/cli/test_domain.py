"""check --domain asks about all devices of a libvirt domain."""

import json
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.libvirt import Domain, DomainError, Told
from app.cli.qemu.capture import Capture
from app.cli.qemu.publication import publish
from tests.cli.conftest import DATA, RELEASE, Run

DOMAIN = DATA / "domain.xml"
MDEV = "vendor-a.com/gfx"


def test_a_domain_is_read_as_qemu_knows_its_devices() -> None:
    domain = Domain.read(DOMAIN, Told(models={"hostdev0": MDEV}), RELEASE["7.2"])
    assert (domain.name, domain.machine, domain.unasked) == ("web-1", "pc-q35-7.2", {})
    assert {each["id"]: each["model"] for each in domain.devices} == {
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
    values = {each["id"]: each["values"] for each in domain.devices}
    assert values["net0"] == {"mac": "52:54:00:12:34:56", "mq": "on", "vectors": "10"}
    assert values["virtio-disk0"] == {"serial": "WEB1-ROOT", "num-queues": "4"}
    assert values["usb"] == {"p2": "15", "p3": "15"}
    # The machine type and the QEMU are those of QEMU's own devices alone.
    said = {each["id"]: (each.get("release"), each.get("profile")) for each in domain.devices}
    assert said.pop("hostdev0") == (None, None)
    assert set(said.values()) == {(RELEASE["7.2"], "qemu.org/pc-q35-7.2")}


def _read(tmp_path: Path, devices: str, told: Told | None = None, beside: str = "") -> Domain:
    path = tmp_path / "vm.xml"
    path.write_text(
        "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><os><type machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices>{devices}</devices>{beside}</domain>"
    )
    return Domain.read(path, told or Told())


@pytest.mark.parametrize(
    ("written", "model", "values"),
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
def test_what_the_xml_says_is_asked_about(tmp_path: Path, written: str, model: str, values: dict[str, str]) -> None:
    domain = _read(tmp_path, written)
    assert domain.unasked == {}
    assert [(each["model"], each["values"]) for each in domain.devices] == [(f"qemu.org/{model}", values)]


@pytest.mark.parametrize(
    ("written", "named"),
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
def test_what_is_not_known_is_said_and_can_be_left_out(tmp_path: Path, written: str, named: str) -> None:
    assert list(_read(tmp_path, written).unasked) == [named]
    assert _read(tmp_path, written, Told(without=[named])).unasked == {}


def test_what_is_handed_past_libvirt_is_said(tmp_path: Path) -> None:
    domain = _read(tmp_path, "", beside="<qemu:commandline><qemu:arg value='-device'/></qemu:commandline>")
    assert list(domain.unasked) == ["qemu:commandline"]


def test_what_is_no_device_of_its_own_is_left_out(tmp_path: Path) -> None:
    domain = _read(
        tmp_path,
        "<emulator>/qemu</emulator><graphics type='vnc'/><video><model type='none'/></video>"
        "<input type='mouse' bus='ps2'/><panic model='hyperv'/>"
        "<input type='evdev'><source dev='/dev/input/event1'/></input>",
    )
    assert (domain.devices, domain.unasked) == ([], {})


def test_a_console_that_is_a_serial_port_is_asked_about_once(tmp_path: Path) -> None:
    domain = _read(
        tmp_path,
        "<serial type='pty'><target type='isa-serial' port='0'/><alias name='serial0'/></serial>"
        "<console type='pty' tty='/dev/pts/1'><target type='serial' port='0'/><alias name='serial0'/></console>",
    )
    assert [each["id"] for each in domain.devices] == ["serial0"]


def test_all_parts_of_a_usb_controller_are_asked_about(tmp_path: Path) -> None:
    part = "<controller type='usb' index='0' model='ich9-{}'><alias name='usb'/></controller>"
    domain = _read(tmp_path, part.format("ehci1") + part.format("uhci1"))
    assert [(each["id"], each["model"]) for each in domain.devices] == [
        ("usb", "qemu.org/ich9-usb-ehci1"),
        ("usb-2", "qemu.org/ich9-usb-uhci1"),
    ]


@pytest.mark.parametrize("first", ["", " primary='yes'"])
def test_one_graphics_card_alone_is_the_primary_one(tmp_path: Path, first: str) -> None:
    domain = _read(tmp_path, f"<video><model type='virtio'{first}/></video><video><model type='virtio'/></video>")
    assert [each["model"] for each in domain.devices] == ["qemu.org/virtio-vga", "qemu.org/virtio-gpu-pci"]


def test_what_the_xml_says_of_a_device_that_is_told_counts(tmp_path: Path) -> None:
    written = (
        "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci' display='on'>"
        "<source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source><boot order='1'/><rom bar='off'/>"
        "</hostdev>"
    )
    qemus = _read(tmp_path, written, Told(models={"hostdev0": "qemu.org/vfio-pci"}))
    assert (qemus.devices[0]["values"], qemus.unasked) == ({"display": "on", "bootindex": "1", "rombar": "0"}, {})
    other = _read(tmp_path, written, Told(models={"hostdev0": MDEV}))
    assert (other.devices[0]["values"], list(other.unasked)) == ({}, ["hostdev0/@display", "hostdev0/rom@bar"])


def test_a_setting_that_is_known_can_be_left_out(tmp_path: Path) -> None:
    written = "<interface><model type='virtio'/><rom bar='off'/></interface>"
    assert _read(tmp_path, written, Told(without=["interface0/rom@bar"])).devices[0]["values"] == {}
    with pytest.raises(DomainError, match="has no device interface0/no"):
        _read(tmp_path, written, Told(without=["interface0/no"]))


def test_what_keeps_a_guest_secret_is_said(tmp_path: Path) -> None:
    assert list(_read(tmp_path, "", beside="<launchSecurity type='sev'/>").unasked) == ["launchSecurity"]


def test_sound_brings_its_codecs(tmp_path: Path) -> None:
    domain = _read(tmp_path, "<sound model='ich9'/><sound model='ich6'><codec type='micro'/></sound>")
    assert {each["id"]: each["model"].removeprefix("qemu.org/") for each in domain.devices} == {
        "sound0": "ich9-intel-hda",
        "sound0-codec0": "hda-duplex",
        "sound1": "intel-hda",
        "sound1-codec0": "hda-micro",
    }


def test_of_each_device_more_can_be_told(tmp_path: Path) -> None:
    told = Told(
        models={"hostdev0": MDEV},
        releases={"hostdev0": "vendor-a.com/gfx/gfx-4GB@1"},
        profiles={"hostdev0": "vendor-a.com/gfx-4GB"},
        values={"hostdev0": {"memory-gb": "4"}, "interface0": {"rombar": "0"}},
    )
    domain = _read(tmp_path, "<interface><model type='virtio'/></interface><hostdev type='mdev'/>", told)
    assert domain.unasked == {}
    assert domain.devices[1] == {
        "id": "hostdev0",
        "model": MDEV,
        "release": "vendor-a.com/gfx/gfx-4GB@1",
        "profile": "vendor-a.com/gfx-4GB",
        "values": {"memory-gb": "4"},
    }
    assert domain.devices[0]["values"] == {"rombar": "0"}
    with pytest.raises(DomainError, match="has no device other"):
        _read(tmp_path, "", Told(values={"other": {}}))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("<domain>", "cannot be read"),
        ("<network/>", "is no libvirt domain"),
        ("<?xml version='1.0' encoding='foo'?><domain/>", "cannot be read"),
        ("<?xml version='1.0' encoding='shift_jis'?><domain/>", "cannot be read"),
        ("<domain><os><type>hvm</type></os></domain>", "is no libvirt domain"),
        ('<!DOCTYPE d [<!ENTITY a "a">]><domain>&a;</domain>', "cannot be read"),
    ],
)
def test_what_is_no_domain_is_said(tmp_path: Path, written: str, why: str) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(written)
    with pytest.raises(DomainError, match=why):
        Domain.read(path, Told())


def test_all_devices_of_a_domain_are_asked_about(api: Registry, run: Run, tmp_path: Path) -> None:
    devices = [each["model"].removeprefix("qemu.org/") for each in Domain.read(DOMAIN, Told()).devices]
    for version, release in RELEASE.items():
        capture = Capture.load(DATA / f"qemu-{version}.json.gz").selected([], devices)
        publish(api, capture, release, lambda *_: None, override="a test")
    asked = ["check", "--domain", str(DOMAIN), "--source", RELEASE["7.2"], "--destination", RELEASE["10.0"]]
    done = run(*asked)
    # Unknown never means compatible.
    assert done.exit_code == 2, done.output
    assert "not asked: hostdev0: a host's own device (mdev vfio-pci)" in done.stderr
    assert "virtio-disk0" in done.stdout
    assert run(*asked, "--without", "hostdev0").exit_code == 0
    assert run(*asked, "--without", "hostdev0", "--detail", "summary").exit_code == 0
    # 7.2 does not have it at all.
    assert run(*asked, "--without", "hostdev0", "--value", "net0/no-such=1").exit_code == 1
    answer = json.loads(run(*asked, "--json").stdout)
    assert [each["id"] for each in answer["results"][0]["devices"]] == [
        each["id"] for each in Domain.read(DOMAIN, Told()).devices
    ]
    assert list(answer) == ["results", "seq", "unasked"]
    assert list(json.loads(run(*asked, "--json").stdout)["unasked"]) == ["hostdev0"]
    # What the XML does not tell can be said.
    named = run(*asked, "--device", f"hostdev0={MDEV}", "--json")
    assert named.exit_code == 1
    refused = [each for each in json.loads(named.stdout)["results"][0]["devices"] if not each["compatible"]]
    assert [(each["id"], each["problems"][0]["code"]) for each in refused] == [("hostdev0", "unknown-model")]
    assert "has no device other" in run(*asked, "--device", "other=a.com/b").stderr
    assert run(*asked, "--device", "other").exit_code == 2
    assert run("check", "--domain", str(tmp_path / "none.xml")).exit_code == 2
    assert run("check", "--domain", str(DOMAIN), "--model", "a.com/b").exit_code == 2
