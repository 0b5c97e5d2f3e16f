"""Metrics for Prometheus: what this worker counts, and how busy it is; with several workers, the sum of all."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.types import Scope

from app.settings import COUNTS_FOLDER

# The creation times of counters would double the lines; nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUESTS = Counter(
    "profile_registry_requests",
    "Requests answered, by operation (operationId of the OpenAPI document, or none) and status.",
    ["operation", "status"],
)
_ANSWERED = Histogram(
    "profile_registry_request_seconds",
    "Seconds until the response started, by operation.",
    ["operation"],
    buckets=_SECONDS,
)
_VERDICTS = Counter(
    "profile_registry_verdicts",
    "Verdicts of /compatibility, one for each VM and destination.",
    ["compatible"],
)
_COMPATIBLE, _INCOMPATIBLE = _VERDICTS.labels("true"), _VERDICTS.labels("false")
_CONTENT_READS = Counter(
    "profile_registry_content_reads",
    "Variable sets and profile values read from the database because they were not in memory.",
)
_PROBLEMS = Counter(
    "profile_registry_problems",
    "Requests that were answered with a problem, by operation, code of the problem, and reason where it has several.",
    ["operation", "code", "reason"],
)
_FAILURES = Counter(
    "profile_registry_database_failures", "Failures of the database that were met, by cause.", ["cause"]
)
_RECALLED = Counter(
    "profile_registry_recalled_answers",
    "Answers that memory gave while the database was away; they say as_of.",
)
# Of the worker that has not seen it for the longest time.
_AWAY = Gauge(
    "profile_registry_database_away_seconds",
    "Seconds since the database was last seen, while it is away; 0 while it is not, and where nobody asks.",
    multiprocess_mode="livemax",
)
# Sums of the workers that live. They are set from time to time, because a function cannot serve several workers.
_POOL_SIZE = Gauge(
    "profile_registry_database_pool_size",
    "Connections that can be kept open; twice as many can be open at a time.",
    ["database"],
    multiprocess_mode="livesum",
)
_CHECKED_OUT = Gauge(
    "profile_registry_database_pool_checked_out",
    "Connections to the database that are in use.",
    ["database"],
    multiprocess_mode="livesum",
)
_QUESTIONS = Gauge(
    "profile_registry_long_questions",
    "Long questions that are answered (running), or wait for their turn (waiting).",
    ["state"],
    multiprocess_mode="livesum",
)
_STREAMS = Gauge(
    "profile_registry_streams",
    "Requests that follow the feed: streams, and reads that wait for changes.",
    multiprocess_mode="livesum",
)


def text(gauges: Collector) -> bytes:
    """Return the metrics in the text format of Prometheus; gauges: those that do not depend on the worker."""
    counted: Any = REGISTRY
    if COUNTS_FOLDER in os.environ:
        _forget_dead_workers(Path(os.environ[COUNTS_FOLDER]))
        counted = CollectorRegistry()
        counted.register(_OfAllWorkers(None))  # type: ignore[no-untyped-call]
    of_registry = CollectorRegistry()
    of_registry.register(gauges)
    return generate_latest(counted) + generate_latest(of_registry)


class _OfAllWorkers(MultiProcessCollector):
    """What all workers counted: of one that starts, the file is empty for a moment, and cannot be read."""

    def collect(self) -> Iterable[Metric]:
        files = [str(file) for file in Path(self._path).glob("*.db") if _size(file)]
        return self.merge(files)  # type: ignore[no-any-return, no-untyped-call]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of workers that were killed: nobody else does. What they counted stays."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            # Another worker may remove the file first.
            with suppress(FileNotFoundError):
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            # It lives, and belongs to somebody else.
            continue


def set_pool(database: str, size: int, checked_out: int) -> None:
    """Set the connections of this worker to a database."""
    _POOL_SIZE.labels(database).set(size)
    _CHECKED_OUT.labels(database).set(checked_out)


def set_long_requests(questions: Mapping[str, int], streams: int) -> None:
    """Set the long questions of this worker, by state, and its requests that follow the feed."""
    for state, count in questions.items():
        _QUESTIONS.labels(state).set(count)
    _STREAMS.set(streams)


def set_away(seconds: float) -> None:
    """Set for how long this worker has not seen the database."""
    _AWAY.set(seconds)


def count_recalled() -> None:
    """Count an answer that memory gave while the database was away."""
    _RECALLED.inc()


def count_problem(operation: str, code: str, reason: str) -> None:
    """Count a request that is answered with a problem."""
    _PROBLEMS.labels(operation, code, reason).inc()


def count_failure(cause: str) -> None:
    """Count a failure of the database."""
    _FAILURES.labels(cause).inc()


def count_verdicts(compatible: int, incompatible: int) -> None:
    """Count the verdicts of an answer."""
    _COMPATIBLE.inc(compatible)
    _INCOMPATIBLE.inc(incompatible)


def count_content_reads(count: int) -> None:
    """Count contents that were read from the database."""
    _CONTENT_READS.inc(count)


def observe(scope: Scope, operation: str, status: int, seconds: float) -> None:
    """Count a request, and the time until its answer began."""
    _requests(operation, status).inc()
    # A request that waits for something new is answered late on purpose.
    if b"wait=" not in scope["query_string"]:
        _answered(operation).observe(seconds)


# Cached: looking up a labelled counter takes longer than counting.
@cache
def _requests(operation: str, status: int) -> Counter:
    return _REQUESTS.labels(operation, status)


@cache
def _answered(operation: str) -> Histogram:
    return _ANSWERED.labels(operation)
