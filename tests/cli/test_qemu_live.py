"""A real QEMU, asked over QMP; runs where one is installed (CI installs Debian's)."""

import shutil
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.qemu import publication
from app.cli.qemu.capture import Capture
from app.cli.qemu.live import take_capture
from tests.cli.conftest import DATA

BINARY = shutil.which("qemu-system-x86_64")
DEVICES = ["virtio-net-pci", "virtio-net-device", "e1000", "nvme", "virtio-blk-pci", "usb-uas", "pcie-root-port"]

pytestmark = pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")


@pytest.fixture(scope="module")
def taken() -> Capture:
    """Return what the QEMU says of some devices under two machine types."""
    assert BINARY is not None
    return take_capture(Path(BINARY), ["pc-q35-7.2", "pc-i440fx-2.4"], DEVICES, lambda *_: None)


def test_a_live_qemu_says_what_its_capture_says(taken: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    compared = 0
    for machine, devices in taken.effective.items():
        for device, values in devices.items():
            for name, value in values.items():
                known = recorded.live(machine, device, name)
                if taken.version == recorded.version and known is not None:
                    assert value == known, (machine, device, name)
                    compared += 1
    assert taken.version != recorded.version or compared > 150
    assert set(taken.effective["pc-q35-7.2"]) >= {"virtio-net-pci", "e1000"}


def test_a_live_qemu_tells_the_lineage_of_its_types(taken: Capture) -> None:
    recorded = Capture.load(DATA / "qemu-7.2.json.gz")
    for qom_type in ("qemu64-x86_64-cpu", "virtio-net-pci", "e1000"):
        assert list(taken.lineage(qom_type)) == list(recorded.lineage(qom_type))


def test_a_live_qemu_says_what_cannot_be_migrated(taken: Capture) -> None:
    assert taken.unmigratable is not None
    assert "usb-uas" in taken.unmigratable
    assert not {"virtio-net-pci", "e1000"} & taken.unmigratable


def test_a_live_qemu_is_published(taken: Capture, api: Registry) -> None:
    release = publication.default_name(taken)
    assert release == f"qemu.org/qemu-system-x86_64@{taken.version}"
    published = publication.publish(api, taken, release, lambda *_: None)
    assert (published.models, published.profiles) == (len(DEVICES), 2)
    (uas,) = api.get("/variable-sets", model="qemu.org/usb-uas")["items"]
    assert uas["migratable"] is False
    question = {"model": "qemu.org/usb-uas", "source": release, "destination": release}
    (result,) = api.get("/compatibility", **question)["results"]
    assert {problem["code"] for problem in result["devices"][0]["problems"]} == {"not-migratable"}
