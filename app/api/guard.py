"""What every request passes first: its client's share, the end of the process, HEAD as GET, and security headers."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.client import Client
from app.api.container import Container
from app.api.error_code import ErrorCode
from app.api.errors import STOPPING, ApiError, response_of
from app.api.identity import client_with
from app.api.share import Use, too_many

# Orchestrators of containers and of metrics ask these, and are not to be refused.
_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
_RETRY_SECONDS = 1
# A refusal reaches a client without a token after this time: who tries again at once must not keep the others waiting.
_HELD_SECONDS = 2.0
_HELD = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"x-frame-options": b"DENY",
    # Pages have a policy of their own, which allows what they load.
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


class Guarded:
    """Middleware around the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request if its client's share allows it; other events pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shared: Container = scope["app"].state.container
        if shared.settings.hosts and scope["path"] not in _OPEN and not _is_ours(scope, shared.settings.hosts):
            message = "This service does not answer to the name in the Host header (REGISTRY_HOSTS)."
            misdirected = ApiError(HTTPStatus.MISDIRECTED_REQUEST, ErrorCode.UNKNOWN_HOST_NAME, message)
            await response_of(misdirected)(scope, receive, _Answer(send, _HEADERS, None).send)
            return
        client = _client(scope, shared)
        scope["state"]["client"] = client
        use = None if scope["path"] in _OPEN else shared.shares.use(client)
        answer = _Answer(send, _HEADERS, use)
        if not client.has_token and scope["path"] not in _OPEN:
            answer.hold = shared.stopping.hold
        if use is not None and use.wait:
            message = f"At most {use.limit:,} requests in a minute; the next one can be sent in {use.wait} seconds."
            await response_of(too_many(message, use.wait, "rate"))(scope, receive, answer.send)
            return
        with shared.stopping.running() as running:
            await self._answer(scope, receive, answer)
        if running.cancelled_caught and not answer.has_begun:
            headers = {"Retry-After": str(_RETRY_SECONDS)}
            cut = ApiError(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.UNAVAILABLE, STOPPING, headers, "stopping")
            await response_of(cut)(scope, receive, answer.send)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if scope["method"] != "HEAD":
            await self._app(scope, receive, answer.send)
            return
        # HEAD is GET without the body (RFC 9110, 9.3.2). A stream would never end, so it ends with the headers.
        inner = {**scope, "method": "GET"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                # What observes the request looks at the outer scope.
                scope["route"] = inner.get("route")
                await answer.send(message)
                await answer.send({"type": "http.response.body", "body": b""})
                head.cancel()

        with CancelScope() as head:
            await self._app(inner, receive, send)


class _Answer:
    """Sends an answer with the headers that all have. has_begun: its status is sent. hold: what delays a refusal."""

    def __init__(self, send: Send, headers: Mapping[bytes, bytes], use: Use | None) -> None:
        self._send = send
        self._headers = headers
        self._use = use
        self.has_begun = False
        self.hold: Callable[[float], Awaitable[None]] | None = None

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            if self.hold is not None and message["status"] in _HELD:
                await self.hold(_HELD_SECONDS)
            self.has_begun = True
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            # What a 304 says would replace what the browser has kept, such as the policy of a page.
            if message["status"] != HTTPStatus.NOT_MODIFIED:
                headers += [(name, value) for name, value in self._headers.items() if name not in names]
            if self._use is not None:
                headers += [(name.lower().encode(), value.encode()) for name, value in self._use.headers.items()]
            message["headers"] = headers
        await self._send(message)


def _is_ours(scope: Scope, names: Sequence[str]) -> bool:
    """Return whether the one Host header of a request has one of some names; its port does not count."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(given) != 1:
        return False
    host = re.sub(r":\d*$", "", given[0]).lower().removesuffix(".")
    return any(
        host.endswith(name[1:].lower()) if name.startswith("*.") else host == name.lower().removesuffix(".")
        for name in names
    )


def _client(scope: Scope, shared: Container) -> Client:
    """Return who sends a request: a token that is known to be valid, or else an address."""
    header: bytes = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, secret = header.partition(b" ")
    if scheme.lower() == b"bearer":
        client = client_with(secret.decode("latin-1").strip(), shared)
        if client is not None:
            return client
    address = scope.get("client")
    return Client.of_address(address[0] if address else None)
