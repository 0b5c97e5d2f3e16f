"""Following the feed: what can change what hosts accept is looked at, and whatever was missed heals."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from app.adapters.following import IRRELEVANT, Follower, Look
from app.client import Registry, RegistryError
from app.domain.publishing.change import ChangeKind
from tests.adapters.conftest import OLD, admin
from tests.running.conftest import Server

_PATIENCE_SECONDS = 20


class Looks:
    """Records looks; fails while it is told to."""

    def __init__(self) -> None:
        self.seen: list[Look] = []
        self.fails = False

    def __call__(self, look: Look) -> None:
        """Record a look."""
        if self.fails:
            message = "the scheduler is away"
            raise OSError(message)
        self.seen.append(look)

    def until(self, is_seen: Callable[[list[Look]], bool]) -> None:
        """Wait until what was seen meets a condition."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_seen(self.seen):
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.02)

    @property
    def full(self) -> int:
        """Return the number of looks at everything."""
        return sum(look.changes is None for look in self.seen)

    def kinds(self) -> list[str]:
        """Return the kinds of the changes that were seen one by one."""
        return [change["kind"] for look in self.seen for change in look.changes or ()]


@contextmanager
def following(server: Server, looks: Looks, **options: Any) -> Iterator[None]:
    """Follow a server meanwhile."""
    stop = Event()
    with Registry(server.url, retry_seconds=0, timeout_seconds=5) as registry:
        follower = Follower(registry, looks, **{"wait_seconds": 1, "pause_seconds": 0.05, **options})
        thread = Thread(target=follower.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_PATIENCE_SECONDS)
            assert not thread.is_alive()


def test_it_looks_at_everything_once_and_then_at_what_changes(own_fleet: Server) -> None:
    looks = Looks()
    with following(own_fleet, looks), admin(own_fleet) as registry:
        looks.until(lambda seen: len(seen) == 1)
        assert looks.full == 1
        registry.put("/vendors/vendor-b.com", {})  # changes nothing that a host accepts
        registry.put("/hosts/old-1", {"releases": [OLD], "labels": {"rack": "r2"}})
        looks.until(lambda seen: len(seen) > 1)
        registry.patch(f"/releases/{OLD}", {"state": "retired"})
        looks.until(lambda _: "release-state-changed" in looks.kinds())
    assert looks.kinds() == ["host-changed", "release-state-changed"]
    assert looks.full == 1


def test_after_an_outage_it_looks_at_everything(own_fleet: Server) -> None:
    looks = Looks()
    with following(own_fleet, looks):
        looks.until(lambda seen: len(seen) == 1)
        own_fleet.kill()
        time.sleep(0.5)
        own_fleet.start()
        looks.until(lambda _: looks.full == 2)
    assert len(looks.seen) == 2


def test_a_look_that_fails_is_repeated_as_a_look_at_everything(
    own_fleet: Server, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks()
    with following(own_fleet, looks), admin(own_fleet) as registry:
        looks.until(lambda seen: len(seen) == 1)
        looks.fails = True
        registry.delete("/hosts/old-1")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while "the scheduler is away" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        looks.fails = False
        looks.until(lambda _: looks.full == 2)
    # Not once for each attempt.
    assert caplog.text.count("the scheduler is away") == 1
    assert looks.kinds() == []


def test_whether_the_registry_is_heard_of_is_told_at_each_step(own_fleet: Server) -> None:
    looks = Looks()
    heard: list[Exception | None] = []
    with following(own_fleet, looks, heard=heard.append):
        # The look, and waits without changes.
        looks.until(lambda _: len(heard) > 2)
        assert heard == [None] * len(heard)
        own_fleet.kill()
        looks.until(lambda _: isinstance(heard[-1], RegistryError))
        own_fleet.start()
        looks.until(lambda _: heard[-1] is None)
    assert looks.full == 2


def test_very_many_changes_are_one_look_at_everything(own_fleet: Server) -> None:
    looks = Looks()
    with following(own_fleet, looks), admin(own_fleet) as registry:
        looks.until(lambda seen: len(seen) == 1)
        registry.post("/hosts", {"hosts": {f"h{number}": {"releases": [OLD]} for number in range(1001)}})
        looks.until(lambda _: looks.full == 2)
    assert looks.kinds() == []


def test_it_looks_at_everything_from_time_to_time(fleet: Server) -> None:
    looks = Looks()
    with following(fleet, looks, look_seconds=0.5):
        looks.until(lambda _: looks.full > 2)
    assert looks.kinds() == []


class SetBack(Registry):
    """A registry whose history before the position of its client is another one from some time on."""

    link = "sha256:first"

    def get(self, path: str, **parameters: Any) -> Any:
        """Return a page of the feed."""
        assert path == "/changes"
        time.sleep(0.01)
        item = {"seq": 3, "kind": "host-changed", "link": self.link}
        items = [item] if parameters["after"] == 2 else []
        return {"registry": "r", "head": 3, "link": self.link, "items": items, "next": None}


def test_a_registry_that_was_set_back_is_looked_at_as_a_whole() -> None:
    looks = Looks()
    stop = Event()
    with SetBack("http://registry") as registry:
        thread = Thread(target=Follower(registry, looks).run, args=(stop,))
        thread.start()
        looks.until(lambda _: looks.full == 1)
        time.sleep(0.1)
        assert looks.full == 1
        registry.link = "sha256:other"
        looks.until(lambda _: looks.full == 2)
        stop.set()
        thread.join()
    assert looks.full == 2


def test_kinds_of_changes_that_are_left_out_exist() -> None:
    assert {kind.value for kind in ChangeKind} >= IRRELEVANT
