"""Who makes a request: the bearer token, the identity behind it, and what a role is allowed to do."""

import hmac
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, NoReturn

from anyio import to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.client import Client, client_of
from app.api.container import Container, container
from app.api.error_code import ErrorCode
from app.api.errors import HOSTS_CLOSED, NOT_SIGNED_IN, ApiError
from app.domain.publishing.token import Identity, Role
from app.settings import Settings
from app.storage.failure import Cause, FailureError, failure_of

_LOGGER = logging.getLogger("registry")
_ADMIN = Identity("admin", Role.ADMIN)

bearer = HTTPBearer(
    auto_error=False,
    description="a token: an admin token writes everything, a publisher token the names of its vendor; reading needs "
    "one only where the operator has closed it",
)
INVALID_TOKEN = "The token is not valid here: it is unknown, expired or revoked."  # noqa: S105


async def identify(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Identity | None:
    """Return the identity behind the request's token, None without a token; raises 401 for an invalid one."""
    if credentials is None:
        return None
    shared, client = container(request), client_of(request)
    if not client.has_token:
        # Counted before it is looked up, so that many that come at once are counted, too.
        shared.shares.check_tokens(client)
        shared.shares.note_wrong_token(client)
    try:
        identity = await find(credentials.credentials, shared)
    except Exception:
        if not client.has_token:
            # Nobody knows whether it was wrong.
            shared.shares.note_right_token(client)
        raise
    if identity is None:
        _LOGGER.warning("wrong token from %s, request %s", client.key, request.state.request_id)
        refuse_unknown(INVALID_TOKEN, 'Bearer error="invalid_token"')
    if not client.has_token:
        shared.shares.note_right_token(client)
        request.state.client = Client.of_token(identity.name)
    # For the log of requests.
    request.state.token = identity.name
    return identity


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks a question. unchecked: why the token could not be checked; then it allows nothing."""

    identity: Identity | None
    unchecked: Exception | None = None


async def identify_asker(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Asker:
    """Return who asks. Where everybody can read, a token need not be checked while the database is away."""
    shared = container(request)
    is_open = not shared.reads_need_token
    if is_open and credentials is not None and shared.catalog.as_of() is not None:
        identity = remembered(credentials.credentials, shared)
        return Asker(identity, None if identity is not None else FailureError(Cause.UNREACHABLE))
    try:
        return Asker(await identify(request, credentials))
    except Exception as error:
        if failure_of(error) is None or not is_open or shared.catalog.as_of() is None:
            raise
        return Asker(None, error)


async def find(secret: str, shared: Container) -> Identity | None:
    """Return the identity behind a token, None if it is not valid; raises the failure of a database that is away."""
    if identity := remembered(secret, shared):
        return identity
    return await to_thread.run_sync(_look_up, secret, shared, limiter=shared.checking)


def _look_up(secret: str, shared: Container) -> Identity | None:
    shared.catalog.check_away()
    try:
        return shared.tokens.find(secret)
    except Exception as error:
        shared.catalog.note(error)
        raise


def client_with(secret: str, shared: Container) -> Client | None:
    """Return the client that sends a token, None if this worker has not seen the token yet; reads no database."""
    name = _ADMIN.name if _is_admin(secret, shared.settings) else shared.tokens.known_name(secret)
    return None if name is None else Client.of_token(name)


def _is_admin(secret: str, settings: Settings) -> bool:
    admin = settings.admin_token.get_secret_value() if settings.admin_token else ""
    return bool(admin) and hmac.compare_digest(admin.encode(), secret.encode())


def remembered(secret: str, shared: Container) -> Identity | None:
    """Return the identity behind a valid token that was seen a moment ago, else None; reads no database."""
    return _ADMIN if _is_admin(secret, shared.settings) else shared.tokens.remembered(secret)


def refuse_unknown(message: str, challenge: str = "Bearer") -> NoReturn:
    """Raise 401: the request has no valid token."""
    raise ApiError(HTTPStatus.UNAUTHORIZED, ErrorCode.UNAUTHORIZED, message, {"WWW-Authenticate": challenge})


def forbid(message: str) -> NoReturn:
    """Raise 403: the token is valid, but not for this."""
    raise ApiError(HTTPStatus.FORBIDDEN, ErrorCode.FORBIDDEN, message)


MaybeIdentity = Annotated[Identity | None, Depends(identify)]


async def check_reader(request: Request, identity: MaybeIdentity) -> None:
    """Raise 401 where reading needs a token and the request has none."""
    if container(request).reads_need_token and identity is None:
        refuse_unknown(NOT_SIGNED_IN)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a client can read where the operator has closed some of it."""

    _settings: Settings
    _is_signed_in: bool

    @property
    def sees_hosts(self) -> bool:
        """Whether it can know the registered hosts."""
        return self._is_signed_in or self._settings.read_hosts == "open"

    def check_hosts(self) -> None:
        """Raise 401 if the client must not know the registered hosts."""
        if not self.sees_hosts:
            refuse_unknown(HOSTS_CLOSED)

    def check_drafts(self, *, is_asked: bool) -> None:
        """Raise 401 if drafts are asked for and the client must not read them."""
        if is_asked and not self._is_signed_in and self._settings.read_drafts == "token":
            refuse_unknown(f"Drafts are closed here. {NOT_SIGNED_IN}")


async def rights(request: Request, identity: MaybeIdentity) -> Rights:
    """Return what the client of a request can read."""
    return rights_of(container(request), identity)


def rights_of(shared: Container, identity: Identity | None) -> Rights:
    """Return what a client with this identity can read."""
    return Rights(shared.settings, identity is not None)


Allowed = Annotated[Rights, Depends(rights)]


async def check_signed_in(identity: MaybeIdentity) -> Identity:
    """Return the identity of whoever has a token; raises 401 without one."""
    if identity is None:
        refuse_unknown(NOT_SIGNED_IN)
    return identity


SignedIn = Annotated[Identity, Depends(check_signed_in)]


async def check_writer(identity: MaybeIdentity) -> Identity:
    """Return the identity of a publisher or an admin; raises 401 or 403."""
    if identity is None:
        refuse_unknown(NOT_SIGNED_IN)
    if identity.role is Role.READER:
        forbid("This token can only read.")
    return identity


async def check_admin(identity: MaybeIdentity) -> Identity:
    """Return the identity of an admin; raises 401 or 403."""
    if identity is None:
        refuse_unknown(NOT_SIGNED_IN)
    if not identity.is_admin:
        forbid("This needs an admin token.")
    return identity
