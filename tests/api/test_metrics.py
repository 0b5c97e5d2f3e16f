"""The metrics that Prometheus reads."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from app import VERSION
from app.api import gauges, metrics, share
from app.api.client import Client
from app.settings import COUNTS_FOLDER
from app.storage import figures, schema, version
from app.storage.catalog import Catalog
from app.storage.failure import Cause, FailureError
from app.storage.host import Staleness
from tests.api.stories import NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, make_app

Counts = dict[tuple[str, ...], float]


def _counts(registry: TestClient, name: str) -> Counts:
    """Return the samples of a metric, by the values of its labels, in the order of the labels' names."""
    response = registry.get("/metrics")
    assert response.status_code == 200
    samples = [sample for family in text_string_to_metric_families(response.text) for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


def _added(registry: TestClient, name: str, action: Callable[[], object]) -> Counts:
    """Return what an action adds to a metric; other tests of the process count in the same metric."""
    before = _counts(registry, name)
    action()
    after = _counts(registry, name)
    return {labels: count - before.get(labels, 0) for labels, count in after.items() if count != before.get(labels, 0)}


def test_requests_are_counted_by_operation_and_status(registry: TestClient) -> None:
    def action() -> None:
        vendor(registry)
        registry.get("/vendors")
        registry.get("/vendors/nobody.example")
        registry.get("/nowhere")
        registry.post("/vendors")
        registry.get("/ui/models")

    assert _added(registry, "profile_registry_requests_total", action) == {
        ("put_vendor", "201"): 1,
        ("list_vendors", "200"): 1,
        ("list_vendors", "405"): 1,
        ("get_vendor", "404"): 1,
        ("get_models_page", "200"): 1,
        ("none", "404"): 1,
        # The first of the two reads of the metrics.
        ("get_metrics", "200"): 1,
    }


def test_requests_are_timed(registry: TestClient) -> None:
    vendor(registry)

    def action() -> None:
        for _ in range(3):
            registry.get("/vendors")

    counted = _added(registry, "profile_registry_request_seconds_count", action)
    assert counted[("list_vendors",)] == 3
    taken = _added(registry, "profile_registry_request_seconds_sum", action)
    assert 0 < taken[("list_vendors",)] < 30


def test_verdicts_are_counted(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, "vendor-a.com/fw@1", {"num-queues": QUEUES})
    device = {"model": NIC, "values": {"num-queues": 4}, "complete": True}
    good, bad = {"id": "good", "releases": ["vendor-a.com/fw@1"]}, {"id": "bad", "releases": ["vendor-a.com/fw@9"]}

    def ask(detail: str) -> Callable[[], object]:
        vms = [{"devices": [device]}, {"devices": [device, device]}]
        question = {"vms": vms, "destinations": [good, bad], "detail": detail}
        return lambda: registry.post("/compatibility", json=question).raise_for_status()

    for detail in ("verdict", "problems", "summary", "full"):
        assert _added(registry, "profile_registry_verdicts_total", ask(detail)) == {("true",): 2, ("false",): 2}
    nothing: dict[str, list[object]] = {"vms": []}
    added = _added(registry, "profile_registry_verdicts_total", lambda: registry.post("/compatibility", json=nothing))
    assert added == {}


def test_waiting_for_changes_is_not_timed(registry: TestClient) -> None:
    vendor(registry)

    def wait() -> None:
        registry.get("/changes", params={"after": 0, "wait": 1}).raise_for_status()

    assert ("list_changes",) not in _added(registry, "profile_registry_request_seconds_count", wait)


def test_an_internal_error_is_counted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with TestClient(make_app(database_url), raise_server_exceptions=False) as registry:
        monkeypatch.setattr(Catalog, "ask_at_once", fail)
        monkeypatch.setattr(Catalog, "ask", fail)
        added = _added(
            registry, "profile_registry_requests_total", lambda: registry.get("/compatibility?model=a.com/b")
        )
    assert added[("get_compatibility", "500")] == 1


def test_reading_metrics_does_not_use_the_database(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Catalog, "view", fail)
    assert registry.get("/metrics", headers=AUTHORIZATION).status_code == 200


def _only(registry: TestClient, name: str) -> float:
    (value,) = _counts(registry, name).values()
    return value


def test_the_build_the_schema_and_the_feed_are_reported(registry: TestClient) -> None:
    head = version.revisions()[0]
    assert _counts(registry, "profile_registry_build_info") == {(head, VERSION): 1}
    assert _counts(registry, "profile_registry_database_schema_info") == {(head,): 1}
    assert _only(registry, "profile_registry_database_up") == 1


def test_the_head_of_the_feed_and_the_hosts_are_reported(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "LOOK_SECONDS", 0)
    vendor(registry)
    publish(registry, "vendor-a.com/fw@1", {"num-queues": QUEUES})
    for name in ("host-1", "host-2"):
        registry.put(f"/hosts/{name}", json={"releases": ["vendor-a.com/fw@1"]}).raise_for_status()
    assert _only(registry, "profile_registry_hosts") == 2
    assert _only(registry, "profile_registry_feed_seq") == len(registry.get("/changes").json()["items"])


def test_a_mirror_is_reported_with_how_long_ago_its_last_change_was_added(
    registry: TestClient, engine: sa.Engine
) -> None:
    ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    rows = [{"registry": f"r-{n}", "url": "https://user:pass@r", "seq": n, "link": "", "at": ago} for n in range(120)]
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.mirror), rows)
    # Each registry would be a time series of its own, so their number has a limit.
    seqs = _counts(registry, "profile_registry_mirror_seq")
    assert len(seqs) == 100
    assert seqs[("r-1",)] == 1
    assert _counts(registry, "profile_registry_mirror_idle_seconds")[("r-1",)] == pytest.approx(3600, abs=60)
    assert "pass" not in registry.get("/metrics").text


def test_the_database_is_read_at_most_once_a_second(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[sa.Connection] = []
    read = figures.read

    def counted(connection: sa.Connection, staleness: Staleness) -> figures.Figures:
        reads.append(connection)
        return read(connection, staleness)

    monkeypatch.setattr(figures, "read", counted)
    for _ in range(5):
        registry.get("/metrics")
    assert len(reads) == 1


def test_metrics_are_reported_while_the_database_is_away() -> None:
    with TestClient(make_app("postgresql://u@127.0.0.1:1/none"), headers=AUTHORIZATION) as registry:
        failures = _added(
            registry, "profile_registry_database_failures_total", lambda: registry.get("/vendors", headers={})
        )
        assert failures[("unreachable",)] >= 1
        assert _only(registry, "profile_registry_database_up") == 0
        assert _counts(registry, "profile_registry_feed_seq") == {}
        assert _only(registry, "profile_registry_build_info") == 1


def test_a_database_that_does_not_answer_holds_no_scrape_up(
    registry: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Event()

    def hang(*_: object) -> figures.Figures:
        answers.wait(30)
        raise FailureError(Cause.SLOW)

    monkeypatch.setattr(figures, "read", hang)
    monkeypatch.setattr(gauges, "_PATIENCE_SECONDS", 0.1)
    began = time.monotonic()
    # The second scrape does not begin another look, which would take a further thread and connection.
    for _ in range(2):
        assert _only(registry, "profile_registry_database_up") == 0
    assert _counts(registry, "profile_registry_database_pool_checked_out")[("primary",)] == 1
    assert time.monotonic() - began < 10
    answers.set()
    while _counts(registry, "profile_registry_database_pool_checked_out")[("primary",)]:
        time.sleep(0.01)


def test_a_refused_publication_is_counted_by_its_code(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, "vendor-a.com/fw@1", {"num-queues": QUEUES})

    def refuse() -> None:
        publish(registry, "vendor-a.com/fw@1", {"num-queues": {**QUEUES, "init_value": 2}})
        registry.put("/releases/vendor-a.com/fw@2", json={"models": 7})
        registry.put("/vendors/vendor-b.com", json={"name": "B"}, headers={"Authorization": ""})

    assert _added(registry, "profile_registry_problems_total", refuse) == {
        ("entry-changed", "put_release", ""): 1,
        ("invalid", "put_release", ""): 1,
        ("unauthorized", "put_vendor", ""): 1,
    }


def test_a_budget_that_is_hit_is_counted_by_its_reason(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "_MAX_FOLLOWING", 0)
    hungry = make_app(database_url, requests_per_minute=3, max_steps=10_000)
    with TestClient(hungry) as client:

        def hit() -> None:
            client.get("/changes", params={"after": 0, "wait": 1})
            names = [f"vendor-a.com/m{number}" for number in range(800)]
            client.post("/baseline", json={"models": names, "releases": [f"{name}@1" for name in names]})
            for _ in range(3):
                client.get("/vendors")

        added = _added(client, "profile_registry_problems_total", hit)
    assert added.pop(("too-many-requests", "none", "rate")) >= 1
    assert added == {
        ("unavailable", "list_changes", "streams"): 1,
        ("over-budget", "post_baseline", "steps"): 1,
    }


def test_streams_and_long_questions_are_reported(registry: TestClient) -> None:
    shared = registry.app.state.container  # type: ignore[attr-defined]
    with shared.shares.following(Client("one")):
        assert _only(registry, "profile_registry_streams") == 1
    assert _only(registry, "profile_registry_streams") == 0
    assert _counts(registry, "profile_registry_long_questions") == {("running",): 0, ("waiting",): 0}


_DEAD = range(2**22 + 1, 2**22 + 401)  # Beyond the largest process identifier that Linux gives.


def test_a_worker_that_starts_has_counted_nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its file is empty for a moment: opened, and not yet extended.
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").touch()
    monkeypatch.setenv(COUNTS_FOLDER, str(tmp_path))
    assert metrics.text(CollectorRegistry()) == b""


def test_dead_workers_can_be_forgotten_by_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in _DEAD:
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    monkeypatch.setenv(COUNTS_FOLDER, str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(metrics.text, [CollectorRegistry() for _ in range(8)]))
    assert texts == [b""] * 8
    assert not list(tmp_path.iterdir())
