"""Mirrors: changes of other registries, added to this one."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples
from app.api.answer import json_response
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.responses import ADMINISTRATION, BODY_ERRORS, INVALID, error_response, not_found
from app.api.route import LargeRoute
from app.api.session import Administering, Reading
from app.domain.values.document import Place
from app.service.host import check_host, stated_by
from app.service.known import UnknownNameError
from app.storage import change, listing, mirror
from app.storage.change import OF_HOSTS
from app.wire.added import check_added
from app.wire.base import without_credentials
from app.wire.change import Mirror, Mirrored, MirroredChanges
from app.wire.reading import InPieces, InvalidShapeError

router = APIRouter(route_class=LargeRoute, tags=["mirrors"])

RegistryId = Annotated[
    str,
    Path(
        max_length=100,
        pattern=r"^[A-Za-z0-9-]+$",
        description="the id of the other registry: `registry` in its GET /changes",
    ),
]


@router.post(
    "/mirrors/{registry}/changes",
    response_model=Mirrored,
    responses={
        **BODY_ERRORS,
        **ADMINISTRATION,
        409: error_response(
            "`altered`: content does not have its digest; `gap`: the changes do not continue those that are here; "
            "`mirror-conflict`: a name is published here with other content; `mirror-of-itself`"
        ),
    },
)
def post_mirrored_changes(
    registry: RegistryId,
    document: Annotated[
        MirroredChanges, InPieces(), Body(openapi_examples=examples.example("a vendor", examples.MIRRORED))
    ],
    session: Administering,
) -> Response:
    """Add changes of another registry to this one, all or none; changes that are already here are skipped.

    Every digest is verified. The evolution gate is not checked again: the other registry has checked it. The command
    `profile-registry mirror URL` uses this operation to follow a registry.
    """
    if registry == change.registry_id(session.writing.connection):
        raise ApiError(
            HTTPStatus.CONFLICT,
            ErrorCode.MIRROR_OF_ITSELF,
            "the changes come from this registry: it cannot mirror itself",
        )
    _check(document)
    changes = [
        mirror.Mirrored(
            entry.seq,
            entry.part_of,
            entry.at,
            entry.by,
            entry.kind,
            entry.name,
            entry.digest,
            entry.detail,
            entry.document_digest,
            entry.link,
            entry.document,
        )
        for entry in document.changes
    ]
    url = without_credentials(document.url)
    added = mirror.mirror(session.writing, registry, url, changes, document.contents, with_hosts=document.hosts)
    row = listing.mirror(session.writing.connection, registry)
    content = {**_document(row), "added": added, "dry_run": session.dry_run}
    return json_response(content, HTTPStatus.OK)


def _check(document: MirroredChanges) -> None:
    """Check that what changes added has the shape of its kind, and that hosts state what a registration can.

    Values are not checked against the models here: the other registry accepted them before these were published.
    """
    place = Place()
    for index, entry in enumerate(document.changes):
        if entry.document is None or (entry.kind in OF_HOSTS and not document.hosts):
            continue
        try:
            host = check_added(entry.kind, entry.document)
        except InvalidShapeError as error:
            path = ("changes", index, "document")
            raise InvalidShapeError([{**fault, "loc": (*path, *fault["loc"])} for fault in error.faults]) from None
        if host is not None:
            check_host(host, stated_by(host), {}, {}, place / "changes" / index / "document")
    place.raise_faults()


@router.get("/mirrors", response_model=list[Mirror], responses=INVALID)
def list_mirrors(reading: Reading) -> list[Any]:
    """List the registries that are mirrored into this one."""
    return [_document(row) for row in listing.mirrors(reading)]


@router.get("/mirrors/{registry}", response_model=Mirror, responses={**not_found("mirror"), **INVALID})
def get_mirror(registry: RegistryId, reading: Reading) -> dict[str, Any]:
    """Return how far another registry is mirrored into this one."""
    row = listing.mirror(reading, registry)
    if row is None:
        raise UnknownNameError(registry, "mirror")
    return _document(row)


def _document(row: listing.Row | None) -> dict[str, Any]:
    content = {field: getattr(row, field) for field in Mirror.model_fields}
    # Versions before stored the address as it was given.
    return {**content, "url": without_credentials(content["url"])}
