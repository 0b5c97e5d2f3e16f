"""Several workers of one service."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.running.conftest import Server, running

_REQUESTS = 40


@pytest.mark.parametrize("workers", [1, 2])
def test_any_worker_tells_what_all_have_counted(database_url: str, workers: int) -> None:
    with running(database_url, workers) as server:
        _ask(server)
        assert {_count(server) for _ in range(_REQUESTS)} == {_REQUESTS}


def test_what_a_lost_worker_has_counted_stays(database_url: str) -> None:
    with running(database_url, workers=2) as server:
        _ask(server)
        busiest = max(server.worker_processes, key=lambda each: each.cpu_times().user)
        busiest.kill()
        server.wait_until_ready()
        assert _count(server) == _REQUESTS


def _ask(server: Server) -> None:
    for _ in range(_REQUESTS):
        # Each with a connection of its own, so that any of the workers may take it.
        assert httpx.get(f"{server.url}/vendors").is_success


def _count(server: Server) -> float:
    told = httpx.get(f"{server.url}/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name == "profile_registry_requests_total" and sample.labels["operation"] == "list_vendors"
    )
