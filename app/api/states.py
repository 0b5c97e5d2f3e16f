"""Changes of state of profiles and releases, and what they would flip."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api.access import Registry, Writing
from app.api.answer import json_response
from app.api.body import JsonRoute
from app.api.errors import ApiError, unknown
from app.api.parameters import Override
from app.api.publishing import INVALID, NOT_FOUND, PUBLICATION, UNAUTHORIZED, publication_document
from app.api.wire.state import Impact, StateChange, StateDocument
from app.domain import impact
from app.domain import profile as profiles
from app.domain import release as releases
from app.domain.document import Place
from app.domain.name import ReleaseName, is_name, is_release_name
from app.domain.state import State
from app.storage import lookup, schema, state
from app.storage.catalog import Standing
from app.storage.publication import Gate, publish_profile, publish_release

router = APIRouter(route_class=JsonRoute, tags=["states"])

_CHANGE = {key: value for key, value in PUBLICATION.items() if key != HTTPStatus.OK} | NOT_FOUND
_DELETED = {**NOT_FOUND, **INVALID, **UNAUTHORIZED, 409: PUBLICATION[409]}


@router.patch(
    "/releases/{release:path}", response_model=StateChange, response_model_exclude_unset=True, responses=_CHANGE
)
def patch_release(
    release: str, document: StateDocument, writing: Writing, registry: Registry, override: Override = None
) -> Response:
    """Deprecate, retire or restore a release, or publish its draft; with `dry_run` say what that would flip."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None:
        raise unknown(release, "release")
    connection = writing.connection
    release_id = lookup.release_id(connection, name.implementation, name.version)
    if release_id is not None:
        before = lookup.release_state(connection, release_id)
        state.set_release_state(connection, release_id, document.state)
        return json_response(_changed(release, before, document.state, writing, registry))
    written = state.release_draft(connection, name)
    if written is None:
        raise unknown(release, "release")
    _check_is_published(document.state)
    at = Place()
    read = releases.ReleaseDocument.read({**written, "state": State.PUBLISHED.value}, at)
    outcome = publish_release(connection, name, read, at, Gate(override))
    publication = publication_document(release, outcome, dry_run=writing.dry_run)
    return json_response(_of_draft(release, document.state, publication))


@router.patch("/profiles/{name:path}", response_model=StateChange, response_model_exclude_unset=True, responses=_CHANGE)
def patch_profile(name: str, document: StateDocument, writing: Writing, registry: Registry) -> Response:
    """Deprecate, retire or restore a profile, or publish its draft; with `dry_run` say what that would flip."""
    connection = writing.connection
    if not is_name(name):
        raise unknown(name, "profile")
    profile_id = lookup.ids(connection, schema.profile, [name]).get(name)
    if profile_id is not None:
        before = lookup.profile_state(connection, profile_id)
        state.set_profile_state(connection, profile_id, document.state)
        return json_response(_changed(name, before, document.state, writing, registry))
    written = state.profile_draft(connection, name)
    if written is None:
        raise unknown(name, "profile")
    _check_is_published(document.state)
    at = Place()
    read = profiles.ProfileDocument.read({**written, "state": State.PUBLISHED.value}, at, named=name)
    outcome = publish_profile(connection, read, at)
    publication = publication_document(name, outcome, dry_run=writing.dry_run)
    return json_response(_of_draft(name, document.state, publication))


def _changed(name: str, before: State, after: State, writing: Writing, registry: Registry) -> dict[str, Any]:
    change: dict[str, Any] = {
        "name": name,
        "before": before.value,
        "state": after.value,
        "dry_run": writing.dry_run,
    }
    if writing.dry_run:
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


@router.get("/impact", response_model=Impact, responses={**NOT_FOUND, **INVALID})
def get_impact(
    registry: Registry,
    name: Annotated[str, Query(max_length=400, description="a release or a profile")],
    state: Annotated[
        Literal[State.PUBLISHED, State.DEPRECATED, State.RETIRED], Query(description="the state that it would take")
    ] = State.RETIRED,
) -> Response:
    """Say before a change of state whose verdicts it would flip: profiles, releases, hosts and listed pairs."""
    return json_response(registry.ask(lambda current: _impact(name, state, current)))


def _impact(name: str, wanted: State, current: Standing) -> dict[str, Any]:
    if "@" in name:
        release = current.release(name)
        if release is None:
            raise unknown(name, "release")
        current.load([release])
        found = impact.of_release(release, wanted, current.profiles(), current.all_hosts(), current)
    else:
        profile = current.profile(name)
        if profile is None:
            raise unknown(name, "profile")
        current.load([profile])
        found = impact.of_profile(profile, wanted, current.releases(list(profile.values)), current.all_hosts(), current)
    return {
        "profiles": found.profiles,
        "releases": found.releases,
        "hosts": found.hosts,
        "listed": [{"profile": each, "release": release} for each, release in found.listed],
    }


@router.delete("/releases/{release:path}", status_code=204, responses=_DELETED)
def delete_release(release: str, writing: Writing) -> None:
    """Delete the draft of a release; what is published is never deleted."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    if name is None or not state.delete_release_draft(writing.connection, name):
        published = name and lookup.release_id(writing.connection, name.implementation, name.version) is not None
        raise _not_deleted(release) if published else unknown(release, "release")


@router.delete("/profiles/{name:path}", status_code=204, responses=_DELETED)
def delete_profile(name: str, writing: Writing) -> None:
    """Delete the draft of a profile; what is published is never deleted."""
    if not is_name(name) or not state.delete_profile_draft(writing.connection, name):
        published = name in lookup.ids(writing.connection, schema.profile, [name])
        raise _not_deleted(name) if published else unknown(name, "profile")


def _not_deleted(name: str) -> ApiError:
    return ApiError(
        HTTPStatus.CONFLICT, "published", f"{name} is published, and what is published is never deleted: retire it"
    )
