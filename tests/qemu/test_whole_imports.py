"""Imports the QEMUs of this machine as a whole, as `profile-registry import qemu --binary` does (make test-long)."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.live import take_capture
from app.cli.qemu.publication import default_name, publish
from tests.counts import IS_LONG

SECOND = Path(__file__).parents[2] / "var" / "second-qemu"

pytestmark = [pytest.mark.long, pytest.mark.skipif(not IS_LONG, reason="whole imports take minutes: LONG=1")]


@cache
def _capture_of(binary: Path) -> Capture:
    return take_capture(binary, [], [], lambda *_: None)


@pytest.mark.parametrize(
    ("binary", "newest", "devices", "refused", "migrates"),
    [
        ("qemu-system-x86_64", "pc-q35-", 230, {"usb-uas", "nvme", "usb-audio"}, {"scsi-hd", "pc-q35-board", "mch"}),
        # Each PCI device brings a zpci, which QEMU does not migrate; a ccw device does not.
        ("qemu-system-s390x", "s390-ccw-virtio-", 80, {"virtio-rng-pci"}, {"virtio-blk-ccw", "sclpconsole"}),
    ],
)
def test_a_qemu_is_imported_as_a_whole(
    api: Registry,
    binary: str,
    newest: str,
    devices: int,
    refused: set[str],
    migrates: set[str],
) -> None:
    path = next((path for path in (shutil.which(binary), SECOND / binary) if path and Path(path).exists()), None)
    if path is None:
        pytest.skip(f"{binary} is not installed; .ci/run gets Debian's")
    capture = _capture_of(Path(path))
    machine = next(own.name for own in reversed(capture.versioned_machines) if own.name.startswith(newest))
    assert len(capture.effective[machine]) > devices
    assert capture.unmigratable is not None
    assert refused <= capture.unmigratable
    assert migrates <= capture.asked - capture.unmigratable
    release = default_name(capture)
    published = publish(api, capture, release, lambda *_: None)
    assert published.models > devices
    # What it says of its devices, it says again of the same QEMU.
    again = publish(api, capture, release, lambda *_: None)
    assert (any(again.added.values()), list(again.differences)) == (False, [])
    compatible = 0
    for device in sorted(capture.effective[machine].keys() - capture.unmigratable):
        profile = api.get(f"/releases/{release}")["profiles"][-1]
        question = {"model": f"qemu.org/{device}", "profile": profile, "source": release, "destination": release}
        compatible += api.get("/compatibility", **question)["results"][0]["compatible"]
    assert compatible > devices // 2
