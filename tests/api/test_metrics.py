"""The metrics that Prometheus reads."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.storage.catalog import Catalog
from tests.api.stories import NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, make_app

Counts = dict[tuple[str, ...], float]


def _counts(registry: TestClient, name: str) -> Counts:
    """Return the samples of a metric, by the values of its labels."""
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
