"""Hosts: what an operator says each of them runs."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from app.api import examples, paging
from app.api.access import Administering, Reading
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.parameters import HostName
from app.api.publishing import BODY_ERRORS, INVALID, UNAUTHORIZED, not_found
from app.api.route import Route
from app.api.wire import compatibility as wire
from app.api.wire.base import Page
from app.api.wire.host import HostDocument, HostRegistration, StoredHost
from app.domain.document import FaultCode, Place
from app.domain.name import ReleaseName, is_release_name
from app.domain.restriction import checked
from app.storage import listing, lookup
from app.storage.host import Label, delete_host, labels_of, put_host

router = APIRouter(route_class=Route, tags=["hosts"])


@router.put(
    "/hosts/{host}",
    status_code=201,
    response_model=HostRegistration,
    responses={
        200: {"model": HostRegistration, "description": "it was registered before"},
        **BODY_ERRORS,
        **UNAUTHORIZED,
    },
)
def put_registered_host(
    host: HostName,
    document: Annotated[HostDocument, Body(openapi_examples=examples.example("what a host runs", examples.HOST))],
    session: Administering,
) -> Response:
    """Register what a host runs, in the place of what was registered of it."""
    writing, at = session.writing, Place()
    for place, each in enumerate(document.releases):
        if not is_release_name(each):
            (at / "releases" / place).fault(FaultCode.INVALID_NAME, "is no release: <implementation>@<version>")
    restrict = wire.restrictions(document.restrict)
    models = lookup.models(writing.connection, restrict)
    before = listing.host(writing.connection, host)
    standing = json.loads(before.document)["restrict"] if before else {}
    unknown_there = checked(restrict, models, standing, at / "restrict")
    at.raise_faults()
    is_new = put_host(writing, host, document.releases, restrict, document.labels)
    content = {
        "host": host,
        "dry_run": session.dry_run,
        "unknown_releases": [
            each
            for each in dict.fromkeys(document.releases)
            if lookup.release_id(writing.connection, *_parts(each)) is None
        ],
        "unknown_models": unknown_there.models,
        "unknown_variables": unknown_there.variables,
    }
    status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return json_response(content, status)


def _parts(release: str) -> tuple[str, str]:
    name = ReleaseName.parse(release)
    return name.implementation, name.version


@router.get("/hosts", response_model=Page[StoredHost], responses=INVALID)
def list_hosts(
    reading: Reading,
    at: paging.ByName,
    label: Annotated[
        wire.Label | None, Query(description="only hosts that have the label: `name=value`, or `name` for any value")
    ] = None,
) -> dict[str, Any]:
    """List the registered hosts by name, those that have the label."""
    page = listing.hosts(reading, None if label is None else Label.parse(label), at.after, at.limit)
    labels = labels_of(reading, [row.name for row in page.rows])
    items = [_stored(row.name, row.document, labels.get(row.name, {})) for row in page.rows]
    return paging.answer(page, items)


@router.get("/hosts/{host}", response_model=StoredHost, responses={**not_found("host"), **INVALID})
def get_host(host: HostName, reading: Reading) -> dict[str, Any]:
    """Return a registered host."""
    found = listing.host(reading, host)
    if found is None:
        raise unknown(host, "host")
    return _stored(host, found.document, labels_of(reading, [host]).get(host, {}))


def _stored(name: str, document: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"host": name, **json.loads(document), "labels": labels}


@router.delete("/hosts/{host}", status_code=204, responses={**not_found("host"), **INVALID, **UNAUTHORIZED})
def forget_host(host: HostName, session: Administering) -> None:
    """Forget a host."""
    if not delete_host(session.writing, host):
        raise unknown(host, "host")
