"""Lists of models, releases, profiles and vendors, a page at a time."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator

from app.api import paging
from app.api.access import Reading
from app.api.parameters import Filter
from app.domain.state import State
from app.pages.page import PageRoute, page
from app.storage import listing

# What a form leaves empty is all that is published; drafts are nobody's but their vendor's.
_StateFilter = Annotated[
    Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED] | None, BeforeValidator(lambda told: told or None)
]


def _states(state: State | None) -> frozenset[State]:
    return frozenset(State) - {State.DRAFT} if state is None else frozenset({state})


router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/vendors")
def get_vendors(request: Request, reading: Reading, at: paging.ByName) -> Response:
    """Show the vendors by name."""
    found = listing.vendors(reading, at.after, at.limit)
    return page(request, "vendors.html", rows=found.rows, next=paging.cursor(found), limit=at.limit)


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
    return page(request, "models.html", rows=found.rows, next=paging.cursor(found), limit=at.limit, filters=filters)


@router.get("/ui/releases")
def get_releases(
    request: Request,
    reading: Reading,
    at: paging.ByNameAndNumber,
    implementation: Filter = None,
    model: Filter = None,
    state: _StateFilter = None,
) -> Response:
    """Show releases by implementation, then in the order published."""
    filters = {"implementation": implementation or None, "model": model or None}
    found = listing.releases(reading, filters, _states(state), at.after, at.limit)
    return page(
        request,
        "releases.html",
        rows=found.rows,
        next=paging.cursor(found),
        limit=at.limit,
        filters=filters,
        state=state,
    )


@router.get("/ui/profiles")
def get_profiles(
    request: Request,
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    model: Filter = None,
    state: _StateFilter = None,
) -> Response:
    """Show profiles by name."""
    filters = {"vendor": vendor or None, "model": model or None}
    found = listing.profiles(reading, filters, _states(state), at.after, at.limit)
    return page(
        request,
        "profiles.html",
        rows=found.rows,
        next=paging.cursor(found),
        limit=at.limit,
        filters=filters,
        state=state,
    )
