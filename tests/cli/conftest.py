"""Fixtures for the command line: it talks to the real service without a network."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from app.cli.client import Registry
from app.cli.command import command
from app.settings import ClientSettings
from tests.conftest import TOKEN

DATA = Path(__file__).parents[1] / "data"
RELEASE = {"7.2": "qemu.org/qemu-system-x86_64@7.2.22", "10.0": "qemu.org/qemu-system-x86_64@10.0.13"}

Run = Callable[..., Result]
Save = Callable[[str, object], str]


class AppTransport(httpx.BaseTransport):
    """Passes a command's requests to the service."""

    def __init__(self, service: TestClient) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response of the service."""
        response = self._service.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(response.status_code, headers=dict(response.headers), content=response.content)


@pytest.fixture
def service(registry: TestClient) -> TestClient:
    """Return the service; its client sends no token by default."""
    del registry.headers["Authorization"]
    return registry


def client_of(service: TestClient) -> Registry:
    """Return a service behind the client of the commands."""
    return Registry(ClientSettings(url="http://testserver", token=SecretStr(TOKEN)), AppTransport(service))


@pytest.fixture
def api(service: TestClient) -> Iterator[Registry]:
    """Yield the registry behind the client of the commands."""
    with client_of(service) as registry:
        yield registry


@pytest.fixture
def run(service: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs profile-registry against the service."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("REGISTRY_URL", "http://testserver")
    monkeypatch.setenv("REGISTRY_TOKEN", TOKEN)
    real_client = httpx.Client

    def client_with_app(**options: object) -> httpx.Client:
        return real_client(**{**options, "transport": options.get("transport") or AppTransport(service)})  # type: ignore[arg-type]

    monkeypatch.setattr(httpx, "Client", client_with_app)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        # As in a process of its own: what a command remembers ends with it.
        return copy_context().run(CliRunner().invoke, command(), list(arguments), input=stdin)

    return run


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return what writes a text or a JSON document to a file, and returns its path."""

    def write(name: str, content: object) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def planned(run: Run, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Return the plan of a drain as JSON."""
    ended = run("drain", *arguments, "--json")
    assert ended.exit_code == status, ended.output
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def moves(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the VMs of a plan move, by their names."""
    return {vm["vm"]: vm["move"] for vm in answer["vms"] if vm["move"]}
