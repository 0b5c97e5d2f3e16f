"""Lists of models, releases, profiles and vendors, a page at a time."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator

from app.api import paging
from app.api.access import Reading
from app.api.parameters import Filter, states
from app.domain.state import State
from app.pages.page import PageRoute, page
from app.storage import listing

# What a form leaves empty is all that is published; drafts are nobody's but their vendor's.
_StateFilter = Annotated[
    Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED] | None, BeforeValidator(lambda told: told or None)
]


router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _listed(request: Request, template: str, at: paging.Paging, found: listing.Page, **asked: object) -> Response:
    return page(request, template, rows=found.rows, next=paging.cursor(found), limit=at.limit, **asked)


@router.get("/ui/vendors")
def get_vendors_page(request: Request, reading: Reading, at: paging.ByName) -> Response:
    """Show the vendors by name."""
    found = listing.vendors(reading, at.after, at.limit)
    return _listed(request, "vendors.html", at, found)


@router.get("/ui/models")
def get_models_page(
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
    return _listed(request, "models.html", at, found, filters=filters)


@router.get("/ui/releases")
def get_releases_page(
    request: Request,
    reading: Reading,
    at: paging.ByNameAndNumber,
    implementation: Filter = None,
    model: Filter = None,
    state: _StateFilter = None,
) -> Response:
    """Show releases by implementation, then in the order published."""
    filters = {"implementation": implementation or None, "model": model or None}
    found = listing.releases(reading, filters, states(state, include_drafts=False), at.after, at.limit)
    return _listed(request, "releases.html", at, found, filters=filters, state=state)


@router.get("/ui/profiles")
def get_profiles_page(
    request: Request,
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    model: Filter = None,
    state: _StateFilter = None,
) -> Response:
    """Show profiles by name."""
    filters = {"vendor": vendor or None, "model": model or None}
    found = listing.profiles(reading, filters, states(state, include_drafts=False), at.after, at.limit)
    return _listed(request, "profiles.html", at, found, filters=filters, state=state)
