"""Trusted publishers: pipelines whose OIDC tokens are exchanged for publisher tokens."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.parameters import narrowing
from app.api.responses import ADMINISTRATION, BODY_ERRORS, INVALID, not_found
from app.api.route import Route
from app.api.session import Administering, Auditing
from app.domain.publishing.outcome import UnknownVendorError
from app.domain.publishing.trusted_publisher import TrustedPublisher
from app.service.known import UnknownNameError
from app.storage import lookup, schema
from app.storage import trusted_publisher as storage
from app.wire import trusted_publisher as wire
from app.wire.base import Page, printable
from app.wire.reading import InPieces

router = APIRouter(route_class=Route, tags=["trusted publishers"])

_EXAMPLES = examples.examples(
    {"a repository on GitHub": examples.TRUSTED_PUBLISHER, "a project on GitLab": examples.TRUSTED_PROJECT}
)


@router.post(
    "/trusted-publishers",
    status_code=201,
    response_model=wire.CreatedTrustedPublisher,
    responses={
        200: {"model": wire.CreatedTrustedPublisher, "description": "this trusted publisher exists already"},
        **BODY_ERRORS,
        **ADMINISTRATION,
        **not_found("vendor"),
    },
)
def post_trusted_publisher(
    document: Annotated[wire.TrustedPublisherDocument, InPieces(), Body(openapi_examples=_EXAMPLES)],
    session: Administering,
) -> Response:
    """Trust a pipeline to publish for a vendor: POST /tokens/exchange gives its runs a publisher token for minutes."""
    writing = session.writing
    if not lookup.ids(writing.connection, schema.vendor, [document.vendor]):
        raise UnknownVendorError(document.vendor)
    publisher = TrustedPublisher(
        vendor=document.vendor, issuer=document.issuer, audience=document.audience, claims=document.claims
    )
    stored, is_new = storage.create(writing, publisher)
    content = {**stored, "dry_run": session.dry_run}
    return json_response(content, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@router.get("/trusted-publishers", response_model=Page[wire.TrustedPublisher], responses={**INVALID, **ADMINISTRATION})
def list_trusted_publishers(
    reading: Auditing,
    position: paging.ByTimeAndId,
    vendor: Annotated[str | None, narrowing("only trusted publishers of this vendor"), printable] = None,
) -> dict[str, Any]:
    """List the trusted publishers in the order created."""
    page = storage.page(reading, vendor, position.after, position.limit)
    return paging.answer(page, [storage.document(row) for row in page.rows])


@router.delete(
    "/trusted-publishers/{publisher_id}",
    status_code=204,
    responses={**not_found("trusted-publisher"), **INVALID, **ADMINISTRATION},
)
def delete_trusted_publisher(
    publisher_id: Annotated[
        str, Path(max_length=100, description="the `id` in GET /trusted-publishers, 12 hexadecimal digits"), printable
    ],
    session: Administering,
) -> None:
    """Delete a trusted publisher, and revoke the tokens that its runs have received."""
    if not storage.delete(session.writing, publisher_id):
        raise UnknownNameError(publisher_id, "trusted publisher")
