"""The commands as people and programs use them."""

import json
import socket
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from app.cli import service
from app.cli.client import Registry
from app.cli.command import command
from app.storage import database, version
from tests.cli.conftest import Run
from tests.commands import commands

RELEASE = "vendor-a.com/fw@1"
NIC = "vendor-a.com/nic"
INFORMATION = json.dumps(
    {
        "models": {
            NIC: {"params": {"queues": {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-8"]}}}
        }
    }
)


@pytest.fixture
def published(run: Run, api: Registry) -> Run:
    """Return the command on a registry with one release."""
    api.put("/vendors/vendor-a.com", {})
    assert run("import", "migration-info", "-", "--release", RELEASE, stdin=INFORMATION).exit_code == 0
    return run


def test_migration_information_is_imported(published: Run, tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    file.write_text(INFORMATION)
    again = published("import", "migration-info", str(file), "--release", RELEASE)
    assert again.exit_code == 0
    assert "nothing was added" in again.stdout
    dry = published("import", "migration-info", str(file), "--release", "vendor-a.com/fw@2", "--dry-run", "--json")
    assert json.loads(dry.stdout)["added"]["releases"] == 1
    assert published("check", "--model", NIC, "--source", "vendor-a.com/fw@2").exit_code == 1


def test_an_invalid_import_is_refused(run: Run, tmp_path: Path) -> None:
    unknown = run("import", "migration-info", "-", "--release", RELEASE, stdin=INFORMATION)
    assert (unknown.exit_code, "not registered" in unknown.stderr) == (1, True)
    for arguments, message in (
        (("migration-info", str(tmp_path / "none"), "--release", RELEASE), "cannot be read"),
        (("migration-info", "-", "--release", "nonsense"), "a release must be"),
        (("qemu",), "one of --capture FILE, --binary PATH and --all"),
        (("qemu", "--capture", str(tmp_path / "none")), "cannot be read as a capture"),
        (("qemu", "--binary", "/bin/false"), "cannot be queried"),
        (("qemu", "--binary", str(tmp_path / "none")), "is not a program that can be started"),
    ):
        refused = run("import", *arguments, stdin="{")
        assert refused.exit_code == 2, arguments
        assert message in refused.stderr, arguments


def test_check_answers_people_and_programs(published: Run) -> None:
    question = ("check", "--model", NIC, "--source", RELEASE, "--destination", RELEASE)
    good = published(*question)
    assert (good.exit_code, "compatible" in good.stdout) == (0, True)
    bad = published(*question, "--value", "queues=9")
    assert bad.exit_code == 1
    assert "source-value-invalid" in bad.stdout
    as_json = published(*question, "--value", "queues=9", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["results"][0]["compatible"] is False


def test_check_shows_the_question_and_asks_nothing(published: Run, tmp_path: Path) -> None:
    shown = published("check", "--model", NIC, "--value", "queues=9", "--host", "host-1", "--show-question")
    assert shown.exit_code == 0
    question = json.loads(shown.stdout)
    assert question["devices"][0]["values"] == {"queues": "9"}
    assert question["destinations"] == [{"host": "host-1"}]
    file = tmp_path / "vm.xml"
    devices = "<interface type='bridge'><model type='virtio'/></interface><magic/>"
    file.write_text(
        "<domain><name>db</name><os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    )
    asked = ("--domain", str(file), "--source", RELEASE, "--destination", RELEASE)
    shown = published("check", *asked, "--show-question")
    assert shown.exit_code == 0
    assert [device["id"] for device in json.loads(shown.stdout)["vms"][0]["devices"]] == ["interface0", "cpu"]
    assert "not checked: magic0" in shown.stderr
    # What is shown can be asked.
    file.write_text(shown.stdout)
    assert published("check", str(file)).exit_code == 1


def test_check_reads_a_whole_question(published: Run, tmp_path: Path) -> None:
    question = {"vms": [{"id": "db", "devices": [{"model": NIC, "release": RELEASE}]}]}
    file = tmp_path / "question.json"
    file.write_text(json.dumps(question))
    assert published("check", str(file)).exit_code == 0
    assert "db →" in published("check", "-", stdin=json.dumps(question)).stdout
    assert published("check", "-", stdin=json.dumps({**question, "detail": "verdict"})).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--model", NIC, "file"),
        ("--model", NIC, "--value", "queues"),
        ("--model", "vendor-a.com/none"),
        ("--model", NIC, "--policy", "lax"),
        ("no-such-file",),
        ("--nonsense",),
    ],
)
def test_check_without_a_valid_question_exits_with_2(published: Run, arguments: tuple[str, ...]) -> None:
    assert published("check", *arguments).exit_code == 2


def test_an_unreachable_registry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_URL", "http://127.0.0.1:1")
    refused = CliRunner().invoke(command(), ["check", "--model", NIC])
    assert refused.exit_code == 2
    assert "REGISTRY_URL sets the registry's address" in refused.stderr


def test_a_wrong_token_is_named(published: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "wrong")
    refused = published("import", "migration-info", "-", "--release", "vendor-a.com/fw@2", stdin=INFORMATION)
    assert refused.exit_code == 2
    assert "Not signed in: set REGISTRY_TOKEN (HTTP: Authorization: Bearer <token>)." in refused.stderr


def test_migrate_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", f"sqlite:///{tmp_path}/new/registry.db")
    for _ in range(2):
        done = CliRunner().invoke(command(), ["migrate"])
        assert (done.exit_code, "up to date" in done.stdout) == (0, True)
    for url, message in (("mysql://x", "sqlite:///<path>"), ("postgresql://u@127.0.0.1:1/x", "cannot be reached")):
        monkeypatch.setenv("REGISTRY_DATABASE_URL", url)
        refused = CliRunner().invoke(command(), ["migrate"])
        assert (refused.exit_code, message in refused.stderr) == (2, True)


def test_migrate_names_who_it_waits_for_and_gives_up(
    database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", database_url)
    monkeypatch.setattr(service, "_WAIT_SECONDS", 1)
    older = version.revisions()[1]
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :older"), {"older": older})
    with database.noting(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(database._LOCK)
        refused = CliRunner().invoke(command(), ["migrate"])
    writer = "the server process" if engine.dialect.name == "postgresql" else "another process that writes to the file"
    assert refused.exit_code == 2
    assert f"waiting up to 1 s to migrate the database, which is locked by {writer}" in refused.stderr
    assert "Another transaction holds a lock of the database" in refused.stderr


def test_migrate_leaves_a_newer_schema_alone(
    database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    done = CliRunner().invoke(command(), ["migrate"])
    assert (done.exit_code, "is newer than this version, which fits it" in done.stdout) == (0, True)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE program SET oldest = '9999'"))
    refused = CliRunner().invoke(command(), ["migrate"])
    assert (refused.exit_code, "start the newer version" in refused.stderr) == (2, True)


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_every_command_shows_help_with_an_example(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(command(), [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.stdout
    assert f"profile-registry {' '.join(words)}" in " ".join(shown.stdout.split())


def test_the_demonstration_asks_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_DATABASE_URL", f"sqlite:///{tmp_path}/registry.db")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        refused = CliRunner().invoke(command(), ["demo", "--port", port])
        assert (refused.exit_code, "is in use" in refused.stderr) == (2, True)
    shown = CliRunner().invoke(command(), ["demo", "--port", port, "--once"])
    assert shown.exit_code == 0
    assert "curl -s http://127.0.0.1" in shown.stdout
    assert '"unit": "pci/0000:4b:00.2",' in shown.stdout
    assert "max_vqp=16 at the source, but acme.example/dpu@1.0 allows 1-8." in shown.stdout


def test_the_version_is_that_of_the_package(run: Run) -> None:
    shown = run("--version")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert (shown.exit_code, shown.stdout.strip()) == (0, project["version"])
