"""A browser gets every error as a page; a program gets the same error as JSON."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.api import guard
from app.main import service
from app.settings import Settings
from app.storage.replica import Databases
from tests.api.stories import problem
from tests.conftest import AUTHORIZATION, NO_LIMITS, TOKEN, make_app, shared_registry
from tests.pages.test_pages import Page
from tests.pages.world import FIRMWARE, NIC, fill

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

unchanged = shared_registry(fill)


def error_page(response: Any, status: int, code: str) -> Page:
    """Check that a response is the page of an error, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert "Accept" in response.headers["vary"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    page = Page(response)
    assert f"/help/{code}" in page.links
    assert "What helps:" in page.text
    return page


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not-found"),
        ("GET", "/models/vendor-a.com/none", 404, "unknown-model"),
        ("DELETE", "/vendors", 405, "method-not-allowed"),
        ("GET", "/vendors?limit=0", 422, "invalid"),
        ("GET", "/vendors/", 308, "moved"),
        ("GET", "/ui/static/0/none.css", 404, "not-found"),
        ("POST", "/compatibility", 415, "unsupported-media-type"),
        ("GET", "/checkpoint", 404, "unsigned"),
        ("GET", "/ui/none", 404, "not-found"),
        ("GET", "/help/none", 404, "unknown-help"),
    ],
)
def test_a_browser_gets_a_page_and_a_program_json(
    unchanged: TestClient, method: str, path: str, status: int, code: str
) -> None:
    def ask(**headers: str) -> Any:
        content_type = {"Content-Type": "text/xml"} if method == "POST" else {}
        content = b"<x/>" if method == "POST" else None
        return unchanged.request(
            method, path, headers={**headers, **content_type}, content=content, follow_redirects=False
        )

    seen = ask(**BROWSER)
    error_page(seen, status, code)
    # Errors of pages are pages for everybody.
    if not path.startswith(("/ui/none", "/help")):
        for accept in ("*/*", "application/json", "application/problem+json", "application/json, text/html"):
            told = ask(Accept=accept)
            problem(told, status, code)
            for name in ("allow", "location", "retry-after", "www-authenticate", "cache-control", "vary"):
                assert told.headers.get(name) == seen.headers.get(name), name


def test_a_page_of_an_error_lists_its_faults_with_their_codes(unchanged: TestClient) -> None:
    page = error_page(unchanged.get("/vendors?lim=0&more=1", headers=BROWSER), 422, "invalid")
    assert "more unknown parameter" in page.text
    assert page.links.count("/help/unknown-field") == 2


def test_a_refusal_of_the_gate_lists_what_would_break(unchanged: TestClient) -> None:
    variables = {"num-queues": {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": [1]}}
    asked: Any = {"json": {"models": {NIC: {"variables": variables}}}}
    path = f"/releases/{FIRMWARE}@3?dry_run=true"
    page = error_page(unchanged.put(path, **asked, headers=BROWSER), 409, "evolution-gate")
    (entry, *_) = unchanged.put(path, **asked).json()["broken"]
    assert f"{entry['profile']} for {entry['model']}" in page.text


def test_what_a_client_sends_is_text_on_the_page_of_its_error(unchanged: TestClient) -> None:
    page = error_page(unchanged.get("/vendors?<script>alert(1)</script>=1", headers=BROWSER), 422, "invalid")
    assert "<script>alert(1)</script>" in page.text
    assert [told.get("src") for tag, told in page.tags if tag == "script"] != [None]


def test_the_host_header_cannot_break_a_page(unchanged: TestClient) -> None:
    for host in ("[", "a b", "registry.example:x", ""):
        response = unchanged.get("/ui/none", headers={**BROWSER, "Host": host})
        assert response.status_code == 404


def test_a_browser_without_a_token_is_asked_for_one_by_pages_alone(database_url: str) -> None:
    with TestClient(make_app(database_url, read="token")) as closed:
        of_page = closed.get("/ui/vendors", headers=BROWSER)
        assert of_page.headers["www-authenticate"].startswith("Basic ")
        of_api = closed.get("/vendors", headers=BROWSER)
        error_page(of_api, 401, "unauthorized")
        # The API takes no password, so that no other site can use what the browser keeps.
        assert of_api.headers["www-authenticate"] == "Bearer"
        # What a refusal means is no secret.
        assert closed.get("/help/unauthorized", headers=BROWSER).status_code == 200


@pytest.fixture
def strict(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Yield a client of a service with a name of its own that answers two requests in a minute."""
    monkeypatch.setattr(guard, "_HELD_SECONDS", 0.0)
    chosen = {**NO_LIMITS, "requests_per_minute": 2, "hosts": ["registry.example"]}
    settings = Settings(database_url=database_url, admin_token=SecretStr(TOKEN), **chosen)
    with TestClient(service(settings), base_url="http://registry.example", raise_server_exceptions=False) as client:
        yield client


def test_what_the_guard_refuses_is_a_page_too(strict: TestClient) -> None:
    misdirected = strict.get("/vendors", headers={**BROWSER, "Host": "other.example"})
    error_page(misdirected, 421, "unknown-host-name")
    for _ in range(2):
        assert strict.get("/vendors").status_code == 200
    refused = strict.get("/vendors", headers=BROWSER)
    error_page(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"]
    assert refused.headers["ratelimit"]
    problem(strict.get("/vendors"), 429, "too-many-requests")


def test_a_lost_database_is_a_page_that_names_the_cause(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise sa.exc.TimeoutError

    with TestClient(make_app(database_url)) as client:
        monkeypatch.setattr(Databases, "reading", lost)
        response = client.get("/vendors", headers=BROWSER)
        page = error_page(response, 503, "unavailable")
        assert "/help/unavailable#busy" in page.links
        assert response.headers["retry-after"]
        assert 'id="busy"' in client.get("/help/unavailable").text


def test_an_internal_error_is_a_page_with_the_id_of_the_request(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    settings = Settings(database_url=database_url, admin_token=SecretStr(TOKEN))
    monkeypatch.setattr(Databases, "reading", broken)
    with TestClient(service(settings), raise_server_exceptions=False) as client:
        for path in ("/vendors", "/ui/vendors"):
            response = client.get(path, headers={**BROWSER, "X-Request-ID": "id-of-this"})
            page = error_page(response, 500, "internal-error")
            assert "id-of-this" in page.text
            assert response.headers["x-request-id"] == "id-of-this"
        problem(client.get("/vendors", headers=AUTHORIZATION), 500, "internal-error")


def test_head_has_the_headers_of_the_page_alone(unchanged: TestClient) -> None:
    response = unchanged.head("/nothing", headers=BROWSER)
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert response.content == b""
