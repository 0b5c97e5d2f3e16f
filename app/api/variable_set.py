"""Variable sets: the variables and constraints of a device model in one release."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Body, Response

from app.api import examples, paging
from app.api.answer import json_response, lasting_response
from app.api.parameters import Digest, Override, narrowing
from app.api.responses import INVALID, RELEASE_PUBLICATION, not_found, published
from app.api.route import Route
from app.api.session import Publishing, Reading
from app.domain.things.release import read_variable_set
from app.domain.values.canonical import is_digest
from app.domain.values.document import Place
from app.service.known import UnknownNameError
from app.storage import listing
from app.storage.publication import Gate, publish_release
from app.wire.base import AsDocumented, Page, printable
from app.wire.release import Publication
from app.wire.variable_set import ListedSet, StoredSet, VariableSetDocument

router = APIRouter(route_class=Route, tags=["variable sets"])


@router.post(
    "/variable-sets",
    status_code=201,
    response_model=Publication,
    responses=RELEASE_PUBLICATION,
)
def post_variable_set(
    document: Annotated[
        object,
        AsDocumented(VariableSetDocument),
        Body(openapi_examples=examples.example("one more model of the release", examples.VARIABLE_SET)),
    ],
    session: Publishing,
    override: Override = None,
) -> Response:
    """Publish a variable set: add a device model to a release. A release that does not exist is created.

    The evolution gate checks only this model, because others can follow.
    """
    at = Place()
    session.check_override(override)
    name, read = read_variable_set(document, at)
    outcome = publish_release(session.of(name.vendor), name, read, at, Gate(override, is_whole=False))
    return published(str(name), outcome, dry_run=session.dry_run)


@router.get("/variable-sets", response_model=Page[ListedSet], response_model_exclude_unset=True, responses=INVALID)
def list_variable_sets(
    reading: Reading,
    at: paging.ByName,
    model: Annotated[str | None, narrowing("only sets of this device model"), printable] = None,
    implementation: Annotated[str | None, narrowing("only sets of releases of this implementation"), printable] = None,
    version: Annotated[str | None, narrowing("only sets of releases with this version"), printable] = None,
    variable: Annotated[str | None, narrowing("only sets with this variable"), printable] = None,
) -> Response:
    """List the variable sets by digest, with the releases that have them."""
    filters = {"model": model, "implementation": implementation, "version": version, "variable": variable}
    page = listing.variable_sets(reading, filters, at.after, at.limit)
    releases = listing.releases_with_sets(reading, [row.digest for row in page.rows])
    # Stored documents are canonical JSON: a thousand of them are many megabytes, which need not be parsed.
    items = [
        orjson.Fragment(
            orjson.dumps({"digest": row.digest, "releases": releases[row.digest]})[:-1]
            + b","
            + row.document.encode()[1:]
        )
        for row in page.rows
    ]
    return json_response(paging.answer(page, items))


@router.get("/variable-sets/{digest}", response_model=StoredSet, responses={**not_found("variable-set"), **INVALID})
def get_variable_set(digest: Digest, reading: Reading) -> Response:
    """Return a variable set. The content of a digest never changes."""
    document = listing.variable_set(reading, digest) if is_digest(digest) else None
    if document is None:
        raise UnknownNameError(digest, "variable set")
    content = f'{{"digest":"{digest}",{document[1:]}'
    return lasting_response(content, digest)
