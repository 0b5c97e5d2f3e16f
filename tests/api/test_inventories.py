"""An operator registers a whole inventory at once, and asks about its kinds."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.wire.compatibility import Answer
from app.wire.host import InventoryResult
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor

OLD, NEW = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
MANY = 1_200


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with two releases; the newer one has `feature`."""
    vendor(registry)
    publish(registry, OLD, {"num-queues": QUEUES})
    publish(registry, NEW, {"num-queues": QUEUES, "feature": FEATURE})
    return registry


def post(registry: TestClient, hosts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Register an inventory; return the answer."""
    response = registry.post("/hosts", json={"hosts": hosts, **more})
    assert response.status_code == 200, response.text
    InventoryResult.model_validate_json(response.content, extra="forbid")
    answer: dict[str, Any] = response.json()
    return answer


def counts(answer: dict[str, Any]) -> tuple[int, ...]:
    return tuple(answer[field] for field in ("added", "changed", "unchanged", "forgotten"))


def summary(registry: TestClient, *destinations: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return the summary for a card with a feature."""
    device = {"id": "net0", "model": NIC, "release": NEW, "values": {"feature": True, **values}}
    question = {"devices": [device], "destinations": list(destinations), "detail": "summary"}
    response = registry.post("/compatibility", json=question)
    assert response.status_code == 200, response.text
    Answer.model_validate_json(response.content, extra="forbid")
    (result,) = response.json()["results"]
    return dict(result)


def test_an_inventory_is_registered_changed_and_forgotten(published: TestClient) -> None:
    hosts = {f"h{number}": {"releases": [NEW], "labels": {"rack": f"r{number % 2}"}} for number in range(4)}
    before = published.get("/changes", params={"limit": 1}).json()["head"]
    assert counts(post(published, hosts)) == (4, 0, 0, 0)
    assert counts(post(published, hosts)) == (0, 0, 4, 0)
    changes = published.get("/changes", params={"after": before}).json()["items"]
    assert [(change["kind"], change["name"]) for change in changes] == [("host-registered", name) for name in hosts]
    hosts["h0"]["labels"] = {"rack": "r7"}
    del hosts["h3"]
    dry = published.post("/hosts", json={"hosts": hosts, "forget_others": True}, params={"dry_run": True}).json()
    assert (counts(dry), dry["dry_run"]) == ((0, 1, 2, 1), True)
    assert published.get("/hosts/h3").status_code == 200
    assert counts(post(published, hosts, forget_others=True)) == (0, 1, 2, 1)
    assert published.get("/hosts/h3").status_code == 404
    listed = published.get("/hosts").json()["items"]
    assert [(host["host"], host["labels"]) for host in listed] == [
        ("h0", {"rack": "r7"}),
        ("h1", {"rack": "r1"}),
        ("h2", {"rack": "r0"}),
    ]


def test_an_inventory_registers_what_single_hosts_do(published: TestClient) -> None:
    document = {
        "releases": [NEW, "vendor-z.com/later@1"],
        "restrict": {NIC: {"num-queues": [1, "2-4"], "unknown": [1]}, "vendor-z.com/m": {"x": [1]}},
        "resolves": {NIC: {"feature": {"on": "off"}}},
        "units": [
            {"id": "pci/0000:3b:00.2", "releases": [OLD], "restrict": {NIC: {"num-queues": [2]}}, "available": 0}
        ],
        "labels": {"rack": "", "zone": "z1"},
    }
    single = published.put("/hosts/single", json=document).json()
    answer = post(published, {"whole": document})
    for field in ("unknown_releases", "unknown_models", "unknown_variables"):
        assert answer[field] == single[field]
    one, other = (published.get(f"/hosts/{name}").json() for name in ("single", "whole"))
    for host in (one, other):
        del host["host"], host["reported_at"]
    assert one == other
    assert counts(post(published, {"single": document})) == (0, 0, 1, 0)


def test_all_faults_of_an_inventory_are_reported_and_nothing_is_registered(published: TestClient) -> None:
    hosts = {
        "good": {"releases": [NEW]},
        "no releases": {"releases": []},
        "bad": {"releases": ["fw"], "restrict": {NIC: {"num-queues": ["8-2"]}}, "labels": {"a=b": "x"}},
        "same": {"releases": [NEW], "restrict": {NIC: {"num-queues": ["8-2"]}}},
        "again": {"releases": [NEW], "restrict": {NIC: {"num-queues": ["8-2"]}}},
        "text": "vendor-a.com/fw@1",
    }
    refused = problem(published.post("/hosts", json={"hosts": hosts, "forget": True}), 422, "invalid")
    assert refused == [("/forget", "unknown-field")]
    refused = problem(published.post("/hosts", json={"hosts": hosts}), 422, "invalid")
    assert sorted(refused) == [
        ("/hosts/bad/labels/a=b", "invalid-value"),
        ("/hosts/no releases", "invalid-value"),
        ("/hosts/no releases/releases", "limit-exceeded"),
        ("/hosts/text", "wrong-type"),
    ]
    del hosts["no releases"], hosts["text"]
    hosts["bad"] = {**hosts["bad"], "labels": {}}  # type: ignore[dict-item]
    nic = f"/restrict/{NIC.replace('/', '~1')}"
    refused = problem(published.post("/hosts", json={"hosts": hosts}), 422, "invalid")
    assert sorted(refused) == [
        (f"/hosts/again{nic}/num-queues/0", "invalid-value"),
        ("/hosts/bad/releases/0", "invalid-name"),
        (f"/hosts/bad{nic}/num-queues/0", "invalid-value"),
        (f"/hosts/same{nic}/num-queues/0", "invalid-value"),
    ]
    assert published.get("/hosts").json()["items"] == []
    bodies: list[Any] = [[], {"hosts": []}, {"hosts": {}, "forget_others": "yes"}]
    for body in (*bodies, {"hosts": {"a/b": {"releases": [NEW]}}}):
        problem(published.post("/hosts", json=body), 422, "invalid")
    huge = '{"hosts": {"h": {"releases": ["x@1"], "restrict": {"a/b": {"c": [' + "9" * 40 + "]}}}}}"
    response = published.post("/hosts", content=huge, headers={"Content-Type": "application/json"})
    assert response.status_code == 422


def test_what_is_registered_stays_valid_in_an_inventory(published: TestClient) -> None:
    later = "vendor-a.com/later"
    document = {"releases": [NEW], "restrict": {later: {"mode": ["fast"]}}}
    assert post(published, {"h": document})["unknown_models"] == [later]
    publish(published, f"{FIRMWARE}@3", {"mode": {"type": "int", "init_value": 1}}, model=later, profiles=[])
    assert counts(post(published, {"h": document})) == (0, 0, 1, 0)
    refused = problem(published.post("/hosts", json={"hosts": {"h": document, "new": document}}), 422, "invalid")
    assert [pointer.split("/")[2] for pointer, _ in refused] == ["new"]


def test_the_hosts_of_a_kind_are_listed(published: TestClient) -> None:
    unit = {"id": "card0", "releases": [OLD]}
    hosts = {
        "a": {"releases": [NEW], "units": [unit], "labels": {"rack": "r1"}},
        "b": {"releases": [NEW], "units": [{**unit, "id": "card7", "available": 3}], "labels": {"rack": "r2"}},
        "c": {"releases": [NEW], "labels": {"rack": "r1"}},
    }
    post(published, hosts)
    kinds = {host["host"]: host["kind"] for host in published.get("/hosts").json()["items"]}
    assert kinds["a"] == kinds["b"] != kinds["c"]

    def names(**parameters: Any) -> list[str]:
        return [host["host"] for host in published.get("/hosts", params=parameters).json()["items"]]

    assert names(kind=kinds["a"]) == ["a", "b"]
    assert names(kind=kinds["a"], label="rack=r2") == ["b"]
    assert names(kind="sha256:0") == []
    page = published.get("/hosts", params={"kind": kinds["a"], "limit": 1}).json()
    assert names(kind=kinds["a"], limit=1, cursor=page["next"]) == ["b"]


def test_a_summary_costs_and_lists_kinds(published: TestClient) -> None:
    hosts = {
        f"h{number:04}": {"releases": [NEW if number % 3 else OLD], "labels": {"half": str(number % 2)}}
        for number in range(MANY)
    }
    post(published, hosts)
    everywhere = summary(published, {"all_hosts": True})
    possible, impossible = MANY - MANY // 3, MANY // 3
    assert (everywhere["possible_count"], everywhere["impossible_count"]) == (possible, impossible)
    assert everywhere["impossible"] == impossible
    # 800 hosts can be named.
    assert everywhere["possible"] == [name for number, name in enumerate(hosts) if number % 3]
    assert [
        (kind["count"], kind["compatible"], kind["releases"], kind["examples"]) for kind in everywhere["kinds"]
    ] == [
        (impossible, False, [OLD], [f"h{number:04}" for number in range(0, 15, 3)]),
        (possible, True, [NEW], ["h0001", "h0002", "h0004", "h0005", "h0007"]),
    ]
    (reason,) = everywhere["reasons"]
    assert (reason["count"], reason["examples"]) == (impossible, [f"h{number:04}" for number in range(0, 15, 3)])
    half = summary(published, {"labels": ["half=1"]})
    assert (half["possible_count"], half["impossible_count"]) == (MANY // 3, MANY // 6)
    post(published, {name: {"releases": [NEW]} for name in hosts})
    whole = summary(published, {"all_hosts": True})
    assert (whole["possible_count"], whole["possible"]) == (MANY, None)


def test_selections_and_named_hosts_count_once(published: TestClient) -> None:
    post(
        published,
        {f"h{number}": {"releases": [NEW], "labels": {"rack": f"r{number % 3}"}} for number in range(9)},
    )
    post(published, {"old": {"releases": [OLD], "labels": {"rack": "r0"}}})
    result = summary(
        published,
        {"host": "h4"},
        {"labels": ["rack=r0"]},
        {"id": "inline", "releases": [NEW]},
        {"labels": ["rack", "rack!=r1", "!draining"]},
        {"host": "h0"},
        {"label": "no=where"},
    )
    names = ["h4", "h3", "h6", "inline", "h2", "h5", "h8", "h0"]
    assert result["possible"] == names
    assert [(kind["kind"] is None, kind["count"]) for kind in result["kinds"]] == [(False, 8), (False, 1), (True, 1)]
    assert [reason["code"] for reason in result["reasons"]] == ["unknown-host", "variable-not-supported"]
    device = {"id": "net0", "model": NIC, "release": NEW, "values": {"feature": True}}
    question = {"devices": [device], "destinations": [{"host": "h4"}, {"labels": ["rack=r0"]}, {"all_hosts": True}]}
    listed = published.post("/compatibility", json=question).json()["results"]
    assert [one["destination"] for one in listed] == ["h4", "h0", "h3", "h6", "old", "h1", "h2", "h5", "h7", "h8"]
    assert [one["destination"] for one in listed if not one["compatible"]] == ["old"]


def test_a_host_keeps_the_ids_of_its_units_in_the_answer_of_its_kind(published: TestClient) -> None:
    units = [{"id": f"card{number}", "releases": [NEW], "available": number} for number in range(3)]
    post(published, {f"h{number}": {"releases": ["x.com/y@1"], "units": [units[number]]} for number in range(3)})
    device = {"id": "net0", "model": NIC, "release": NEW}
    question = {"devices": [device], "destinations": [{"all_hosts": True}, {"host": "h1", "id": "again"}]}
    results = published.post("/compatibility", json=question).json()["results"]
    served = [(one["destination"], one["devices"][0]["unit"], one["devices"][0]["available"]) for one in results]
    # A host that the question calls otherwise is not counted twice.
    assert served == [("h0", "card0", 0), ("h2", "card2", 2), ("again", "card1", 1)]


def test_an_id_cannot_hide_a_selection_that_no_host_meets(published: TestClient) -> None:
    device = {"model": NIC, "release": NEW}
    hidden = [{"id": "label rack=none", "releases": [NEW]}, {"labels": ["rack=none"]}]
    refused = published.post("/compatibility", json={"devices": [device], "destinations": hidden})
    assert problem(refused, 422, "invalid") == [("/destinations/1", "duplicate")]


def test_selections_are_limited(published: TestClient) -> None:
    device = {"model": NIC, "release": NEW}
    many = [{"labels": [f"rack=r{number}"]} for number in range(65)]
    for detail in ("summary", "verdict"):
        question = {"devices": [device], "destinations": many, "detail": detail}
        refused = published.post("/compatibility", json=question)
        assert problem(refused, 422, "invalid") == [("/destinations", "limit-exceeded")]
        question["destinations"] = many[:64]
        assert published.post("/compatibility", json=question).status_code == 200


def test_a_document_that_is_nested_deeply_is_refused(published: TestClient) -> None:
    for depth in (200, 500, 950):
        nested = "[" * depth + "]" * depth
        body = f'{{"hosts": {{"h": {{"releases": {nested}}}}}}}'
        response = published.post("/hosts", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in {400, 422}, depth
