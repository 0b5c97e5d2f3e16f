"""check --domain asks about all devices of a libvirt domain."""

import json
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.libvirt import Domain, DomainError
from app.cli.qemu.capture import Capture
from app.cli.qemu.publication import publish
from tests.cli.conftest import DATA, RELEASE, Run

DOMAIN = DATA / "domain.xml"
MDEV = "vendor-a.com/gfx"


def test_a_domain_is_read_as_qemu_knows_its_devices() -> None:
    domain = Domain.read(DOMAIN, {"hostdev0": MDEV})
    assert (domain.name, domain.machine, domain.unasked) == ("web-1", "pc-q35-7.2", [])
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


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("<domain>", "cannot be read"),
        ("<network/>", "is no libvirt domain"),
        ("<domain><os><type>hvm</type></os></domain>", "is no libvirt domain"),
        ('<!DOCTYPE d [<!ENTITY a "a">]><domain>&a;</domain>', "cannot be read"),
    ],
)
def test_what_is_no_domain_is_said(tmp_path: Path, written: str, why: str) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(written)
    with pytest.raises(DomainError, match=why):
        Domain.read(path, {})


def test_all_devices_of_a_domain_are_asked_about(api: Registry, run: Run, tmp_path: Path) -> None:
    devices = [each["model"].removeprefix("qemu.org/") for each in Domain.read(DOMAIN, {}).devices]
    for version, release in RELEASE.items():
        capture = Capture.load(DATA / f"qemu-{version}.json.gz").selected([], devices)
        publish(api, capture, release, lambda *_: None, override="a test")
    asked = ["check", "--domain", str(DOMAIN), "--source", RELEASE["7.2"], "--destination", RELEASE["10.0"]]
    done = run(*asked)
    assert done.exit_code == 0, done.output
    assert "not asked: hostdev0: a host's own device (mdev vfio-pci)" in done.stderr
    assert "virtio-disk0" in done.stdout
    answer = json.loads(run(*asked, "--json").stdout)
    assert [each["id"] for each in answer["results"][0]["devices"]] == [
        each["id"] for each in Domain.read(DOMAIN, {}).devices
    ]
    # What the XML does not tell can be said; unknown never means compatible.
    named = run(*asked, "--device", f"hostdev0={MDEV}", "--json")
    assert named.exit_code == 1
    refused = [each for each in json.loads(named.stdout)["results"][0]["devices"] if not each["compatible"]]
    assert [(each["id"], each["problems"][0]["code"]) for each in refused] == [("hostdev0", "unknown-model")]
    assert "has no device other" in run(*asked, "--device", "other=a.com/b").stderr
    assert run(*asked, "--device", "other").exit_code == 2
    assert run("check", "--domain", str(tmp_path / "none.xml")).exit_code == 2
    assert run("check", "--domain", str(DOMAIN), "--model", "a.com/b").exit_code == 2
