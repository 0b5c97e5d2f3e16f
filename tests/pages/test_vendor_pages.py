"""The pages of vendors and releases say what each release closes, who runs it, and what is left out."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.pages import release as release_page
from app.pages import vendor as vendor_page
from tests.api.stories import QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, make_app, shared_registry
from tests.pages.test_pages import look, row
from tests.pages.world import FIRMWARE, NIC, SCRIPT, fill

unchanged = shared_registry(fill)
ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"


def test_a_vendor_shows_its_releases_in_time_with_what_each_closes(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/vendors/vendor-a.com")
    published = unchanged.get("/changes", params={"limit": 1000}).json()["items"]
    day = next(change["at"][:10] for change in published if change["name"] == TWO)
    second = row(page, f"2 2 models, 1 profile {day} by admin")
    assert "override the firmware lost queues" in second
    assert "→ in part for 1 model ← in part for 1 model Diff from 1" in page.text
    assert "1 2 models, 2 profiles" in page.text
    assert page.text.index("2 2 models") < page.text.index("1 2 models"), "the highest version first"
    assert "the first version" in page.text
    assert SCRIPT in page.text
    closes = unchanged.get("/diff", params={"from": ONE, "to": TWO}).json()["models"]
    assert [name for name, differences in closes.items() if any(each["closes"] for each in differences)] == [NIC]


def test_a_vendor_has_a_support_matrix_of_its_own(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/vendors/vendor-a.com")
    matrix = unchanged.get("/support-matrix", params={"implementation": FIRMWARE}).json()
    for line in matrix["rows"]:
        for cell in line["cells"]:
            assert f"{'yes' if cell['compatible'] else 'no'}, {line['profile']} on {cell['release']}:" in page.text
    assert "vendor-b.com/dpu" not in page.text
    # Without a profile of its own, there is nothing to show.
    assert "Support matrix of" not in unchanged.get("/ui/vendors/vendor-b.com").text


def test_versions_are_in_natural_order_and_what_is_left_out_is_said(registry: TestClient) -> None:
    vendor(registry)
    for number in range(1, 31):
        assert publish(registry, f"{FIRMWARE}@{number}", {"num-queues": QUEUES}).status_code == 201
    page = look(registry, "/ui/vendors/vendor-a.com")
    assert next(link for link in page.links if link.startswith(f"/ui/releases/{FIRMWARE}@")).endswith("@30")
    assert "Versions 1 to 5 of 30, the highest first." in page.text
    (more,) = {link for link in page.links if link.startswith("/ui/vendors/vendor-a.com?implementation=")}
    chosen = look(registry, more)
    assert "Versions 1 to 25 of 30" in chosen.text
    assert "no model differs Diff from 9" in chosen.text
    lower = next(link for link in chosen.links if "row=25" in link)
    last = look(registry, lower)
    assert "Versions 26 to 30 of 30" in last.text
    assert "the first version" in last.text
    assert "There are no lower versions" in look(registry, more, row=99, implementation=FIRMWARE).text
    for wrong in ("vendor-a.com/none", "vendor-b.com/x", SCRIPT):
        assert registry.get("/ui/vendors/vendor-a.com", params={"implementation": wrong}).status_code == 404


def test_many_implementations_are_named_and_some_of_them_shown(registry: TestClient) -> None:
    vendor(registry)
    for number in range(12):
        assert publish(registry, f"vendor-a.com/p{number:02}@1", {"num-queues": QUEUES}).status_code == 201
    page = look(registry, "/ui/vendors/vendor-a.com")
    assert "Other implementations" in page.text
    others = [link for link in page.links if "implementation=vendor-a.com%2Fp" in link]
    assert len(set(others)) == 12
    assert sum(f"Releases of vendor-a.com/p{number:02}" in str(page.tags) for number in range(12)) == 10


def test_a_vendor_without_releases_says_so(registry: TestClient) -> None:
    vendor(registry)
    assert "vendor-a.com has published no release yet." in look(registry, "/ui/vendors/vendor-a.com").text


def test_what_is_too_much_to_compare_is_said_and_compared_on_demand(
    registry: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor(registry)
    sizes = {1: 8, 2: 16, 3: 24}
    for number, most in sizes.items():
        assert (
            publish(
                registry, f"{FIRMWARE}@{number}", {"num-queues": {**QUEUES, "allowed_values": [f"1-{most}"]}}
            ).status_code
            == 201
        )
    monkeypatch.setattr(vendor_page, "_MAX_COMPARED", 1)
    monkeypatch.setattr(release_page, "_MAX_COMPARED", 1)
    page = look(registry, "/ui/vendors/vendor-a.com")
    assert "→ open ← in part for 1 model Diff from 2" in page.text
    assert "1 model differs. What is closed" in page.text
    middle = look(registry, f"/ui/releases/{FIRMWARE}@2")
    # What was compared for the vendor is remembered.
    assert "1 → 2 → open ← in part for 1 model 1 model differs" in middle.text
    assert "2 → 3 → open ← in part for 1 model 1 model differs" in middle.text
    # A new release ends that: it could have stated off values.
    assert publish(registry, f"{FIRMWARE}@4", {"num-queues": QUEUES, "x": {"type": "int", "init_value": 1}}).is_success
    again = look(registry, f"/ui/releases/{FIRMWARE}@2")
    assert "too many to compare at once with the others. Compare them" in again.text
    (compare,) = [link for link in again.links if "compare_next" in link]
    assert "2 → 3 → open ← in part" in look(registry, compare.partition("#")[0]).text


def test_a_comparison_counts_off_values_that_are_stated_later(registry: TestClient) -> None:
    vendor(registry)
    stated = {"num-queues": {"type": "int", "init_value": 4, "allowed_values": ["1-8"]}}
    assert publish(registry, ONE, {}).status_code == 201
    assert publish(registry, TWO, stated).status_code == 201
    assert "→ closed for 1 model ← closed for 1 model" in look(registry, f"/ui/releases/{TWO}").text
    assert publish(registry, f"{FIRMWARE}@0.1", {"num-queues": QUEUES}).status_code == 201
    assert "→ open ← in part for 1 model" in look(registry, f"/ui/releases/{TWO}").text.partition("1 → 2")[2]


def test_a_release_says_when_who_and_what_is_known_of_it(registry: TestClient) -> None:
    fill(registry)
    document = {"release": TWO, "model": NIC, "description": f"loses packets {SCRIPT}"}
    assert registry.post("/errata", json=document).is_success
    assert registry.patch(f"/releases/{TWO}", json={"state": "retired"}).is_success
    addition: dict[str, Any] = {"models": {"vendor-a.com/late": {"variables": {}}}}
    assert registry.put(f"/releases/{TWO}", json=addition).is_success
    page = look(registry, f"/ui/releases/{TWO}")
    changes = {
        change["kind"]: change
        for change in registry.get("/changes?limit=1000").json()["items"]
        if change["name"] == TWO
    }

    def minute(kind: str) -> str:
        return str(changes[kind]["at"])[:16].replace("T", " ")

    assert f"Published {minute('release-published')} UTC by admin, extended 1 time, last" in page.text
    assert f"retired since {minute('release-state-changed')} UTC by admin" in page.text
    assert "Retired: no device can move here." in page.text
    assert "known to be broken: 1" in page.text
    assert "the firmware lost queues" in page.text
    assert SCRIPT in page.text
    assert "Hosts that run it (1) host-2 ." in page.text
    assert page.text.index("the firmware lost queues") < page.text.rindex("Device models (3)")


def test_a_release_shows_what_it_accepts_of_its_list(unchanged: TestClient) -> None:
    page = look(unchanged, f"/ui/releases/{ONE}")
    assert "vendor-a.com/base ✓ accepted for 2 of 2 models vendor-a.com/more ✓ accepted for 2 of 2 models" in page.text
    refusing = look(unchanged, f"/ui/releases/{TWO}").text
    assert "vendor-a.com/base ✗ refused for 1 of 2 models" in refusing
    assert "It has no list" not in refusing


def test_profiles_beyond_what_can_be_judged_are_listed(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_page, "_MAX_PAIRS", 1)
    page = look(unchanged, f"/ui/releases/{ONE}")
    assert "vendor-a.com/base ✓ accepted" in page.text
    assert "vendor-a.com/more judge" in page.text
    monkeypatch.setattr(release_page, "_MAX_PROFILES", 1)
    assert "The first 1 are listed." in look(unchanged, f"/ui/releases/{ONE}").text


def test_pages_of_releases_end_although_the_budget_does(database_url: str) -> None:
    with (
        TestClient(make_app(database_url, max_steps=10_000)) as small,
        TestClient(make_app(database_url), headers=AUTHORIZATION) as registry,
    ):
        vendor(registry)
        for number in (1, 2):
            models: dict[str, Any] = {
                f"vendor-a.com/m{place}": {
                    "variables": {f"v{n}": {"type": "int", "init_value": number} for n in range(40)}
                }
                for place in range(60)
            }
            answer = registry.put(f"/releases/{FIRMWARE}@{number}", json={"models": models})
            assert answer.status_code == 201, answer.text
        page = look(small, f"/ui/releases/{TWO}")
        assert "Comparing them takes too much at once. See the diff" in page.text
        assert page.links.count(f"/ui/models/vendor-a.com/m7?release={FIRMWARE.replace('/', '%2F')}%402") == 1
        assert "The page is incomplete" not in page.text
        timeline = look(small, "/ui/vendors/vendor-a.com").text
        assert "not compared: that takes too much at once. See the diff" in timeline
        assert "The page is incomplete" not in timeline


def test_hosts_are_shown_only_to_those_who_can_know_them(database_url: str) -> None:
    with TestClient(make_app(database_url, read_hosts="token")) as registry:
        with TestClient(registry.app, headers=AUTHORIZATION) as admin:
            fill(admin)
            assert "Hosts that run it (1) host-2 ." in look(admin, f"/ui/releases/{TWO}").text
        text = look(registry, f"/ui/releases/{TWO}").text
        assert "Hosts that run it" not in text
        assert "host-2" not in text
        assert "Device models (2)" in text
