"""Many hostile clients beside a few honest ones, which have to be answered quickly all the same."""

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeAlias

import httpx
import psutil
import pytest

from tests.conftest import AUTHORIZATION
from tests.counts import full
from tests.running.conftest import ROOT, TLS, Server, client, running_anew
from tests.running.dear import WIDE, publish_steps, publish_wide

SECONDS = full(120, short=20)
HOSTILE = full(200, short=50)
PAUSE_SECONDS = 0.1
# How long the honest ones wait at the 99th percentile, in seconds: three times what is measured (docs, "the inside").
MOST_SECONDS = {
    "health": 1.5,
    "readiness": 3.0,
    "metrics": 3.0,
    "question": 3.0,
    # A turn is waited for half a minute.
    "question without a token": 45.0,
    "publication": 6.0,
}
MOST_MEGABYTES = 600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Yield a server whose content is dear to compare."""
    with running_anew(tmp_path) as server:
        with client(server) as registry:
            publish_wide(registry, 8)
            publish_steps(registry)
            for number in range(100):
                document = {"name": f"vendor-a.com/p{number}", "values": {WIDE: {"v0": number}}}
                assert registry.post("/profiles", json=document).status_code == 201
        yield server


QUESTION = {
    "devices": [{"model": WIDE, "release": f"{WIDE}@1", "profile": "vendor-a.com/p1"}],
    "destinations": [{"releases": [f"{WIDE}@2"]}, {"releases": [f"{WIDE}@3"]}],
}
# Operators watch, orchestrators ask, and vendors publish all the time.
Request: TypeAlias = tuple[str, str, str]
WATCHING: list[Request] = [
    ("health", "GET", "/healthz"),
    ("readiness", "GET", "/readyz"),
    ("metrics", "GET", "/metrics"),
]
ASKING: list[Request] = [("question", "POST", "/compatibility")]
PUBLISHING: list[Request] = [("publication", "POST", "/profiles")]
# One of those that ask has no token.
WITHOUT_TOKEN: list[Request] = [("question without a token", "POST", "/compatibility")]
HONEST = [WATCHING] * 2 + [ASKING] * 4 + [WITHOUT_TOKEN] + [PUBLISHING] * 3


class Honest(threading.Thread):
    """An honest client: it sends its requests one after the other, with pauses."""

    def __init__(self, url: str, number: int, requests: list[Request], deadline: float) -> None:
        super().__init__()
        self._token = None if requests is WITHOUT_TOKEN else _token(url, f"honest-{number}", requests)
        # Without a token a client has the same share as each hostile one, and can be asked to come again.
        self._expected = {200, 201} if self._token else {200, 429, 503}
        self._url, self._number, self._requests, self._deadline = url, number, requests, deadline
        self.seconds: dict[str, list[float]] = {what: [] for what, _, _ in requests}
        self.wrong: list[str] = []

    def run(self) -> None:
        """Send requests until the deadline."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        with httpx.Client(base_url=self._url, headers=headers, timeout=60, verify=TLS) as registry:
            for round_ in itertools.count():
                profile = {"name": f"vendor-a.com/of-{self._number}-{round_}", "values": {WIDE: {"v1": round_}}}
                bodies: dict[str, Any] = {"/compatibility": QUESTION, "/profiles": profile}
                for what, method, path in self._requests:
                    if time.monotonic() > self._deadline:
                        return
                    started = time.monotonic()
                    answer = registry.request(method, path, json=bodies.get(path))
                    self.seconds[what].append(time.monotonic() - started)
                    if answer.status_code not in self._expected:
                        self.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")
                    time.sleep(PAUSE_SECONDS)


def _token(url: str, name: str, requests: list[Request]) -> str:
    """Return a token that allows these requests."""
    role = {"role": "publisher", "vendor": "vendor-a.com"} if requests is PUBLISHING else {"role": "reader"}
    answer = httpx.post(f"{url}/tokens", json={"name": name, **role}, headers=AUTHORIZATION, timeout=60, verify=TLS)
    token: str = answer.json()["token"]
    return token


@pytest.mark.long
@pytest.mark.alone
def test_honest_clients_are_answered_beside_hostile_ones(server: Server) -> None:
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    deadline = time.monotonic() + SECONDS
    attack = ["nice", sys.executable, "-m", "tests.running.hostile", server.url, str(HOSTILE), str(SECONDS)]
    with subprocess.Popen(attack, cwd=ROOT, stdout=subprocess.PIPE) as hostile:
        time.sleep(2)
        clients = [Honest(server.url, number, requests, deadline) for number, requests in enumerate(HONEST)]
        for honest in clients:
            honest.start()
        peak = 0
        while any(honest.is_alive() for honest in clients):
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
        statuses = json.loads(hostile.communicate(timeout=120)[0])
    assert [wrong for honest in clients for wrong in honest.wrong] == []
    assert not any(status.startswith("5") and status != "503" for status in statuses), statuses
    assert {"422", "200"} <= statuses.keys()
    seconds: dict[str, list[float]] = {}
    for honest in clients:
        for what, waits in honest.seconds.items():
            seconds.setdefault(what, []).extend(waits)
    worst = {what: quantiles([*waits, max(waits)], n=100, method="inclusive")[98] for what, waits in seconds.items()}
    shown = {what: f"{len(seconds[what])} in {wait:.2f} s at p99" for what, wait in worst.items()}
    sizes = [size >> 20 for size in (before, peak, process.memory_info().rss)]
    # Shown with -s.
    sys.stderr.write(f"{shown}, {statuses}, {sizes} MB\n")
    assert all(wait < MOST_SECONDS[what] for what, wait in worst.items()), shown
    assert peak >> 20 < MOST_MEGABYTES
