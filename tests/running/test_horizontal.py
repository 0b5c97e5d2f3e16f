"""Several services behind PgBouncer, HAProxy and Patroni: the primary is lost, and nothing that was acknowledged is."""

import logging
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any

import httpx
import pytest

from tests.counts import full
from tests.running import cluster
from tests.running.conftest import Server, client, command, environment, running
from tests.running.load import Load, at_work
from tests.running.test_kills import NIC, check_stored, document

_LOGGER = logging.getLogger(__name__)
_SERVICES = 3
_LOSSES = full(2, short=1)
_BEFORE_SECONDS = 4
_AFTER_SECONDS = 3
_RETURN_SECONDS = 45
_PAUSE_SECONDS = 0.02
# What was published this long ago is known to every service.
_KNOWN_SECONDS = 1.5
# Of release 1, which has no such variable.
_IMPOSSIBLE = {"model": NIC, "source": "vendor-a.com/fw@1", "destination": "vendor-a.com/fw@1", "value": "nope=1"}

pytestmark = [pytest.mark.long, pytest.mark.alone]


@dataclass
class _Traffic:
    """What writers and askers do to several services, and what came of it.

    acknowledged: release numbers, with the times at which the request that was answered was sent, and was answered.
    wrong: answers that must not be given. recalled: how many answers were from memory, as of an earlier time.
    """

    servers: list[Server]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    acknowledged: dict[int, tuple[float, float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    recalled: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def on(self, *, writers: int, askers: int) -> Iterator[None]:
        """Write and ask meanwhile."""
        tasks = [self._publish] * writers + [self._ask] * askers
        with at_work(partial(self._work, task, seed) for seed, task in enumerate(tasks)):
            yield

    def _work(
        self, task: Callable[[Callable[[], httpx.Client], Random], None], seed: int, ended: threading.Event
    ) -> None:
        random = Random(seed)  # noqa: S311 (not for secrets)
        with ExitStack() as stack:
            # The last service takes no writes: memory that is known to be old answers nothing.
            servers = self.servers[:-1] if task == self._publish else self.servers
            clients = [stack.enter_context(client(server)) for server in servers]
            while not ended.is_set():
                try:
                    task(lambda: random.choice(clients), random)
                except Exception as error:  # noqa: BLE001 (the services live, so each request has an answer)
                    self._count("error", 0)
                    self.wrong.append(repr(error))
                time.sleep(_PAUSE_SECONDS)

    def _count(self, kind: str, status: int) -> None:
        with self._lock:
            self.statuses[kind, status] += 1

    def _publish(self, chosen: Callable[[], httpx.Client], _random: Random) -> None:
        """Publish a release, again and again at any service until one acknowledges it, as pipelines do."""
        with self._lock:
            number = next(self._numbers)
        deadline = time.monotonic() + _RETURN_SECONDS
        while time.monotonic() < deadline:
            sent = time.monotonic()
            status = chosen().put(f"/releases/vendor-a.com/fw@{number}", json=document(number)).status_code
            self._count("write", status)
            if status in {httpx.codes.CREATED, httpx.codes.OK}:
                with self._lock:
                    self.acknowledged[number] = (sent, time.monotonic())
                return
            time.sleep(_PAUSE_SECONDS)

    def _ask(self, chosen: Callable[[], httpx.Client], random: Random) -> None:
        with self._lock:
            known = [number for number, (_, at) in self.acknowledged.items() if time.monotonic() - at > _KNOWN_SECONDS]
        release = f"vendor-a.com/fw@{random.choice(known or [1])}"
        possible = {"model": NIC, "source": "vendor-a.com/fw@1", "destination": release, "value": "v0=1"}
        for question, expected in ((possible, True), (_IMPOSSIBLE, False)):
            answer = chosen().get("/compatibility", params=question)
            self._count("question", answer.status_code)
            if answer.status_code == httpx.codes.OK:
                body: Any = answer.json()
                self.recalled += "as_of" in body
                if [result["compatible"] for result in body["results"]] != [expected]:
                    self.wrong.append(answer.text)

    def first_after(self, moment: float) -> float | None:
        """Return when the first publication that was sent after a moment was acknowledged."""
        with self._lock:
            return min((at for sent, at in self.acknowledged.values() if sent > moment), default=None)


def test_nothing_acknowledged_is_lost_with_the_primary() -> None:
    if (lacking := cluster.missing()) is not None:
        pytest.skip(lacking)
    seconds = []
    with cluster.cluster() as nodes, ExitStack() as stack:
        migrating = environment(database_url=nodes.url, database_prepares="false")
        subprocess.run(command("migrate"), env=migrating, check=True, stdout=subprocess.DEVNULL)
        servers = [
            stack.enter_context(running(nodes.url, database_prepares="false", database_replica_url=nodes.replica_url))
            for _ in range(_SERVICES)
        ]
        Load.prepare(servers[0])
        with client(servers[0]) as registry:
            registry.put("/releases/vendor-a.com/fw@1", json=document(1)).raise_for_status()
        traffic = _Traffic(servers)
        with traffic.on(writers=3, askers=4):
            lost = None
            for _ in range(_LOSSES):
                if lost is not None:
                    # The old primary comes back as a standby: what it alone had was never acknowledged.
                    nodes.start_node(lost)
                nodes.wait_until(lambda: {"leader", "sync_standby"} <= set(nodes.roles().values()))
                time.sleep(_BEFORE_SECONDS)
                lost = nodes.primary()
                nodes.kill(lost)
                began = time.monotonic()
                while (returned := traffic.first_after(began)) is None:
                    assert time.monotonic() - began < _RETURN_SECONDS, (nodes.roles(), traffic.statuses)
                    time.sleep(0.05)
                seconds.append(returned - began)
                time.sleep(_AFTER_SECONDS)
        for server in servers:
            check_stored(server, [1, *traffic.acknowledged])
    _LOGGER.info(
        "writes returned after %s s (ttl %d s); %s, %d answers from memory",
        ", ".join(f"{second:.1f}" for second in seconds),
        cluster.PATIENCE["ttl"],
        dict(traffic.statuses),
        traffic.recalled,
    )
    assert traffic.wrong == []
    assert {status for kind, status in traffic.statuses if kind == "question"} <= {200, 503}
    assert {status for kind, status in traffic.statuses if kind == "write"} <= {200, 201, 503}
    # Only what was sent again, because its first answer was lost, was there already.
    assert traffic.statuses["write", 200] <= traffic.statuses["write", 503]
