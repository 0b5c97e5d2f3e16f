"""Which device types of a real QEMU have no saved state: its own dump, held against what the importer knows."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from app.hypervisor.facts import STATELESS, is_never_migratable
from tests.qemu.migration import BINARIES

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not BINARIES, reason="qemu-system-x86_64 is not installed"),
]
# The virtio device behind such a proxy has the saved state.
_PROXY = re.compile(r"(virtio|vhost)-.*-pci(-(non-)?transitional)?")


def _output(binary: Path, *arguments: str) -> str:
    command = [str(binary), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("binary", BINARIES, ids=lambda _: "")
def test_each_type_without_a_saved_state_was_looked_at(binary: Path, tmp_path: Path) -> None:
    version = re.search(r"version ([0-9.]+)", _output(binary, "--version"))
    assert version is not None
    _output(binary, "-M", "q35", "-dump-vmstate", str(tmp_path / "dump.json"))
    with_state = json.loads((tmp_path / "dump.json").read_text()).keys()
    types = set(re.findall(r'^name "([^"]+)"', _output(binary, "-device", "help"), re.MULTILINE))
    assert len(types) > 100
    silent = {
        name
        for name in types - with_state - STATELESS
        if not is_never_migratable(name, version[1]) and not _PROXY.fullmatch(name) and not name.endswith("-cpu")
    }
    assert not silent
    assert not {name for name in types & with_state & STATELESS if is_never_migratable(name, version[1])}
