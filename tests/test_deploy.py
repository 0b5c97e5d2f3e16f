"""The files for Docker Compose and Kubernetes fit the service: its settings, its addresses, its time to stop."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

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
