"""What every request passes first: shares, HEAD, addresses with a slash at the end, security headers."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.api import guard, share
from app.api.client import Client
from app.api.share import Rate
from app.main import service
from app.settings import Settings
from tests.api.stories import problem
from tests.conftest import AUTHORIZATION, NO_LIMITS, TOKEN

JSON = {"Content-Type": "application/json"}
READS = [
    "/models",
    "/changes",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/",
    "/support-matrix",
    "/vendors/none",
]


@contextmanager
def registry(database_url: str, **settings: Any) -> Iterator[TestClient]:
    """Yield a client of a service with settings of its own."""
    chosen = Settings(database_url=database_url, admin_token=SecretStr(TOKEN), **{**NO_LIMITS, **settings})
    with TestClient(service(chosen), raise_server_exceptions=False) as client:
        yield client


def test_a_client_sends_its_requests_of_a_minute_and_is_then_told_when(database_url: str) -> None:
    with registry(database_url, requests_per_minute=3) as client:
        answers = [client.get("/models") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [answer.headers["ratelimit"] for answer in answers] == [
            '"requests";r=2;t=20',
            '"requests";r=1;t=40',
            '"requests";r=0;t=60',
        ]
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
        refused = client.get("/models")
        problem(refused, 429, "too-many-requests")
        assert refused.headers["retry-after"] == "20"
        # What the platform asks is not refused, and a token has a share of its own.
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert "ratelimit" not in client.get("/metrics").headers
        assert client.get("/models", headers=AUTHORIZATION).status_code == 200


def test_who_guesses_tokens_is_slowed_down_and_logged(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    wrong = {"Authorization": "Bearer guessed"}
    with registry(database_url, wrong_tokens_per_minute=2) as client, caplog.at_level(logging.WARNING, "registry"):
        assert [client.get("/models", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]
        # The same address can still use a right one, and none.
        assert client.get("/models", headers=AUTHORIZATION).status_code == 200
        assert client.get("/models").status_code == 200
    assert [record.getMessage().split(",")[0] for record in caplog.records if record.name == "registry"] == [
        "wrong token from testclient"
    ] * 2


def test_a_token_has_a_share_of_its_own_whoever_wrote_meanwhile(database_url: str) -> None:
    with registry(database_url, requests_per_minute=50, token_requests_per_minute=70) as client:
        made = client.post("/tokens", json={"name": "scheduler", "role": "reader"}, headers=AUTHORIZATION)
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        limits = []
        for _ in range(3):
            limits.append(client.get("/models", headers=headers).headers["ratelimit-policy"])
            # What a publication does.
            client.app.state.container.tokens.forget()  # type: ignore[attr-defined]
        # The first time nobody knows it.
        assert limits == ['"requests";q=50;w=60', '"requests";q=70;w=60', '"requests";q=70;w=60']
        # The token of a page is the password of the browser.
        page = client.get("/", auth=("", made.json()["token"]))
        assert page.status_code == 200
        client.delete(f"/tokens/{made.json()['id']}", headers=AUTHORIZATION)
        problem(client.get("/models", headers=headers), 401, "unauthorized")
        assert client.get("/models").headers["ratelimit-policy"] == '"requests";q=50;w=60'


def test_the_pages_of_a_client_are_limited_and_counted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "_PAGES_PER_CLIENT", 0)
    monkeypatch.setattr(guard, "_HELD_SECONDS", 0.0)
    with registry(database_url) as client:
        refused = client.get("/ui/releases")
        assert refused.status_code == 429
        assert refused.headers["content-type"].startswith("text/html")
        assert "You have 0 pages at a time" in refused.text
        counted = 'code="too-many-requests",operation="get_releases_page",reason="pages"}'
        assert counted in client.get("/metrics").text
        assert client.get("/ui/releases", auth=("", TOKEN)).status_code == 200


def test_what_a_refused_client_tries_at_once_comes_late(database_url: str) -> None:
    with registry(database_url, requests_per_minute=1) as client:
        client.get("/models")
        started = time.monotonic()
        problem(client.get("/models"), 429, "too-many-requests")
        assert time.monotonic() - started > 1.9


def test_a_body_counts_by_what_has_arrived(database_url: str) -> None:
    body = b'{"devices": [{"model": "a.example/b"}]}' + b" " * 80_000
    with registry(database_url, requests_per_minute=100) as client:
        before = client.get("/models").headers["ratelimit"]
        # In chunks, without a length.
        assert client.post("/compatibility", content=iter([body]), headers=JSON).status_code == 200
        after = client.get("/models").headers["ratelimit"]
        used = [int(re.findall(r"r=(\d+)", text)[0]) for text in (before, after)]
        assert used[0] - used[1] >= 2 + 80_000 // 8192


def test_requests_are_spread_evenly_once_the_minute_is_used() -> None:
    rate = Rate(60)
    used = [rate.use("one") for _ in range(61)]
    assert [use.wait for use in used if use is not None] == [0] * 60 + [1]
    other = rate.use("other")
    assert other is not None
    assert other.remaining == 59
    assert Rate(0).use("one") is None


def test_what_a_question_takes_counts_as_further_requests() -> None:
    rate = Rate(60)
    rate.charge("one", 100)
    use = rate.use("one")
    assert use is not None
    assert (use.remaining, use.wait) == (0, 41)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_a_client_is_an_address_or_a_subnet(address: str | None, key: str) -> None:
    assert Client.of_address(address).key == key


@pytest.mark.parametrize("path", READS)
def test_head_answers_as_get_does_without_the_body(database_url: str, path: str) -> None:
    with registry(database_url) as client:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        changing = {"x-request-id", "date"}
        assert {name: value for name, value in head.headers.items() if name not in changing} == {
            name: value for name, value in got.headers.items() if name not in changing
        }


def test_head_of_a_stream_ends(database_url: str) -> None:
    with registry(database_url) as client:
        head = client.head("/changes", headers={"Accept": "text/event-stream"})
        assert head.headers["content-type"].startswith("text/event-stream")


def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(database_url: str) -> None:
    with registry(database_url) as client:
        moved = client.get("/vendors/?limit=1", headers={"Host": "evil.example"}, follow_redirects=False)
        problem(moved, 308, "moved")
        assert moved.headers["location"] == "/vendors?limit=1"
        for path in ("/nothing/", "//evil.example/", "/%5Cevil.example/", "//vendors/"):
            problem(client.get(f"http://testserver{path}", follow_redirects=False), 404, "not-found")


def test_an_answer_that_has_not_changed_replaces_no_policy(database_url: str) -> None:
    with registry(database_url) as client:
        page = client.get("/")
        again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304
        assert "content-security-policy" not in again.headers


@pytest.mark.parametrize("path", READS)
def test_every_answer_says_what_a_browser_can_do_with_it(database_url: str, path: str) -> None:
    with registry(database_url) as client:
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
