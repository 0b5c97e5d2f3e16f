"""The OpenAPI document, beyond what routes say of themselves: how errors are sent, what is conditional, examples."""

import re
from typing import Any

from fastapi import FastAPI

from app.api import examples
from app.domain.value import INT_MAX, INT_MIN

_UNCONDITIONAL = frozenset({"get_health", "get_readiness", "get_metrics"})
_HEADERS = {
    "401": {"WWW-Authenticate": "what is to be shown: Bearer"},
    "503": {"Retry-After": "seconds to wait"},
}
_VALIDATORS = {
    "ETag": "of what is answered, for If-None-Match; that of a release or profile also for If-Match of its PATCH",
    "Cache-Control": "`no-cache`: to be asked again with If-None-Match; what stands by its digest is `immutable`; "
    "`private` instead of `public`: not for caches that several share",
}
_GENERATED = "Successful Response"
_SUCCESSES = {
    "200": "the answer",
    "201": "something was added; with `dry_run` it would be",
    "204": "it is gone; with `dry_run` it would be",
}
_NOT_MODIFIED = "it is as If-None-Match says that the client has it"
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "ETags that the client has, or `*`: if it is still one of them, 304",
}
_ERROR = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ErrorShape"}}}


def document(app: FastAPI) -> None:
    """Have the app tell its OpenAPI document whole."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = made()
            for operations in told["paths"].values():
                for method, operation in operations.items():
                    _complete(method, operation)
            app.openapi_schema = _exact(told)
        return made()

    # As FastAPI's documentation says that it is extended.
    app.openapi = openapi  # type: ignore[method-assign]


# FastAPI writes the limits of 64 bits as floats, which are others.
_LIMITS = {float(INT_MAX): INT_MAX, float(INT_MIN): INT_MIN}


def _exact(told: Any) -> Any:
    """Return a part of the document with its limits as they are."""
    if isinstance(told, dict):
        return {name: _exact(each) for name, each in told.items()}
    if isinstance(told, list):
        return [_exact(each) for each in told]
    return _LIMITS.get(told, told) if isinstance(told, float) else told


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    # What it does, up to the first stop: "Put Release" says nothing.
    operation["summary"] = re.split(r"[.:;]\s|\.$", operation["description"], maxsplit=1)[0]
    for status, response in responses.items():
        if response["description"] == _GENERATED:
            response["description"] = _SUCCESSES[status]
        if status >= "400":
            response["content"] = _ERROR
        if status in _HEADERS:
            response["headers"] = _documented(_HEADERS[status])
    if method == "get" and operation["operationId"] not in _UNCONDITIONAL:
        responses["200"]["headers"] = _documented(_VALIDATORS)
        responses["304"] = {"description": _NOT_MODIFIED, "headers": _documented(_VALIDATORS)}
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
    told = examples.PARAMETERS.get(operation["operationId"], {})
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in told:
            each = told[parameter["name"]]
            if "default" in parameter["schema"]:
                # Where there is a default, people at /docs are given that and not the example.
                parameter["schema"]["example"] = each
            parameter["examples"] = examples.examples(each if isinstance(each, dict) else {"in the sample": each})


def _documented(headers: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
