"""What a Prometheus reads of the service: how many requests, how fast they were answered, and with which verdicts."""

import os
from functools import cache
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Response
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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access import Registry
from app.api.publishing import UNAUTHORIZED
from app.settings import COUNTS_FOLDER

router = APIRouter(tags=["health"])

# When a counter began is of no use, and twice the lines.
disable_created_metrics()  # type: ignore[no-untyped-call]

_NO_OPERATION = "none"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUESTS = Counter(
    "profile_registry_requests",
    "Requests answered, by operation (as in the OpenAPI document; none: of no operation) and status.",
    ["operation", "status"],
)
_ANSWERED = Histogram(
    "profile_registry_request_seconds",
    "Time until the answer to a request began, by operation.",
    ["operation"],
    buckets=_SECONDS,
)
_VERDICTS = Counter(
    "profile_registry_verdicts",
    "Verdicts of /compatibility: a VM and a destination, compatible or not.",
    ["compatible"],
)
_COMPATIBLE, _INCOMPATIBLE = _VERDICTS.labels("true"), _VERDICTS.labels("false")
_CONTENT_READS = Counter(
    "profile_registry_content_reads",
    "Variable sets and values of profiles that were read from the database, for memory did not have them.",
)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "the text format of Prometheus",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        401: UNAUTHORIZED[401],
    },
)
def get_metrics(_: Registry) -> Response:
    """Say how many requests were answered, how fast, and with which verdicts, since the service was started.

    With several workers each answers for all of them. The database is not asked: it may be what is wrong.
    """
    collected: Any = REGISTRY
    if COUNTS_FOLDER in os.environ:
        collected = CollectorRegistry()
        MultiProcessCollector(collected)  # type: ignore[no-untyped-call]
    return Response(
        generate_latest(collected), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
    )


def count_verdicts(compatible: int, incompatible: int) -> None:
    """Count what a question was answered."""
    _COMPATIBLE.inc(compatible)
    _INCOMPATIBLE.inc(incompatible)


def count_content_reads(count: int) -> None:
    """Count what memory did not have."""
    _CONTENT_READS.inc(count)


class Measured:
    """Counts and times the requests of an app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is no request is let through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        has_answered = False

        async def measured(message: Message) -> None:
            nonlocal has_answered
            if message["type"] == "http.response.start":
                has_answered = True
                _note(scope, message["status"], perf_counter() - begun)
            await send(message)

        try:
            await self._app(scope, receive, measured)
        except Exception:
            if not has_answered:
                _note(scope, 500, perf_counter() - begun)
            raise


def _note(scope: Scope, status: int, seconds: float) -> None:
    operation = getattr(scope.get("route"), "name", None) or _NO_OPERATION
    _requests(operation, status).inc()
    # Who waits for something new is answered late on purpose.
    if b"wait=" not in scope["query_string"]:
        _answered(operation).observe(seconds)


# To look a label up takes longer than to count.
@cache
def _requests(operation: str, status: int) -> Counter:
    return _REQUESTS.labels(operation, status)


@cache
def _answered(operation: str) -> Histogram:
    return _ANSWERED.labels(operation)
