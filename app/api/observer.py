"""Observes requests: each gets an id, is counted and timed for Prometheus, and is logged."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from secrets import token_hex
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import metrics

NO_OPERATION = "none"
_LOGGER = logging.getLogger("registry.request")
_HEADER = b"x-request-id"
# An id that a proxy has given is kept if it is short and plain, so that it can stand in a log line.
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Observed:
    """Middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; other events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = perf_counter()
        has_answered = False

        async def send_observed(message: Message) -> None:
            nonlocal has_answered
            if message["type"] == "http.response.start":
                has_answered = True
                message["headers"] = [*message.get("headers", ()), (_HEADER, request_id.encode())]
                _observe(scope, message["status"], perf_counter() - started)
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception:
            if not has_answered:
                _observe(scope, 500, perf_counter() - started)
            raise


def _id_of(scope: Scope) -> str:
    """Return the id of a request: the one that its header X-Request-ID gives, or a new one."""
    given: bytes = dict(scope["headers"]).get(_HEADER, b"")
    return given.decode() if _GIVEN_ID.fullmatch(given) else token_hex(16)


def _observe(scope: Scope, status: int, seconds: float) -> None:
    """Count, time and log a request when its answer begins: a stream can last for hours."""
    operation = getattr(scope.get("route"), "name", None) or NO_OPERATION
    metrics.observe(scope, operation, status, seconds)
    if _LOGGER.isEnabledFor(logging.INFO):
        state = scope["state"]
        fields = {
            "method": scope["method"],
            "path": scope.get("raw_path", b"").decode("ascii", "backslashreplace"),
            "operation": operation,
            "status": status,
            "seconds": round(seconds, 6),
            "token": state.get("token"),
            "request_id": state["request_id"],
        }
        _LOGGER.info("request", extra={"fields": fields})


class _TextFormatter(logging.Formatter):
    """One line for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
        # Quoted: a name can have spaces.
        token = "-" if fields["token"] is None else json.dumps(fields["token"])
        return (
            f"{_time(record)} {fields['method']} {fields['path']} {fields['operation']} {fields['status']} "
            f"{fields['seconds'] * 1000:.1f} ms token={token} id={fields['request_id']}"
        )


class _JsonFormatter(logging.Formatter):
    """One JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
        return json.dumps({"at": _time(record), "event": "request", **fields})


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log_requests(*, as_json: bool) -> None:
    """Log every request of this process to standard error; once is enough."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    _LOGGER.handlers = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.INFO)
