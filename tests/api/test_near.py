"""An unknown name is answered with the published names that resemble it."""

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.conftest import shared_registry


def _fill(registry: TestClient) -> None:
    """Publish releases, models and profiles of two vendors, and register a host."""
    vendor(registry)
    vendor(registry, "vendor-b.com")
    for version in ("1.0", "1.1", "2.0"):
        profiles = [{"name": "vendor-a.com/my-nic-2024", "values": {NIC: {}}}]
        assert publish(registry, f"{FIRMWARE}@{version}", {"num-queues": QUEUES}, profiles=profiles).is_success
    assert registry.put("/hosts/host-17", json={"releases": [f"{FIRMWARE}@2.0"]}).is_success


filled = shared_registry(_fill)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/vendors/vendor-c.com", ["vendor-b.com", "vendor-a.com"]),
        ("/models/vendor-a.com/my-nik", [NIC]),
        ("/models/vendor-b.com/my-nic", [NIC]),
        ("/models/vendor-a.com/something-else", []),
        ("/models/my-nic", []),
        ("/profiles/vendor-a.com/my-nic-2025", ["vendor-a.com/my-nic-2024"]),
        ("/releases/vendor-a.com/fw@1", [f"{FIRMWARE}@1.1", f"{FIRMWARE}@1.0"]),
        ("/releases/vendor-a.com/fw@1.2", [f"{FIRMWARE}@1.1", f"{FIRMWARE}@1.0"]),
        ("/releases/vendor-a.com/fw@nine", [f"{FIRMWARE}@2.0", f"{FIRMWARE}@1.1", f"{FIRMWARE}@1.0"]),
        ("/releases/vendor-a.com/fww@1.0", [f"{FIRMWARE}@1.0"]),
        ("/releases/vendor-a.com/fww@9", [f"{FIRMWARE}@2.0"]),
        ("/releases/fw", []),
        ("/hosts/host-71", ["host-17"]),
        ("/implementations/vendor-a.com/fww", [FIRMWARE]),
        ("/impact?name=vendor-a.com/my-nic-2025", ["vendor-a.com/my-nic-2024"]),
        ("/diff?from=vendor-a.com/fw@1.0&to=vendor-a.com/fw@1.2", [f"{FIRMWARE}@1.1", f"{FIRMWARE}@1.0"]),
        ("/trusted-publishers/none", []),
    ],
)
def test_an_unknown_name_is_answered_with_names_that_resemble_it(
    filled: TestClient, path: str, names: list[str]
) -> None:
    method = "DELETE" if path.startswith("/trusted") else "GET"
    answer = filled.request(method, path)
    assert answer.status_code == 404
    assert answer.json().get("did_you_mean", []) == names
    assert ("Did you mean" in answer.json()["detail"]) is bool(names)


def test_a_publication_for_a_misspelt_vendor_names_the_vendor(filled: TestClient) -> None:
    refused = publish(filled, "vendr-a.com/fw@1", {"num-queues": QUEUES}, model="vendr-a.com/my-nic")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown-vendor")
    assert refused.json()["detail"].endswith("Did you mean vendor-a.com or vendor-b.com?")


def test_names_that_no_database_can_store_resemble_nothing(filled: TestClient) -> None:
    for path in ("/models/vendor-a.com/my%00nic", "/vendors/%00", "/profiles/%F0%9F%92%A9"):
        answer = filled.get(path)
        assert (answer.status_code < 500, "did_you_mean" in answer.json()) == (True, False)
