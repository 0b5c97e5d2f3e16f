"""Map errors to problem details (RFC 9457), each with a stable code; no other module maps errors to HTTP."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import psycopg
import sqlalchemy as sa
from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.api import observer
from app.api.error_code import ERRORS, ErrorCode
from app.api.negotiation import prefers_html
from app.domain.publishing.gate import EvolutionError
from app.domain.publishing.outcome import ConflictError, UnknownVendorError
from app.domain.values.budget import STEPS, AbandonedError, OverBudgetError
from app.domain.values.document import Fault, FaultCode, InvalidDocumentError, pointer_step
from app.service.diff import OtherKindError
from app.service.document import broken_document
from app.service.known import UnknownNameError
from app.storage.failure import Failure, FailureError, failure_of
from app.storage.mirror import AlteredError, GapError, RefusedError
from app.storage.near import near
from app.storage.reader import HostsClosedError
from app.wire.problem import MAX_BROKEN, problem_details
from app.wire.reading import MAX_FAULTS, InvalidShapeError

_RETRY_SECONDS = 2
_CLIENT_CLOSED_REQUEST = 499
_LASTING_RETRY_SECONDS = 10
# The codes of errors that the framework raises; BAD_REQUEST for others.
_CODES = {
    HTTPStatus.UNAUTHORIZED: ErrorCode.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.TOO_LARGE,
}


class ApiError(HTTPException):
    """An error of a request, with its stable code."""

    def __init__(
        self,
        status: HTTPStatus,
        code: ErrorCode,
        detail: str,
        headers: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        """reason: why, for the log and the metrics, where the code has several."""
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.reason = reason


class ErrorResponse(JSONResponse):
    """The response of an error: problem details, or for a browser the same as a page. reason: as of ApiError."""

    media_type = "application/problem+json"
    reason = ""

    def __init__(
        self, document: dict[str, Any], status: HTTPStatus, code: ErrorCode, headers: Mapping[str, str]
    ) -> None:
        super().__init__(document, status, {"Cache-Control": "no-store", "Vary": "Accept", **headers})
        self.document = document
        self.code = code
        self.own_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        observer.note_problem(scope, self.code, self.reason)
        if root := root_of(scope):
            self.document = {**self.document, "type": f"{root}{self.document['type']}"}
            self.body = self.render(self.document)
            self.headers["Content-Length"] = str(len(self.body))
        as_page: ErrorPage | None = scope.get("state", {}).get(ERROR_PAGE)
        if as_page is not None and prefers_html(Headers(scope=scope).getlist("accept")):
            await as_page(Request(scope), self)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


ErrorPage: TypeAlias = Callable[[Request, ErrorResponse], Response]
# The name of what makes the pages of errors in the state of a request; the pages' middleware sets it.
ERROR_PAGE = "error_page"


def root_of(scope: Scope) -> str:
    """Return the root path of the service behind a proxy, otherwise an empty text."""
    # A mounted application is given a root path of its own.
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root


def response_of(error: ApiError) -> ErrorResponse:
    """Return the response of an error; the middleware answers with it what no route has raised."""
    answer = problem(HTTPStatus(error.status_code), error.code, error.detail, headers=error.headers)
    answer.reason = error.reason
    return answer


def problem(
    status: HTTPStatus,
    code: ErrorCode,
    detail: str,
    faults: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> ErrorResponse:
    """Return the response of an error; set its reason where the code has several."""
    content: dict[str, Any] = {**problem_details(status, code, detail), **(more or {})}
    if faults:
        content["faults"] = list(faults)
    return ErrorResponse(content, status, code, headers or {})


def _stated(faults: Iterable[Fault]) -> list[Mapping[str, str]]:
    return [{"pointer": fault.pointer, "code": fault.code.value, "message": fault.message} for fault in faults]


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NOT_FOUND and not isinstance(error, ApiError) and (moved := _without_slash(request)):
        return problem(
            HTTPStatus.PERMANENT_REDIRECT, ErrorCode.MOVED, f"The address is {moved}.", headers={"Location": moved}
        )
    if isinstance(error, ApiError):
        return response_of(error)
    code = _CODES.get(status, ErrorCode.BAD_REQUEST)
    detail = str(error.detail)
    # The title has the phrase of the status already.
    return problem(status, code, ERRORS[code].sentence if detail == status.phrase else detail, headers=error.headers)


def _without_slash(request: Request) -> str | None:
    """Return the address without a slash at its end, None if nothing is there either.

    It is a path, so that neither the host nor the scheme that the client names is trusted.
    """
    path, raw = request.scope["path"], request.scope["raw_path"].decode("ascii", "ignore")
    if not path.endswith("/") or path.startswith("//") or "\\" in path:
        return None
    scope = {**request.scope, "path": path.rstrip("/")}
    routes: Sequence[BaseRoute] = request.app.routes
    if all(route.matches(scope)[0] is Match.NONE for route in routes):
        return None
    address: str = raw.rstrip("/")
    return address + (f"?{request.url.query}" if request.url.query else "")


async def _invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return invalid(_merged([_fault_of(fault) for fault in error.errors()]))


async def _invalid_shape(_request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidShapeError):
        raise error
    return invalid(faults_of_shape(error))


def faults_of_shape(error: InvalidShapeError) -> Sequence[Mapping[str, str]]:
    """Return the faults of a document that does not have its shape, one for each place."""
    return _merged([_fault_of({**fault, "loc": ("body", *fault["loc"])}) for fault in error.faults])


def invalid(faults: Sequence[Mapping[str, str]]) -> JSONResponse:
    """Return the error for a request with faults; beyond MAX_FAULTS they are neither counted nor listed."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults):,} faults"
    count += " or more" if len(faults) >= MAX_FAULTS else ""
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, ErrorCode.INVALID, f"The request has {count}.", faults)


# Pydantic writes messages for Python programmers; these are for the sender of the request.
_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "unknown field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be an array",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "too_long": "must have at most {max_length:,} items",
    "too_short": "must have at least {min_length} items",
    "string_too_long": "must have at most {max_length:,} characters",
    "string_too_short": "must have at least {min_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
_FAULT_CODES = {
    "duplicate": FaultCode.DUPLICATE,
    "missing": FaultCode.MISSING_FIELD,
    "unknown_parameter": FaultCode.UNKNOWN_FIELD,
    "extra_forbidden": FaultCode.UNKNOWN_FIELD,
    "too_long": FaultCode.LIMIT_EXCEEDED,
    "too_short": FaultCode.LIMIT_EXCEEDED,
    "string_too_long": FaultCode.LIMIT_EXCEEDED,
}


def _fault_of(error: Mapping[str, Any]) -> Mapping[str, str]:
    location, *path = error["loc"]
    kind = str(error["type"])
    code = _FAULT_CODES.get(kind, FaultCode.WRONG_TYPE if kind.endswith("_type") else FaultCode.INVALID_VALUE)
    default = str(error["msg"]).removeprefix("Value error, ")
    message = _MESSAGES[kind].format_map(error.get("ctx", {})) if kind in _MESSAGES else default
    fault = {"code": code.value, "message": message}
    if location != "body":
        return {"parameter": ".".join(map(str, path)), **fault}
    # Pydantic adds names of union members and keys, which are not in the document.
    steps = [pointer_step(step) for step in path if step not in _PYDANTICS_OWN]
    return {"pointer": "".join(f"/{step}" for step in steps), **fault}


def _merged(faults: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return one fault for each place; every member of a union reports a fault of its own."""
    places: dict[str, list[Mapping[str, str]]] = {}
    for fault in faults:
        places.setdefault(fault.get("pointer", fault.get("parameter", "")), []).append(fault)
    return [_of_union(faults) if len(faults) > 1 else faults[0] for faults in places.values()]


def _of_union(faults: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    beyond_type = [fault for fault in faults if fault["code"] != FaultCode.WRONG_TYPE]
    return beyond_type[0] if beyond_type else {**faults[0], "message": "must have one of the documented types"}


_PYDANTICS_OWN = frozenset({"StepRange", "bool", "int", "str", "constrained-int", "constrained-str", "none", "[key]"})


async def _invalid_document(_request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidDocumentError):
        raise error
    return invalid(_stated(error.faults))


async def _conflict(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ConflictError):
        raise error
    codes = {fault.code for fault in error.faults}
    code = ErrorCode.VARIABLE_REDEFINED if FaultCode.VARIABLE_REDEFINED in codes else ErrorCode.ENTRY_CHANGED
    detail = "What is published never changes, and this would change it: see the faults. Publish a new name or version."
    return problem(HTTPStatus.CONFLICT, code, detail, _stated(error.faults))


async def _evolution(_request: Request, error: Exception) -> Response:
    if not isinstance(error, EvolutionError):
        raise error
    entries = [broken_document(broken) for broken in error.broken[:MAX_BROKEN]]
    more = {"broken": entries, "broken_count": len(error.broken)}
    return problem(HTTPStatus.CONFLICT, ErrorCode.EVOLUTION_GATE, str(error), more=more)


async def _mirror(_request: Request, error: Exception) -> Response:
    code = ErrorCode.GAP if isinstance(error, GapError) else ErrorCode.ALTERED
    if isinstance(error, RefusedError):
        code = ErrorCode.MIRROR_CONFLICT
    faults = _stated(error.faults) if isinstance(error, RefusedError) else ()
    return problem(HTTPStatus.CONFLICT, code, str(error), faults)


async def _unknown_vendor(request: Request, error: Exception) -> Response:
    if not isinstance(error, UnknownVendorError):
        raise error
    return await _unknown(request, "vendor", error.vendor, str(error))


async def _unknown_name(request: Request, error: Exception) -> Response:
    if not isinstance(error, UnknownNameError):
        raise error
    return await _unknown(request, error.kind, error.name, f"{error}.")


async def _unknown(request: Request, kind: str, name: str, message: str) -> Response:
    """Return the error for a name that is not published, with the published ones that resemble it."""
    names = await _near(request, kind, name)
    detail = f"{message} Did you mean {_either(names)}?" if names else message
    code = ErrorCode(f"unknown-{kind.replace(' ', '-')}")
    return problem(HTTPStatus.NOT_FOUND, code, detail, more={"did_you_mean": names} if names else {})


def _either(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


async def _near(request: Request, kind: str, name: str) -> Sequence[str]:
    """Return published names that resemble an unknown one; none if the database cannot be read now."""
    databases = request.app.state.container.databases

    def read() -> Sequence[str]:
        with databases.reading() as connection:
            return near(connection, kind, name)

    try:
        return await to_thread.run_sync(read)
    except Exception as failure:
        if failure_of(failure) is None:
            raise
        return ()


async def _other_kind(_request: Request, error: Exception) -> Response:
    fault = {"parameter": "to", "code": FaultCode.INVALID_VALUE.value, "message": str(error)}
    return invalid([fault])


async def _over_budget(_request: Request, error: Exception) -> Response:
    if not isinstance(error, OverBudgetError):
        raise error
    setting = "REGISTRY_MAX_STEPS" if error.unit == STEPS else "REGISTRY_MAX_ANSWER_BYTES"
    detail = f"The answer takes more than {error.limit:,} {error.unit} ({setting}). {error.instead or 'Ask for less.'}"
    answer = problem(HTTPStatus.UNPROCESSABLE_ENTITY, ErrorCode.OVER_BUDGET, detail)
    answer.reason = error.unit.partition(" ")[0]
    return answer


async def _hosts_closed(_request: Request, _error: Exception) -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    return problem(HTTPStatus.UNAUTHORIZED, ErrorCode.UNAUTHORIZED, HOSTS_CLOSED, headers=headers)


async def _abandoned(_request: Request, _error: Exception) -> Response:
    # Nobody receives it; the status, which nginx made known, is for the log and the metrics.
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _not_storable(_request: Request, _error: Exception) -> Response:
    fault = {
        "pointer": "",
        "code": FaultCode.INVALID_VALUE.value,
        "message": "must not have characters that the database cannot store",
    }
    return invalid([fault])


async def _database(request: Request, error: Exception) -> Response:
    failure = failure_of(error)
    if failure is None:
        raise error
    return unavailable(request, failure)


def unavailable(request: Request, failure: Failure, more: Mapping[str, Any] | None = None) -> JSONResponse:
    """Return the 503 error for a failure of the database, which the log then names."""
    observer.log_failure(failure, getattr(request.state, "request_id", None))
    seconds = _LASTING_RETRY_SECONDS if failure.is_lasting else _RETRY_SECONDS
    more = {"cause": failure.cause.value, **(more or {})}
    headers = {"Retry-After": str(seconds)}
    answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.UNAVAILABLE, failure.words, headers=headers, more=more)
    answer.reason = failure.cause.value
    return answer


NOT_SIGNED_IN = "Not signed in: set REGISTRY_TOKEN (HTTP: Authorization: Bearer <token>)."
HOSTS_CLOSED = f"The registered hosts are closed here, with the feed that names them. {NOT_SIGNED_IN}"
STOPPING = "The service stops; try again."


def busy(message: str, reason: str) -> ApiError:
    """Return the 503 error for a request that can succeed a moment later, though the database is well."""
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.UNAVAILABLE, message, headers, reason)


async def _failure(request: Request, _error: Exception) -> Response:
    # The observer around the app has given it.
    request_id = getattr(request.state, "request_id", "unknown")
    detail = f"Internal error, request id {request_id}; see the server log."
    headers = {"X-Request-ID": request_id}
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, ErrorCode.INTERNAL_ERROR, detail, headers=headers)


_ANSWERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _api_error,
    RequestValidationError: _invalid_request,
    InvalidShapeError: _invalid_shape,
    OverBudgetError: _over_budget,
    AbandonedError: _abandoned,
    HostsClosedError: _hosts_closed,
    InvalidDocumentError: _invalid_document,
    ConflictError: _conflict,
    EvolutionError: _evolution,
    UnknownVendorError: _unknown_vendor,
    UnknownNameError: _unknown_name,
    OtherKindError: _other_kind,
    AlteredError: _mirror,
    GapError: _mirror,
    RefusedError: _mirror,
    sa.exc.DataError: _not_storable,
    sa.exc.SQLAlchemyError: _database,
    sqlite3.Error: _database,
    psycopg.Error: _database,
    OSError: _database,
    FailureError: _database,
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the app with problem details."""
    app.add_exception_handler(Exception, _failure)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


async def problem_of(request: Request, error: Exception) -> Response | None:
    """Return the response for an error of a request; None for an internal error."""
    answer = next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
    return None if answer is None else await answer(request, error)
