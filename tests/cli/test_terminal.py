"""The command as a program of its own: on a terminal, piped, completed by a shell."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import pytest
from fastapi.testclient import TestClient

from tests.api.serving import served
from tests.api.stories import NIC, publish, vendor
from tests.cli.conftest import Run
from tests.conftest import AUTHORIZATION, make_app


def run_as_program(
    *arguments: str, terminal: tuple[int, int] | None = None, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return what the command prints, piped or on a terminal of a size."""
    told = {**os.environ, **environment}
    program = [sys.executable, "-m", "app.cli", *arguments]
    if terminal is None:
        return subprocess.run(program, env=told, capture_output=True, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    width, height = terminal
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    with subprocess.Popen(program, env={**told, "TERM": "xterm"}, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        said = b""
        with suppress(OSError):
            while piece := os.read(ours, 65536):
                said += piece
    os.close(ours)
    assert running.returncode == 0, said
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode()).replace("\r\n", "\n")


@pytest.fixture
def many_releases(database_url: str) -> Iterator[str]:
    """Yield the address of a registry with so many releases that a matrix of them fits no terminal."""
    app = make_app(database_url)
    with TestClient(app, headers=AUTHORIZATION) as registry:
        vendor(registry)
        for number in range(1, 31):
            variables = {"num-queues": {"type": "int", "init_value": 1, "allowed_values": ["1-8"]}}
            profiles = [{"name": "vendor-a.com/a-profile-with-a-long-name-2024", "values": {NIC: {"num-queues": 8}}}]
            assert publish(registry, f"vendor-a.com/fw@{number}", variables, profiles=profiles).is_success
    with served(app) as address:
        yield address


def test_what_is_piped_is_plain_and_what_is_shown_fits_the_terminal(many_releases: str) -> None:
    piped = run_as_program("matrix", environment={"REGISTRY_URL": many_releases})
    (row,) = [line for line in piped.splitlines() if line.startswith("vendor-a.com/a-profile")]
    assert row.split("\t")[1:] == ["yes"] * 30
    assert piped.isascii()
    shown = run_as_program("matrix", terminal=(80, 40), environment={"REGISTRY_URL": many_releases})
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("yes") == 30
    assert "…" not in shown
    names = [line for line in shown.splitlines() if "vendor-a.com/a-profile-with-a-long-name-2024" in line]
    assert len(names) > 1


@pytest.mark.parametrize("arguments", [(), ("check",), ("import",), ("import", "qemu"), ("host",), ("token", "create")])
def test_help_keeps_its_examples_and_fits_the_terminal(arguments: tuple[str, ...]) -> None:
    for said in (run_as_program(*arguments, "--help"), run_as_program(*arguments, "--help", terminal=(80, 40))):
        assert re.search(r"Examples?:\n\n      profile-registry |Examples?:\n\n      REGISTRY", said), said
        assert said.isascii()
        # An example is a line to be copied, however long it is.
        long = [line for line in said.splitlines() if len(line) > 80 and "profile-registry" not in line]
        assert long == []


def test_the_shell_completes_commands_and_values() -> None:
    completing = {"_PROFILE_REGISTRY_COMPLETE": "complete_bash"}
    commands = run_as_program(environment={**completing, "COMP_WORDS": "profile-registry im", "COMP_CWORD": "1"})
    assert set(commands.split()) == {"import", "impact"}
    values = run_as_program(
        environment={**completing, "COMP_WORDS": "profile-registry check --policy ", "COMP_CWORD": "3"}
    )
    assert set(values.split()) == {"strict", "permissive"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "question.json", "--value", "a=b"), "--value would say nothing beside a question in a file"),
        (("check", "--model", "a.b/c", "--device", "x=y"), "--device would say nothing beside --model"),
        (("check", "question.json", "--detail", "summary"), "--detail would say nothing beside a question in a file"),
        (("check", "--model", "a.com/b", "--detail", "summary", "--render", "qemu"), "--render asks for everything"),
        (("check", "--model", "a.com/b", "--value", "a=1", "--value", "a=2"), "a is given twice"),
        (("check", "--domain", "vm.xml", "--source", "net0="), "--source of a device is <id>=<name>, not net0="),
        (("check", "--model", "a.com/b", "--without", "net0"), "--without would say nothing beside --model"),
        (("check", "--domain", "vm.xml", "--value", "a=b"), "with --domain, --value is <id>/name=value"),
        (("check", "none.json"), "none.json cannot be read: No such file or directory"),
        (("matrix", "--csv", "--json"), "--csv or --json, not both"),
    ],
)
def test_what_would_say_nothing_is_an_error(run: Run, arguments: tuple[str, ...], said: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_an_error_is_json_for_programs_too(run: Run) -> None:
    refused = run("token", "revoke", "nothing", "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["code"] == "unknown-token"
    created = json.loads(run("token", "create", "x", "--role", "reader", "--json").stdout)
    revoked = run("token", "revoke", created["id"], "--json")
    assert json.loads(revoked.stdout) == {"revoked": created["id"]}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"REGISTRY_TOKEN": "ä€"}, "REGISTRY_TOKEN holds no token"),
        ({"REGISTRY_TOKEN": "a secret\nof mine"}, "REGISTRY_TOKEN holds no token"),
        ({"REGISTRY_URL": "http://[::1"}, "is no address"),
        ({"REGISTRY_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_what_cannot_be_asked_is_an_error_for_people_and_programs(environment: dict[str, str], said: str) -> None:
    for command in (["token", "list"], ["check", "--model", "a.b/c", "--profile", "a.b/p"], ["matrix"]):
        told = {**os.environ, **environment}
        program = [sys.executable, "-m", "app.cli", *command, "--json"]
        refused = subprocess.run(program, env=told, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert said in json.loads(refused.stdout)["detail"]
        assert "secret" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"REGISTRY_ADMIN_TOKEN": "short"}, "REGISTRY_ADMIN_TOKEN: has at least 8 characters"),
        ({"REGISTRY_ADMIN_TOKEN": "demo-töken"}, "REGISTRY_ADMIN_TOKEN: Value error, has other than visible ASCII"),
        ({"REGISTRY_DATABASE_REPLICA_URL": "bogus"}, "REGISTRY_DATABASE_REPLICA_URL: the database URL is"),
        ({"REGISTRY_DATABASE_REPLICA_URL": "postgresql://h/d"}, "only a PostgreSQL has replicas"),
    ],
)
def test_settings_that_cannot_be_are_said_before_anything_starts(
    settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    told = {**os.environ, "REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path}/r.db", **settings}
    program = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    refused = subprocess.run(program, env=told, capture_output=True, text=True, check=False, timeout=30)
    assert (refused.returncode, said in refused.stderr, "Traceback" in refused.stderr) == (2, True, False), (
        refused.stderr
    )


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_text("no database at all, but long enough to be taken for one" * 100)
    told = {**os.environ, "REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path}/r.db"}
    program = [sys.executable, "-m", "app.cli", "migrate", "--json"]
    refused = subprocess.run(program, env=told, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "the database cannot be reached or used" in json.loads(refused.stdout)["detail"]
