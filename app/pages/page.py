"""What all pages share: templates, addresses, who may read, and errors that people can read."""

import base64
import binascii
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.errors import problem_of
from app.api.route import Route
from app.domain.problem import CURES, RULES
from app.domain.value import shown
from app.storage.replica import ReplicaLostError

_FOLDER = Path(__file__).parent
_STATIC = _FOLDER / "static"
# What a page consists of comes from this very service: a browser refuses everything else.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_YEAR_SECONDS = 31_536_000


class Links:
    """The addresses of the pages, below the path that the service itself stands at."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __call__(self, path: str, **parameters: object) -> str:
        """Return an address with its parameters; `from_` is `from`; those that say nothing are left out."""
        told = {name.rstrip("_"): each for name, each in parameters.items() if each}
        query = f"?{urlencode(told, doseq=True)}" if told else ""
        return f"{self._root}{quote(path, safe='/@:+~,;!$&()*')}{query}"

    def vendor(self, name: str) -> str:
        """Return the address of a vendor."""
        return self(f"/ui/vendors/{name}")

    def model(self, name: str, variable: str | None = None, **parameters: object) -> str:
        """Return the address of a device model, or of one of its variables there."""
        where = "" if variable is None else f"#v-{quote(variable)}"
        return self(f"/ui/models/{name}", **parameters) + where

    def release(self, name: str) -> str:
        """Return the address of a release."""
        return self(f"/ui/releases/{name}")

    def profile(self, name: str, model: str | None = None) -> str:
        """Return the address of a profile, or of what it says of a model."""
        return self(f"/ui/profiles/{name}", model=model) + ("" if model is None else "#values")

    def static(self, name: str) -> str:
        """Return the address of a file that never changes under it."""
        return f"{self._root}/ui/static/{_fingerprint(name)}/{name}"


@cache
def _fingerprint(name: str) -> str:
    return blake2b((_STATIC / name).read_bytes(), digest_size=6).hexdigest()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["shown"] = shown
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.globals["cures"] = CURES
    environment.globals["rules"] = {code.value: rule for code, rule in RULES.items()}
    return environment


_TEMPLATES = _environment()


def page(request: Request, template: str, /, **context: object) -> HTMLResponse:
    """Return a page."""
    text = _TEMPLATES.get_template(template).render(_context(request, context))
    return HTMLResponse(text, headers=_HEADERS)


def long_page(
    request: Request, template: str, part: str, parts: Iterator[Mapping[str, object]], /, **context: object
) -> StreamingResponse:
    """Return a page of which people see the beginning while its parts, each with a template, are still worked out."""
    told = _context(request, context)
    rendered = _rendered(_TEMPLATES.get_template(part), told, parts)
    pieces = _TEMPLATES.get_template(template).generate({**told, "sent": _SENT, "parts": rendered})
    return StreamingResponse(_gathered(pieces), media_type="text/html", headers=_HEADERS)


def _rendered(
    template: Template, told: Mapping[str, object], parts: Iterator[Mapping[str, object]]
) -> Iterator[Markup]:
    """Iterate over parts; where the database is lost meanwhile the last one says so, for the page has begun."""
    try:
        for each in parts:
            yield Markup(template.render({**told, **each}))  # noqa: S704 (templates escape)
    except (sa.exc.OperationalError, sa.exc.TimeoutError, ReplicaLostError):
        yield Markup(template.render({**told, "is_lost": True}))  # noqa: S704


_PIECE_CHARACTERS = 4_096
# Stands in a template where what is before it is to be sent.
_SENT = Markup("<!-- -->")


def _gathered(pieces: Iterator[str]) -> Iterator[str]:
    """Iterate over pieces of some length."""
    gathered: list[str] = []
    size = 0
    for each in pieces:
        gathered.append(each)
        size += len(each)
        if size >= _PIECE_CHARACTERS or each == _SENT:
            yield "".join(gathered)
            gathered, size = [], 0
    yield "".join(gathered)


def _context(request: Request, context: Mapping[str, object]) -> Mapping[str, object]:
    root = root_of(request)
    return {"link": Links(root), "here": request.url.path.removeprefix(root), **context}


def root_of(request: Request) -> str:
    """Return the path that the service itself stands at, empty where it has a host of its own."""
    root: str = request.scope.get("root_path", "")
    return root


def pasted(text: str | None) -> str | None:
    """Return a name without the blanks that come with it from elsewhere, None if nothing is left."""
    return (text or "").strip() or None


class PageRoute(Route):
    """A route of a page: who may read also shows the token as the password of a browser; errors are pages, too."""

    # Forms send what they have, and links carry what others add to them.
    is_strict = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint, **more)
        # As RFC 9110 wants of whatever can be read; the server sends no body then.
        self.methods = {*(self.methods or ()), "HEAD"}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with what all pages share around it."""
        handle = super().get_route_handler()

        async def handle_request(request: Request) -> Response:
            _take_password(request.scope)
            try:
                return await handle(request)
            except Exception as error:
                problem = await problem_of(request, error)
                if problem is None:
                    raise
                return _error_page(request, problem)

        return handle_request


def _take_password(scope: Scope) -> None:
    """Take the password that a browser asks people for (RFC 7617) as the token that it is."""
    headers = []
    for name, value in scope["headers"]:
        scheme, _, told = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"basic":
            try:
                _, _, password = base64.b64decode(told, validate=True).partition(b":")
            except binascii.Error:
                password = b""
            headers.append((name, b"Bearer " + password))
        else:
            headers.append((name, value))
    scope["headers"] = headers


def _error_page(request: Request, problem: Response) -> Response:
    told = json.loads(bytes(problem.body))
    status = HTTPStatus(problem.status_code)
    answer = page(request, "error.html", problem=told, before=request.query_params.get("from"))
    answer.status_code = status
    answer.headers["Cache-Control"] = "no-store"
    if status is HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Basic realm="a token of this registry, as the password"'
    if "retry-after" in problem.headers:
        answer.headers["Retry-After"] = problem.headers["retry-after"]
    return answer


class _Files(StaticFiles):
    """Files below the fingerprint of their content: they are kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        _, _, name = path.partition("/")
        response = await super().get_response(name, scope)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_SECONDS}, immutable"
        return response


def add_static_files(app: FastAPI) -> None:
    """Serve what pages consist of beside their text."""
    app.mount("/ui/static", _Files(directory=_STATIC), name="static")
