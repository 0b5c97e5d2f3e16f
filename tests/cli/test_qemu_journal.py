"""An import that was interrupted goes on where it was."""

import json
import os
import shutil
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from app.cli.qemu.journal import Journal
from app.cli.qemu.live import take_capture
from app.cli.qemu.process import start_qemu

BINARY = shutil.which("qemu-system-x86_64")
DEVICES = ["virtio-rng-pci", "scsi-hd", "usb-uas", "vfio-pci", "ide-hd", "pc-dimm"]


def test_a_journal_keeps_what_was_asked_of_the_same_binary(tmp_path: Path) -> None:
    binary = tmp_path / "qemu"
    binary.write_text("a")
    folder = tmp_path / "cache"
    journal = Journal(folder, binary, {"version": 1}, [[], []])
    journal.add("board", "q35", {"x": 1})
    journal.add("machine", "q35", [1])
    (file,) = folder.iterdir()
    assert file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text(f'{file.read_text()}["machine", "pc", [')
    again = Journal(folder, binary, {"version": 1}, [[], []])
    # A line that was not written to its end is asked again.
    assert [again.get(*key) for key in (("board", "q35"), ("machine", "q35"), ("machine", "pc"))] == [
        {"x": 1},
        [1],
        None,
    ]
    for stated, wanted in (({"version": 2}, [[], []]), ({"version": 1}, [["q35"], []])):
        assert Journal(folder, binary, stated, wanted).get("board", "q35") is None
    binary.write_text("another build")
    assert Journal(folder, binary, {"version": 1}, [[], []]).get("board", "q35") is None
    again.forget()
    assert not list(folder.iterdir())
    again.forget()


def test_what_is_old_is_asked_again(tmp_path: Path) -> None:
    binary = tmp_path / "qemu"
    binary.write_text("a")
    Journal(tmp_path / "cache", binary, {}, []).add("board", "q35", 1)
    (file,) = (tmp_path / "cache").iterdir()
    os.utime(file, (time.time() - 100_000, time.time() - 100_000))
    assert Journal(tmp_path / "cache", binary, {}, []).get("board", "q35") is None


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    journal = Journal(None, tmp_path / "no-binary", {}, [])
    journal.add("board", "q35", 1)
    assert journal.get("board", "q35") is None
    journal.forget()
    binary = tmp_path / "qemu"
    binary.write_text("a")
    # What cannot be written does not end the import.
    Journal(binary, binary, {}, []).add("board", "q35", 1)


@pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")
def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BINARY is not None
    machines = ["pc-q35-7.2", "pc-q35-5.1", "pc-q35-4.2"]

    def interrupt(description: str, completed: int, _: int) -> None:
        if description == "reading machine types" and completed == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_capture(Path(BINARY), machines, DEVICES, interrupt, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    kept = [json.loads(line)[:2] for line in file.read_text().splitlines()]
    assert kept == [["board", "pc-q35-7.2"], ["newest", "pc-q35-7.2"], ["machine", "pc-q35-5.1"]]
    started: list[str] = []

    def start(path: Path, *given: str) -> AbstractAsyncContextManager[QMPClient]:
        started.append(given[1])
        return start_qemu(path, *given)

    monkeypatch.setattr("app.cli.qemu.board.start_qemu", start)
    resumed = take_capture(Path(BINARY), machines, DEVICES, lambda *_: None, folder=tmp_path)
    # Only the machine type that was not read yet is started, also with an option, as for memory.
    assert {machine.partition(",")[0] for machine in started} == {"pc-q35-4.2"}
    assert not list(tmp_path.iterdir())
    assert resumed == take_capture(Path(BINARY), machines, DEVICES, lambda *_: None)
