"""A vendor's publications take a limited amount; the service answers to its own names alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.storage import database
from app.storage import turn as turns
from tests.api.stories import NIC, QUEUES, problem, vendor
from tests.conftest import AUTHORIZATION, make_app
from tests.storage.test_turn import are_waiting, until

LARGE = "x" * 4000


@pytest.fixture
def limited(database_url: str) -> Iterator[TestClient]:
    """Yield a registry where a vendor's publications take at most a megabyte; the client has a publisher's token."""
    with TestClient(make_app(database_url, vendor_megabytes=1), headers=AUTHORIZATION) as client:
        vendor(client)
        vendor(client, "vendor-b.com")
        document = {"name": "pipeline", "role": "publisher", "vendor": "vendor-a.com"}
        token = client.post("/tokens", json=document).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def large(kilobytes: int, **more: Any) -> dict[str, Any]:
    """Return a release of about this size."""
    variables = {f"v{index}": {**QUEUES, "description": f"{LARGE}{index}"} for index in range(kilobytes // 4)}
    return {"models": {NIC: {"variables": variables}}, **more}


def test_a_publisher_cannot_exceed_the_quota_of_its_vendor(limited: TestClient) -> None:
    assert limited.put("/releases/vendor-a.com/fw@1", json=large(600)).status_code == 201
    # The same content takes nothing again.
    assert limited.put("/releases/vendor-a.com/fw@2", json=large(600)).status_code == 201
    refused = limited.put("/releases/vendor-a.com/fw@3", json=large(700))
    problem(refused, 403, "quota-exceeded")
    assert "1,000,000 bytes" in refused.json()["detail"]
    assert limited.get("/releases/vendor-a.com/fw@3").status_code == 404
    # What is small still fits.
    small = {"models": {NIC: {"variables": {"v0": QUEUES}}}}
    assert limited.put("/releases/vendor-a.com/fw@4", json=small).status_code == 201
    admin = limited.put("/releases/vendor-a.com/fw@3", json=large(700), headers=AUTHORIZATION)
    assert admin.status_code == 201
    # Beyond the limit nothing is added, but states change.
    problem(limited.put("/releases/vendor-a.com/fw@5", json=large(20)), 403, "quota-exceeded")
    assert limited.patch("/releases/vendor-a.com/fw@1", json={"state": "deprecated"}).status_code == 200
    assert limited.put("/releases/vendor-a.com/fw@3", json=large(700)).status_code == 200


def test_drafts_count_and_can_be_deleted(limited: TestClient) -> None:
    assert limited.put("/releases/vendor-a.com/fw@1", json=large(600, state="draft")).status_code == 201
    problem(limited.put("/releases/vendor-a.com/fw@2", json=large(600, state="draft")), 403, "quota-exceeded")
    assert limited.delete("/releases/vendor-a.com/fw@1").status_code == 204
    assert limited.put("/releases/vendor-a.com/fw@2", json=large(600, state="draft")).status_code == 201


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("registry.example", 200),
        ("REGISTRY.example:8000", 200),
        ("registry.example.", 200),
        ("a.inside.example", 200),
        ("inside.example", 421),
        ("registry.example.attacker.example", 421),
        ("attackerinside.example", 421),
        ("attacker.example", 421),
        ("", 421),
    ],
)
def test_the_service_answers_to_its_own_names_alone(database_url: str, host: str, status: int) -> None:
    with TestClient(make_app(database_url, hosts=["registry.example", "*.inside.example"])) as client:
        response = client.get("/vendors", headers={"Host": host})
        assert response.status_code == status
        if status != 200:
            problem(response, 421, "unknown-host-name")
            assert "content-security-policy" in response.headers
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path, headers={"Host": host}).status_code == 200


def test_what_others_publish_in_the_same_transaction_counts_for_them(
    limited: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_SHARING_SECONDS", 60)
    small = {"models": {NIC: {"variables": {"v0": QUEUES}}}}
    assert limited.put("/releases/vendor-a.com/fw@1", json=small).status_code == 201
    assert limited.put("/releases/vendor-a.com/fw@2", json=large(1200), headers=AUTHORIZATION).status_code == 201
    app: Any = limited.app
    turn = database.condition(app.state.container.primary).turn
    assert turn.take(1, can_share=False) is None
    with ThreadPoolExecutor(2) as pool:
        admin = pool.submit(limited.put, "/releases/vendor-a.com/fw@3", json=large(40), headers=AUTHORIZATION)
        until(partial(are_waiting, turn, 1))
        # It adds nothing, so it is allowed beyond the limit.
        publisher = pool.submit(limited.put, "/releases/vendor-a.com/fw@1", json=small)
        until(partial(are_waiting, turn, 2))
        turn.release()
        assert admin.result().status_code == 201
        assert publisher.result().status_code == 200
