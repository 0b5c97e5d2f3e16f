"""The home page: counts, latest changes, and the search over all names."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.identity import Allowed
from app.api.parameters import Filter
from app.api.session import Reading
from app.pages.page import PageRoute, page
from app.storage import listing, search

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_RESULTS = 20
_MAX_VENDORS = 50
_MAX_CHANGES = 12


@router.get("/")
def get_home(
    request: Request,
    reading: Reading,
    allowed: Allowed,
    q: Annotated[Filter, Query(description="a part of a name")] = None,
) -> Response:
    """Show the home page, or the results of a search."""
    text = (q or "").strip()
    if text:
        results = search.search(reading, text, _MAX_RESULTS)
        return page(request, "search.html", q=text, results=results, limit=_MAX_RESULTS)
    return page(
        request,
        "home.html",
        counts=search.counts(reading),
        vendors=listing.vendors(reading, None, _MAX_VENDORS),
        latest=search.latest(reading, _MAX_CHANGES, with_hosts=allowed.sees_hosts),
    )
