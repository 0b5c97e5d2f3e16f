"""Mirrors: what other registries published, made here."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples
from app.api.access import Administering, Reading
from app.api.answer import json_response
from app.api.errors import ApiError, unknown
from app.api.publishing import ADMINISTRATION, BODY_ERRORS, INVALID, error_response, not_found
from app.api.route import MirrorRoute
from app.api.wire.change import Mirror, Mirrored, MirroredChanges
from app.storage import change, listing, mirror

router = APIRouter(route_class=MirrorRoute, tags=["mirrors"])

RegistryId = Annotated[
    str, Path(max_length=100, pattern=r"^[A-Za-z0-9-]+$", description="`registry` of the other one's GET /changes")
]


@router.post(
    "/mirrors/{registry}/changes",
    response_model=Mirrored,
    responses={
        **BODY_ERRORS,
        **ADMINISTRATION,
        409: error_response(
            "`altered`: something is not what its digest says; `gap`: changes do not follow on those that are here; "
            "`mirror-conflict`: what is published here is otherwise; `mirror-of-itself`"
        ),
    },
)
def post_mirrored_changes(
    registry: RegistryId,
    document: Annotated[MirroredChanges, Body(openapi_examples=examples.example("a vendor", examples.MIRRORED))],
    session: Administering,
) -> Response:
    """Make the changes of another registry here, all or none; those made already are left out.

    Every digest is verified. The evolution gate lets them pass: the other registry has asked it. A command does all of
    this: `profile-registry mirror URL`.
    """
    if registry == change.registry_id(session.writing.connection):
        raise ApiError(HTTPStatus.CONFLICT, "mirror-of-itself", "this registry is that one: it is no mirror of itself")
    changes = [
        mirror.Mirrored(
            each.seq,
            each.part_of,
            each.at,
            each.by,
            each.kind,
            each.name,
            each.digest,
            each.detail,
            each.document_digest,
            each.link,
            each.document,
        )
        for each in document.changes
    ]
    added = mirror.mirror(
        session.writing, registry, document.url, changes, document.contents, with_hosts=document.hosts
    )
    row = listing.mirror(session.writing.connection, registry)
    content = {**_document(row), "added": added, "dry_run": session.dry_run}
    return json_response(content, HTTPStatus.OK)


@router.get("/mirrors", response_model=list[Mirror], responses=INVALID)
def list_mirrors(reading: Reading) -> list[Any]:
    """List the registries that are mirrored into this one."""
    return [_document(row) for row in listing.mirrors(reading)]


@router.get("/mirrors/{registry}", response_model=Mirror, responses={**not_found("mirror"), **INVALID})
def get_mirror(registry: RegistryId, reading: Reading) -> dict[str, Any]:
    """Return how far another registry is mirrored into this one."""
    row = listing.mirror(reading, registry)
    if row is None:
        raise unknown(registry, "mirror")
    return _document(row)


def _document(row: listing.Row | None) -> dict[str, Any]:
    return {field: getattr(row, field) for field in Mirror.model_fields}
