"""What commands load: neither a TAB nor a question waits for what only the service needs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.cli import naming
from tests.commands import Words, commands, groups

# These run the service in their own process.
_SERVICE = {"serve", "migrate", "demo"}
# So does this one, but nothing of the registry's.
_EXTENDER = ("adapter", "kubernetes")
_ONLY_SERVICE = {"alembic", "fastapi", "psycopg", "sqlalchemy", "starlette", "uvicorn"}
# Reading a command line needs none of these, either.
_SLOW = {"asyncio", "cryptography", "httpx", "orjson", "pydantic", "rich.console"}
# Names the modules that are loaded when the command ends; those that still wait to be loaded are of another type.
_PROBE = """
import atexit, json, sys, types

@atexit.register
def report():
    print("LOADED", json.dumps([name for name, module in sys.modules.items() if type(module) is types.ModuleType]))

from app.cli.command import main
main()
"""
_COMMAND = [sys.executable, "-c", _PROBE]
# Options without which a command would ask this machine.
_OPTIONS = {
    "host report": ["--root", "."],
    "import qemu": ["--capture", "none"],
    "mirror": ["--once"],
    # Otherwise they go on until they are ended.
    "adapter incus": ["--once"],
    "adapter opennebula": ["--driver", "none"],
}


def _loaded(*words: str, environment: Mapping[str, str], folder: Path | None = None) -> set[str]:
    """Return the modules and packages that a command has loaded when it ends."""
    ended = subprocess.run(
        [*_COMMAND, *words],
        cwd=folder,
        env={**os.environ, **environment},
        input="{}",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    names: list[str] = json.loads(ended.stdout.rpartition("LOADED ")[2])
    return {*names, *(name.partition(".")[0] for name in names)}


def _tab(line: str) -> dict[str, str]:
    """Return the environment in which bash asks what completes the last word of a line."""
    return {"_PROFILE_REGISTRY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}


@pytest.mark.parametrize(
    "line",
    [
        *(" ".join(["profile-registry", *words, ""]) for words in groups()),
        *(" ".join(["profile-registry", *words, "--"]) for words, _ in commands()),
    ],
)
def test_a_tab_loads_only_what_declares_the_command(line: str) -> None:
    assert _loaded(environment=_tab(line)) & (_ONLY_SERVICE | _SLOW) == set()


def _required(command: Any) -> Iterator[str]:
    """Iterate over words for what a command needs to begin."""
    for parameter in command.params:
        if parameter.required:
            if parameter.param_type_name == "option":
                yield parameter.opts[0]
            yield next(iter(getattr(parameter.type, "choices", ["a.com/r@1"])))


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """Yield the address of a registry that knows nothing."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (as the base class looks them up)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        pytest.param(words, node, id=" ".join(words))
        for words, node in commands()
        if words[0] not in _SERVICE and words != _EXTENDER
    ],
)
def test_a_client_command_loads_nothing_of_the_service(
    words: Words, command: Any, refusing: str, tmp_path: Path
) -> None:
    environment = {"REGISTRY_URL": refusing, "REGISTRY_TOKEN": "secret", "PATH": str(tmp_path), "HOME": str(tmp_path)}
    given = [*words, *_OPTIONS.get(" ".join(words), []), *_required(command)]
    assert _loaded(*given, environment=environment, folder=tmp_path) & _ONLY_SERVICE == set()


def test_everything_is_loaded_before_threads_start() -> None:
    program = """
import sys, types
from app.cli.lazy import load_all, load_lazily
load_lazily()
from app.cli import client
assert type(client) is not types.ModuleType
load_all()
print([name for name, module in sys.modules.items() if name.startswith("app") and type(module) is not types.ModuleType])
from app.cli import mirroring
print(type(mirroring) is types.ModuleType)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\nTrue\n", "")


def _cpu(*arguments: str, **environment: str) -> float:
    """Return the seconds of CPU that a process takes: the least of several runs, which others disturb least."""

    def once() -> float:
        process = subprocess.Popen(
            [sys.executable, *arguments], env={**os.environ, **environment}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    return min(once() for _ in range(7))


@pytest.mark.alone
@pytest.mark.parametrize("line", ["profile-registry ", "profile-registry check --policy ", "profile-registry serve --"])
def test_a_tab_costs_little_more_than_typer(line: str) -> None:
    # 0.15 s of CPU where importing Typer takes 0.045 s; before, 0.4 to 1.0 s.
    assert _cpu("-m", "app.cli", **_tab(line)) < 2.5 * _cpu("-c", "import typer")


@pytest.mark.alone
def test_a_tab_for_a_name_costs_little_more() -> None:
    names = [f"vendor-a.com/my-nic-{number}" for number in range(naming._PAGE)]

    class Listing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"items": [{"model": name} for name in names]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {**_tab("profile-registry check --model vendor"), "REGISTRY_URL": server_url(server)}
        assert _cpu("-m", "app.cli", **environment) < 4 * _cpu("-c", "import typer")
        server.shutdown()


def server_url(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"
