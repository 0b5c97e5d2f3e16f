"""What all routes share: bodies are strict JSON, reads are conditional (RFC 9110, section 13)."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from hashlib import blake2b
from http import HTTPStatus
from typing import Annotated, Any, get_args, get_origin

from fastapi import Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.api.access import check_before_body, is_for_admins
from app.api.body import JsonRequest, check_content_type
from app.api.errors import ApiError
from app.storage.replica import ReplicaLostError

_TAG_BYTES = 16
_KEPT_IN_304 = ("etag", "cache-control", "vary")

IfMatch = Annotated[
    str | None,
    Header(
        max_length=1000,
        description="the ETag of what is to be changed, as GET gave it, or `*`: if it is another now, 412",
    ),
]


class Route(APIRoute):
    """A route whose request body, if it has one, is strict JSON, and whose answers to GET have an ETag."""

    # How many times the limit of a body this route takes.
    body_factor = 1
    # Whether it refuses parameters that it does not have: a misspelt dry_run would write.
    is_strict = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with what all routes share around it."""
        handle = super().get_route_handler()
        parameters = dict(_parameters(self.dependant))
        is_admins = is_for_admins(self.dependant)

        async def handle_request(request: Request) -> Response:
            if self.body_field:
                # A body is read only of somebody who may send it.
                await check_before_body(request, self.dependant)
                check_content_type(request.headers.get("content-type"))
                request.scope["body_factor"] = self.body_factor
            if self.is_strict:
                _check_parameters(request, parameters)
            try:
                response = await handle(JsonRequest(request.scope, request.receive))
            except ReplicaLostError:
                # It is survived: the second time it is left out.
                if request.method != "GET":
                    raise
                response = await handle(JsonRequest(request.scope, request.receive))
            if request.method in {"GET", "HEAD"}:
                return _conditional(request, response, is_admins=is_admins)
            return response

        return handle_request


class MirrorRoute(Route):
    """A route that takes what another registry took; with all that goes without saying there, it is longer here."""

    body_factor = 8


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Iterate over the query parameters of a route, and whether they may be repeated."""
    for field in dependant.query_params:
        kinds = (field.field_info.annotation, *get_args(field.field_info.annotation))
        yield field.alias, any(get_origin(kind) is list for kind in kinds)
    for each in dependant.dependencies:
        yield from _parameters(each)


def _check_parameters(request: Request, known: Mapping[str, bool]) -> None:
    """Raise the error for parameters that a route does not have, or has once."""
    faults = []
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            takes = f"this takes {', '.join(known)}" if known else "this takes none"
            faults.append({"type": "unknown_parameter", "loc": ("query", name), "msg": f"is not known: {takes}"})
        elif name in seen and not known[name]:
            faults.append({"type": "duplicate", "loc": ("query", name), "msg": "is given twice"})
        seen.add(name)
    if faults:
        raise RequestValidationError(faults)


def etag_of(body: bytes) -> str:
    """Return the entity tag of what an address answers."""
    return f'"{blake2b(body, digest_size=_TAG_BYTES).hexdigest()}"'


def _conditional(request: Request, response: Response, *, is_admins: bool) -> Response:
    """Return a read with its ETag and who may keep it, or that it is as the client has it already (304)."""
    if response.status_code != HTTPStatus.OK:
        return response
    headers = response.headers
    is_private = is_admins or request.app.state.settings.read == "token"
    headers["Cache-Control"] = f"{'private' if is_private else 'public'}, {headers.get('Cache-Control', 'no-cache')}"
    headers["Vary"] = "Accept, Authorization"
    # What comes piece by piece is never in the memory as a whole, and has no tag.
    body = getattr(response, "body", None)
    if not isinstance(body, bytes):
        return response
    tag = headers.setdefault("ETag", etag_of(body))
    asked = request.headers.get("if-none-match")
    if asked is None or not _matches(asked, tag):
        return response
    return Response(
        status_code=HTTPStatus.NOT_MODIFIED, headers={name: headers[name] for name in _KEPT_IN_304 if name in headers}
    )


def _matches(asked: str, tag: str) -> bool:
    tags = [each.strip().removeprefix("W/") for each in asked.split(",")]
    return asked.strip() == "*" or tag in tags


def check_if_match(asked: str | None, tag: str) -> None:
    """Raise the error (412) if a client wants to change something else than stands."""
    if asked is not None and asked.strip() != "*" and tag not in [each.strip() for each in asked.split(",")]:
        message = "it is another than If-Match says: look at it again"
        raise ApiError(HTTPStatus.PRECONDITION_FAILED, "precondition-failed", message)
