"""Stopping: what follows the feed ends at once, what runs ends within the time of grace, and the log stays clean."""

import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.errors import STOPPING
from tests.conftest import AUTHORIZATION, TOKEN
from tests.running.conftest import TLS, command, environment, wait_until_ready

GRACE_SECONDS = 4
# What a process takes to notice, and to end.
MARGIN_SECONDS = 6


class Service:
    """A server process with a log that can be read."""

    def __init__(self, folder: Path, workers: int, **settings: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "log"
        variables = environment(
            database_url=f"sqlite:///{folder}/r.db",
            admin_token=TOKEN,
            grace_seconds=str(GRACE_SECONDS),
            log_requests="false",
            **settings,
        )
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command("serve", "--port", str(self.port), "--workers", str(workers)), env=variables, stderr=log
            )
        wait_until_ready(self.url)

    def stop(self) -> float:
        """Send SIGTERM; return how long the process took to end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(GRACE_SECONDS + MARGIN_SECONDS)
        return time.monotonic() - started

    @property
    def log(self) -> str:
        """What was logged."""
        return self._log.read_text()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Yield what starts a service."""
    services: list[Service] = []

    def start(workers: int = 1, **settings: str) -> Service:
        services.append(Service(tmp_path, workers, **settings))
        return services[-1]

    yield start
    for service in services:
        service.process.kill()
        service.process.wait()


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    return thread


@pytest.mark.parametrize("workers", [1, 2])
def test_streams_and_long_polls_end_at_once(serve: Callable[..., Service], workers: int) -> None:
    service = serve(workers)
    ended: dict[str, int] = {}

    def follow() -> None:
        headers = {"Accept": "text/event-stream"}
        with httpx.stream("GET", f"{service.url}/changes", headers=headers, timeout=60, verify=TLS) as stream:
            for _ in stream.iter_bytes():
                pass
            ended["stream"] = stream.status_code

    def poll() -> None:
        answer = httpx.get(f"{service.url}/changes", params={"wait": 60}, timeout=60, verify=TLS)
        ended["poll"] = answer.status_code

    threads = [in_background(follow), in_background(poll)]
    assert service.stop() < GRACE_SECONDS
    for thread in threads:
        thread.join()
    assert ended == {"stream": 200, "poll": 200}
    assert "Traceback" not in service.log


def test_a_request_that_does_not_end_is_refused_when_the_time_of_grace_is_over(serve: Callable[..., Service]) -> None:
    service = serve()
    with closing(socket.create_connection(("127.0.0.1", service.port))) as slow:
        slow.sendall(b"POST /compatibility HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.5)
        took = service.stop()
        slow.settimeout(5)
        answer = slow.recv(65536)
    assert GRACE_SECONDS <= took < GRACE_SECONDS + MARGIN_SECONDS
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"unavailable"' in answer
    assert "Traceback" not in service.log


def test_a_request_that_runs_is_finished(serve: Callable[..., Service]) -> None:
    service = serve()
    with closing(socket.create_connection(("127.0.0.1", service.port))) as slow:
        slow.sendall(b"POST /compatibility HTTP/1.1\r\nHost: x\r\nContent-Length: 48\r\n\r\n")
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        slow.sendall(b'{"devices":[{"model":"vendor-a.com/my-network"}]}'[:48])
        slow.settimeout(5)
        assert slow.recv(65536).startswith(b"HTTP/1.1 400 ")
        service.process.wait(GRACE_SECONDS + MARGIN_SECONDS)
    assert "Traceback" not in service.log


def test_writes_that_wait_for_a_lock_are_refused_and_do_not_keep_the_process(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    service = serve()
    answers: list[httpx.Response] = []
    with closing(sqlite3.connect(tmp_path / "r.db")) as other:
        other.execute("BEGIN IMMEDIATE")

        def write(number: int) -> None:
            path = f"{service.url}/vendors/vendor-{number}.com"
            answers.append(httpx.put(path, json={}, headers=AUTHORIZATION, timeout=60, verify=TLS))

        threads = [in_background(partial(write, number)) for number in range(3)]
        assert service.stop() < GRACE_SECONDS + MARGIN_SECONDS
        for thread in threads:
            thread.join()
    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [(503, STOPPING)] * 3
    assert "Traceback" not in service.log
    with closing(sqlite3.connect(tmp_path / "r.db")) as database:
        assert database.execute("SELECT count(*) FROM vendor").fetchone() == (0,)


def test_while_it_drains_it_answers_and_says_that_it_is_not_ready(serve: Callable[..., Service]) -> None:
    service = serve(drain_seconds="3")
    service.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    with httpx.Client(base_url=service.url, headers=AUTHORIZATION, verify=TLS) as registry:
        assert registry.get("/healthz").status_code == 200
        assert registry.get("/readyz").status_code == 503
        assert registry.put("/vendors/vendor-a.com", json={}).status_code == 201
    service.process.wait(3 + GRACE_SECONDS + MARGIN_SECONDS)
    assert "Traceback" not in service.log
