"""Implementations, with the evolution mode of their releases."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples
from app.api.answer import json_response
from app.api.parameters import AnyName, NewImplementation
from app.api.responses import BODY_ERRORS, INVALID, UNAUTHORIZED, UNKNOWN_VENDOR, not_found
from app.api.route import Route
from app.api.session import Publishing, Reading
from app.domain.publishing.gate import Evolution
from app.domain.values.name import is_name, vendor_of
from app.service.implementation import implementation_document
from app.service.known import UnknownNameError
from app.storage.evolution import evolution_named
from app.storage.publication import set_evolution
from app.wire.implementation import ImplementationDocument, StoredImplementation
from app.wire.reading import InPieces

router = APIRouter(route_class=Route, tags=["implementations"])


@router.put(
    "/implementations/{implementation:path}",
    status_code=201,
    response_model=StoredImplementation,
    responses={
        200: {"model": StoredImplementation, "description": "this evolution mode was already set"},
        **BODY_ERRORS,
        **UNAUTHORIZED,
        **UNKNOWN_VENDOR,
    },
)
def put_implementation(
    implementation: NewImplementation,
    document: Annotated[
        ImplementationDocument,
        InPieces(),
        Body(openapi_examples=examples.example("the strictest mode", examples.IMPLEMENTATION)),
    ],
    session: Publishing,
) -> Response:
    """Set the evolution mode of an implementation, for its next releases. Published releases stay.

    A publisher can tighten the gate; loosening it (`backward` from `full`, `none`, `transitive` off) needs an admin.
    """
    evolution = Evolution(document.evolution, document.transitive)
    writing = session.of(vendor_of(implementation))
    if evolution.is_looser_than(evolution_named(writing.connection, implementation)):
        session.check_admin("Loosening the evolution gate needs an admin token; tightening it is the publisher's.")
    status = HTTPStatus.CREATED if set_evolution(writing, implementation, evolution) else HTTPStatus.OK
    content = implementation_document(writing.connection, implementation)
    return json_response(content, status)


@router.get(
    "/implementations/{implementation:path}",
    response_model=StoredImplementation,
    responses={**not_found("implementation"), **INVALID},
)
def get_implementation(implementation: AnyName, reading: Reading) -> dict[str, Any]:
    """Return an implementation: its releases and its evolution mode."""
    document = implementation_document(reading, implementation) if is_name(implementation) else None
    if document is None:
        raise UnknownNameError(implementation, "implementation")
    return document
