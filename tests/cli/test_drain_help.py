"""drain on small fleets: what would help a VM that is stuck, and the room of units."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FEATURE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import Run, Save, moves, planned
from tests.conftest import AUTHORIZATION

ONE, TWO = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
LIVE = {**FEATURE, "init_value": True, "runtime": True}


@pytest.fixture
def fleet(service: TestClient) -> TestClient:
    """Return the service, with the admin's token."""
    service.headers.update(AUTHORIZATION)
    return service


def _fleet(registry: TestClient) -> None:
    """Publish two releases, the newer with a variable that can be switched off, and register hosts."""
    vendor(registry)
    profile = {"name": "vendor-a.com/p", "values": {NIC: {"num-queues": 4}}}
    assert publish(registry, ONE, {"num-queues": QUEUES}, profiles=[]).is_success
    assert publish(registry, TWO, {"num-queues": QUEUES, "feature": LIVE}, profiles=[profile]).is_success
    for host, release in (("old-1", ONE), ("old-2", ONE), ("new-1", TWO)):
        assert registry.put(f"/hosts/{host}", json={"releases": [release]}).is_success


def test_a_remedy_and_the_permissive_policy_help(run: Run, save: Save, fleet: TestClient) -> None:
    _fleet(fleet)
    device = {"id": "net0", "model": NIC, "release": TWO}
    vms = [
        {"id": "live", "host": "new-1", "devices": [{**device, "values": {"feature": True}}]},
        {"id": "listed", "host": "new-1", "devices": [{**device, "profile": "vendor-a.com/p"}]},
        {"id": "two", "host": "new-1", "devices": [device, {"id": "x", "model": "vendor-a.com/none"}]},
    ]
    answer = planned(run, save("vms.json", vms), status=1)
    helps = {vm["vm"]: vm["help"] for vm in answer["vms"]}
    (remedy,) = helps["live"]
    assert (remedy["change"], remedy["devices"], remedy["possible_count"]) == (
        *("remedy", {"net0": {"feature": False}}),
        2,
    )
    (policy,) = helps["listed"]
    assert (policy["change"], policy["policy"], policy["examples"]) == ("policy", "permissive", ["old-1", "old-2"])
    # One device could be helped, the other one not.
    assert helps["two"] == []
    text = run("drain", save("same.json", vms)).stdout
    assert "after changing feature of net0 from on to off in the running VM, it can go to old-1, old-2" in text
    assert "two: unknown-model: Correct the name" in text


def test_equal_units_are_one_need_and_a_unit_without_a_number_does_not_limit(
    run: Run, save: Save, fleet: TestClient
) -> None:
    vendor(fleet)
    assert publish(fleet, ONE, {"num-queues": QUEUES}).is_success
    assert publish(fleet, "vendor-a.com/emu@1", {"x": FEATURE}, model="vendor-a.com/other").is_success
    cards = [{"id": f"card-{number}", "releases": [ONE], "available": number} for number in range(2)]
    hosts: dict[str, Any] = {
        "a": {"units": cards},
        "b": {"units": [{"id": "card", "releases": [ONE]}], "labels": {"room": "b"}},
    }
    for name, document in hosts.items():
        assert fleet.put(f"/hosts/{name}", json={"releases": ["vendor-a.com/emu@1"], **document}).is_success
    vms = [{"id": name, "devices": [{"model": NIC, "release": ONE}]} for name in "xyz"]
    made = moves(planned(run, save("vms.json", vms)))
    # The first card that takes the device has no room, the second one has.
    assert [(move["host"], move["units"], move["room_stated"]) for move in made.values()] == [
        ("a", ["card-1"], True),
        ("b", [], False),
        ("b", [], False),
    ]
    assert planned(run, save("vms.json", vms), "--label", "!room")["without_room"] == ["y", "z"]
    assert "b (room not stated)" in run("drain", save("vms.json", vms), "--label", "room").stdout
