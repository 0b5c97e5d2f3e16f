"""The route class: strict JSON bodies, strict parameters, conditional reads (RFC 9110, section 13)."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from hashlib import blake2b
from http import HTTPStatus
from typing import Annotated, Any, get_args, get_origin

from fastapi import Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.api.body import JsonRequest, check_content_type
from app.api.container import container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.session import check_before_body, in_turn, is_private
from app.settings import Settings
from app.storage.replica import ReplicaLostError
from app.wire.reading import MAX_FAULTS

_TAG_BYTES = 16
_KEPT_IN_304 = ("etag", "cache-control", "vary")

IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        description="the ETag of the entry as GET returned it, or `*`; 412 if the entry has changed since",
    ),
]


class Route(APIRoute):
    """A route that reads strict JSON, refuses unknown parameters, and adds an ETag to the answers of GET."""

    @staticmethod
    def max_body_bytes(settings: Settings) -> int:
        """Return the limit of the request body, in bytes."""
        return settings.max_body_bytes

    # Refuse unknown parameters: with a misspelt dry_run the request would write.
    is_strict = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, in_turn(endpoint), **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in what all routes share."""
        handle = super().get_route_handler()
        parameters = dict(_parameters(self.dependant))
        is_own_answer = is_private(self.dependant)

        async def handle_request(request: Request) -> Response:
            if self.body_field:
                # Check the token first: no body is read from a client that is not allowed to send one.
                await check_before_body(request, self.dependant)
                check_content_type(request.headers.get("content-type"))
                request.scope["max_body_bytes"] = self.max_body_bytes(container(request).settings)
            # One request for both: it keeps the query that it has parsed, so nothing parses it again.
            json_request = JsonRequest(request.scope, request.receive)
            if self.is_strict:
                _check_parameters(json_request, parameters)
            try:
                response = await handle(json_request)
            except ReplicaLostError:
                # Try once more: the lost replica is not used again.
                if request.method != "GET":
                    raise
                response = await handle(JsonRequest(request.scope, request.receive))
            if request.method in {"GET", "HEAD"}:
                return conditional(request, response, is_own_answer=is_own_answer)
            return response

        return handle_request


class LargeRoute(Route):
    """A route for many things at once: changes of another registry, the hosts of an inventory."""

    @staticmethod
    def max_body_bytes(settings: Settings) -> int:
        """Return the limit of the request body, in bytes."""
        return 8 * settings.max_body_bytes


class QuestionRoute(Route):
    """A route for questions, which anybody can send: a body costs much more than its size."""

    @staticmethod
    def max_body_bytes(settings: Settings) -> int:
        """Return the limit of the request body, in bytes."""
        return min(settings.max_question_bytes, settings.max_body_bytes)


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Iterate over the query parameters of a route, and whether they can be repeated."""
    for field in dependant.query_params:
        kinds = (field.field_info.annotation, *get_args(field.field_info.annotation))
        yield field.alias, any(get_origin(kind) is list for kind in kinds)
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)


def _check_parameters(request: Request, known: Mapping[str, bool]) -> None:
    """Raise 422 for unknown parameters, and for repeated ones that must not be repeated."""
    faults = []
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            allowed = f"allowed: {', '.join(known)}" if known else "no parameters are allowed"
            faults.append({"type": "unknown_parameter", "loc": ("query", name), "msg": f"unknown parameter; {allowed}"})
        elif name in seen and not known[name]:
            faults.append({"type": "duplicate", "loc": ("query", name), "msg": "duplicate parameter; give it once"})
        seen.add(name)
        if len(faults) == MAX_FAULTS:
            break
    if faults:
        raise RequestValidationError(faults)


def etag_of(body: bytes) -> str:
    """Return the ETag of a response body."""
    return f'"{blake2b(body, digest_size=_TAG_BYTES).hexdigest()}"'


def conditional(request: Request, response: Response, *, is_own_answer: bool) -> Response:
    """Return the answer to a read with ETag and Cache-Control, or 304 if the client has the current one."""
    if response.status_code != HTTPStatus.OK:
        return response
    headers = response.headers
    scope = "private" if is_own_answer or container(request).answers_differ else "public"
    headers["Cache-Control"] = f"{scope}, {headers.get('Cache-Control', 'no-cache')}"
    headers["Vary"] = "Accept, Authorization"
    # A streamed body is never in memory as a whole, so it has no ETag.
    body = getattr(response, "body", None)
    if not isinstance(body, bytes):
        return response
    tag = headers.setdefault("ETag", etag_of(body))
    condition = request.headers.get("if-none-match")
    if condition is None or not _matches(condition, tag):
        return response
    return Response(
        status_code=HTTPStatus.NOT_MODIFIED, headers={name: headers[name] for name in _KEPT_IN_304 if name in headers}
    )


def _matches(condition: str, tag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in condition.split(",")]
    return condition.strip() == "*" or tag in tags


def check_if_match(condition: str | None, tag: str) -> None:
    """Raise 412 if the entry has changed since the ETag that the client sent."""
    if (
        condition is not None
        and condition.strip() != "*"
        and tag not in [part.strip() for part in condition.split(",")]
    ):
        message = "the entry has changed since the ETag in If-Match: read it again"
        raise ApiError(HTTPStatus.PRECONDITION_FAILED, ErrorCode.PRECONDITION_FAILED, message)
