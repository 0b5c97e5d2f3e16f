"""A vendor's pipeline learns what a release would break; an admin can override the refusal with a reason."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.api.test_tokens import bearer, create

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
    reasons = [(broken["profile"], broken["model"], broken["problems"][0]["code"]) for broken in body["broken"]]
    assert sorted(reasons) == [(P, GPU, "model-not-supported"), (P, NIC, "value-not-allowed")]
    assert body["broken_count"] == 2
    assert {(broken["accepted_by"], broken["refused_by"]) for broken in body["broken"]} == {(ONE, TWO)}
    assert "2 pairs of a profile and a device model would break (profiles: 1, models: 2)" in body["detail"]
    problem(published.get(f"/releases/{TWO}"), 404, "unknown-release")
    assert put(published, TWO, FEWER, dry_run=True).json()["code"] == "evolution-gate"


def test_the_same_passes_after_the_value_is_added_back(published: TestClient) -> None:
    problem(put(published, TWO, FEWER), 409, "evolution-gate")
    assert put(published, TWO, {**FEWER, "allowed_values": ["1-4", 8]}).status_code == 201
    assert put(published, TWO, {**FEWER, "allowed_values": ["1-4", 8]}).status_code == 200


def test_an_override_is_stored_with_its_reason(published: TestClient) -> None:
    passed = put(published, TWO, FEWER, override="the chip has four queues")
    assert passed.status_code == 201
    assert [broken["profile"] for broken in passed.json()["overridden"]] == [P]
    (override,) = published.get(f"/releases/{TWO}").json()["overrides"]
    assert override["reason"] == "the chip has four queues"
    assert override["at"].endswith("Z")
    assert override["broken"][0]["problems"] == [f"The profile sets num-queues=8, but {TWO} allows 1-4."]
    # The next release is compared with this one, so it can lack the same. An unneeded override is not stored.
    assert put(published, THREE, FEWER, override="for nothing").status_code == 201
    assert published.get(f"/releases/{THREE}").json()["overrides"] == []
    assert put(published, TWO, FEWER, override="").status_code == 422


def test_the_previous_release_is_the_highest_lower_version(published: TestClient) -> None:
    assert put(published, f"{FIRMWARE}@1.9", FEWER, override="x").status_code == 201
    assert put(published, TWO, FEWER).status_code == 201
    assert put(published, f"{FIRMWARE}@0.9", FEWER, gpu=False).status_code == 201


def test_an_implementation_sets_how_strict_the_gate_is(published: TestClient) -> None:
    path = f"/implementations/{FIRMWARE}"
    expected = {"implementation": FIRMWARE, "vendor": "vendor-a.com", "releases": [ONE]}
    assert published.get(path).json() == {**expected, "evolution": "backward", "transitive": False}
    none = {"evolution": "none"}
    assert published.put(path, json=none).status_code == 201
    assert published.put(path, json=none).status_code == 200
    assert put(published, TWO, FEWER, gpu=False).status_code == 201
    assert published.put(path, json={"evolution": "backward", "transitive": True}).status_code == 201
    # The release before also has four queues; the first one has eight.
    assert problem(put(published, THREE, FEWER), 409, "evolution-gate") == []
    assert put(published, THREE, QUEUES).status_code == 201
    problem(published.get("/implementations/vendor-a.com/none"), 404, "unknown-implementation")
    problem(published.put("/implementations/vendor-z.com/x", json=none), 404, "unknown-vendor")
    problem(published.put(path, json={"evolution": "sideways"}), 422, "invalid")
    assert published.put("/implementations/vendor-a.com/early", json={"evolution": "full"}).status_code == 201


def test_full_also_refuses_what_an_earlier_release_cannot_accept(published: TestClient) -> None:
    published.put(f"/implementations/{FIRMWARE}", json={"evolution": "full"})
    more = {**QUEUES, "allowed_values": ["1-16"]}
    assert put(published, TWO, more).status_code == 201
    wide = {"name": "vendor-a.com/wide", "values": {NIC: {"num-queues": 16}}}
    assert published.post("/profiles", json=wide).status_code == 201
    (broken,) = put(published, f"{FIRMWARE}@0.5", more).json().get("broken", [None])
    assert broken is None
    published.put(f"/implementations/{FIRMWARE}", json={"evolution": "full", "transitive": True})
    refused = put(published, THREE, more).json()
    assert [(broken["profile"], broken["accepted_by"], broken["refused_by"]) for broken in refused["broken"]] == [
        ("vendor-a.com/wide", THREE, ONE)
    ]


def test_a_release_may_grow_a_model_at_a_time(published: TestClient) -> None:
    """POST /variable-sets checks only its own model; the other models can follow."""
    document = {"model": NIC, "implementation": FIRMWARE, "version": "2", "variables": {"num-queues": FEWER}}
    problem(published.post("/variable-sets", json=document), 409, "evolution-gate")
    document["variables"] = {"num-queues": QUEUES}
    assert published.post("/variable-sets", json=document).status_code == 201
    follows = {"model": GPU, "implementation": FIRMWARE, "version": "2", "variables": {}}
    assert published.post("/variable-sets", json=follows, params={"dry_run": True}).status_code == 201


def test_retired_profiles_are_not_checked(published: TestClient) -> None:
    problem(put(published, TWO, FEWER), 409, "evolution-gate")
    assert published.patch(f"/profiles/{P}", json={"state": "retired"}).status_code == 200
    assert put(published, TWO, FEWER, gpu=False).status_code == 201


def test_other_faults_come_before_the_gate(published: TestClient) -> None:
    assert problem(
        publish(published, TWO, {"num-queues": {"type": "str", "init_value": ""}}), 409, "variable-redefined"
    )


def test_a_release_published_in_parts_is_checked_for_all_models_when_it_is_put(published: TestClient) -> None:
    card = {"model": NIC, "implementation": FIRMWARE, "version": "1.10", "variables": {"num-queues": QUEUES}}
    assert published.post("/variable-sets", json=card).status_code == 201
    other: dict[str, Any] = {"vendor-a.com/other": {"variables": {}}}
    refused = published.put(f"/releases/{TWO}", json={"models": other})
    problem(refused, 409, "evolution-gate")
    assert [(broken["profile"], broken["model"]) for broken in refused.json()["broken"]] == [(P, GPU)]
    passed = published.put(f"/releases/{TWO}", json={"models": other}, params={"override": "the GPU is gone"})
    assert passed.json()["overridden_count"] == 1
    # An override holds for later additions to the release.
    more: dict[str, Any] = {"vendor-a.com/more": {"variables": {}}}
    assert published.put(f"/releases/{TWO}", json={"models": more}).status_code == 201


def test_a_blank_reason_is_refused(published: TestClient) -> None:
    assert problem(put(published, TWO, FEWER, override=" "), 422, "invalid") == [("override", "invalid-value")]


def test_the_list_of_what_breaks_has_a_limit(published: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("publication", "release"):
        monkeypatch.setattr(f"app.service.{module}.MAX_BROKEN", 1)
    passed = put(published, TWO, FEWER, gpu=False, override="a smaller chip").json()
    assert (len(passed["overridden"]), passed["overridden_count"]) == (1, 2)
    (override,) = published.get(f"/releases/{TWO}").json()["overrides"]
    assert (len(override["broken"]), override["broken_count"]) == (1, 2)


def test_an_override_for_a_missing_model_does_not_hold_once_the_model_is_added(published: TestClient) -> None:
    gone = published.put(f"/releases/{TWO}", json={"models": {}}, params={"override": "not built yet"})
    assert gone.status_code == 201
    worse = {"models": {NIC: {"variables": {"num-queues": FEWER}}}}
    problem(published.put(f"/releases/{TWO}", json=worse), 409, "evolution-gate")
    added = {"model": NIC, "implementation": FIRMWARE, "version": "1.10", "variables": {"num-queues": FEWER}}
    problem(published.post("/variable-sets", json=added), 409, "evolution-gate")


def test_an_addition_is_not_refused_for_what_was_published_before(published: TestClient) -> None:
    assert put(published, TWO, FEWER, override="the chip has four queues").status_code == 201
    late = {"name": "vendor-a.com/late", "values": {NIC: {"num-queues": 7}}}
    assert published.post("/profiles", json=late).status_code == 201
    more: dict[str, Any] = {"vendor-a.com/more": {"variables": {}}}
    assert published.put(f"/releases/{TWO}", json={"models": more}).status_code == 201


def test_only_an_admin_loosens_the_gate(published: TestClient) -> None:
    path = f"/implementations/{FIRMWARE}"
    publisher = bearer(create(published, "publisher", vendor="vendor-a.com"))
    strict = {"evolution": "full", "transitive": True}
    assert published.put(path, json=strict, headers=publisher).status_code == 201
    for looser in ({"evolution": "backward", "transitive": True}, {"evolution": "full"}, {"evolution": "none"}):
        for parameters in ({}, {"dry_run": True}):
            refused = published.put(path, json=looser, headers=publisher, params=parameters)
            problem(refused, 403, "forbidden")
    assert published.get(path).json()["evolution"] == "full"
    # An implementation begins with backward, also one without a release.
    early = "/implementations/vendor-a.com/early"
    problem(published.put(early, json={"evolution": "none"}, headers=publisher), 403, "forbidden")
    assert published.put(path, json={"evolution": "none"}).status_code in {200, 201}


def test_the_answer_names_what_a_release_no_longer_lists_and_makes_otherwise(published: TestClient) -> None:
    models = {NIC: {"variables": {"num-queues": QUEUES}}, GPU: {"variables": {}}}
    own = {P: {NIC: {"num-queues": 4}}}
    document = {"models": models, "profiles": [P], "own_values": own}
    tried = published.put(f"/releases/{TWO}", json=document, params={"dry_run": True}).json()
    answer = published.put(f"/releases/{TWO}", json=document).json()
    for told in (tried, answer):
        assert (told["previous"], told["no_longer_listed"]) == (ONE, [SMALL])
        assert told["makes_otherwise"] == [
            {"profile": P, "model": NIC, "values": {"num-queues": {"from": 8, "to": 4}}},
        ]
    diff = published.get("/diff", params={"from": ONE, "to": TWO}).json()
    assert (diff["no_longer_listed"], diff["makes_otherwise"]) == ([SMALL], answer["makes_otherwise"])
    other_model = published.get("/diff", params={"from": ONE, "to": TWO, "model": GPU}).json()
    assert other_model["makes_otherwise"] == []
    # A release without a list says nothing about profiles: it no longer lists none of them.
    assert put(published, THREE, QUEUES).json()["no_longer_listed"] == []


def test_own_values_are_those_that_the_release_can_make(published: TestClient) -> None:
    models = {NIC: {"variables": {"num-queues": QUEUES}}, GPU: {"variables": {}}}
    own = {P: {NIC: {"num-queues": 99}}, SMALL: {GPU: {}}, "vendor-a.com/none": {NIC: {}}}
    refused = published.put(f"/releases/{TWO}", json={"models": models, "profiles": [P, SMALL], "own_values": own})
    assert sorted(problem(refused, 422, "invalid")) == [
        ("/own_values/vendor-a.com~1none", "unknown-profile"),
        ("/own_values/vendor-a.com~1p/vendor-a.com~1my-nic/num-queues", "invalid-value"),
        ("/own_values/vendor-a.com~1small/vendor-a.com~1gpu", "unknown-model"),
    ]


def test_a_draft_is_told_what_it_would_break_and_has_the_digest_that_it_will_have(published: TestClient) -> None:
    models = {NIC: {"variables": {"num-queues": FEWER}}, GPU: {"variables": {}}}
    document = {"models": models, "profiles": [SMALL], "state": "draft"}
    drafted = published.put(f"/releases/{TWO}", json=document)
    assert drafted.status_code == 201
    answer = drafted.json()
    assert [(broken["profile"], broken["model"]) for broken in answer["breaks"]] == [(P, NIC)]
    assert (answer["breaks_count"], answer["no_longer_listed"]) == (1, [P])
    draft = published.get(f"/releases/{TWO}", params={"include_drafts": True}).json()
    refused = published.patch(f"/releases/{TWO}", json={"state": "published"})
    problem(refused, 409, "evolution-gate")
    published.patch(f"/releases/{TWO}", json={"state": "published"}, params={"override": "a smaller chip"})
    assert published.get(f"/releases/{TWO}").json()["digest"] == draft["digest"]
