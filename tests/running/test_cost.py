"""What the dearest requests of anybody cost a server: little, whether they are answered or refused."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.counts import full
from tests.running.conftest import Server, client, running_anew
from tests.running.dear import MANY, STEPS, WIDE, cost, publish_many, publish_steps, publish_wide

# Half as much, or less, is measured where nothing else runs. Without budgets it was ten times as much, and more.
MOST_CPU_SECONDS = 6.0
MOST_MEGABYTES = 150
MOST_SECONDS_BLOCKED = 1.0
MEGABYTES = 4_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with content that is dear to ask about."""
    with running_anew(tmp_path_factory.mktemp("dear")) as server:
        with client(server) as registry:
            publish_wide(registry, 41)
            publish_steps(registry)
            publish_many(registry, full(200, short=50), 11, full(300, short=60))
        yield server


@pytest.fixture(autouse=True)
def restarted(server: Server) -> None:
    """Begin with a process that has answered nothing, so that memory can be compared."""
    server.kill()
    server.start()


def bodies() -> Iterator[tuple[str, bytes]]:
    """Iterate over bodies of faults, as large as is allowed and larger."""
    for size in (1_000_000, MEGABYTES):
        yield f"{size:,} bytes of unknown fields", b'{"devices":[' + b",".join([b'{"x":1}'] * (size // 8)) + b"]}"
        values = ",".join(f'"{number}":[]' for number in range(size // 12))
        yield f"{size:,} bytes of values", f'{{"devices":[{{"model":"a/b","values":{{{values}}}}}]}}'.encode()
        fields = ",".join(f'"{number}":0' for number in range(size // 10))
        yield f"{size:,} bytes of fields", f'{{"devices":[{{"model":"a/b",{fields}}}]}}'.encode()
        ones = b",".join([b"1"] * (size // 2))
        yield f"{size:,} bytes of destinations", b'{"devices":[{"model":"a/b"}],"destinations":[' + ones + b"]}"
        yield f"{size:,} bytes of depth", b"[" * size


def questions() -> Iterator[tuple[str, str, Any]]:
    """Iterate over questions that took seconds, minutes or gigabytes before they had a budget."""
    restricting = [{"releases": [f"{WIDE}@2"], "restrict": {WIDE: {"v1": [f"0-{host}"]}}} for host in range(1_000)]
    devices: list[dict[str, Any]] = [
        {"model": WIDE, "release": f"{WIDE}@1", "values": {"v0": number}} for number in range(1_000)
    ]
    plain = [{"releases": [f"{WIDE}@2"]} for _ in range(1_000)]
    yield "hosts that restrict", "/compatibility", {"devices": devices, "destinations": restricting}
    yield (
        "hosts that restrict, in full",
        "/compatibility",
        {
            "devices": devices[:200],
            "destinations": restricting[:250],
            "detail": "full",
        },
    )
    yield "a million pairs", "/compatibility", {"devices": devices, "destinations": plain}
    vms = [{"devices": [device]} for device in devices]
    for detail in ("problems", "verdict", "summary"):
        yield (
            f"a million VMs and hosts, {detail}",
            "/compatibility",
            {
                "vms": vms,
                "destinations": plain,
                "detail": detail,
            },
        )
    far = [{**device, "values": {f"v{place}": 100 + place for place in range(12)}} for device in devices[:40]]
    others = [{"releases": [f"{WIDE}@{version}"]} for version in range(2, 42)]
    yield (
        "remedies",
        "/compatibility",
        {
            "devices": [{**device, "values": {**device["values"], "v0": number}} for number, device in enumerate(far)],
            "destinations": others,
        },
    )
    units = [
        {
            "id": str(unit),
            "releases": [f"{WIDE}@{version}" for version in range(1, 42)],
            "restrict": {WIDE: {"v1": [unit]}},
        }
        for unit in range(64)
    ]
    yield (
        "units",
        "/compatibility",
        {
            "devices": devices[:100],
            "destinations": [{"releases": [f"{STEPS}@1"], "units": units}],
        },
    )
    yield (
        "steps without a common divisor",
        "/baseline",
        {
            "models": [STEPS],
            "releases": [f"{STEPS}@{version}" for version in range(4)],
        },
    )
    yield (
        "unknown releases",
        "/baseline",
        {
            "models": [f"{MANY}{number}" for number in range(800)],
            "releases": [f"vendor-a.com/none@{number}" for number in range(10_000)],
        },
    )


POSTS: dict[str, tuple[str, bytes]] = {
    **{name: ("/compatibility", body) for name, body in bodies()},
    **{name: (path, json.dumps(document).encode()) for name, path, document in questions()},
}
READS = [
    "/support-matrix",
    f"/diff?from={MANY}@1&to={MANY}@11",
    f"/impact?name={MANY}@11",
    "/impact?name=vendor-a.com/p1",
    "/variable-sets?limit=1000",
    "/ui/support-matrix",
    f"/ui/diff?from={MANY}@1&to={MANY}@11",
]


def check(server: Server, send: Callable[[httpx.Client], httpx.Response]) -> None:
    """Check what a request costs."""
    taken = cost(server.url, server.pid, send)
    sys.stderr.write(f"{taken}\n")
    assert taken.status in {200, 400, 413, 422}
    assert taken.cpu_seconds < MOST_CPU_SECONDS
    assert taken.megabytes < MOST_MEGABYTES
    assert taken.blocked < MOST_SECONDS_BLOCKED


@pytest.mark.alone
@pytest.mark.parametrize(("path", "body"), POSTS.values(), ids=POSTS)
def test_no_body_costs_much(server: Server, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    check(server, lambda client: client.post(path, content=body, headers=headers))


@pytest.mark.alone
@pytest.mark.parametrize("path", READS)
def test_no_read_costs_much(server: Server, path: str) -> None:
    check(server, lambda client: client.get(path))
    # Nor does it cost much again.
    check(server, lambda client: client.get(path))
