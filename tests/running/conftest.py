"""Servers as processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import AUTHORIZATION, TOKEN

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a process of the registry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return {**kept, "PYTHONPATH": str(ROOT), **{f"REGISTRY_{name.upper()}": value for name, value in settings.items()}}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


class Server:
    """A server process, which may be killed and started again."""

    def __init__(self, database_url: str, workers: int = 1) -> None:
        self._database_url = database_url
        self._workers = workers
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self._process = subprocess.Popen(
            command(
                *("serve", "--port", str(self.port), "--workers", str(self._workers)),
                *("--no-migrate", "--no-access-log"),
            ),
            env=environment(database_url=self._database_url, admin_token=TOKEN),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        message = "the server did not start"
        raise TimeoutError(message)

    @property
    def worker_processes(self) -> list[psutil.Process]:
        """The processes of its workers, where it has several."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children()

    def kill(self) -> None:
        """Kill the process as a lost machine would: it does nothing more."""
        if self._process is not None:
            workers = [] if self._process.poll() is not None else self.worker_processes
            self._process.send_signal(signal.SIGKILL)
            for worker in workers:
                worker.kill()
            self._process.wait()


@contextmanager
def running(database_url: str, workers: int = 1) -> Iterator[Server]:
    """Yield a server that runs."""
    server = Server(database_url, workers)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def servers(database_url: str) -> Iterator[list[Server]]:
    """Yield four servers on one database."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(database_url)) for _ in range(4)]


def client(server: Server) -> httpx.Client:
    """Return a client of a server, with the admin's token."""
    return httpx.Client(base_url=server.url, headers=AUTHORIZATION, timeout=120)


def every(registry: httpx.Client, path: str) -> list[Any]:
    """Return all items of a list."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = registry.get(path, params={"limit": 1000, **cursor}).json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def changes(registry: httpx.Client, path: str = "/changes") -> list[Any]:
    """Return the whole feed, or the whole audit."""
    items: list[Any] = []
    after = 0
    while True:
        page = registry.get(path, params={"limit": 1000, "after": after}).json()
        items += page["items"]
        if page["next"] is None:
            return items
        after = page["next"]
