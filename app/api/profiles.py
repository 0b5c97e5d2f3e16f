"""Profiles: named sets of variable values."""

from functools import partial
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.access import Publishing, Reading, Registry, asked
from app.api.errors import unknown
from app.api.parameters import (
    AlsoDraft,
    AnyName,
    IncludeDrafts,
    NewProfile,
    OfVendor,
    StateFilter,
    narrowing,
    states,
)
from app.api.publishing import INVALID, PUBLICATION, not_found, published
from app.api.route import Route
from app.api.wire.base import AsDocumented, Page, printable
from app.api.wire.profile import ListedProfile, NamedProfileDocument, ProfileDocument, StoredProfile
from app.api.wire.release import Publication
from app.domain import profile as domain
from app.domain.document import Place
from app.domain.name import is_name, vendor_of
from app.domain.state import State
from app.storage import listing, lookup, state
from app.storage.catalog import Standing
from app.storage.publication import draft_profile, publish_profile

router = APIRouter(route_class=Route, tags=["profiles"])


@router.post("/profiles", status_code=201, response_model=Publication, responses=PUBLICATION)
def post_profile(
    document: Annotated[
        object,
        AsDocumented(ProfileDocument),
        Body(
            openapi_examples=examples.examples(
                {"a profile that extends another": examples.PROFILE, "a draft": examples.DRAFT_PROFILE}
            )
        ),
    ],
    session: Publishing,
) -> Response:
    """Publish a profile, or add models to it that it did not name.

    For each model at least one published release must accept its values.
    """
    return _publish(document, None, session)


@router.put("/profiles/{name:path}", status_code=201, response_model=Publication, responses=PUBLICATION)
def put_profile(
    name: NewProfile,
    document: Annotated[
        object,
        AsDocumented(NamedProfileDocument),
        Body(openapi_examples=examples.example("a profile that takes a variable out", examples.NAMED_PROFILE)),
    ],
    session: Publishing,
) -> Response:
    """Publish the profile of this name, or add models to it that it did not name.

    For each model at least one published release must accept its values.
    """
    return _publish(document, name, session)


def _publish(document: object, name: str | None, session: Publishing) -> Response:
    at = Place()
    read = domain.ProfileDocument.read(document, at, named=name)
    if not read.name:
        at.raise_faults()
    writing = session.of(vendor_of(read.name))
    if read.state is State.DRAFT and isinstance(document, dict):
        outcome = draft_profile(writing, read, at, document)
    else:
        outcome = publish_profile(writing, read, at)
    return published(read.name, outcome, dry_run=session.dry_run)


@router.get("/profiles", response_model=Page[ListedProfile], responses=INVALID)
def list_profiles(
    reading: Reading,
    at: paging.ByName,
    vendor: OfVendor = None,
    model: Annotated[str | None, narrowing("only profiles that name it, or inherit it"), printable] = None,
    in_state: Annotated[StateFilter, Query(alias="state")] = None,
    *,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """List the profiles by name; with `model` those that name it, or inherit it."""
    filters = {"vendor": vendor, "model": model}
    page = listing.profiles(reading, filters, states(in_state, include_drafts=include_drafts), at.after, at.limit)
    items = [
        {"name": name, "extends": extends, "state": its_state, "digest": digest, "model_count": count}
        for name, extends, its_state, digest, count in page.rows
    ]
    return paging.answer(page, items)


@router.get("/profiles/{name:path}", response_model=StoredProfile, responses={**not_found("profile"), **INVALID})
async def get_profile(
    name: AnyName,
    registry: Registry,
    *,
    resolved: Annotated[bool, Query(description="all values that hold, inherited ones included")] = False,
    include_drafts: AlsoDraft = False,
) -> Response:
    """Return a profile, its own values or all that hold; a draft as it was written."""
    read = partial(_written, name, resolved=resolved, include_drafts=include_drafts)
    found = await asked(registry, read) if is_name(name) else None
    if found is None:
        raise unknown(name, "profile")
    return Response(found, media_type="application/json")


def _written(name: str, current: Standing, *, resolved: bool, include_drafts: bool) -> bytes | None:
    """Return a profile in JSON, or its draft; None if there is neither."""
    key = ("profile-document", name, "resolved" if resolved else "own")
    found = current.document(key, lambda connection: profile_document(connection, name, resolved=resolved))
    if found is None and include_drafts:
        with current.reading() as connection:
            draft = draft_document(connection, name)
        found = None if draft is None else orjson.dumps(draft)
    return found


def draft_document(reading: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return the draft of a profile in JSON, None if there is none."""
    draft = state.profile_draft(reading, name)
    return None if draft is None else {"extends": None, "description": None, **draft, "name": name, "digest": None}


def profile_document(reading: sa.Connection, name: str, *, resolved: bool = False) -> dict[str, Any] | None:
    """Return a profile in JSON, None if it is not there."""
    found = listing.profile(reading, name)
    if found is None:
        return None
    if resolved:
        digests = lookup.resolved_entries(reading, [found.id])[found.id]
    else:
        digests = {model: own for model, (own, _) in lookup.profile_entries(reading, [found.id])[found.id].items()}
    values = lookup.profile_values(reading, digests.values())
    return {
        "name": name,
        "extends": found.extends,
        "description": found.description,
        "state": found.state or State.PUBLISHED,
        "digest": found.digest,
        "values": {model: values[digest] for model, digest in sorted(digests.items())},
    }
