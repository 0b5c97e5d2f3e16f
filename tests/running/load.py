"""A load of publications and questions on running servers, which counts the answers."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count

import httpx

from tests.running.conftest import Server, client
from tests.running.test_kills import NIC, document

PATHS = (
    "/releases",
    f"/compatibility?model={NIC}&source=vendor-a.com/fw@1&destination=vendor-a.com/fw@1",
    "/changes?limit=10",
    "/profiles",
)
_PAUSE_SECONDS = 0.02


@contextmanager
def at_work(tasks: Iterable[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Run each task in a thread of its own meanwhile; it ends once its event is set."""
    ended = threading.Event()
    threads = [threading.Thread(target=task, args=(ended,)) for task in tasks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class Load:
    """Publishes and asks, without end, and whatever happens to the servers.

    statuses: how many answers had which status. published: the numbers of the releases that were answered with 201.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.published: list[int] = []
        self._numbers = count(1)
        self._lock = threading.Lock()

    @staticmethod
    def prepare(server: Server) -> None:
        """Register the vendor whose releases are published."""
        with client(server) as registry:
            registry.put("/vendors/vendor-a.com", json={}).raise_for_status()
            registry.put("/implementations/vendor-a.com/fw", json={"evolution": "none"}).raise_for_status()

    @contextmanager
    def on(self, server: Server) -> Iterator[None]:
        """Put a publisher and two that ask on a server."""
        work = [self._publish, self._ask, self._ask]
        with at_work(partial(self._work, task, server) for task in work):
            yield

    def _work(self, task: Callable[[httpx.Client], None], server: Server, ended: threading.Event) -> None:
        with client(server) as registry:
            while not ended.is_set():
                # Between a kill and the new start nobody answers.
                with suppress(httpx.TransportError):
                    task(registry)
                time.sleep(_PAUSE_SECONDS)

    def _publish(self, registry: httpx.Client) -> None:
        with self._lock:
            number = next(self._numbers)
        status = registry.put(f"/releases/vendor-a.com/fw@{number}", json=document(number)).status_code
        with self._lock:
            self.statuses[status] += 1
            if status == httpx.codes.CREATED:
                self.published.append(number)

    def _ask(self, registry: httpx.Client) -> None:
        for path in PATHS:
            status = registry.get(path).status_code
            with self._lock:
                self.statuses[status] += 1
