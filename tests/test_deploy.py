"""The files of deploy fit the service and the command: settings, addresses, the time to stop, units and hooks."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from app.cli.command import command
from app.main import service
from app.settings import Settings, unknown_variables

_ROOT = Path(__file__).parents[1]
# From the end of the time of grace to the end of the process.
_MARGIN_SECONDS = 3


@pytest.fixture(scope="module")
def compose() -> Any:
    """The services of Docker Compose."""
    return yaml.safe_load((_ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def pod() -> Any:
    """The pod of Kubernetes."""
    documents = yaml.safe_load_all((_ROOT / "deploy" / "kubernetes.yaml").read_text())
    return next(document for document in documents if document["kind"] == "Deployment")["spec"]["template"]["spec"]


def test_compose_sets_known_settings_and_no_secret(compose: Any) -> None:
    environment = compose["services"]["registry"]["environment"]
    assert list(unknown_variables(environment)) == []
    for service_name in ("registry", "database"):
        for name, value in compose["services"][service_name]["environment"].items():
            if re.search("TOKEN|PASSWORD|DATABASE_URL", name):
                assert name.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in compose["services"][service_name]["secrets"]


def test_only_the_proxy_is_published_and_trusted(compose: Any) -> None:
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["proxy"]
    proxy = compose["services"]["proxy"]["networks"]["edge"]["ipv4_address"]
    assert json.loads(compose["services"]["registry"]["environment"]["REGISTRY_TRUSTED_PROXIES"]) == [proxy]
    assert compose["services"]["database"]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}


def test_every_container_of_compose_is_limited(compose: Any) -> None:
    for container in compose["services"].values():
        assert container["restart"] == "unless-stopped"
        assert container["read_only"]
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]
        assert container["ulimits"]["nofile"]
        assert container["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}


def test_nothing_is_killed_within_its_time_of_grace(compose: Any, pod: Any) -> None:
    registry = compose["services"]["registry"]
    grace = int(registry["environment"]["REGISTRY_GRACE_SECONDS"])
    assert int(registry["stop_grace_period"].removesuffix("s")) >= grace + _MARGIN_SECONDS
    (container,) = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert list(unknown_variables(variables)) == []
    time = int(variables["REGISTRY_DRAIN_SECONDS"]) + int(variables["REGISTRY_GRACE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= time + _MARGIN_SECONDS


def test_probes_ask_for_addresses_that_there_are(pod: Any) -> None:
    (container,) = pod["containers"]
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz?for=reading"}
    addresses = service(Settings(database_url="postgresql://127.0.0.1:1/none")).openapi()["paths"]
    assert {path.partition("?")[0] for path in probes.values()} <= set(addresses)
    assert "/healthz" in (_ROOT / "Dockerfile").read_text()


def _units() -> list[Path]:
    return sorted((_ROOT / "deploy" / "systemd").iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "profile-registry"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in _units():
        # systemd looks whether the program is there.
        text = unit.read_text(encoding="utf-8").replace("/usr/local/bin/profile-registry", str(program))
        (tmp_path / unit.name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in _units())],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", [unit.name for unit in _units() if unit.suffix == ".service"])
def test_the_units_run_commands_that_there_are(unit: str) -> None:
    text = (_ROOT / "deploy" / "systemd" / unit).read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=/usr/local/bin/profile-registry (.*)$", text, re.MULTILINE)
    words = line.replace("$REPORT_OPTIONS", "").split()
    helped = CliRunner().invoke(command(), [*words, "--help"])
    assert helped.exit_code == 0, helped.output


def test_the_hook_asks_about_migrations_alone(tmp_path: Path) -> None:
    script = (_ROOT / "deploy" / "libvirt" / "qemu").read_text(encoding="utf-8")
    program, settings = tmp_path / "profile-registry", tmp_path / "hook.env"
    program.write_text('#!/bin/sh\necho "$REGISTRY_URL" "$@"\n')
    program.chmod(0o755)
    settings.write_text("REGISTRY_URL=http://registry\nHOOK_OPTIONS='--unasked allow'\n")
    hook = tmp_path / "qemu"
    hook.write_text(
        script.replace("/usr/local/bin/profile-registry", str(program)).replace(
            "/etc/profile-registry/hook.env", str(settings)
        )
    )

    def call(operation: str) -> str:
        arguments = ["sh", str(hook), "vm 1", operation, "begin", "-"]
        return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout

    assert call("migrate") == "http://registry hook libvirt --stamp --unasked allow -- vm 1 migrate begin -\n"
    assert [call(operation) for operation in ("prepare", "start", "stopped", "release")] == ["", "", "", ""]
    # A VM starts without its settings, and where the command fails; it arrives nowhere.
    settings.unlink()
    assert call("started") == " hook libvirt --stamp -- vm 1 started begin -\n"
    program.write_text("#!/bin/sh\nexit 2\n")
    assert call("started") == ""
    with pytest.raises(subprocess.CalledProcessError):
        call("migrate")
