"""Vendors: the namespaces."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.access import Administering, Reading
from app.api.errors import unknown
from app.api.parameters import AnyVendor, NewVendor
from app.api.publishing import INVALID, PUBLICATION, not_found, published
from app.api.route import Route
from app.api.wire.base import Page
from app.api.wire.release import Publication
from app.api.wire.vendor import StoredVendor, VendorDocument
from app.domain.name import is_vendor
from app.storage import listing
from app.storage.publication import publish_vendor

router = APIRouter(route_class=Route, tags=["vendors"])


@router.put(
    "/vendors/{vendor}",
    status_code=201,
    response_model=Publication,
    responses={status: each for status, each in PUBLICATION.items() if status != HTTPStatus.NOT_FOUND},
)
def put_vendor(
    vendor: NewVendor,
    document: Annotated[VendorDocument, Body(openapi_examples=examples.example("a vendor", examples.VENDOR))],
    session: Administering,
) -> Response:
    """Register a vendor, who then owns all names that begin with it.

    201 if it is new or gained a name or URL, 200 if nothing changed; a name or URL once given stays.
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
        raise unknown(vendor, "vendor")
    return {"vendor": row.name, "name": row.title, "url": row.url}
