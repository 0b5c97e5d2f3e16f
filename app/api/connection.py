"""Connections that nobody can hold open: limits on headers, and on requests and answers that make no progress.

uvicorn limits neither. `serve` makes it use this protocol in place of its own.
"""

from asyncio import BaseTransport, Transport
from collections import Counter
from http import HTTPStatus
from typing import cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.client import Client, is_within
from app.api.error_code import ErrorCode
from app.api.metrics import count_problem
from app.wire.problem import problem_details

MAX_HEADER_BYTES = 64 * 1024
# From the connection, or from the first byte of a further request, to the end of its headers.
HEADER_SECONDS = 20
# Within this time, this much of a body has to arrive: more than 500 bytes in a second.
BODY_SECONDS = 30
_MIN_BODY_BYTES = 16 * 1024
# An answer that the client has not read on within this time is abandoned.
ANSWER_SECONDS = 60
_LINGER_SECONDS = 1
# Connections that an address can have open, in each worker process; proxies that are trusted can have any number.
MAX_CONNECTIONS = 1_000

_open = Counter[str]()


class Connection(HttpToolsProtocol):
    """A connection of a client."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(cast("Transport", transport))
        self._is_request = self._is_in_headers = self._is_refused = False
        self._header_bytes = self._body_bytes = 0
        self._cycles: list[RequestResponseCycle] = []
        self._progress = self.loop.call_later(HEADER_SECONDS, self._too_slow)
        self._reading = self.loop.call_later(0, lambda: None)
        self._address = Client.of_address(self.client[0] if self.client else None).key
        _open[self._address] += 1
        if _open[self._address] > MAX_CONNECTIONS and not self._is_of_proxy:
            message = f"This address has {MAX_CONNECTIONS:,} connections, which is the limit."
            count_problem("connection", ErrorCode.TOO_MANY_REQUESTS, "connections")
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, ErrorCode.TOO_MANY_REQUESTS, message)

    @property
    def _is_of_proxy(self) -> bool:
        """Whether a proxy that is trusted has made the connection."""
        trusted = self.config.forwarded_allow_ips if self.config.proxy_headers else None
        return self.client is not None and is_within(self.client[0], trusted or ())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._progress.cancel()
        self._reading.cancel()
        _open[self._address] -= 1
        if not _open[self._address]:
            del _open[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; headers are counted until they are complete."""
        if self._is_refused:
            return
        super().data_received(data)
        if self._is_in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._headers_too_large()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        super().on_message_begin()
        self._is_request = self._is_in_headers = True
        self._header_bytes = self._body_bytes = 0
        self._progress.cancel()
        self._progress = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the headers are too large."""
        self._is_in_headers = False
        self._progress.cancel()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._headers_too_large()
            return
        self._progress = self.loop.call_later(BODY_SECONDS, self._check_body, 0)
        super().on_headers_complete()
        self._cycles = [*(cycle for cycle in self._cycles if not cycle.response_complete), self.cycle]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._is_refused:
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request; the answer can take its time."""
        if self._is_refused:
            return
        self._progress.cancel()
        self._is_request = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait until the client reads on."""
        super().pause_writing()
        self._reading.cancel()
        self._reading = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        self._reading.cancel()
        super().resume_writing()

    def _check_body(self, before: int) -> None:
        # A body that nobody reads on is not late.
        if self._body_bytes - before < _MIN_BODY_BYTES and not self.flow.read_paused:
            self._too_slow()
            return
        self._progress = self.loop.call_later(BODY_SECONDS, self._check_body, self._body_bytes)

    def _too_slow(self) -> None:
        message = f"The request took too long: {HEADER_SECONDS} seconds for the headers, or too few bytes of the body."
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, ErrorCode.TOO_SLOW, message, is_request=self._is_request)

    def _headers_too_large(self) -> None:
        message = f"The headers and the address have more than {MAX_HEADER_BYTES:,} bytes."
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode.HEADERS_TOO_LARGE, message)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, ErrorCode.MALFORMED_HTTP, msg)

    def _refuse(self, status: HTTPStatus, code: ErrorCode, message: str, *, is_request: bool = True) -> None:
        """Answer with problem details, unless an answer has begun or nothing was asked, and close the connection."""
        if self.transport.is_closing() or self._is_refused:
            return
        self._is_refused = True
        self._progress.cancel()
        # Requests can follow one another without waiting, so several can be under way.
        pending = [cycle for cycle in self._cycles if not cycle.response_complete]
        is_answering = len(pending) > 1 or any(cycle.response_started for cycle in pending)
        for cycle in pending:
            # The app learns that nobody waits for its answer.
            cycle.disconnected = True
            cycle.message_event.set()
        if not is_answering and is_request:
            body = orjson.dumps(problem_details(status, code, message, self.config.root_path))
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            # To close while data arrives would reset the connection, and the answer could be lost.
            self.transport.write_eof()
            self._progress = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()
