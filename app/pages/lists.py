"""The lists of models, releases, profiles and vendors."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator

from app.api import paging
from app.api.parameters import Filter, states
from app.api.session import Reading
from app.domain.values.state import State
from app.pages.page import PageRoute, page
from app.storage import listing, mark

# An empty choice means all states but draft: drafts are only for their vendor.
_StateFilter = Annotated[
    Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED] | None, BeforeValidator(lambda text: text or None)
]


router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _listed(request: Request, template: str, at: paging.Paging, listed: listing.Page, **context: object) -> Response:
    return page(request, template, rows=listed.rows, next=paging.cursor(listed), limit=at.limit, **context)


@router.get("/ui/vendors")
def get_vendors_page(request: Request, reading: Reading, at: paging.ByName) -> Response:
    """Show the vendors by name."""
    listed = listing.vendors(reading, at.after, at.limit)
    return _listed(request, "vendors.html", at, listed)


@router.get("/ui/models")
def get_models_page(
    request: Request,
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    q: Filter = None,
    variable: Filter = None,
) -> Response:
    """Show device models by name; q: a part of the name."""
    filters = {"vendor": vendor or None, "q": q or None, "variable": variable or None}
    listed = listing.models(reading, filters, at.after, at.limit)
    errata = mark.errata_of_models(reading, [row.name for row in listed.rows])
    return _listed(request, "models.html", at, listed, filters=filters, errata=errata)


@router.get("/ui/releases")
def get_releases_page(
    request: Request,
    reading: Reading,
    at: paging.ByNameAndVersion,
    implementation: Filter = None,
    model: Filter = None,
    state: _StateFilter = None,
) -> Response:
    """Show releases by implementation, the newest version first."""
    filters = {"implementation": implementation or None, "model": model or None}
    published = states(state, include_drafts=False)
    listed = listing.releases_by_version(reading, filters, published, at.after, at.limit)
    errata = mark.errata_of_releases(reading, [row.id for row in listed.rows], filters["model"])
    return _listed(request, "releases.html", at, listed, filters=filters, state=state, errata=errata)


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
    listed = listing.profiles(reading, filters, states(state, include_drafts=False), at.after, at.limit)
    return _listed(request, "profiles.html", at, listed, filters=filters, state=state)
