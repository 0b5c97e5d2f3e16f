"""Cards, drivers and firmware: hosts with units, devices with parts, and values that hosts resolve, over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.wire.compatibility import Answer
from tests.api.stories import NIC, QUEUES, problem, publish, vendor

FIRST, SECOND = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
KERNEL, PASS = "vendor-a.com/linux@6", "vendor-a.com/pass"
USO = {"type": "bool", "init_value": True, "off_value": False, "resolved_by_host": [True]}
NEEDED = {"variables": {"uso": USO}, "needs": ["host-device"]}


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with a kernel's device that needs a part, and two firmwares of a card."""
    vendor(registry)
    answer = registry.put(f"/releases/{KERNEL}", json={"models": {PASS: NEEDED}})
    assert answer.status_code == 201, answer.text
    publish(registry, FIRST, {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}})
    publish(registry, SECOND, {"num-queues": QUEUES})
    return registry


def unit(name: str, release: str, **more: Any) -> dict[str, Any]:
    """Return a unit of a host."""
    return {"id": name, "releases": [release], **more}


def vm(queues: int = 8, **more: Any) -> list[dict[str, Any]]:
    """Return a device with the card behind it."""
    return [
        {"id": "dev", "model": PASS, "release": KERNEL, **more},
        {
            "id": "card",
            "model": NIC,
            "release": SECOND,
            "values": {"num-queues": queues},
            "part_of": "dev",
            "role": "host-device",
        },
    ]


def ask(registry: TestClient, devices: list[Any], *destinations: Any, **more: Any) -> Response:
    """Ask whether the devices can move there."""
    question = {"devices": devices, "destinations": list(destinations), "detail": "full", **more}
    return registry.post("/compatibility", json=question)


def results(response: Response) -> Any:
    """Return the results of an answer that has the documented shape."""
    assert response.status_code == 200, response.text
    Answer.model_validate_json(response.content)
    return response.json()["results"]


TWO_CARDS = {"releases": [KERNEL], "units": [unit("a", FIRST), unit("b", SECOND, available=3)]}


def test_the_answer_names_the_unit_and_what_room_it_states(published: TestClient) -> None:
    (result,) = results(ask(published, vm(), {"id": "there", **TWO_CARDS}))
    assert result["compatible"]
    device, card = result["devices"]
    assert "unit" not in device
    assert (card["unit"], card["available"], card["release"]) == ("b", 3, SECOND)
    (result,) = results(ask(published, vm(4), {"id": "there", **TWO_CARDS}))
    assert (result["devices"][1]["unit"], "available" in result["devices"][1]) == ("a", False)


def test_a_host_is_registered_with_its_units_and_what_it_resolves(published: TestClient) -> None:
    document = {
        "releases": [KERNEL],
        "restrict": {},
        "resolves": {PASS: {"uso": {"on": False}}},
        "units": [unit("b", SECOND, restrict={NIC: {"num-queues": ["1-8"]}}, resolves={}, available=0)],
        "labels": {"rack": "r1"},
    }
    assert published.put("/hosts/one", json=document).status_code == 201
    again = published.put("/hosts/one", json=document)
    assert again.status_code == 200
    stored = published.get("/hosts/one").json()
    assert stored["resolves"] == document["resolves"]
    assert stored["units"] == [
        {"id": "b", "releases": [SECOND], "restrict": {NIC: {"num-queues": ["1-8"]}}, "resolves": {}, "available": 0}
    ]
    # The destination lacks what the guest has; where the source lacked it, too, nothing is lost.
    (refused,) = results(ask(published, vm(), {"host": "one"}))
    assert [entry["variable"] for entry in refused["devices"][0]["problems"]] == ["uso"]
    on_one = [{**device, "host": "one"} for device in vm()]
    for device in on_one:
        del device["release"]
    (allowed,) = results(ask(published, on_one, {"host": "one"}))
    assert allowed["compatible"]
    assert allowed["devices"][0]["configuration"] == {"uso": False}
    assert allowed["devices"][1]["unit"] == "b"


def test_hosts_of_one_kind_are_answered_with_units_of_their_own(published: TestClient) -> None:
    for number in range(3):
        units = [unit(f"card-{number}-{card}", release) for card, release in enumerate((FIRST, SECOND))]
        document = {"releases": [KERNEL], "units": units, "labels": {"all": "yes"}}
        assert published.put(f"/hosts/h{number}", json=document).status_code == 201
    answers = results(ask(published, vm(), {"labels": ["all=yes"]}))
    assert [answer["devices"][1]["unit"] for answer in answers] == ["card-0-1", "card-1-1", "card-2-1"]
    (summary,) = results(ask(published, vm(), {"labels": ["all=yes"]}, detail="summary"))
    assert summary["possible"] == ["h0", "h1", "h2"]


def test_every_fault_of_units_and_resolutions_is_reported(published: TestClient) -> None:
    document = {
        "releases": ["no release"],
        "resolves": {PASS: {"uso": {"maybe": True, "on": "maybe"}, "us": {"on": False}}, "no model": {}},
        "units": [
            unit("a", "none", restrict={NIC: {"num-queues": ["x"]}}),
            unit("a", SECOND, resolves={NIC: {"num-queues": {"0": "many"}, "a=b": {}}}),
        ],
    }
    assert problem(published.put("/hosts/one", json=document), 422, "invalid") == [
        ("/units/1/id", "duplicate"),
        ("/releases/0", "invalid-name"),
        ("/resolves/vendor-a.com~1pass/uso/maybe", "invalid-value"),
        ("/resolves/vendor-a.com~1pass/uso/on", "invalid-value"),
        ("/resolves/no model", "invalid-name"),
        ("/units/0/releases/0", "invalid-name"),
        ("/units/0/restrict/vendor-a.com~1my-nic/num-queues/0", "invalid-value"),
        ("/units/1/resolves/vendor-a.com~1my-nic/num-queues/0", "invalid-value"),
        ("/units/1/resolves/vendor-a.com~1my-nic/a=b", "invalid-name"),
    ]
    unknown = {
        "releases": [KERNEL],
        "resolves": {PASS: {"us": {"on": False}}},
        "units": [unit("a", "vendor-a.com/fw@9", restrict={"vendor-a.com/none": {"x": [1]}})],
    }
    registered = published.put("/hosts/one", json=unknown).json()
    assert registered["unknown_releases"] == ["vendor-a.com/fw@9"]
    assert registered["unknown_models"] == ["vendor-a.com/none"]
    assert registered["unknown_variables"] == {PASS: ["us"]}
    many = {"releases": [KERNEL], "units": [unit(str(number), SECOND) for number in range(65)]}
    assert problem(published.put("/hosts/one", json=many), 422, "invalid") == [("/units", "limit-exceeded")]


def test_every_fault_of_parts_is_reported(published: TestClient) -> None:
    asked = [
        {"id": "a", "model": NIC, "part_of": "b", "role": "x"},
        {"id": "b", "model": NIC, "part_of": "a", "role": "x"},
        {"id": "c", "model": NIC, "part_of": "nobody", "role": "x"},
        {"id": "d", "model": NIC, "role": "x"},
        {"id": "e", "model": NIC, "unit": "card"},
        {"id": "f", "model": NIC, "part_of": "a"},
        {"model": NIC, "part_of": "6"},
    ]
    assert problem(ask(published, asked, {"releases": [SECOND]}), 422, "invalid") == [
        ("/devices/3/role", "missing-field"),
        ("/devices/4/unit", "missing-field"),
        ("/devices/0/part_of", "invalid-value"),
        ("/devices/1/part_of", "invalid-value"),
        ("/devices/2/part_of", "invalid-value"),
        ("/devices/6/part_of", "invalid-value"),
    ]
    twice = {"id": "x", "releases": [KERNEL], "units": [unit("a", FIRST), unit("a", SECOND)]}
    assert problem(ask(published, vm(), twice), 422, "invalid") == [("/destinations/0/units/1/id", "duplicate")]
    registered = {"host": "one", "units": [unit("a", FIRST)], "resolves": {PASS: {}}}
    assert problem(ask(published, vm(), registered), 422, "invalid") == [
        ("/destinations/0/resolves", "unknown-field"),
        ("/destinations/0/units", "unknown-field"),
    ]


def test_a_set_shows_its_needs_and_rules_and_never_changes_them(published: TestClient) -> None:
    rule = {"role": "host-device", "over": 1, "require": {"p2p": [True]}}
    document = {"variables": {"uso": USO}, "needs": [{"role": "fw", "when": {"uso": ["on"]}}], "together": [rule]}
    release = f"/releases/{KERNEL.replace('@6', '@7')}"
    assert published.put(release, json={"models": {PASS: document}}).status_code == 201
    sets = published.get("/variable-sets", params={"model": PASS}).json()["items"]
    by_release = {stated["releases"][0]: stated for stated in sets}
    assert "together" not in by_release[KERNEL]
    assert by_release[KERNEL]["needs"] == [{"role": "host-device", "when": {}, "description": ""}]
    stated = by_release[KERNEL.replace("@6", "@7")]
    assert stated["needs"] == [{"role": "fw", "when": {"uso": [True]}, "description": ""}]
    assert stated["together"] == [{**rule, "description": ""}]
    assert published.put(release, json={"models": {PASS: document}}).status_code == 200
    without = published.put(release, json={"models": {PASS: {"variables": {"uso": USO}}}})
    assert problem(without, 409, "entry-changed")
    difference = published.get("/diff", params={"from": KERNEL, "to": KERNEL.replace("@6", "@7")}).json()
    assert [entry["message"] for entry in difference["models"][PASS]] == [
        "The parts that devices need differ.",
        "The rules across the devices of a VM differ.",
    ]


def test_a_baseline_and_an_impact_see_the_releases_of_units(published: TestClient) -> None:
    assert published.put("/hosts/one", json={**TWO_CARDS, "units": [unit("a", FIRST)]}).status_code == 201
    assert published.put("/hosts/two", json={**TWO_CARDS, "units": [unit("b", SECOND)]}).status_code == 201
    answer = published.post("/baseline", json={"models": [NIC], "hosts": ["one", "two"]}).json()["models"][NIC]
    assert (answer["values"], answer["domains"]) == ({"num-queues": 4}, {"num-queues": ["1-4"]})
    either = published.put("/hosts/two", json=TWO_CARDS)
    assert either.status_code == 200
    answer = published.post("/baseline", json={"models": [NIC], "hosts": ["two"]}).json()["models"][NIC]
    assert answer["values"] == {"num-queues": 4}
    impact = published.get("/impact", params={"name": SECOND, "state": "retired"}).json()
    # Only the second firmware takes eight queues, so both hosts would lose something; the first card covers no more.
    assert impact["hosts"] == ["two"]
    assert published.get("/impact", params={"name": FIRST, "state": "retired"}).json()["hosts"] == ["one"]


def test_a_fleet_question_about_one_model_takes_hosts_that_restrict_others(published: TestClient) -> None:
    stated = {"restrict": {NIC: {"num-queues": [1]}}, "units": [unit("a", FIRST, resolves={NIC: {}})]}
    assert published.put("/hosts/one", json={"releases": [KERNEL], **stated}).status_code == 201
    answer = published.post("/baseline", json={"models": [PASS], "hosts": ["one"]})
    assert answer.status_code == 200
    assert answer.json()["models"][PASS]["values"] == {"uso": True}
    assert published.get("/impact", params={"name": KERNEL, "state": "retired"}).json()["hosts"] == ["one"]
    retired = published.patch(f"/releases/{KERNEL}?dry_run=true", json={"state": "retired"})
    assert retired.status_code == 200, retired.text


def test_a_vms_release_and_profile_are_not_those_of_its_parts(published: TestClient) -> None:
    profile = {"name": "vendor-a.com/mach", "values": {PASS: {"uso": True}}}
    assert published.post("/profiles", json=profile).status_code == 201
    devices = vm()
    del devices[0]["release"]
    question = {
        "vms": [{"id": "vm", "release": KERNEL, "profile": "vendor-a.com/mach", "devices": devices}],
        "destinations": [{"id": "there", **TWO_CARDS}],
    }
    (result,) = results(published.post("/compatibility", json=question))
    assert result["compatible"], result
