"""Complete the OpenAPI document: errors, conditional requests, codes and examples."""

import re
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import examples
from app.api.error_code import ErrorCode
from app.domain.values.document import FaultCode
from app.domain.values.value import INT_MAX, INT_MIN
from app.domain.verdict.problem import RULES, ProblemCode, WarningCode

_UNCONDITIONAL = frozenset({"get_health", "get_readiness", "get_metrics"})
_HEADERS = {
    "401": {"WWW-Authenticate": "the scheme of the token: Bearer"},
    "503": {"Retry-After": "seconds to wait"},
}
_VALIDATORS = {
    "ETag": "the value for If-None-Match; for a release or profile also for If-Match of its PATCH",
    "Cache-Control": "`no-cache`: revalidate with If-None-Match; `immutable`: content that is addressed by its digest; "
    "`private`: not for shared caches",
}
_GENERATED = "Successful Response"
_SUCCESSES = {
    "200": "the answer",
    "201": "something was added, or with `dry_run` would be",
    "204": "deleted, or with `dry_run` would be",
}
_NOT_MODIFIED = "the client already has the current answer (If-None-Match)"
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "ETags that the client has, or `*`; the answer is 304 if one of them is current",
}
_ERROR = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ErrorShape"}}}


# The fields that hold a stable code. The list is open: later versions can have more codes.
_CODES = {
    "Problem": ProblemCode,
    "Reason": ProblemCode,
    "VerdictWarning": WarningCode,
    "FaultShape": FaultCode,
    "ErrorShape": ErrorCode,
}


def document(app: FastAPI) -> None:
    """Complete the OpenAPI document of the app."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            generated = generate()
            for operations in generated["paths"].values():
                for method, operation in operations.items():
                    _complete(method, operation)
            _list_codes(generated["components"]["schemas"])
            app.openapi_schema = _exact(generated)
        return generate()

    # FastAPI documents this way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]
    for route in app.routes:
        if isinstance(route, Route) and route.path == app.openapi_url:
            route.app = _generated_in_a_thread(route.app)


def _generated_in_a_thread(answer: ASGIApp) -> ASGIApp:
    """Return what answers with the document, after it was generated: that takes a second, once."""

    async def generate_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
        documented: FastAPI = scope["app"]
        if documented.openapi_schema is None:
            await to_thread.run_sync(documented.openapi, limiter=documented.state.container.documenting)
        await answer(scope, receive, send)

    return generate_and_answer


def _list_codes(schemas: dict[str, Any]) -> None:
    """List the codes of problems with their rules, and the codes of warnings, faults and errors."""
    for name, codes in _CODES.items():
        field = schemas[name]["properties"]["code"]
        field["x-extensible-enum"] = [code.value for code in codes]
    rules = "\n".join(f"- `{code.value}`: {rule.sentence}" for code, rule in RULES.items())
    schemas["Problem"]["properties"]["code"]["description"] = f"the rule that is not met; stable:\n{rules}"


# FastAPI writes 64-bit limits as floats, which are not exact.
_LIMITS = {float(INT_MAX): INT_MAX, float(INT_MIN): INT_MIN}


def _exact(node: Any) -> Any:
    """Return a part of the document with exact limits."""
    if isinstance(node, dict):
        return {name: _exact(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_exact(item) for item in node]
    return _LIMITS.get(node, node) if isinstance(node, float) else node


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    # The first sentence of the docstring; the generated summary only repeats the name.
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
    examples_of = examples.PARAMETERS.get(operation["operationId"], {})
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in examples_of:
            example = examples_of[parameter["name"]]
            if "default" in parameter["schema"]:
                # /docs would fill in the default instead of the example.
                parameter["schema"]["example"] = example
            parameter["examples"] = examples.examples(
                example if isinstance(example, dict) else {"in the sample": example}
            )


def _documented(headers: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
