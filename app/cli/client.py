"""The registry as the command line talks to it: over HTTP, like any vendor and any orchestrator."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import httpx
import orjson

from app.settings import ClientSettings

# Publishing a whole QEMU takes seconds; a busy database may take some more.
_TIMEOUT_SECONDS = 300.0
_PAGE = 1000
_FAULTS_SHOWN = 20
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
    """The registry cannot be reached, or it refused; the message says why and what to do.

    problem: what it answered (RFC 9457), None where it did not.
    """

    def __init__(self, message: str, problem: Mapping[str, Any] | None = None, *, may_pass: bool = False) -> None:
        """may_pass: the same request may succeed a little later, for nobody answered, or was able to."""
        super().__init__(message)
        self.problem = problem
        self.may_pass = may_pass or (problem is not None and problem.get("status") in _PASSING)


class Registry:
    """A registry at a URL, with the token to write with."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: httpx.BaseTransport | None = None,
        token_variable: str = "REGISTRY_TOKEN",  # noqa: S107 (the name of a variable)
    ) -> None:
        """token_variable: where a user who is refused is told to put the token."""
        self._url = settings.url
        self._token_variable = token_variable
        headers = {"Accept": "application/json"}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        self._http = httpx.Client(base_url=settings.url, headers=headers, timeout=_TIMEOUT_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path; raises RegistryError."""
        return self._request("GET", path, params=parameters)

    def text(self, path: str, kind: str, **parameters: Parameter) -> str:
        """Return what is at a path as text of a kind (a media type); raises RegistryError."""
        return self._send("GET", path, {"Accept": kind}, params=parameters).text

    def find(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path, None if the registry has no such thing; raises RegistryError."""
        try:
            return self.get(path, **parameters)
        except RegistryError as error:
            if error.problem and error.problem.get("status") == httpx.codes.NOT_FOUND:
                return None
            raise

    def items(self, path: str, **parameters: Parameter) -> Iterator[Any]:
        """Iterate over a list, page by page; raises RegistryError."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=_PAGE, **parameters, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def put(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False, override: str | None = None) -> Any:
        """Publish a document; override: why a release may break earlier ones. Raises RegistryError."""
        parameters = {"dry_run": "true"} if dry_run else {}
        if override is not None:
            parameters["override"] = override
        return self._request("PUT", path, content=orjson.dumps(document), params=parameters)

    def post(self, path: str, document: Mapping[str, Any], **parameters: str) -> Any:
        """Ask a question, or have something made; raises RegistryError."""
        return self._request("POST", path, content=orjson.dumps(document), params=parameters)

    def delete(self, path: str) -> None:
        """Delete what is at a path; raises RegistryError."""
        self._request("DELETE", path)

    def _request(self, method: str, path: str, **more: Any) -> Any:
        response = self._send(method, path, {"Content-Type": "application/json"} if "content" in more else {}, **more)
        return _json(response) if response.content else None

    def _send(self, method: str, path: str, headers: Mapping[str, str], **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, quote(path, safe="/@:"), headers=headers, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"{self._url} cannot be reached: {error} (REGISTRY_URL says where the registry is)"
            may_pass = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
            raise RegistryError(message, may_pass=may_pass) from error
        if response.is_success:
            return response
        raise _error(response, self._token_variable)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        message = f"{response.url} did not answer JSON: is it a registry?"
        raise RegistryError(message) from error


def _error(response: httpx.Response, token_variable: str) -> RegistryError:
    try:
        problem = response.json()
        lines = [f"{problem['detail']} ({response.status_code} {problem['code']})"]
        faults = problem.get("faults", [])
        lines += [f"  {fault.get('pointer', fault.get('parameter', ''))}: {fault['message']}" for fault in faults]
        lines += _broken(problem.get("broken", []))
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{response.request.method} {response.url} answered {response.status_code}"
        return RegistryError(message, {"status": response.status_code})
    if problem["code"] == "evolution-gate":
        lines[0] += "; here --override <reason>"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        lines.append(f"  {token_variable} holds the token")
    more = len(lines) - 1 - _FAULTS_SHOWN
    shown = lines[: _FAULTS_SHOWN + 1] + ([f"  … and {more} more"] if more > 0 else [])
    return RegistryError("\n".join(shown), problem)


def _broken(broken: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Iterate over what a release breaks, a line for each model and problem."""
    profiles: dict[tuple[str, str, str], list[str]] = {}
    for each in broken:
        for problem in each["problems"]:
            key = (each["model"], problem["code"], problem["message"])
            profiles.setdefault(key, []).append(each["profile"])
    for (model, code, message), names in profiles.items():
        of = names[0] if len(names) == 1 else f"{len(names)} profiles, {names[0]} among them"
        yield f"  {model}, {of}: {code}: {message}"
