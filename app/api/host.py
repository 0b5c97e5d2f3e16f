"""Hosts: the releases that an operator's hosts run."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from sqlalchemy import Connection

from app.api import examples, paging
from app.api.answer import json_response
from app.api.parameters import HostName, Labels
from app.api.responses import BODY_ERRORS, INVALID, UNAUTHORIZED, not_found
from app.api.route import Route
from app.api.session import Administering, Reading
from app.domain.things.restriction import Unknown, check_resolutions, check_restrictions
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName, is_release_name
from app.service.compatibility import check_units
from app.service.known import UnknownNameError
from app.storage import listing, lookup
from app.storage.host import Label, delete_host, labels_of, put_host
from app.wire import compatibility as wire
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
    stated = _content(document)
    before = listing.host(writing.connection, host)
    existing = json.loads(before.document) if before else {}
    unknown = _check(document, stated, existing, writing.connection, at)
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


def _content(document: HostDocument) -> dict[str, Any]:
    """Return what a host states in plain JSON, without its labels; fields that are empty are left out of units."""
    units = [
        {
            field: content
            for field, content in {
                "id": unit.id,
                "releases": unit.releases,
                "restrict": wire.restrictions(unit.restrict),
                "resolves": unit.resolves,
                "available": unit.available,
            }.items()
            if content or content == 0
        }
        for unit in document.units
    ]
    return {
        "releases": document.releases,
        "restrict": wire.restrictions(document.restrict),
        "resolves": document.resolves,
        "units": units,
    }


def _check(
    document: HostDocument, stated: dict[str, Any], existing: dict[str, Any], connection: Connection, at: Place
) -> Unknown:
    """Return the unknown names of a host and its units; report all faults. existing: what is registered."""
    check_units(document.units, at / "units")
    units_before = {unit["id"]: unit for unit in existing.get("units", ())}
    places = [(stated, existing, at)]
    for index, unit in enumerate(stated["units"]):
        places.append((unit, units_before.get(unit["id"], {}), at / "units" / index))
    models = lookup.models(
        connection,
        dict.fromkeys(
            model for content, _, _ in places for field in ("restrict", "resolves") for model in content.get(field, ())
        ),
    )
    unknown = Unknown()
    for content, before, place in places:
        for index, release in enumerate(content["releases"]):
            if not is_release_name(release):
                message = f"must be <implementation>@<version>, not {json.dumps(release, ensure_ascii=False)}"
                (place / "releases" / index).fault(FaultCode.INVALID_NAME, message)
        for field, check in (("restrict", check_restrictions), ("resolves", check_resolutions)):
            check(content.get(field, {}), models, before.get(field, {}), place / field, unknown)
    return unknown


def _parts(release: str) -> tuple[str, str]:
    name = ReleaseName.parse(release)
    return name.implementation, name.version


@router.get("/hosts", response_model=Page[StoredHost], responses=INVALID)
def list_hosts(
    reading: Reading,
    at: paging.ByName,
    label: Labels = None,
) -> dict[str, Any]:
    """List the registered hosts by name."""
    page = listing.hosts(reading, [Label.parse(text) for text in label or ()], at.after, at.limit)
    labels = labels_of(reading, [row.name for row in page.rows])
    items = [_stored(row.name, row.document, labels.get(row.name, {})) for row in page.rows]
    return paging.answer(page, items)


@router.get("/hosts/{host}", response_model=StoredHost, responses={**not_found("host"), **INVALID})
def get_host(host: HostName, reading: Reading) -> dict[str, Any]:
    """Return a registered host."""
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
