"""Following the feed: what an adapter has copied from the registry is renewed when hosts can accept other things."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from threading import Event
from typing import Any

from app.client import Registry, RegistryError

# Changes of what hosts accept never come from these kinds. A kind that is not known here can change it.
IRRELEVANT = frozenset({"vendor-registered", "vendor-completed", "evolution-set", "gate-overridden"})
# A wait of the feed; to stop takes as long at most.
WAIT_SECONDS = 5
# Without any change a host becomes stale, and what was copied can have been altered elsewhere.
LOOK_SECONDS = 600.0
_PAGE = 1000
_MAX_PAUSE_SECONDS = 30.0
_MAX_DOUBLINGS = 10
_LOG = getLogger(__name__)


class Confirmation:
    """When the registry last confirmed a copy of what hosts accept, and whether that is too long ago.

    Before the first answer, the copy is as old as this object. Threads can share it.
    """

    def __init__(self, hold_seconds: float) -> None:
        """hold_seconds: how long a copy holds after it was confirmed."""
        self.hold_seconds = hold_seconds
        self._at = time.monotonic()

    def confirm(self, at: float | None = None) -> None:
        """Note that the registry confirmed the copy at a time (monotonic); None: now."""
        self._at = max(self._at, time.monotonic() if at is None else at)

    @property
    def age(self) -> float:
        """The seconds since the copy was confirmed."""
        return time.monotonic() - self._at

    @property
    def remaining(self) -> float:
        """The seconds that the copy still holds; negative: since when it no longer does."""
        return self.hold_seconds - self.age

    @property
    def is_current(self) -> bool:
        """Whether the copy still holds."""
        return self.remaining >= 0


@dataclass(frozen=True, slots=True)
class Look:
    """A reason to look at the registry. changes: those since the last look; None: everything can have changed."""

    changes: Sequence[Mapping[str, Any]] | None = None


class Follower:
    """Calls a function whenever what hosts accept can have changed.

    The first call, and the next one after a failure, has no changes: it looks at everything, so that whatever was
    missed heals. If the function raises an Exception, it is called again after a pause, until it succeeds.
    """

    def __init__(
        self,
        registry: Registry,
        look: Callable[[Look], None],
        *,
        look_seconds: float = LOOK_SECONDS,
        wait_seconds: int = WAIT_SECONDS,
        pause_seconds: float = 1.0,
        heard: Callable[[Exception | None], None] = lambda _error: None,
    ) -> None:
        """look_seconds: after this long without a look at everything, there is one. wait_seconds: at most 60.

        pause_seconds: the pause after the first failure; it doubles up to 30 seconds. heard: called with None whenever
        the registry has said that everything was looked at, and with the error whenever that failed; it raises nothing.
        """
        self._registry = registry
        self._look = look
        self._look_seconds = look_seconds
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._heard = heard
        self._again = Event()

    def look_again(self) -> None:
        """Look at everything in the next step: the copy was altered."""
        self._again.set()

    def run(self, stop: Event) -> None:
        """Follow the feed until the event is set. A wait ends within wait_seconds; a look is not interrupted."""
        position: _Position | None = None
        failures = 0
        while not stop.is_set():
            try:
                position = self._step(position)
            except Exception as error:  # noqa: BLE001 (what is copied must be renewed later, whatever went wrong now)
                # What has been done of a look that failed is not known, and changes can have been missed meanwhile.
                position = None
                if not failures:
                    _LOG.warning("%s; trying again", error if isinstance(error, RegistryError) else repr(error))
                pause = min(self._pause_seconds * 2**failures, _MAX_PAUSE_SECONDS)
                failures = min(failures + 1, _MAX_DOUBLINGS)
                self._heard(error)
                # The adapters of a fleet do not come back together.
                stop.wait(pause * random.uniform(0.5, 1))  # noqa: S311 (no secret)
            else:
                if position is None:
                    continue
                if failures:
                    _LOG.warning("following the registry again from change %d", position.seq)
                    failures = 0
                self._heard(None)

    def _step(self, position: "_Position | None") -> "_Position | None":
        """Look at everything, or wait for changes and look at them; return the position after that.

        None: the next step has to look at everything.
        """
        is_asked = self._again.is_set()
        if position is None or is_asked or time.monotonic() - position.looked_at >= self._look_seconds:
            self._again.clear()
            # The head is read first: what is changed during the look is looked at after it.
            page = self._registry.get("/changes", after=0, limit=1)
            looked_at = time.monotonic()
            self._look(Look())
            return _Position(page["registry"], page["head"], page["link"], looked_at)
        page = self._registry.get("/changes", after=position.seq, limit=_PAGE, wait=self._wait_seconds)
        if not self._is_continued(position, page):
            _LOG.warning("the registry was set back before change %d; looking at everything", position.seq)
            return None
        items = page["items"]
        if not items:
            return position
        if page["next"] is not None:
            # To look at everything once takes less than to look at so many changes.
            return None
        changes = [change for change in items if change["kind"] not in IRRELEVANT]
        if changes:
            self._look(Look(changes))
        return _Position(position.registry, items[-1]["seq"], items[-1]["link"], position.looked_at)

    def _is_continued(self, position: "_Position", page: Mapping[str, Any]) -> bool:
        """Return whether a page of the feed goes on from a position: the registry has the same history (DESIGN 6)."""
        if page["registry"] != position.registry or page["head"] < position.seq:
            return False
        if not page["items"]:
            return bool(page["link"] == position.link)
        if not position.seq:
            return True
        last = self._registry.get("/changes", after=position.seq - 1, limit=1)["items"]
        return bool(last and last[0]["link"] == position.link)


@dataclass(frozen=True, slots=True)
class _Position:
    """The change up to which everything was looked at. looked_at: when everything was last looked at (monotonic)."""

    registry: str
    seq: int
    link: str
    looked_at: float
