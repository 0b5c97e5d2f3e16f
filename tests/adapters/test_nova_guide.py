"""The guide for Nova, followed by copy and paste.

Its commands are run and print what it shows; the Nova that they set up logs what it shows.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.adapters.cloud import NOVA, Cloud, needs_nova, nova_in
from tests.adapters.conftest import demonstration
from tests.running.conftest import ROOT, Server
from tests.test_guides import run_commands

_PAGE = (ROOT / "docs" / "pages" / "adapters" / "nova.md").read_text(encoding="utf-8")
_URL = "http://127.0.0.1:8000"
_RUN = re.compile(
    r"<!-- run: nova -->\n```sh\n(?P<script>.*?)```\n"
    r"(?:\n(?!<!--)[^\n]+\n)?(?:\n<!-- printed -->\n```[a-z]+\n(?P<printed>.*?)```)?",
    re.DOTALL,
)

pytestmark = needs_nova


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a registry with the sample data, as make run starts it."""
    with demonstration(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return where Nova is installed and configured: an environment of its own, and a nova.conf without our lines."""
    folder = tmp_path_factory.mktemp("installed")
    # What the guide installs must not stay in the environment that all tests share.
    subprocess.run([NOVA / "bin" / "python", "-m", "venv", folder / "nova"], check=True)
    (site,) = (folder / "nova" / "lib").glob("python*/site-packages")
    (shared,) = (NOVA / "lib").glob("python*/site-packages")
    (site / "nova.pth").write_text(f"{shared}\n")
    (folder / "etc").mkdir()
    (folder / "etc" / "nova.conf").write_text("[DEFAULT]\ndebug = false\n")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("app", ".venv"):
        (checkout / name).symlink_to(ROOT / name)
    return {"NOVA": folder / "nova", "NOVA_CONFIG": folder / "etc", "checkout": checkout}


@pytest.fixture(scope="module")
def cloud(server: Server, places: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Yield the Nova that the commands of the guide set up; each has to print what the guide shows."""
    variables = {name: str(path) for name, path in places.items()}
    blocks = list(_RUN.finditer(_PAGE))
    assert sum(block["printed"] is not None for block in blocks) == _PAGE.count("<!-- printed -->")
    for block in blocks:
        printed = run_commands(block["script"], {**variables, "REGISTRY_URL": server.url}, places["checkout"])
        assert printed.replace(server.url, _URL) == (block["printed"] or printed.replace(server.url, _URL))
    files = [places["NOVA_CONFIG"] / "nova.conf", *sorted((places["NOVA_CONFIG"] / "nova.conf.d").iterdir())]
    with nova_in(tmp_path_factory.mktemp("nova"), files, {}, places["NOVA"] / "bin" / "python") as started:
        started.do("start", hosts=["host-01", "host-08", "host-33"])
        yield started


def _logged(mark: str) -> list[str]:
    """Return the lines of the log that the guide shows."""
    match = re.search(rf"<!-- {mark} -->\n```text\n(.*?)```", _PAGE, re.DOTALL)
    assert match is not None
    return match[1].splitlines()


def test_nova_refuses_and_allows_what_the_guide_says(cloud: Cloud, server: Server) -> None:
    properties = dict(re.findall(r"--property (dpr:[^=]+)=(\S+)", _PAGE))
    assert len(properties) == 2
    created = cloud.boot(cloud.flavor(properties), host="host-01")
    refused = cloud.live_migrate(created, host="host-33")
    assert (refused.server["status"], refused.host) == ("ACTIVE", "host-01")
    allowed = cloud.live_migrate(created, host="host-08")
    assert allowed.host == "host-08"
    lines = [line for done in (created, refused, allowed) for line in done.log if "device profiles" in line]
    assert [line.replace(created.server["id"], "SERVER") for line in lines] == _logged("logged")
    server.kill()
    away = cloud.live_migrate(created, host="host-01")
    assert (away.server["status"], away.host) == ("ACTIVE", "host-08")
    lines = [line.replace(created.server["id"], "SERVER") for line in away.log if "device profiles" in line]
    assert [line.replace(server.url, _URL) for line in lines] == _logged("logged: away")


def test_every_option_of_the_adapter_is_described_with_its_default(cloud: Cloud) -> None:
    described = dict(re.findall(r"^\| `(\w+)` \| .* \| `?([^`|]+)`? \|$", _PAGE, re.MULTILINE))
    options = {name: str(default) for name, default in cloud.do("options").server.items()}
    assert described == {
        name: {"None": "none", "True": "true", "False": "false"}.get(default, default)
        for name, default in options.items()
    }
