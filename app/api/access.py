"""Who may do what: reading and writing are given to a route by what it asks for, and only to whom may have them."""

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, NoReturn, TypeVar

import sqlalchemy as sa
from anyio import CancelScope, CapacityLimiter, Semaphore, move_on_after, to_thread
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.errors import ApiError
from app.domain.question import TakesLongerError
from app.domain.token import Identity, Role
from app.settings import Settings
from app.storage import database
from app.storage.catalog import Catalog, Standing
from app.storage.content import ColdError
from app.storage.database import Writing
from app.storage.token import Tokens

Answer = TypeVar("Answer")
Entered = TypeVar("Entered")

_ADMIN = Identity("admin", Role.ADMIN)
# Requests that wait for their turn to write, beside the threads that answer.
_MOST_WAITING = 200
_PATIENCE_SECONDS = 30

_bearer = HTTPBearer(
    auto_error=False,
    description="a token: an admin's writes all, a publisher's the names of its vendor; reads need one only where the "
    "operator says so",
)


async def _identity(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Identity | None:
    """Return whose token the request shows, None if it shows none; raises the error for one that is not valid."""
    if credentials is None:
        return None
    found = await _find(credentials.credentials, request.app.state.settings, request.app.state.tokens)
    if found is None:
        _refuse_unknown("the token is not valid here", 'Bearer error="invalid_token"')
    return found


async def _find(secret: str, settings: Settings, tokens: Tokens) -> Identity | None:
    admin = settings.admin_token.get_secret_value() if settings.admin_token else ""
    if admin and hmac.compare_digest(admin.encode(), secret.encode()):
        return _ADMIN
    return tokens.remembered(secret) or await to_thread.run_sync(tokens.find, secret)


def _refuse_unknown(message: str, challenge: str = "Bearer") -> NoReturn:
    raise ApiError(HTTPStatus.UNAUTHORIZED, "unauthorized", message, {"WWW-Authenticate": challenge})


def _forbid(message: str) -> NoReturn:
    raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", message)


MaybeSomebody = Annotated[Identity | None, Depends(_identity)]


async def _reader(request: Request, identity: MaybeSomebody) -> None:
    if request.app.state.settings.read == "token" and identity is None:
        _refuse_unknown("reading needs a token here: Authorization: Bearer <token>")


async def _writer(identity: MaybeSomebody) -> Identity:
    if identity is None:
        _refuse_unknown("this needs a token: Authorization: Bearer <token>")
    if identity.role is Role.READER:
        _forbid("this token is for reading alone")
    return identity


async def _admin(identity: MaybeSomebody) -> Identity:
    if identity is None:
        _refuse_unknown("this needs an admin's token: Authorization: Bearer <token>")
    if not identity.is_admin:
        _forbid("this needs an admin's token")
    return identity


async def _catalog(request: Request, _: Annotated[None, Depends(_reader)]) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


async def asked(catalog: Catalog, question: Callable[[Standing], Answer]) -> Answer:
    """Return the answer to a question: at once out of memory where that is possible, else beside the event loop."""
    try:
        return catalog.ask_at_once(question)
    except (ColdError, TakesLongerError):
        return await to_thread.run_sync(catalog.ask, question)


@asynccontextmanager
async def _connection(request: Request, reading: AbstractContextManager[sa.Connection]) -> AsyncIterator[sa.Connection]:
    """Yield a connection that reads.

    Those who wait for one wait here: in the threads that answer they would keep those from going on that have one.
    """
    most: int = request.app.state.settings.database_pool_size
    readers: Semaphore = of_app(request, "readers", lambda: Semaphore(most))
    with move_on_after(_PATIENCE_SECONDS) as waiting:
        await readers.acquire()
    if waiting.cancelled_caught:
        raise sa.exc.TimeoutError
    try:
        async with _beside(reading) as connection:
            yield connection
    finally:
        readers.release()


@asynccontextmanager
async def _beside(
    manager: AbstractContextManager[Entered], limiter: CapacityLimiter | None = None
) -> AsyncIterator[Entered]:
    """Enter and leave what waits for the database in a thread; a request that is given up leaves it, too."""
    with CancelScope(shield=True):
        entered = await to_thread.run_sync(manager.__enter__, limiter=limiter)
    try:
        yield entered
    except BaseException as error:
        with CancelScope(shield=True):
            await to_thread.run_sync(manager.__exit__, type(error), error, error.__traceback__)
        raise
    with CancelScope(shield=True):
        await to_thread.run_sync(manager.__exit__, None, None, None)


async def _probing(request: Request) -> AsyncIterator[sa.Connection]:
    """Yield a connection to the database that is written."""
    async with _connection(request, database.reading(request.app.state.databases.primary)) as connection:
        yield connection


async def _reading(request: Request, _: Annotated[None, Depends(_reader)]) -> AsyncIterator[sa.Connection]:
    """Yield a connection to where the registry is read."""
    async with _connection(request, request.app.state.databases.reading()) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class PublishSession:
    """Publishes names of the vendors that the token is for. Of a dry run nothing is kept."""

    _identity: Identity
    _writing: Writing
    dry_run: bool

    def of(self, *vendors: str) -> Writing:
        """Return what writes names of these vendors; raises the error for a token that may not.

        The error is the same whether such a vendor or name is there or not.
        """
        if not all(map(self._identity.may_write, vendors)):
            _forbid(f"this token publishes names of {self._identity.vendor} alone")
        return self._writing

    def check_override(self, override: str | None) -> None:
        """Raise the error for a reason to pass the evolution gate that is not an admin's."""
        if override is not None and not self._identity.is_admin:
            _forbid("override needs an admin's token")


@dataclass(frozen=True, slots=True)
class AdminSession:
    """Writes what is the operator's. Of a dry run nothing is kept."""

    writing: Writing
    dry_run: bool


DryRun = Annotated[bool, Query(description="answer what would happen, and store nothing")]


@asynccontextmanager
async def _turn_to_write(request: Request, by: str, *, dry_run: bool) -> AsyncIterator[Writing]:
    """Yield the transaction that writes; a request that waits for it takes none of the threads that answer."""
    state = request.app.state
    transaction = database.writing(state.databases.primary, by, dry_run=dry_run)
    waiting: CapacityLimiter = of_app(request, "waiting_to_write", lambda: CapacityLimiter(_MOST_WAITING))
    async with _beside(transaction, waiting) as writing:
        yield writing
    state.catalog.outdate()
    state.tokens.forget()


def of_app(request: Request, name: str, make: Callable[[], Any]) -> Any:
    """Return what all requests share; made with the first one, for it belongs to the loop that runs."""
    state = request.app.state
    if not hasattr(state, name):
        setattr(state, name, make())
    return getattr(state, name)


async def _publishing(
    request: Request, identity: Annotated[Identity, Depends(_writer)], *, dry_run: DryRun = False
) -> AsyncIterator[PublishSession]:
    async with _turn_to_write(request, identity.name, dry_run=dry_run) as writing:
        yield PublishSession(identity, writing, dry_run)


async def _administering(
    request: Request, identity: Annotated[Identity, Depends(_admin)], *, dry_run: DryRun = False
) -> AsyncIterator[AdminSession]:
    async with _turn_to_write(request, identity.name, dry_run=dry_run) as writing:
        yield AdminSession(writing, dry_run)


@dataclass(frozen=True, slots=True)
class FollowSession:
    """Reads again and again, as long as it may."""

    engine: sa.Engine
    _settings: Settings
    _tokens: Tokens
    _secret: str | None

    async def check(self) -> None:
        """Raise the error for a token that is valid no more."""
        if not await self.may_still():
            _refuse_unknown("the token is not valid here", 'Bearer error="invalid_token"')

    async def may_still(self) -> bool:
        """Return whether the token that it began with, if it needed one, is still valid."""
        if self._settings.read == "open":
            return True
        return self._secret is not None and await _find(self._secret, self._settings, self._tokens) is not None


async def _following(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _: Annotated[None, Depends(_reader)],
) -> FollowSession:
    state = request.app.state
    return FollowSession(
        state.databases.primary, state.settings, state.tokens, credentials.credentials if credentials else None
    )


async def _auditing(
    _: Annotated[Identity, Depends(_admin)], connection: Annotated[sa.Connection, Depends(_probing, scope="function")]
) -> sa.Connection:
    return connection


Probing = Annotated[sa.Connection, Depends(_probing, scope="function")]
Reading = Annotated[sa.Connection, Depends(_reading, scope="function")]
Auditing = Annotated[sa.Connection, Depends(_auditing)]
Publishing = Annotated[PublishSession, Depends(_publishing, scope="function")]
Administering = Annotated[AdminSession, Depends(_administering, scope="function")]
Following = Annotated[FollowSession, Depends(_following)]
Registry = Annotated[Catalog, Depends(_catalog)]


def is_for_admins(dependant: Dependant) -> bool:
    """Return whether a route reads or writes what is for admins alone."""
    return any(each.call in {_auditing, _administering} for each in dependant.dependencies)


async def check_before_body(request: Request, dependant: Dependant) -> None:
    """Raise the error for somebody who may not use a route, before anything else of the request is read."""
    needed = [each.call for each in dependant.dependencies]
    identity = await _identity(request, await _bearer(request))
    if _administering in needed:
        await _admin(identity)
    elif _publishing in needed:
        await _writer(identity)
    else:
        await _reader(request, identity)
