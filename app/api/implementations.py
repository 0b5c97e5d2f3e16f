"""Implementations: what their releases are held to."""

from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Body, Response

from app.api import examples
from app.api.access import Publishing, Reading
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.parameters import AnyName, NewImplementation
from app.api.publishing import BODY_ERRORS, INVALID, UNAUTHORIZED, UNKNOWN_VENDOR, not_found
from app.api.route import Route
from app.api.wire.implementation import ImplementationDocument, StoredImplementation
from app.domain.evolution import Evolution, numeric
from app.domain.name import is_name, vendor_of
from app.storage import lookup, schema
from app.storage.evolution import evolution_of
from app.storage.publication import set_evolution

router = APIRouter(route_class=Route, tags=["implementations"])


@router.put(
    "/implementations/{implementation:path}",
    status_code=201,
    response_model=StoredImplementation,
    responses={
        200: {"model": StoredImplementation, "description": "they are held to that already"},
        **BODY_ERRORS,
        **UNAUTHORIZED,
        **UNKNOWN_VENDOR,
    },
)
def put_implementation(
    implementation: NewImplementation,
    document: Annotated[
        ImplementationDocument, Body(openapi_examples=examples.example("the strictest", examples.IMPLEMENTATION))
    ],
    session: Publishing,
) -> Response:
    """Set what the releases of an implementation are held to from now on; what is published stays."""
    wanted = Evolution(document.evolution, document.transitive)
    writing = session.of(vendor_of(implementation))
    status = HTTPStatus.CREATED if set_evolution(writing, implementation, wanted) else HTTPStatus.OK
    content = implementation_document(writing.connection, implementation)
    return json_response(content, status)


@router.get(
    "/implementations/{implementation:path}",
    response_model=StoredImplementation,
    responses={**not_found("implementation"), **INVALID},
)
def get_implementation(implementation: AnyName, reading: Reading) -> dict[str, Any]:
    """Return an implementation: its releases, and what they are held to."""
    found = implementation_document(reading, implementation) if is_name(implementation) else None
    if found is None:
        raise unknown(implementation, "implementation")
    return found


def implementation_document(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return an implementation in JSON, its releases by version, None if it is not there."""
    implementation_id = lookup.ids(connection, schema.implementation, [name]).get(name)
    if implementation_id is None:
        return None
    evolution = evolution_of(connection, implementation_id)
    versions = sorted(lookup.versions(connection, implementation_id), key=lambda each: (numeric(each), each))
    return {
        "implementation": name,
        "vendor": vendor_of(name),
        "evolution": evolution.mode.value,
        "transitive": evolution.transitive,
        "releases": [f"{name}@{version}" for version in versions],
    }
