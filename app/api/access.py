"""Who may do what: a route reads with a reading connection, and writes with one that only a checked token gives."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.errors import ApiError
from app.settings import Settings
from app.storage import database
from app.storage.catalog import Catalog


@dataclass(frozen=True, slots=True)
class WriteSession:
    """A connection that may publish; only a checked token gives one. Of a dry run nothing is kept."""

    connection: sa.Connection
    dry_run: bool

    def undo(self) -> None:
        """Undo all that was written, and let others write; nothing more can be written then."""
        self.connection.close()


_bearer = HTTPBearer(auto_error=False, description="the admin's token; reads need none")


async def _engine(request: Request) -> sa.Engine:
    engine: sa.Engine = request.app.state.engine
    return engine


async def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _reading(engine: Annotated[sa.Engine, Depends(_engine)]) -> Iterator[sa.Connection]:
    with database.reading(engine) as connection:
        yield connection


async def _admin(
    settings: Annotated[Settings, Depends(_settings)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    if credentials is None:
        challenge = {"WWW-Authenticate": "Bearer"}
        message = "writing needs a token: Authorization: Bearer <token>"
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unauthorized", message, challenge)
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    if not token or not hmac.compare_digest(token.encode(), credentials.credentials.encode()):
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise ApiError(HTTPStatus.UNAUTHORIZED, "unauthorized", "the token is not valid here", challenge)


def _writing(
    engine: Annotated[sa.Engine, Depends(_engine)],
    catalog: Annotated[Catalog, Depends(_catalog)],
    _: Annotated[None, Depends(_admin)],
    *,
    dry_run: Annotated[bool, Query(description="answer what would happen, and store nothing")] = False,
) -> Iterator[WriteSession]:
    with database.writing(engine, dry_run=dry_run) as connection:
        yield WriteSession(connection, dry_run)
    catalog.outdate()


Reading = Annotated[sa.Connection, Depends(_reading, scope="function")]
Writing = Annotated[WriteSession, Depends(_writing, scope="function")]
Registry = Annotated[Catalog, Depends(_catalog)]
