"""Changes of state of profiles and releases, and what they would flip."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api import examples
from app.api.access import Publishing, Registry
from app.api.answer import json_response
from app.api.errors import ApiError, unknown
from app.api.known import known_profile, known_release
from app.api.parameters import AnyName, AnyRelease, Override
from app.api.profiles import draft_document as draft_profile_document
from app.api.profiles import profile_document
from app.api.publishing import (
    BODY_ERRORS,
    ENTRY_CHANGED,
    INVALID,
    PRECONDITION_FAILED,
    RELEASE_PUBLICATION,
    UNAUTHORIZED,
    error_response,
    not_found,
    publication_document,
)
from app.api.releases import draft_document as draft_release_document
from app.api.releases import release_document
from app.api.route import IfMatch, Route, check_if_match, etag_of
from app.api.wire.state import Impact, StateChange, StateDocument
from app.domain import impact
from app.domain import profile as profiles
from app.domain import release as releases
from app.domain.document import Place
from app.domain.name import ReleaseName, is_name, is_release_name, vendor_of
from app.domain.state import State
from app.storage import lookup, schema, state
from app.storage.catalog import Standing
from app.storage.database import Writing
from app.storage.publication import Gate, publish_profile, publish_release

router = APIRouter(route_class=Route)

WantedState = Annotated[StateDocument, Body(openapi_examples=examples.example("a warning in verdicts", examples.STATE))]
_PUBLISHED: dict[int | str, dict[str, Any]] = {409: error_response("`published`: what is published is never deleted")}


def _changing(kind: str) -> dict[int | str, dict[str, Any]]:
    gate = RELEASE_PUBLICATION if kind == "release" else ENTRY_CHANGED
    return {**BODY_ERRORS, **UNAUTHORIZED, **not_found(kind), 409: gate[409], **PRECONDITION_FAILED}


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
    document: WantedState,
    session: Publishing,
    registry: Registry,
    override: Override = None,
    if_match: IfMatch = None,
) -> Response:
    """Deprecate, retire or restore a release, or publish its draft; with `dry_run` say what that would flip."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None:
        raise unknown(release, "release")
    session.check_override(override)
    writing = session.of(name.vendor)
    reading = writing.connection
    if if_match is not None:
        _check_stands(if_match, release_document(reading, name) or draft_release_document(reading, name))
    if lookup.release_id(reading, name.implementation, name.version) is not None:
        before = state.set_release_state(writing, name, document.state)
        return json_response(_changed(release, before, document.state, session, writing, registry))
    written = state.release_draft(reading, name)
    if written is None:
        raise unknown(release, "release")
    _check_is_published(document.state)
    at = Place()
    read = releases.ReleaseDocument.read({**written, "state": State.PUBLISHED.value}, at)
    session.of(*(vendor_of(each) for each in read.own_profiles))
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
    name: AnyName, document: WantedState, session: Publishing, registry: Registry, if_match: IfMatch = None
) -> Response:
    """Deprecate, retire or restore a profile, or publish its draft; with `dry_run` say what that would flip."""
    if not is_name(name):
        raise unknown(name, "profile")
    writing = session.of(vendor_of(name))
    reading = writing.connection
    if if_match is not None:
        _check_stands(if_match, profile_document(reading, name) or draft_profile_document(reading, name))
    if lookup.ids(reading, schema.profile, [name]):
        before = state.set_profile_state(writing, name, document.state)
        return json_response(_changed(name, before, document.state, session, writing, registry))
    written = state.profile_draft(reading, name)
    if written is None:
        raise unknown(name, "profile")
    _check_is_published(document.state)
    at = Place()
    read = profiles.ProfileDocument.read({**written, "state": State.PUBLISHED.value}, at, named=name)
    outcome = publish_profile(writing, read, at)
    publication = publication_document(name, outcome, dry_run=session.dry_run)
    return json_response(_of_draft(name, document.state, publication))


def _check_stands(if_match: str, document: dict[str, Any] | None) -> None:
    """Raise the error (412) if the client's condition does not hold of what GET answers now."""
    if document is not None:
        check_if_match(if_match, etag_of(orjson.dumps(document)))


def _changed(
    name: str, before: State, after: State, session: Publishing, writing: Writing, registry: Registry
) -> dict[str, Any]:
    change: dict[str, Any] = {
        "name": name,
        "before": before.value,
        "state": after.value,
        "dry_run": session.dry_run,
    }
    if session.dry_run:
        # What was tried is undone first: others write on while the impact is worked out.
        writing.undo()
        change["impact"] = registry.ask(lambda current: _impact(name, after, current))
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
        error = {"type": "value_error", "loc": ("body", "state"), "msg": "a draft is published, replaced or deleted"}
        raise RequestValidationError([error])


@router.get("/impact", tags=["states"], response_model=Impact, responses={**not_found("release", "profile"), **INVALID})
def get_impact(
    registry: Registry,
    name: Annotated[str, Query(max_length=400, description="a release or a profile; at most 400 characters")],
    state: Annotated[
        Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED], Query(description="the state that it would take")
    ] = State.RETIRED,
) -> Response:
    """Say before a change of state whose verdicts it would flip: profiles, releases, hosts and listed pairs."""
    return json_response(registry.ask(lambda current: _impact(name, state, current)))


def _impact(name: str, wanted: State, current: Standing) -> dict[str, Any]:
    if "@" in name:
        release = known_release(name, current)
        current.load([release])
        found = impact.of_release(release, wanted, current.profiles(), current.all_hosts(), current)
    else:
        profile = known_profile(name, current)
        current.load([profile])
        found = impact.of_profile(profile, wanted, current.releases(list(profile.values)), current.all_hosts(), current)
    return {
        "profiles": found.profiles,
        "releases": found.releases,
        "hosts": found.hosts,
        "listed": [{"profile": each, "release": release} for each, release in found.listed],
    }


@router.delete("/releases/{release:path}", tags=["releases"], status_code=204, responses=_deleting("release"))
def delete_release(release: AnyRelease, session: Publishing) -> None:
    """Delete the draft of a release; what is published is never deleted."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None:
        raise unknown(release, "release")
    writing = session.of(name.vendor)
    if not state.discard_release_draft(writing, name):
        published = lookup.release_id(writing.connection, name.implementation, name.version) is not None
        raise _not_deleted(release) if published else unknown(release, "release")


@router.delete("/profiles/{name:path}", tags=["profiles"], status_code=204, responses=_deleting("profile"))
def delete_profile(name: AnyName, session: Publishing) -> None:
    """Delete the draft of a profile; what is published is never deleted."""
    if not is_name(name):
        raise unknown(name, "profile")
    writing = session.of(vendor_of(name))
    if not state.discard_profile_draft(writing, name):
        published = name in lookup.ids(writing.connection, schema.profile, [name])
        raise _not_deleted(name) if published else unknown(name, "profile")


def _not_deleted(name: str) -> ApiError:
    return ApiError(
        HTTPStatus.CONFLICT, "published", f"{name} is published, and what is published is never deleted: retire it"
    )
