"""Sessions: a route gets to read or write by asking for a session, which only an allowed identity receives."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar

import sqlalchemy as sa
from anyio import CancelScope, CapacityLimiter, create_task_group, from_thread, move_on_after, to_thread
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials

from app.api.container import Container, container
from app.api.errors import ApiError
from app.api.identity import (
    INVALID_TOKEN,
    Allowed,
    bearer,
    check_admin,
    check_reader,
    check_writer,
    find,
    forbid,
    identify,
    refuse_unknown,
)
from app.api.issuer import VerifiedToken
from app.api.share import client_of
from app.domain.engine.question import TakesLongerError
from app.domain.publishing.token import Identity
from app.domain.values.budget import Budget, OverBudgetError, limited
from app.storage import database
from app.storage.content import ColdError
from app.storage.database import Writing
from app.storage.failure import Cause, FailureError
from app.storage.quota import stored_bytes
from app.storage.reader import Reader

Answer = TypeVar("Answer")
Entered = TypeVar("Entered")

_PATIENCE_SECONDS = 30
# What takes a few milliseconds can block the event loop. It counts as a further request for each so many steps.
_STEPS_AT_ONCE = 3_000
_STEPS_OF_A_REQUEST = 200
# A short question needs no turn.
_SHORT_STEPS = 20_000
_SHORT_BYTES = 1024 * 1024
_SHORT_LOADS = 200
_MEGABYTE = 1_000_000
# What the record of a change takes that adds no content.
_NO_CONTENT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class AskSession:
    """Asks the registry, within the budget of a request."""

    _request: Request
    _shared: Container
    _sees_hosts: bool

    async def ask(self, question: Callable[[Reader], Answer], instead: str = "") -> Answer:
        """Return the answer to a question: from memory on the event loop where possible, otherwise in a worker thread.

        Long questions wait for their turn, and end when the client has gone. instead: what to ask where the budget is
        exceeded. Raises OverBudgetError, AbandonedError, and ApiError beyond the client's share.
        """
        if not self._sees_hosts:
            question = partial(_without_hosts, question)
        catalog, settings = self._shared.catalog, self._shared.settings
        work = partial(catalog.ask, question)
        shares, client = self._shared.shares, client_of(self._request)
        at_once = Budget(_STEPS_AT_ONCE, _SHORT_BYTES)
        try:
            with limited(at_once):
                return catalog.ask_at_once(question)
        except (TakesLongerError, OverBudgetError):
            is_short = False
        except ColdError:
            # It waits for the database, and can be short all the same.
            is_short = True
        finally:
            # Nothing else runs meanwhile, so it counts more than a request that does nothing.
            shares.charge(client, min(at_once.steps, _STEPS_AT_ONCE) // _STEPS_OF_A_REQUEST)
        if is_short:
            short = Budget(_SHORT_STEPS, _SHORT_BYTES, max_loads=_SHORT_LOADS)
            with suppress(OverBudgetError), limited(short) as budget:
                return await self._unless_gone(budget, work, self._shared.asking_shortly[client.has_token])
        async with shares.turn_to_ask(client):
            with limited(Budget(settings.max_steps, settings.max_answer_bytes, instead)) as budget:
                return await self._unless_gone(budget, work, self._shared.asking)

    async def _unless_gone(self, budget: Budget, work: Callable[[], Answer], limiter: CapacityLimiter) -> Answer:
        """Return the result of work in a thread; the work is abandoned when the client has gone.

        limiter: not that of the other threads, because a page waits for this in one of them.
        """

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
            try:
                raise failure
            finally:
                # Its traceback has this frame, and with it all that the question has loaded.
                del failure
        return answer

    def ask_from_thread(self, question: Callable[[Reader], Answer], instead: str = "") -> Answer:
        """Return the answer to a question; for routes that run in a worker thread."""
        return from_thread.run(self.ask, question, instead)


def _without_hosts(question: Callable[[Reader], Answer], reader: Reader) -> Answer:
    return question(reader.without_hosts())


async def _asking(request: Request, _: Annotated[None, Depends(check_reader)], allowed: Allowed) -> AskSession:
    return AskSession(request, container(request), allowed.sees_hosts)


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
        raise FailureError(Cause.BUSY)
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
        if identity.vendor is not None and not writing.connection.closed:
            await to_thread.run_sync(_check_quota, container(request), writing, identity.vendor)


def _check_quota(shared: Container, writing: Writing, vendor: str) -> None:
    """Raise 403 if a publication makes a vendor's content larger, and larger than it can be."""
    limit = shared.settings.vendor_megabytes * _MEGABYTE
    if not limit or (after := stored_bytes(writing.connection, vendor)) <= limit:
        return
    with database.reading(shared.primary) as connection:
        before = stored_bytes(connection, vendor)
    # A state can still change, and a draft be deleted.
    if after - before > _NO_CONTENT_BYTES:
        message = (
            f"The publications of {vendor} can take {limit:,} bytes (REGISTRY_VENDOR_MEGABYTES). They take {before:,}, "
            f"with this one {after:,}. Delete drafts, or ask an admin to publish it or to raise the limit."
        )
        raise ApiError(HTTPStatus.FORBIDDEN, "quota-exceeded", message)


async def _administering(
    request: Request, identity: Annotated[Identity, Depends(check_admin)], *, dry_run: DryRun = False
) -> AsyncIterator[AdminSession]:
    async with _turn_to_write(request, identity.name, dry_run=dry_run) as writing:
        yield AdminSession(writing, dry_run)


@dataclass(frozen=True, slots=True)
class ExchangeSession:
    """Creates publisher tokens for pipelines. It needs no token: the OIDC token in the body says who asks."""

    _request: Request
    dry_run: bool

    def reading(self) -> AbstractAsyncContextManager[sa.Connection]:
        """Return a context with a connection that reads; to be left before the issuer is asked for its keys."""
        shared = container(self._request)
        return _connection(shared, database.reading(shared.primary))

    def writing(self, verified: VerifiedToken) -> AbstractAsyncContextManager[Writing]:
        """Return a context with the transaction that writes, for a token whose issuer signed it."""
        by = f"{verified.token.source} run {verified.token.run}"
        return _turn_to_write(self._request, by, dry_run=self.dry_run)


async def _exchanging(request: Request, *, dry_run: DryRun = False) -> ExchangeSession:
    return ExchangeSession(request, dry_run)


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
        if not self._shared.reads_need_token and not (self._secret is not None and self._shared.answers_differ):
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
Exchanging = Annotated[ExchangeSession, Depends(_exchanging)]
Following = Annotated[FollowSession, Depends(_following)]
Asking = Annotated[AskSession, Depends(_asking)]


def is_for_admins(dependant: Dependant) -> bool:
    """Return whether a route reads or writes what only admins can."""
    return any(dependency.call in {_auditing, _administering} for dependency in dependant.dependencies)


async def check_before_body(request: Request, dependant: Dependant) -> None:
    """Raise 401 or 403 for a request that is not allowed on a route, before its body is read."""
    needed = [dependency.call for dependency in dependant.dependencies]
    if _exchanging in needed:
        return
    identity = await identify(request, await bearer(request))
    if _administering in needed:
        await check_admin(identity)
    elif _publishing in needed:
        await check_writer(identity)
    else:
        await check_reader(request, identity)
