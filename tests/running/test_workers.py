"""A service with more than one worker."""

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import fresh_database
from tests.running.conftest import TLS, Server, running, wait_until_ready

_REQUESTS = 40


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


def _ask(server: Server) -> None:
    for _ in range(_REQUESTS):
        # Each with a connection of its own, so that any of the workers may take it.
        assert httpx.get(f"{server.url}/vendors", verify=TLS).is_success


def _count(server: Server) -> float:
    metrics = httpx.get(f"{server.url}/metrics", verify=TLS).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "profile_registry_requests_total" and sample.labels["operation"] == "list_vendors"
    )
