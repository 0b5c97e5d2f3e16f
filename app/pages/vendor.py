"""A vendor: what it has published."""

from fastapi import APIRouter, Request, Response

from app.api.access import Reading
from app.api.errors import unknown
from app.api.parameters import states
from app.domain.name import is_vendor
from app.pages.page import PageRoute, page
from app.storage import listing, search

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_LISTED = 100


@router.get("/ui/vendors/{vendor}")
def get_vendor_page(vendor: str, request: Request, reading: Reading) -> Response:
    """Show a vendor with its models, implementations and profiles."""
    found = listing.vendor(reading, vendor) if is_vendor(vendor) else None
    if found is None:
        raise unknown(vendor, "vendor")
    published = states(None, include_drafts=False)
    return page(
        request,
        "vendor.html",
        vendor=found,
        # One more says that there are more.
        implementations=search.implementations(reading, vendor, _MOST_LISTED + 1),
        most=_MOST_LISTED,
        models=listing.models(reading, {"vendor": vendor}, None, _MOST_LISTED),
        profiles=listing.profiles(reading, {"vendor": vendor}, published, None, _MOST_LISTED),
    )
