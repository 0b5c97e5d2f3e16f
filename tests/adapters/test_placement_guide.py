"""The guide for Placement, followed by copy and paste.

Its commands are run and print what it shows; the adapter logs what it shows.
"""

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.adapters.trait import trait_of
from app.cli.client import Registry
from app.settings import ClientSettings
from tests.adapters.conftest import demonstration
from tests.adapters.openstack import free_port, needs_placement
from tests.conftest import TOKEN
from tests.running.conftest import ROOT, TLS, Server, command, environment
from tests.test_guides import run_commands

_PAGE = (ROOT / "docs" / "pages" / "adapters" / "placement.md").read_text(encoding="utf-8")
_PORT = "8778"
_RUN = re.compile(
    r"<!-- run: placement -->\n```sh\n(?P<script>.*?)```\n"
    r"(?:\n(?!<!--)[^\n]+\n)?(?:\n<!-- printed -->\n```text\n(?P<printed>.*?)```)?",
    re.DOTALL,
)
_SERVER = re.compile(r"<!-- run: placement server -->\n```sh\n(.*?)```", re.DOTALL)
_LOGGED = re.compile(r"<!-- logged -->\n```text\n(.*?)```", re.DOTALL)
_BETWEEN = "----- the next block -----"
_PATIENCE_SECONDS = 60

pytestmark = needs_placement


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a registry with the sample data, as make run starts it."""
    with demonstration(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the port of the Placement that the guide starts."""
    number = str(free_port())
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "var").mkdir()
    for name in (".ci", "requirements", "var/openstack-placement"):
        (checkout / name).symlink_to(ROOT / name)
    (script,) = _SERVER.findall(_PAGE)
    with (checkout / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/bash", "-euc", script.replace(_PORT, number).replace("\nOS_PLACEMENT", "\nexec env OS_PLACEMENT")],
            cwd=checkout,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(number):
            assert process.poll() is None, (checkout / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield number
    finally:
        process.kill()
        process.wait()


def _answers(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", verify=TLS).is_success
    except httpx.TransportError:
        return False


def test_the_commands_print_what_the_guide_shows(server: Server, port: str) -> None:
    blocks = list(_RUN.finditer(_PAGE))
    assert sum(block["printed"] is not None for block in blocks) == _PAGE.count("<!-- printed -->") == 4
    # In one shell, as in one terminal.
    script = f"echo '{_BETWEEN}'\n".join(block["script"] for block in blocks)
    for here, there in ((_PORT, port), ("demo-token", TOKEN)):
        script = script.replace(here, there)
    printed = run_commands(script, {"REGISTRY_URL": server.url}, ROOT).split(f"{_BETWEEN}\n")
    assert printed == [block["printed"] or "" for block in blocks]
    assert trait_of("acme.example/dpu-net-2024") in script


def test_it_logs_what_the_guide_shows(server: Server, port: str, tmp_path: Path) -> None:
    """After the test above: the nodes are there, without traits."""
    log = tmp_path / "log"
    variables = {"OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": f"http://127.0.0.1:{port}", "OS_TOKEN": "admin"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command("adapter", "placement", "--vendor", "acme.example"),
            env={**environment(url=server.url), **variables},
            stdout=file,
            stderr=file,
        )
    try:
        _until(log, 5)
        with Registry(ClientSettings(url=server.url, token=SecretStr(TOKEN))) as registry:
            registry.patch("/profiles/acme.example/dpu-net-2024", {"state": "retired"})
        _until(log, 7)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_SECONDS) == 0
    (shown,) = _LOGGED.findall(_PAGE)
    assert _without_times(log.read_text()) == _without_times(shown)


def _until(log: Path, lines: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(log.read_text().splitlines()) < lines:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _without_times(text: str) -> Sequence[str]:
    return [line.split(" ", 2)[2] for line in text.splitlines()]


def test_the_names_of_traits_are_those_of_the_guide() -> None:
    rows = re.findall(r"^\| `([a-z0-9./-]+)` \| `(CUSTOM_\w+)` \|$", _PAGE, re.MULTILINE)
    assert len(rows) == 3
    for profile, trait in rows:
        assert trait_of(profile) == trait
