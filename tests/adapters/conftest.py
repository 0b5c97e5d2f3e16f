"""A registry that answers over HTTP, with a fleet whose hosts differ in what they accept."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import SecretStr

from app.adapters.asking import Asker
from app.cli.client import Registry as CommandLineRegistry
from app.cli.demonstration import publish_sample
from app.client import Registry
from app.settings import ClientSettings
from tests.conftest import TOKEN
from tests.running.conftest import Server, running_anew

NIC = "vendor-a.com/nic"
PROFILE = "vendor-a.com/nic-8"
OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
_QUEUES: dict[str, Any] = {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": ["1-4"]}
# A VM with a card of eight queues, as the key/value pairs of a scheduler state it.
PROPERTIES = {"dpr:nic0.model": NIC, "dpr:nic0.profile": PROFILE}


def fill(registry: Registry) -> None:
    """Publish two releases of a card, and register four hosts: old-* have four queues, new-* eight."""
    registry.put("/vendors/vendor-a.com", {})
    registry.put(f"/releases/{OLD}", {"models": {NIC: {"variables": {"num-queues": _QUEUES}}}})
    profile = {"name": PROFILE, "values": {NIC: {"num-queues": 8}}}
    new = {**_QUEUES, "allowed_values": ["1-8"]}
    registry.put(f"/releases/{NEW}", {"models": {NIC: {"variables": {"num-queues": new}}}, "profiles": [profile]})
    for release, hosts in ((OLD, ("old-1", "old-2")), (NEW, ("new-1", "new-2"))):
        for host in hosts:
            registry.put(f"/hosts/{host}", {"releases": [release], "labels": {"rack": "r1"}})


def admin(server: Server) -> Registry:
    """Return a client with the admin's token."""
    return Registry(server.url, TOKEN)


@contextmanager
def demonstration(folder: Path) -> Iterator[Server]:
    """Yield a registry with the sample data, as make run starts it."""
    with running_anew(folder) as server:
        with CommandLineRegistry(ClientSettings(url=server.url, token=SecretStr(TOKEN))) as registry:
            publish_sample(registry)
        yield server


@contextmanager
def fleet_in(folder: Path) -> Iterator[Server]:
    """Yield a running registry with the fleet."""
    with running_anew(folder) as server:
        with admin(server) as registry:
            fill(registry)
        yield server


@contextmanager
def endless(seconds: float = 0.05) -> Iterator[str]:
    """Yield the URL of a server whose answers trickle, a byte every so many seconds, and never end."""
    stop = Event()

    def trickle(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
            while not stop.wait(seconds):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.settimeout(None)
                Thread(target=trickle, args=(connection,), daemon=True).start()

        thread = Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


class Trickling(Registry):
    """A client of a registry whose answers trickle, and never end, once the event is set."""

    def __init__(self, url: str, endless_url: str) -> None:
        super().__init__(url, retry_seconds=0, timeout_seconds=10)
        self.trickles = Event()
        self._other = Registry(endless_url, retry_seconds=0, timeout_seconds=10)

    def get(self, path: str, **parameters: Any) -> Any:
        """Return an answer, or never."""
        return self._other.get(path, **parameters) if self.trickles.is_set() else super().get(path, **parameters)

    def close(self) -> None:
        """Close the connections."""
        self._other.close()
        super().close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running registry with the fleet, for tests that change nothing."""
    with fleet_in(tmp_path_factory.mktemp("fleet")) as server:
        yield server


@pytest.fixture
def own_fleet(tmp_path: Path) -> Iterator[Server]:
    """Yield a running registry with the fleet, for one test alone."""
    with fleet_in(tmp_path) as server:
        yield server


@pytest.fixture
def ask() -> Iterator[Callable[..., Asker]]:
    """Yield a function that makes askers, whose connections are closed at the end of the test."""
    askers: list[Asker] = []

    def make(*arguments: Any, **options: Any) -> Asker:
        askers.append(Asker(*arguments, **options))
        return askers[-1]

    yield make
    for asker in askers:
        asker.close()
