"""The OpenAPI document, beyond what routes say of themselves: how errors are sent, what is conditional, examples."""

from typing import Any

from fastapi import FastAPI

from app.api import examples

_UNCONDITIONAL = frozenset({"get_health", "get_readiness", "get_metrics"})
_HEADERS = {
    "401": {"WWW-Authenticate": "what is to be shown: Bearer"},
    "503": {"Retry-After": "seconds to wait"},
}
_VALIDATORS = {
    "ETag": "of what is answered, for If-None-Match and If-Match",
    "Cache-Control": "`no-cache`: to be asked again with If-None-Match; what stands by its digest is `immutable`",
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
        return made()

    # As FastAPI's documentation says that it is extended.
    app.openapi = openapi  # type: ignore[method-assign]


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    for status, response in responses.items():
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
            parameter["examples"] = examples.examples(each if isinstance(each, dict) else {"in the sample": each})


def _documented(headers: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
