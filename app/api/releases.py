"""Releases: what vendors publish."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.access import Reading, Writing
from app.api.body import JsonRoute
from app.api.errors import unknown
from app.api.parameters import Filter, NewRelease, StateFilter
from app.api.publishing import INVALID, NOT_FOUND, PUBLICATION, published
from app.api.wire.base import AsDocumented, Page
from app.api.wire.release import ListedRelease, Publication, ReleaseDocument, StoredRelease
from app.domain import release as domain
from app.domain.document import Place
from app.domain.name import ReleaseName, is_release_name
from app.storage import listing, lookup
from app.storage.publication import publish_release

router = APIRouter(route_class=JsonRoute, tags=["releases"])


@router.put(
    "/releases/{release:path}",
    status_code=201,
    response_model=Publication,
    responses=PUBLICATION,
)
def put_release(
    release: NewRelease,
    document: Annotated[
        object,
        AsDocumented(ReleaseDocument),
        Body(openapi_examples=examples.example("a release with a profile", examples.RELEASE)),
    ],
    writing: Writing,
) -> Response:
    """Publish a release with the profiles that it supports, in one transaction; or add models and listed profiles.

    What is published never changes. The answer says per listed profile and model what the release does not accept; a
    profile of which it accepts no model is refused.
    """
    at = Place()
    name = ReleaseName.parse(release)
    read = domain.ReleaseDocument.read(document, at)
    outcome = publish_release(writing.connection, name, read, at)
    return published(release, outcome, dry_run=writing.dry_run)


@router.get("/releases", response_model=Page[ListedRelease], responses=INVALID)
def list_releases(
    reading: Reading,
    at: paging.ByNameAndNumber,
    implementation: Filter = None,
    model: Filter = None,
    state: StateFilter = None,  # noqa: ARG001 (all that is published is in that state)
) -> dict[str, Any]:
    """List the releases by implementation, then in the order published."""
    page = listing.releases(reading, {"implementation": implementation, "model": model}, at.after, at.limit)
    items = [
        {
            "release": f"{name}@{version}",
            "implementation": name,
            "version": version,
            "digest": digest,
            "model_count": model_count,
            "profile_count": profile_count,
        }
        for name, _, version, digest, model_count, profile_count in page.rows
    ]
    return paging.answer(page, items)


@router.get("/releases/{release:path}", response_model=StoredRelease, responses={**NOT_FOUND, **INVALID})
def get_release(release: str, reading: Reading) -> dict[str, Any]:
    """Return a release: its models with the digests of their variable sets, and the profiles on its list."""
    found = listing.release(reading, ReleaseName.parse(release)) if is_release_name(release) else None
    if found is None:
        raise unknown(release, "release")
    listed = lookup.listed_profiles(reading, found.id)
    return {
        "release": release,
        "implementation": found.implementation,
        "version": found.version,
        "description": found.description,
        "digest": found.digest,
        "models": [
            {"model": model, "digest": digest}
            for model, digest in sorted(lookup.release_models(reading, found.id).items())
        ],
        "profiles": None if listed is None else sorted(listed),
    }
