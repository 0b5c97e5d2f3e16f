"""Hosts: the releases that an operator's hosts run."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.identity import Allowed
from app.api.parameters import HostName, Labels
from app.api.responses import BODY_ERRORS, INVALID, UNAUTHORIZED, not_found
from app.api.route import Route
from app.api.session import Administering, Reading
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.service.host import check_host, models_of, stated_by
from app.service.known import UnknownNameError
from app.storage import listing, lookup
from app.storage.host import Label, delete_host, labels_of, put_host
from app.wire.base import Page
from app.wire.host import HostDocument, HostRegistration, StoredHost
from app.wire.reading import InPieces

router = APIRouter(route_class=Route, tags=["hosts"])


@router.put(
    "/hosts/{host}",
    status_code=201,
    response_model=HostRegistration,
    responses={
        200: {"model": HostRegistration, "description": "the host was already registered; its entry is replaced"},
        **BODY_ERRORS,
        **UNAUTHORIZED,
    },
)
def put_registered_host(
    host: HostName,
    document: Annotated[HostDocument, InPieces(), Body(openapi_examples=examples.example("a host", examples.HOST))],
    session: Administering,
) -> Response:
    """Register a host: the releases that it runs, its restrictions and its labels. Replaces an earlier registration."""
    writing, at = session.writing, Place()
    stated = stated_by(document)
    before = listing.host(writing.connection, host)
    existing = json.loads(before.document) if before else {}
    models = lookup.models(writing.connection, models_of(stated))
    unknown = check_host(document, stated, existing, models, at)
    at.raise_faults()
    is_new = put_host(writing, host, stated, document.labels)
    running = [*document.releases, *(release for unit in document.units for release in unit.releases)]
    content = {
        "host": host,
        "dry_run": session.dry_run,
        "unknown_releases": [
            release
            for release in dict.fromkeys(running)
            if lookup.release_id(writing.connection, *_parts(release)) is None
        ],
        "unknown_models": list(unknown.models),
        "unknown_variables": {model: list(variables) for model, variables in unknown.variables.items()},
    }
    status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return json_response(content, status)


def _parts(release: str) -> tuple[str, str]:
    name = ReleaseName.parse(release)
    return name.implementation, name.version


@router.get("/hosts", response_model=Page[StoredHost], responses=INVALID)
def list_hosts(
    reading: Reading,
    allowed: Allowed,
    at: paging.ByName,
    label: Labels = None,
) -> dict[str, Any]:
    """List the registered hosts by name."""
    allowed.check_hosts()
    page = listing.hosts(reading, [Label.parse(text) for text in label or ()], at.after, at.limit)
    labels = labels_of(reading, [row.name for row in page.rows])
    items = [_stored(row.name, row.document, labels.get(row.name, {})) for row in page.rows]
    return paging.answer(page, items)


@router.get("/hosts/{host}", response_model=StoredHost, responses={**not_found("host"), **INVALID})
def get_host(host: HostName, reading: Reading, allowed: Allowed) -> dict[str, Any]:
    """Return a registered host."""
    allowed.check_hosts()
    row = listing.host(reading, host)
    if row is None:
        raise UnknownNameError(host, "host")
    return _stored(host, row.document, labels_of(reading, [host]).get(host, {}))


def _stored(name: str, document: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"host": name, "resolves": {}, "units": [], **json.loads(document), "labels": labels}


@router.delete("/hosts/{host}", status_code=204, responses={**not_found("host"), **INVALID, **UNAUTHORIZED})
def forget_host(host: HostName, session: Administering) -> None:
    """Remove a host from the registry."""
    if not delete_host(session.writing, host):
        raise UnknownNameError(host, "host")
