"""Releases: versions of an implementation."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.identity import Allowed
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
from app.api.responses import INVALID, RELEASE_PUBLICATION, not_found, published
from app.api.route import Route
from app.api.session import Publishing, Reading
from app.domain.things import release as domain
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName, is_release_name, vendor_of
from app.domain.values.state import State
from app.service.known import UnknownNameError
from app.service.publication import Opened
from app.service.release import draft_document, own_values_document, release_document
from app.signing.envelope import Subject
from app.storage import listing, lookup
from app.storage.publication import Gate, draft_release, publish_release
from app.wire.base import AsDocumented, Page, printable
from app.wire.release import ListedRelease, Publication, ReleaseDocument, StoredRelease
from app.wire.signature import EnvelopeDocument

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
        AsDocumented(ReleaseDocument, EnvelopeDocument),
        Body(
            openapi_examples=examples.examples(
                {
                    "a release with a profile": examples.RELEASE,
                    "a draft": examples.DRAFT_RELEASE,
                    "a signed release": examples.SIGNED_RELEASE,
                }
            )
        ),
    ],
    session: Publishing,
    override: Override = None,
) -> Response:
    """Publish a release and its profiles in one transaction, or add models and listed profiles to a published one.

    Published entries never change. `not_accepted` of the answer lists the models of listed profiles that the release
    does not accept; a profile that it accepts for no model is refused (422). A release that breaks earlier releases of
    its implementation is refused by the evolution gate (409; PUT /implementations sets its mode), unless an admin
    gives the reason as `override`. A release with `"state": "draft"` is kept apart: it can be replaced and deleted, and
    verdicts ignore it. A vendor can sign the document and send it in an envelope; where PUT /vendors says so, it must.
    """
    name = ReleaseName.parse(release)
    session.check_override(override)
    body = Opened.of(document, release, Subject.RELEASE, session.of(name.vendor).connection, Place())
    read = domain.ReleaseDocument.read(body.document, body.place)
    writing = session.of(name.vendor, *(vendor_of(profile) for profile in read.own_profiles))
    if read.state is State.DRAFT and isinstance(document, dict):
        body.place.raise_faults()
        outcome = draft_release(writing, name, read, body.place, document)
    else:
        outcome = publish_release(writing, name, read, body.place, Gate(override), body.signed)
    return published(release, outcome, dry_run=session.dry_run)


@router.get("/releases", response_model=Page[ListedRelease], responses=INVALID)
def list_releases(  # noqa: PLR0913 (the parameters of the query)
    reading: Reading,
    allowed: Allowed,
    at: paging.ByNameAndNumber,
    implementation: Annotated[str | None, narrowing("only releases of this implementation"), printable] = None,
    model: Annotated[str | None, narrowing("only releases that implement this device model"), printable] = None,
    state: StateFilter = None,
    *,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """List the releases by implementation, then in the order published."""
    allowed.check_drafts(is_asked=include_drafts or state is State.DRAFT)
    filters = {"implementation": implementation, "model": model}
    page = listing.releases(reading, filters, states(state, include_drafts=include_drafts), at.after, at.limit)
    items = [
        {
            "release": f"{name}@{version}",
            "implementation": name,
            "version": version,
            "state": entry_state,
            "digest": digest,
            "model_count": model_count,
            "profile_count": profile_count,
        }
        for name, _, version, entry_state, digest, model_count, profile_count in page.rows
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
    allowed: Allowed,
    *,
    own_values: Annotated[
        bool,
        Query(
            description="also the values that the release itself gives a new device where they differ from a profile"
        ),
    ] = False,
    include_drafts: AlsoDraft = False,
) -> Response:
    """Return a release: its models with the digests of their variable sets, and its list of profiles."""
    allowed.check_drafts(is_asked=include_drafts)
    name = ReleaseName.parse(release) if is_release_name(release) else None
    document = release_document(reading, name) if name else None
    if document is None and name and include_drafts:
        document = draft_document(reading, name)
    if document is None or name is None:
        raise UnknownNameError(release, "release")
    if own_values and (release_id := lookup.release_id(reading, name.implementation, name.version)) is not None:
        document["own_values"] = own_values_document(reading, release_id)
    return json_response(document)
