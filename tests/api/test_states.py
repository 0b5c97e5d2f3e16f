"""Profiles and releases are drafted, published, deprecated and retired."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FIRMWARE, NIC, QUEUES, problem, publish, vendor

ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P, Q = "vendor-a.com/p", "vendor-a.com/q"


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with a release and a profile."""
    vendor(registry)
    publish(registry, ONE, {"num-queues": QUEUES}, profiles=[{"name": P, "values": {NIC: {"num-queues": 8}}}])
    return registry


def set_state(registry: TestClient, path: str, state: str, **parameters: Any) -> Any:
    response = registry.patch(path, json={"state": state}, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def verdict(registry: TestClient, **more: Any) -> tuple[list[str], list[str]]:
    """Return the problems and warnings of a device with the profile at the release."""
    parameters = {"model": NIC, "profile": P, "destination": ONE, **more}
    (result,) = registry.get("/compatibility", params=parameters).json()["results"]
    (device,) = result["devices"]
    return [problem["code"] for problem in device["problems"]], [warning["code"] for warning in device["warnings"]]


def test_a_release_is_deprecated_retired_and_restored(published: TestClient) -> None:
    path = f"/releases/{ONE}"
    assert set_state(published, path, "deprecated") == {
        "name": ONE,
        "before": "published",
        "state": "deprecated",
        "dry_run": False,
    }
    assert published.get(path).json()["state"] == "deprecated"
    assert verdict(published) == ([], ["release-deprecated"])
    set_state(published, path, "retired")
    assert verdict(published) == (["release-retired"], [])
    assert verdict(published, source=ONE) == (["release-retired"], ["release-retired"])
    listed = published.get("/releases", params={"state": "retired"}).json()["items"]
    assert [(release["release"], release["state"]) for release in listed] == [(ONE, "retired")]
    assert published.get("/releases", params={"state": "published"}).json()["items"] == []
    # Without destinations, the question is about all releases that are not retired.
    assert published.get("/compatibility", params={"model": NIC, "profile": P}).json()["results"] == []
    set_state(published, path, "published")
    assert verdict(published) == ([], [])


def test_a_profile_is_deprecated_and_retired(published: TestClient) -> None:
    set_state(published, f"/profiles/{P}", "deprecated")
    assert verdict(published) == ([], ["profile-deprecated"])
    set_state(published, f"/profiles/{P}", "retired")
    assert verdict(published) == (["profile-retired"], [])
    assert published.get(f"/profiles/{P}").json()["state"] == "retired"
    listed = published.get("/profiles", params={"state": "retired"}).json()["items"]
    assert [profile["name"] for profile in listed] == [P]


def test_publishing_again_never_undoes_a_change_of_state(published: TestClient) -> None:
    set_state(published, f"/releases/{ONE}", "retired")
    assert publish(published, ONE, {"num-queues": QUEUES}).status_code == 200
    response = publish(published, ONE, {"num-queues": QUEUES}, state="published")
    assert problem(response, 409, "entry-changed") == [("/state", "entry-changed")]
    assert published.get(f"/releases/{ONE}").json()["state"] == "retired"
    profile = {"name": P, "values": {NIC: {"num-queues": 8}}, "state": "deprecated"}
    assert problem(published.post("/profiles", json=profile), 409, "entry-changed") == [("/state", "entry-changed")]


def test_a_new_entry_can_be_published_deprecated(published: TestClient) -> None:
    assert publish(published, TWO, {"num-queues": QUEUES}, state="deprecated").status_code == 201
    assert published.get(f"/releases/{TWO}").json()["state"] == "deprecated"
    assert published.post("/profiles", json={"name": Q, "values": {NIC: {}}, "state": "retired"}).status_code == 201
    assert published.get(f"/profiles/{Q}").json()["state"] == "retired"


def test_a_draft_of_a_profile_is_invisible_replaced_deleted_and_published(published: TestClient) -> None:
    draft = {"name": Q, "extends": P, "values": {NIC: {"num-queues": "4"}}, "state": "draft"}
    assert published.post("/profiles", json=draft).status_code == 201
    problem(published.get(f"/profiles/{Q}"), 404, "unknown-profile")
    shown = published.get(f"/profiles/{Q}", params={"include_drafts": True}).json()
    assert (shown["state"], shown["values"]) == ("draft", draft["values"])
    drafts = published.get("/profiles", params={"include_drafts": True, "model": NIC, "vendor": "vendor-a.com"}).json()
    assert [(profile["name"], profile["state"]) for profile in drafts["items"]] == [(P, "published"), (Q, "draft")]
    assert [profile["name"] for profile in published.get("/profiles").json()["items"]] == [P]
    other = published.get("/profiles", params={"state": "draft", "model": "vendor-a.com/none"}).json()
    assert other["items"] == []
    assert "unknown-profile" in verdict(published, profile=Q)[0]
    draft["values"] = {NIC: {"num-queues": 2}}
    assert published.put(f"/profiles/{Q}", json=draft).status_code == 200
    assert published.delete(f"/profiles/{Q}").status_code == 204
    problem(published.delete(f"/profiles/{Q}"), 404, "unknown-profile")
    published.post("/profiles", json=draft)
    assert problem(published.patch(f"/profiles/{Q}", json={"state": "retired"}), 422, "invalid")
    done = set_state(published, f"/profiles/{Q}", "published")
    assert (done["before"], done["publication"]["added"]["profiles"]) == ("draft", 1)
    assert published.get(f"/profiles/{Q}").json()["values"] == draft["values"]
    assert published.get("/profiles", params={"state": "draft"}).json()["items"] == []
    problem(published.delete(f"/profiles/{Q}"), 409, "published")
    assert problem(published.post("/profiles", json=draft), 409, "entry-changed") == [("/state", "entry-changed")]
    assert problem(published.patch(f"/profiles/{Q}", json={"state": "draft"}), 409, "entry-changed")


def test_a_draft_of_a_release_waits_for_the_gate(published: TestClient) -> None:
    fewer = {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}
    drafted = publish(
        published, TWO, fewer, state="draft", profiles=[{"name": Q, "values": {NIC: {}}}], description="x"
    )
    assert drafted.status_code == 201
    assert drafted.json()["added"]["drafts"] == 1
    problem(published.get(f"/releases/{TWO}"), 404, "unknown-release")
    problem(published.get(f"/profiles/{Q}"), 404, "unknown-profile")
    shown = published.get(f"/releases/{TWO}", params={"include_drafts": True}).json()
    assert (shown["state"], shown["profiles"], [entry["model"] for entry in shown["models"]]) == ("draft", [Q], [NIC])
    drafts = published.get("/releases", params={"include_drafts": True, "model": NIC}).json()["items"]
    assert [(release["release"], release["state"]) for release in drafts] == [(ONE, "published"), (TWO, "draft")]
    problem(published.patch(f"/releases/{TWO}", json={"state": "published"}), 409, "evolution-gate")
    done = set_state(published, f"/releases/{TWO}", "published", override="smaller chip")
    assert done["publication"]["added"]["releases"] == 1
    assert published.get(f"/profiles/{Q}").status_code == 200
    problem(published.delete(f"/releases/{TWO}"), 409, "published")


def test_publishing_a_document_deletes_its_draft(published: TestClient) -> None:
    publish(published, TWO, {"num-queues": QUEUES}, state="draft")
    assert publish(published, TWO, {"num-queues": {**QUEUES, "allowed_values": ["1-9"]}}).status_code == 201
    assert published.get("/releases", params={"state": "draft"}).json()["items"] == []


def test_a_variable_set_is_not_added_to_a_draft(published: TestClient) -> None:
    publish(published, TWO, {"num-queues": QUEUES}, state="draft")
    more = {"model": NIC, "implementation": FIRMWARE, "version": "2", "variables": {"num-queues": QUEUES}}
    assert problem(published.post("/variable-sets", json=more), 409, "entry-changed") == [("", "entry-changed")]
    assert len(published.get("/releases", params={"state": "draft"}).json()["items"]) == 1


def test_a_draft_is_checked_like_a_publication(published: TestClient) -> None:
    bad = {"name": Q, "values": {NIC: {"nonsense": 1}}, "state": "draft"}
    assert problem(published.post("/profiles", json=bad), 422, "invalid")
    inside = [{"name": Q, "values": {NIC: {}}, "state": "draft"}]
    refused = publish(published, TWO, {"num-queues": QUEUES}, profiles=inside)
    assert problem(refused, 422, "invalid") == [("/profiles/0/state", "invalid-value")]
    assert problem(publish(published, TWO, {"num-queues": QUEUES}, state="lost"), 422, "invalid")
    assert published.get("/profiles", params={"state": "draft"}).json()["items"] == []


def test_the_impact_of_a_state_change_is_shown_in_advance(published: TestClient) -> None:
    published.put("/hosts/host-1", json={"releases": [ONE]})
    expected = {"profiles": [P], "releases": [ONE], "hosts": ["host-1"], "host_count": 1}
    expected |= {"listed": [{"profile": P, "release": ONE}]}
    assert published.get("/impact", params={"name": ONE}).json() == expected
    assert published.get("/impact", params={"name": P, "state": "retired"}).json() == expected
    response = set_state(published, f"/releases/{ONE}", "retired", dry_run=True)
    assert response["impact"] == expected
    assert published.get(f"/releases/{ONE}").json()["state"] == "published"
    set_state(published, f"/releases/{ONE}", "retired")
    assert published.get("/impact", params={"name": ONE, "state": "published"}).json() == expected
    for name, code in (("vendor-a.com/none", "unknown-profile"), ("vendor-a.com/none@1", "unknown-release")):
        problem(published.get("/impact", params={"name": name}), 404, code)


@pytest.mark.parametrize(
    "path", ["/releases/nonsense", f"/releases/{FIRMWARE}@9", "/profiles/nonsense", "/profiles/a.b/c"]
)
def test_an_unknown_name_has_no_state(published: TestClient, path: str) -> None:
    assert published.patch(path, json={"state": "retired"}).status_code == 404
    assert published.delete(path).status_code == 404
