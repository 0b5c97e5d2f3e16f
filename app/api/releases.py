"""Releases: what vendors publish."""

import json
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.access import Publishing, Reading
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.parameters import (
    AlsoDraft,
    AnyRelease,
    IncludeDrafts,
    NewRelease,
    Override,
    StateFilter,
    narrowing,
    states,
)
from app.api.publishing import INVALID, RELEASE_PUBLICATION, not_found, published
from app.api.route import Route
from app.api.wire.base import AsDocumented, Page, printable
from app.api.wire.problem import MAX_BROKEN
from app.api.wire.release import ListedRelease, Publication, ReleaseDocument, StoredRelease
from app.domain import release as domain
from app.domain.document import Place
from app.domain.name import ReleaseName, is_release_name, vendor_of
from app.domain.state import State
from app.storage import listing, lookup
from app.storage.evolution import overrides
from app.storage.own_values import values_of_release as stored_own_values
from app.storage.publication import Gate, draft_release, publish_release

router = APIRouter(route_class=Route, tags=["releases"])


@router.put(
    "/releases/{release:path}",
    status_code=201,
    response_model=Publication,
    responses=RELEASE_PUBLICATION,
)
def put_release(
    release: NewRelease,
    document: Annotated[
        object,
        AsDocumented(ReleaseDocument),
        Body(
            openapi_examples=examples.examples(
                {"a release with a profile": examples.RELEASE, "a draft": examples.DRAFT_RELEASE}
            )
        ),
    ],
    session: Publishing,
    override: Override = None,
) -> Response:
    """Publish a release with the profiles that it supports, in one transaction; or add models and listed profiles.

    What is published never changes. The answer says per listed profile and model what the release does not accept; a
    profile of which it accepts no model is refused. A release that does not accept what the previous one of its
    implementation accepts is refused, too (PUT /implementations says to what they are held), unless `override` says why
    it may. With `"state": "draft"` it is kept apart, may be replaced and deleted, and nothing asks of it.
    """
    at = Place()
    name = ReleaseName.parse(release)
    session.check_override(override)
    session.of(name.vendor)
    read = domain.ReleaseDocument.read(document, at)
    writing = session.of(name.vendor, *(vendor_of(each) for each in read.own_profiles))
    if read.state is State.DRAFT and isinstance(document, dict):
        outcome = draft_release(writing, name, read, at, document)
    else:
        outcome = publish_release(writing, name, read, at, Gate(override))
    return published(release, outcome, dry_run=session.dry_run)


@router.get("/releases", response_model=Page[ListedRelease], responses=INVALID)
def list_releases(
    reading: Reading,
    at: paging.ByNameAndNumber,
    implementation: Annotated[str | None, narrowing("only its releases"), printable] = None,
    model: Annotated[str | None, narrowing("only releases that implement it"), printable] = None,
    state: StateFilter = None,
    *,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """List the releases by implementation, then in the order published."""
    filters = {"implementation": implementation, "model": model}
    page = listing.releases(reading, filters, states(state, include_drafts=include_drafts), at.after, at.limit)
    items = [
        {
            "release": f"{name}@{version}",
            "implementation": name,
            "version": version,
            "state": its_state,
            "digest": digest,
            "model_count": model_count,
            "profile_count": profile_count,
        }
        for name, _, version, its_state, digest, model_count, profile_count in page.rows
    ]
    return paging.answer(page, items)


@router.get(
    "/releases/{release:path}",
    response_model=StoredRelease,
    response_model_exclude_unset=True,
    responses={**not_found("release"), **INVALID},
)
def get_release(
    release: AnyRelease,
    reading: Reading,
    *,
    own_values: Annotated[bool, Query(description="also what it makes itself otherwise than its profiles")] = False,
    include_drafts: AlsoDraft = False,
) -> Response:
    """Return a release: its models with the digests of their variable sets, and the profiles on its list."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    document = release_document(reading, name) if name else None
    if document is None and name and include_drafts:
        document = draft_document(reading, name)
    if document is None or name is None:
        raise unknown(release, "release")
    if own_values and (release_id := lookup.release_id(reading, name.implementation, name.version)) is not None:
        document["own_values"] = stored_own_values(reading, release_id)
    return json_response(document)


def release_document(reading: sa.Connection, name: ReleaseName) -> dict[str, Any] | None:
    """Return a release in JSON, None if it is not there."""
    found = listing.release(reading, name)
    if found is None:
        return None
    listed = lookup.listed_profiles(reading, found.id)
    return {
        "release": str(name),
        "implementation": found.implementation,
        "version": found.version,
        "state": found.state or State.PUBLISHED,
        "description": found.description,
        "digest": found.digest,
        "models": [
            {"model": model, "digest": digest}
            for model, digest in sorted(lookup.release_models(reading, found.id).items())
        ],
        "profiles": None if listed is None else sorted(listed),
        "overrides": [
            {
                "reason": each.reason,
                "at": each.at,
                "broken": each.broken[:MAX_BROKEN],
                "broken_count": len(each.broken),
            }
            for each in overrides(reading, found.id)
        ],
    }


def draft_document(reading: sa.Connection, name: ReleaseName) -> dict[str, Any] | None:
    """Return the draft of a release in JSON, None if there is none."""
    found = listing.release_draft(reading, name)
    if found is None:
        return None
    read = domain.ReleaseDocument.read(json.loads(found.document), Place())
    names = [each if isinstance(each, str) else each.name for each in read.profiles or ()]
    return {
        "release": str(name),
        "implementation": name.implementation,
        "version": name.version,
        "state": State.DRAFT,
        "description": read.description,
        "digest": found.digest,
        "models": [{"model": model, "digest": each.digest} for model, each in sorted(read.sets.items())],
        "profiles": None if read.profiles is None else sorted(names),
        "overrides": [],
    }
