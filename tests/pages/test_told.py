"""What the pages say beside what is published: errata, other names, what nobody stated."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, publish, vendor
from tests.pages.test_pages import Page
from tests.pages.world import SCRIPT

ONE, TWO, P = f"{FIRMWARE}@1", f"{FIRMWARE}@2", "vendor-a.com/p"
NO_FEATURE = {
    "type": "bool",
    "init_value": True,
    "off_value": True,
    "stands_for": {"variable": "feature", "inverted": True},
}


@pytest.fixture
def told(registry: TestClient) -> TestClient:
    """Return a registry with two releases; the second renames a variable, has an alias, own values and errata."""
    vendor(registry)
    profiles: list[Any] = [
        {"name": P, "values": {NIC: {"num-queues": 8}}},
        {"name": "vendor-a.com/q", "values": {NIC: {}}},
    ]
    publish(registry, ONE, {"num-queues": QUEUES, "feature": FEATURE}, profiles=profiles)
    models = {NIC: {"variables": {"num-queues": QUEUES, "no-feature": NO_FEATURE}, "migratable": "unknown"}}
    own = {P: {NIC: {"num-queues": 4}}}
    document = {"models": models, "profiles": [P], "aliases": {"vendor-a.com/latest": P}, "own_values": own}
    assert registry.put(f"/releases/{TWO}", json=document).status_code == 201
    return registry


def erratum(registry: TestClient, description: str, **more: Any) -> str:
    """Publish an erratum; return its id."""
    document = {"release": TWO, "model": NIC, "description": description, **more}
    return str(registry.post("/errata", json=document).json()["id"])


def page(registry: TestClient, path: str) -> Page:
    """Return a page."""
    response = registry.get(path)
    assert response.status_code == 200, response.text
    return Page(response)


@pytest.mark.parametrize("path", [f"/ui/releases/{TWO}", f"/ui/models/{NIC}"])
def test_errata_are_shown_where_they_count_and_those_withdrawn_apart(told: TestClient, path: str) -> None:
    assert "Known to be broken" not in page(told, path).text
    erratum(told, SCRIPT, when={"no-feature": [False]}, **{"with": [ONE]}, direction="to", url="https://vendor-a.com/1")
    gone = erratum(told, "a typo", local=True)
    told.patch(f"/errata/{gone}", json={"state": "withdrawn"})
    shown = page(told, path)
    assert "Known to be broken (1)" in shown.text
    assert f"with no-feature off cannot be migrated to {ONE} : {SCRIPT}" in shown.text
    assert "https://vendor-a.com/1" in shown.links
    assert "Withdrawn errata (1)" in shown.text
    assert f"erratum {gone}, of this registry alone" in shown.text


def test_a_model_shows_what_its_releases_call_a_variable_and_do_not_state(told: TestClient) -> None:
    shown = page(told, f"/ui/models/{NIC}").text
    assert "called no-feature, which has the opposite value" in shown
    assert "migration not stated" in shown


def test_a_release_shows_its_aliases_and_a_diff_what_is_made_otherwise(told: TestClient) -> None:
    assert "vendor-a.com/latest" in page(told, f"/ui/releases/{TWO}").text
    diff = page(told, f"/ui/diff?from={ONE}&to={TWO}")
    assert f"{TWO} does not list this profile of the first release" in diff.text
    assert "/ui/profiles/vendor-a.com/q" in diff.links
    assert f"num-queues : 8 → 4 in 1 profile of {NIC}" in diff.text


def test_the_page_ask_takes_several_labels_and_shows_warnings(told: TestClient) -> None:
    for name, labels in {"here": {"rack": "r1"}, "busy": {"rack": "r1", "draining": "yes"}}.items():
        told.put(f"/hosts/{name}", json={"releases": [TWO], "labels": labels})
    shown = page(told, f"/ui/ask?model={NIC}&source={ONE}&profile={P}&label=rack=r1&label=!draining").text
    assert "busy" not in shown.partition("Yes")[2].partition("Change the question")[0]
    assert "migratability-unknown" in shown
    assert "Set num-queues=8 explicitly at the destination" in shown
    refused = told.get("/ui/ask", params={"model": NIC, "source": ONE, "label": "!"})
    assert refused.status_code == 422
    assert "must be name=value, name!=value, name or !name" in Page(refused).text
