"""Hosts: the releases that an operator's hosts run."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from anyio import to_thread
from fastapi import APIRouter, Body, Query, Request, Response

from app.api import examples, paging
from app.api.answer import json_response
from app.api.container import container
from app.api.identity import Allowed
from app.api.parameters import HostName, Labels
from app.api.responses import BODY_ERRORS, INVALID, UNAUTHORIZED, not_found
from app.api.route import Route
from app.api.session import Administering, Reading, Registering, RegisterSession
from app.domain.values.document import Place
from app.service.host import check_host, models_of, stated_by
from app.service.known import UnknownNameError
from app.storage import fleet, listing, lookup
from app.storage.database import Writing
from app.storage.host import Label, Registration, Staleness, delete_host, is_noted, put_hosts
from app.wire.base import Page, printable
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
async def put_registered_host(
    host: HostName,
    document: Annotated[HostDocument, InPieces(), Body(openapi_examples=examples.example("a host", examples.HOST))],
    session: Registering,
) -> Response:
    """Register a host: the releases that it runs, its restrictions and its labels. Replaces an earlier registration.

    A report that changes nothing is not written, but for its time now and then (`reported_at`).
    """
    registration = _Registration(host, document, session)
    # Thousands of hosts report again and again, and next to nothing changes: those reports do not wait for a turn.
    async with session.reading() as connection:
        unchanged = await to_thread.run_sync(registration.unchanged, connection)
    if unchanged is not None:
        return unchanged
    async with session.writing() as writing:
        return await to_thread.run_sync(registration.write, writing)


class _Registration:
    """What a host reports."""

    def __init__(self, host: str, document: HostDocument, session: RegisterSession) -> None:
        self._host = host
        self._document = document
        self._session = session
        self._stated = stated_by(document)
        self._registration = Registration.of(self._stated, document.labels)

    def unchanged(self, connection: sa.Connection) -> Response | None:
        """Return the answer if nothing has to be written, else None."""
        if not is_noted(connection, self._host, self._registration, self._session.staleness):
            return None
        return json_response(self._content(connection))

    def write(self, writing: Writing) -> Response:
        """Register it, and return the answer; raises InvalidDocumentError."""
        content = self._content(writing.connection)
        inventory = put_hosts(writing, {self._host: self._registration})
        return json_response(content, HTTPStatus.CREATED if inventory.added else HTTPStatus.OK)

    def _content(self, connection: sa.Connection) -> Mapping[str, Any]:
        place = Place()
        existing = next((host.stated for host in fleet.hosts(connection, [self._host])), {})
        models = lookup.models(connection, models_of(self._stated))
        unknown = check_host(self._document, self._stated, existing, models, place)
        place.raise_faults()
        units = self._document.units
        running = dict.fromkeys([*self._document.releases, *(name for unit in units for name in unit.releases)])
        published = lookup.published(connection, running)
        return {
            "host": self._host,
            "dry_run": self._session.dry_run,
            "unknown_releases": [release for release in running if release not in published],
            "unknown_models": list(unknown.models),
            "unknown_variables": {model: list(variables) for model, variables in unknown.variables.items()},
        }


@router.get("/hosts", response_model=Page[StoredHost], responses=INVALID)
def list_hosts(
    request: Request,
    reading: Reading,
    allowed: Allowed,
    at: paging.ByName,
    label: Labels = None,
    kind: Annotated[
        str | None, Query(max_length=71, description="only hosts of this kind, by its digest"), printable
    ] = None,
) -> dict[str, Any]:
    """List the registered hosts by name."""
    allowed.check_hosts()
    selections = [[Label.parse(text) for text in label or ()]]
    begin = None if at.after is None else str(at.after[0])
    hosts, after = fleet.page(reading, selections, kind, begin, at.limit)
    staleness = container(request).staleness
    following = None if after is None else (after,)
    return paging.answer(listing.Page((), following), [host_document(host, staleness) for host in hosts])


@router.get("/hosts/{host}", response_model=StoredHost, responses={**not_found("host"), **INVALID})
def get_host(request: Request, host: HostName, reading: Reading, allowed: Allowed) -> dict[str, Any]:
    """Return a registered host."""
    allowed.check_hosts()
    for stored in fleet.hosts(reading, [host]):
        return host_document(stored, container(request).staleness)
    raise UnknownNameError(host, "host")


def host_document(host: fleet.Host, staleness: Staleness) -> dict[str, Any]:
    """Return a registered host as a document."""
    return {
        "host": host.name,
        **host.stated,
        "labels": host.labels,
        "kind": host.kind,
        "reported_at": host.reported_at,
        "stale": staleness.is_stale(host.reported_at),
    }


@router.delete("/hosts/{host}", status_code=204, responses={**not_found("host"), **INVALID, **UNAUTHORIZED})
def forget_host(host: HostName, session: Administering) -> None:
    """Remove a host from the registry."""
    if not delete_host(session.writing, host):
        raise UnknownNameError(host, "host")
