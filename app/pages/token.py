"""The page of tokens, for admins: lists, creates and revokes tokens, and lists and deletes trusted publishers."""

import re
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.api import paging
from app.api.errors import root_of
from app.api.session import Administering, Auditing
from app.api.token import created
from app.domain.publishing.token import Role
from app.pages.form import AdminForm
from app.pages.page import PageRoute, page
from app.service.known import UnknownNameError
from app.storage import database, listing, token, trusted_publisher
from app.wire.reading import read_shape
from app.wire.token import TokenDocument

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_PUBLISHERS = 200
_MAX_VENDORS = 500
_DAY_SECONDS = 86_400
# The lifetimes to choose from, in days; the first is the default.
_LIFETIMES = (90, 1, 7, 30, 365)


@router.get("/ui/tokens")
def get_tokens_page(
    request: Request, reading: Auditing, at: paging.ByTimeAndId, state: Literal["valid", "all"] = "valid"
) -> Response:
    """Show tokens, the newest first, and trusted publishers; state: also revoked and expired tokens."""
    now = database.now()
    listed = listing.newest_tokens(reading, at.after, at.limit, valid_at=now if state == "valid" else None)
    publishers = trusted_publisher.page(reading, None, None, _MAX_PUBLISHERS)
    return page(
        request,
        "tokens.html",
        rows=listed.rows,
        next=paging.cursor(listed),
        limit=at.limit,
        state=state,
        now=now,
        publishers=[trusted_publisher.document(row) for row in publishers.rows],
        are_more_publishers=publishers.after is not None,
        vendors=[row.name for row in listing.vendors(reading, None, _MAX_VENDORS).rows],
        roles=list(Role),
        lifetimes=_LIFETIMES,
    )


@router.post("/ui/tokens")
def post_token_form(request: Request, form: AdminForm, session: Administering) -> Response:
    """Create a token, and show its secret this once."""
    fields: dict[str, Any] = {name: form[name] for name in ("name", "role", "vendor") if name in form}
    if days := form.get("days"):
        fields["expires_in"] = int(days) * _DAY_SECONDS if re.fullmatch(r"[0-9]{1,9}", days) else days
    answer = page(request, "token_created.html", token=created(read_shape(TokenDocument, fields), session))
    answer.status_code = HTTPStatus.CREATED
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post("/ui/tokens/{token_id}/revoke")
def post_revocation(token_id: str, request: Request, _: AdminForm, session: Administering) -> Response:
    """Revoke a token, and show the others."""
    if not token.revoke(session.writing, token_id):
        raise UnknownNameError(token_id, "token")
    return RedirectResponse(f"{root_of(request.scope)}/ui/tokens", HTTPStatus.SEE_OTHER)


@router.post("/ui/trusted-publishers/{publisher_id}/delete")
def post_deletion(publisher_id: str, request: Request, _: AdminForm, session: Administering) -> Response:
    """Delete a trusted publisher with the tokens of its runs, and show the others."""
    if not trusted_publisher.delete(session.writing, publisher_id):
        raise UnknownNameError(publisher_id, "trusted publisher")
    return RedirectResponse(f"{root_of(request.scope)}/ui/tokens#publishers", HTTPStatus.SEE_OTHER)
