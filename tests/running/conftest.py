"""Fixtures that run servers as processes."""

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

from tests.conftest import AUTHORIZATION, TOKEN, fresh_database
from tests.counts import full

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60
# To read the certificates for each client anew takes longer than its requests.
TLS = httpx.create_ssl_context()
_SERVERS = full(4, short=2)


def environment(root: Path = ROOT, **settings: str) -> dict[str, str]:
    """Return the environment of a process of the registry; root: the checkout that it runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    return {**kept, "PYTHONPATH": str(root), **{f"REGISTRY_{name.upper()}": value for name, value in settings.items()}}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def wait_until_ready(url: str) -> None:
    """Wait until the registry at a URL answers; raises TimeoutError."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", verify=TLS).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    message = f"the server at {url} did not start"
    raise TimeoutError(message)


class Server:
    """A server process that can be killed and restarted."""

    def __init__(self, database_url: str, workers: int = 1, root: Path = ROOT, **settings: str) -> None:
        """root: the checkout that it runs. settings: further ones."""
        self._settings = settings
        self._root = root
        self._database_url = database_url
        self._workers = workers
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self._process = subprocess.Popen(
            command(
                *("serve", "--port", str(self.port), "--workers", str(self._workers)),
                *("--no-migrate", "--no-access-log"),
            ),
            cwd=self._root,
            env=environment(self._root, database_url=self._database_url, admin_token=TOKEN, **self._settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_ready(self.url)

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def worker_processes(self) -> list[psutil.Process]:
        """Return the worker processes of the server, if it has more than one worker."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children()

    def kill(self) -> None:
        """Kill the process at once, as the loss of its machine would."""
        if self._process is not None:
            workers = [] if self._process.poll() is not None else self.worker_processes
            self._process.send_signal(signal.SIGKILL)
            for worker in workers:
                worker.kill()
            self._process.wait()


@contextmanager
def running(database_url: str, workers: int = 1, root: Path = ROOT, **settings: str) -> Iterator[Server]:
    """Yield a running server; root: the checkout that it runs; settings: further ones."""
    server = Server(database_url, workers, root, **settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def running_anew(folder: Path) -> Iterator[Server]:
    """Yield a running server on a new SQLite database in a folder."""
    url = f"sqlite:///{folder}/r.db"
    subprocess.run(command("migrate"), env=environment(database_url=url), check=True, stdout=subprocess.DEVNULL)
    with running(url) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """Yield servers on one database, for all tests of a file."""
    with fresh_database(request.param, request) as database_url, ExitStack() as stack:
        yield [stack.enter_context(running(database_url)) for _ in range(_SERVERS)]


def client(server: Server) -> httpx.Client:
    """Return a client of a server, with the admin's token."""
    return httpx.Client(base_url=server.url, headers=AUTHORIZATION, timeout=120, verify=TLS)


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
    """Return the whole feed or the whole audit."""
    items: list[Any] = []
    after = 0
    while True:
        page = registry.get(path, params={"limit": 1000, "after": after}).json()
        items += page["items"]
        if page["next"] is None:
            return items
        after = page["next"]
