"""Complete the OpenAPI document: errors, conditional requests, codes, examples, and where the service is."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles

from app.api import examples
from app.api.answer import json_response
from app.api.error_code import ErrorCode
from app.api.responses import error_response
from app.domain.fleet.member import BaselineCode
from app.domain.values.document import FaultCode
from app.domain.values.value import INT_MAX, INT_MIN
from app.domain.verdict.problem import RULES, ProblemCode, WarningCode
from app.settings import Settings

# Where the files of Swagger UI are.
UI_PATH = "/docs-ui"
# Answers of the running service: `python -m tests.api.recorder` writes them.
ANSWERS = Path(__file__).with_name("answers.json")
_HEALTH = frozenset({"get_health", "get_readiness", "get_metrics"})
_HEADERS = {
    "401": {"WWW-Authenticate": "the scheme of the token: Bearer"},
    "429": {"Retry-After": "seconds to wait"},
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
_PROBLEM = "application/problem+json"
_ERROR_SCHEMA = {"$ref": "#/components/schemas/ErrorShape"}
_TOO_MANY = error_response(
    "`too-many-requests`: the client sends more than its share; try again after Retry-After seconds"
)
_OTHERWISE = "any other error of a request, the same for all operations: what programs look at is `code`"
_MORE = {"description": "The pages: the same content for people", "url": "./"}


# The fields that hold a stable code. The list is open: later versions can have more codes.
_CODES = {
    "Problem": ProblemCode,
    "Reason": ProblemCode,
    "VerdictWarning": WarningCode,
    "FaultShape": FaultCode,
    "ErrorShape": ErrorCode,
    "BaselineProblem": BaselineCode,
}


def document(app: FastAPI, settings: Settings) -> None:
    """Complete the OpenAPI document of the app, and serve it."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            generated = generate()
            generated["info"]["contact"] = _contact(settings)
            generated["externalDocs"] = _MORE
            generated["servers"] = [{"url": "/"}]
            recorded = _answers()
            for _, method, operation in _operations(generated):
                _complete(method, operation, recorded)
            _list_codes(generated["components"]["schemas"])
            app.openapi_schema = _exact(_shared(generated))
        return generate()

    # FastAPI documents this way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]

    app.mount(UI_PATH, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs-ui")

    @app.get("/openapi.json", include_in_schema=False)
    async def get_document(request: Request) -> Response:
        """Return the OpenAPI document. It is generated in a thread: that takes a second, once."""
        documented: FastAPI = request.app
        if documented.openapi_schema is None:
            await to_thread.run_sync(documented.openapi, limiter=documented.state.container.documenting)
        root = request.scope.get("root_path", "").rstrip("/")
        return json_response({**documented.openapi(), "servers": [{"url": root or "/"}]})


def _operations(generated: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in generated["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def _contact(settings: Settings) -> dict[str, str]:
    url, email = settings.contact_url, settings.contact_email
    return {
        "name": settings.contact_name,
        **({} if url is None else {"url": str(url)}),
        **({} if email is None else {"email": email}),
    }


@cache
def _answers() -> Mapping[str, Any]:
    """Return recorded answers: of `operations` by id, status, media type and name, and errors of any by code."""
    answers: Mapping[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return answers


def _list_codes(schemas: dict[str, Any]) -> None:
    """List the codes of problems with their rules, and the codes of warnings, faults and errors."""
    for name, codes in _CODES.items():
        field = schemas[name]["properties"]["code"]
        field["x-extensible-enum"] = [code.value for code in codes]
    rules = "\n".join(f"- `{code.value}`: {rule.sentence}" for code, rule in RULES.items())
    schemas["Problem"]["properties"]["code"]["description"] = f"the rule that is not met; stable:\n{rules}"


# FastAPI writes limits as floats; 64-bit limits are not exact then.
_LIMITS = {float(INT_MAX): INT_MAX, float(INT_MIN): INT_MIN}
_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)


def _exact(node: Any) -> Any:
    """Return a part of the document with exact limits, and the format of its integers."""
    if isinstance(node, dict):
        return _with_format({name: _exact(value) for name, value in node.items()})
    if isinstance(node, list):
        return [_exact(item) for item in node]
    return node


def _with_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an integer with its format; no format has the whole range of values."""
    if schema.get("type") != "integer":
        return schema
    for limit in {"minimum", "maximum"} & schema.keys():
        schema[limit] = _LIMITS.get(schema[limit], int(schema[limit]))
    least, most = schema.get("minimum", _INT64[0]), schema.get("maximum", _INT64[1])
    for name, (first, last) in (("int32", _INT32), ("int64", _INT64)):
        if first <= least and most <= last:
            return {**schema, "format": name}
    return schema


def _complete(method: str, operation: dict[str, Any], recorded: Mapping[str, Any]) -> None:
    responses = operation["responses"]
    # The first sentence of the docstring; the generated summary only repeats the name.
    operation["summary"] = re.split(r"[.:;]\s|\.$", operation["description"], maxsplit=1)[0]
    if operation["operationId"] not in _HEALTH:
        responses["429"] = {"description": _TOO_MANY["description"]}
    for status, response in responses.items():
        if response["description"] == _GENERATED:
            response["description"] = _SUCCESSES[status]
        if status >= "400":
            response["content"] = {_PROBLEM: {"schema": _ERROR_SCHEMA}}
        if status in _HEADERS:
            response["headers"] = _documented(_HEADERS[status])
    if method == "get" and operation["operationId"] not in _HEALTH:
        responses["200"]["headers"] = _documented(_VALIDATORS)
        responses["304"] = {"description": _NOT_MODIFIED, "headers": _documented(_VALIDATORS)}
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
    _add_answers(responses, recorded["operations"].get(operation["operationId"], {}))
    anywhere = {code: {"value": value} for code, value in recorded["anywhere"].items()}
    responses["default"] = {
        "description": _OTHERWISE,
        "content": {_PROBLEM: {"schema": _ERROR_SCHEMA, "examples": anywhere}},
    }
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


def _add_answers(responses: dict[str, Any], answers: Mapping[str, Any]) -> None:
    """Add the recorded answers of an operation as examples."""
    for status, response in responses.items():
        for media_type, content in response.get("content", {}).items():
            recorded = answers.get(status, {}).get(media_type, {})
            if recorded:
                content["examples"] = {name: {"value": value} for name, value in recorded.items()}


def _shared(generated: dict[str, Any]) -> dict[str, Any]:
    """Return the document with each response that several operations give alike in one place."""
    texts = {
        id(response): json.dumps(response)
        for _, _, operation in _operations(generated)
        for status, response in operation["responses"].items()
        if status >= "300"
    }
    counts, names, shared = Counter(texts.values()), dict[str, str](), dict[str, Any]()
    for _, _, operation in _operations(generated):
        for status, response in operation["responses"].items():
            text = texts.get(id(response), "")
            if counts[text] < 2:  # noqa: PLR2004 (that is: several)
                continue
            if text not in names:
                names[text] = _name(status, response, shared)
                shared[names[text]] = response
            operation["responses"][status] = {"$ref": f"#/components/responses/{names[text]}"}
    generated["components"]["responses"] = shared
    return generated


def _name(status: str, response: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """Return a name for a response that no other one has: its codes."""
    codes = [] if status == "default" else list(response.get("content", {}).get(_PROBLEM, {}).get("examples", ()))
    name = "-".join(codes) or {"304": "not-modified", "default": "any-error"}.get(status, status)
    number = sum(other == name or other.rpartition("--")[0] == name for other in taken)
    return f"{name}--{number + 1}" if number else name


def _documented(headers: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
