"""What the sync and the async client share: requests, answers, errors, what is kept, and how long it is tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias, TypedDict
from urllib.parse import quote

import httpx
import orjson
from cachetools import LRUCache
from tenacity import RetryCallState, retry_base, retry_if_exception, stop_after_delay, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

# Publishing a whole QEMU takes seconds; a busy database may take some more.
TIMEOUT_SECONDS = 300.0
PATIENCE_SECONDS = 30.0
PAGE = 1000
_KEPT_BYTES = 64 * 1024 * 1024
_LONGEST_PAUSE_SECONDS = 10
_FAULTS_SHOWN = 20
# Answers after which the same request may succeed a little later.
_PASSING = frozenset(
    {
        httpx.codes.SERVICE_UNAVAILABLE,
        httpx.codes.BAD_GATEWAY,
        httpx.codes.GATEWAY_TIMEOUT,
        httpx.codes.TOO_MANY_REQUESTS,
    }
)

Parameter: TypeAlias = str | int | bool | Sequence[str]


class RegistryError(Exception):
    """The registry cannot be reached, or it refused; the message says why.

    problem: what it answered (RFC 9457), None where it did not answer.
    """

    def __init__(
        self,
        message: str,
        problem: Mapping[str, Any] | None = None,
        *,
        may_pass: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """may_pass: the same request may succeed a little later; retry_after: in so many seconds, as it says."""
        super().__init__(message)
        self.problem = problem
        self.status: int | None = None if problem is None else problem.get("status")
        self.may_pass = may_pass or self.status in _PASSING
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the registry, which is the same however often it is made."""

    method: str
    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    document: object = None
    accept: str = "application/json"

    @property
    def makes_a_secret(self) -> bool:
        """Whether, made twice, it would make a token that nobody knows; all else may be asked again."""
        return self.method == "POST" and self.path == "/tokens"

    @property
    def key(self) -> str:
        """What is asked for, where it is read."""
        return f"{self.path}?{orjson.dumps(self.parameters).decode()}"


class Persistence(TypedDict):
    """How tenacity tries again."""

    retry: retry_base
    stop: stop_base
    wait: wait_base
    reraise: bool


def persistence(call: Call, seconds: float) -> Persistence:
    """Return how a request is made again that the registry could not answer (503), for so long."""
    if call.makes_a_secret:
        seconds = 0
    return {
        "retry": retry_if_exception(lambda error: isinstance(error, RegistryError) and error.status in _PASSING),
        "stop": stop_after_delay(seconds),
        "wait": _Pause(),
        "reraise": True,
    }


class _Pause(wait_base):
    """As long as the registry asks for, else longer each time."""

    _longer = wait_random_exponential(max=_LONGEST_PAUSE_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, RegistryError) else None
        return self._longer(retry_state) if asked is None else min(asked, _LONGEST_PAUSE_SECONDS)


class Core:
    """Makes requests of calls, and answers of responses; a read is kept with its ETag."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.headers = {"Accept": "application/json"}
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        self._kept: LRUCache[str, httpx.Response] = LRUCache(_KEPT_BYTES, getsizeof=lambda each: len(each.content))
        self._lock = Lock()

    def request(self, call: Call) -> dict[str, Any]:
        """Return what httpx is asked for."""
        headers = {"Accept": call.accept}
        request: dict[str, Any] = {
            "method": call.method,
            "url": quote(call.path, safe="/@:"),
            "params": dict(call.parameters),
            "headers": headers,
        }
        if call.document is not None:
            request["content"] = orjson.dumps(call.document)
            headers["Content-Type"] = "application/json"
        kept = self._known(call)
        if kept is not None:
            headers["If-None-Match"] = kept.headers["ETag"]
        return request

    def _known(self, call: Call) -> httpx.Response | None:
        if call.method != "GET" or call.accept != "application/json":
            return None
        with self._lock:
            return self._kept.get(call.key)

    def response(self, call: Call, response: httpx.Response) -> httpx.Response:
        """Return the response that counts; raises RegistryError for one that refuses."""
        if response.status_code == httpx.codes.NOT_MODIFIED and (kept := self._known(call)) is not None:
            return kept
        if not response.is_success:
            raise refusal(response)
        if call.method == "GET" and "ETag" in response.headers and len(response.content) <= _KEPT_BYTES:
            with self._lock:
                self._kept[call.key] = response
        return response

    def unreachable(self, error: Exception) -> RegistryError:
        """Return the error for a registry that did not answer."""
        message = f"{self.url} cannot be reached: {error}"
        may_pass = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        return RegistryError(message, may_pass=may_pass)


def read(response: httpx.Response) -> Any:
    """Return what a response says; raises RegistryError if it is no JSON."""
    if not response.content:
        return None
    try:
        return orjson.loads(response.content)
    except ValueError as error:
        message = f"{response.url} did not answer JSON: is it a registry?"
        raise RegistryError(message) from error


def refusal(response: httpx.Response) -> RegistryError:
    """Return the error that a response is."""
    after = response.headers.get("Retry-After", "")
    retry_after = float(after) if after.isdecimal() else None
    try:
        problem = response.json()
        lines = [f"{problem['detail']} ({response.status_code} {problem['code']})"]
        faults = problem.get("faults", [])
        lines += [f"  {fault.get('pointer', fault.get('parameter', ''))}: {fault['message']}" for fault in faults]
        lines += _broken(problem.get("broken", []))
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{response.request.method} {response.url} answered {response.status_code}"
        return RegistryError(message, {"status": response.status_code}, retry_after=retry_after)
    more = len(lines) - 1 - _FAULTS_SHOWN
    shown = lines[: _FAULTS_SHOWN + 1] + ([f"  … and {more} more"] if more > 0 else [])
    return RegistryError("\n".join(shown), problem, retry_after=retry_after)


def _broken(broken: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a release breaks, a line for each model and problem."""
    profiles: dict[tuple[str, str, str], list[str]] = {}
    for each in broken:
        for problem in each["problems"]:
            key = (each["model"], problem["code"], problem["message"])
            profiles.setdefault(key, []).append(each["profile"])
    return [
        f"  {model}, {names[0] if len(names) == 1 else f'{len(names)} profiles, {names[0]} among them'}: "
        f"{code}: {message}"
        for (model, code, message), names in profiles.items()
    ]


def get(path: str, parameters: Mapping[str, Parameter], accept: str = "application/json") -> Call:
    """Return the call that reads what is at a path."""
    return Call("GET", path, parameters, accept=accept)


def put(path: str, document: Mapping[str, Any], *, dry_run: bool, override: str | None) -> Call:
    """Return the call that publishes a document."""
    parameters = {"dry_run": "true"} if dry_run else {}
    if override is not None:
        parameters["override"] = override
    return Call("PUT", path, parameters, document)
