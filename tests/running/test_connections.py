"""Connections: headers are limited, and what makes no progress is ended."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from app.api import connection
from app.api.connection import Connection
from tests.api.serving import served
from tests.conftest import make_app


@pytest.fixture
def port(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port of a service whose patience is short."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 1)
    monkeypatch.setattr(connection, "BODY_SECONDS", 1)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1)
    with served(make_app(database_url), http=Connection) as url:
        yield int(url.rpartition(":")[2])


def answers(port: int, *parts: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send the parts of a request; return what is answered until the connection ends, and after how long."""
    received, started = b"", time.monotonic()
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
            while chunk := client.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    return received, time.monotonic() - started


def refused(received: bytes) -> tuple[int, str]:
    """Return the status and the code of problem details."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return int(head.split()[1]), json.loads(body)["code"]


REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST /compatibility HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


def test_headers_are_limited(port: int) -> None:
    assert refused(answers(port, REQUEST, b"X: " + b"a" * 66_000 + b"\r\n\r\n")[0]) == (431, "headers-too-large")
    assert refused(answers(port, b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\n\r\n")[0]) == (431, "headers-too-large")
    # Nothing waits for the end of headers that are too large already.
    received, seconds = answers(port, REQUEST, *[b"X: " + b"a" * 9_000 + b"\r\n"] * 9)
    assert refused(received) == (431, "headers-too-large")
    assert seconds < 3


@pytest.mark.parametrize("parts", [(b"GET /heal",), (REQUEST,), (BODY,), (BODY, b"{")])
def test_a_request_that_makes_no_progress_is_refused(port: int, parts: tuple[bytes, ...]) -> None:
    received, seconds = answers(port, *parts)
    assert refused(received) == (408, "too-slow")
    assert 0.9 < seconds < 5


def test_a_connection_without_a_request_is_closed(port: int) -> None:
    received, seconds = answers(port)
    assert received == b""
    assert 0.9 < seconds < 5


def test_an_address_has_only_so_many_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    whole = REQUEST + b"Connection: close\r\n\r\n"
    with (
        closing(socket.create_connection(("127.0.0.1", port))),
        closing(socket.create_connection(("127.0.0.1", port))),
    ):
        time.sleep(0.2)
        assert refused(answers(port, whole)[0]) == (429, "too-many-requests")
        with closing(socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))) as other:
            other.sendall(whole)
            assert other.recv(65536).startswith(b"HTTP/1.1 200 OK")
    time.sleep(0.2)
    assert answers(port, whole)[0].startswith(b"HTTP/1.1 200 OK")


def test_a_trusted_proxy_has_any_number_of_connections(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 0)
    for trusted, status in (("127.0.0.0/8", b"200"), ("127.0.0.1", b"200"), ("*", b"200"), ("10.0.0.0/8", b"429")):
        proxies = {"proxy_headers": True, "forwarded_allow_ips": [trusted]}
        with served(make_app(database_url), http=Connection, **proxies) as url:
            received, _ = answers(int(url.rpartition(":")[2]), REQUEST + b"Connection: close\r\n\r\n")
        assert received.split()[1] == status


def test_a_request_that_comes_in_pieces_is_answered(port: int) -> None:
    received, _ = answers(port, b"GET /healthz HT", b"TP/1.1\r\nHost: x\r\n", b"Connection: close\r\n\r\n", pause=0.2)
    assert received.startswith(b"HTTP/1.1 200 OK")
    body = b'{"devices": [{"model": "a.example/b"}]}' + b" " * 60_000
    head = f"POST /compatibility HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    pieces = [body[start : start + 10_000] for start in range(0, len(body), 10_000)]
    received, seconds = answers(port, head.encode(), *pieces, pause=0.3)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert seconds > 1.5


def test_requests_that_do_not_wait_for_each_other_are_answered_in_turn(port: int) -> None:
    whole = REQUEST + b"\r\n"
    received, _ = answers(port, whole * 3 + BODY)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"code":"too-slow"') <= 1


def test_what_is_not_http_gets_problem_details(port: int) -> None:
    assert refused(answers(port, b"nonsense\r\n\r\n")[0]) == (400, "malformed-http")


def test_an_answer_that_nobody_reads_is_abandoned(port: int) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        client.sendall(request * 40)
        time.sleep(4)
        received = 0
        with suppress(ConnectionError):
            while chunk := client.recv(65536):
                received += len(chunk)
    assert received < 40 * 200_000
