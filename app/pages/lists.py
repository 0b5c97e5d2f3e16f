"""Lists of models, releases, profiles and vendors, a page at a time."""

from fastapi import APIRouter, Request, Response

from app.api import paging
from app.api.access import Reading
from app.api.parameters import Filter, StateFilter, states
from app.pages.page import PageRoute, page
from app.storage import listing

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/vendors")
def get_vendors(request: Request, reading: Reading, at: paging.ByName) -> Response:
    """Show the vendors by name."""
    found = listing.vendors(reading, at.after, at.limit)
    return page(request, "vendors.html", rows=found.rows, next=paging.cursor(found))


@router.get("/ui/models")
def get_models(
    request: Request,
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    q: Filter = None,
    variable: Filter = None,
) -> Response:
    """Show device models by name: of a vendor, with a part of their name, with a variable."""
    filters = {"vendor": vendor or None, "q": q or None, "variable": variable or None}
    found = listing.models(reading, filters, at.after, at.limit)
    return page(request, "models.html", rows=found.rows, next=paging.cursor(found), filters=filters)


@router.get("/ui/releases")
def get_releases(
    request: Request,
    reading: Reading,
    at: paging.ByNameAndNumber,
    implementation: Filter = None,
    model: Filter = None,
    state: StateFilter = None,
) -> Response:
    """Show releases by implementation, then in the order published."""
    filters = {"implementation": implementation or None, "model": model or None}
    found = listing.releases(reading, filters, states(state, include_drafts=False), at.after, at.limit)
    return page(request, "releases.html", rows=found.rows, next=paging.cursor(found), filters=filters, state=state)


@router.get("/ui/profiles")
def get_profiles(
    request: Request,
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    model: Filter = None,
    state: StateFilter = None,
) -> Response:
    """Show profiles by name."""
    filters = {"vendor": vendor or None, "model": model or None}
    found = listing.profiles(reading, filters, states(state, include_drafts=False), at.after, at.limit)
    return page(request, "profiles.html", rows=found.rows, next=paging.cursor(found), filters=filters, state=state)
