"""The pages that compare: diff, support matrix, model, profile and the lists, with the states and errata of each."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.values.budget import STEPS, OverBudgetError
from app.service import diff
from tests.api.stories import FIRMWARE, NIC, QUEUES, vendor
from tests.pages.test_pages import Page, look

P, OLD, GONE = "vendor-a.com/p-2", "vendor-a.com/p-10", "vendor-a.com/gone"
GPU = "vendor-a.com/gpu"
TWO, NINE, TEN = (f"{FIRMWARE}@{version}" for version in ("1.2", "1.9", "1.10"))
NEW = {"type": "bool", "init_value": True, "off_value": False}
THREE_QUEUES = {**QUEUES, "init_value": 3}
PARTS = [f"vendor-a.com/part-{number}" for number in range(3)]


@pytest.fixture
def fleet(registry: TestClient) -> TestClient:
    """Return a registry with three releases, published out of order; the last one lists fewer profiles."""
    vendor(registry)
    parts = {name: {"variables": {"n": {"type": "int", "init_value": 1, "off_value": 0}}} for name in PARTS}
    publish_whole(
        registry,
        TWO,
        {NIC: {"variables": {"num-queues": QUEUES}}, GPU: {"variables": {}}, **parts},
        profiles=[
            {"name": P, "values": {NIC: {"num-queues": 8}, PARTS[0]: {"n": 1}}},
            {"name": OLD, "values": {NIC: {"num-queues": 1}}},
            {"name": GONE, "values": {NIC: {}}},
        ],
    )
    later = {
        name: {"variables": {"n": {"type": "int", "init_value": 1, "off_value": 0}, "shared": NEW}} for name in PARTS
    }
    publish_whole(
        registry,
        TEN,
        {NIC: {"variables": {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}, "own": NEW}}, **later},
        profiles=[P, OLD],
    )
    publish_whole(registry, NINE, {NIC: {"variables": {"num-queues": THREE_QUEUES}}}, profiles=[P])
    publish_whole(registry, "vendor-a.com/other@1", {"vendor-a.com/x": {"variables": {}}})
    for path, state in (
        (f"/releases/{NINE}", "deprecated"),
        (f"/profiles/{GONE}", "retired"),
        (f"/profiles/{OLD}", "deprecated"),
    ):
        assert registry.patch(path, json={"state": state}).is_success
    erratum = {"release": TWO, "model": NIC, "description": "it stops", "when": {"num-queues": [8]}, "with": [TEN]}
    assert registry.post("/errata", json=erratum).is_success
    return registry


def publish_whole(registry: TestClient, release: str, models: Any, **fields: Any) -> None:
    """Publish a release of several models, whatever it breaks."""
    response = registry.put(f"/releases/{release}", json={"models": models, **fields}, params={"override": "a test"})
    assert response.is_success, response.text


def classes(page: Page) -> list[str]:
    """Return the looks of the cells of a matrix."""
    cells = [str(attributes.get("class")) for tag, attributes in page.tags if tag == "td"]
    return [name.removeprefix("heat ") for name in cells if name.startswith("heat ")]


def opened(page: Page) -> list[bool]:
    """Return whether each `details` of a page is open."""
    return ["open" in attributes for tag, attributes in page.tags if tag == "details"]


def between(text: str, before: str, after: str) -> str:
    """Return the text between two others."""
    return text.partition(before)[2].partition(after)[0]


def test_a_diff_begins_with_its_summary(fleet: TestClient) -> None:
    page = look(fleet, "/ui/diff", from_=TWO, to=TEN).text
    sentence = "5 models differ, 1 model gone, 4 variables added, 1 variable changed."
    assert f"{sentence} → forward is closed for 1 model and closed in part for 1 model." in page
    assert "on both sides, changed 4 0 1 0 4" in page
    assert "removed: only in the first 1 1 0 0 0" in page
    assert page.index(sentence) < page.index("No longer listed (1)") < page.index("Changes by model (4)")
    assert f"Models removed (1) {GPU}" in page


def test_a_change_that_models_share_is_listed_once_with_its_models_folded(fleet: TestClient) -> None:
    page = look(fleet, "/ui/diff", from_=TWO, to=TEN)
    shared = between(page.text, "The same change in several models", "Changes by model")
    assert f"shared (off) added 3 models {' '.join(PARTS)} ⇠" in shared
    assert "num-queues" not in shared
    # Of the models, the one with changes of its own comes first; those with shared changes only are folded again.
    assert page.text.index(f"{NIC} 2") < page.text.index("3 models with shared changes only")
    assert not any(opened(page))


def test_the_models_of_a_diff_are_folded_unless_there_is_one(fleet: TestClient) -> None:
    one = look(fleet, "/ui/diff", from_=TWO, to=TEN, model=NIC)
    assert opened(one).count(True) == 1
    assert "own is new; migrating back needs own=off." in one.text
    assert "shared is new" not in one.text
    # All others are only in the second release.
    assert opened(look(fleet, "/ui/diff", from_=NINE, to=TEN)).count(True) == 1


def test_a_diff_of_what_closes_a_direction_keeps_the_summary_of_all(fleet: TestClient) -> None:
    publish_whole(fleet, f"{FIRMWARE}@1.11", {NIC: {"variables": {"num-queues": {**QUEUES, "init_value": 2}}}})
    page = look(fleet, "/ui/diff", from_=NINE, to=f"{FIRMWARE}@1.11", closing="true").text
    assert "1 model differs, 1 variable changed." in page
    assert "No difference closes a direction of migration." in page


def test_a_diff_that_is_too_large_leads_to_the_models(fleet: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise OverBudgetError(1, STEPS, "")

    monkeypatch.setattr(diff, "differences", too_large)
    page = look(fleet, "/ui/diff", from_=TWO, to=TEN)
    assert "There is too much to compare at once. Choose a model" in page.text
    assert "No longer listed (1)" in page.text
    assert any(f"model={NIC.replace('/', '%2F')}" in link for link in page.links)


def test_the_matrix_shows_one_implementation_with_the_newest_version_first(fleet: TestClient) -> None:
    # The last release is of an implementation for which there is no profile.
    page = look(fleet, "/ui/support-matrix").text
    assert f"Which releases of {FIRMWARE} support which profiles" in page
    assert re.search(r"Profile vendor-a.com/fw@ 1\.10 .* 1\.9 deprecated .* 1\.2 erratum ", page)
    assert "vendor-a.com/other@ 1" not in page
    both = look(fleet, "/ui/support-matrix", implementation="all").text
    assert "Which releases of all implementations" in both
    assert fleet.get("/ui/support-matrix", params={"implementation": "vendor-a.com/none"}).status_code == 404


def test_profiles_are_in_the_order_of_their_numbers_with_their_states(fleet: TestClient) -> None:
    page = look(fleet, "/ui/support-matrix").text
    assert re.search(rf"{GONE} retired .* {OLD} deprecated .* {P} ", page[page.index("Profile vendor-a.com/fw@") :])


def test_refused_not_listed_and_retired_are_cells_of_three_kinds(fleet: TestClient) -> None:
    page = look(fleet, "/ui/support-matrix")
    # Rows: gone, p-10, p-2; columns: 1.10, 1.9, 1.2.
    assert classes(page)[:9] == ["retired", "retired", "retired", "all", "unlisted", "all", "no-much", "some", "all"]
    assert f"no, {GONE} on {TEN}: retired" in page.text
    assert f"no, {OLD} on {NINE}: not listed" in page.text
    assert f"no, {P} on {TEN}: ✗ 1/2" in page.text
    assert f"yes, {P} on {NINE}: ✓ 1/2" in page.text


def test_the_matrix_can_be_the_row_of_a_profile(fleet: TestClient) -> None:
    page = look(fleet, "/ui/support-matrix", profile=OLD)
    assert classes(page) == ["all", "unlisted", "all"]
    assert "Profiles 1 to 1 of 1" in page.text
    assert fleet.get("/ui/support-matrix", params={"profile": "vendor-a.com/none"}).status_code == 404


def test_a_model_shows_one_implementation_with_the_newest_version_first_and_its_badges(fleet: TestClient) -> None:
    publish_whole(fleet, "vendor-a.com/other@2", {NIC: {"variables": {"num-queues": QUEUES, "theirs": NEW}}})
    page = look(fleet, f"/ui/models/{NIC}")
    assert "theirs bool" in page.text
    assert "Not in the releases shown (1)" in page.text
    assert "v-own" in page.ids
    firmware = look(fleet, f"/ui/models/{NIC}", implementation=FIRMWARE).text
    assert re.search(r"1\.10 .* 1\.9 deprecated .* 1\.2 erratum ", between(firmware, "Off value", "num-queues int"))
    both = look(fleet, f"/ui/models/{NIC}", implementation="all").text
    assert "theirs bool" in both
    assert "own bool" in both
    # The link from a release is about its implementation.
    assert "own bool" in look(fleet, f"/ui/models/{NIC}", release=TEN).text


def test_releases_that_share_a_column_have_badges_by_version(fleet: TestClient) -> None:
    publish_whole(fleet, f"{FIRMWARE}@1.8", {NIC: {"variables": {"num-queues": THREE_QUEUES}}})
    page = look(fleet, f"/ui/models/{NIC}").text
    assert "1.8 to 1.9 2 releases 1.9 deprecated" in page


def test_a_profile_shows_which_releases_support_it_and_the_errata_that_concern_it(fleet: TestClient) -> None:
    page = look(fleet, f"/ui/profiles/{P}")
    table = between(page.text, "Lists it", "Device models")
    assert re.search(rf"{TEN} no, .* ✗ 1/2 yes {NINE} deprecated yes, .* ✓ 1/2 yes {TWO} erratum yes, .* ✓ yes", table)
    assert "it stops" in table
    assert any(link.startswith("/ui/support-matrix?profile=vendor-a.com%2Fp-2") for link in page.links)
    # This profile has another number of queues than the erratum is about.
    old = look(fleet, f"/ui/profiles/{OLD}").text
    assert f"{OLD} deprecated" in old
    assert "erratum" not in old
    assert re.search(rf"{NINE} deprecated no, \S+ on {NINE}: not listed no ", old)


def test_a_profile_that_no_release_has_the_models_of_says_so(fleet: TestClient) -> None:
    publish_whole(fleet, "vendor-a.com/other@2", {"vendor-a.com/x": {"variables": {}}}, profiles=[])
    assert fleet.put("/profiles/vendor-a.com/empty", json={"values": {}}).is_success
    assert "No release implements one of its models" in look(fleet, "/ui/profiles/vendor-a.com/empty").text


def test_lists_show_errata_and_releases_in_the_order_of_their_versions(fleet: TestClient) -> None:
    releases = look(fleet, "/ui/releases").text
    assert re.search(rf"{TEN} published .* {NINE} deprecated .* {TWO} erratum published", releases)
    assert f"{NIC} erratum" in look(fleet, "/ui/models").text
    assert f"{OLD} deprecated" in look(fleet, "/ui/profiles").text
    names: list[str] = []
    path: str | None = "/ui/releases?limit=1"
    while path:
        page = look(fleet, path)
        names += [link.removeprefix("/ui/releases/") for link in page.links if link.startswith("/ui/releases/")]
        path = next((link for link in page.links if "cursor=" in link), None)
    assert names == [TEN, NINE, TWO, "vendor-a.com/other@1"]
