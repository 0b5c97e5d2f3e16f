"""Metrics for Prometheus: requests, the time to answer them, and verdicts."""

import os
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

from app.api.identity import check_reader
from app.api.responses import UNAUTHORIZED
from app.settings import COUNTS_FOLDER

router = APIRouter(tags=["health"])

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


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "the metrics in the text format of Prometheus",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        401: UNAUTHORIZED[401],
    },
)
def get_metrics(_: Annotated[None, Depends(check_reader)]) -> Response:
    """Return the metrics since the service started: requests, the time to answer them, and verdicts.

    With several workers, any of them reports the sum of all. This works while the database cannot be reached.
    """
    collected: Any = REGISTRY
    if COUNTS_FOLDER in os.environ:
        collected = CollectorRegistry()
        MultiProcessCollector(collected)  # type: ignore[no-untyped-call]
    return Response(
        generate_latest(collected), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
    )


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
