"""Tokens: what opens the registry to somebody."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples, paging
from app.api.access import Administering, Auditing
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.publishing import ADMINISTRATION, BODY_ERRORS, INVALID, not_found
from app.api.route import Route
from app.api.wire.base import Page, printable
from app.api.wire.token import CreatedToken, Token, TokenDocument
from app.domain.document import FaultCode, Place
from app.domain.token import Role
from app.storage import listing, lookup, schema, token
from app.storage.outcome import UnknownVendorError

router = APIRouter(route_class=Route, tags=["tokens"])


@router.post(
    "/tokens",
    status_code=201,
    response_model=CreatedToken,
    responses={**BODY_ERRORS, **ADMINISTRATION, **not_found("vendor")},
)
def post_token(
    document: Annotated[TokenDocument, Body(openapi_examples=examples.example("a vendor's pipeline", examples.TOKEN))],
    session: Administering,
) -> Response:
    """Create a token. Its secret is in this answer and nowhere else."""
    at = Place()
    if (document.vendor is None) is (document.role is Role.PUBLISHER):
        message = "is for a publisher, who has one" if document.vendor else "is missing: a publisher has one"
        (at / "vendor").fault(FaultCode.MISSING_FIELD if document.vendor is None else FaultCode.UNKNOWN_FIELD, message)
    at.raise_faults()
    writing = session.writing
    if document.vendor and not lookup.ids(writing.connection, schema.vendor, [document.vendor]):
        raise UnknownVendorError(document.vendor)
    expires = None
    if document.expires_in is not None:
        expires = (
            (datetime.now(UTC) + timedelta(seconds=document.expires_in))
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )
    row, secret = token.create(writing, document.name, document.role, document.vendor, expires)
    content = {**row, "dry_run": session.dry_run, "token": None if session.dry_run else secret}
    response = json_response(content, HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/tokens", response_model=Page[Token], responses={**INVALID, **ADMINISTRATION})
def list_tokens(reading: Auditing, at: paging.ByTimeAndId) -> dict[str, Any]:
    """List the tokens in the order created, those revoked and expired included."""
    page = listing.tokens(reading, at.after, at.limit)
    names = list(Token.model_fields)
    return paging.answer(page, [{name: getattr(row, name) for name in names} for row in page.rows])


@router.delete("/tokens/{token_id}", status_code=204, responses={**not_found("token"), **INVALID, **ADMINISTRATION})
def revoke_token(
    token_id: Annotated[
        str, Path(max_length=100, description="12 hexadecimal digits, as GET /tokens shows it"), printable
    ],
    session: Administering,
) -> None:
    """Revoke a token: at once where this is answered, within a second everywhere else."""
    if not token.revoke(session.writing, token_id):
        raise unknown(token_id, "token")
