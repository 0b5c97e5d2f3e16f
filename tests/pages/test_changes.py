"""The feed and the audit as pages: newest first, narrowed, and no more than a client can see."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.outcome import Added
from app.pages import change as change_pages
from app.pages.feed_words import AUDIT_GROUPS, COUNTED, GROUPS, WORDS, facts
from app.storage import history, schema
from tests.conftest import AUTHORIZATION, fresh_database, make_app, shared_registry
from tests.pages.plan import plans, sent_statements
from tests.pages.test_pages import Page, look
from tests.pages.world import FIRMWARE, NIC, fill

ADMIN = ("admin", AUTHORIZATION["Authorization"].removeprefix("Bearer "))


def fill_more(registry: TestClient) -> None:
    """Publish what the pages show, an erratum, and a token."""
    fill(registry)
    document = {"release": f"{FIRMWARE}@2", "model": NIC, "description": "it loses <b>packets</b>"}
    assert registry.post("/errata", json=document).status_code == 201
    assert registry.put("/implementations/vendor-b.com/dpu", json={"evolution": "full"}).is_success
    assert registry.post("/tokens", json={"name": "somebody", "role": "reader"}).status_code == 201


unchanged = shared_registry(fill_more)


def seqs(page: Page) -> list[int]:
    """Return the numbers of the changes on a page, in its order."""
    return [int(link.rpartition("/")[2]) for link in page.links if re.fullmatch(r"/ui/changes/\d+", link)]


def feed(registry: TestClient) -> Sequence[dict[str, Any]]:
    """Return the feed as the API answers it."""
    items: Sequence[dict[str, Any]] = registry.get("/changes?limit=1000").json()["items"]
    return items


def test_every_kind_of_change_has_words_and_a_group() -> None:
    assert set(WORDS) == set(ChangeKind)
    assert sorted(kind for group in AUDIT_GROUPS.values() for kind in group.kinds) == sorted(ChangeKind)
    of_feed = {kind for group in GROUPS.values() for kind in group.kinds}
    assert of_feed == {kind for kind in ChangeKind if not kind.is_audited_alone}
    assert set(COUNTED) == set(Added().counts())


def test_the_feed_is_shown_newest_first_without_hosts(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/changes")
    expected = [item["seq"] for item in feed(unchanged) if not item["kind"].startswith("host")]
    assert sorted(seqs(page), reverse=True) == sorted(expected, reverse=True)
    transactions = {item["seq"]: item["part_of"] for item in feed(unchanged)}
    shown = [transactions[seq] for seq in seqs(page)]
    assert shown == sorted(shown, reverse=True)
    assert "host-1" not in page.text
    with_hosts = look(unchanged, "/ui/changes", hosts="true")
    assert sorted(seqs(with_hosts)) == [item["seq"] for item in feed(unchanged)]
    assert "host-1 host registered" in with_hosts.text


def test_a_change_says_in_words_what_it_is(unchanged: TestClient) -> None:
    text = look(unchanged, "/ui/changes").text
    assert f"{FIRMWARE}@2 evolution gate overridden reason: the firmware lost queues; breaks " in text
    assert f"{FIRMWARE}@2 erratum published {NIC}: it loses <b>packets</b>; erratum" in text
    assert "vendor-b.com/dpu@1 state of a release changed published → deprecated" in text
    assert "vendor-b.com/dpu evolution mode set mode full" in text
    assert re.search(
        rf"{FIRMWARE}@1 release published added: 1 release, 2 new device models, \d+ implemented device models", text
    )
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC by admin, change \d+", text)
    links = look(unchanged, "/ui/changes").links
    assert {f"/ui/releases/{FIRMWARE}@2", "/ui/profiles/vendor-a.com/more", "/ui/vendors/vendor-b.com"} <= {*links}


def test_facts_of_kinds_that_the_sample_does_not_have() -> None:
    origin = {"registry": "r1", "seq": 7, "at": "2026-01-31T10:00:00.000Z", "by": "ci"}
    assert facts("release-published", {"added": {"models": 1, "aliases": 2}, "origin": origin, "signature": "x"}) == [
        "added: 1 new device model, 2 aliases",
        "signed by its vendor",
        "mirrored: change 7 of r1, 2026-01-31 10:00 UTC, by ci",
    ]
    assert facts("vendor-changed", {}) == []
    assert facts("vendor-completed", {"keys": ["k"], "revoked_keys": ["o"], "signed": True}) == [
        "key added: k",
        "key revoked: o",
        "publications must be signed",
    ]
    assert facts(
        "token-created", {"token_name": "ci", "role": "publisher", "vendor": "a.com", "expires_at": "2026-01-31T10:00Z"}
    ) == [
        "ci",
        "publisher of a.com",
        "expires 2026-01-31 10:00 UTC",
    ]


@pytest.mark.parametrize(
    ("filters", "kinds"),
    [
        ({"kind": "errata"}, {"erratum-published"}),
        ({"kind": "gate-overridden"}, {"gate-overridden"}),
        ({"kind": "gate"}, {"gate-overridden", "evolution-set"}),
        ({"kind": "hosts"}, {"host-registered"}),
        ({"name": "VENDOR-B.com/DPU", "vendor": ""}, {"release-published", "release-state-changed", "evolution-set"}),
        ({"vendor": "vendor-b.com", "kind": "vendors"}, {"vendor-registered"}),
        ({"hosts": "true", "name": "host-2"}, {"host-registered"}),
        ({"vendor": "none.example"}, set()),
        ({"since": "2999-01-01"}, set()),
        ({"name": "100%"}, set()),
    ],
)
def test_filters_narrow_the_feed(unchanged: TestClient, filters: dict[str, str], kinds: set[str]) -> None:
    page = look(unchanged, "/ui/changes", **filters)
    by_seq = {item["seq"]: item for item in feed(unchanged)}
    assert {by_seq[seq]["kind"] for seq in seqs(page)} == kinds
    if not kinds:
        assert "No change matches" in page.text


@pytest.mark.parametrize(
    "query",
    ["kind=none", "since=yesterday", "since=2026-02-30", "before=0", f"before={2**31}", "name=%00", "vendor=%01"],
)
def test_filters_that_cannot_be_are_refused(unchanged: TestClient, query: str) -> None:
    assert unchanged.get(f"/ui/changes?{query}").status_code == 422
    assert unchanged.get(f"/ui/audit?{query}").status_code == (200 if query.startswith("vendor") else 422)


def test_pages_of_the_feed_meet_without_a_gap(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_pages, "_ON_A_PAGE", 3)
    for path in ("/ui/changes", "/ui/changes?hosts=true", "/ui/changes?vendor=vendor-a.com"):
        found: list[int] = []
        following: str | None = path
        while following is not None:
            page = look(unchanged, following)
            assert len(seqs(page)) <= 3
            found += sorted(seqs(page), reverse=True)
            following = next((link for link in page.links if "before=" in link), None)
        items = [
            item["seq"]
            for item in feed(unchanged)
            if ("hosts" in path or not item["kind"].startswith("host"))
            and ("vendor=" not in path or "vendor-a.com" in item["name"])
        ]
        assert found == items[::-1], path


def test_a_search_that_finds_little_ends_and_can_be_continued(
    unchanged: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_MAX_LOOKED_AT", 4)
    page = look(unchanged, "/ui/changes", hosts="true", name="vendor-b.com")
    assert "4 changes were searched" in page.text
    found: list[int] = []
    following: str | None = "/ui/changes?hosts=true&name=vendor-b.com"
    while following is not None:
        page = look(unchanged, following)
        found += seqs(page)
        following = next((link for link in page.links if "before=" in link), None)
    assert sorted(found) == [item["seq"] for item in feed(unchanged) if "vendor-b.com" in item["name"]]


def test_many_changes_of_one_transaction_are_folded(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_pages, "_UNFOLDED", 1)
    page = look(unchanged, "/ui/changes")
    assert re.search(r"2 more changes of the same transaction vendor-a.com/base profile published", page.text)


def test_a_change_has_its_place_in_the_chain(unchanged: TestClient) -> None:
    items = {item["seq"]: item for item in feed(unchanged)}
    published = next(item for item in items.values() if item["kind"] == "release-published")
    page = look(unchanged, f"/ui/changes/{published['seq']}")
    for field in ("digest", "document_digest", "link"):
        assert published[field] in page.text
    assert f"Link before {items[published['seq'] - 1]['link']}" in page.text
    assert {f"/ui/changes/{published['seq'] - 1}", f"/ui/changes/{published['seq'] + 1}"} <= {*page.links}
    assert f"/changes/{published['seq']}" in page.links
    assert "In the same transaction vendor-a.com/base profile published" in page.text
    first = look(unchanged, "/ui/changes/1")
    assert f"Link before {unchanged.get('/changes').json()['registry']}" in first.text
    assert "/ui/changes/0" not in first.links
    assert f"/ui/changes/{len(items) + 1}" not in look(unchanged, f"/ui/changes/{len(items)}").links


@pytest.mark.parametrize(("seq", "status"), [("0", 404), ("-1", 404), ("999999", 404), (str(2**70), 404), ("x", 422)])
def test_a_change_that_does_not_exist(unchanged: TestClient, seq: str, status: int) -> None:
    response = unchanged.get(f"/ui/changes/{seq}")
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")


def test_where_hosts_are_closed_their_changes_are_seen_with_a_token_alone(database_url: str) -> None:
    with TestClient(make_app(database_url, read_hosts="token")) as closed:
        closed.headers.update(AUTHORIZATION)
        fill(closed)
        host_seqs = [item["seq"] for item in feed(closed) if item["kind"].startswith("host")]
        del closed.headers["Authorization"]
        page = look(closed, "/ui/changes")
        assert seqs(page)
        assert "host-1" not in page.text
        assert "Hosts, too" not in page.text
        for path in ("?hosts=true", "?kind=hosts", "?kind=host-changed", "?hosts=1&name=a", f"/{host_seqs[0]}"):
            refused = closed.get(f"/ui/changes{path}")
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"].startswith("Basic ")
            assert "host-1" not in refused.text
            assert closed.get(f"/ui/changes{path}", auth=ADMIN).status_code == 200
        before = look(closed, f"/ui/changes/{host_seqs[0] - 1}")
        assert f"/ui/changes/{host_seqs[0]}" not in before.links
        assert "host-1" in closed.get("/ui/changes?hosts=true", auth=ADMIN).text


def test_a_closed_registry_shows_the_feed_with_a_token_alone(database_url: str) -> None:
    with TestClient(make_app(database_url, read="token")) as closed:
        for path in ("/ui/changes", "/ui/changes/1"):
            assert closed.get(path).status_code == 401
        assert closed.get("/ui/changes", auth=ADMIN).status_code == 200


def test_the_audit_is_for_admins(filled_audit: TestClient) -> None:
    refused = filled_audit.get("/ui/audit")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    token = filled_audit.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION).json()["token"]
    forbidden = filled_audit.get("/ui/audit", auth=("x", token))
    assert forbidden.status_code == 403
    assert "This needs an admin token." in Page(forbidden).text
    response = filled_audit.get("/ui/audit", auth=ADMIN)
    assert response.headers["cache-control"].startswith("private, ")
    assert "somebody; reader" in Page(response).text


@pytest.fixture
def filled_audit(database_url: str) -> Any:
    """Yield a client without a token of a registry with content."""
    with TestClient(make_app(database_url)) as client:
        client.headers.update(AUTHORIZATION)
        fill_more(client)
        del client.headers["Authorization"]
        yield client


def test_the_audit_shows_what_the_api_lists(unchanged: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_pages, "_ON_A_PAGE", 4)
    entries = unchanged.get("/audit?limit=1000").json()["items"]
    count, following = 0, "/ui/audit"
    while following:
        page = look(unchanged, following)
        count += page.text.count(" UTC by ")
        following = next((link for link in page.links if "before=" in link), "")
    assert count == len(entries)
    tokens = look(unchanged, "/ui/audit", kind="tokens")
    assert "token created somebody; reader" in tokens.text
    assert "not in the feed" in tokens.text
    assert "vendor-b.com/draft draft stored" in look(unchanged, "/ui/audit", kind="draft-kept").text
    assert "No entry matches" in look(unchanged, "/ui/audit", by="nobody").text
    assert "host-1" in look(unchanged, "/ui/audit", kind="hosts", by="adm").text


def test_changes_of_hosts_cost_the_page_nothing(request: pytest.FixtureRequest) -> None:
    """Read the plan: with any number of hosts, only the changes of vendors are visited."""
    with fresh_database("sqlite", request) as url, TestClient(make_app(url), headers=AUTHORIZATION) as registry:
        fill(registry)
        with sent_statements(registry) as statements:
            look(registry, "/ui/changes")
        of_changes = [one for one in statements if f"FROM {schema.change.name}" in one[0]]
        assert of_changes
        for plan in plans(registry, of_changes):
            assert not any(re.match(r"SCAN change\b", step) for step in plan), plan


def test_a_page_links_to_what_it_shows(unchanged: TestClient) -> None:
    for path in ("/ui/changes?hosts=true", "/ui/audit", "/ui/changes/3"):
        for link in {urlsplit(link)._replace(fragment="").geturl() for link in look(unchanged, path).links}:
            assert unchanged.get(link or path).status_code == 200, link
