"""What a running device meets at another host: the format of its saved state, and more than it had."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.api.stories import FIRMWARE, NIC, QUEUES, problem, vendor

ONE, TWO, THREE = f"{FIRMWARE}@1", f"{FIRMWARE}@2", f"{FIRMWARE}@3"


def put(registry: TestClient, release: str, saved_state: object, query: str = "") -> Response:
    document = {"models": {NIC: {"variables": {"num-queues": QUEUES}, "saved_state": saved_state}}}
    return registry.put(f"/releases/{release}{query}", json=document)


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with two releases; the second one writes a new format, and reads the first one."""
    vendor(registry)
    for release, state in ((ONE, {"writes": 1, "reads": [1]}), (TWO, {"writes": 2, "reads": ["1-2"]})):
        answer = put(registry, release, state)
        assert (answer.status_code, answer.json()["state_not_readable"]) == (201, [])
    return registry


def verdict(registry: TestClient, source: str, destination: str) -> Any:
    parameters = {"model": NIC, "source": source, "destination": destination}
    (result,) = registry.get("/compatibility", params=parameters).json()["results"]
    return result["devices"][0]


def test_a_device_moves_only_where_its_state_is_read(published: TestClient) -> None:
    assert verdict(published, ONE, TWO)["compatible"]
    assert verdict(published, TWO, ONE)["problems"] == [
        {
            "code": "state-not-readable",
            "message": f"{TWO} writes saved states of format 2, but {ONE} reads 1.",
            "value": 2,
            "allowed": [1],
        }
    ]
    published.put(f"/releases/{THREE}", json={"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
    there = verdict(published, TWO, THREE)
    assert (there["compatible"], there["unchecked"]) == (True, ["saved-state"])


def test_a_set_shows_it_only_where_it_is_stated(published: TestClient) -> None:
    published.put(f"/releases/{THREE}", json={"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
    found = published.get("/variable-sets", params={"model": NIC}).json()["items"]
    states = {each["releases"][0]: each.get("saved_state") for each in found}
    assert states == {ONE: {"writes": 1, "reads": [1]}, TWO: {"writes": 2, "reads": [1, 2]}, THREE: None}
    single = published.get(f"/variable-sets/{found[0]['digest']}").json()
    assert ("saved_state" in single) is (states[found[0]["releases"][0]] is not None)
    again = put(published, TWO, {"reads": [1, 2], "writes": 2})
    assert again.status_code == 200
    changed = put(published, TWO, {"writes": 3, "reads": ["1-3"]})
    assert problem(changed, 409, "entry-changed")


def test_a_publication_names_the_earlier_releases_whose_state_it_cannot_read(published: TestClient) -> None:
    for query in ("?dry_run=true", ""):
        answer = put(published, THREE, {"writes": 3, "reads": [3]}, query)
        assert answer.status_code == 201
        assert answer.json()["state_not_readable"] == [
            {
                "release": release,
                "model": NIC,
                "message": f"{release} writes saved states of format {written}, but {THREE} reads 3.",
            }
            for release, written in ((TWO, 2), (ONE, 1))
        ]
    # A release in between is compared with those before it.
    between = put(published, f"{FIRMWARE}@1.5", {"writes": 1, "reads": [1]})
    assert between.json()["state_not_readable"] == []


def test_a_release_that_cannot_read_its_own_state_says_so(published: TestClient) -> None:
    answer = put(published, THREE, {"writes": "2", "reads": ["1-2"]}).json()
    own, *earlier = answer["state_not_readable"]
    assert (own["release"], answer["state_not_readable_count"]) == (THREE, 3)
    assert own["message"] == f'{THREE} writes saved states of format "2", but {THREE} reads "1-2".'
    assert [entry["release"] for entry in earlier] == [TWO, ONE]


def test_a_draft_says_it_too(published: TestClient) -> None:
    document = {"models": {NIC: {"variables": {"num-queues": QUEUES}, "saved_state": {"writes": 3, "reads": [3]}}}}
    answer = published.put(f"/releases/{THREE}", json={**document, "state": "draft"})
    assert [entry["release"] for entry in answer.json()["state_not_readable"]] == [TWO, ONE]


def test_a_baseline_and_a_difference_say_which_way_is_closed(published: TestClient) -> None:
    asked = {"models": [NIC], "releases": [ONE, TWO]}
    of_model = published.post("/baseline", json=asked).json()["models"][NIC]
    (found,) = of_model["problems"]
    assert (of_model["values"], found["code"], found["releases"]) == (None, "state-not-readable", [ONE, TWO])
    (difference,) = published.get("/diff", params={"from": ONE, "to": TWO}).json()["models"][NIC]
    assert difference["closes"] == {"backward": "always"}
    assert difference["to"] == {"writes": 2, "reads": [1, 2]}


def test_a_drain_sums_it_up(published: TestClient) -> None:
    for number in range(3):
        published.put(f"/hosts/old-{number}", json={"releases": [ONE]})
    question = {"devices": [{"model": NIC, "release": TWO}], "destinations": [{"all_hosts": True}], "detail": "summary"}
    (result,) = published.post("/compatibility", json=question).json()["results"]
    (reason,) = result["reasons"]
    assert (result["possible"], reason["code"], reason["count"]) == ([], "state-not-readable", 3)


def test_a_device_goes_where_it_finds_more(registry: TestClient) -> None:
    vendor(registry)
    more = {"type": "int", "init_value": 16, "allowed_values": [16], "may_grow": True}
    for release, stated in ((ONE, QUEUES), (TWO, more)):
        answer = registry.put(f"/releases/{release}", json={"models": {NIC: {"variables": {"num-queues": stated}}}})
        # The gate lets it pass: what the first release accepts can go to the second one.
        assert answer.status_code == 201, answer.text
    there = verdict(registry, ONE, TWO)
    assert (there["compatible"], there["problems"]) == (True, [])
    (warning,) = [one for one in there["warnings"] if one["code"] == "guest-may-see-more"]
    assert warning["values"] == {"num-queues": 16}
    assert [found["code"] for found in verdict(registry, TWO, ONE)["problems"]] == ["value-not-allowed"]
    (difference,) = registry.get("/diff", params={"from": ONE, "to": TWO}).json()["models"][NIC]
    assert difference["closes"] == {"backward": "always"}
    assert "may grow" in registry.get(f"/ui/models/{NIC}").text


def test_all_faults_at_once(registry: TestClient) -> None:
    vendor(registry)
    answer = put(registry, ONE, {"writes": [], "reads": [1], "more": 1})
    place = f"/models/{NIC.replace('/', '~1')}/saved_state"
    assert problem(answer, 422, "invalid") == [
        (f"{place}/more", "unknown-field"),
        (f"{place}/writes", "wrong-type"),
    ]


def test_the_page_of_the_model_shows_it(published: TestClient) -> None:
    page = published.get(f"/ui/models/{NIC}").text
    assert "Saved state: writes 2, reads 1, 2" in page
    assert "Saved state: writes format 2 (was 1) and reads 1, 2 (was 1)." in page
    asked = {"model": NIC, "source": ONE, "destination": TWO}
    rule = "The destination reads the saved state that the source writes."
    assert f'<span class="mark">✓ met</span> {rule}' in published.get("/ui/ask", params=asked).text
    published.put(f"/releases/{THREE}", json={"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
    one_sided = published.get("/ui/ask", params={**asked, "destination": THREE}).text
    assert f"not applicable</span> {rule}" in one_sided
