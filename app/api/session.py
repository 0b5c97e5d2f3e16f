"""Sessions: a route gets to read or write by asking for a session, which only an allowed identity receives."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

import sqlalchemy as sa
from anyio import CancelScope, CapacityLimiter, create_task_group, from_thread, move_on_after, to_thread
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
from app.api.share import client_of
from app.domain.engine.question import TakesLongerError
from app.domain.publishing.token import Identity
from app.domain.values.budget import Budget, OverBudgetError, limited
from app.storage import database
from app.storage.content import ColdError
from app.storage.database import Writing
from app.storage.reader import Reader

Answer = TypeVar("Answer")
Entered = TypeVar("Entered")

_PATIENCE_SECONDS = 30
# A short question takes some milliseconds, so it can block the event loop, and needs no turn.
_SHORT_STEPS = 20_000
_SHORT_BYTES = 1024 * 1024
_SHORT_LOADS = 200


@dataclass(frozen=True, slots=True)
class AskSession:
    """Asks the registry, within the budget of a request."""

    _request: Request
    _shared: Container

    async def ask(self, question: Callable[[Reader], Answer], instead: str = "") -> Answer:
        """Return the answer to a question: from memory on the event loop where possible, otherwise in a worker thread.

        Long questions wait for their turn, and end when the client has gone. instead: what to ask where the budget is
        exceeded. Raises OverBudgetError, AbandonedError, and ApiError beyond the client's share.
        """
        catalog, settings = self._shared.catalog, self._shared.settings
        work = partial(catalog.ask, question)
        try:
            with limited(_short_budget()):
                return catalog.ask_at_once(question)
        except (TakesLongerError, OverBudgetError):
            is_short = False
        except ColdError:
            # It waits for the database, and can be short all the same.
            is_short = True
        if is_short:
            with suppress(OverBudgetError), limited(_short_budget()) as budget:
                return await self._unless_gone(budget, work)
        async with self._shared.shares.turn_to_ask(client_of(self._request)):
            with limited(Budget(settings.max_steps, settings.max_answer_bytes, instead)) as budget:
                return await self._unless_gone(budget, work, self._shared.asking)

    async def _unless_gone(
        self, budget: Budget, work: Callable[[], Answer], limiter: CapacityLimiter | None = None
    ) -> Answer:
        """Return the result of work in a thread; the work is abandoned when the client has gone."""

        async def watch() -> None:
            try:
                while (await self._request.receive())["type"] != "http.disconnect":
                    pass
            finally:
                # Also when the request is cancelled, which does not reach a thread.
                budget.abandon()

        failure: Exception | None = None
        async with create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                answer = await to_thread.run_sync(work, limiter=limiter)
            except Exception as error:  # noqa: BLE001 (raised below, for a task group would wrap it)
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    def ask_from_thread(self, question: Callable[[Reader], Answer], instead: str = "") -> Answer:
        """Return the answer to a question; for routes that run in a worker thread."""
        return from_thread.run(self.ask, question, instead)


def _short_budget() -> Budget:
    return Budget(_SHORT_STEPS, _SHORT_BYTES, max_loads=_SHORT_LOADS)


async def _asking(request: Request, _: Annotated[None, Depends(check_reader)]) -> AskSession:
    return AskSession(request, container(request))


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

    @property
    def must_end(self) -> bool:
        """Whether the service stops: the client can go on elsewhere."""
        return self._shared.stopping.has_begun

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
) -> AsyncIterator[FollowSession]:
    shared = container(request)
    with shared.shares.following(client_of(request)):
        yield FollowSession(shared, credentials.credentials if credentials else None)


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
Asking = Annotated[AskSession, Depends(_asking)]


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
