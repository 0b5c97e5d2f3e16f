"""With the database away, memory answers questions for a bounded time and says so; everything else is a 503."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from app.api import guard
from app.storage import database
from app.storage.look import PATIENCE_SECONDS
from tests import postgresql
from tests.api.stories import NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, make_app
from tests.running.test_outages import migrate

RELEASE = "vendor-a.com/fw@1"
OTHER = "vendor-a.com/fw@2"
QUESTION = {
    "devices": [{"model": NIC, "release": RELEASE, "values": {"queues": 2}}],
    "destinations": [{"releases": [RELEASE]}],
}
# Not yet in memory when the database goes away.
UNREAD = {**QUESTION, "destinations": [{"releases": [OTHER]}]}
_READY_SECONDS = 20


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not hold back refusals to clients without a token."""
    monkeypatch.setattr(guard, "_HELD_SECONDS", 0.0)


@pytest.fixture(scope="module")
def store() -> Iterator[postgresql.Server]:
    with postgresql.server() as running:
        migrate(running.url)
        with TestClient(make_app(running.url), headers=AUTHORIZATION) as registry:
            vendor(registry)
            for release in (RELEASE, OTHER):
                assert publish(registry, release, {"queues": QUEUES}).status_code == 201
            assert registry.put("/hosts/host-1", json={"releases": [RELEASE]}).is_success
        yield running


@contextmanager
def serving(store: postgresql.Server, **settings: Any) -> Iterator[TestClient]:
    """Yield a client, without a token, of a service that has one question in memory."""
    with TestClient(make_app(f"{store.url}?connect_timeout=2", **settings)) as registry:
        assert ask(registry, **({} if settings.get("read") != "token" else AUTHORIZATION)).status_code == 200
        yield registry


@contextmanager
def killed(store: postgresql.Server) -> Iterator[None]:
    """Kill the database for a while."""
    store.kill()
    try:
        yield
    finally:
        store.start()


def ask(registry: TestClient, question: Any = None, **headers: str) -> httpx2.Response:
    return registry.post("/compatibility", json=question or QUESTION, headers=headers)


def wait_until_back(registry: TestClient) -> httpx2.Response:
    """Wait until a question is answered from the database again; return the answer."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        answer = ask(registry)
        if answer.status_code == 200 and "as_of" not in answer.json():
            return answer
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def _metric(registry: TestClient, name: str) -> float:
    lines = registry.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"profile_registry_{name} "))


def test_memory_answers_while_the_database_is_away(store: postgresql.Server) -> None:
    with serving(store) as registry:
        short = {"model": NIC, "source": RELEASE, "destination": RELEASE}
        baseline = {"models": [NIC], "releases": [RELEASE]}
        before = [
            ask(registry).json(),
            registry.get("/compatibility", params=short).json(),
            registry.post("/baseline", json=baseline).json(),
            registry.get("/support-matrix").json(),
        ]
        counted = _metric(registry, "recalled_answers_total")
        time.sleep(2 * database.FRESH_SECONDS)
        began = database.now()
        ask(registry)
        with killed(store):
            answers = [
                ask(registry),
                registry.get("/compatibility", params=short),
                registry.post("/baseline", json=baseline),
                registry.get("/support-matrix"),
            ]
            for answer, fresh in zip(answers, before, strict=True):
                assert answer.status_code == 200, answer.text
                body = answer.json()
                as_of = body.pop("as_of")
                assert as_of <= database.now()
                assert answer.headers["Registry-As-Of"] == as_of
                assert body == fresh
            assert min(answer.json()["as_of"] for answer in answers) >= began
            csv = registry.get("/support-matrix", headers={"Accept": "text/csv"})
            assert (csv.status_code, csv.headers["Registry-As-Of"]) == (200, answers[0].json()["as_of"])
            # An answer stays the same as long as the database is away.
            tag = answers[1].headers["ETag"]
            assert registry.get("/compatibility", params=short, headers={"If-None-Match": tag}).status_code == 304
            assert _metric(registry, "recalled_answers_total") == counted + 6
            assert _metric(registry, "database_away_seconds") > 0

            for path in ("/vendors", f"/releases/{RELEASE}", f"/diff?from={RELEASE}&to={OTHER}", "/ui/ask"):
                assert registry.get(path).status_code in {200, 503}
            for refused in (
                ask(registry, UNREAD),
                registry.get("/vendors"),
                registry.get("/compatibility", params={**short, "destination": "vendor-a.com/fw@9"}),
                registry.put("/vendors/vendor-b.com", json={}, headers=AUTHORIZATION),
            ):
                assert (refused.status_code, refused.json()["cause"]) == (503, "unreachable")
            ready = registry.get("/readyz")
            assert (ready.status_code, ready.json()["can_read"]) == (503, True)
            assert registry.get("/readyz?for=reading").json() == {"status": "away"}
        assert wait_until_back(registry).json() == before[0]
        assert "Registry-As-Of" not in ask(registry).headers
        assert ask(registry, UNREAD).status_code == 200
        assert registry.get("/readyz?for=reading").json() == {"status": "ok"}
        assert _metric(registry, "database_away_seconds") == 0


@pytest.mark.parametrize("seconds", [0, 3])
def test_memory_answers_for_a_bounded_time(store: postgresql.Server, seconds: int) -> None:
    with serving(store, database_away_seconds=seconds) as registry, killed(store):
        if seconds:
            assert "as_of" in ask(registry).json()
        time.sleep(seconds + 0.5)
        refused = ask(registry)
        assert (refused.status_code, refused.json()["cause"]) == (503, "unreachable")
        assert registry.get("/readyz?for=reading").status_code == 503
        assert "can_read" not in registry.get("/readyz").json()


def test_a_database_that_hangs_is_away_and_requests_do_not_pile_up(store: postgresql.Server) -> None:
    with serving(store) as registry:
        time.sleep(2 * database.FRESH_SECONDS)
        with store.hanging():
            began = time.monotonic()
            seconds: list[float] = []
            refused: list[int] = []

            def question(body: Any) -> None:
                answer = ask(registry, body)
                seconds.append(time.monotonic() - began)
                if body is UNREAD:
                    refused.append(answer.status_code)
                else:
                    assert "as_of" in answer.json()

            threads = [threading.Thread(target=question, args=(body,)) for body in [QUESTION, UNREAD] * 10]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(seconds) == len(threads)
            assert set(refused) == {503}
            assert max(seconds) < PATIENCE_SECONDS + 2
            # From now on nobody waits.
            for _ in range(20):
                began = time.monotonic()
                assert "as_of" in ask(registry).json()
                assert time.monotonic() - began < 0.5
            began = time.monotonic()
            assert registry.get("/readyz?for=reading").json() == {"status": "away"}
            assert time.monotonic() - began < 0.5
            # It waits for a look of its own, unless one goes on.
            assert ask(registry, UNREAD).status_code == 503
            assert time.monotonic() - began < PATIENCE_SECONDS + 2
            # The connection that hangs is given up, and a new one is tried.
            time.sleep(2 * PATIENCE_SECONDS)
            assert "as_of" in ask(registry).json()
        wait_until_back(registry)


def test_a_token_that_cannot_be_checked_reads_what_everybody_can(store: postgresql.Server) -> None:
    with serving(store, read_hosts="token") as registry:
        token = _reader(registry)
        hosts = {**QUESTION, "destinations": [{"host": "host-1"}]}
        assert ask(registry, hosts, **token).status_code == 200
        with killed(store):
            time.sleep(2 * database.FRESH_SECONDS)
            assert "as_of" in ask(registry, **token).json()
            assert "as_of" in ask(registry, hosts, **AUTHORIZATION).json()
            # It is not refused for good: it may be valid.
            assert ask(registry, hosts, **token).status_code == 503
            assert ask(registry, hosts).status_code == 401
        wait_until_back(registry)
        assert ask(registry, hosts, **token).status_code == 200


def test_nobody_reads_a_closed_registry_with_a_token_that_cannot_be_checked(store: postgresql.Server) -> None:
    with serving(store, read="token") as registry:
        token = _reader(registry)
        assert ask(registry, **token).status_code == 200
        with killed(store):
            time.sleep(2 * database.FRESH_SECONDS)
            assert ask(registry, **token).status_code == 503
            # The operator's own token is a setting.
            assert "as_of" in ask(registry, **AUTHORIZATION).json()
            assert ask(registry).status_code == 401


def test_memory_that_lacks_what_this_process_has_written_answers_nothing(store: postgresql.Server) -> None:
    with serving(store) as registry:
        assert registry.put("/hosts/host-1", json={"releases": [OTHER]}, headers=AUTHORIZATION).is_success
        with killed(store):
            assert ask(registry).status_code == 503


def _reader(registry: TestClient) -> dict[str, str]:
    created = registry.post("/tokens", json={"name": "scheduler", "role": "reader"}, headers=AUTHORIZATION)
    assert created.status_code == 201, created.text
    # Read once more: this process has written.
    assert ask(registry, **AUTHORIZATION).status_code == 200
    return {"Authorization": f"Bearer {created.json()['token']}"}
