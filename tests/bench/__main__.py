"""Measure asking and publishing against a floor of the same run; print ratios and figures, and write JSON.

The service runs as in production. wrk sends it questions, no two of them equal. By turns, wrk sends the same questions
to the floor: a FastAPI route that validates them and serialises a prepared answer of the same size.
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
from tests.bench import fleet, load, publishing
from tests.bench.content import (
    BULK_MODELS,
    IMPLEMENTATION,
    PROFILE,
    Questions,
    covering_questions,
    fill,
    fill_in_bulk,
    register_hosts,
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
    """Questions of one kind; floor: the kind of floor to compare with."""

    name: str
    title: str
    floor: str
    requests: Sequence[Request]


@dataclass(slots=True)
class Measured:
    """The rounds of one server: requests per second, seconds at one connection, CPU seconds per request."""

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
    """Measures workloads on a service and keeps the results."""

    def __init__(self, folder: Path, rounds: int, seconds: float, only: frozenset[str]) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._only = only
        self.results: dict[str, Any] = {}

    def wants(self, *names: str) -> bool:
        """Return whether to measure one of these workloads."""
        return not self._only or not self._only.isdisjoint(names)

    def measure(self, kind: str, served: Served, database_process: psutil.Process | None, workload: Workload) -> None:
        """Measure a workload on the service and its floor, by turns."""
        requests = load.write(workload.requests, self._folder / "requests")
        ready = self._folder / "answer"
        start = time.perf_counter()
        ready.write_bytes(_answer(served.url, workload.requests[0]))
        answer_seconds = time.perf_counter() - start
        connections = _MANY_CONNECTIONS if answer_seconds < _SLOW_SECONDS else 2
        seconds = max(self._seconds, math.ceil(2 * connections * answer_seconds))
        ours, of_floor = Measured(), Measured()
        with floor(workload.floor, ready) as floor_served:
            for number in range(self._rounds + 1):
                _err.print(f"{workload.name} ({kind}): round {number} of {self._rounds}", end="\r")
                load_of_round = Load(requests, connections, seconds)
                _round(served, database_process, load_of_round, ours if number else Measured())
                _round(floor_served, None, load_of_round, of_floor if number else Measured())
        ours_medians, floor_medians = ours.medians(), of_floor.medians()
        self.results[f"{workload.name} {kind}"] = {
            "title": workload.title,
            "rate": ours_medians["requests a second"] / floor_medians["requests a second"],
            "p50": ours_medians["p50 ms"] / floor_medians["p50 ms"],
            "CPU": ours_medians["CPU ms"] / floor_medians["CPU ms"],
            "answer bytes": ready.stat().st_size,
            "ours": ours_medians,
            "floor": floor_medians,
        }
        _err.print(self.results[f"{workload.name} {kind}"])


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in a file, the number of connections, and the seconds of a round."""

    requests: Path
    connections: int
    seconds: float


def _round(served: Served, database_process: psutil.Process | None, load_of_round: Load, into: Measured) -> None:
    single = load.run(served.url, load_of_round.requests, 1, load_of_round.seconds)
    before = served.cpu + (cpu_of(database_process) if database_process else 0)
    loaded = load.run(served.url, load_of_round.requests, load_of_round.connections, load_of_round.seconds)
    used = served.cpu + (cpu_of(database_process) if database_process else 0) - before
    into.rates.append(loaded.rate)
    into.p50.append(single.p50)
    into.p99.append(single.p99)
    into.cpu.append(used / loaded.requests)


def _answer(url: str, request: Request) -> bytes:
    headers = {"Content-Type": "application/json"}
    content = request.body.replace("{#}", "1") or None
    path = request.path.replace("{#}", "1")
    response = httpx.request(request.method, url + path, content=content, headers=headers, timeout=120)
    response.raise_for_status()
    return response.content


def _tag(url: str, path: str) -> str:
    """Return the current ETag of a path."""
    return httpx.get(url + path).headers["ETag"]


def _workloads(url: str, releases: Sequence[str]) -> Iterator[Workload]:
    """Iterate over the workloads that run with few and with 100,000 variable sets."""
    questions = Questions(url, releases)
    resolved = f"/profiles/{PROFILE}?resolved=true"
    compatible, refused = questions.ask(50, 5), questions.ask_refused(50, 5)
    yield Workload("a", "10 devices of 10 values, 50 destinations on 5 releases", "ask", compatible)
    yield Workload("a-plain", "the same, beside plain models", "plain", compatible)
    yield Workload("k", "the same, 22 % of the pairs refused", "ask", refused)
    yield Workload("k-plain", "the same, beside plain models", "plain", refused)
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
    """Iterate over the workloads about a whole fleet."""
    questions = Questions(url, releases)
    yield Workload("g", "a baseline over 20 releases", "baseline", questions.baselines())
    matrix = [Request("GET", f"/support-matrix?implementation={IMPLEMENTATION}")]
    yield Workload("h", "the support matrix of all machine types", "matrix", matrix)
    yield Workload("i", "one device of five values, 1,000 registered hosts", "ask", questions.one_device())
    drains = [request for number in range(8) for request in questions.drain(number)]
    yield Workload("j", "a drain: 40 VMs of 10 devices, 1,000 registered hosts", "ask", drains)


def main(
    only: Annotated[str, typer.Option(help="The workloads to measure, such as a,i. Default: all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; the result is their median.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds for which a round loads a server.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write all figures to.")] = None,
) -> None:
    """Measure asking and publishing against a floor of the same run.

    Example:

        python -m tests.bench --only a,i --rounds 3
    """
    chosen = frozenset(name for name in re.split(r"[,\s]+", only) if name)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), rounds, seconds, chosen)
        if bench.wants("a"):
            _on_sqlite(bench, f"sqlite:///{folder}/bench.db")
        with postgresql_server() as uri:
            server = psutil.Process(_pid(uri))
            if bench.wants("a", "a-plain", "k", "k-plain", "b", "c", "d", "e", "e304", "g", "h", "i", "j"):
                _on_postgresql(bench, fresh(uri), server)
            if bench.wants("scale"):
                _scaled(bench, fresh(uri), server)
            if bench.wants("f"):
                sqlite = (f"sqlite:///{folder}/{number}.db" for number in count())
                bench.results |= publishing.measured(lambda: next(sqlite), "sqlite", rounds)
                bench.results |= publishing.measured(lambda: fresh(uri), "postgresql", rounds)
            if bench.wants("fleet"):
                files = (f"sqlite:///{folder}/fleet{number}.db" for number in count())
                bench.results |= fleet.measured(lambda: next(files), "sqlite")
                bench.results |= fleet.measured(lambda: fresh(uri), "postgresql")
    _print(bench.results)
    if json_file is not None:
        json_file.write_text(json.dumps(bench.results, indent=2))


def _on_sqlite(bench: Bench, url: str) -> None:
    with service(url, requests_per_minute="0") as served:
        releases = fill(served.url)
        bench.measure("sqlite", served, None, next(_workloads(served.url, releases)))


def _on_postgresql(bench: Bench, url: str, server: psutil.Process) -> None:
    with service(url, requests_per_minute="0") as served:
        releases = fill(served.url)
        for workload in _workloads(served.url, releases):
            if bench.wants(workload.name):
                bench.measure("postgresql", served, server, workload)
        if bench.wants("g", "h", "i", "j"):
            register_hosts(served.url, releases)
            for workload in _fleet_workloads(served.url, releases):
                if bench.wants(workload.name):
                    bench.measure("postgresql", served, server, workload)


def _scaled(bench: Bench, url: str, server: psutil.Process) -> None:
    """Measure workloads with about 1,000 and with 100,000 variable sets, and the memory that these take."""
    with service(url, requests_per_minute="0") as served:
        releases = fill(served.url)
        for kind in (f"{_FEW:,} sets", f"{_BULK:,} sets"):
            if kind != f"{_FEW:,} sets":
                fill_in_bulk(served.url, _BULK)
                _read_all(served.url)
            for workload in _workloads(served.url, releases):
                bench.measure(kind, served, server, workload)
        bench.results["memory"] = {"title": "resident memory, all sets read", "megabytes": served.resident >> 20}


def _read_all(url: str) -> None:
    """Ask questions that together read every bulk set."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for request in covering_questions(_BULK // BULK_MODELS):
            client.get(request.path).raise_for_status()


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
    """Return the process id of a local PostgreSQL server."""
    engine = database.create_engine(uri)
    with engine.connect() as connection:
        backend: int = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        parent: int = psutil.Process(backend).ppid()
    engine.dispose()
    return parent


def _print(results: dict[str, Any]) -> None:
    """Print the ratios to the floor, then the figures."""
    table = Table("workload", "", "rate", "p50", "CPU", "p50 ms", "p99 ms", "a second", "CPU ms", "floor: ms", "answer")
    for name, figures in results.items():
        if "ours" not in figures:
            rest = [f"{key} {value:.2f}" for key, value in figures.items() if key != "title"]
            table.add_row(name, f"{figures['title']}: {', '.join(rest)}")
            continue
        ours, floor_figures = figures["ours"], figures["floor"]
        table.add_row(
            name, figures["title"], *(f"{figures[ratio]:.2f}" for ratio in ("rate", "p50", "CPU")),
            *(f"{ours[figure]:.2f}" for figure in ("p50 ms", "p99 ms", "requests a second", "CPU ms")),
            f"{floor_figures['p50 ms']:.2f}", f"{figures['answer bytes']:,}",
        )  # fmt: skip
    Console(width=200).print(table)


if __name__ == "__main__":
    typer.run(main)
