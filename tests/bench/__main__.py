"""What asking and publishing cost, beside a floor measured in the same run: ratios first, then figures, and JSON.

The service runs as in production, wrk sends it questions of which no two are alike, and, by turns, sends the same ones
to a FastAPI route that validates them and serialises a ready answer of the same size.
"""

import json
import math
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx
import psutil
import sqlalchemy as sa
import typer
from rich.console import Console
from rich.table import Table

from app.storage import database
from tests.bench import load, publishing
from tests.bench.content import (
    BULK_MODELS,
    IMPLEMENTATION,
    PROFILE,
    Questions,
    fill,
    fill_in_bulk,
    register_hosts,
    wandering,
)
from tests.bench.load import Request
from tests.bench.processes import Served, cpu_of, floor, service
from tests.conftest import postgresql_server

_MANY_CONNECTIONS = 8
_SLOW_SECONDS = 0.3
_FEW = 1_000
_BULK = 100_000
_err = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Workload:
    """Questions of one kind; floor: what kind of floor stands beside it. slow: one takes about a second."""

    name: str
    title: str
    floor: str
    requests: Sequence[Request]


@dataclass(slots=True)
class Measured:
    """The medians of the rounds of one server: requests a second, seconds at one connection, CPU seconds a request."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Return the medians by name, and the spread of the rates."""
        return {
            "requests a second": statistics.median(self.rates),
            "least": min(self.rates),
            "most": max(self.rates),
            "p50 ms": statistics.median(self.p50) * 1000,
            "p99 ms": statistics.median(self.p99) * 1000,
            "CPU ms": statistics.median(self.cpu) * 1000,
        }


class Bench:
    """Measures workloads on a service, and keeps what it found."""

    def __init__(self, folder: Path, rounds: int, seconds: float, only: frozenset[str]) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._only = only
        self.found: dict[str, Any] = {}

    def wants(self, *names: str) -> bool:
        """Return whether one of these workloads is to be measured."""
        return not self._only or not self._only.isdisjoint(names)

    def measure(self, kind: str, served: Served, database_process: psutil.Process | None, each: Workload) -> None:
        """Measure a workload on the service and its floor, by turns."""
        requests = load.write(each.requests, self._folder / "requests")
        ready = self._folder / "answer"
        start = time.perf_counter()
        ready.write_bytes(_answer(served.url, each.requests[0]))
        one = time.perf_counter() - start
        connections = _MANY_CONNECTIONS if one < _SLOW_SECONDS else 2
        seconds = max(self._seconds, math.ceil(2 * connections * one))
        ours, beside = Measured(), Measured()
        with floor(each.floor, ready) as floor_served:
            for number in range(self._rounds + 1):
                _err.print(f"{each.name} ({kind}): round {number} of {self._rounds}", end="\r")
                load_of = Load(requests, connections, seconds)
                _round(served, database_process, load_of, ours if number else Measured())
                _round(floor_served, None, load_of, beside if number else Measured())
        mine, its = ours.medians(), beside.medians()
        self.found[f"{each.name} {kind}"] = {
            "title": each.title,
            "rate": mine["requests a second"] / its["requests a second"],
            "p50": mine["p50 ms"] / its["p50 ms"],
            "CPU": mine["CPU ms"] / its["CPU ms"],
            "answer bytes": ready.stat().st_size,
            "ours": mine,
            "floor": its,
        }
        _err.print(self.found[f"{each.name} {kind}"])


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in a file, over how many connections, for how long."""

    requests: Path
    connections: int
    seconds: float


def _round(served: Served, beside: psutil.Process | None, each: Load, into: Measured) -> None:
    alone = load.run(served.url, each.requests, 1, each.seconds)
    before = served.cpu + (cpu_of(beside) if beside else 0)
    many = load.run(served.url, each.requests, each.connections, each.seconds)
    used = served.cpu + (cpu_of(beside) if beside else 0) - before
    into.rates.append(many.rate)
    into.p50.append(alone.p50)
    into.p99.append(alone.p99)
    into.cpu.append(used / many.requests)


def _answer(url: str, request: Request) -> bytes:
    headers = {"Content-Type": "application/json"}
    content = request.body.replace("{#}", "1") or None
    path = request.path.replace("{#}", "1")
    response = httpx.request(request.method, url + path, content=content, headers=headers, timeout=120)
    response.raise_for_status()
    return response.content


def _tag(url: str, path: str) -> str:
    """Return the entity tag as a request shows it, whatever answer of the same address it is of."""
    return httpx.get(url + path).headers["ETag"]


def _workloads(url: str, releases: Sequence[str]) -> Iterator[Workload]:
    """Iterate over what is asked with ten releases in the registry as with a hundred thousand variable sets."""
    questions = Questions(url, releases)
    resolved = f"/profiles/{PROFILE}?resolved=true"
    yield Workload("a", "10 devices of 10 values, 50 destinations on 5 releases", "ask", questions.ask(50, 5))
    yield Workload("b", "the same, 1,000 destinations on 20 releases", "ask", questions.ask(1000, 20, different=32))
    yield Workload(
        "c", "the same, 10,000 destinations, verdicts", "ask", questions.ask(10_000, 20, detail="verdict", different=8)
    )
    yield Workload("d", "the short question", "short", questions.short())
    yield Workload("e", "a resolved profile", "profile", [Request("GET", resolved)])
    yield Workload(
        "e304", "a resolved profile, If-None-Match", "profile", [Request("GET", resolved, tag=_tag(url, resolved))]
    )


def _fleet_workloads(url: str, releases: Sequence[str]) -> Iterator[Workload]:
    """Iterate over what is asked of a whole fleet."""
    questions = Questions(url, releases)
    yield Workload("g", "a baseline over 20 releases", "baseline", questions.baselines())
    matrix = [Request("GET", f"/support-matrix?implementation={IMPLEMENTATION}")]
    yield Workload("h", "the support matrix of all machine types", "matrix", matrix)
    yield Workload("i", "one device of five values, 1,000 registered hosts", "ask", questions.one_device())
    drains = [request for number in range(8) for request in questions.drain(number)]
    yield Workload("j", "a drain: 40 VMs of 10 devices, 1,000 registered hosts", "ask", drains)


def main(
    only: Annotated[str, typer.Option(help="The workloads to measure: a,i. All where none are named.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, of which the median counts.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="How long a round loads a server.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write all figures.")] = None,
) -> None:
    """Measure what asking and publishing cost, beside a floor in the same run.

    Example:

        python -m tests.bench --only a,i --rounds 3
    """
    chosen = frozenset(each for each in re.split(r"[,\s]+", only) if each)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), rounds, seconds, chosen)
        if bench.wants("a"):
            _on_sqlite(bench, f"sqlite:///{folder}/bench.db")
        with postgresql_server() as uri:
            server = psutil.Process(_pid(uri))
            if bench.wants("a", "b", "c", "d", "e", "e304", "g", "h", "i", "j"):
                _on_postgresql(bench, fresh(uri), server)
            if bench.wants("scale"):
                _scaled(bench, fresh(uri), server)
            if bench.wants("f"):
                sqlite = (f"sqlite:///{folder}/{number}.db" for number in count())
                bench.found |= publishing.measured(lambda: next(sqlite), "sqlite", rounds)
                bench.found |= publishing.measured(lambda: fresh(uri), "postgresql", rounds)
    _print(bench.found)
    if json_file is not None:
        json_file.write_text(json.dumps(bench.found, indent=2))


def _on_sqlite(bench: Bench, url: str) -> None:
    with service(url) as served:
        releases = fill(served.url)
        bench.measure("sqlite", served, None, next(_workloads(served.url, releases)))


def _on_postgresql(bench: Bench, url: str, server: psutil.Process) -> None:
    with service(url) as served:
        releases = fill(served.url)
        for each in _workloads(served.url, releases):
            if bench.wants(each.name):
                bench.measure("postgresql", served, server, each)
        if bench.wants("g", "h", "i", "j"):
            register_hosts(served.url, releases)
            for each in _fleet_workloads(served.url, releases):
                if bench.wants(each.name):
                    bench.measure("postgresql", served, server, each)


def _scaled(bench: Bench, url: str, server: psutil.Process) -> None:
    """Measure the same with about 1,000 and with 100,000 variable sets in the registry, and what it takes in memory."""
    with service(url) as served:
        releases = fill(served.url)
        for kind in (f"{_FEW:,} sets", f"{_BULK:,} sets"):
            if kind != f"{_FEW:,} sets":
                fill_in_bulk(served.url, _BULK)
                _wander(served.url)
            for each in _workloads(served.url, releases):
                bench.measure(kind, served, server, each)
        bench.found["memory"] = {"title": "resident, all sets looked at", "megabytes": served.resident >> 20}


def _wander(url: str) -> None:
    """Ask questions that between them look at every bulk set."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for each in wandering(_BULK // BULK_MODELS):
            client.get(each.path).raise_for_status()


def fresh(uri: str) -> str:
    """Return the URL of a new database on a server."""
    url = sa.make_url(uri)
    name = f"bench_{uuid4().hex}"
    engine = database.create_engine(url.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def _pid(uri: str) -> int:
    """Return the process of a server at a URL, which runs on this machine."""
    engine = database.create_engine(uri)
    with engine.connect() as connection:
        backend: int = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        parent: int = psutil.Process(backend).ppid()
    engine.dispose()
    return parent


def _print(found: dict[str, Any]) -> None:
    """Print the ratios to the floor, then the figures."""
    table = Table("workload", "", "rate", "p50", "CPU", "p50 ms", "p99 ms", "a second", "CPU ms", "floor: ms", "answer")
    for name, each in found.items():
        if "ours" not in each:
            rest = [f"{key} {value:.2f}" for key, value in each.items() if key != "title"]
            table.add_row(name, f"{each['title']}: {', '.join(rest)}")
            continue
        ours, its = each["ours"], each["floor"]
        table.add_row(
            name, each["title"], *(f"{each[ratio]:.2f}" for ratio in ("rate", "p50", "CPU")),
            *(f"{ours[figure]:.2f}" for figure in ("p50 ms", "p99 ms", "requests a second", "CPU ms")),
            f"{its['p50 ms']:.2f}", f"{each['answer bytes']:,}",
        )  # fmt: skip
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)
