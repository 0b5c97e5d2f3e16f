"""The files of deploy fit the service and the command: settings, addresses, the time to stop, units, metrics, hooks."""

import json
import os
import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from app import VERSION
from app.cli.command import command
from app.main import service
from app.settings import Settings, unknown_variables
from app.storage.failure import Cause

_ROOT = Path(__file__).parents[1]
_DEPLOY = _ROOT / "deploy"
_KUBERNETES = _DEPLOY / "kubernetes"
_MONITORING = _DEPLOY / "monitoring"
# The exposure that systemd computes, from 0 to 100.
_MAX_EXPOSURE = 15
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
# From the end of the time of grace to the end of the process.
_MARGIN_SECONDS = 3


@pytest.fixture(scope="module")
def compose() -> Any:
    """The services of Docker Compose."""
    return yaml.safe_load((_ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def pod() -> Any:
    """The pod of Kubernetes."""
    return yaml.safe_load((_KUBERNETES / "deployment.yaml").read_text())["spec"]["template"]["spec"]


def _needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def _check(*command: str | Path, **variables: str) -> str:
    """Return what a command prints; fail with what it says if it fails."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    (addresses,) = compose["networks"]["edge"]["ipam"]["config"]
    # The registry starts first: it must not be given the address of the proxy.
    assert ip_address(proxy) in ip_network(addresses["subnet"])
    assert ip_address(proxy) not in ip_network(addresses["ip_range"])
    assert addresses["gateway"] != proxy
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


def test_the_pod_migrates_first_and_runs_as_the_user_of_the_image(pod: Any) -> None:
    (first,), (container,) = pod["initContainers"], pod["containers"]
    assert (first["args"], container["args"][:2]) == (["migrate"], ["serve", "--no-migrate"])
    assert first["image"] == container["image"]
    for item in (first, container):
        assert CliRunner().invoke(command(), [*item["args"], "--help"]).exit_code == 0
        assert item["securityContext"]["readOnlyRootFilesystem"]
        assert item["resources"].keys() == {"requests", "limits"}
    user = pod["securityContext"]["runAsUser"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {user}:{pod['securityContext']['runAsGroup']}\n" in (_ROOT / "Dockerfile").read_text()


@_needs("kubectl")
def test_kustomize_builds_what_belongs_together() -> None:
    built = {document["kind"]: document for document in yaml.safe_load_all(_check("kubectl", "kustomize", _KUBERNETES))}
    assert built.keys() == {"Deployment", "Service", "PodDisruptionBudget"}
    pods = built["Deployment"]["spec"]["template"]
    for selector in (
        built["Deployment"]["spec"]["selector"]["matchLabels"],
        built["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        built["Service"]["spec"]["selector"],
        pods["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= pods["metadata"]["labels"].items()
    (container,) = pods["spec"]["containers"]
    assert built["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    # A node can be drained: one pod may go while another one stays.
    assert built["PodDisruptionBudget"]["spec"]["minAvailable"] < built["Deployment"]["spec"]["replicas"]
    assert container["image"] == f"device-profile-registry:{VERSION}"


def _units() -> list[Path]:
    return sorted((_DEPLOY / "systemd").iterdir())


@_needs("systemd-analyze")
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


@_needs("systemd-analyze")
def test_the_service_is_exposed_little() -> None:
    unit = _DEPLOY / "systemd" / "profile-registry.service"
    if "--offline" not in _check("systemd-analyze", "--help"):
        pytest.skip("this systemd-analyze is too old to judge a unit that is not installed")
    _check("systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={_MAX_EXPOSURE}", unit)


def test_the_service_has_time_to_stop_and_its_secrets_from_files() -> None:
    text = (_DEPLOY / "systemd" / "profile-registry.service").read_text(encoding="utf-8")
    settings = Settings()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    assert int(seconds) >= settings.drain_seconds + settings.grace_seconds + _MARGIN_SECONDS
    variables = dict(re.findall(r"^Environment=(\w+)=%d/(\w+)$", text, re.MULTILINE))
    assert list(unknown_variables(variables)) == []
    assert set(variables.values()) == set(re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE))


@pytest.mark.parametrize("unit", [unit.name for unit in _units() if unit.suffix == ".service"])
def test_the_units_run_commands_that_there_are(unit: str) -> None:
    text = (_DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    lines = re.findall(r"^ExecStart(?:Pre)?=/usr/local/bin/profile-registry (.*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        # Options are in the environment.
        words = [word for word in line.split() if not word.startswith("$")]
        helped = CliRunner().invoke(command(), [*words, "--help"])
        assert helped.exit_code == 0, helped.output


@_needs("promtool")
def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    _check("promtool", "check", "config", _MONITORING / "prometheus.yml")
    _check("promtool", "test", "rules", _MONITORING / "alerts-test.yml")


def _alerts() -> dict[str, Any]:
    (group,) = yaml.safe_load((_MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_every_alert_is_tested_and_says_how_urgent_it_is() -> None:
    tests = yaml.safe_load((_MONITORING / "alerts-test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == _alerts().keys()
    for rule in _alerts().values():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def _panels() -> list[Any]:
    panels = json.loads((_MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    return [panel for panel in panels if panel["type"] != "row"]


def _expressions() -> list[str]:
    """Return the expressions of the alerts and the dashboard, with the variables of Grafana replaced."""
    shown = [target["expr"] for panel in _panels() for target in panel["targets"]]
    expressions = [*(rule["expr"] for rule in _alerts().values()), *shown]
    return [expression.replace("$__rate_interval", "5m").replace("$job", ".+") for expression in expressions]


@_needs("promtool")
def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(_expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    _check("promtool", "check", "rules", file)


def test_the_alerts_and_the_dashboard_name_metrics_and_labels_that_there_are(registry: TestClient) -> None:
    text = registry.get("/metrics").text
    there = {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(text)
        for suffix in _SUFFIXES.get(family.type, ("",))
    }
    used = {name for expression in _expressions() for name in re.findall(r"\bprofile_registry_\w+", expression)}
    assert used <= there
    # Whatever the service counts can be seen.
    assert {name for name in there if name.startswith("profile_registry_")} - used <= {
        "profile_registry_request_seconds_sum",
        "profile_registry_request_seconds_count",
        "profile_registry_database_schema_info",
    }
    values = {
        label: {value for expression in _expressions() for value in _values_of(label, expression)}
        for label in ("operation", "cause", "status", "state")
    }
    paths = registry.get("/openapi.json").json()["paths"].values()
    operations = {operation["operationId"] for path in paths for operation in path.values()}
    assert values["operation"] <= operations
    assert values["cause"] == {cause.value for cause in Cause}
    assert values["status"] == {"500", "503"}
    assert values["state"] == {"waiting"}


def _values_of(label: str, expression: str) -> set[str]:
    """Return the values of a label that an expression names; not those that are patterns."""
    named = {value for text in re.findall(rf'\b{label}=~?"([^"]*)"', expression) for value in text.split("|")}
    return {value for value in named if "*" not in value}


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    whole = json.loads((_MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in whole["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for panel in whole["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_hook_asks_about_migrations_alone(tmp_path: Path) -> None:
    script = (_DEPLOY / "libvirt" / "qemu").read_text(encoding="utf-8")
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
