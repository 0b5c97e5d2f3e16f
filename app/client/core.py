"""The core that the sync and the async client share: requests, responses, errors, the cache and the retry policy."""

import json
import random
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import quote

import httpx

from app.wire.base import without_credentials

if TYPE_CHECKING:
    from app.signing.checkpoint import Checkpoint

# Publishing a complete QEMU takes seconds, and longer on a busy database.
TIMEOUT_SECONDS = 300.0
RETRY_SECONDS = 30.0
PAGE = 1000
_CACHE_BYTES = 64 * 1024 * 1024
# More than a registry answers by default, and than any change of a feed has.
MAX_RESPONSE_BYTES = 512 * 1024 * 1024
# The content is decompressed already, so these headers are no longer true.
_TRANSFER_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
# zlib's number for the format gzip.
_GZIP = 31
_MAX_PAUSE_SECONDS = 10
_MAX_FAULTS_SHOWN = 20
# After these statuses the same request can succeed later.
_TRANSIENT_STATUSES = frozenset(
    {
        httpx.codes.SERVICE_UNAVAILABLE,
        httpx.codes.BAD_GATEWAY,
        httpx.codes.GATEWAY_TIMEOUT,
        httpx.codes.TOO_MANY_REQUESTS,
    }
)

Parameter: TypeAlias = str | int | bool | Sequence[str]


class RegistryError(Exception):
    """The registry cannot be reached, or it refused the request; the message says why.

    problem: the problem document of the response (RFC 9457), None without a response.
    """

    def __init__(
        self,
        message: str,
        problem: Mapping[str, Any] | None = None,
        *,
        is_transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """is_transient: the same request can succeed later; retry_after: seconds to wait, from Retry-After."""
        super().__init__(message)
        self.problem = problem
        self.status: int | None = None if problem is None else problem.get("status")
        self.is_transient = is_transient or self.status in _TRANSIENT_STATUSES
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the registry that can be sent more than once."""

    method: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    document: object = None
    accept: str = "application/json"

    @property
    def creates_token(self) -> bool:
        """Whether the call creates a token. A second attempt would create a token that nobody knows."""
        return self.method == "POST" and self.path == "/tokens"

    @property
    def is_cached(self) -> bool:
        """Whether its responses are cached: it reads JSON."""
        return self.method == "GET" and self.accept == "application/json"

    @property
    def key(self) -> str:
        """The cache key of a read."""
        return f"{self.path}?{json.dumps(self.parameters)}"


class Retries:
    """Decides how long to wait before a call is sent again: as long as Retry-After says, otherwise with backoff."""

    def __init__(self, call: Call, seconds: float) -> None:
        """seconds: how long to keep trying while the registry cannot answer; 0: the call is sent once."""
        self._seconds = 0.0 if call.creates_token else seconds
        self._started = time.monotonic()
        self._attempts = 0

    def pause(self, error: RegistryError) -> float:
        """Return the seconds to wait after an error; raises the error if it is final, or if the time is up."""
        if error.status not in _TRANSIENT_STATUSES or time.monotonic() - self._started >= self._seconds:
            raise error
        self._attempts += 1
        if error.retry_after is not None:
            return min(error.retry_after, _MAX_PAUSE_SECONDS)
        return random.uniform(0, min(2.0**self._attempts, _MAX_PAUSE_SECONDS))  # noqa: S311 (no secret)


class Received:
    """An answer as it arrives, decompressed up to MAX_RESPONSE_BYTES: few bytes can become very many."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._size = 0
        self._chunks: list[bytes] = []
        self._decompressor: Any = None
        self._has_begun = False

    def begin(self, response: httpx.Response) -> bool:
        """Begin with the headers; return whether there is content to come, which a transport can have read already.

        Raises RegistryError for a compression that was not asked for.
        """
        if response.is_stream_consumed:
            self.add(response.content)
            return False
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in {"identity", "gzip"} and not response.is_success:
            # The status says more than a page of a proxy would.
            return False
        if encoding == "gzip":
            self._decompressor = zlib.decompressobj(_GZIP)
        elif encoding != "identity":
            message = f"{self._call.path} answers in the encoding {encoding}, which was not asked for"
            raise RegistryError(message)
        return True

    def add(self, chunk: bytes) -> None:
        """Add what has arrived; raises RegistryError if that is too large, or cannot be decompressed."""
        if self._decompressor is not None:
            self._check_end(is_over=False)
            try:
                chunk = self._decompressor.decompress(chunk, MAX_RESPONSE_BYTES - self._size + 1)
            except zlib.error as error:
                message = f"{self._call.path} answers with what cannot be decompressed: {error}"
                raise RegistryError(message) from error
            self._has_begun = True
            if self._decompressor.unused_data:
                self._check_end(is_over=False)
        self._size += len(chunk)
        if self._size > MAX_RESPONSE_BYTES:
            message = f"{self._call.path} answers with more than {MAX_RESPONSE_BYTES:,} bytes"
            raise RegistryError(message)
        self._chunks.append(chunk)

    def _check_end(self, *, is_over: bool) -> None:
        """Raise RegistryError for compressed content that ends too early, or goes on after its end."""
        if self._decompressor.eof is not is_over and self._has_begun:
            message = f"{self._call.path} answers with what cannot be decompressed: its end is missing, or not the end"
            raise RegistryError(message)

    def whole(self, response: httpx.Response) -> httpx.Response:
        """Return the response with its content; raises RegistryError if some of it is missing."""
        if self._decompressor is not None:
            self._check_end(is_over=True)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _TRANSFER_HEADERS]
        return httpx.Response(
            response.status_code, headers=headers, content=b"".join(self._chunks), request=response.request
        )


class _Cache:
    """Responses by key; beyond _CACHE_BYTES the least recently used are dropped. Any number of threads can use it."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, httpx.Response] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: str) -> httpx.Response | None:
        with self._lock:
            if key in self._responses:
                self._responses.move_to_end(key)
            return self._responses.get(key)

    def put(self, key: str, response: httpx.Response) -> None:
        with self._lock:
            previous = self._responses.pop(key, None)
            self._size += len(response.content) - (len(previous.content) if previous else 0)
            self._responses[key] = response
            while self._size > _CACHE_BYTES:
                self._size -= len(self._responses.popitem(last=False)[1].content)


class Core:
    """Builds requests from calls and checks responses; caches reads by ETag."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        self._cache = _Cache()

    def request(self, call: Call) -> dict[str, Any]:
        """Return the arguments for a request of httpx."""
        headers = {"Accept": call.accept}
        request: dict[str, Any] = {
            "method": call.method,
            "url": quote(call.path, safe="/@:"),
            "params": dict(call.parameters),
            "headers": headers,
        }
        if call.document is not None:
            request["content"] = json.dumps(call.document, ensure_ascii=False, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        cached = self._cached(call)
        if cached is not None:
            headers["If-None-Match"] = cached.headers["ETag"]
        return request

    def _cached(self, call: Call) -> httpx.Response | None:
        return self._cache.get(call.key) if call.is_cached else None

    def immutable(self, call: Call) -> httpx.Response | None:
        """Return the cached response to a call that never has another one, so that it is not sent again."""
        cached = self._cached(call)
        return cached if cached is not None and "immutable" in cached.headers.get("Cache-Control", "") else None

    def response(self, call: Call, response: httpx.Response) -> httpx.Response:
        """Return the response, or the cached one after a 304; raises RegistryError for an error status."""
        if response.status_code == httpx.codes.NOT_MODIFIED and (cached := self._cached(call)) is not None:
            return cached
        if not response.is_success:
            raise refusal(response)
        if call.is_cached and "ETag" in response.headers:
            self._cache.put(call.key, response)
        return response

    def unreachable(self, error: Exception) -> RegistryError:
        """Return the error for a request without a response."""
        message = f"{without_credentials(self.url)} cannot be reached: {error}"
        is_transient = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        return RegistryError(message, is_transient=is_transient)


def read(response: httpx.Response) -> Any:
    """Return the JSON of a response, None if it is empty; raises RegistryError if it is not JSON."""
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError as error:
        address = without_credentials(str(response.url))
        message = f"{address} did not answer with JSON; check that this is the address of a registry"
        raise RegistryError(message) from error


def refusal(response: httpx.Response) -> RegistryError:
    """Return the error for a response with an error status."""
    header = response.headers.get("Retry-After", "")
    retry_after = float(header) if header.isdecimal() else None
    try:
        problem = response.json()
        lines = [f"{problem['detail']} ({response.status_code} {problem['code']})"]
        faults = problem.get("faults", [])
        lines += [f"  {fault.get('pointer', fault.get('parameter', ''))}: {fault['message']}" for fault in faults]
        lines += _broken_lines(problem.get("broken", []))
    except (ValueError, KeyError, TypeError, AttributeError):
        address = without_credentials(str(response.url))
        message = f"{response.request.method} {address} answered {response.status_code}"
        return RegistryError(message, {"status": response.status_code}, retry_after=retry_after)
    more = len(lines) - 1 - _MAX_FAULTS_SHOWN
    shown = lines[: _MAX_FAULTS_SHOWN + 1] + ([f"  … and {more} more"] if more > 0 else [])
    return RegistryError("\n".join(shown), problem, retry_after=retry_after)


class Position(Protocol):
    """A position in the feed: an answer, or a checkpoint."""

    @property
    def seq(self) -> int:
        """The seq of a change."""

    @property
    def link(self) -> str:
        """The link of that change."""


def verified(note: str, trust: Sequence[str]) -> "Checkpoint":
    """Return the signed head of a feed; raises RegistryError unless one of the trusted keys has signed it."""
    # Only a program that verifies needs cryptography, the extra `trust`.
    from app.signing.checkpoint import Note, UntrustedError  # noqa: PLC0415
    from app.signing.key import PublicKey  # noqa: PLC0415

    keys = [PublicKey.read(key) for key in trust]
    try:
        return Note.read(note).verified(keys)
    except UntrustedError as error:
        message = f"the registry is not trusted: {error}"
        raise RegistryError(message) from error


def check_history(
    after: Position, registry: str, entries: Iterable[Mapping[str, Any]], checkpoint: "Checkpoint"
) -> None:
    """Raise RegistryError unless the entries of a feed lead from a position to its signed head."""
    from app.signing.checkpoint import UntrustedError, check_history  # noqa: PLC0415 (as above)

    try:
        # Before the first change there is no link; the chain begins with the id of the registry.
        check_history(after.seq, after.link if after.seq else registry, entries, checkpoint)
    except UntrustedError as error:
        message = f"the registry is not trusted: {error}"
        raise RegistryError(message) from error


def _broken_lines(broken: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each model and problem that a release would break."""
    profiles: dict[tuple[str, str, str], list[str]] = {}
    for pair in broken:
        for problem in pair["problems"]:
            key = (pair["model"], problem["code"], problem["message"])
            profiles.setdefault(key, []).append(pair["profile"])
    return [
        f"  {model}, {names[0] if len(names) == 1 else f'{len(names)} profiles such as {names[0]}'}: {code}: {message}"
        for (model, code, message), names in profiles.items()
    ]


def get(path: str, parameters: Mapping[str, Parameter], accept: str = "application/json") -> Call:
    """Return the call that reads the resource at a path."""
    return Call("GET", path, parameters, accept=accept)


def put(path: str, document: Mapping[str, Any], *, dry_run: bool, override: str | None) -> Call:
    """Return the call that publishes a document."""
    parameters = {"dry_run": "true"} if dry_run else {}
    if override is not None:
        parameters["override"] = override
    return Call("PUT", path, parameters, document)
