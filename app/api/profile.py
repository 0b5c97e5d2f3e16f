"""Profiles: named sets of variable values."""

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.identity import Allowed
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
from app.api.responses import INVALID, PUBLICATION, not_found, published
from app.api.route import Route
from app.api.session import Asking, Publishing, Reading
from app.domain.things import profile as domain
from app.domain.values.document import Place
from app.domain.values.name import is_name, vendor_of
from app.domain.values.state import State
from app.service.known import UnknownNameError
from app.service.profile import draft_document, profile_document
from app.service.publication import Opened
from app.signing.envelope import Subject
from app.storage import listing
from app.storage.publication import draft_profile, publish_profile
from app.storage.reader import Reader
from app.wire.base import AsDocumented, Page, printable
from app.wire.profile import ListedProfile, NamedProfileDocument, ProfileDocument, StoredProfile
from app.wire.release import Publication
from app.wire.signature import EnvelopeDocument

router = APIRouter(route_class=Route, tags=["profiles"])


@router.post("/profiles", status_code=201, response_model=Publication, responses=PUBLICATION)
def post_profile(
    document: Annotated[
        object,
        AsDocumented(ProfileDocument, EnvelopeDocument),
        Body(
            openapi_examples=examples.examples(
                {"a profile that extends another": examples.PROFILE, "a draft": examples.DRAFT_PROFILE}
            )
        ),
    ],
    session: Publishing,
) -> Response:
    """Publish a profile, or add models to a published one.

    At least one published release has to accept its values for each model.
    """
    return _publish(document, None, session)


@router.put("/profiles/{name:path}", status_code=201, response_model=Publication, responses=PUBLICATION)
def put_profile(
    name: NewProfile,
    document: Annotated[
        object,
        AsDocumented(NamedProfileDocument, EnvelopeDocument),
        Body(
            openapi_examples=examples.example(
                "a profile that takes a variable of its parent out", examples.NAMED_PROFILE
            )
        ),
    ],
    session: Publishing,
) -> Response:
    """Publish the profile of this name, or add models to the published one.

    At least one published release has to accept its values for each model.
    """
    return _publish(document, name, session)


def _publish(document: object, name: str | None, session: Publishing) -> Response:
    body = Opened.of(document, name, Subject.PROFILE, session.reading, Place())
    read = domain.ProfileDocument.read(body.document, body.place, named=body.name)
    if not read.name:
        body.place.raise_faults()
    writing = session.of(vendor_of(read.name))
    if read.state is State.DRAFT and isinstance(document, dict):
        body.place.raise_faults()
        outcome = draft_profile(writing, read, body.place, document)
    else:
        outcome = publish_profile(writing, read, body.place, body.signed)
    return published(read.name, outcome, dry_run=session.dry_run)


@router.get("/profiles", response_model=Page[ListedProfile], responses=INVALID)
def list_profiles(  # noqa: PLR0913 (the parameters of the query)
    reading: Reading,
    allowed: Allowed,
    at: paging.ByName,
    vendor: OfVendor = None,
    model: Annotated[str | None, narrowing("only profiles that name or inherit this device model"), printable] = None,
    in_state: Annotated[StateFilter, Query(alias="state")] = None,
    *,
    include_drafts: IncludeDrafts = False,
) -> dict[str, Any]:
    """List the profiles by name."""
    allowed.check_drafts(is_asked=include_drafts or in_state is State.DRAFT)
    filters = {"vendor": vendor, "model": model}
    page = listing.profiles(reading, filters, states(in_state, include_drafts=include_drafts), at.after, at.limit)
    items = [
        {"name": name, "extends": extends, "state": entry_state, "digest": digest, "model_count": count}
        for name, extends, entry_state, digest, count in page.rows
    ]
    return paging.answer(page, items)


@router.get("/profiles/{name:path}", response_model=StoredProfile, responses={**not_found("profile"), **INVALID})
async def get_profile(
    name: AnyName,
    asking: Asking,
    allowed: Allowed,
    *,
    resolved: Annotated[bool, Query(description="all values, also the inherited ones")] = False,
    include_drafts: AlsoDraft = False,
) -> Response:
    """Return a profile with its own values or all values; a draft as it was written."""
    allowed.check_drafts(is_asked=include_drafts)
    read = partial(_written, name, resolved=resolved, include_drafts=include_drafts)
    document = await asking.ask(read) if is_name(name) else None
    if document is None:
        raise UnknownNameError(name, "profile")
    return Response(document, media_type="application/json")


def _written(name: str, reader: Reader, *, resolved: bool, include_drafts: bool) -> bytes | None:
    """Return a profile as JSON, or its draft; None if there is neither."""
    key = ("profile-document", name, "resolved" if resolved else "own")
    document = reader.document(key, lambda connection: profile_document(connection, name, resolved=resolved))
    if document is None and include_drafts:
        with reader.connection() as connection:
            draft = draft_document(connection, name)
        document = None if draft is None else orjson.dumps(draft)
    return document
