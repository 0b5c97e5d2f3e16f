"""The command as a separate program: on a terminal, in a pipe, completed by a shell."""

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
    """Return the output of the command, in a pipe or on a terminal of a size (columns, lines)."""
    variables = {**os.environ, **environment}
    program = [sys.executable, "-m", "app.cli", *arguments]
    if terminal is None:
        return subprocess.run(program, env=variables, capture_output=True, text=True, check=True).stdout
    parent, child = pty.openpty()
    width, height = terminal
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    with subprocess.Popen(program, env={**variables, "TERM": "xterm"}, stdout=child, stderr=child) as running:
        os.close(child)
        output = b""
        with suppress(OSError):
            while chunk := os.read(parent, 65536):
                output += chunk
    os.close(parent)
    assert running.returncode == 0, output
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode()).replace("\r\n", "\n")


@pytest.fixture
def many_releases(database_url: str) -> Iterator[str]:
    """Yield the address of a registry with more releases than a matrix can show on one terminal."""
    app = make_app(database_url)
    with TestClient(app, headers=AUTHORIZATION) as registry:
        vendor(registry)
        for number in range(1, 31):
            variables = {"num-queues": {"type": "int", "init_value": 1, "allowed_values": ["1-8"]}}
            profiles = [{"name": "vendor-a.com/a-profile-with-a-long-name-2024", "values": {NIC: {"num-queues": 8}}}]
            assert publish(registry, f"vendor-a.com/fw@{number}", variables, profiles=profiles).is_success
    with served(app) as address:
        yield address


def test_a_pipe_gets_plain_text_and_a_terminal_gets_tables_that_fit(many_releases: str) -> None:
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
    for output in (run_as_program(*arguments, "--help"), run_as_program(*arguments, "--help", terminal=(80, 40))):
        assert re.search(r"Examples?:\n\n      profile-registry |Examples?:\n\n      REGISTRY", output), output
        assert output.isascii()
        # An example stays on one line so that it can be copied.
        long = [line for line in output.splitlines() if len(line) > 80 and "profile-registry" not in line]
        assert long == []


def test_the_shell_completes_commands_and_values() -> None:
    completion = {"_PROFILE_REGISTRY_COMPLETE": "complete_bash"}
    commands = run_as_program(environment={**completion, "COMP_WORDS": "profile-registry im", "COMP_CWORD": "1"})
    assert set(commands.split()) == {"import", "impact"}
    values = run_as_program(
        environment={**completion, "COMP_WORDS": "profile-registry check --policy ", "COMP_CWORD": "3"}
    )
    assert set(values.split()) == {"strict", "permissive"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "question.json", "--value", "a=b"), "--value has no effect together with a question file"),
        (("check", "--model", "a.b/c", "--device", "x=y"), "--device has no effect together with --model"),
        (("check", "question.json", "--detail", "summary"), "--detail has no effect together with a question file"),
        (
            ("check", "--model", "a.com/b", "--detail", "summary", "--render", "qemu"),
            "--render needs --detail full, not summary",
        ),
        (("check", "--model", "a.com/b", "--value", "a=1", "--value", "a=2"), "a is given twice"),
        (("check", "--domain", "vm.xml", "--source", "net0="), "--source of a device must be <id>=<name>, not net0="),
        (("check", "--model", "a.com/b", "--without", "net0"), "--without has no effect together with --model"),
        (("check", "--domain", "vm.xml", "--value", "a=b"), "with --domain, --value must be <id>/name=value"),
        (("check", "none.json"), "none.json cannot be read: No such file or directory"),
        (("matrix", "--csv", "--json"), "--csv or --json, not both"),
    ],
)
def test_options_without_effect_are_refused(run: Run, arguments: tuple[str, ...], message: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_an_error_is_json_with_the_option_json(run: Run) -> None:
    refused = run("token", "revoke", "nothing", "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["code"] == "unknown-token"
    created = json.loads(run("token", "create", "x", "--role", "reader", "--json").stdout)
    revoked = run("token", "revoke", created["id"], "--json")
    assert json.loads(revoked.stdout) == {"revoked": created["id"]}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"REGISTRY_TOKEN": "ä€"}, "REGISTRY_TOKEN must contain only visible ASCII characters"),
        ({"REGISTRY_TOKEN": "a secret\nof mine"}, "REGISTRY_TOKEN must contain only visible ASCII characters"),
        ({"REGISTRY_URL": "http://[::1"}, "is not a valid URL"),
        ({"REGISTRY_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_a_wrong_client_setting_is_an_error_for_people_and_programs(environment: dict[str, str], message: str) -> None:
    for command in (["token", "list"], ["check", "--model", "a.b/c", "--profile", "a.b/p"], ["matrix"]):
        variables = {**os.environ, **environment}
        program = [sys.executable, "-m", "app.cli", *command, "--json"]
        refused = subprocess.run(program, env=variables, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert message in json.loads(refused.stdout)["detail"]
        assert "secret" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"REGISTRY_ADMIN_TOKEN": "short"}, "REGISTRY_ADMIN_TOKEN: must have at least 8 characters"),
        ({"REGISTRY_ADMIN_TOKEN": "demo-töken"}, "REGISTRY_ADMIN_TOKEN: Value error, must have only visible ASCII"),
        ({"REGISTRY_DATABASE_REPLICA_URL": "bogus"}, "REGISTRY_DATABASE_REPLICA_URL: the database URL must be"),
        ({"REGISTRY_DATABASE_REPLICA_URL": "postgresql://h/d"}, "a replica needs PostgreSQL"),
    ],
)
def test_invalid_settings_are_named_before_the_service_starts(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    variables = {**os.environ, "REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path}/r.db", **settings}
    program = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    refused = subprocess.run(program, env=variables, capture_output=True, text=True, check=False, timeout=30)
    assert (refused.returncode, message in refused.stderr, "Traceback" in refused.stderr) == (2, True, False), (
        refused.stderr
    )


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_text("not a database, but long enough to be mistaken for one" * 100)
    variables = {**os.environ, "REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path}/r.db"}
    program = [sys.executable, "-m", "app.cli", "migrate", "--json"]
    refused = subprocess.run(program, env=variables, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "The database is corrupt" in json.loads(refused.stdout)["detail"]
    assert "file is not a database" in json.loads(refused.stdout)["detail"]
