"""profile-registry try-migration, with the real QEMUs of this machine; the second one is that of .ci/second-qemu."""

import json
from pathlib import Path

import pytest

from app.cli.qemu import trial
from tests.cli.conftest import Run
from tests.qemu.migration import BINARIES

pytestmark = pytest.mark.skipif(not BINARIES, reason="qemu-system-x86_64 is not installed")
HERE = str(BINARIES[0]) if BINARIES else ""
MACHINE = ("--machine", "pc-q35-7.2")


def test_what_migrates_here_and_what_cannot_be_saved(run: Run) -> None:
    devices = ("--device", "e1000", "--device", "nvme", "--device", "vfio-pci")
    done = run("try-migration", "--from", HERE, "--to", HERE, *devices, *MACHINE, "--json")
    assert done.exit_code == 1, done.output
    answer = json.loads(done.stdout)
    outcomes = {entry["device"]: entry["outcome"] for entry in answer["trials"]}
    assert outcomes == {"": "completed", "e1000": "completed", "nvme": "not-saved", "vfio-pci": "not-started"}
    assert not any(entry["differs"] for entry in answer["trials"])
    (draft,) = answer["errata"]
    assert (draft["release"], draft["model"], draft["direction"]) == (answer["from"], "qemu.org/nvme", "both")
    assert "non-migratable" in draft["description"]


def test_the_draft_can_be_published(run: Run) -> None:
    done = run("try-migration", "--from", HERE, "--to", HERE, "--device", "nvme", *MACHINE)
    assert done.exit_code == 1
    assert "(the board alone)" in done.stdout
    command = next(line for line in done.stdout.splitlines() if line.startswith("  profile-registry erratum add "))
    assert "qemu.org/nvme --direction both --description 'tried under pc-q35-7.2" in command


@pytest.mark.skipif(len(BINARIES) == 1, reason="there is no second QEMU to migrate to")
def test_a_failure_between_two_releases_is_drafted_for_the_other_release(run: Run) -> None:
    """Measured on QEMU 7.2 and 10.0: their SCSI controllers do not read each other's state, though all is equal."""
    first, second = (str(binary) for binary in BINARIES)
    options = ("--device", "am53c974", "--device", "virtio-rng-pci", "--device", "scsi-hd", *MACHINE, "--json")
    answer = json.loads(run("try-migration", "--from", first, "--to", second, *options).stdout)
    outcomes = {entry["device"]: entry["outcome"] for entry in answer["trials"]}
    completed = dict.fromkeys(("", "virtio-scsi-pci", "virtio-rng-pci", "scsi-hd"), "completed")
    assert outcomes == {**completed, "am53c974": "failed"}
    (draft,) = answer["errata"]
    assert (draft["model"], draft["with"], draft["direction"]) == ("qemu.org/am53c974", [answer["to"]], "to")
    assert "Missing section footer" in draft["description"]
    # What the board has differently is told of the board, not of each device.
    differs = {entry["device"]: entry["differs"] for entry in answer["trials"]}
    board, device = differs[""], differs["virtio-rng-pci"]
    assert any("globalstate" in difference for difference in board)
    assert not any("globalstate" in difference for difference in device)


def test_wrong_input_is_told(run: Run) -> None:
    for options, message in (
        (("--device", "no-such", *MACHINE), "has no device type no-such"),
        (("--device", "e1000", "--value", "x"), "--value must be name=value"),
        (("--machine", "no-such"), "no-such"),
    ):
        done = run("try-migration", "--from", HERE, "--to", HERE, *options)
        assert done.exit_code in {1, 2}, options
        assert message in done.output
    missing = run("try-migration", "--from", "/none/qemu", "--to", HERE)
    assert (missing.exit_code, "/none/qemu is not a program that can be started" in missing.stderr) == (2, True)


def test_the_description_at_the_end_of_a_stream_is_read(tmp_path: Path) -> None:
    file = tmp_path / "state"
    document = json.dumps({"page_size": 4096, "devices": [{"name": "a", "instance_id": 0, "fields": []}]}).encode()
    file.write_bytes(b"QEVM\x06\0\0\0\1x" + b"\x06" + len(document).to_bytes(4, "big") + document)
    assert list(trial.read_description(file)) == ["a/0"]
    file.write_bytes(b"QEVM\x06")
    assert trial.read_description(file) == {}


def test_differences_say_which_end_saves_what() -> None:
    own = {"a/0": {"version": 1, "fields": [{"name": "x", "size": 4}, {"name": "y", "size": 1}]}, "b/0": {}}
    other = {
        "a/0": {"version": 2, "fields": [{"name": "x", "size": 8}], "subsections": [{"vmsd_name": "a/part"}]},
        "c/0": {},
    }
    assert list(trial.differences(own, other)) == [
        "a/0: version 1 at the source, 2 at the destination",
        "a/0.y: only the source saves it",
        "a/0.x: 4 bytes at the source, 8 at the destination",
        "a/0: only the destination saves the part a/part",
        "b/0: only the source saves it",
        "c/0: only the destination saves it",
    ]
