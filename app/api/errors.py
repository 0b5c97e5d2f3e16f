"""Errors as problem details (RFC 9457), each with a stable code: the one place that maps errors to HTTP."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.api.wire.problem import MAX_BROKEN, broken_document
from app.domain.document import Fault, FaultCode, InvalidDocumentError
from app.domain.evolution import EvolutionError
from app.storage.mirror import AlteredError, GapError, RefusedError
from app.storage.outcome import ConflictError, UnknownVendorError
from app.storage.replica import ReplicaLostError

_RETRY_SECONDS = 2
_CODES = {
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
}


class ApiError(HTTPException):
    """An error of a request, with its stable code."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    faults: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return an error in the one shape that all have."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        **(more or {}),
    }
    if faults:
        content["faults"] = list(faults)
    return JSONResponse(
        content, status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/problem+json"
    )


def _stated(faults: Iterable[Fault]) -> list[Mapping[str, str]]:
    return [{"pointer": fault.pointer, "code": fault.code.value, "message": fault.message} for fault in faults]


async def _api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    code = error.code if isinstance(error, ApiError) else _CODES.get(status, status.phrase.lower().replace(" ", "-"))
    return problem(status, code, str(error.detail), headers=error.headers)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return invalid(_merged([_fault_of(each) for each in error.errors()]))


def invalid(faults: Sequence[Mapping[str, str]]) -> JSONResponse:
    """Return the error for a request that has faults."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", f"the request has {count}", faults)


# What pydantic says for programmers, for those who send.
_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is no field that is known here",
    "model_type": "has to be an object",
    "model_attributes_type": "has to be an object",
    "dict_type": "has to be an object",
    "list_type": "has to be an array",
    "string_type": "has to be a string",
    "bool_type": "has to be true or false",
    "int_type": "has to be an integer",
    "too_long": "has more than {max_length:,} items",
    "too_short": "has fewer items than {min_length}",
    "string_too_long": "has more than {max_length:,} characters",
    "string_too_short": "has fewer characters than {min_length}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "string_pattern_mismatch": "has to match {pattern}",
    "enum": "has to be {expected}",
    "literal_error": "has to be {expected}",
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
    where, *path = error["loc"]
    kind = str(error["type"])
    code = _FAULT_CODES.get(kind, FaultCode.WRONG_TYPE if kind.endswith("_type") else FaultCode.INVALID_VALUE)
    said = str(error["msg"]).removeprefix("Value error, ")
    message = _MESSAGES[kind].format_map(error.get("ctx", {})) if kind in _MESSAGES else said
    fault = {"code": code.value, "message": message}
    if where != "body":
        return {"parameter": ".".join(map(str, path)), **fault}
    # The names of a union's members, and of a key, are pydantic's, not the document's.
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in path if step not in _PYDANTICS_OWN]
    return {"pointer": "".join(f"/{step}" for step in steps), **fault}


def _merged(faults: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return one fault for each place: of a union, each member told one of its own."""
    places: dict[str, list[Mapping[str, str]]] = {}
    for fault in faults:
        places.setdefault(fault.get("pointer", fault.get("parameter", "")), []).append(fault)
    return [_of_union(told) if len(told) > 1 else told[0] for told in places.values()]


def _of_union(told: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    beyond_type = [fault for fault in told if fault["code"] != FaultCode.WRONG_TYPE]
    return beyond_type[0] if beyond_type else {**told[0], "message": "is of none of the types that it may be"}


_PYDANTICS_OWN = frozenset({"StepRange", "bool", "int", "str", "constrained-int", "constrained-str", "none", "[key]"})


async def _invalid_document(_request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidDocumentError):
        raise error
    return invalid(_stated(error.faults))


async def _conflict(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ConflictError):
        raise error
    codes = {fault.code for fault in error.faults}
    code = FaultCode.VARIABLE_REDEFINED if FaultCode.VARIABLE_REDEFINED in codes else FaultCode.ENTRY_CHANGED
    detail = "what is published never changes: this would change it where the faults say"
    return problem(HTTPStatus.CONFLICT, code.value, detail, _stated(error.faults))


async def _evolution(_request: Request, error: Exception) -> Response:
    if not isinstance(error, EvolutionError):
        raise error
    broken = [broken_document(each) for each in error.broken[:MAX_BROKEN]]
    more = {"broken": broken, "broken_count": len(error.broken)}
    return problem(HTTPStatus.CONFLICT, "evolution-gate", str(error), more=more)


async def _mirror(_request: Request, error: Exception) -> Response:
    code = "gap" if isinstance(error, GapError) else "altered"
    if isinstance(error, RefusedError):
        code = "mirror-conflict"
    faults = _stated(error.faults) if isinstance(error, RefusedError) else ()
    return problem(HTTPStatus.CONFLICT, code, str(error), faults)


async def _unknown_vendor(_request: Request, error: Exception) -> Response:
    return problem(HTTPStatus.NOT_FOUND, "unknown-vendor", str(error))


# PostgreSQL's SQLSTATE of a table and a column that are not there.
_OF_ANOTHER_SCHEMA = frozenset({"42P01", "42703"})


async def _other_schema(request: Request, error: Exception) -> Response:
    if getattr(getattr(error, "orig", None), "sqlstate", None) not in _OF_ANOTHER_SCHEMA:
        raise error
    return await _api_error(request, unavailable(OTHER_SCHEMA))


async def _not_storable(_request: Request, _error: Exception) -> Response:
    fault = {"pointer": "", "code": FaultCode.INVALID_VALUE.value, "message": "has a character that cannot be stored"}
    return invalid([fault])


async def _unavailable(request: Request, _error: Exception) -> Response:
    return await _api_error(request, unavailable("the database cannot be reached"))


async def _failure(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "the registry has a fault; its log says more")


_ANSWERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _api_error,
    RequestValidationError: _invalid_request,
    InvalidDocumentError: _invalid_document,
    ConflictError: _conflict,
    EvolutionError: _evolution,
    UnknownVendorError: _unknown_vendor,
    AlteredError: _mirror,
    GapError: _mirror,
    RefusedError: _mirror,
    sa.exc.ProgrammingError: _other_schema,
    sa.exc.DataError: _not_storable,
    sa.exc.OperationalError: _unavailable,
    sa.exc.TimeoutError: _unavailable,
    ReplicaLostError: _unavailable,
}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the app as problem details."""
    app.add_exception_handler(Exception, _failure)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


async def problem_of(request: Request, error: Exception) -> Response | None:
    """Return the problem details that an error of a request is; None for a fault of the service itself."""
    answer = next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
    return None if answer is None else await answer(request, error)


OTHER_SCHEMA = "the database's schema is of another version: run profile-registry migrate"


def unavailable(why: str) -> ApiError:
    """Return the error for what may be asked again in a moment."""
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", why, headers)


def unknown(name: str, kind: str) -> ApiError:
    """Return the error for something that is not in the registry; its code is `unknown-<kind>`."""
    code = f"unknown-{kind.replace(' ', '-')}"
    return ApiError(HTTPStatus.NOT_FOUND, code, f"the registry has no {kind} {name}")
