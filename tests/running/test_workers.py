"""A service with more than one worker."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.storage.database import POOL_SIZE
from tests.conftest import fresh_database
from tests.running.conftest import TLS, Server, running, wait_until_ready

_REQUESTS = 40
_PATIENCE_SECONDS = 30


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database: which one makes no difference to what workers count."""
    with fresh_database("postgresql", request) as url:
        yield url


@pytest.mark.parametrize("workers", [1, 2])
def test_any_worker_reports_the_counts_of_all(database_url: str, workers: int) -> None:
    with running(database_url, workers) as server:
        _ask(server)
        assert {_count(server) for _ in range(_REQUESTS)} == {_REQUESTS}


def test_the_counts_of_a_lost_worker_stay(database_url: str) -> None:
    with running(database_url, workers=2) as server:
        _ask(server)
        busiest = max(server.worker_processes, key=lambda worker: worker.cpu_times().user)
        busiest.kill()
        wait_until_ready(server.url)
        assert _count(server) == _REQUESTS


def test_gauges_are_the_sum_of_the_workers_that_live(database_url: str) -> None:
    def sizes() -> set[float]:
        return {_sum(server, "profile_registry_database_pool_size") for _ in range(_REQUESTS)}

    with running(database_url, workers=2) as server:
        _wait_until(lambda: sizes() == {2 * POOL_SIZE})
        server.worker_processes[-1].kill()
        # The gauges of the killed worker are left out, those of its successor count.
        _wait_until(lambda: sizes() == {POOL_SIZE})
        _wait_until(lambda: sizes() == {2 * POOL_SIZE})


def test_any_worker_reports_the_figures_of_the_registry_once(database_url: str) -> None:
    with running(database_url, workers=2) as server:
        for name in ("build_info", "database_schema_info", "database_up"):
            assert {_sum(server, f"profile_registry_{name}") for _ in range(_REQUESTS)} == {1}


def _wait_until(is_met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ask(server: Server) -> None:
    for _ in range(_REQUESTS):
        # Each with a connection of its own, so that any of the workers may take it.
        assert httpx.get(f"{server.url}/vendors", verify=TLS).is_success


def _count(server: Server) -> float:
    return _sum(server, "profile_registry_requests_total", operation="list_vendors")


def _sum(server: Server, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric that have these labels."""
    metrics = httpx.get(f"{server.url}/metrics", verify=TLS).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    )
