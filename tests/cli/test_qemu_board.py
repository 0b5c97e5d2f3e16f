"""Asks a real QEMU for devices that do not start alone, for its boards, and what migrates; CI installs Debian's."""

import json
import shutil
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.live import take_capture
from app.cli.qemu.publication import default_name, publish
from tests.cli.conftest import Run

BINARY = shutil.which("qemu-system-x86_64")
# What each of them needs: a drive and a controller, a chardev, memory with slots, an option of the machine type, a
# shared folder, a vhost-user back end, a TPM, a card reader, an audio back end.
WITH_BACK_ENDS = [
    "scsi-hd", "virtserialport", "pc-dimm", "nvdimm", "virtio-9p-pci", "vhost-user-blk-pci", "ccid-card-passthru",
    "hda-duplex", "virtio-crypto-pci", "usb-storage", "ivshmem-plain", "virtio-mem-pci",
]  # fmt: skip
DEVICES = [
    *WITH_BACK_ENDS,
    "tpm-crb",
    "usb-serial",
    "virtio-rng-pci",
    "virtio-rng-device",
    "ICH9-LPC",
    "vfio-pci",
    "ide-hd",
]

pytestmark = pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")


@pytest.fixture(scope="module")
def capture() -> Capture:
    """Return a capture of devices that need something beside them."""
    assert BINARY is not None
    return take_capture(Path(BINARY), ["pc-q35-7.2", "pc-q35-4.2"], DEVICES, lambda *_: None)


def test_devices_start_with_what_they_need(capture: Capture) -> None:
    for machine in ("pc-q35-7.2", "pc-q35-4.2"):
        expected = {*WITH_BACK_ENDS, *(("tpm-crb",) if shutil.which("swtpm") else ())}
        assert expected <= set(capture.effective[machine])
    assert not set(WITH_BACK_ENDS) & set(capture.not_started)
    if shutil.which("swtpm") is None:
        assert capture.not_started["tpm-crb"] == "it needs a TPM, and swtpm is not installed"
    disk = capture.effective["pc-q35-7.2"]["scsi-hd"]
    assert (disk["scsi_version"], disk["rotation_rate"]) == (5, 0)
    # A back end that has all features changes nothing of what the machine type wants.
    assert capture.effective["pc-q35-7.2"]["vhost-user-blk-pci"]["event_idx"] is True


def test_what_does_not_start_is_told_in_qemus_words(capture: Capture) -> None:
    assert "host=" in capture.not_started["vfio-pci"]


def test_what_comes_with_others_is_read(capture: Capture) -> None:
    values = capture.effective["pc-q35-7.2"]
    assert values["ICH9-LPC"]["disable_s3"] == 0
    assert values["virtio-rng-device"]["max-bytes"] == 2**63 - 1


def test_devices_are_saved_to_see_whether_they_migrate(capture: Capture) -> None:
    assert capture.unmigratable is not None
    assert {"usb-serial", "virtio-crypto-pci"} <= capture.unmigratable
    # A block that a setting lifts is none of the type.
    assert not {"ivshmem-plain", "scsi-hd", "virtio-rng-pci", "pc-dimm", "ICH9-LPC"} & capture.unmigratable
    assert {"ICH9-LPC", "scsi-hd", "usb-serial"} <= capture.asked
    assert "vfio-pci" not in capture.asked


def test_state_and_what_a_vm_decides_are_no_values(capture: Capture) -> None:
    assert capture.state["pc-dimm"] == {"size"}
    assert capture.state["usb-storage"] == {"attached"}
    assert "cyls" in capture.computed["ide-hd"]
    values = capture.effective["pc-q35-7.2"]
    assert "size" not in values["pc-dimm"]
    assert "cyls" not in values["ide-hd"]
    assert values["ide-hd"]["heads"] == 16


def test_the_version_of_the_saved_state_is_published(capture: Capture, api: Registry) -> None:
    assert capture.saved_states["scsi-hd"] == (1, 1)
    release = default_name(capture)
    published = publish(api, capture, release, lambda *_: None)
    (disk,) = api.items("/variable-sets", model="qemu.org/scsi-hd")
    assert disk["saved_state"] == {"writes": 1, "reads": [1]}
    # Of a proxy, it is that of the device inside it.
    (rng,) = api.items("/variable-sets", model="qemu.org/virtio-rng-pci")
    assert rng["saved_state"] == {"writes": 1, "reads": [1]}
    assert published.not_started == capture.not_started


def test_a_twin_is_answered_about_a_device_with_a_drive(capture: Capture, api: Registry) -> None:
    release = default_name(capture)
    publish(api, capture, release, lambda *_: None)
    question = {"model": "qemu.org/scsi-hd", "profile": "qemu.org/pc-q35-4.2", "source": release}
    (result,) = api.get("/compatibility", **question, destination=release)["results"]
    assert result["compatible"], result


def test_a_board_is_a_device_model(run: Run, api: Registry, tmp_path: Path) -> None:
    assert BINARY is not None
    file = tmp_path / "capture.json.gz"
    options = ("--machine", "pc-q35-7.2", "--machine", "pc-q35-2.4", "--device", "pc-q35-board", "--device", "mch")
    done = run("import", "qemu", "--binary", BINARY, *options, "--save-capture", str(file), "--json")
    assert done.exit_code == 0, done.output
    model = api.get("/models/qemu.org/pc-q35-board")
    assert model["variables"]["smbus"]["type"] == "bool"
    release = json.loads(done.stdout)["release"]
    question = {
        "devices": [
            {
                "model": "qemu.org/pc-q35-board",
                "release": release,
                "profile": "qemu.org/pc-q35-7.2",
                "values": {"hpet": False},
            }
        ],
        "destinations": [{"releases": [release]}],
    }
    (answer,) = api.post("/compatibility", question, render="qemu")["results"][0]["devices"]
    assert answer["arguments"] == ["-machine", "pc-q35-7.2,hpet=off"]
