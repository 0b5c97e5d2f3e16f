"""A command line that talks to the real service without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path

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


class ToApp(httpx.BaseTransport):
    """Hands a command's requests to the service."""

    def __init__(self, service: TestClient) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return what the service answers."""
        answer = self._service.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def service(registry: TestClient) -> TestClient:
    """Return the service without a token of its own."""
    del registry.headers["Authorization"]
    return registry


def talking_to(service: TestClient) -> Registry:
    """Return a service as the commands talk to it."""
    return Registry(ClientSettings(url="http://testserver", token=SecretStr(TOKEN)), ToApp(service))


@pytest.fixture
def api(service: TestClient) -> Iterator[Registry]:
    """Yield the registry as the commands talk to it."""
    with talking_to(service) as registry:
        yield registry


@pytest.fixture
def run(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs profile-registry against the service."""
    monkeypatch.setenv("REGISTRY_URL", "http://testserver")
    monkeypatch.setenv("REGISTRY_TOKEN", TOKEN)
    real = httpx.Client

    def connected(**options: object) -> httpx.Client:
        return real(**{**options, "transport": options.get("transport") or ToApp(service)})  # type: ignore[arg-type]

    monkeypatch.setattr(httpx, "Client", connected)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(command(), list(arguments), input=stdin)

    return run
