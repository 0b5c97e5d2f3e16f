"""Home: what there is, what happened last, and the search over all names."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.access import Reading
from app.api.parameters import Filter
from app.pages.page import PageRoute, page
from app.storage import listing, search

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_FOUND = 20
_MOST_VENDORS = 50
_LATEST = 12


@router.get("/")
def get_home(
    request: Request, reading: Reading, q: Annotated[Filter, Query(description="a part of a name")] = None
) -> Response:
    """Show what there is, or what a search finds."""
    text = (q or "").strip()
    if text:
        found = search.search(reading, text, _MOST_FOUND)
        return page(request, "search.html", q=text, found=found, most=_MOST_FOUND)
    return page(
        request,
        "home.html",
        counts=search.counts(reading),
        vendors=listing.vendors(reading, None, _MOST_VENDORS),
        latest=search.latest(reading, _LATEST),
    )
