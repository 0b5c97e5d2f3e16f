"""The client retries when the registry is busy and caches reads by ETag, sync and async."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.client import AsyncRegistry, Registry, RegistryError, core
from app.signing.checkpoint import Checkpoint
from app.signing.key import PrivateKey
from app.wire.compatibility import Destination, Device, Question
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import AppTransport
from tests.conftest import AUTHORIZATION, TOKEN, make_app

URL = "http://testserver"
BUSY = httpx.Response(503, json={"status": 503, "code": "unavailable", "detail": "busy"}, headers={"Retry-After": "0"})


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The content of a response, as it arrives."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class ScriptedResponses:
    """Returns prepared responses in order, and records the requests."""

    def __init__(self, *responses: httpx.Response) -> None:
        self._responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Return the next response."""
        self.requests.append(request)
        response = self._responses.pop(0)
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)


Use = Callable[[ScriptedResponses, Callable[[Any], Any]], Any]


def sync(script: ScriptedResponses, use: Callable[[Any], Any], retry_seconds: float = 30) -> Any:
    with Registry(URL, transport=httpx.MockTransport(script), retry_seconds=retry_seconds) as registry:
        return use(registry)


def asynchronous(script: ScriptedResponses, use: Callable[[Any], Awaitable[Any]], retry_seconds: float = 30) -> Any:
    async def run() -> Any:
        async with AsyncRegistry(URL, transport=httpx.MockTransport(script), retry_seconds=retry_seconds) as registry:
            return await use(registry)

    return asyncio.run(run())


@pytest.fixture(params=[sync, asynchronous])
def using(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_busy_registry_is_asked_again(using: Any) -> None:
    script = ScriptedResponses(BUSY, BUSY, httpx.Response(200, json={"items": []}))
    assert using(script, lambda registry: registry.get("/models", q="a b")) == {"items": []}
    assert [str(request.url) for request in script.requests] == [f"{URL}/models?q=a+b"] * 3


def test_an_answer_that_is_larger_than_any_registry_gives_is_not_read_on(
    using: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "MAX_RESPONSE_BYTES", 100_000)

    def answer(request: httpx.Request) -> httpx.Response:
        size = 100_000 if request.url.path == "/models" else 100_001
        content = httpx.ByteStream(gzip.compress(b"1" + b" " * (size - 1)))
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=content)

    assert using(answer, lambda registry: registry.get("/models")) == 1
    with pytest.raises(RegistryError, match="/changes answers with more than 100,000 bytes"):
        using(answer, lambda registry: registry.get("/changes"))


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("gzip, gzip", "/models answers in the encoding gzip, gzip, which was not asked for"),
        ("gzip", "/models answers with what cannot be decompressed"),
    ],
)
def test_an_answer_that_cannot_be_decompressed_is_an_error_of_the_registry(
    using: Any, encoding: str, message: str
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": encoding}, stream=httpx.ByteStream(b"nonsense"))

    with pytest.raises(RegistryError, match=message):
        using(answer, lambda registry: registry.get("/models"))


@pytest.mark.parametrize(
    "chunks",
    [
        [gzip.compress(b"[1, 2]")[:-4]],
        [gzip.compress(b"[1, 2]"), b"more"],
        [gzip.compress(b"[1, 2]") + b"more"],
        [gzip.compress(b"[1, 2]"), gzip.compress(b"[3]")],
    ],
)
def test_compressed_content_has_one_end(using: Any, chunks: list[bytes]) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Chunks(chunks))

    with pytest.raises(RegistryError, match="its end is missing, or not the end"):
        using(answer, lambda registry: registry.get("/models"))


def test_a_proxy_that_compresses_otherwise_is_asked_again(using: Any) -> None:
    answers = iter([502, 200])

    def answer(_request: httpx.Request) -> httpx.Response:
        status = next(answers)
        headers = {"Content-Encoding": "br"} if status != 200 else {}
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b"1"))

    assert using(answer, lambda registry: registry.get("/models")) == 1


def test_headers_can_have_any_characters(using: Any) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=[(b"Server", "é".encode())], content=b"1")

    assert using(answer, lambda registry: registry.get("/models")) == 1


def test_retries_end_after_the_given_time(using: Any) -> None:
    script = ScriptedResponses(BUSY, BUSY)
    with pytest.raises(RegistryError, match="busy") as refused:
        using(script, lambda registry: registry.get("/models"), retry_seconds=0)
    assert (refused.value.status, refused.value.is_transient, len(script.requests)) == (503, True, 1)


def test_a_token_is_never_made_twice(using: Any) -> None:
    script = ScriptedResponses(BUSY, httpx.Response(201, json={}))
    with pytest.raises(RegistryError):
        using(script, lambda registry: registry.post("/tokens", {"name": "a", "role": "reader"}))
    assert len(script.requests) == 1


def test_a_refusal_is_not_asked_again(using: Any) -> None:
    faults = [{"pointer": "/devices", "code": "missing-field", "message": "is missing"}]
    problem = {"status": 422, "code": "invalid", "detail": "the request has 1 fault", "faults": faults}
    script = ScriptedResponses(httpx.Response(422, json=problem))
    with pytest.raises(RegistryError, match="/devices: is missing"):
        using(script, lambda registry: registry.post("/compatibility", {}))


def test_an_unchanged_resource_is_transferred_once() -> None:
    script = ScriptedResponses(
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
    assert [request.headers.get("If-None-Match") for request in script.requests] == [None, '"1"', '"1"', None]


def test_an_unreachable_registry_is_a_transient_error(using: Any) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        message = "connection refused"
        raise httpx.ConnectError(message, request=request)

    with pytest.raises(RegistryError, match="cannot be reached: connection refused") as error:
        using(refuse, lambda registry: registry.get("/models"))
    assert error.value.problem is None
    assert error.value.is_transient


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
    with Registry(URL, TOKEN, transport=AppTransport(registry)) as client:
        answer = client.ask(question)
        possible = [result.destination for result in answer.results if result.compatible]  # type: ignore[union-attr]
        assert possible == ["old"]
        assert client.find(f"/models/{NIC}")["model"] == NIC
        assert client.find("/models/vendor-a.com/none") is None
        releases = [item["release"] for item in client.items("/releases")]
        assert releases == [f"{FIRMWARE}@1", f"{FIRMWARE}@2"]

    async def ask() -> Any:
        transport = httpx.ASGITransport(registry.app)
        async with AsyncRegistry(URL, transport=transport) as async_client:
            assert (await async_client.ask(question)).results == answer.results
            assert [item["release"] async for item in async_client.items("/releases")] == releases
            return await async_client.find("/models/vendor-a.com/none")

    assert registry.portal is not None
    assert registry.portal.call(ask) is None


class AsyncAppTransport(httpx.AsyncBaseTransport):
    """Passes the requests of the async client to the service."""

    def __init__(self, service: TestClient) -> None:
        self._service = AppTransport(service)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response of the service."""
        return await asyncio.to_thread(self._service.handle_request, request)


Ask = Callable[..., Any]


def sync_checkpoint(service: TestClient, *trust: PrivateKey, after: Any = None) -> Checkpoint:
    with Registry(URL, transport=AppTransport(service)) as client:
        return client.checkpoint([str(key.public) for key in trust], after=after)


def async_checkpoint(service: TestClient, *trust: PrivateKey, after: Any = None) -> Checkpoint:
    async def run() -> Checkpoint:
        async with AsyncRegistry(URL, transport=AsyncAppTransport(service)) as client:
            return await client.checkpoint([str(key.public) for key in trust], after=after)

    return asyncio.run(run())


@pytest.mark.parametrize("checkpoint", [sync_checkpoint, async_checkpoint])
def test_a_client_verifies_that_the_feed_goes_on_from_what_it_has_seen(
    database_url: str, checkpoint: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.registry.PAGE", 2)
    key, other = PrivateKey.create("registry.example"), PrivateKey.create("registry.example")
    with TestClient(make_app(database_url, signing_key=key.text()), headers=AUTHORIZATION) as service:
        empty = checkpoint(service, key)
        for number in range(5):
            vendor(service, f"vendor-{number}.com")
        seen = checkpoint(service, key, after=empty)
        publish_one(service)
        head = checkpoint(service, key, after=seen)
        assert (empty.seq, seen.seq, head.seq) == (0, 5, 7)
        with Registry(URL, transport=AppTransport(service)) as client:
            answer = client.ask({"devices": [{"model": NIC, "release": f"{FIRMWARE}@1"}]})
        assert (answer.seq, answer.link) == (head.seq, head.link)
        assert checkpoint(service, key, after=answer) == head
        forked = Checkpoint("registry.example", 5, bytes(32))
        later = Checkpoint("registry.example", 8, head.root)
        for trust, after, message in (
            (other, None, "not by a trusted key"),
            (key, forked, "does not follow from change 5"),
            (key, later, "is older than change 8"),
        ):
            with pytest.raises(RegistryError, match=message):
                checkpoint(service, trust, after=after)


def publish_one(service: TestClient) -> None:
    vendor(service)
    assert publish(service, f"{FIRMWARE}@1", {"num-queues": QUEUES}).status_code == 201


@pytest.mark.parametrize("checkpoint", [sync_checkpoint, async_checkpoint])
def test_a_client_says_that_a_registry_is_unsigned(registry: TestClient, checkpoint: Ask) -> None:
    with pytest.raises(RegistryError, match="does not sign its feed") as refused:
        checkpoint(registry, PrivateKey.create("registry.example"))
    assert refused.value.problem is not None
    assert refused.value.problem["code"] == "unsigned"
