"""The shortcut of questions: what memory can answer is answered before the framework looks at it.

FastAPI takes as long to bring a short question to its route as the engine takes to answer it. Whatever is not surely
right, or cannot be answered at once, goes the whole way, and gets the same answer or its error there.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import compatibility
from app.api.body import READ_ON_THE_LOOP, check_content_type, parse
from app.api.client import Client
from app.api.container import Container
from app.api.errors import ApiError
from app.api.identity import remembered, rights_of
from app.api.route import QuestionRoute, conditional
from app.api.session import TRIED_AT_ONCE, answer_at_once, budget_at_once
from app.domain.engine.question import TakesLongerError
from app.domain.values.budget import OverBudgetError
from app.domain.values.document import InvalidDocumentError
from app.storage.content import ColdError
from app.storage.reader import HostsClosedError
from app.storage.replica import ReplicaLostError
from app.wire import compatibility as wire
from app.wire.detail import Detail
from app.wire.reading import AT_ONCE

_PATH = "/compatibility"
# Parameters of the short question that can be given once, and often.
_SINGLE = frozenset({"model", "profile", "source", "policy", "detail"})
_REPEATED = frozenset({"destination", "value"})
_MAX_NAME = 400
_ROUTES = {method: route for route in compatibility.router.routes for method in getattr(route, "methods", ())}
# What the whole way answers with an error.
_REFUSED = (ApiError, HostsClosedError, InvalidDocumentError, ReplicaLostError, RequestValidationError, ValidationError)

Word = TypeVar("Word", bound=StrEnum)


class _UnsureError(Exception):
    """The route has to look at the request."""


class Shortcut:
    """Middleware around the routes, within what guards them: a client's share is counted already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a question at once if possible; everything else passes through."""
        if scope["type"] != "http" or scope["path"] != _PATH or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        # The metrics count by route, an internal error as well; the whole way sets it again.
        scope["route"] = _ROUTES.get(scope["method"])
        received: list[Message] = []
        answer = None
        if scope["method"] == "GET":
            answer = _short_answer(scope)
        elif scope["method"] == "POST" and _can_be_read(scope):
            received, body = await _received(receive)
            answer = None if body is None else _answer(scope, partial(_question, body))
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, _again(received, receive), send)


def _again(received: list[Message], receive: Receive) -> Receive:
    """Return what receives the messages once more that were received already."""
    if not received:
        return receive
    messages = iter(received)

    async def replay() -> Message:
        message = next(messages, None)
        return await receive() if message is None else message

    return replay


def _can_be_read(scope: Scope) -> bool:
    """Return whether a body is so short that it is read at once, and what it must be by its headers."""
    headers = Request(scope).headers
    announced, limit = headers.get("content-length", ""), READ_ON_THE_LOOP[_client(scope).has_token]
    if scope["query_string"] or not (
        announced.isascii() and announced.isdecimal() and len(announced) <= len(str(limit))
    ):
        return False
    return int(announced) <= min(limit, AT_ONCE, QuestionRoute.max_body_bytes(_container(scope).settings))


async def _received(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Return what arrives of a body, and the body; None if it does not arrive as a whole."""
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join(part.get("body", b"") for part in messages)


def _question(body: bytes) -> wire.Question:
    return wire.Question.model_validate(parse(body))


def _short_answer(scope: Scope) -> Response | None:
    """Return the answer to a short question with its ETag."""
    request = Request(scope)
    if "if-none-match" in request.headers:
        return None
    answer = _answer(scope, partial(_short_question, scope["query_string"]))
    return None if answer is None else conditional(request, answer, is_own_answer=False)


def _short_question(query: bytes) -> wire.Question:
    """Return what the parameters of a short question ask; raises _UnsureError."""
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        given.setdefault(name, []).append(value)
    names = given.keys()
    if not (
        names - _REPEATED <= _SINGLE and "model" in names and all(len(given[name]) == 1 for name in names & _SINGLE)
    ):
        raise _UnsureError
    single = {name: given[name][0] for name in names & _SINGLE}
    for name, values in given.items():
        limit = compatibility.MAX_WRITTEN if name == "value" else _MAX_NAME
        if not all(0 < len(value) <= limit for value in values):
            raise _UnsureError
    if (
        len(given.get("destination", ())) > wire.MAX_DESTINATIONS
        or len(given.get("value", ())) > compatibility.MAX_VALUES
    ):
        raise _UnsureError
    return compatibility.short_question(
        single["model"],
        single.get("profile"),
        single.get("source"),
        given.get("destination"),
        None,
        None,
        given.get("value"),
        _word(wire.Policy, single.get("policy", wire.Policy.STRICT)),
        _word(Detail, single.get("detail", Detail.PROBLEMS)),
    )


def _word(kind: type[Word], text: str) -> Word:
    try:
        return kind(text)
    except ValueError:
        raise _UnsureError from None


def _answer(scope: Scope, question: Callable[[], wire.Question]) -> Response | None:
    """Return the answer to a question from memory, None where only the whole way has one."""
    shared, client, headers = _container(scope), _client(scope), Request(scope).headers
    identity = None
    if "authorization" in headers:
        # A token that this worker has seen a moment ago; another one has to be looked up.
        scheme, _, secret = headers["authorization"].partition(" ")
        identity = remembered(secret, shared) if client.has_token and scheme.lower() == "bearer" else None
        if identity is None:
            return None
    elif shared.reads_need_token:
        return None
    try:
        if scope["method"] == "POST":
            check_content_type(headers.get("content-type"))
        asked, budget = partial(compatibility.answer, question(), None), budget_at_once(shared, client)
        answer = answer_at_once(shared, client, asked, budget, sees_hosts=rights_of(shared, identity).sees_hosts)
    except (ColdError, OverBudgetError, TakesLongerError) as error:
        # The route does not try again what was just tried.
        scope["state"][TRIED_AT_ONCE] = error
        return None
    except (*_REFUSED, _UnsureError):
        return None
    if identity is not None:
        # For the log of requests.
        scope["state"]["token"] = identity.name
    return answer


def _container(scope: Scope) -> Container:
    shared: Container = scope["app"].state.container
    return shared


def _client(scope: Scope) -> Client:
    client: Client = scope["state"]["client"]
    return client
