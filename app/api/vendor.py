"""Vendors: the namespaces of names."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.parameters import AnyVendor, NewVendor
from app.api.responses import INVALID, PUBLICATION, not_found, published
from app.api.route import Route
from app.api.session import Administering, Reading
from app.domain.values.name import is_vendor
from app.service.known import UnknownNameError
from app.storage import listing
from app.storage.publication import publish_vendor
from app.wire.base import Page
from app.wire.reading import InPieces
from app.wire.release import Publication
from app.wire.vendor import StoredVendor, VendorDocument

router = APIRouter(route_class=Route, tags=["vendors"])


@router.put(
    "/vendors/{vendor}",
    status_code=201,
    response_model=Publication,
    responses={status: response for status, response in PUBLICATION.items() if status != HTTPStatus.NOT_FOUND},
)
def put_vendor(
    vendor: NewVendor,
    document: Annotated[
        VendorDocument, InPieces(), Body(openapi_examples=examples.example("a vendor", examples.VENDOR))
    ],
    session: Administering,
) -> Response:
    """Register a vendor, which then owns all names that begin with it.

    The status is 201 if the vendor is new or gained a name or URL, otherwise 200. A name or URL that is set never
    changes.
    """
    outcome = publish_vendor(session.writing, vendor, document.name, document.url)
    return published(vendor, outcome, dry_run=session.dry_run)


@router.get("/vendors", response_model=Page[StoredVendor], responses=INVALID)
def list_vendors(reading: Reading, at: paging.ByName) -> dict[str, Any]:
    """List the vendors by name."""
    page = listing.vendors(reading, at.after, at.limit)
    items = [{"vendor": row.name, "name": row.title, "url": row.url} for row in page.rows]
    return paging.answer(page, items)


@router.get("/vendors/{vendor}", response_model=StoredVendor, responses={**not_found("vendor"), **INVALID})
def get_vendor(vendor: AnyVendor, reading: Reading) -> dict[str, Any]:
    """Return a vendor."""
    row = listing.vendor(reading, vendor) if is_vendor(vendor) else None
    if row is None:
        raise UnknownNameError(vendor, "vendor")
    return {"vendor": row.name, "name": row.title, "url": row.url}
