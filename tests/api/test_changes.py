"""The feed of changes, the audit, and conditional reads and writes."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.domain.publishing.change import linked
from app.wire.change import Audit, ChangeDocument, Feed
from tests.api.serving import served
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, make_app, shared_registry

ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P = "vendor-a.com/p"


def feed(registry: TestClient, **parameters: Any) -> list[Any]:
    response = registry.get("/changes", params=parameters)
    assert response.status_code == 200, response.text
    Feed.model_validate_json(response.content, extra="forbid")
    items: list[Any] = response.json()["items"]
    return items


def summaries(items: list[Any]) -> list[tuple[int, str, str]]:
    return [(change["seq"], change["kind"], change["name"]) for change in items]


def fill(registry: TestClient) -> None:
    """Make one change of every kind, and a draft."""
    vendor(registry)
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    publish(registry, ONE, {"num-queues": QUEUES}, profiles=profiles)
    publish(registry, TWO, {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}})
    registry.put(
        f"/releases/{TWO}",
        json={"models": {NIC: {"variables": {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}}}},
        params={"override": "a smaller chip"},
    )
    registry.patch(f"/profiles/{P}", json={"state": "deprecated"})
    registry.put(f"/implementations/{FIRMWARE}", json={"evolution": "none"})
    registry.put("/hosts/host-1", json={"releases": [ONE]})
    registry.put("/hosts/host-1", json={"releases": [TWO]})
    registry.delete("/hosts/host-1")
    publish(registry, f"{FIRMWARE}@3", {"num-queues": QUEUES}, state="draft")


unchanged = shared_registry(fill)


@pytest.fixture
def published(registry: TestClient) -> TestClient:
    """Return a registry with one change of every kind, and a draft."""
    fill(registry)
    return registry


def test_the_feed_has_every_change_in_order(unchanged: TestClient) -> None:
    items = feed(unchanged)
    assert summaries(items) == [
        (1, "vendor-registered", "vendor-a.com"),
        (2, "release-published", ONE),
        (3, "profile-published", P),
        (4, "release-published", TWO),
        (5, "gate-overridden", TWO),
        (6, "profile-state-changed", P),
        (7, "evolution-set", FIRMWARE),
        (8, "host-registered", "host-1"),
        (9, "host-changed", "host-1"),
        (10, "host-forgotten", "host-1"),
    ]
    assert [change["part_of"] for change in items] == [1, 2, 2, 4, 4, 6, 7, 8, 9, 10]
    assert {change["by"] for change in items} == {"admin"}
    assert items[1]["digest"] == unchanged.get(f"/releases/{ONE}").json()["digest"]
    assert items[2]["digest"] == unchanged.get(f"/profiles/{P}").json()["digest"]
    assert items[4]["detail"] == {"reason": "a smaller chip", "broken_count": 1}
    assert items[5]["detail"] == {"before": "published", "state": "deprecated"}
    assert all(change["at"].endswith("Z") for change in items)


def test_the_audit_has_the_feed_and_the_changes_of_drafts(unchanged: TestClient) -> None:
    response = unchanged.get("/audit", params={"limit": 1000})
    Audit.model_validate_json(response.content, extra="forbid")
    audited = response.json()["items"]
    shared = [{name: value for name, value in change.items() if name != "id"} for change in audited if change["seq"]]
    assert shared == feed(unchanged)
    assert [(change["kind"], change["name"]) for change in audited if change["seq"] is None] == [
        ("draft-kept", f"{FIRMWARE}@3")
    ]
    first = unchanged.get("/audit", params={"limit": 3}).json()
    rest = unchanged.get("/audit", params={"after": first["next"], "limit": 1000}).json()
    assert first["items"] + rest["items"] == audited


def test_a_request_that_changes_nothing_is_not_in_the_feed(published: TestClient) -> None:
    before = feed(published)
    publish(published, ONE, {"num-queues": QUEUES})
    publish(published, f"{FIRMWARE}@4", {"num-queues": QUEUES, "feature": FEATURE}, description=1)
    published.put("/vendors/vendor-b.com", json={}, params={"dry_run": True})
    published.patch(f"/profiles/{P}", json={"state": "deprecated"})
    published.put(f"/implementations/{FIRMWARE}", json={"evolution": "none"})
    assert feed(published) == before


def test_the_feed_is_filtered_by_vendor_and_model(published: TestClient) -> None:
    vendor(published, "vendor-b.com")
    publish(published, "vendor-b.com/dpu@1", {"num-queues": QUEUES})
    assert summaries(feed(published, vendor="vendor-b.com")) == [
        (11, "vendor-registered", "vendor-b.com"),
        (12, "release-published", "vendor-b.com/dpu@1"),
    ]
    assert [change["seq"] for change in feed(published, model=NIC)] == [2, 3, 4, 5, 6, 8, 9, 10, 12]
    # A host can concern any model; a list of profiles concerns all models of its release.
    assert [change["seq"] for change in feed(published, model="vendor-a.com/none")] == [8, 9, 10]
    assert published.put(f"/releases/{TWO}", json={"models": {}, "profiles": []}).status_code == 201
    assert feed(published, model=NIC, after=12)[0]["kind"] == "release-extended"


def test_each_change_is_linked_to_the_one_before(unchanged: TestClient) -> None:
    page = unchanged.get("/changes", params={"limit": 1000}).json()
    link = page["registry"]
    for change in page["items"]:
        fields = {name: value for name, value in change.items() if name != "link"}
        link = linked(link, fields)
        assert change["link"] == link


def test_the_feed_comes_page_by_page(unchanged: TestClient) -> None:
    after, seqs = 0, []
    while True:
        page = unchanged.get("/changes", params={"after": after, "limit": 3}).json()
        assert page["head"] == 10
        seqs += [change["seq"] for change in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seqs == list(range(1, 11))
    assert unchanged.get("/changes", params={"after": 10}).json()["items"] == []


def test_a_change_has_the_documents_that_it_added(unchanged: TestClient) -> None:
    response = unchanged.get("/changes/2")
    ChangeDocument.model_validate_json(response.content, extra="forbid")
    # A registry that was set back has another change under this number.
    assert "immutable" not in response.headers["Cache-Control"]
    change = response.json()
    digest = change["document"]["models"][NIC]
    assert change["contents"][digest]["variables"]["num-queues"]["init_value"] == 4
    (profile,) = change["document"]["profiles"]
    assert change["contents"][profile["values"][NIC]] == {"num-queues": 8}
    assert unchanged.get("/changes/3").json()["document"] is None
    for seq in (0, 11, 2**40, -1):
        problem(unchanged.get(f"/changes/{seq}"), 404, "unknown-change")


def test_a_verdict_names_the_last_change_that_it_is_based_on(published: TestClient) -> None:
    def seq() -> int:
        number: int = published.get("/compatibility", params={"model": NIC, "source": ONE}).json()["seq"]
        return number

    assert seq() == 10
    vendor(published, "vendor-b.com")
    assert seq() == 11
    published.put("/hosts/host-2", json={"releases": [ONE]})
    assert seq() == 12


def test_a_reader_can_wait_for_the_next_change(published: TestClient) -> None:
    began = time.monotonic()
    assert feed(published, after=10, wait=1) == []
    assert time.monotonic() - began >= 0.9
    writer = threading.Timer(0.3, lambda: published.put("/vendors/vendor-b.com", json={}))
    writer.start()
    began = time.monotonic()
    assert summaries(feed(published, after=10, wait=30)) == [(11, "vendor-registered", "vendor-b.com")]
    assert time.monotonic() - began < 10
    writer.join()


def test_changes_come_as_server_sent_events(database_url: str) -> None:
    import httpx  # noqa: PLC0415 (only this test uses the network)

    with served(make_app(database_url)) as address, httpx.Client(base_url=address, headers=AUTHORIZATION) as client:
        client.put("/vendors/vendor-a.com", json={})
        client.put("/vendors/vendor-b.com", json={})
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        with client.stream("GET", "/changes", headers=headers, timeout=20) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert _event(lines)["name"] == "vendor-b.com"
            with httpx.Client(base_url=address, headers=AUTHORIZATION) as writer:
                writer.put("/vendors/vendor-c.com", json={})
            event = _event(lines)
            assert (event["seq"], event["kind"], event["name"]) == (3, "vendor-registered", "vendor-c.com")
        bad = client.get("/changes", headers={**headers, "Last-Event-ID": "x"})
        assert bad.status_code == 422


def _event(lines: Iterator[str]) -> Any:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["seq"]), event["kind"])
            return event
    message = "the stream ended"
    raise AssertionError(message)


READS = [
    "/vendors",
    "/vendors/vendor-a.com",
    "/implementations/vendor-a.com/fw",
    "/releases",
    f"/releases/{ONE}",
    "/variable-sets",
    "/models",
    f"/models/{NIC}",
    "/profiles",
    f"/profiles/{P}?resolved=true",
    "/hosts",
    f"/compatibility?model={NIC}&source={ONE}",
    f"/diff?from={ONE}&to={TWO}",
    "/support-matrix",
    "/changes",
    "/changes/2",
    "/mirrors",
    f"/impact?name={ONE}",
]


@pytest.mark.parametrize("path", READS)
def test_a_read_with_the_current_etag_is_not_modified(unchanged: TestClient, path: str) -> None:
    first = unchanged.get(path)
    assert first.status_code == 200
    tag = first.headers["ETag"]
    for condition in (tag, f'"other", W/{tag}', "*"):
        again = unchanged.get(path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert unchanged.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    assert first.headers["Cache-Control"].startswith("public, ")


def test_a_read_has_a_new_etag_after_a_change(published: TestClient) -> None:
    tag = published.get(f"/releases/{ONE}").headers["ETag"]
    published.patch(f"/releases/{ONE}", json={"state": "deprecated"})
    assert published.get(f"/releases/{ONE}", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("path", [f"/releases/{ONE}", f"/profiles/{P}", f"/releases/{FIRMWARE}@3"])
def test_a_state_changes_only_with_the_current_etag(published: TestClient, path: str) -> None:
    def change(condition: str) -> Any:
        return published.patch(path, json={"state": state}, headers={"If-Match": condition})

    state = "published" if path.endswith("@3") else "retired"
    tag = published.get(path, params={"include_drafts": True}).headers["ETag"]
    problem(change('"other"'), 412, "precondition-failed")
    assert change(f'"other", {tag}').status_code == 200
    state = "deprecated"
    problem(change(tag), 412, "precondition-failed")
    assert change("*").status_code == 200
    assert published.get(path).json()["state"] == "deprecated"


def test_a_poll_that_its_client_has_left_keeps_no_place(database_url: str) -> None:
    with served(make_app(database_url, streams_per_client=2)) as url:
        poll = f"{url}/changes?wait=60"
        for _ in range(6):
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(poll, timeout=0.5)
            # The service notices at its next look.
            time.sleep(1)
        assert httpx.get(f"{url}/changes").status_code == 200
