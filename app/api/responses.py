"""Responses that several routes share, with their documentation."""

from http import HTTPStatus
from typing import Any

from fastapi import Response

from app.api.answer import json_response
from app.domain.publishing.outcome import Outcome
from app.service.publication import publication_document
from app.wire.problem import ErrorShape
from app.wire.release import Publication


def error_response(description: str) -> dict[str, Any]:
    """Return the documentation of an error response."""
    return {"model": ErrorShape, "description": description}


def not_found(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of 404 for names of these kinds."""
    codes = ", ".join(f"`unknown-{kind}`" for kind in kinds)
    return {404: error_response(f"{codes}: the name is not in the registry")}


INVALID: dict[int | str, dict[str, Any]] = {422: error_response("`invalid`: every fault of the request at once")}
OVER_BUDGET: dict[int | str, dict[str, Any]] = {
    422: error_response(
        "`invalid`: every fault of the request at once. `over-budget`: the question takes too much work, or its answer "
        "is too large; the error says what to ask instead"
    )
}
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: error_response(
        "`unavailable`: the database cannot do its work, `cause` says why; try again after Retry-After seconds"
    )
}
BODY_ERRORS: dict[int | str, dict[str, Any]] = {
    400: error_response("`malformed-json`: the body is not strict JSON"),
    413: error_response(
        "`too-large`: the body is larger than REGISTRY_MAX_BODY_BYTES, 32 MiB by default (changes of a mirror: 8 times "
        "as much)"
    ),
    415: error_response("`unsupported-media-type`: the body is not application/json"),
    **INVALID,
    **UNAVAILABLE,
}
UNAUTHORIZED: dict[int | str, dict[str, Any]] = {
    401: error_response("`unauthorized`: no valid token"),
    403: error_response("`forbidden`: the token does not allow this"),
}
_PUBLISHING: dict[int | str, dict[str, Any]] = {
    403: error_response(
        "`forbidden`: the token does not allow this. `quota-exceeded`: the vendor's publications would take more than "
        "they can"
    )
}
PRECONDITION_FAILED: dict[int | str, dict[str, Any]] = {
    412: error_response("`precondition-failed`: the entry has changed since the ETag in If-Match")
}
ADMINISTRATION: dict[int | str, dict[str, Any]] = {**UNAUTHORIZED, **UNAVAILABLE}
_NEVER_CHANGES = "a published entry would change; the faults say where"
UNKNOWN_VENDOR: dict[int | str, dict[str, Any]] = {
    404: error_response("`unknown-vendor`: the vendor of the name is not registered")
}
ENTRY_CHANGED: dict[int | str, dict[str, Any]] = {409: error_response(f"`entry-changed`: {_NEVER_CHANGES}")}
PUBLICATION: dict[int | str, dict[str, Any]] = {
    200: {"model": Publication, "description": "nothing was added"},
    **BODY_ERRORS,
    **UNAUTHORIZED,
    **_PUBLISHING,
    **UNKNOWN_VENDOR,
    **ENTRY_CHANGED,
}
RELEASE_PUBLICATION: dict[int | str, dict[str, Any]] = {
    **PUBLICATION,
    409: error_response(
        f"`entry-changed`, `variable-redefined`: {_NEVER_CHANGES}. "
        "`evolution-gate`: the release breaks earlier releases; `broken` says which profiles"
    ),
}


def published(name: str, outcome: Outcome, *, dry_run: bool) -> Response:
    """Return the answer to a publication: 201 if something was added, otherwise 200."""
    content = publication_document(name, outcome, dry_run=dry_run)
    status = HTTPStatus.CREATED if outcome.added else HTTPStatus.OK
    return json_response(content, status)
