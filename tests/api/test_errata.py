"""Errata over HTTP: published, listed, withdrawn, in verdicts and in the feed."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import NIC, QUEUES, problem, publish, vendor
from tests.api.test_tokens import bearer, create

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
ERRATUM = {
    "release": NEW,
    "model": NIC,
    "when": {"num-queues": ["5-8"]},
    "with": ["vendor-a.com/fw@<2"],
    "direction": "to",
    "description": "older firmware loses packets",
    "url": "https://vendor-a.com/errata/1",
}


@pytest.fixture
def fleet(registry: TestClient) -> TestClient:
    """Return a registry with two releases that are alike."""
    vendor(registry)
    for release in (OLD, NEW):
        publish(registry, release, {"num-queues": QUEUES})
    return registry


def move(registry: TestClient, source: str, destination: str, queues: int = 8) -> Any:
    """Return the answer about a device."""
    device = {"model": NIC, "release": source, "values": {"num-queues": queues}}
    question = {"devices": [device], "destinations": [{"releases": [destination]}]}
    return registry.post("/compatibility", json=question).json()["results"][0]["devices"][0]


def test_an_erratum_is_in_every_verdict_until_it_is_withdrawn(fleet: TestClient) -> None:
    assert move(fleet, NEW, OLD)["compatible"]
    published = fleet.post("/errata", json=ERRATUM)
    assert published.status_code == 201, published.text
    erratum = published.json()
    assert {**ERRATUM, "local": False, "state": "published", "withdrawn_at": None, "dry_run": False}.items() <= (
        erratum.items()
    )
    (found,) = move(fleet, NEW, OLD)["problems"]
    assert (found["code"], found["variable"], found["value"]) == ("known-broken", "num-queues", 8)
    assert "older firmware loses packets (https://vendor-a.com/errata/1)." in found["message"]
    assert move(fleet, NEW, OLD, 4)["compatible"]
    assert move(fleet, OLD, NEW)["compatible"]
    withdrawn = fleet.patch(f"/errata/{erratum['id']}", json={"state": "withdrawn"}).json()
    assert withdrawn["state"] == "withdrawn"
    assert move(fleet, NEW, OLD)["compatible"]


def test_an_erratum_is_published_once_and_stays_withdrawn(fleet: TestClient) -> None:
    first = fleet.post("/errata", json=ERRATUM).json()
    again = fleet.post("/errata", json=ERRATUM)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    fleet.patch(f"/errata/{first['id']}", json={"state": "withdrawn"})
    refused = fleet.post("/errata", json=ERRATUM)
    assert problem(refused, 409, "withdrawn") == []
    assert "State what is wrong in other words." in refused.json()["detail"]
    assert fleet.get("/errata", params={"state": "published"}).json()["items"] == []
    (listed,) = fleet.get("/errata", params={"release": NEW, "model": NIC, "state": "withdrawn"}).json()["items"]
    assert listed == fleet.get(f"/errata/{first['id']}").json()
    assert fleet.get("/errata", params={"release": OLD}).json()["items"] == []
    assert fleet.get("/errata", params={"release": "no release"}).json()["items"] == []


def test_equal_errata_are_one_however_they_are_written(fleet: TestClient) -> None:
    first = fleet.post("/errata", json=ERRATUM).json()
    again = fleet.post("/errata", json={**ERRATUM, "when": {"num-queues": ["8", 7, "0x5-6"]}})
    assert (again.status_code, again.json()["id"], again.json()["when"]) == (200, first["id"], {"num-queues": ["5-8"]})


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"when": {"num-queues": []}}, "/when/num-queues"),
        ({"when": {"num-queues": [99]}}, "/when/num-queues"),
        ({"with": ["vendor-a.com/fw@<abc"]}, "/with/0"),
        ({"with": []}, "/with"),
        ({"description": " "}, "/description"),
    ],
)
def test_an_erratum_that_never_applies_is_refused(fleet: TestClient, wrong: dict[str, Any], pointer: str) -> None:
    refused = fleet.post("/errata", json={**ERRATUM, **wrong})
    assert {where for where, _ in problem(refused, 422, "invalid")} == {pointer}
    unknown = fleet.post("/errata", json={**ERRATUM, "with": ["vendor-a.com/typo@*"]}).json()["unknown_releases"]
    assert unknown == ["vendor-a.com/typo@*"]


def test_a_dry_run_stores_nothing(fleet: TestClient) -> None:
    tried = fleet.post("/errata", params={"dry_run": True}, json={**ERRATUM, "with": ["vendor-a.com/fw@0"]})
    assert (tried.json()["dry_run"], tried.json()["unknown_releases"]) == (True, ["vendor-a.com/fw@0"])
    assert fleet.get("/errata").json()["items"] == []


def test_all_faults_of_an_erratum_are_reported_at_once(fleet: TestClient) -> None:
    wrong = {**ERRATUM, "when": {"queue": [1], "num-queues": ["x"]}, "with": ["fw@1"], "direction": "up", "url": "x"}
    refused = fleet.post("/errata", json=wrong)
    assert {pointer for pointer, _ in problem(refused, 422, "invalid")} == {
        "/when/queue",
        "/when/num-queues/0",
        "/with/0",
        "/direction",
        "/url",
    }
    unknown = fleet.post("/errata", json={**ERRATUM, "release": "vendor-a.com/fw@9"})
    assert unknown.json()["faults"][0]["pointer"] == "/release"
    other = fleet.post("/errata", json={**ERRATUM, "model": "vendor-a.com/gpu"})
    assert other.json()["faults"][0]["message"] == f"{NEW} does not implement vendor-a.com/gpu"
    problem(fleet.get("/errata/none"), 404, "unknown-erratum")


def test_the_release_s_or_the_model_s_vendor_can_publish_an_erratum(fleet: TestClient) -> None:
    vendor(fleet, "vendor-b.com")
    vendor(fleet, "vendor-c.com")
    publish(fleet, "vendor-b.com/clone@1", {"num-queues": QUEUES})
    document = {"release": "vendor-b.com/clone@1", "model": NIC, "description": "it fails"}
    for owner, status in (("vendor-a.com", 201), ("vendor-b.com", 200), ("vendor-c.com", 403)):
        headers = bearer(create(fleet, "publisher", vendor=owner))
        assert fleet.post("/errata", json=document, headers=headers).status_code == status
        local = fleet.post("/errata", json={**document, "local": True}, headers=headers)
        assert local.status_code == 403


def test_the_feed_tells_of_errata(fleet: TestClient) -> None:
    before = fleet.get("/changes").json()["head"]
    erratum = fleet.post("/errata", json=ERRATUM).json()
    fleet.patch(f"/errata/{erratum['id']}", json={"state": "withdrawn"})
    fleet.patch(f"/errata/{erratum['id']}", json={"state": "withdrawn"})
    changes = fleet.get("/changes", params={"after": before, "model": NIC}).json()["items"]
    assert [(change["kind"], change["name"]) for change in changes] == [
        ("erratum-published", NEW),
        ("erratum-withdrawn", NEW),
    ]
    assert changes[0]["detail"]["erratum"] == erratum["id"]


def test_the_matrix_and_the_pages_show_errata(fleet: TestClient) -> None:
    publish(
        fleet,
        "vendor-a.com/fw@3",
        {"num-queues": QUEUES},
        profiles=[{"name": "vendor-a.com/p", "values": {NIC: {"num-queues": 8}}}],
    )
    document = {"release": "vendor-a.com/fw@3", "model": NIC, "description": "it loses its state"}
    fleet.post("/errata", json=document)
    (row,) = fleet.get("/support-matrix", params={"implementation": "vendor-a.com/fw"}).json()["rows"]
    cells = {cell["release"]: [one["code"] for one in cell["problems"]] for cell in row["cells"]}
    assert cells == {OLD: [], NEW: [], "vendor-a.com/fw@3": ["known-broken"]}
    for path in ("/ui/releases/vendor-a.com/fw@3", f"/ui/models/{NIC}"):
        page = fleet.get(path)
        assert page.status_code == 200
        assert "Known to be broken (1)" in page.text
        assert "it loses its state" in page.text
