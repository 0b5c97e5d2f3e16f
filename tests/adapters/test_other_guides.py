"""The guides for OpenNebula, oVirt, Proxmox VE and Incus, followed by copy and paste: they print what they show.

Run `python -m tests.adapters.test_other_guides` to write anew what their commands print.
"""

import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.adapters import incus_cluster
from tests.adapters.conftest import demonstration
from tests.conftest import TOKEN
from tests.running.conftest import ROOT, Server
from tests.test_guides import run_commands

_PAGES = ROOT / "docs" / "pages" / "adapters"
_GUIDES = ("opennebula", "ovirt", "proxmox", "incus")
_MEMBERS = ("host-01", "host-08", "host-33")
# The address and the port that the guides name.
_URL, _PORT = "http://127.0.0.1:8000", "8009"
_RUN = re.compile(
    r"<!-- run: (?:demo|incus) -->\n```sh\n(?P<script>.*?)```\n"
    r"(?:\n<!-- printed -->\n```text\n(?P<printed>.*?)```)?",
    re.DOTALL,
)
_INCUS = """#!/bin/sh
exec chroot {root} env -u INCUS_SOCKET INCUS_DIR={inside} HOME=/root PATH={path} incus "$@"
"""


@contextmanager
def place(guide: str, folder: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of a guide's commands, which are run in a folder; of Incus with a cluster."""
    for name in ("app", ".venv", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    if guide != "incus":
        yield {}
        return
    with incus_cluster.running(_MEMBERS) as cluster:
        (folder / "bin").mkdir()
        script = _INCUS.format(
            root=shlex.quote(str(incus_cluster.ROOT_OF_INCUS)), inside=cluster.inside, path=incus_cluster.PATH
        )
        (folder / "bin" / "incus").write_text(script)
        (folder / "bin" / "incus").chmod(0o755)
        path = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        yield {"PATH": os.pathsep.join(path), "INCUS_SOCKET": str(cluster.socket)}


def printed(guide: str, server: Server, folder: Path) -> Iterator[tuple[re.Match[str], str]]:
    """Follow a guide; iterate over its blocks, each with what it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    exported = ""
    with place(guide, folder) as variables:
        for block in _RUN.finditer((_PAGES / f"{guide}.md").read_text(encoding="utf-8")):
            # All commands are typed into one terminal.
            script = f"{exported}{block['script']}".replace(_PORT, port).replace("demo-token", TOKEN)
            output = run_commands(script, {"REGISTRY_URL": server.url, **variables}, folder)
            exported += "".join(f"{line}\n" for line in block["script"].splitlines() if line.startswith("export "))
            yield block, output.replace(server.url, _URL).replace(port, _PORT)


@pytest.mark.parametrize("guide", _GUIDES)
def test_a_guide_prints_what_it_shows(guide: str, tmp_path: Path) -> None:
    if guide == "incus" and (reason := incus_cluster.missing()) is not None:
        pytest.skip(reason)
    page = (_PAGES / f"{guide}.md").read_text(encoding="utf-8")
    (tmp_path / "data").mkdir()
    with demonstration(tmp_path / "data") as server:
        blocks = list(printed(guide, server, tmp_path))
    shown = [(block["printed"], output) for block, output in blocks if block["printed"] is not None]
    assert len(shown) == page.count("<!-- printed -->") > 0
    assert [output for _, output in shown] == [text for text, _ in shown]


def _write(guide: str) -> None:
    """Write what the commands of a guide print into it."""
    path = _PAGES / f"{guide}.md"
    page = path.read_text(encoding="utf-8")
    with TemporaryDirectory() as folder, demonstration(Path(folder)) as server, TemporaryDirectory() as checkout:
        blocks = list(printed(guide, server, Path(checkout)))
    for block, output in reversed(blocks):
        if block["printed"] is not None:
            page = f"{page[: block.start('printed')]}{output}{page[block.end('printed') :]}"
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for name in _GUIDES:
        _write(name)
