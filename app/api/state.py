"""States of profiles and releases: changes, their impact, and the deletion of drafts."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api import examples
from app.api.answer import json_response
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.parameters import AnyName, AnyRelease, Override
from app.api.responses import (
    BODY_ERRORS,
    INVALID,
    OVER_BUDGET,
    PRECONDITION_FAILED,
    RELEASE_PUBLICATION,
    UNAUTHORIZED,
    error_response,
    not_found,
)
from app.api.route import IfMatch, Route, check_if_match, etag_of
from app.api.session import Asking, AskSession, Publishing
from app.domain.things import profile as profiles
from app.domain.things import release as releases
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName, is_name, is_release_name, vendor_of
from app.domain.values.state import State
from app.service import impact
from app.service.known import UnknownNameError
from app.service.profile import draft_document as draft_profile_document
from app.service.profile import profile_document
from app.service.publication import publication_document
from app.service.release import draft_document as draft_release_document
from app.service.release import release_document
from app.storage import lookup, schema, state
from app.storage.database import Writing
from app.storage.publication import Gate, publish_profile, publish_release
from app.wire.reading import InPieces
from app.wire.state import Impact, StateChange, StateDocument

_INSTEAD = "Give a dry run of a release with fewer models, or ask for the support matrix of one profile."
router = APIRouter(route_class=Route)

NewState = Annotated[StateDocument, InPieces(), Body(openapi_examples=examples.example("deprecate it", examples.STATE))]
_PUBLISHED: dict[int | str, dict[str, Any]] = {
    409: error_response("`published`: it is published, and published entries are never deleted")
}


def _changing(kind: str) -> dict[int | str, dict[str, Any]]:
    # To publish the draft of a profile contradicts nothing: the draft ends when the profile is published otherwise.
    gate: dict[int | str, dict[str, Any]] = {409: RELEASE_PUBLICATION[409]} if kind == "release" else {}
    return {**BODY_ERRORS, **OVER_BUDGET, **UNAUTHORIZED, **not_found(kind), **gate, **PRECONDITION_FAILED}


def _deleting(kind: str) -> dict[int | str, dict[str, Any]]:
    return {**not_found(kind), **INVALID, **UNAUTHORIZED, **_PUBLISHED}


@router.patch(
    "/releases/{release:path}",
    tags=["releases"],
    response_model=StateChange,
    response_model_exclude_unset=True,
    responses=_changing("release"),
)
def patch_release(
    release: AnyRelease,
    document: NewState,
    session: Publishing,
    asking: Asking,
    override: Override = None,
    if_match: IfMatch = None,
) -> Response:
    """Deprecate, retire or restore a release, or publish its draft. With `dry_run`, return the impact."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None:
        raise UnknownNameError(release, "release")
    session.check_override(override)
    writing = session.of(name.vendor)
    reading = writing.connection
    if if_match is not None:
        _check_unchanged(if_match, release_document(reading, name) or draft_release_document(reading, name))
    if lookup.release_id(reading, name.implementation, name.version) is not None:
        before = state.set_release_state(writing, name, document.state)
        return json_response(_changed(release, before, document.state, session, writing, asking))
    draft = state.release_draft(reading, name)
    if draft is None:
        raise UnknownNameError(release, "release")
    _check_is_published(document.state)
    at = Place()
    read = releases.ReleaseDocument.read({**draft, "state": State.PUBLISHED.value}, at)
    session.of(*(vendor_of(profile) for profile in read.own_profiles))
    outcome = publish_release(writing, name, read, at, Gate(override))
    publication = publication_document(release, outcome, dry_run=session.dry_run)
    return json_response(_of_draft(release, document.state, publication))


@router.patch(
    "/profiles/{name:path}",
    tags=["profiles"],
    response_model=StateChange,
    response_model_exclude_unset=True,
    responses=_changing("profile"),
)
def patch_profile(
    name: AnyName, document: NewState, session: Publishing, asking: Asking, if_match: IfMatch = None
) -> Response:
    """Deprecate, retire or restore a profile, or publish its draft. With `dry_run`, return the impact."""
    if not is_name(name):
        raise UnknownNameError(name, "profile")
    writing = session.of(vendor_of(name))
    reading = writing.connection
    if if_match is not None:
        _check_unchanged(if_match, profile_document(reading, name) or draft_profile_document(reading, name))
    if lookup.ids(reading, schema.profile, [name]):
        before = state.set_profile_state(writing, name, document.state)
        return json_response(_changed(name, before, document.state, session, writing, asking))
    draft = state.profile_draft(reading, name)
    if draft is None:
        raise UnknownNameError(name, "profile")
    _check_is_published(document.state)
    at = Place()
    read = profiles.ProfileDocument.read({**draft, "state": State.PUBLISHED.value}, at, named=name)
    outcome = publish_profile(writing, read, at)
    publication = publication_document(name, outcome, dry_run=session.dry_run)
    return json_response(_of_draft(name, document.state, publication))


def _check_unchanged(if_match: str, document: dict[str, Any] | None) -> None:
    """Raise 412 if the entry has changed since the ETag that the client sent."""
    if document is not None:
        check_if_match(if_match, etag_of(orjson.dumps(document)))


def _changed(
    name: str, before: State, after: State, session: Publishing, writing: Writing, asking: AskSession
) -> dict[str, Any]:
    change: dict[str, Any] = {
        "name": name,
        "before": before.value,
        "state": after.value,
        "dry_run": session.dry_run,
    }
    if session.dry_run:
        # Undo the change first: other requests can write while the impact is computed.
        writing.undo()
        change["impact"] = asking.ask_from_thread(partial(impact.of, name, after), _INSTEAD)
    return change


def _of_draft(name: str, after: State, publication: dict[str, Any]) -> dict[str, Any]:
    dry_run = publication["dry_run"]
    return {
        "name": name,
        "before": State.DRAFT.value,
        "state": after.value,
        "dry_run": dry_run,
        "publication": publication,
    }


def _check_is_published(wanted: State) -> None:
    if wanted is not State.PUBLISHED:
        message = f"must be published, not {wanted.value}: a draft can only be published, replaced or deleted"
        error = {"type": "value_error", "loc": ("body", "state"), "msg": message}
        raise RequestValidationError([error])


@router.get(
    "/impact", tags=["states"], response_model=Impact, responses={**not_found("release", "profile"), **OVER_BUDGET}
)
async def get_impact(
    asking: Asking,
    name: Annotated[str, Query(max_length=400, description="a release or a profile; at most 400 characters")],
    state: Annotated[
        Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED], Query(description="the new state")
    ] = State.RETIRED,
) -> Response:
    """Return the impact of a change of state: the profiles, releases, hosts and listed pairs that it flips."""
    return json_response(await asking.ask(partial(impact.of, name, state), _INSTEAD))


@router.delete("/releases/{release:path}", tags=["releases"], status_code=204, responses=_deleting("release"))
def delete_release(release: AnyRelease, session: Publishing) -> None:
    """Delete the draft of a release. Published releases are never deleted."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None:
        raise UnknownNameError(release, "release")
    writing = session.of(name.vendor)
    if not state.discard_release_draft(writing, name):
        published = lookup.release_id(writing.connection, name.implementation, name.version) is not None
        raise _not_deleted(release) if published else UnknownNameError(release, "release")


@router.delete("/profiles/{name:path}", tags=["profiles"], status_code=204, responses=_deleting("profile"))
def delete_profile(name: AnyName, session: Publishing) -> None:
    """Delete the draft of a profile. Published profiles are never deleted."""
    if not is_name(name):
        raise UnknownNameError(name, "profile")
    writing = session.of(vendor_of(name))
    if not state.discard_profile_draft(writing, name):
        published = name in lookup.ids(writing.connection, schema.profile, [name])
        raise _not_deleted(name) if published else UnknownNameError(name, "profile")


def _not_deleted(name: str) -> ApiError:
    return ApiError(
        HTTPStatus.CONFLICT,
        ErrorCode.PUBLISHED,
        f"{name} is published, and published entries are never deleted. Retire it instead.",
    )
