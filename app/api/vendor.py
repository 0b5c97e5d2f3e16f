"""Vendors: the namespaces of names."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.parameters import AnyVendor, NewVendor
from app.api.responses import INVALID, PUBLICATION, UNAUTHORIZED, not_found, published
from app.api.route import Route
from app.api.session import Administering, Reading
from app.domain.values.name import is_vendor
from app.service.known import UnknownNameError
from app.storage import listing
from app.storage.publication import publish_vendor
from app.storage.signature import must_sign
from app.wire.base import Page
from app.wire.reading import InPieces
from app.wire.release import Publication
from app.wire.vendor import StoredVendor, VendorDocument

router = APIRouter(route_class=Route, tags=["vendors"])


@router.put(
    "/vendors/{vendor}",
    status_code=201,
    response_model=Publication,
    responses={
        status: response
        for status, response in {**PUBLICATION, **UNAUTHORIZED}.items()
        if status != HTTPStatus.NOT_FOUND
    },
)
def put_vendor(
    vendor: NewVendor,
    document: Annotated[
        VendorDocument, InPieces(), Body(openapi_examples=examples.example("a vendor", examples.VENDOR))
    ],
    session: Administering,
) -> Response:
    """Register a vendor, which then owns all names that begin with it.

    The status is 201 if the vendor is new, gained a name or URL, or has `signed` changed, otherwise 200. A name or URL
    that is set never changes. With `"signed": true` the vendor's releases and profiles must be signed from then on.
    """
    outcome = publish_vendor(session.writing, vendor, document.name, document.url, must_sign=document.signed)
    return published(vendor, outcome, dry_run=session.dry_run)


@router.get("/vendors", response_model=Page[StoredVendor], responses=INVALID)
def list_vendors(reading: Reading, at: paging.ByName) -> dict[str, Any]:
    """List the vendors by name."""
    page = listing.vendors(reading, at.after, at.limit)
    signing = must_sign(reading, [row.name for row in page.rows])
    return paging.answer(page, [_document(row, signing) for row in page.rows])


@router.get("/vendors/{vendor}", response_model=StoredVendor, responses={**not_found("vendor"), **INVALID})
def get_vendor(vendor: AnyVendor, reading: Reading) -> dict[str, Any]:
    """Return a vendor."""
    row = listing.vendor(reading, vendor) if is_vendor(vendor) else None
    if row is None:
        raise UnknownNameError(vendor, "vendor")
    return _document(row, must_sign(reading, [vendor]))


def _document(row: listing.Row, signing: Collection[str]) -> dict[str, Any]:
    return {"vendor": row.name, "name": row.title, "url": row.url, "signed": row.name in signing}
