"""What README and the guides say to type works as it is written, and gets the answers that they show."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from app.cli.command import command, load
from tests.documents import ROOT, commands, normal, requests, shells

_ADMIN = "demo-token"
# `make run` is the service that the test starts; the next two talk to libvirt and to the tools of a real host.
_NOT_RUN = ("make run", "virsh", "profile-registry host report")
_SHELL_DOCUMENTS = ["README.md", "docs/pages/first-steps.md", "docs/pages/ask.md", "docs/pages/fleet.md"]
_REQUEST_DOCUMENTS = ["docs/pages/ask.md", "docs/pages/outside.md"]
_START_SECONDS = 90
_BASH = shutil.which("bash")


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """Yield the address of the registry that `make run` starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    command = [sys.executable, "-m", "app.cli", "demo", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with (folder / "demo.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
        try:
            _wait(folder / "demo.log", process)
            yield address
        finally:
            process.terminate()
            process.wait()


def _wait(log: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while "Ctrl-C stops it" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that looks like the checkout, so that what the commands write does not get into the real one."""
    for name in ("tests", "app", "deploy", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    command = binaries / "profile-registry"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m app.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


def _curl_has_json() -> bool:
    curl = shutil.which("curl")
    if curl is None:
        return False
    version = re.search(r"curl (\d+)\.(\d+)", subprocess.run([curl, "-V"], capture_output=True, text=True).stdout)  # noqa: PLW1510
    return version is not None and (int(version[1]), int(version[2])) >= (7, 82)


@pytest.mark.skipif(_BASH is None or not _curl_has_json(), reason="the documents' commands need bash and curl 7.82")
@pytest.mark.parametrize("document", _SHELL_DOCUMENTS)
def test_the_commands_of_a_document_work_as_they_are_written(folder: Path, document: str) -> None:
    text = (ROOT / document).read_text()
    blocks = [shell for shell in shells(text) if not shell.text.startswith(_NOT_RUN)]
    assert blocks
    with demo(folder) as address:
        script = "set -euo pipefail\nexport COLUMNS=100 NO_COLOR=1\n" + _PREAMBLE.get(document, "")
        for number, shell in enumerate(blocks):
            # A comment of the document cannot end the line of the mark.
            script += f"echo\necho '@@@ {number}'\n{shell.text}\n"
        script = script.replace("http://127.0.0.1:8000", address)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        environment |= {"REGISTRY_URL": address, "REGISTRY_TOKEN": _ADMIN}
        environment["PATH"] = f"{folder}/.venv/bin:{environment['PATH']}"
        ran = subprocess.run(
            [str(_BASH), "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    outputs = dict(enumerate(re.split(r"^@@@ \d+$", ran.stdout, flags=re.MULTILINE)[1:]))
    for number, shell in enumerate(blocks):
        printed = {normal(line) for line in re.split(r"\n|(?<=})(?={)", outputs[number])}
        for answer in shell.answers:
            assert normal(answer) in printed, shell.text


# What a guide tells the reader to have done before.
_PREAMBLE = {
    "docs/pages/fleet.md": f"export U=http://127.0.0.1:8000 T='Authorization: Bearer {_ADMIN}'\n",
    "docs/pages/ask.md": f"export U=http://127.0.0.1:8000 T='Authorization: Bearer {_ADMIN}'\n",
}


@pytest.mark.parametrize("document", _REQUEST_DOCUMENTS)
def test_the_requests_of_a_guide_are_accepted(folder: Path, document: str) -> None:
    sent = list(requests((ROOT / document).read_text()))
    assert sent
    with (
        demo(folder) as address,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {_ADMIN}"}, timeout=60) as registry,
    ):
        for request in sent:
            if vendor := re.match(r"/releases/([^/]+)/", request.path):
                registry.put(f"/vendors/{vendor[1]}", json={})
            body = json.loads(request.body) if request.body else None
            response = registry.request(request.method, request.path, json=body)
            assert response.is_success, f"{request.method} {request.path}: {response.text}"


_DOCUMENTS = [
    "README.md",
    "app/client/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]


@pytest.mark.parametrize("document", [name for name in _DOCUMENTS if "profile-registry " in (ROOT / name).read_text()])
def test_every_command_of_a_document_exists_with_its_options(document: str) -> None:
    for text in commands((ROOT / document).read_text()):
        _check(text)


def _check(text: str) -> None:
    """Fail if a command line is not one of the command: it is parsed, and nothing is done."""
    try:
        split = shlex.split(text, comments=True)
    except ValueError:
        # A quoted text goes on in the next line, or has a character at which commands end.
        split = text.split()
    words = [re.sub(r"[…<>\[\]]", "x", word) for word in split[1:]]
    words = [word for word in words if word not in {"x", "\\"}]
    found: Any = typer.main.get_command(command())
    rest = words
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in found.commands, text
        # Of the command itself, only the one that is named gets imported.
        known = load(rest[0]) if found.name == "profile-registry" else found.commands[rest[0]]
        found, rest = known, rest[1:]
    options = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in {*options, "--help"}, f"{word} in: {text}"


def test_the_check_of_commands_finds_what_does_not_exist() -> None:
    _check("profile-registry check --model a.com/b --source a.com/c@1")
    with pytest.raises(AssertionError):
        _check("profile-registry check --modle a.com/b")
    with pytest.raises(AssertionError):
        _check("profile-registry pubish x")
