"""Content that is dear to ask about, and what a process takes for an answer."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx
import psutil

from tests.running.conftest import TLS

WIDE, STEPS, MANY = "vendor-a.com/wide", "vendor-a.com/steps", "vendor-a.com/many"
_NOTICED_SECONDS = 0.005


def put(registry: httpx.Client, path: str, document: object) -> None:
    """Publish a document that is new."""
    answer = registry.put(path, json=document)
    assert answer.status_code in {200, 201}, answer.text


def publish_wide(registry: httpx.Client, releases: int) -> None:
    """Publish releases of a model with forty variables, some of which can be changed while a device runs."""
    put(registry, "/vendors/vendor-a.com", {})
    wide = {
        f"v{number}": {"type": "int", "init_value": 1, "off_value": 1, "runtime": number < 12} for number in range(40)
    }
    for version in range(1, releases + 1):
        rules = [
            {"when": {f"v{one}": [f"{2 + version % 3}-99"]}, "require": {f"v{(one + 1) % 12}": ["0-1"]}}
            for one in range(12)
        ]
        put(registry, f"/releases/{WIDE}@{version}", {"models": {WIDE: {"variables": wide, "constraints": rules}}})


def publish_steps(registry: httpx.Client) -> None:
    """Publish four releases that allow ints in steps without a common divisor."""
    for version in range(4):
        steps = [{"min": 0, "max": 2**62, "step": 101 + 2 * (64 * version + number)} for number in range(64)]
        variable = {"type": "int", "init_value": 0, "allowed_values": steps}
        put(registry, f"/releases/{STEPS}@{version}", {"models": {STEPS: {"variables": {"x": variable}}}})


def publish_many(registry: httpx.Client, models: int, releases: int, profiles: int) -> None:
    """Publish releases and profiles of very many models."""
    names = [f"{MANY}{number}" for number in range(models)]
    variable = {"type": "int", "init_value": 1, "off_value": 0, "allowed_values": ["0-9"]}
    for version in range(1, releases + 1):
        sets = {name: {"variables": {"a": {**variable, "description": str(version)}}} for name in names}
        put(registry, f"/releases/{MANY}@{version}", {"models": sets})
    for number in range(profiles):
        values = {name: {"a": (number + place) % 9 + 1} for place, name in enumerate(names)}
        put(registry, f"/profiles/vendor-a.com/p{number}", {"name": f"vendor-a.com/p{number}", "values": values})


class Cost(NamedTuple):
    """What a request took. blocked: the longest time that the event loop answered nothing else, in seconds."""

    status: int
    size: int
    cpu_seconds: float
    megabytes: float
    blocked: float


def cost(url: str, pid: int, send: Callable[[httpx.Client], httpx.Response]) -> Cost:
    """Return what a server takes to answer a request."""
    process, over = psutil.Process(pid), threading.Event()
    peak, blocked = 0, 0.0

    def watch() -> None:
        nonlocal peak, blocked
        with httpx.Client(base_url=url, timeout=300, verify=TLS) as health:
            while not over.is_set():
                started = time.monotonic()
                health.get("/healthz")
                blocked = max(blocked, time.monotonic() - started)
                peak = max(peak, process.memory_info().rss)
                time.sleep(_NOTICED_SECONDS)

    with httpx.Client(base_url=url, timeout=300, verify=TLS) as client:
        client.get("/models")
        before, cpu = process.memory_info().rss, process.cpu_times()
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            answer = send(client)
        finally:
            over.set()
            watching.join()
        after = process.cpu_times()
    spent = after.user + after.system - cpu.user - cpu.system
    return Cost(answer.status_code, len(answer.content), spent, (peak - before) / 2**20, blocked)
