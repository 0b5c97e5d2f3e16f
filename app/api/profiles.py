"""Profiles: named sets of variable values."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.access import Reading, Writing
from app.api.body import JsonRoute
from app.api.errors import unknown
from app.api.parameters import Filter, IncludeDrafts, NewProfile, StateFilter, states
from app.api.publishing import INVALID, NOT_FOUND, PUBLICATION, published
from app.api.wire.base import AsDocumented, Page
from app.api.wire.profile import ListedProfile, NamedProfileDocument, ProfileDocument, StoredProfile
from app.api.wire.release import Publication
from app.domain import profile as domain
from app.domain.document import Place
from app.domain.name import is_name
from app.domain.state import State
from app.storage import listing, lookup, state
from app.storage.publication import draft_profile, publish_profile

router = APIRouter(route_class=JsonRoute, tags=["profiles"])


@router.post("/profiles", status_code=201, response_model=Publication, responses=PUBLICATION)
def post_profile(
    document: Annotated[
        object,
        AsDocumented(ProfileDocument),
        Body(openapi_examples=examples.example("a profile that extends another", examples.PROFILE)),
    ],
    writing: Writing,
) -> Response:
    """Publish a profile, or add models to it that it did not name.

    For each model at least one published release must accept its values.
    """
    return _publish(document, None, writing)


@router.put("/profiles/{name:path}", status_code=201, response_model=Publication, responses=PUBLICATION)
def put_profile(
    name: NewProfile,
    document: Annotated[
        object,
        AsDocumented(NamedProfileDocument),
        Body(openapi_examples=examples.example("a profile that takes a variable out", examples.NAMED_PROFILE)),
    ],
    writing: Writing,
) -> Response:
    """Publish the profile of this name, or add models to it that it did not name.

    For each model at least one published release must accept its values.
    """
    return _publish(document, name, writing)


def _publish(document: object, name: str | None, writing: Writing) -> Response:
    at = Place()
    read = domain.ProfileDocument.read(document, at, named=name)
    if not read.name:
        at.raise_faults()
    if read.state is State.DRAFT and isinstance(document, dict):
        outcome = draft_profile(writing.connection, read, at, document)
    else:
        outcome = publish_profile(writing.connection, read, at)
    return published(read.name, outcome, dry_run=writing.dry_run)


@router.get("/profiles", response_model=Page[ListedProfile], responses=INVALID)
def list_profiles(
    reading: Reading,
    at: paging.ByName,
    vendor: Filter = None,
    model: Filter = None,
    in_state: Annotated[StateFilter, Query(alias="state")] = None,
    *,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """List the profiles by name; with `model` those that name it, or inherit it."""
    filters = {"vendor": vendor, "model": model}
    page = listing.profiles(reading, filters, states(in_state, include_drafts=include_drafts), at.after, at.limit)
    items = [
        {"name": name, "extends": extends, "state": its_state, "model_count": count}
        for name, extends, its_state, count in page.rows
    ]
    return paging.answer(page, items)


@router.get("/profiles/{name:path}", response_model=StoredProfile, responses={**NOT_FOUND, **INVALID})
def get_profile(
    name: str,
    reading: Reading,
    *,
    resolved: Annotated[bool, Query(description="all values that hold, inherited ones included")] = False,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """Return a profile, its own values or all that hold; a draft as it was written."""
    found = listing.profile(reading, name) if is_name(name) else None
    if found is None:
        draft = state.profile_draft(reading, name) if include_drafts and is_name(name) else None
        if draft is None:
            raise unknown(name, "profile")
        return {"extends": None, "description": None, **draft, "name": name}
    if resolved:
        digests = lookup.resolved_entries(reading, [found.id])[found.id]
    else:
        digests = {model: own for model, (own, _) in lookup.profile_entries(reading, found.id).items()}
    values = lookup.profile_values(reading, digests.values())
    return {
        "name": name,
        "extends": found.extends,
        "description": found.description,
        "state": found.state or State.PUBLISHED,
        "values": {model: values[digest] for model, digest in sorted(digests.items())},
    }
