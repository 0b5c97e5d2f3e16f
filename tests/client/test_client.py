"""The client asks again what could not be answered, reads once what did not change, sync and async alike."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.api.wire.compatibility import Destination, Device, Question
from app.client import AsyncRegistry, Registry, RegistryError
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import ToApp
from tests.conftest import TOKEN

URL = "http://testserver"
BUSY = httpx.Response(503, json={"status": 503, "code": "unavailable", "detail": "busy"}, headers={"Retry-After": "0"})


class Scripted:
    """Answers one after the other, and what was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Return the next answer."""
        self.asked.append(request)
        answer = self._answers.pop(0)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


Use = Callable[[Scripted, Callable[[Any], Any]], Any]


def sync(script: Scripted, use: Callable[[Any], Any], patience: float = 30) -> Any:
    with Registry(URL, transport=httpx.MockTransport(script), patience=patience) as registry:
        return use(registry)


def asynchronous(script: Scripted, use: Callable[[Any], Awaitable[Any]], patience: float = 30) -> Any:
    async def used() -> Any:
        async with AsyncRegistry(URL, transport=httpx.MockTransport(script), patience=patience) as registry:
            return await use(registry)

    return asyncio.run(used())


@pytest.fixture(params=[sync, asynchronous])
def using(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_what_could_not_be_answered_is_asked_again(using: Any) -> None:
    script = Scripted(BUSY, BUSY, httpx.Response(200, json={"items": []}))
    assert using(script, lambda registry: registry.get("/models", q="a b")) == {"items": []}
    assert [str(each.url) for each in script.asked] == [f"{URL}/models?q=a+b"] * 3


def test_patience_ends(using: Any) -> None:
    script = Scripted(BUSY, BUSY)
    with pytest.raises(RegistryError, match="busy") as refused:
        using(script, lambda registry: registry.get("/models"), patience=0)
    assert (refused.value.status, refused.value.may_pass, len(script.asked)) == (503, True, 1)


def test_a_token_is_never_made_twice(using: Any) -> None:
    script = Scripted(BUSY, httpx.Response(201, json={}))
    with pytest.raises(RegistryError):
        using(script, lambda registry: registry.post("/tokens", {"name": "a", "role": "reader"}))
    assert len(script.asked) == 1


def test_a_refusal_is_not_asked_again(using: Any) -> None:
    faults = [{"pointer": "/devices", "code": "missing-field", "message": "is missing"}]
    problem = {"status": 422, "code": "invalid", "detail": "the request has 1 fault", "faults": faults}
    script = Scripted(httpx.Response(422, json=problem))
    with pytest.raises(RegistryError, match="/devices: is missing"):
        using(script, lambda registry: registry.post("/compatibility", {}))


def test_what_did_not_change_is_read_once() -> None:
    script = Scripted(
        httpx.Response(200, json={"model": "m"}, headers={"ETag": '"1"'}),
        httpx.Response(304, headers={"ETag": '"1"'}),
        httpx.Response(200, json={"model": "n"}, headers={"ETag": '"2"'}),
        httpx.Response(200, json={}, headers={"ETag": '"1"'}),
    )
    with Registry(URL, transport=httpx.MockTransport(script)) as registry:
        assert registry.get("/models/m") == {"model": "m"}
        assert registry.get("/models/m") == {"model": "m"}
        assert registry.get("/models/m") == {"model": "n"}
        assert registry.get("/models/m", resolved=True) == {}
    assert [each.headers.get("If-None-Match") for each in script.asked] == [None, '"1"', '"1"', None]


def test_nobody_there(using: Any) -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        message = "connection refused"
        raise httpx.ConnectError(message, request=request)

    with pytest.raises(RegistryError, match="cannot be reached: connection refused") as error:
        using(lost, lambda registry: registry.get("/models"))
    assert error.value.problem is None
    assert error.value.may_pass


def test_an_orchestrator_filters_its_hosts(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, f"{FIRMWARE}@1", {"queues": QUEUES})
    publish(registry, f"{FIRMWARE}@2", {"queues": {**QUEUES, "allowed_values": ["1-2"], "init_value": 1}})
    question = Question(
        devices=[Device(id="net0", model=NIC, release=f"{FIRMWARE}@1", values={"queues": 4})],
        destinations=[
            Destination(id="old", releases=[f"{FIRMWARE}@1"]),
            Destination(id="new", releases=[f"{FIRMWARE}@2"]),
        ],
    )
    with Registry(URL, TOKEN, transport=ToApp(registry)) as client:
        answer = client.ask(question)
        possible = [each.destination for each in answer.results if each.compatible]  # type: ignore[union-attr]
        assert possible == ["old"]
        assert client.find(f"/models/{NIC}")["model"] == NIC
        assert client.find("/models/vendor-a.com/none") is None
        assert [each["release"] for each in client.items("/releases")] == [f"{FIRMWARE}@1", f"{FIRMWARE}@2"]

    async def ask() -> Any:
        transport = httpx.ASGITransport(registry.app)
        async with AsyncRegistry(URL, transport=transport) as later:
            assert (await later.ask(question)).results == answer.results
            assert [each["release"] async for each in later.items("/releases")] == [f"{FIRMWARE}@1", f"{FIRMWARE}@2"]
            return await later.find("/models/vendor-a.com/none")

    assert registry.portal is not None
    assert registry.portal.call(ask) is None
