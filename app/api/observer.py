"""Observes requests: each gets an id, is counted, timed and logged. Failures of the database are logged, too."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from secrets import token_hex
from threading import Lock
from time import monotonic, perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import metrics
from app.storage.failure import Cause, Failure

NO_OPERATION = "none"
_LOGGER = logging.getLogger("registry.request")
_FAILURES = logging.getLogger("registry.database")
# A failure that lasts is logged again after this time, with the number of requests that have met it since.
_REPEAT_SECONDS = 10.0
_HEADER = b"x-request-id"
# An id that a proxy has given is kept if it is short and plain, so that it can stand in a log line.
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ADDRESS = re.compile(r"[A-Za-z0-9.:%_-]{1,64}")


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
    state = scope["state"]
    code, reason = state.get("problem", ("", ""))
    if code:
        metrics.count_problem(operation, code, reason)
    if _LOGGER.isEnabledFor(logging.INFO):
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": scope.get("raw_path", b"").decode("ascii", "backslashreplace"),
            "operation": operation,
            "status": status,
            "seconds": round(seconds, 6),
            "address": client[0] if client else None,
            "token": state.get("token"),
            "request_id": state["request_id"],
            # Every 429 and 503 names its cause here, also where the failure itself is not logged again.
            **({"cause": reason} if reason else {}),
        }
        _LOGGER.info("request", extra={"fields": fields})


def note_problem(scope: Scope, code: str, reason: str) -> None:
    """Note that a request is answered with a problem; reason: why, where its code has several."""
    scope.setdefault("state", {})["problem"] = (code, reason)


_noted: dict[Cause, tuple[float, int]] = {}
_noting = Lock()


def log_failure(failure: Failure, request_id: str | None = None) -> None:
    """Count and log a failure of the database.

    The first of its cause is logged at once, then one line for all of _REPEAT_SECONDS.
    """
    metrics.count_failure(failure.cause.value)
    with _noting:
        logged, count = _noted.get(failure.cause, (float("-inf"), 0))
        is_due = monotonic() - logged >= _REPEAT_SECONDS
        _noted[failure.cause] = (monotonic(), 0) if is_due else (logged, count + 1)
    if is_due:
        fields = {"cause": failure.cause.value, "report": failure.report, "more": count, "request_id": request_id}
        _FAILURES.warning("database: %s: %s", failure.cause.value, failure.report, extra={"fields": fields})


class _TextFormatter(logging.Formatter):
    """One line for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
        # Quoted: a name can have spaces.
        token = "-" if fields["token"] is None else json.dumps(fields["token"])
        cause = f" cause={fields['cause']}" if "cause" in fields else ""
        return (
            f"{_time(record)} {fields['method']} {fields['path']} {fields['operation']} {fields['status']} "
            f"{fields['seconds'] * 1000:.1f} ms from={_plain(fields['address'])} token={token} "
            f"id={fields['request_id']}{cause}"
        )


def _plain(address: str | None) -> str:
    """Return an address as it can stand in a log line: a proxy could forward anything as one."""
    if address is None:
        return "-"
    return address if _ADDRESS.fullmatch(address) else json.dumps(address)


class _TextFailureFormatter(logging.Formatter):
    """One line for people about a failure of the database."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
        more = f" (and {fields['more']} more before)" if fields["more"] else ""
        return f"{_time(record)} {record.getMessage()}{more} id={fields['request_id'] or '-'}"


class _JsonFormatter(logging.Formatter):
    """One JSON object on a line."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
        return json.dumps({"at": _time(record), "event": self._event, **fields})


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log_requests(*, as_json: bool) -> None:
    """Log every request of this process to standard error; once is enough."""
    _write(_LOGGER, _JsonFormatter("request") if as_json else _TextFormatter())


def log_failures(*, as_json: bool) -> None:
    """Log the database's failures in this process to standard error; once is enough."""
    _write(_FAILURES, _JsonFormatter("database-failure") if as_json else _TextFailureFormatter())


def _write(logger: logging.Logger, formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
