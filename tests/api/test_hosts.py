"""An operator registers what hosts run, asks by host, label or over all, and drains some of them."""

from itertools import product
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.wire.compatibility import Answer
from app.domain.question import Destination, Judging, Question
from app.domain.source import Device
from app.domain.verdict import Policy
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor

OLD, NEW = f"{FIRMWARE}@1", f"{FIRMWARE}@2"


@pytest.fixture
def operated(registry: TestClient) -> TestClient:
    """Return a registry with two releases and four hosts; the newer release has `feature`."""
    vendor(registry)
    publish(registry, OLD, {"num-queues": QUEUES})
    publish(registry, NEW, {"num-queues": QUEUES, "feature": FEATURE})
    hosts: dict[str, Any] = {
        "host-1": {"releases": [NEW], "labels": {"rack": "r1", "gen": "new"}},
        "host-2": {"releases": [OLD], "labels": {"rack": "r1"}},
        "host-3": {"releases": [NEW], "restrict": {NIC: {"feature": [False]}}, "labels": {"rack": "r2"}},
        "host-4": {"releases": [OLD, NEW]},
    }
    for name, document in hosts.items():
        response = registry.put(f"/hosts/{name}", json=document)
        assert response.status_code == 201, response.text
        assert not any(response.json()[each] for each in ("unknown_releases", "unknown_models", "unknown_variables"))
    return registry


def ask(registry: TestClient, *destinations: dict[str, Any], **more: Any) -> list[Any]:
    """Return the results for a card with its feature on."""
    device = {"id": "net0", "model": NIC, "release": NEW, "values": {"feature": True}}
    question = {"devices": [device], "destinations": list(destinations), **more}
    response = registry.post("/compatibility", json=question)
    assert response.status_code == 200, response.text
    Answer.model_validate_json(response.content)
    results: list[Any] = response.json()["results"]
    return results


def compatible(results: list[Any]) -> dict[str, bool]:
    return {each["destination"]: each["compatible"] for each in results}


def test_a_host_is_registered_replaced_and_forgotten(operated: TestClient) -> None:
    document = {"releases": [NEW, OLD], "restrict": {NIC: {"num-queues": [1, "2-4"]}}, "labels": {"rack": "r9"}}
    assert operated.put("/hosts/host-1", json=document, params={"dry_run": True}).status_code == 200
    assert operated.get("/hosts/host-1").json()["labels"] == {"rack": "r1", "gen": "new"}
    assert operated.put("/hosts/host-1", json=document).status_code == 200
    assert operated.get("/hosts/host-1").json() == {"host": "host-1", **document}
    assert operated.delete("/hosts/host-1").status_code == 204
    problem(operated.get("/hosts/host-1"), 404, "unknown-host")
    problem(operated.delete("/hosts/host-1"), 404, "unknown-host")


def test_hosts_are_listed_by_name_and_label(operated: TestClient) -> None:
    def names(**parameters: Any) -> list[str]:
        return [each["host"] for each in operated.get("/hosts", params=parameters).json()["items"]]

    assert names() == ["host-1", "host-2", "host-3", "host-4"]
    assert names(label="rack=r1") == ["host-1", "host-2"]
    assert names(label="rack") == ["host-1", "host-2", "host-3"]
    assert names(label="rack=") == []
    page = operated.get("/hosts", params={"limit": 3}).json()
    assert names(cursor=page["next"]) == ["host-4"]


def test_one_asks_by_host_by_label_and_over_all(operated: TestClient) -> None:
    assert compatible(ask(operated, {"host": "host-3"}, {"host": "host-1"})) == {"host-3": False, "host-1": True}
    assert compatible(ask(operated, {"label": "rack=r1"})) == {"host-1": True, "host-2": False}
    every = compatible(ask(operated, {"all_hosts": True}))
    assert every == {"host-1": True, "host-2": False, "host-3": False, "host-4": True}
    mixed = ask(operated, {"id": "mine", "releases": [NEW]}, {"label": "rack"}, {"host": "host-9"})
    assert list(compatible(mixed)) == ["mine", "host-1", "host-2", "host-3", "host-9"]
    assert mixed[-1]["devices"][0]["problems"] == [{"code": "unknown-host", "message": "no host host-9 is registered"}]
    short = operated.get("/compatibility", params={"model": NIC, "source": NEW, "host": "host-2", "label": "rack=r2"})
    assert compatible(short.json()["results"]) == {"host-2": True, "host-3": True}


def test_what_a_host_restricts_is_named_as_the_hosts(operated: TestClient) -> None:
    ((found,),) = [each["devices"][0]["problems"] for each in ask(operated, {"host": "host-3"})]
    assert found["message"] == f"the source has feature=on, but {NEW} on this host allows off"


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ({}, ""),
        ({"host": "host-1", "releases": [NEW]}, ""),
        ({"host": "host-1", "restrict": {NIC: {"feature": [True]}}}, "/restrict"),
        ({"label": "rack", "id": "x"}, "/id"),
        ({"all_hosts": True, "label": "rack"}, ""),
        ({"label": "rack\0"}, "/label"),
    ],
)
def test_a_destination_is_one_thing(operated: TestClient, destination: dict[str, Any], place: str) -> None:
    question = {"devices": [{"model": NIC, "release": NEW}], "destinations": [destination]}
    ((where, _),) = problem(operated.post("/compatibility", json=question), 422, "invalid")
    assert where == f"/destinations/0{place}"


@pytest.mark.parametrize("turned", [False, True])
def test_an_id_stands_for_one_destination(operated: TestClient, turned: bool) -> None:
    mine = [{"id": "host-1", "releases": [OLD]}, {"label": "rack=r1"}]
    destinations = list(reversed(mine)) if turned else mine
    question = {"devices": [{"model": NIC, "release": NEW}], "destinations": destinations}
    assert problem(operated.post("/compatibility", json=question), 422, "invalid") == [("/destinations/1", "duplicate")]
    same: list[dict[str, Any]] = [
        {"host": "host-1"},
        {"label": "rack=r1"},
        {"id": "2", "releases": [OLD]},
        {"releases": [NEW]},
    ]
    assert len(ask(operated, *same)) == 4


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"releases": []}, "/releases"),
        ({"releases": ["nonsense"]}, "/releases/0"),
        ({"releases": [NEW], "restrict": {NIC: {"feature": True}}}, f"/restrict/{NIC.replace('/', '~1')}/feature"),
        ({"releases": [NEW], "labels": {"": "x"}}, "/labels/"),
        ({"releases": [NEW], "more": 1}, "/more"),
    ],
)
def test_a_host_that_cannot_be_registered(operated: TestClient, document: dict[str, Any], place: str) -> None:
    assert [where for where, _ in problem(operated.put("/hosts/host-9", json=document), 422, "invalid")] == [place]
    problem(operated.get("/hosts/host-9"), 404, "unknown-host")


def test_hosts_are_the_operators(operated: TestClient) -> None:
    document = {"releases": [NEW]}
    problem(operated.put("/hosts/h", json=document, headers={"Authorization": "Bearer no"}), 401, "unauthorized")
    assert operated.put("/hosts/a b", json=document).status_code == 422
    unknown = operated.put("/hosts/early", json={"releases": [NEW, "vendor-z.com/later@1"]})
    assert unknown.json()["unknown_releases"] == ["vendor-z.com/later@1"]


def test_a_drain_is_one_question(operated: TestClient) -> None:
    """Forty VMs and a thousand hosts: where each may go, and why not elsewhere, as 40,000 single questions say."""
    documents = [
        {"releases": releases, "restrict": restrict}
        for releases, restrict in product(
            ([OLD], [NEW], [NEW, OLD], [OLD, "vendor-z.com/x@1"], ["vendor-z.com/x@1"]),
            ({}, {NIC: {"num-queues": ["1-2"]}}, {NIC: {"feature": [False]}}),
        )
    ]
    for place in range(1000):
        document = documents[place % len(documents)]
        assert operated.put(f"/hosts/h{place:04}", json={**document, "labels": {"drain": "no"}}).status_code == 201
    vms = [
        {
            "id": f"vm-{place}",
            "release": NEW if place % 2 else OLD,
            "devices": [
                {"id": f"net{card}", "model": NIC, "values": {"num-queues": 1 + (place + card) % 8} | feature}
                for card in range(1 + place % 3)
                for feature in [{"feature": True} if place % 4 == 1 else {}]
            ],
        }
        for place in range(40)
    ]
    question = {"vms": vms, "destinations": [{"label": "drain=no"}]}
    answered = operated.post("/compatibility", json={**question, "detail": "summary"})
    assert answered.status_code == 200
    Answer.model_validate_json(answered.content)
    summaries = {each["vm"]: each for each in answered.json()["results"]}
    flat = operated.post("/compatibility", json={**question, "detail": "verdict"}).json()["results"]
    assert len(flat) == 40_000
    singly = _asked_singly(operated.app, vms)  # type: ignore[arg-type]
    assert {(each["vm"], each["destination"]): each["compatible"] for each in flat} == {
        pair: not reasons for pair, reasons in singly.items()
    }
    for vm, summary in summaries.items():
        of_vm = {host: reasons for (each, host), reasons in singly.items() if each == vm}
        assert summary["possible"] == [host for host, reasons in of_vm.items() if not reasons]
        assert summary["impossible"] == sum(bool(reasons) for reasons in of_vm.values())
        counted: dict[str, int] = {}
        for reasons in of_vm.values():
            for reason in set(reasons):
                counted[reason] = counted.get(reason, 0) + 1
        assert {each["message"]: each["count"] for each in summary["reasons"]} == counted


def _asked_singly(app: FastAPI, vms: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return the problems of each VM at each host, each pair asked by itself."""
    current = app.state.catalog.standing()
    found = {}
    for vm in vms:
        devices = [
            Device(id=each["id"], model=each["model"], release=vm["release"], values=each["values"])
            for each in vm["devices"]
        ]
        for host in (each for each in current.all_hosts() if each.id.startswith("h0")):
            answer = Question(devices, Judging(current, Policy.STRICT)).at(
                Destination(host.id, host.releases, host.restrict)
            )
            problems = [each.verdict.problems for each in answer.devices]
            found[vm["id"], host.id] = [each.message for several in problems for each in several]
    return found


def test_what_a_host_restricts_is_checked_and_what_is_unknown_is_told(operated: TestClient) -> None:
    def put(restrict: Any, **more: Any) -> Any:
        return operated.put("/hosts/host-5", json={"releases": [NEW], "restrict": restrict, **more})

    refused = put({NIC: {"num-queues": ["8-2"], "feature": [True, "maybe"], "a=b": [1]}, "no name": {}})
    nic = f"/restrict/{NIC.replace('/', '~1')}"
    assert sorted(problem(refused, 422, "invalid")) == [
        ("/restrict/no name", "invalid-name"),
        (f"{nic}/a=b", "invalid-name"),
        (f"{nic}/feature/1", "invalid-value"),
        (f"{nic}/num-queues/0", "invalid-value"),
    ]
    told = put({NIC: {"feature": ["off"], "featrue": [False]}, "vendor-a.com/my-nik": {"feature": [False]}}).json()
    assert told["unknown_models"] == ["vendor-a.com/my-nik"]
    assert told["unknown_variables"] == {NIC: ["featrue"]}
    device = {"id": "net0", "model": NIC, "release": OLD}
    question = {"devices": [device], "destinations": [{"host": "host-5"}]}
    (result,) = operated.post("/compatibility", json=question).json()["results"]
    warnings = [each["message"] for each in result["devices"][0]["warnings"] if "restriction" in each["code"]]
    assert warnings == [f"{NIC} has no variable featrue here", "the registry has no device model vendor-a.com/my-nik"]


def test_a_dry_run_of_a_change_of_state_keeps_nobody_waiting(
    operated: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write while the impact is worked out."""
    written = []

    def impact(*_: Any) -> dict[str, Any]:
        written.append(operated.put("/vendors/vendor-b.com", json={}).status_code)
        return {"profiles": [], "releases": [], "hosts": [], "listed": []}

    monkeypatch.setattr("app.api.states._impact", impact)
    answer = operated.patch(f"/releases/{NEW}", json={"state": "retired"}, params={"dry_run": True})
    assert (answer.status_code, written) == (200, [201])
    assert operated.get(f"/releases/{NEW}").json()["state"] == "published"


def test_what_a_host_restricts_may_stay_whatever_is_published_since(operated: TestClient) -> None:
    later = "vendor-a.com/later"
    document = {"releases": [NEW], "restrict": {later: {"mode": ["fast"]}}}
    assert operated.put("/hosts/host-6", json=document).json()["unknown_models"] == [later]
    publish(operated, f"{FIRMWARE}@3", {"mode": {"type": "int", "init_value": 1}}, model=later, profiles=[])
    assert operated.put("/hosts/host-6", json=document).status_code == 200
    problem(operated.put("/hosts/host-7", json=document), 422, "invalid")


def test_an_empty_restriction_restricts_nothing(operated: TestClient) -> None:
    device = {"model": NIC, "release": NEW, "values": {"feature": True}}
    hosts = [{"id": "plain", "releases": [OLD]}, {"id": "empty", "releases": [OLD], "restrict": {NIC: {}}}]
    for order in (hosts, hosts[::-1]):
        results = operated.post("/compatibility", json={"devices": [device], "destinations": order}).json()["results"]
        assert {each["devices"][0]["problems"][0]["message"] for each in results} == {
            f"the source has feature=on, but {OLD} has no variable feature: it would have to be off (off)"
        }
