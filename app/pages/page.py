"""The base of all pages: templates, links, tokens as passwords, and error pages."""

import base64
import binascii
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import observer
from app.api.client import client_of
from app.api.container import container
from app.api.error_code import ERRORS
from app.api.errors import ERROR_PAGE, ApiError, ErrorResponse, problem_of, response_of, root_of
from app.api.identity import client_with
from app.api.route import Route
from app.domain.fleet.drain import ranges
from app.domain.values.budget import AbandonedError, OverBudgetError
from app.domain.values.fault import FAULTS
from app.domain.values.value import shown
from app.domain.verdict.joining import Entry, joined
from app.domain.verdict.problem import RULES, Problem
from app.domain.verdict.warning import WARNINGS
from app.storage.failure import failure_of

_FOLDER = Path(__file__).parent
_STATIC = _FOLDER / "static"
# Browsers refuse to load anything from other hosts.
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
    """The addresses of the pages, below the root path of the service."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __call__(self, path: str, **parameters: object) -> str:
        """Return an address with its parameters; `from_` stands for `from`; empty parameters are left out."""
        given = {name.rstrip("_"): value for name, value in parameters.items() if value}
        query = f"?{urlencode(given, doseq=True)}" if given else ""
        return f"{self._root}{quote(path, safe='/@:+~,;!$&()*')}{query}"

    def vendor(self, name: str) -> str:
        """Return the address of a vendor."""
        return self(f"/ui/vendors/{name}")

    def model(self, name: str, variable: str | None = None, **parameters: object) -> str:
        """Return the address of a device model, or of a variable on its page."""
        fragment = "" if variable is None else f"#v-{quote(variable)}"
        return self(f"/ui/models/{name}", **parameters) + fragment

    def release(self, name: str) -> str:
        """Return the address of a release."""
        return self(f"/ui/releases/{name}")

    def profile(self, name: str, model: str | None = None) -> str:
        """Return the address of a profile, or of its values for a model."""
        return self(f"/ui/profiles/{name}", model=model) + ("" if model is None else "#values")

    def host(self, name: str) -> str:
        """Return the address of a registered host."""
        return self(f"/ui/hosts/{name}")

    def kind(self, digest: str, **parameters: object) -> str:
        """Return the address of a kind of hosts."""
        return self(f"/ui/kinds/{digest}", **parameters)

    def help(self, code: str) -> str:
        """Return the address of the help on a code."""
        return self(f"/help/{code}")

    def static(self, name: str) -> str:
        """Return the address of a static file; it has a fingerprint of the content, so clients cache it for ever."""
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
    environment.filters["joined"] = _joined
    # A long name breaks between its components.
    environment.filters["breakable"] = lambda name: Markup("/<wbr>").join(name.split("/"))
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["ranges"] = ranges
    environment.globals["cures"] = {code: rule.cure for code, rule in RULES.items()}
    environment.globals["errors"] = {code.value: rule for code, rule in ERRORS.items()}
    # The first table that has a code says what it means most often.
    environment.globals["meanings"] = {
        code.value: row.sentence for table in (ERRORS, FAULTS, WARNINGS, RULES) for code, row in table.items()
    }
    return environment


def _joined(problems: Sequence[Problem]) -> Iterator[Problem | Entry]:
    """Iterate over problems; those that say the same of many variables are one entry."""
    entries = {Entry.of(problem): problem for problem in problems}
    for entry in joined(entries):
        yield entries.get(entry, entry)


_TEMPLATES = _environment()


def page(request: Request, template: str, /, **context: object) -> HTMLResponse:
    """Return a page."""
    text = _TEMPLATES.get_template(template).render(_context(request, context))
    return HTMLResponse(text, headers=_HEADERS)


def long_page(
    request: Request, template: str, part: str, parts: Iterator[Mapping[str, object]], /, **context: object
) -> StreamingResponse:
    """Return a page as a stream: browsers show its beginning while the parts are still computed."""
    shared = _context(request, context)
    rendered = _rendered(request.scope, _TEMPLATES.get_template(part), shared, parts)
    pieces = _TEMPLATES.get_template(template).generate({**shared, "flush": _FLUSH, "parts": rendered})
    return StreamingResponse(_gathered(pieces), media_type="text/html", headers=_HEADERS)


def _rendered(
    scope: Scope, template: Template, shared: Mapping[str, object], parts: Iterator[Mapping[str, object]]
) -> Iterator[Markup]:
    """Iterate over the parts; if one cannot be made, the last one says why, because the status is already sent."""
    try:
        for part in parts:
            yield Markup(template.render({**shared, **part}))  # noqa: S704 (templates escape)
    except AbandonedError:
        return
    except Exception as error:
        words = _words_of(error, scope)
        if words is None:
            raise
        yield Markup(template.render({**shared, "is_lost": words}))  # noqa: S704


def _words_of(error: Exception, scope: Scope) -> str | None:
    """Return what a page says of an error in its middle, None of an internal one."""
    if isinstance(error, OverBudgetError):
        return f"This is too much at once. {error.instead}".rstrip()
    if isinstance(error, ApiError):
        return str(error.detail)
    failure = failure_of(error)
    if failure is not None:
        observer.log_failure(failure, scope["state"]["request_id"])
    return None if failure is None else failure.words


_PIECE_CHARACTERS = 4_096
# A template has this mark where the text before it has to be sent.
_FLUSH = Markup("<!-- -->")


def _gathered(pieces: Iterator[str]) -> Iterator[str]:
    """Iterate over larger pieces: a template yields many small ones."""
    gathered: list[str] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE_CHARACTERS or piece == _FLUSH:
            yield "".join(gathered)
            gathered, size = [], 0
    yield "".join(gathered)


def _context(request: Request, context: Mapping[str, object]) -> Mapping[str, object]:
    root, path = root_of(request.scope), request.scope["path"]
    return {"link": Links(root), "here": path.removeprefix(root), **context}


def pasted(text: str | None) -> str | None:
    """Return a pasted name without surrounding blanks, None if nothing is left."""
    return (text or "").strip() or None


class PageRoute(Route):
    """A route of a page: it takes a token as the password of a browser, and its errors are pages, too."""

    # Accept unknown parameters: forms send all their fields, and other sites add parameters to links.
    is_strict = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint, **more)
        # RFC 9110 requires HEAD where there is GET; the server drops the body.
        methods = self.methods or set()
        self.methods = {*methods, "HEAD"} if "GET" in methods else methods

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when it is the client's turn: a page takes a thread until it is sent, which not all can have."""
        _take_password(scope)
        request = Request(scope)
        try:
            async with container(request).shares.turn_of_page(client_of(request)):
                await super().handle(scope, receive, send)
        except ApiError as error:
            observer.note_problem(scope, error.code, error.reason)
            await error_page(request, response_of(error))(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in what all pages share."""
        handle = super().get_route_handler()

        async def handle_request(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                problem = await problem_of(request, error)
                if problem is None:
                    raise
                if isinstance(problem, ErrorResponse):
                    observer.note_problem(request.scope, problem.code, problem.reason)
                return error_page(request, problem) if isinstance(problem, ErrorResponse) else problem

        return handle_request


def _take_password(scope: Scope) -> None:
    """Turn the password of a browser (RFC 7617) into a bearer token, whose share the page takes."""
    headers = []
    for name, value in scope["headers"]:
        scheme, _, credentials = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"basic":
            try:
                _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
            except binascii.Error:
                password = b""
            headers.append((name, b"Bearer " + password))
            client = client_with(password.decode("latin-1"), container(Request(scope)))
            scope["state"]["client"] = client or scope["state"]["client"]
        else:
            headers.append((name, value))
    scope["headers"] = headers


def error_page(request: Request, problem: ErrorResponse) -> Response:
    """Return the page of an error, with its status and headers; on a page, 401 lets the browser ask for a token."""
    before, request_id = request.query_params.get("from"), request.scope.get("state", {}).get("request_id")
    answer = page(request, "error.html", problem=problem.document, before=before, request_id=request_id)
    answer.status_code = problem.status_code
    answer.headers.update({"Cache-Control": "no-store", "Vary": "Accept", **problem.own_headers})
    if isinstance(request.scope.get("route"), PageRoute) and problem.status_code == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Basic realm="a token of this registry, as the password"'
    return answer


class ErrorPages:
    """Middleware around the whole app that lets errors be pages where a browser asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; other events pass through."""
        if scope["type"] == "http":
            scope.setdefault("state", {})[ERROR_PAGE] = error_page
        await self._app(scope, receive, send)


class _Files(StaticFiles):
    """Static files whose address has the fingerprint of their content; clients cache them for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        _, _, name = path.partition("/")
        response = await super().get_response(name, scope)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_SECONDS}, immutable"
        return response


def add_static_files(app: FastAPI) -> None:
    """Serve the static files of the pages."""
    app.mount("/ui/static", _Files(directory=_STATIC), name="static")
