"""Variable sets: what one release says about one device model."""

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.api import examples, paging
from app.api.access import Publishing, Reading
from app.api.errors import unknown
from app.api.parameters import Override, narrowing
from app.api.publishing import INVALID, RELEASE_PUBLICATION, not_found, published
from app.api.route import Route
from app.api.wire.base import AsDocumented, Page, printable
from app.api.wire.release import Publication
from app.api.wire.variable_set import ListedSet, StoredSet, VariableSetDocument
from app.domain.document import Place
from app.domain.release import read_variable_set
from app.storage import listing
from app.storage.publication import Gate, publish_release

router = APIRouter(route_class=Route, tags=["variable sets"])

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
        Body(openapi_examples=examples.example("another model of the release", examples.VARIABLE_SET)),
    ],
    session: Publishing,
    override: Override = None,
) -> Response:
    """Add a device model to a release, which comes into being with it where it is new.

    The evolution gate looks at this model alone: others may follow.
    """
    at = Place()
    session.check_override(override)
    name, read = read_variable_set(document, at)
    outcome = publish_release(session.of(name.vendor), name, read, at, Gate(override, whole=False))
    return published(str(name), outcome, dry_run=session.dry_run)


@router.get("/variable-sets", response_model=Page[ListedSet], response_model_exclude_unset=True, responses=INVALID)
def list_variable_sets(
    reading: Reading,
    at: paging.ByName,
    model: Annotated[str | None, narrowing("only sets of this device model"), printable] = None,
    implementation: Annotated[str | None, narrowing("only sets that a release of it has"), printable] = None,
    version: Annotated[str | None, narrowing("only sets that a release of this version has"), printable] = None,
    variable: Annotated[str | None, narrowing("only sets that state this variable"), printable] = None,
) -> dict[str, Any]:
    """List the variable sets by digest, with the releases whose they are."""
    filters = {"model": model, "implementation": implementation, "version": version, "variable": variable}
    page = listing.variable_sets(reading, filters, at.after, at.limit)
    releases = listing.releases_with_sets(reading, [row.digest for row in page.rows])
    items = [{"digest": row.digest, "releases": releases[row.digest], **json.loads(row.document)} for row in page.rows]
    return paging.answer(page, items)


@router.get("/variable-sets/{digest}", response_model=StoredSet, responses={**not_found("variable-set"), **INVALID})
def get_variable_set(
    digest: Annotated[str, Path(description="sha256: and 64 hexadecimal digits")], reading: Reading
) -> Response:
    """Return a variable set; what a digest names never changes."""
    document = listing.variable_set(reading, digest) if _DIGEST.fullmatch(digest) else None
    if document is None:
        raise unknown(digest, "variable set")
    content = f'{{"digest":"{digest}",{document[1:]}'
    headers = {"Cache-Control": "max-age=31536000, immutable", "ETag": f'"{digest}"'}
    return Response(content, media_type="application/json", headers=headers)
