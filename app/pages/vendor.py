"""The page of a vendor: its implementations, profiles and device models."""

from fastapi import APIRouter, Request, Response

from app.api.parameters import states
from app.api.session import Reading
from app.domain.values.name import is_vendor
from app.pages.page import PageRoute, page
from app.service.known import UnknownNameError
from app.storage import listing, search

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_LISTED = 100


@router.get("/ui/vendors/{vendor}")
def get_vendor_page(vendor: str, request: Request, reading: Reading) -> Response:
    """Show a vendor with its implementations, profiles and models."""
    row = listing.vendor(reading, vendor) if is_vendor(vendor) else None
    if row is None:
        raise UnknownNameError(vendor, "vendor")
    published = states(None, include_drafts=False)
    return page(
        request,
        "vendor.html",
        vendor=row,
        # Load one more than is shown, to know whether there are more.
        implementations=search.implementations(reading, vendor, _MAX_LISTED + 1),
        limit=_MAX_LISTED,
        models=listing.models(reading, {"vendor": vendor}, None, _MAX_LISTED),
        profiles=listing.profiles(reading, {"vendor": vendor}, published, None, _MAX_LISTED),
    )
