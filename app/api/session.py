"""Sessions: a route gets to read or write by asking for a session, which only an allowed identity receives."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from http import HTTPStatus
from threading import Event, Lock
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import sqlalchemy as sa
from anyio import CancelScope, CapacityLimiter, from_thread, get_cancelled_exc_class, to_thread
from fastapi import Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials

from app.api.client import Client, client_of
from app.api.container import Container, container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.identity import (
    INVALID_TOKEN,
    Asker,
    bearer,
    check_admin,
    check_reader,
    check_signed_in,
    check_writer,
    find,
    forbid,
    identify,
    identify_asker,
    refuse_unknown,
    rights,
)
from app.api.issuer import VerifiedToken
from app.api.metrics import count_recalled
from app.api.presence import unless_gone
from app.domain.engine.question import TakesLongerError
from app.domain.publishing.token import Identity
from app.domain.values.budget import AbandonedError, Budget, OverBudgetError, limited
from app.storage import database
from app.storage.content import ColdError
from app.storage.database import Writing
from app.storage.host import Staleness
from app.storage.quota import stored_bytes
from app.storage.reader import HostsClosedError, Reader

Answer = TypeVar("Answer")
Result = TypeVar("Result")
Entered = TypeVar("Entered")

# What takes a millisecond or three can block the event loop, of a client without a token and with one. It counts as a
# further request for each so many steps.
_STEPS_AT_ONCE = (1_000, 3_000)
_STEPS_OF_A_REQUEST = 200
# A short question needs no turn.
_SHORT_STEPS = 20_000
_SHORT_BYTES = 1024 * 1024
_SHORT_LOADS = 200
_MEGABYTE = 1_000_000
# When the database was last seen, of an answer that memory gives while the database is away.
AS_OF = "Registry-As-Of"
# Publications of at most this size share a transaction where several wait.
_SMALL_BYTES = 64 * 1024
_DIGITS = 12
# What the record of a change takes that adds no content.
_NO_CONTENT_BYTES = 4096


# In the state of a request: why it was not answered at once, where that was tried already.
TRIED_AT_ONCE = "tried_at_once"


def budget_at_once(shared: Container, client: Client) -> Budget:
    """Return the budget of what is answered on the event loop, which is within that of any request."""
    settings = shared.settings
    return Budget(
        min(_STEPS_AT_ONCE[client.has_token], settings.max_steps), min(_SHORT_BYTES, settings.max_answer_bytes)
    )


def answer_at_once(
    shared: Container,
    client: Client,
    question: Callable[[Reader], Answer],
    budget: Budget,
    *,
    sees_hosts: bool,
    can_be_old: bool = False,
) -> Answer:
    """Answer a question from memory, on the event loop.

    can_be_old: while the database is away, as it was when it was last seen. Raises TakesLongerError, OverBudgetError
    and ColdError where that is not possible.
    """
    try:
        with limited(budget):
            asked = question if sees_hosts else partial(_without_hosts, question)
            return shared.catalog.ask_at_once(asked, can_be_old=can_be_old)
    finally:
        # Nothing else runs meanwhile, so it counts more than a request that does nothing.
        shared.shares.charge(client, min(budget.steps, _STEPS_AT_ONCE[client.has_token]) // _STEPS_OF_A_REQUEST)


class AskSession:
    """Asks the registry, within the budget of a request: what all its questions take counts together."""

    def __init__(
        self, request: Request, shared: Container, *, sees_hosts: bool, unchecked: Exception | None = None
    ) -> None:
        """unchecked: why the token of the request could not be checked."""
        self._unchecked = unchecked
        self._request = request
        self._shared = shared
        self._sees_hosts = sees_hosts
        self._give_way = shared.give_way(client_of(request))
        settings = shared.settings
        self._taken = Budget(settings.max_steps, settings.max_answer_bytes, give_way=self._give_way)

    @property
    def sees_hosts(self) -> bool:
        """Whether the client can know the registered hosts."""
        return self._sees_hosts

    async def ask_or_recall(self, question: Callable[[Reader], Response], instead: str = "") -> Response:
        """Return the answer to a question; while the database is away, that of memory, which says `as_of`.

        The question has to put the reader's basis into the answer.
        """
        try:
            return await self.ask(partial(_recalled, question), instead, can_be_old=True)
        except HostsClosedError:
            # The token could allow it.
            if self._unchecked is not None:
                raise self._unchecked from None
            raise

    async def ask(self, question: Callable[[Reader], Answer], instead: str = "", *, can_be_old: bool = False) -> Answer:
        """Return the answer to a question: from memory on the event loop where possible, otherwise in a worker thread.

        Long questions wait for their turn, and end when the client has gone. instead: what to ask where the budget is
        exceeded. can_be_old: whether memory can answer while the database is away. Raises OverBudgetError,
        AbandonedError, and ApiError beyond the client's share.
        """
        self._taken.begin(instead)
        catalog, shares, client = self._shared.catalog, self._shared.shares, client_of(self._request)
        state = self._request.scope.get("state", {})
        at_once = budget_at_once(self._shared, client)
        try:
            if (tried := state.pop(TRIED_AT_ONCE, None)) is not None:
                raise tried
            answer = answer_at_once(
                self._shared, client, question, at_once, sees_hosts=self._sees_hosts, can_be_old=can_be_old
            )
        except TakesLongerError as error:
            is_long = error.steps > _SHORT_STEPS
        except (OverBudgetError, ColdError):
            is_long = False
        else:
            self._taken.add(at_once)
            return answer
        if not self._sees_hosts:
            question = partial(_without_hosts, question)
        work = partial(catalog.ask, question, can_be_old=can_be_old)
        if not is_long:
            short = Budget(_SHORT_STEPS, _SHORT_BYTES, max_loads=_SHORT_LOADS, give_way=self._give_way)
            short_work, limiter = partial(_within_budget, work), self._shared.asking_shortly
            with self._shared.urgency.urgent(is_urgent=client.has_token):
                answers = await self._unless_gone(
                    short, short_work, limiter, partial(shares.turn_to_ask_shortly, client)
                )
            shares.charge(client, min(short.steps, _SHORT_STEPS) // _STEPS_OF_A_REQUEST)
            for answer in answers:
                self._taken.add(short)
                return answer
        before = self._taken.steps
        try:
            return await self._unless_gone(self._taken, work, self._shared.asking, partial(shares.turn_to_ask, client))
        finally:
            shares.charge(client, (self._taken.steps - before) // _STEPS_OF_A_REQUEST)

    async def _unless_gone(
        self,
        budget: Budget,
        work: Callable[[], Result],
        limiter: CapacityLimiter,
        turn: Callable[[], AbstractAsyncContextManager[None]],
    ) -> Result:
        """Return the result of work in a thread, within a budget; it is abandoned when the client has gone.

        limiter: not that of the other threads, because a page waits for this in one of them. turn: what it waits for
        before.
        """

        async def in_turn() -> Result:
            async with turn():
                return await to_thread.run_sync(work, limiter=limiter)

        with limited(budget):
            return await unless_gone(self._request, in_turn, budget.abandon)

    def ask_from_thread(self, question: Callable[[Reader], Answer], instead: str = "") -> Answer:
        """Return the answer to a question; for routes that run in a worker thread."""
        return from_thread.run(self.ask, question, instead)


def _within_budget(work: Callable[[], Answer]) -> Sequence[Answer]:
    """Return the one result of work, none if the budget is exceeded.

    An error that leaves a thread is kept by its future, and with its traceback all that the question has loaded.
    """
    try:
        return [work()]
    except OverBudgetError:
        return []


def _recalled(question: Callable[[Reader], Response], reader: Reader) -> Response:
    """Return the answer to a question, with a header if it is old: not every form of an answer has fields."""
    response = question(reader)
    if reader.as_of is not None:
        response.headers[AS_OF] = reader.as_of
        count_recalled()
    return response


def _without_hosts(question: Callable[[Reader], Answer], reader: Reader) -> Answer:
    return question(reader.without_hosts())


async def _asking(request: Request, asker: Annotated[Asker, Depends(identify_asker)]) -> AskSession:
    await check_reader(request, asker.identity)
    allowed = await rights(request, asker.identity)
    return AskSession(request, container(request), sees_hosts=allowed.sees_hosts, unchecked=asker.unchecked)


@asynccontextmanager
async def _connection(
    shared: Container, client: Client, reading: AbstractContextManager[sa.Connection]
) -> AsyncIterator[sa.Connection]:
    """Yield a connection that reads.

    Requests wait for a connection here: in worker threads they would block the requests that have one.
    """
    async with shared.shares.turn_to_read(client), _in_thread(reading, shared) as connection:
        yield connection


class _Entry(Generic[Entered]):
    """Enters a context manager in a thread, and leaves it there if nobody waits for that any more."""

    def __init__(self, manager: AbstractContextManager[Entered]) -> None:
        self._manager = manager
        self._lock = Lock()
        self._is_entered = self._is_given_up = False

    def enter(self) -> Entered:
        """Enter it; raises AbandonedError if it was given up meanwhile."""
        entered = self._manager.__enter__()
        with self._lock:
            self._is_entered = True
            if not self._is_given_up:
                return entered
        self.leave(AbandonedError())
        raise AbandonedError

    def give_up(self) -> bool:
        """Give it up; return whether it was entered already, and so is not left by itself."""
        with self._lock:
            self._is_given_up = True
            return self._is_entered

    def leave(self, error: BaseException | None) -> None:
        """Leave it."""
        if error is None:
            self._manager.__exit__(None, None, None)
        else:
            self._manager.__exit__(type(error), error, error.__traceback__)


@asynccontextmanager
async def _in_thread(
    manager: AbstractContextManager[Entered], shared: Container, entering: CapacityLimiter | None = None
) -> AsyncIterator[Entered]:
    """Enter and leave a context manager that waits for the database in a worker thread.

    To enter it can take long where others hold a lock: what is cancelled meanwhile does not wait for that. entering:
    the threads that wait; those that leave are never among them.
    """
    entry = _Entry(manager)
    try:
        entered = await to_thread.run_sync(entry.enter, abandon_on_cancel=True, limiter=entering)
    except get_cancelled_exc_class() as error:
        if entry.give_up():
            with CancelScope(shield=True):
                await to_thread.run_sync(entry.leave, error, limiter=shared.ending)
        raise
    try:
        yield entered
    except BaseException as error:
        with CancelScope(shield=True):
            await to_thread.run_sync(entry.leave, error, limiter=shared.ending)
        raise
    with CancelScope(shield=True):
        await to_thread.run_sync(entry.leave, None, limiter=shared.ending)


async def _probing(request: Request) -> AsyncIterator[sa.Connection]:
    """Yield a connection to the database that is written."""
    shared = container(request)
    async with _connection(shared, client_of(request), database.reading(shared.primary)) as connection:
        yield connection


async def _reading(request: Request, _: Annotated[None, Depends(check_reader)]) -> AsyncIterator[sa.Connection]:
    """Yield a connection to the primary, or to a replica that is as recent."""
    shared = container(request)
    async with _connection(shared, client_of(request), shared.databases.reading()) as connection:
        yield connection


class _NotAloneError(Exception):
    """What decides about a publication cannot be told from what others write in the same transaction."""


class WriteSession:
    """Writes in the one transaction that writes; its route runs in one thread from the wait for its turn to COMMIT.

    A thread more for the wait and another for COMMIT would keep the turn while the event loop does something else.
    """

    # Whether it shares a transaction with others that wait, if what it writes is small.
    _shares_commits = False

    def __init__(self, request: Request, identity: Identity, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._shared = container(request)
        self._identity = identity
        self._can_share = self._shares_commits and not dry_run and _is_small_publication(request)
        self._open: Writing | None = None

    @property
    def writing(self) -> Writing:
        """The transaction that writes."""
        if self._open is None:
            message = "the route does not have its turn to write"
            raise RuntimeError(message)
        return self._open

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of work, once it is committed; what is cancelled while it waits gives up its turn.

        It is done again alone where what others write in the same transaction decides about it.
        """
        try:
            return await self._run(work)
        except _NotAloneError:
            self._can_share = False
            return await self._run(work)

    async def _run(self, work: Callable[[], Result]) -> Result:
        shared = self._shared
        entry = _Entry(
            database.writing(shared.primary, self._identity.name, dry_run=self.dry_run, can_share=self._can_share)
        )
        ended = Event()

        def in_turn() -> Result:
            try:
                self._open = entry.enter()
                try:
                    result = work()
                    self._check()
                except BaseException as error:
                    entry.leave(error)
                    raise
                entry.leave(None)
                return result
            finally:
                ended.set()

        try:
            with shared.urgency.urgent():
                try:
                    result = await to_thread.run_sync(in_turn, abandon_on_cancel=True, limiter=shared.waiting_to_write)
                except get_cancelled_exc_class():
                    if entry.give_up():
                        with CancelScope(shield=True):
                            await to_thread.run_sync(ended.wait, limiter=shared.ending)
                    raise
            shared.catalog.outdate()
            return result
        finally:
            if self._open is not None:
                # A COMMIT that failed can have stored it all the same.
                shared.catalog.recheck()
                shared.tokens.forget()

    def _check(self) -> None:
        """Raise ApiError if what was written must not be committed."""


def _is_small_publication(request: Request) -> bool:
    """Return whether a request publishes so little that others can wait for it; a PATCH can publish a large draft."""
    announced = request.headers.get("content-length", "")
    is_small = announced.isascii() and announced.isdecimal() and int(announced[:_DIGITS]) <= _SMALL_BYTES
    return is_small and request.method == "PUT"


class PublishSession(WriteSession):
    """Publishes names of the vendors that the token is for. A dry run stores nothing."""

    _shares_commits = True

    def of(self, *vendors: str) -> Writing:
        """Return the transaction that writes names of these vendors; raises 403 for a token of another vendor.

        The error is the same whether the vendor or the name exists or not.
        """
        if not all(map(self._identity.may_write, vendors)):
            forbid(f"This token can publish only names of {self._identity.vendor}.")
        return self.writing

    def of_any(self, *vendors: str) -> Writing:
        """Return the transaction for what any of these vendors can write; raises 403 for a token of another vendor."""
        if not self._identity.is_admin and not any(map(self._identity.may_write, vendors)):
            forbid(f"This token can publish only what concerns names of {self._identity.vendor}.")
        return self.writing

    @property
    def reading(self) -> sa.Connection:
        """The connection of the transaction, to read what decides who may write."""
        return self.writing.connection

    def check_admin(self, message: str) -> None:
        """Raise 403 with the message if the token is not an admin's."""
        if not self._identity.is_admin:
            forbid(message)

    def check_override(self, override: str | None) -> None:
        """Raise 403 if a publisher gives a reason to pass the evolution gate."""
        if override is not None and not self._identity.is_admin:
            forbid("The override needs an admin token.")

    def _check(self) -> None:
        if self._identity.vendor is not None and not self.writing.connection.closed:
            _check_quota(self._shared, self.writing, self._identity.vendor)


class AdminSession(WriteSession):
    """Writes what belongs to the operator. A dry run stores nothing."""


DryRun = Annotated[bool, Query(description="answer what would happen, and store nothing")]


@asynccontextmanager
async def _turn_to_write(request: Request, by: str, *, dry_run: bool) -> AsyncIterator[Writing]:
    """Yield the one transaction that writes; by: the name of who writes."""
    shared = container(request)
    transaction = database.writing(shared.primary, by, dry_run=dry_run)
    has_begun = False
    try:
        with shared.urgency.urgent():
            async with _in_thread(transaction, shared, shared.waiting_to_write) as writing:
                has_begun = True
                yield writing
        shared.catalog.outdate()
    finally:
        if has_begun:
            # A COMMIT that failed can have stored it all the same.
            shared.catalog.recheck()
            shared.tokens.forget()


async def _publishing(
    request: Request, identity: Annotated[Identity, Depends(check_writer)], *, dry_run: DryRun = False
) -> PublishSession:
    return PublishSession(request, identity, dry_run=dry_run)


def _check_quota(shared: Container, writing: Writing, vendor: str) -> None:
    """Raise 403 if a publication makes a vendor's content larger, and larger than it can be."""
    limit = shared.settings.vendor_megabytes * _MEGABYTE
    if not limit or (after := stored_bytes(writing.connection, vendor)) <= limit:
        return
    if not writing.is_first:
        raise _NotAloneError
    with database.reading(shared.primary) as connection:
        before = stored_bytes(connection, vendor)
    # A state can still change, and a draft be deleted.
    if after - before > _NO_CONTENT_BYTES:
        message = (
            f"The publications of {vendor} can take {limit:,} bytes (REGISTRY_VENDOR_MEGABYTES). They take {before:,}, "
            f"with this one {after:,}. Delete drafts, or ask an admin to publish it or to raise the limit."
        )
        raise ApiError(HTTPStatus.FORBIDDEN, ErrorCode.QUOTA_EXCEEDED, message)


async def _administering(
    request: Request, identity: Annotated[Identity, Depends(check_admin)], *, dry_run: DryRun = False
) -> AdminSession:
    return AdminSession(request, identity, dry_run=dry_run)


def in_turn(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Return the endpoint of a route, one that writes so that it runs in its turn to write."""
    if not any(
        annotation in {Publishing, Administering}
        for annotation in get_type_hints(endpoint, include_extras=True).values()
    ):
        return endpoint

    @wraps(endpoint)
    async def run(**arguments: Any) -> Any:
        session = next(argument for argument in arguments.values() if isinstance(argument, WriteSession))
        return await session.run(partial(endpoint, **arguments))

    return run


@dataclass(frozen=True, slots=True)
class RegisterSession:
    """Registers what belongs to the operator, and reads before whether anything has to be written at all."""

    _request: Request
    _identity: Identity
    dry_run: bool

    @property
    def staleness(self) -> Staleness:
        """When a host that does not report counts as stale."""
        return container(self._request).staleness

    def reading(self) -> AbstractAsyncContextManager[sa.Connection]:
        """Return a context with a connection that reads what was written last. Leave it before the one that writes."""
        shared = container(self._request)
        return _connection(shared, client_of(self._request), database.reading(shared.primary))

    def writing(self) -> AbstractAsyncContextManager[Writing]:
        """Return a context with the transaction that writes."""
        return _turn_to_write(self._request, self._identity.name, dry_run=self.dry_run)


async def _registering(
    request: Request, identity: Annotated[Identity, Depends(check_admin)], *, dry_run: DryRun = False
) -> RegisterSession:
    return RegisterSession(request, identity, dry_run)


@dataclass(frozen=True, slots=True)
class ExchangeSession:
    """Creates publisher tokens for pipelines. It needs no token: the OIDC token in the body says who asks."""

    _request: Request
    dry_run: bool

    def reading(self) -> AbstractAsyncContextManager[sa.Connection]:
        """Return a context with a connection that reads; to be left before the issuer is asked for its keys."""
        shared = container(self._request)
        return _connection(shared, client_of(self._request), database.reading(shared.primary))

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
Publishing = Annotated[PublishSession, Depends(_publishing)]
Administering = Annotated[AdminSession, Depends(_administering)]
Registering = Annotated[RegisterSession, Depends(_registering)]
Exchanging = Annotated[ExchangeSession, Depends(_exchanging)]
Following = Annotated[FollowSession, Depends(_following)]
Asking = Annotated[AskSession, Depends(_asking)]


_FOR_ADMINS = frozenset({_administering, _registering})


def is_private(dependant: Dependant) -> bool:
    """Return whether only some tokens get the answer of a route: those of admins, or the one that it is about."""
    private = {_auditing, check_signed_in, *_FOR_ADMINS}
    return any(dependency.call in private for dependency in dependant.dependencies)


async def check_before_body(request: Request, dependant: Dependant) -> None:
    """Raise 401 or 403 for a request that is not allowed on a route, before its body is read."""
    needed = [dependency.call for dependency in dependant.dependencies]
    if _exchanging in needed:
        return
    credentials = await bearer(request)
    if _asking in needed and _publishing not in needed:
        await check_reader(request, (await identify_asker(request, credentials)).identity)
        return
    identity = await identify(request, credentials)
    if not _FOR_ADMINS.isdisjoint(needed):
        await check_admin(identity)
    elif _publishing in needed:
        await check_writer(identity)
    else:
        await check_reader(request, identity)
