"""The cost of a fleet: questions about very many hosts against the same about few, and inventories against a script."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import httpx
import sqlalchemy as sa

from app.storage import database, schema
from tests.bench.content import Questions, fill
from tests.bench.processes import Served, service
from tests.conftest import AUTHORIZATION

_FEW, _INVENTORY, _MANY = 1_000, 100_000, 1_000_000
_KINDS, _HOSTS_OF_A_RACK = 50, 40
_TIMES = 40
_TABLES = (
    schema.host_kind,
    schema.label_set,
    schema.label,
    schema.host,
    schema.host_label,
    schema.host_group,
    schema.change,
    schema.change_document,
)


def measured(make: Callable[[], str], kind: str) -> dict[str, Any]:
    """Return the cost of a fleet of 1,000,000 hosts; make: returns the URL of a new database."""
    url = make()
    with service(url) as served, httpx.Client(base_url=served.url, headers=AUTHORIZATION, timeout=600) as client:
        fleet = _Fleet(served, client)
        fleet.register(0, _FEW)
        one, drain = fleet.seconds_for_one(_FEW), fleet.seconds_for_drain()
        for start in range(_FEW, _MANY, _INVENTORY):
            fleet.register(start, min(start + _INVENTORY, _MANY))
        one_of_many, drain_of_many = fleet.seconds_for_one(_MANY), fleet.seconds_for_drain()
        resident = served.resident >> 20
    first, again, bare = _of_inventory(make)
    return {
        f"fleet one {kind}": _ratio(f"one host of {_MANY:,}, against {_FEW:,}", one_of_many, one),
        f"fleet drain {kind}": _ratio(f"a drain over {_MANY:,} hosts, against {_FEW:,}", drain_of_many, drain),
        f"fleet memory {kind}": {"title": f"resident memory with {_MANY:,} hosts", "megabytes": resident},
        f"fleet inventory {kind}": _ratio(f"an inventory of {_INVENTORY:,}, against a script", first, bare),
        f"fleet unchanged {kind}": _ratio("the same inventory again, against the first time", again, first),
    }


def _ratio(title: str, ours: float, floor: float) -> dict[str, Any]:
    return {"title": title, "time": ours / floor, "ours s": ours, "floor s": floor}


class _Fleet:
    """A service with hosts of 50 kinds."""

    def __init__(self, served: Served, client: httpx.Client) -> None:
        self._client = client
        self._releases = fill(served.url)
        self._questions = Questions(served.url, self._releases)

    def register(self, start: int, end: int) -> float:
        """Register hosts; return the seconds it takes."""
        return _post_inventory(self._client, _inventory(self._releases, start, end))

    def seconds_for_one(self, hosts: int) -> float:
        """Return the median of the seconds that a question about one of these hosts takes."""
        seconds = []
        for number in range(_TIMES):
            destination = {"host": f"host-{number * 7919 % hosts:07}"}
            question = {"devices": self._questions.devices(number % 8), "destinations": [destination]}
            seconds.append(self._ask(json.dumps(question).replace('"{#}"', str(number))))
        return statistics.median(seconds)

    def seconds_for_drain(self) -> float:
        """Return the median of the seconds that a drain of 40 VMs over all hosts takes."""
        (request,) = self._questions.drain(0)
        return statistics.median(self._ask(request.body.replace("{#}", str(number))) for number in range(9))

    def _ask(self, body: str) -> float:
        start = time.perf_counter()
        self._client.post(
            "/compatibility", content=body, headers={"Content-Type": "application/json"}
        ).raise_for_status()
        return time.perf_counter() - start


def _inventory(releases: Sequence[str], start: int, end: int) -> bytes:
    hosts = {}
    for number in range(start, end):
        rack, kind = number // _HOSTS_OF_A_RACK, number % _KINDS
        host: dict[str, Any] = {"releases": [releases[kind % len(releases)]]}
        if kind >= len(releases):
            host["restrict"] = {"bench.example/card": {"ports": [kind]}}
        host["labels"] = {"rack": f"r{rack}", "zone": f"z{rack % 5}"}
        hosts[f"host-{number:07}"] = host
    return json.dumps({"hosts": hosts}).encode()


def _post_inventory(client: httpx.Client, body: bytes) -> float:
    start = time.perf_counter()
    client.post("/hosts", content=body, headers={"Content-Type": "application/json"}).raise_for_status()
    return time.perf_counter() - start


def _of_inventory(make: Callable[[], str]) -> tuple[float, float, float]:
    """Return the seconds of an inventory, of the same again, and of a script that inserts the same rows."""
    url = make()
    body = _inventory([f"bench.example/emulator@{number}" for number in range(20)], 0, _INVENTORY)
    with service(url) as served, httpx.Client(base_url=served.url, headers=AUTHORIZATION, timeout=600) as client:
        first = _post_inventory(client, body)
        again = statistics.median(_post_inventory(client, body) for _ in range(3))
    return first, again, _bare(url, make(), body)


def _bare(source: str, target: str, body: bytes) -> float:
    """Return the seconds that a script takes to parse an inventory, digest its hosts and insert the same rows."""
    engine, other = database.create_engine(source), database.create_engine(target)
    database.migrate(other)
    with engine.connect() as connection:
        rows = [(table, list(_rows(connection, table))) for table in _TABLES]
    start = time.perf_counter()
    for host in json.loads(body)["hosts"].values():
        sha256(json.dumps(host, sort_keys=True).encode()).hexdigest()
    with other.begin() as connection:
        for table, of_table in rows:
            for batch in range(0, len(of_table), _FEW):
                connection.execute(sa.insert(table), of_table[batch : batch + _FEW])
    seconds = time.perf_counter() - start
    for used in (engine, other):
        used.dispose()
    return seconds


def _rows(connection: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    result = connection.execute(sa.select(table)).mappings()
    yield from map(dict, chain(result))
