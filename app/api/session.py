"""Sessions: a route gets to read or write by asking for a session, which only an allowed identity receives."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import sqlalchemy as sa
from anyio import CancelScope, CapacityLimiter, move_on_after, to_thread
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials

from app.api.container import Container, container
from app.api.identity import (
    INVALID_TOKEN,
    bearer,
    check_admin,
    check_reader,
    check_writer,
    find,
    forbid,
    identify,
    refuse_unknown,
)
from app.domain.engine.question import TakesLongerError
from app.domain.publishing.token import Identity
from app.storage import database
from app.storage.catalog import Catalog
from app.storage.content import ColdError
from app.storage.database import Writing
from app.storage.reader import Reader

Answer = TypeVar("Answer")
Entered = TypeVar("Entered")

_PATIENCE_SECONDS = 30


async def _catalog(request: Request, _: Annotated[None, Depends(check_reader)]) -> Catalog:
    return container(request).catalog


async def ask(catalog: Catalog, question: Callable[[Reader], Answer]) -> Answer:
    """Return the answer to a question: from memory on the event loop where possible, otherwise in a worker thread."""
    try:
        return catalog.ask_at_once(question)
    except (ColdError, TakesLongerError):
        return await to_thread.run_sync(catalog.ask, question)


@asynccontextmanager
async def _connection(
    shared: Container, reading: AbstractContextManager[sa.Connection]
) -> AsyncIterator[sa.Connection]:
    """Yield a connection that reads.

    Requests wait for a connection here: in worker threads they would block the requests that have one.
    """
    with move_on_after(_PATIENCE_SECONDS) as waiting:
        await shared.readers.acquire()
    if waiting.cancelled_caught:
        raise sa.exc.TimeoutError
    try:
        async with _in_thread(reading) as connection:
            yield connection
    finally:
        shared.readers.release()


@asynccontextmanager
async def _in_thread(
    manager: AbstractContextManager[Entered], limiter: CapacityLimiter | None = None
) -> AsyncIterator[Entered]:
    """Enter and leave a context manager that waits for the database in a worker thread, also when cancelled."""
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
    shared = container(request)
    async with _connection(shared, database.reading(shared.primary)) as connection:
        yield connection


async def _reading(request: Request, _: Annotated[None, Depends(check_reader)]) -> AsyncIterator[sa.Connection]:
    """Yield a connection to the primary, or to a replica that is as recent."""
    shared = container(request)
    async with _connection(shared, shared.databases.reading()) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class PublishSession:
    """Publishes names of the vendors that the token is for. A dry run stores nothing."""

    _identity: Identity
    _writing: Writing
    dry_run: bool

    def of(self, *vendors: str) -> Writing:
        """Return the transaction that writes names of these vendors; raises 403 for a token of another vendor.

        The error is the same whether the vendor or the name exists or not.
        """
        if not all(map(self._identity.may_write, vendors)):
            forbid(f"This token can publish only names of {self._identity.vendor}.")
        return self._writing

    def of_any(self, *vendors: str) -> Writing:
        """Return the transaction for what any of these vendors can write; raises 403 for a token of another vendor."""
        if not self._identity.is_admin and not any(map(self._identity.may_write, vendors)):
            forbid(f"This token can publish only what concerns names of {self._identity.vendor}.")
        return self._writing

    @property
    def reading(self) -> sa.Connection:
        """The connection of the transaction, to read what decides who may write."""
        return self._writing.connection

    def check_admin(self, message: str) -> None:
        """Raise 403 with the message if the token is not an admin's."""
        if not self._identity.is_admin:
            forbid(message)

    def check_override(self, override: str | None) -> None:
        """Raise 403 if a publisher gives a reason to pass the evolution gate."""
        if override is not None and not self._identity.is_admin:
            forbid("The override needs an admin token.")


@dataclass(frozen=True, slots=True)
class AdminSession:
    """Writes what belongs to the operator. A dry run stores nothing."""

    writing: Writing
    dry_run: bool


DryRun = Annotated[bool, Query(description="answer what would happen, and store nothing")]


@asynccontextmanager
async def _turn_to_write(request: Request, by: str, *, dry_run: bool) -> AsyncIterator[Writing]:
    """Yield the one transaction that writes; by: the name of who writes."""
    shared = container(request)
    transaction = database.writing(shared.primary, by, dry_run=dry_run)
    async with _in_thread(transaction, shared.waiting_to_write) as writing:
        yield writing
    shared.catalog.outdate()
    shared.tokens.forget()


async def _publishing(
    request: Request, identity: Annotated[Identity, Depends(check_writer)], *, dry_run: DryRun = False
) -> AsyncIterator[PublishSession]:
    async with _turn_to_write(request, identity.name, dry_run=dry_run) as writing:
        yield PublishSession(identity, writing, dry_run)


async def _administering(
    request: Request, identity: Annotated[Identity, Depends(check_admin)], *, dry_run: DryRun = False
) -> AsyncIterator[AdminSession]:
    async with _turn_to_write(request, identity.name, dry_run=dry_run) as writing:
        yield AdminSession(writing, dry_run)


@dataclass(frozen=True, slots=True)
class FollowSession:
    """Reads again and again, for as long as its token is valid."""

    _shared: Container
    _secret: str | None

    @property
    def engine(self) -> sa.Engine:
        """The database that is written, which is never behind."""
        return self._shared.primary

    async def check(self) -> None:
        """Raise 401 once the token is no longer valid."""
        if not await self.is_valid():
            refuse_unknown(INVALID_TOKEN, 'Bearer error="invalid_token"')

    async def is_valid(self) -> bool:
        """Return whether the token that the session began with, if it needed one, is still valid."""
        if not self._shared.reads_need_token:
            return True
        return self._secret is not None and await find(self._secret, self._shared) is not None


async def _following(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    _: Annotated[None, Depends(check_reader)],
) -> FollowSession:
    return FollowSession(container(request), credentials.credentials if credentials else None)


async def _auditing(
    _: Annotated[Identity, Depends(check_admin)],
    connection: Annotated[sa.Connection, Depends(_probing, scope="function")],
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
    """Return whether a route reads or writes what only admins can."""
    return any(dependency.call in {_auditing, _administering} for dependency in dependant.dependencies)


async def check_before_body(request: Request, dependant: Dependant) -> None:
    """Raise 401 or 403 for a request that is not allowed on a route, before its body is read."""
    needed = [dependency.call for dependency in dependant.dependencies]
    identity = await identify(request, await bearer(request))
    if _administering in needed:
        await check_admin(identity)
    elif _publishing in needed:
        await check_writer(identity)
    else:
        await check_reader(request, identity)
