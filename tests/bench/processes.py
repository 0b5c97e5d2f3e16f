"""The measured processes: the service as in production and the floor."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.conftest import TOKEN

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60


class Served:
    """A server process with its workers."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    @property
    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        return cpu_of(self._process)

    @property
    def resident(self) -> int:
        """Return the resident bytes of the largest process."""
        largest: int = max(
            process.memory_info().rss for process in (self._process, *self._process.children(recursive=True))
        )
        return largest


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its descendants so far."""
    total = 0.0
    for child in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    # The CPU time of ended children belongs to the process that waited for them.
    return total + sum(process.cpu_times()[2:4])


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def service(database_url: str, *, workers: int = 1, **settings: str) -> Iterator[Served]:
    """Yield the service, run as in production."""
    port = free_port()
    command = ["-m", "app.cli", "serve", "--port", str(port), "--workers", str(workers), "--no-access-log"]
    environment = {"REGISTRY_DATABASE_URL": database_url, "REGISTRY_ADMIN_TOKEN": TOKEN}
    environment |= {f"REGISTRY_{name.upper()}": value for name, value in settings.items()}
    with _started(command, environment, port, "/readyz") as served:
        yield served


@contextmanager
def floor(kind: str, answer: Path) -> Iterator[Served]:
    """Yield the floor of a kind of question (tests.bench.floor); it answers with the content of a file."""
    port = free_port()
    command = ["-m", "uvicorn", "tests.bench.floor:create", "--factory", "--port", str(port), "--no-access-log"]
    environment = {"FLOOR_KIND": kind, "FLOOR_ANSWER": str(answer)}
    with _started([*command, "--log-level", "warning"], environment, port, "/ready") as served:
        yield served


@contextmanager
def _started(arguments: list[str], environment: Mapping[str, str], port: int, ready: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url + ready, process)
        yield Served(process, url)
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    message = f"nothing answers at {url}"
    raise TimeoutError(message)
