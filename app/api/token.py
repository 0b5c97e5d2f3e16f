"""Tokens to publish and to read with."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.identity import INVALID_TOKEN, SignedIn, refuse_unknown
from app.api.responses import ADMINISTRATION, BODY_ERRORS, INVALID, UNAUTHORIZED, UNAVAILABLE, not_found
from app.api.route import Route
from app.api.session import Administering, AdminSession, Auditing, Probing
from app.domain.publishing.outcome import UnknownVendorError
from app.domain.publishing.token import Role
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import is_vendor
from app.service.known import UnknownNameError
from app.storage import listing, lookup, schema, token
from app.storage.database import written_time
from app.wire.base import Page, printable
from app.wire.reading import InPieces
from app.wire.token import CreatedToken, OwnToken, Token, TokenDocument

router = APIRouter(route_class=Route, tags=["tokens"])


@router.post(
    "/tokens",
    status_code=201,
    response_model=CreatedToken,
    responses={**BODY_ERRORS, **ADMINISTRATION, **not_found("vendor")},
)
def post_token(
    document: Annotated[
        TokenDocument, InPieces(), Body(openapi_examples=examples.example("a vendor's pipeline", examples.TOKEN))
    ],
    session: Administering,
) -> Response:
    """Create a token. Only this answer contains its secret."""
    response = json_response(created(document, session), HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response


def created(document: TokenDocument, session: AdminSession) -> dict[str, Any]:
    """Create a token; return it with its secret, which a dry run does not have.

    Raises InvalidDocumentError and UnknownVendorError.
    """
    at = Place()
    if document.vendor is not None and not is_vendor(document.vendor):
        message = "must be a vendor, a DNS domain in lower case, such as vendor-a.com; leave it out for other roles"
        (at / "vendor").fault(FaultCode.INVALID_NAME, message)
    elif (document.vendor is None) is (document.role is Role.PUBLISHER):
        message = "only publishers have a vendor" if document.vendor else "is missing: a publisher needs a vendor"
        (at / "vendor").fault(FaultCode.MISSING_FIELD if document.vendor is None else FaultCode.UNKNOWN_FIELD, message)
    at.raise_faults()
    writing = session.writing
    if document.vendor and not lookup.ids(writing.connection, schema.vendor, [document.vendor]):
        raise UnknownVendorError(document.vendor)
    expires = None
    if document.expires_in is not None:
        expires = written_time(datetime.now(UTC) + timedelta(seconds=document.expires_in))
    row, secret = token.create(writing, document.name, document.role, document.vendor, expires)
    return {**row, "dry_run": session.dry_run, "token": None if session.dry_run else secret}


@router.get("/tokens", response_model=Page[Token], responses={**INVALID, **ADMINISTRATION})
def list_tokens(reading: Auditing, at: paging.ByTimeAndId) -> dict[str, Any]:
    """List the tokens in the order created, also revoked and expired ones."""
    page = listing.tokens(reading, at.after, at.limit)
    names = list(Token.model_fields)
    return paging.answer(page, [{name: getattr(row, name) for name in names} for row in page.rows])


@router.get(
    "/tokens/self", response_model=OwnToken, responses={HTTPStatus.UNAUTHORIZED: UNAUTHORIZED[401], **UNAVAILABLE}
)
def get_own_token(identity: SignedIn, reading: Probing) -> Response:
    """Return what the token of this request is: of any role, without its secret."""
    row = None if identity.id is None else listing.token(reading, identity.id)
    if identity.id is not None and row is None:
        refuse_unknown(INVALID_TOKEN, 'Bearer error="invalid_token"')
    stated = {name: getattr(row, name, None) for name in OwnToken.model_fields}
    # The identity's name has the id, for the audit.
    response = json_response(stated if row is not None else {**stated, "name": identity.name, "role": identity.role})
    response.headers["Cache-Control"] = "no-store"
    return response


@router.delete("/tokens/{token_id}", status_code=204, responses={**not_found("token"), **INVALID, **ADMINISTRATION})
def revoke_token(
    token_id: Annotated[
        str, Path(max_length=100, description="the `id` in GET /tokens, 12 hexadecimal digits"), printable
    ],
    session: Administering,
) -> None:
    """Revoke a token. All workers refuse it within a second, the one that answers at once."""
    if not token.revoke(session.writing, token_id):
        raise UnknownNameError(token_id, "token")
