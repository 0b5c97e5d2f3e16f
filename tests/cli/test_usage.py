"""What all commands share: help, suggestions, completion, and the addresses of help pages."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product, takewhile
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import naming
from app.cli.client import Registry, help_address
from app.cli.command import command
from app.client import RegistryError
from app.settings import ClientSettings
from tests.api.serving import served
from tests.api.stories import NIC, QUEUES, publish, vendor
from tests.commands import commands, groups
from tests.conftest import AUTHORIZATION, TOKEN, fresh_database, make_app

RELEASE = "vendor-a.com/fw@1:2.0"
# A busy machine can take longer than people wait.
PATIENT = f"""#!{sys.executable}
from app.cli import naming
from app.cli.command import main

naming._SECONDS = 60
main()
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command(), list(arguments), env={"COLUMNS": "80"})


@pytest.mark.parametrize("words", list(groups()), ids=" ".join)
def test_lists_of_commands_fit_80_columns_and_nothing_is_cut(words: tuple[str, ...]) -> None:
    _, _, listed = run(*words, "--help").stdout.partition("Commands:\n")
    lines = listed.splitlines()
    assert len(lines) == len([line for line in lines if re.match(r"  [a-z]", line)])
    assert [line for line in lines if line.endswith(("...", "…")) or len(line) > 80] == []


@pytest.mark.parametrize(("words", "shown"), list(commands()), ids=str)
def test_help_has_a_short_option_and_capitals(words: tuple[str, ...], shown: Any) -> None:
    short, long = run(*words, "-h"), run(*words, "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    usage = short.stdout.partition("\n\n")[0]
    assert not re.search(r"[{}<>]", usage)
    arguments = [param for param in shown.params if param.param_type_name == "argument"]
    choices = [param for param in arguments if hasattr(param.type, "choices")]
    assert all(re.fullmatch(r"[A-Z-]+", param.metavar) for param in arguments if param not in choices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], "Did you mean 'check'?"),
        (["token", "creat"], "Did you mean 'create'?"),
        (["check", "--modl", "x"], "No such option: --modl. Did you mean --model?"),
        (["--verson"], "Did you mean --version?"),
        (["check", "--policy", "stric"], "Did you mean 'strict'?"),
        (["impact", "x", "--state", "retird"], "Did you mean 'retired'?"),
        (["completion", "zash"], "Did you mean 'zsh' or 'bash'?"),
        (["publish"], "Missing argument 'FILE'."),
    ],
)
def test_what_is_misspelt_is_answered_with_what_is_meant(arguments: list[str], message: str) -> None:
    refused = run(*arguments)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


def test_nothing_is_suggested_that_resembles_nothing() -> None:
    for arguments in (["check", "--policy", "9"], ["check", "--zzzzz"], ["zzzzz"]):
        refused = run(*arguments)
        assert (refused.exit_code, "Did you mean" in refused.stderr) == (2, False)


@pytest.mark.parametrize(
    ("url", "problem", "address"),
    [
        ("http://r.example", {"type": "/help/invalid"}, "http://r.example/help/invalid"),
        ("http://r.example/below/", {"type": "/help/invalid"}, "http://r.example/below/help/invalid"),
        ("http://user:secret@r.example", {"type": "/help/invalid"}, "http://r.example/help/invalid"),
        ("http://r.example", {"type": "https://help.example/x"}, "https://help.example/x"),
        ("http://r.example", {"type": "about:blank"}, None),
        ("http://r.example", {}, None),
        ("http://r.example", {"type": 7}, None),
    ],
)
def test_a_problem_has_the_address_of_its_help(url: str, problem: dict[str, Any], address: str | None) -> None:
    assert help_address(url, problem) == address


def test_an_error_ends_with_the_address_of_its_help() -> None:
    content = {"type": "/help/forbidden", "status": 403, "code": "forbidden", "detail": "This token can only read."}
    transport = httpx.MockTransport(lambda _: httpx.Response(403, json=content))
    settings = ClientSettings(url="http://r.example", token=SecretStr(TOKEN))
    with Registry(settings, transport) as registry, pytest.raises(RegistryError) as refused:
        registry.get("/tokens")
    assert str(refused.value).splitlines() == [
        "This token can only read. (403 forbidden)",
        "Help: http://r.example/help/forbidden",
    ]


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a registry with a release."""
    with fresh_database("sqlite", request) as url:
        app = make_app(url)
        with TestClient(app, headers=AUTHORIZATION) as registry:
            vendor(registry)
            profiles = [{"name": "vendor-a.com/my-nic-2024", "values": {NIC: {}}}]
            assert publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=profiles).is_success
            # What a shell would expand is not offered to it.
            for host in ("$(reboot)", "host-17"):
                assert registry.put(f"/hosts/{host}", json={"releases": [RELEASE]}).is_success
        with served(app) as address:
            yield address


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command as a file that a shell starts, which waits longer for names."""
    file = tmp_path_factory.mktemp("program") / "profile-registry"
    file.write_text(PATIENT)
    file.chmod(0o755)
    return file


COMPLETED = [
    ("release retire vendor-a.com/fw@1", [RELEASE]),
    ("check --model vendor-a", [NIC]),
    ("check --profile vendor-a.com/my", ["vendor-a.com/my-nic-2024"]),
    ("check --host ", ["host-17"]),
    ("matrix --implementation v", ["vendor-a.com/fw"]),
    ("key list v", ["vendor-a.com"]),
    ("impact vendor-a.com/", [RELEASE, "vendor-a.com/my-nic-2024"]),
    ("check --model nobody", []),
    ("completion z", ["zsh"]),
]


@pytest.mark.parametrize(("line", "words"), COMPLETED)
def test_bash_completes_names_of_the_registry(address: str, program: Path, line: str, words: list[str]) -> None:
    # Bash breaks words at @ and :, and replaces the last part only.
    typed = f"profile-registry {line}"
    script = run("completion", "bash").stdout
    shell = f"""{script}
        COMP_LINE={typed!r} COMP_POINT={len(typed)}
        _profile_registry_completion {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "REGISTRY_URL": address}
    output = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, check=True).stdout
    word = line.rpartition(" ")[2]
    kept = word[: max(word.rfind("@"), word.rfind(":")) + 1]
    assert [f"{kept}{rest}" for rest in output.split("\n") if rest] == words


@pytest.mark.parametrize(("line", "words"), COMPLETED)
def test_zsh_and_fish_are_offered_the_same(address: str, program: Path, line: str, words: list[str]) -> None:
    typed = f"profile-registry {line}"
    variables = {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args", "REGISTRY_URL": address}
    for shell in ("fish", "zsh"):
        environment = {**os.environ, **variables, "_PROFILE_REGISTRY_COMPLETE": f"complete_{shell}"}
        offered = subprocess.run([program], env=environment, capture_output=True, text=True, check=True).stdout
        if words:
            assert all(word.replace(":", r"\\:" if shell == "zsh" else ":") in offered for word in words)
        else:
            assert offered.strip() in {"", "_files"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_valid(shell: str, tmp_path: Path) -> None:
    script = run("completion", shell)
    assert script.exit_code == 0
    assert "profile-registry" in script.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(script.stdout)
    subprocess.run([shell, "-n", str(file)], check=True)


def test_completion_is_silent_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_URL", "http://127.0.0.1:9")
    assert naming.models("v") == []
    monkeypatch.setenv("REGISTRY_URL", "nonsense")
    assert naming.published("v") == []


def test_completion_does_not_wait_for_a_slow_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.2)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(naming, "_SECONDS", 0.01)
        monkeypatch.setenv("REGISTRY_URL", f"http://127.0.0.1:{server.server_port}")
        assert naming.models("v") == []
        server.shutdown()


_PAGE = Path(__file__).parents[2] / "docs" / "pages" / "commands.md"
# A word of a command, or several of which one is chosen; what follows are its arguments.
_WORDS = re.compile(r"[a-z-]+(?:\\\|[a-z-]+)*")


def _documented(text: str) -> Iterator[tuple[str, ...]]:
    r"""Iterate over the commands that a page's table lists: `import vdpa\\|mdev` are two."""
    table = text.partition("| command | what it does |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        cell = re.split(r"(?<!\\)\|", row)[1]
        for span in re.findall(r"`([^`]+)`", cell):
            words = [word for word in takewhile(lambda word: word[0] != "-", span.split()) if _WORDS.fullmatch(word)]
            yield from product(*(word.split(r"\|") for word in words))


def test_the_page_of_commands_has_every_command_and_no_other() -> None:
    known = {words for words, _ in commands()}
    documented = {words if words in known else words[:1] for words in _documented(_PAGE.read_text())}
    assert documented == known
