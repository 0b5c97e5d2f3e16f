"""A registry that answers over HTTP, with a fleet whose hosts differ in what they accept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.adapters.asking import Asker
from app.client import Registry
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
def fleet_in(folder: Path) -> Iterator[Server]:
    """Yield a running registry with the fleet."""
    with running_anew(folder) as server:
        with admin(server) as registry:
            fill(registry)
        yield server


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
