"""Errata: what published releases turned out to do wrong."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.parameters import narrowing
from app.api.responses import BODY_ERRORS, INVALID, UNAUTHORIZED, error_response, not_found
from app.api.route import Route
from app.api.session import Publishing, Reading
from app.domain.things.erratum import read_erratum
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName, is_release_name, vendor_of
from app.service.erratum import erratum_document, unknown_releases
from app.service.known import UnknownNameError
from app.storage import erratum as storage
from app.wire.base import AsDocumented, Page, printable
from app.wire.erratum import ErratumDocument, ErratumPublication, ErratumState, StoredErratum
from app.wire.reading import InPieces

router = APIRouter(route_class=Route, tags=["errata"])

ErratumId = Annotated[str, Path(max_length=64, description="the id of the erratum")]


@router.post(
    "/errata",
    status_code=201,
    response_model=ErratumPublication,
    responses={
        200: {"model": ErratumPublication, "description": "this erratum was already published"},
        **BODY_ERRORS,
        **UNAUTHORIZED,
        409: error_response("`withdrawn`: this erratum was withdrawn, and never counts again"),
    },
)
def post_erratum(
    document: Annotated[
        object,
        AsDocumented(ErratumDocument),
        Body(openapi_examples=examples.example("a saved state that older firmware cannot read", examples.ERRATUM)),
    ],
    session: Publishing,
) -> Response:
    """Publish an erratum: verdicts refuse the migrations that it names (`known-broken`), with its description.

    Published releases never change, so this is how a mistake in one becomes known. The release's or the model's vendor
    can publish it, or an admin. Errata are in the feed, and mirrors take them, except those that are `local`.
    """
    place = Place()
    read = read_erratum(document, place)
    names = [name for name in (read["release"], read["model"]) if name]
    if not names:
        place.raise_faults()
    writing = session.of_any(*map(vendor_of, names))
    if read["local"]:
        session.check_admin("A local erratum needs an admin token.")
    try:
        stored, is_new = storage.publish_erratum(writing, read, place)
    except storage.WithdrawnError as error:
        raise ApiError(HTTPStatus.CONFLICT, ErrorCode.WITHDRAWN, str(error)) from error
    content = {
        **erratum_document(stored),
        "dry_run": session.dry_run,
        "unknown_releases": unknown_releases(writing.connection, stored.document["with"] or ()),
    }
    return json_response(content, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@router.get("/errata", response_model=Page[StoredErratum], responses=INVALID)
def list_errata(
    reading: Reading,
    at: paging.ByTimeAndId,
    release: Annotated[str | None, narrowing("only errata of this release"), printable] = None,
    model: Annotated[str | None, narrowing("only errata about this device model"), printable] = None,
    state: Annotated[Literal["published", "withdrawn"] | None, Query(description="only errata in this state")] = None,
) -> dict[str, Any]:
    """List the errata, the oldest first."""
    if release is not None and not is_release_name(release):
        return {"items": [], "next": None}
    page = storage.errata(
        reading,
        release=None if release is None else ReleaseName.parse(release),
        model=model,
        is_withdrawn=None if state is None else state == "withdrawn",
        after=at.after,
        limit=at.limit,
    )
    return paging.answer(page, [erratum_document(storage.stored_erratum(row)) for row in page.rows])


@router.get("/errata/{erratum}", response_model=StoredErratum, responses={**not_found("erratum"), **INVALID})
def get_erratum(erratum: ErratumId, reading: Reading) -> dict[str, Any]:
    """Return an erratum."""
    stored = storage.find(reading, erratum)
    if stored is None:
        raise UnknownNameError(erratum, "erratum")
    return erratum_document(stored)


@router.patch(
    "/errata/{erratum}",
    response_model=ErratumPublication,
    responses={**BODY_ERRORS, **UNAUTHORIZED, **not_found("erratum")},
)
def patch_erratum(
    erratum: ErratumId,
    _document: Annotated[
        ErratumState, InPieces(), Body(openapi_examples=examples.example("withdraw it", examples.WITHDRAWN))
    ],
    session: Publishing,
) -> Response:
    """Withdraw an erratum: no verdict looks at it any more. It stays in the registry, and cannot be published again."""
    reading = session.reading
    stored = storage.find(reading, erratum)
    if stored is None:
        raise UnknownNameError(erratum, "erratum")
    writing = session.of_any(vendor_of(stored.document["release"]), vendor_of(stored.document["model"]))
    if stored.document["local"]:
        session.check_admin("A local erratum needs an admin token.")
    storage.withdraw_erratum(writing, erratum)
    withdrawn = storage.find(writing.connection, erratum) or stored
    content = {
        **erratum_document(withdrawn),
        "dry_run": session.dry_run,
        "unknown_releases": unknown_releases(reading, stored.document["with"] or ()),
    }
    return json_response(content)
