"""Names, documents and helpers that the tests over HTTP share."""

from collections.abc import Mapping
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

NIC = "vendor-a.com/my-nic"
FIRMWARE = "vendor-a.com/fw"
QUEUES = {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-8"]}
FEATURE = {"type": "bool", "init_value": False, "off_value": False}


def vendor(registry: TestClient, name: str = "vendor-a.com") -> None:
    """Register a vendor."""
    assert registry.put(f"/vendors/{name}", json={}).status_code in {200, 201}


def publish(
    registry: TestClient, release: str, variables: Mapping[str, Any], *, model: str = NIC, **more: Any
) -> Response:
    """Publish a release of one model."""
    document = {"models": {model: {"variables": variables}}, **more}
    return registry.put(f"/releases/{release}", json=document)


def problem(response: Response, status: int, code: str) -> list[tuple[str, str]]:
    """Check that a response is the expected error; return its faults as (place, code)."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"/help/{code}"
    assert body["title"]
    assert body["detail"]
    return [(fault.get("pointer", fault.get("parameter")), fault["code"]) for fault in body.get("faults", [])]
