"""Hostile clients of six kinds, at addresses of their own: `python -m tests.running.hostile URL CLIENTS SECONDS`."""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpx

from tests.running.dear import STEPS, WIDE

_statuses: Counter[str] = Counter()


async def ask_dearly(client: httpx.AsyncClient, number: int) -> None:
    """Ask the dearest questions that are allowed."""
    for round_ in itertools.count():
        question = {
            "devices": [
                {"model": WIDE, "release": f"{WIDE}@1", "values": {"v0": number + round_ + device}}
                for device in range(60)
            ],
            "destinations": [
                {"releases": [f"{WIDE}@2"], "restrict": {WIDE: {"v1": [f"0-{host}"]}}} for host in range(80)
            ],
        }
        await _post(client, "/compatibility", json.dumps(question).encode())


async def ask_too_much(client: httpx.AsyncClient, number: int) -> None:
    """Ask questions beyond the budget."""
    del number
    for releases in itertools.cycle(([1, 2, 3, 0], [3, 2, 1, 0])):
        question = {"models": [STEPS], "releases": [f"{STEPS}@{version}" for version in releases]}
        await _post(client, "/baseline", json.dumps(question).encode())
        with suppress(httpx.HTTPError):
            _note(await client.get("/support-matrix"))


async def send_faults(client: httpx.AsyncClient, number: int) -> None:
    """Send bodies of faults, as large as they can be."""
    del number
    body = b'{"devices":[' + b",".join([b'{"x":1}'] * 120_000) + b"]}"
    while True:
        await _post(client, "/compatibility", body)


async def follow(client: httpx.AsyncClient, number: int) -> None:
    """Open streams, and leave them."""
    while True:
        with suppress(httpx.HTTPError):
            async with client.stream("GET", "/changes", headers={"Accept": "text/event-stream"}) as stream:
                _statuses[str(stream.status_code)] += 1
                await asyncio.sleep(1 + number % 5)


async def browse(client: httpx.AsyncClient, number: int) -> None:
    """Read pages that are dear to make, several at a time."""
    del number
    while True:
        pages = [client.get("/ui/support-matrix") for _ in range(6)]
        for answer in await asyncio.gather(*pages, return_exceptions=True):
            if isinstance(answer, httpx.Response):
                _note(answer)


async def dawdle(client: httpx.AsyncClient, number: int) -> None:
    """Send a body slowly, and leave dear questions before they are answered."""
    while True:
        with suppress(httpx.HTTPError):
            _note(await client.post("/compatibility", content=_slowly(number), timeout=5))
        with suppress(httpx.HTTPError):
            _note(await client.get("/ui/support-matrix", timeout=0.1))


async def _slowly(number: int) -> AsyncIterator[bytes]:
    for _ in range(20 + number % 3):
        yield b" " * 1_000
        await asyncio.sleep(0.3)


async def _post(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    with suppress(httpx.HTTPError):
        _note(await client.post(path, content=body, headers={"Content-Type": "application/json"}))


def _note(answer: httpx.Response) -> None:
    _statuses[str(answer.status_code)] += 1


KINDS: list[Callable[[httpx.AsyncClient, int], Awaitable[None]]] = [
    ask_dearly,
    ask_too_much,
    send_faults,
    follow,
    dawdle,
    browse,
]


async def attack(url: str, count: int, seconds: float) -> None:
    """Attack a registry; print how often it answered with which status."""
    deadline = time.monotonic() + seconds
    context = httpx.create_ssl_context()

    async def client(number: int) -> None:
        address = f"127.0.{1 + number // 200}.{1 + number % 200}"
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=context)
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=60) as one:
            with suppress(TimeoutError):
                await asyncio.wait_for(KINDS[number % len(KINDS)](one, number), deadline - time.monotonic())

    await asyncio.gather(*map(client, range(count)))
    sys.stdout.write(json.dumps(_statuses))


if __name__ == "__main__":
    asyncio.run(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
