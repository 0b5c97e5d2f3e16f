"""A vendor's pipeline learns at once what a release would break, and says why it may."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FIRMWARE, NIC, QUEUES, problem, publish, vendor

ONE, TWO, THREE = (f"{FIRMWARE}@{version}" for version in ("1.0", "1.10", "2"))
P, SMALL = "vendor-a.com/p", "vendor-a.com/small"
FEWER = {**QUEUES, "allowed_values": ["1-4"]}
GPU = "vendor-a.com/gpu"


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with a release of a card and a GPU, and two profiles."""
    vendor(registry)
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}, GPU: {}}}, {"name": SMALL, "values": {NIC: {}}}]
    models = {NIC: {"variables": {"num-queues": QUEUES}}, GPU: {"variables": {}}}
    assert registry.put(f"/releases/{ONE}", json={"models": models, "profiles": profiles}).status_code == 201
    return registry


def put(registry: TestClient, release: str, queues: Any, *, gpu: bool = True, **parameters: Any) -> Any:
    """Publish a release of the card, with or without the GPU."""
    models = {NIC: {"variables": {"num-queues": queues}}, **({GPU: {"variables": {}}} if gpu else {})}
    return registry.put(f"/releases/{release}", json={"models": models}, params=parameters)


def test_a_release_that_takes_something_away_is_refused_with_every_reason(published: TestClient) -> None:
    refused = put(published, TWO, FEWER, gpu=False)
    assert problem(refused, 409, "evolution-gate") == []
    body = refused.json()
    told = [(each["profile"], each["model"], each["problems"][0]["code"]) for each in body["broken"]]
    assert sorted(told) == [(P, GPU, "model-not-supported"), (P, NIC, "value-not-allowed")]
    assert body["broken_count"] == 2
    assert {(each["accepted_by"], each["refused_by"]) for each in body["broken"]} == {(ONE, TWO)}
    assert "2 pairs of a profile and a device model would break (profiles: 1, models: 2)" in body["detail"]
    problem(published.get(f"/releases/{TWO}"), 404, "unknown-release")
    assert put(published, TWO, FEWER, dry_run=True).json()["code"] == "evolution-gate"


def test_the_same_passes_after_the_value_is_added_back(published: TestClient) -> None:
    problem(put(published, TWO, FEWER), 409, "evolution-gate")
    assert put(published, TWO, {**FEWER, "allowed_values": ["1-4", 8]}).status_code == 201
    assert put(published, TWO, {**FEWER, "allowed_values": ["1-4", 8]}).status_code == 200


def test_an_override_says_why_and_is_kept(published: TestClient) -> None:
    passed = put(published, TWO, FEWER, override="the chip has four queues")
    assert passed.status_code == 201
    assert [each["profile"] for each in passed.json()["overridden"]] == [P]
    (override,) = published.get(f"/releases/{TWO}").json()["overrides"]
    assert override["reason"] == "the chip has four queues"
    assert override["at"].endswith("Z")
    assert override["broken"][0]["problems"] == [f"the profile has num-queues=8, but {TWO} allows 1-4"]
    # It is the previous release of the next one, which need not have what it lacks; an override of nothing is none.
    assert put(published, THREE, FEWER, override="for nothing").status_code == 201
    assert published.get(f"/releases/{THREE}").json()["overrides"] == []
    assert put(published, TWO, FEWER, override="").status_code == 422


def test_the_previous_release_is_the_highest_lower_version(published: TestClient) -> None:
    assert put(published, f"{FIRMWARE}@1.9", FEWER, override="x").status_code == 201
    assert put(published, TWO, FEWER).status_code == 201
    assert put(published, f"{FIRMWARE}@0.9", FEWER, gpu=False).status_code == 201


def test_an_implementation_says_what_its_releases_are_held_to(published: TestClient) -> None:
    path = f"/implementations/{FIRMWARE}"
    expected = {"implementation": FIRMWARE, "vendor": "vendor-a.com", "releases": [ONE]}
    assert published.get(path).json() == {**expected, "evolution": "backward", "transitive": False}
    none = {"evolution": "none"}
    assert published.put(path, json=none).status_code == 201
    assert published.put(path, json=none).status_code == 200
    assert put(published, TWO, FEWER, gpu=False).status_code == 201
    assert published.put(path, json={"evolution": "backward", "transitive": True}).status_code == 201
    # The release before has four queues as well, the first one eight.
    assert problem(put(published, THREE, FEWER), 409, "evolution-gate") == []
    assert put(published, THREE, QUEUES).status_code == 201
    problem(published.get("/implementations/vendor-a.com/none"), 404, "unknown-implementation")
    problem(published.put("/implementations/vendor-z.com/x", json=none), 404, "unknown-vendor")
    problem(published.put(path, json={"evolution": "sideways"}), 422, "invalid")
    assert published.put("/implementations/vendor-a.com/early", json={"evolution": "full"}).status_code == 201


def test_full_asks_that_what_is_won_was_there_before(published: TestClient) -> None:
    published.put(f"/implementations/{FIRMWARE}", json={"evolution": "full"})
    more = {**QUEUES, "allowed_values": ["1-16"]}
    assert put(published, TWO, more).status_code == 201
    wide = {"name": "vendor-a.com/wide", "values": {NIC: {"num-queues": 16}}}
    assert published.post("/profiles", json=wide).status_code == 201
    (won,) = put(published, f"{FIRMWARE}@0.5", more).json().get("broken", [None])
    assert won is None
    published.put(f"/implementations/{FIRMWARE}", json={"evolution": "full", "transitive": True})
    refused = put(published, THREE, more).json()
    assert [(each["profile"], each["accepted_by"], each["refused_by"]) for each in refused["broken"]] == [
        ("vendor-a.com/wide", THREE, ONE)
    ]


def test_a_release_may_grow_a_model_at_a_time(published: TestClient) -> None:
    """POST /variable-sets is held to its own model; the others may follow."""
    document = {"model": NIC, "implementation": FIRMWARE, "version": "2", "variables": {"num-queues": FEWER}}
    problem(published.post("/variable-sets", json=document), 409, "evolution-gate")
    document["variables"] = {"num-queues": QUEUES}
    assert published.post("/variable-sets", json=document).status_code == 201
    follows = {"model": GPU, "implementation": FIRMWARE, "version": "2", "variables": {}}
    assert published.post("/variable-sets", json=follows, params={"dry_run": True}).status_code == 201


def test_retired_profiles_hold_nothing_back(published: TestClient) -> None:
    problem(put(published, TWO, FEWER), 409, "evolution-gate")
    assert published.patch(f"/profiles/{P}", json={"state": "retired"}).status_code == 200
    assert put(published, TWO, FEWER, gpu=False).status_code == 201


def test_other_faults_are_told_first(published: TestClient) -> None:
    assert problem(
        publish(published, TWO, {"num-queues": {"type": "str", "init_value": ""}}), 409, "variable-redefined"
    )


def test_a_release_that_came_in_parts_is_held_against_all_models_when_it_is_put(published: TestClient) -> None:
    card = {"model": NIC, "implementation": FIRMWARE, "version": "1.10", "variables": {"num-queues": QUEUES}}
    assert published.post("/variable-sets", json=card).status_code == 201
    other: dict[str, Any] = {"vendor-a.com/other": {"variables": {}}}
    refused = published.put(f"/releases/{TWO}", json={"models": other})
    problem(refused, 409, "evolution-gate")
    assert [(each["profile"], each["model"]) for each in refused.json()["broken"]] == [(P, GPU)]
    passed = published.put(f"/releases/{TWO}", json={"models": other}, params={"override": "the GPU is gone"})
    assert passed.json()["overridden_count"] == 1
    # What was passed once is not asked again.
    more: dict[str, Any] = {"vendor-a.com/more": {"variables": {}}}
    assert published.put(f"/releases/{TWO}", json={"models": more}).status_code == 201


def test_a_reason_says_something(published: TestClient) -> None:
    assert problem(put(published, TWO, FEWER, override=" "), 422, "invalid") == [("override", "invalid-value")]


def test_only_so_much_of_what_breaks_is_told(published: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("publishing", "releases"):
        monkeypatch.setattr(f"app.api.{module}.MAX_BROKEN", 1)
    passed = put(published, TWO, FEWER, gpu=False, override="a smaller chip").json()
    assert (len(passed["overridden"]), passed["overridden_count"]) == (1, 2)
    (override,) = published.get(f"/releases/{TWO}").json()["overrides"]
    assert (len(override["broken"]), override["broken_count"]) == (1, 2)


def test_what_was_passed_while_a_model_was_missing_is_asked_again_when_it_comes(published: TestClient) -> None:
    gone = published.put(f"/releases/{TWO}", json={"models": {}}, params={"override": "not built yet"})
    assert gone.status_code == 201
    worse = {"models": {NIC: {"variables": {"num-queues": FEWER}}}}
    problem(published.put(f"/releases/{TWO}", json=worse), 409, "evolution-gate")
    added = {"model": NIC, "implementation": FIRMWARE, "version": "1.10", "variables": {"num-queues": FEWER}}
    problem(published.post("/variable-sets", json=added), 409, "evolution-gate")


def test_an_addition_is_not_refused_for_what_stood_before(published: TestClient) -> None:
    assert put(published, TWO, FEWER, override="the chip has four queues").status_code == 201
    late = {"name": "vendor-a.com/late", "values": {NIC: {"num-queues": 7}}}
    assert published.post("/profiles", json=late).status_code == 201
    more: dict[str, Any] = {"vendor-a.com/more": {"variables": {}}}
    assert published.put(f"/releases/{TWO}", json={"models": more}).status_code == 201
