"""The shortcut of questions answers as the routes do, or leaves the question to them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Scope

from app.api import shortcut
from app.storage import database
from tests.conftest import AUTHORIZATION, make_app

NIC = {"variables": {"queues": {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-8"]}}}
DEVICE: dict[str, Any] = {"id": "net0", "model": "a.com/nic", "release": "a.com/fw@1", "values": {"queues": 2}}
WHERE = [{"id": "one", "releases": ["a.com/fw@1"]}, {"id": "two", "releases": ["a.com/fw@2", "a.com/fw@1"]}]
GET = [
    "model=a.com/nic&source=a.com/fw@1",
    "model=a.com/nic&source=a.com/fw@1&destination=a.com/fw@2&value=queues=9&detail=full",
    "model=a.com%2Fnic&source=a.com/fw@1&policy=permissive&destination=a.com/fw@1&destination=a.com/fw@2",
    "model=a.com/nic&source=a.com/fw@1&value=queues=%32&value=no-such=%E4%B8%AD",
    # What is left to the route; what the registry lacks is not in memory.
    "",
    "model=a.com/nic&profile=a.com/none",
    "model=",
    "model=a.com/nic&model=a.com/nic",
    "model=a.com/nic&source=a.com/fw@1&render=qemu",
    "model=a.com/nic&source=a.com/fw@1&destination=a.com/fw@2&destination=a.com/fw@2",
    "model=a.com/nic&source=a.com/fw@1&value=queues",
    "model=a.com/nic&source=a.com/fw@1&value=queues=1&value=queues=2",
    "model=a.com/nic&policy=none",
    "model=a.com/nic&detail=",
    "model=a.com/nic&host=h1",
    "model=a.com/nic&label=rack=r1",
    "model=a.com/nic&unknown=1",
    "model=" + "x" * 401,
    "model=a.com/nic&source=" + "x" * 401,
    "model=a.com/nic&value=q=" + "x" * 5_000,
    "model=a.com/nic&value=" + "&value=".join(f"v{number}=1" for number in range(1_001)),
]
POST: list[bytes] = [
    *(
        json.dumps(document).encode()
        for document in (
            {"devices": [DEVICE], "destinations": WHERE},
            {"devices": [DEVICE, {"model": "a.com/nic"}], "destinations": WHERE, "detail": "verdict"},
            {"vms": [{"id": "vm", "devices": [DEVICE]}], "destinations": WHERE, "detail": "summary"},
            {"devices": [DEVICE]},
            {"devices": [{**DEVICE, "values": {"queues": True}}], "destinations": WHERE, "detail": "full"},
            # What is left to the route.
            {"devices": [], "destinations": WHERE},
            {"devices": [DEVICE, {"model": "a.com/none"}], "destinations": WHERE},
            {"devices": [{**DEVICE, "values": {"queues": 2.0}}]},
            {"devices": [{**DEVICE, "values": {"queues": 2**64}}]},
            {"devices": [{**DEVICE, "id": "x" * 256}], "destinations": [{"releases": []}, {"labels": ["="]}]},
            {"devices": [DEVICE, DEVICE], "destinations": [*WHERE, {"host": "h1"}]},
            {"devices": [DEVICE], "unknown": 1},
            [1],
            None,
        )
    ),
    b"",
    b"{",
    b'{"devices": [], "devices": []}',
    b'{"devices": [{"model": "\\ud800"}]}',
    b'{"devices": [{"model": "a.com/nic", "values": {"queues": NaN}}]}',
    b"\xff",
]


@pytest.fixture(name="registry")
def a_registry(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    # However slow the machine is, questions find the registry fresh.
    monkeypatch.setattr(database, "FRESH_SECONDS", 60)
    with TestClient(make_app(database_url)) as registry:
        registry.put("/vendors/a.com", json={}, headers=AUTHORIZATION)
        for version in (1, 2):
            models = {"a.com/nic": NIC, f"a.com/other-{version}": NIC}
            registry.put(f"/releases/a.com/fw@{version}", json={"models": models}, headers=AUTHORIZATION)
        yield registry


def told(registry: TestClient, method: str, query: str, body: bytes, **headers: str) -> tuple[int, object, object]:
    """Return the status, the headers that do not count requests, and the body of an answer."""
    json_type = {"Content-Type": "application/json"} if body else {}
    response = registry.request(method, f"/compatibility?{query}", content=body, headers=json_type | headers)
    changing = {"ratelimit", "x-request-id"}
    named = {name: value for name, value in response.headers.items() if name not in changing}
    return response.status_code, named, response.json() if response.content else b""


def both(
    registry: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    query: str = "",
    body: bytes = b"",
    **headers: str,
) -> bool:
    """Compare the answers with and without the shortcut; return whether the shortcut answered."""
    told(registry, method, query, body, **headers)
    taken: list[bool] = []
    answer = shortcut._answer

    def recording(scope: Scope, *rest: Any) -> Any:
        answered = answer(scope, *rest)
        taken.append(answered is not None)
        return answered

    with monkeypatch.context() as patch:
        patch.setattr(shortcut, "_answer", recording)
        short = told(registry, method, query, body, **headers)
        patch.setattr(shortcut, "_PATH", "/nowhere")
        assert told(registry, method, query, body, **headers) == short
    return any(taken)


@pytest.mark.parametrize("query", GET)
def test_a_short_question_is_answered_alike(registry: TestClient, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    assert both(registry, monkeypatch, "GET", query) == (GET.index(query) < GET.index(""))


@pytest.mark.parametrize("body", POST)
def test_a_question_is_answered_alike(registry: TestClient, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    is_right = POST.index(body) < POST.index(next(one for one in POST if b'"devices": []' in one))
    assert both(registry, monkeypatch, "POST", body=body) == is_right


def test_requests_with_conditions_and_tokens_are_answered_alike(
    registry: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, body = GET[0], POST[0]
    tag = registry.get(f"/compatibility?{query}").headers["ETag"]
    assert not both(registry, monkeypatch, "GET", query, b"", **{"If-None-Match": tag})
    assert not both(registry, monkeypatch, "HEAD", "model=")
    assert both(registry, monkeypatch, "GET", query, b"", **AUTHORIZATION)
    assert both(registry, monkeypatch, "POST", "", body, **AUTHORIZATION)
    assert not both(registry, monkeypatch, "GET", query, Authorization="Basic eDp5")
    assert not both(registry, monkeypatch, "POST", "", body, **{"Content-Type": "text/plain"})
    assert not both(registry, monkeypatch, "POST", "render=qemu", body)


def test_a_wrong_token_is_refused(registry: TestClient) -> None:
    assert registry.get(f"/compatibility?{GET[0]}", headers={"Authorization": "Bearer no"}).status_code == 401


def test_closed_reads_need_a_token(database_url: str) -> None:
    with TestClient(make_app(database_url, read="token")) as registry:
        for _ in range(2):
            assert registry.get(f"/compatibility?{GET[0]}").status_code == 401
            assert registry.post("/compatibility", json={"devices": [DEVICE]}).status_code == 401
            assert registry.get(f"/compatibility?{GET[0]}", headers=AUTHORIZATION).status_code == 200
