"""The exchange of a pipeline's OIDC token for a publisher token that is valid for minutes."""

import time
from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from app.api import examples
from app.api.answer import json_response
from app.api.client import client_of
from app.api.container import container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.issuer import RETRY_SECONDS, IssuerError
from app.api.responses import BODY_ERRORS, error_response
from app.api.route import QuestionRoute
from app.api.session import ExchangeSession, Exchanging
from app.domain.publishing.trusted_publisher import (
    OidcToken,
    RefusalCode,
    RefusedTokenError,
    check_known,
    publisher_of,
)
from app.domain.values.document import Place
from app.storage import trusted_publisher as storage
from app.storage.database import Writing
from app.wire.reading import InPieces
from app.wire.trusted_publisher import ExchangeDocument, ExchangedToken

router = APIRouter(route_class=QuestionRoute, tags=["trusted publishers"])

_CODES = ", ".join(f"`{code}`" for code in RefusalCode)


@router.post(
    "/tokens/exchange",
    status_code=201,
    response_model=ExchangedToken,
    responses={
        **BODY_ERRORS,
        403: error_response(f"{_CODES}: the OIDC token is not exchanged"),
        503: error_response(
            "`unavailable`, `issuer-unavailable`: the database or the issuer of the token cannot be reached; try again "
            "after Retry-After seconds"
        ),
    },
)
async def exchange_token(
    request: Request,
    document: Annotated[
        ExchangeDocument, InPieces(), Body(openapi_examples=examples.example("the token of a run", examples.EXCHANGE))
    ],
    session: Exchanging,
) -> Response:
    """Exchange the OIDC token of a pipeline's run for a publisher token of the vendor that trusts the pipeline.

    The request needs no other token. Only this answer contains the secret. Each OIDC token can be exchanged once.
    """
    shares, client = container(request).shares, client_of(request)
    shares.check_tokens(client)
    try:
        response = await _exchange(request, document, session)
    except RefusedTokenError as error:
        shares.note_wrong_token(client)
        raise ApiError(HTTPStatus.FORBIDDEN, ErrorCode(error.code), str(error)) from error
    response.headers["Cache-Control"] = "no-store"
    return response


async def _exchange(request: Request, document: ExchangeDocument, session: ExchangeSession) -> Response:
    place, vendor = Place(), document.vendor
    token = OidcToken.read(document.token, place / "token")
    async with session.reading() as connection:
        publishers = await to_thread.run_sync(storage.of_issuer, connection, token.issuer)
    check_known(token.issuer, publishers, vendor)
    try:
        verified = await container(request).issuers.verify(token)
    except IssuerError as error:
        message = f"The keys of the issuer {token.issuer} cannot be read: {error}. Try again."
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.ISSUER_UNAVAILABLE, message, headers) from error
    # For the log of requests.
    request.state.token = f"{token.source} run {token.run}"
    # Once before the turn to write, which many wait for, and once within it: an admin can have deleted the publisher.
    publisher_of(token, publishers, vendor, time.time(), place)

    def write(writing: Writing) -> Response:
        now = time.time()
        publisher = publisher_of(token, storage.of_issuer(writing.connection, token.issuer), vendor, now, place)
        row, secret = storage.exchange(writing, token, publisher, now)
        answer = {"token": None if session.dry_run else secret, "trusted_publisher": publisher.id}
        return json_response({**row, "dry_run": session.dry_run, **answer}, HTTPStatus.CREATED)

    async with session.writing(verified) as writing:
        return await to_thread.run_sync(write, writing)
