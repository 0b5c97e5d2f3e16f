"""The search: several words, hosts, codes, and counts of what is not shown."""

import re

import pytest
from fastapi.testclient import TestClient

from app.pages import search as search_pages
from app.storage import search
from tests.conftest import AUTHORIZATION, fresh_database, make_app, shared_registry
from tests.pages.plan import plans, sent_statements
from tests.pages.test_pages import Page, look
from tests.pages.world import FIRMWARE, GPU, NIC, fill


def fill_more(registry: TestClient) -> None:
    """Publish what the pages show, and more of a kind than is shown."""
    fill(registry)
    models = {
        f"vendor-b.com/card-{number:02}": {"variables": {"num-queues": {"type": "int", "init_value": 1}}}
        for number in range(25)
    }
    profiles = [
        {"name": f"vendor-b.com/p-{number:02}", "values": {f"vendor-b.com/card-{number:02}": {"num-queues": 1}}}
        for number in range(23)
    ]
    profiles[7]["description"] = "for racks with a Blue stripe"
    document = {"models": models, "profiles": profiles, "description": "the fastest build"}
    assert registry.put("/releases/vendor-b.com/cards@1", json=document).is_success
    host = {"releases": [f"{FIRMWARE}@1"], "labels": {"rack": "r9"}}
    assert all(registry.put(f"/hosts/Node-{number:02}", json=host).is_success for number in range(22))


unchanged = shared_registry(fill_more)


def headings(page: Page) -> list[str]:
    """Return the groups of results with their counts."""
    titles = "Device models|Variables|Profiles|Implementations|Releases|Vendors|Hosts whose name begins with it"
    return re.findall(rf"(?:{titles}) \d[\d,]*(?: of (?:more than )?[\d,]+)?", page.text)


def test_all_words_must_occur_in_any_order(unchanged: TestClient) -> None:
    for q in ("nic vendor-a", "VENDOR-A   Nic", "nic nic vendor-a.com"):
        page = look(unchanged, "/", q=q)
        assert f"/ui/models/{NIC}" in page.links
        assert f"/ui/models/{GPU}" not in page.links
    assert "all of these words" in look(unchanged, "/", q="nic vendor-z").text


def test_a_variable_is_found_by_its_name_and_its_model(unchanged: TestClient) -> None:
    page = look(unchanged, "/", q="queues my-nic")
    assert "num-queues of vendor-a.com/my-nic" in page.text
    assert f"/ui/models/{NIC}#v-num-queues" in page.links
    # A model alone does not make all its variables results.
    assert "Variables" not in look(unchanged, "/", q="my-nic vendor-a.com").text
    several = look(unchanged, "/", q="queues card")
    assert "num-queues of 25 models" in several.text
    (link,) = [link for link in several.links if "variable=num-queues" in link]
    assert "vendor-b.com/card-03" in look(unchanged, link).text
    assert NIC not in look(unchanged, link).text


def test_descriptions_are_searched_after_names(unchanged: TestClient) -> None:
    assert "/ui/profiles/vendor-b.com/p-07" in look(unchanged, "/", q="blue stripe").links
    assert "/ui/releases/vendor-b.com/cards@1" in look(unchanged, "/", q="fastest").links


def test_what_is_not_shown_is_counted_and_can_be_shown(unchanged: TestClient) -> None:
    page = look(unchanged, "/", q="vendor-b.com")
    assert {"Device models 20 of 25", "Profiles 20 of 23", "Vendors 1"} <= {*headings(page)}
    assert len([link for link in page.links if link.startswith("/ui/profiles/vendor-b.com/")]) == 20
    (more,) = [link for link in page.links if "group=profiles" in link]
    assert "Profiles 23" in headings(look(unchanged, more))
    (models,) = [link for link in page.links if link.startswith("/ui/models?q=")]
    assert "vendor-b.com/card-24" in look(unchanged, models).text


def test_a_group_that_is_too_long_says_so(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_pages, "_SHOWN_OF_CHOSEN", 21)
    page = look(unchanged, "/", q="vendor-b.com", group="profiles")
    assert "Profiles 21 of 23" in headings(page)
    assert "Enter another word to find fewer" in page.text
    assert "Show 21" in look(unchanged, "/", q="vendor-b.com").text


@pytest.mark.parametrize(
    ("q", "first"),
    [
        (NIC.upper(), f"/ui/models/{NIC}"),
        ("vendor-a.com/more", "/ui/profiles/vendor-a.com/more"),
        ("num-queues", "/ui/models?variable=num-queues"),
        ("vendor-b.com", "/ui/vendors/vendor-b.com"),
        (f"{FIRMWARE}@2", f"/ui/releases/{FIRMWARE}@2"),
        ("unknown-release", "/help/unknown-release"),
        ("host-1", "/ui/hosts/host-1"),
    ],
)
def test_the_exact_match_is_the_first_result(unchanged: TestClient, q: str, first: str) -> None:
    page = look(unchanged, "/", q=q)
    results = page.links[page.links.index("/help") + 1 :]
    assert results[0] == first
    assert "exact match" in page.text


def test_hosts_are_found_by_the_beginning_of_their_name_and_by_a_label(unchanged: TestClient) -> None:
    for q in ("Node-", "Node-0"):
        assert "Hosts whose name begins with it" in look(unchanged, "/", q=q).text
    assert "Hosts whose name begins with it 20 of 22" in headings(look(unchanged, "/", q="Node"))
    # Lower case as typed finds what is registered so; another case of the text is tried, too.
    assert "host-1" in look(unchanged, "/", q="HOST-").text
    assert "Hosts whose" not in look(unchanged, "/", q="ode-0").text
    labelled = look(unchanged, "/", q="rack=r9")
    assert "22 hosts with the label rack=r9" in labelled.text
    assert "/ui/hosts?label=rack%3Dr9" in labelled.links
    assert "with the label" not in look(unchanged, "/", q="rack=none").text


def test_very_many_hosts_are_not_counted(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_COUNTED_HOSTS", 21)
    assert "Hosts whose name begins with it 20 of more than 21" in headings(look(unchanged, "/", q="Node-"))
    # How many hosts have a label is known.
    assert "22 hosts with the label" in look(unchanged, "/", q="rack=r9").text


def test_closed_hosts_are_not_found(database_url: str) -> None:
    with TestClient(make_app(database_url, read_hosts="token")) as closed:
        closed.headers.update(AUTHORIZATION)
        fill(closed)
        assert "host-1" in look(closed, "/", q="host-").text
        del closed.headers["Authorization"]
        for q in ("host-", "host-1", "rack=r1"):
            page = look(closed, "/", q=q)
            assert "/ui/hosts?" not in str(page.links)
            assert "Hosts whose" not in page.text
            assert "with the label" not in page.text


def test_codes_are_found_by_their_meaning(unchanged: TestClient) -> None:
    assert "/help/cannot-be-off" in look(unchanged, "/", q="cannot-be").links
    assert "/help/too-many-requests" in look(unchanged, "/", q="share streams").links


@pytest.mark.parametrize("q", ["%", "_", "\\", "' OR 1", "a " * 50, "ж", "\U0010ffff", "=", "=x", "rack="])
def test_any_text_can_be_searched(unchanged: TestClient, q: str) -> None:
    assert unchanged.get("/", params={"q": q}).status_code == 200
    assert unchanged.get("/", params={"q": q, "group": "none"}).status_code == 200


def test_a_search_does_not_read_all_hosts(request: pytest.FixtureRequest) -> None:
    with fresh_database("sqlite", request) as url, TestClient(make_app(url), headers=AUTHORIZATION) as registry:
        fill(registry)
        with sent_statements(registry) as statements:
            look(registry, "/", q="host-")
            look(registry, "/", q="rack=r1")
        of_hosts = [(text, parameters) for text, parameters in statements if re.search(r"\bhost(_label)?\b", text)]
        assert len(of_hosts) >= 3
        for (text, _), plan in zip(of_hosts, plans(registry, of_hosts), strict=True):
            # The index of hosts that are not filed has no others.
            assert not any(re.match(r"SCAN host\b(?! USING INDEX ix_host_unfiled)", step) for step in plan), (
                text,
                plan,
            )


def test_models_are_listed_by_several_words_too(unchanged: TestClient) -> None:
    listed = unchanged.get("/models", params={"q": "NIC vendor-a"}).json()["items"]
    assert [item["model"] for item in listed] == [NIC]
