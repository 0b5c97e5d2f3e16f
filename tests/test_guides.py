"""The guides for operators and vendors: commands run, files are those of deploy, tables are complete."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from app.adapters.settings import AdapterSettings
from app.cli.command import command
from app.settings import ClientSettings, Settings
from app.storage.failure import Cause
from tests import postgresql
from tests.conftest import TOKEN
from tests.running.conftest import ROOT, TLS, client, environment, running, running_anew
from tests.running.test_proxies import serving

_PAGES = ROOT / "docs" / "pages"
_DEPLOY = ROOT / "deploy"
_GUIDES = (
    *("production.md", "configuration.md", "speed.md", "pipelines.md", "adapters/nova.md", "adapters/placement.md"),
    "adapters/kubernetes.md",
    *("adapters/opennebula.md", "adapters/ovirt.md", "adapters/proxmox.md", "adapters/incus.md"),
)
_FILE = re.compile(r"<!-- file: (\S+) -->\n(?:\n```[a-z]*\n.*?\n```\n)?", re.DOTALL)
_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>[a-z]+)\n(?P<text>.*?)```\n", re.DOTALL)
_KINDS = {".yml": "yaml", ".yaml": "yaml", ".conf": "nginx", ".service": "ini", "": "text"}
# What the commands of each mark need.
_PROGRAMS = {"service": "bash", "postgresql": "bash", "sqlite": "sqlite3", "monitoring": "promtool"}
# Marks of commands that tests of their own run, because they need more than the service: tests/adapters.
_ELSEWHERE = {"nova", "placement", "placement server", "demo", "incus", "kubernetes"}


def with_files(text: str) -> str:
    """Return a page with the files that it names after each of their marks."""

    def block(match: re.Match[str]) -> str:
        path = ROOT / match[1]
        return f"<!-- file: {match[1]} -->\n\n```{_KINDS[path.suffix]}\n{path.read_text(encoding='utf-8')}```\n"

    return _FILE.sub(block, text)


def _page(name: str) -> str:
    return (_PAGES / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Block:
    """Commands of a page. mark: how they are run, or why not."""

    page: str
    mark: str
    text: str


def _blocks() -> Iterator[_Block]:
    for page in _GUIDES:
        for match in _BLOCK.finditer(_page(page)):
            if match["kind"] == "sh":
                yield _Block(page, match["mark"] or "", match["text"])


@pytest.mark.parametrize("page", _GUIDES)
def test_the_files_in_a_guide_are_those_of_deploy(page: str) -> None:
    """Run `python -m tests.test_guides` to write them again."""
    assert _page(page) == with_files(_page(page))


@pytest.mark.parametrize("block", list(_blocks()), ids=lambda block: f"{block.page}: {block.text.splitlines()[0][:40]}")
def test_commands_of_a_guide_are_shell_and_are_run_or_say_why_not(block: _Block) -> None:
    kind, _, detail = block.mark.partition(": ")
    assert (kind == "run" and detail in {*_PROGRAMS, *_ELSEWHERE}) or (kind == "not run" and detail), block
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    # Whatever is run here or not: the options of the command are those that there are.
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words and words[0] == "profile-registry":
            _check_options(words[1:])


def _check_options(words: list[str]) -> None:
    """Check that a command exists, with all options that are given to it."""
    names = [word for word in words if not word.startswith("-")]
    depth = next(depth for depth in (2, 1) if CliRunner().invoke(command(), [*names[:depth], "--help"]).exit_code == 0)
    helped = CliRunner().invoke(command(), [*names[:depth], "--help"]).output
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in helped, word


@contextmanager
def _on_postgresql(_folder: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield a server on PostgreSQL, and the variables of the guide."""
    with postgresql.server() as database:
        database.execute("CREATE DATABASE live")
        live, drill = (database.url.removesuffix("postgres") + name for name in ("live", "registry_drill"))
        run_commands("profile-registry migrate", {"REGISTRY_DATABASE_URL": live}, ROOT)
        with running(live) as server:
            yield server, {"REGISTRY_DATABASE_URL": live, "DRILL_DATABASE_URL": drill}


@contextmanager
def _on_sqlite(folder: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield a server on SQLite, and the variables of the guide."""
    with running_anew(folder) as server:
        yield server, {"DATABASE_FILE": str(folder / "r.db")}


def run_commands(script: str, variables: dict[str, str], folder: Path) -> str:
    """Run commands of a guide as bash does with errexit; return what they print."""
    path = os.pathsep.join((str(Path(sys.executable).parent), str(postgresql.programs()), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**environment(), "PATH": path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", _PROGRAMS)
def test_the_commands_of_the_guides_run(kind: str, tmp_path: Path) -> None:
    if shutil.which(_PROGRAMS[kind]) is None:
        pytest.skip(f"{_PROGRAMS[kind]} is not installed")
    blocks = [block for block in _blocks() if block.mark == f"run: {kind}"]
    assert blocks
    (tmp_path / "data").mkdir()
    (tmp_path / "deploy").symlink_to(_DEPLOY)
    with _serving(kind, tmp_path / "data") as variables:
        for block in blocks:
            run_commands(block.text, variables, tmp_path)


@contextmanager
def _serving(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of the guides, with a service that has a vendor if the commands need one."""
    if kind == "monitoring":
        yield {}
        return
    start = _on_postgresql if kind == "postgresql" else _on_sqlite
    with start(folder) as (server, variables):
        with client(server) as registry:
            registry.put("/vendors/vendor-a.com", json={"name": "A"}).raise_for_status()
        yield {"REGISTRY_URL": server.url, "REGISTRY_TOKEN": TOKEN, **variables}


def _default(name: str, default: Any) -> str:
    """Return the default of a setting as the page writes it."""
    if default is None or name in {"signing_key", "hosts", "token", "id_token"}:
        return ""
    return json.dumps(default).strip('"')


@pytest.mark.parametrize("settings", [Settings, ClientSettings, AdapterSettings])
def test_every_setting_is_described_with_its_default(
    settings: type[Settings | ClientSettings | AdapterSettings],
) -> None:
    rows = [line.split(" | ") for line in _page("configuration.md").splitlines() if line.startswith("| `REGISTRY_")]
    for name, field in settings.model_fields.items():
        variable = f"`REGISTRY_{name.upper()}`"
        (row,) = [row for row in rows if variable in row[0]]
        defaults = row[2].removesuffix(" |").split(", ")
        names = row[0].removeprefix("| ").split(", ")
        # One default for all variables of the row, or one for each.
        default = defaults[names.index(variable)] if len(defaults) == len(names) else row[2]
        assert _default(name, field.default) in default, variable


def _first_cells(page: str, heading: str) -> list[str]:
    """Return the names in the first cells of the tables below a heading."""
    section = re.split(r"\n## ", _page(page))
    (text,) = [part for part in section if part.startswith(heading)]
    return [
        name for line in text.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line[:80])
    ]


def test_every_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load((_DEPLOY / "monitoring" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    section = _page("production.md").split("\n## Alerts")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(ProfileRegistry\w+)` \((\w+)\) \|", section, re.MULTILINE))
    assert rows == {rule["alert"]: rule["labels"]["severity"] for rule in group["rules"]}


def test_every_metric_and_every_cause_is_described(registry: TestClient) -> None:
    families = text_string_to_metric_families(registry.get("/metrics").text)
    there = {f"{family.name}{'_total' * (family.type == 'counter')}" for family in families}
    text = _page("production.md").split("\n## Metrics")[1].split("\n## ")[0]
    described = set(re.findall(r"`(profile_registry_\w+)`", text)) | {"profile_registry_database_pool_checked_out"}
    assert {name for name in there if name.startswith("profile_registry_")} <= described
    assert {cause.value for cause in Cause} <= set(_first_cells("production.md", "When the database fails"))


def test_every_field_of_the_log_is_described(tmp_path: Path) -> None:
    with serving(tmp_path, requests_per_minute="1") as url:
        assert [httpx.get(f"{url}/models", verify=TLS).status_code for _ in range(2)] == [200, 429]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    fields = {field for line in lines for field in line}
    section = _page("production.md").split("\n## Log")[1].split("A failure of the database")[0]
    assert set(re.findall(r"^\|[^|]*\| `(\w+)` \|", section, re.MULTILINE)) == fields
    assert "cause" in fields


def _steps() -> dict[str, list[str]]:
    """Return the shell of every job, by file and job."""
    github = yaml.safe_load((_DEPLOY / "pipelines" / "github.yml").read_text(encoding="utf-8"))["jobs"]
    gitlab = yaml.safe_load((_DEPLOY / "pipelines" / "gitlab.yml").read_text(encoding="utf-8"))
    jobs = {f"github {name}": [step["run"] for step in job["steps"] if "run" in step] for name, job in github.items()}
    before = gitlab.pop(".device-profiles")["before_script"]
    # GitLab runs all lines of a job in one shell.
    return jobs | {f"gitlab {name}": ["\n".join([*before, *job["script"]])] for name, job in gitlab.items()}


@pytest.mark.parametrize(
    ("job", "status", "expected"),
    [
        ("github dry-run", 0, 0),
        ("github dry-run", 1, 1),
        # The registry is away: the merge is not blocked.
        ("github dry-run", 2, 0),
        ("github publish", 0, 0),
        ("github publish", 1, 1),
        ("github publish", 2, 2),
        ("gitlab device-profiles-dry-run", 0, 0),
        ("gitlab device-profiles-dry-run", 1, 1),
        # allow_failure has this status.
        ("gitlab device-profiles-dry-run", 2, 2),
        ("gitlab device-profiles-publish", 0, 0),
        ("gitlab device-profiles-publish", 1, 1),
    ],
)
def test_a_job_ends_with_the_status_of_the_command(tmp_path: Path, job: str, status: int, expected: int) -> None:
    done, calls = _job(tmp_path, job, status)
    assert done == expected
    release = "vendor-a.com/my-nic-firmware@2024.1"
    options = ["--dry-run"] if "dry-run" in job else []
    assert shlex.split(calls[-1]) == ["publish", "release.json", "--release", release, *options]
    assert calls[0].startswith("token exchange")


@pytest.mark.parametrize("job", ["github publish", "gitlab device-profiles-publish"])
def test_a_tag_that_is_not_the_version_publishes_nothing(tmp_path: Path, job: str) -> None:
    done, calls = _job(tmp_path, job, 0, tag="v2024.2")
    assert done == 1
    assert not any(call.startswith("publish") for call in calls)


def _job(folder: Path, job: str, status: int, tag: str = "v2024.1") -> tuple[int, list[str]]:
    """Run the shell of a job, with a command that ends with a status; return its status and the calls."""
    program, calls = folder / "bin" / "profile-registry", folder / "calls"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n[ "$1" != publish ] || exit {status}\n')
    program.chmod(0o755)
    for name in ("python", "python3", "pip"):
        # It would install the wheel.
        stub = folder / "bin" / name
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    (folder / "VERSION").write_text("2024.1\n")
    variables = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "RUNNER_TEMP": str(folder),
        "GITHUB_PATH": str(folder / "path"),
        "GITHUB_ENV": str(folder / "env"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_REF_NAME": tag,
        "CI_COMMIT_TAG": tag,
        "SIGNING_KEY": "",
        "REGISTRY_WHEEL": "https://wheels.example/registry.whl",
        "IMPLEMENTATION": "vendor-a.com/my-nic-firmware",
        "DOCUMENT": "release.json",
    }
    code = 0
    for script in _steps()[job]:
        own = re.sub(r"^\S*/bin/pip\"? install.*$", "true", script, flags=re.MULTILINE)
        own = re.sub(r'^"\$RUNNER_TEMP/registry/bin/pip" install.*$', "true", own, flags=re.MULTILINE)
        code = subprocess.run(["bash", "-eo", "pipefail", "-c", own], env=variables, cwd=folder, check=False).returncode
        if code:
            break
    return code, calls.read_text().splitlines()


def test_jobs_use_commands_that_there_are() -> None:
    scripts = "\n".join(script for steps in _steps().values() for script in steps)
    for names in (["token", "exchange"], ["publish"]):
        assert f"profile-registry {' '.join(names)}" in scripts
        helped = CliRunner().invoke(command(), [*names, "--help"])
        if names == ["publish"] and "No such command" in helped.output:
            pytest.skip("this version has no command publish")
        assert helped.exit_code == 0, helped.output


if __name__ == "__main__":
    for guide in _GUIDES:
        (_PAGES / guide).write_text(with_files(_page(guide)), encoding="utf-8")
