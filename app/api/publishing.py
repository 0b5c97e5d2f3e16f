"""What publications answer."""

from http import HTTPStatus
from typing import Any

from fastapi import Response

from app.api.answer import json_response
from app.api.wire.problem import MAX_BROKEN, ErrorShape, broken_document, problem_document
from app.api.wire.release import Publication
from app.storage.outcome import Outcome


def error_response(description: str) -> dict[str, Any]:
    """Return the documentation of an error."""
    return {"model": ErrorShape, "description": description}


def not_found(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of what is not there, of one of these kinds."""
    codes = ", ".join(f"`unknown-{kind}`" for kind in kinds)
    return {404: error_response(f"{codes}: it is not in the registry")}


INVALID: dict[int | str, dict[str, Any]] = {422: error_response("`invalid`: every fault of the request at once")}
UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: error_response("`unavailable`: the database cannot be reached; try again after Retry-After seconds")
}
BODY_ERRORS: dict[int | str, dict[str, Any]] = {
    400: error_response("`malformed-json`: the body is no strict JSON"),
    413: error_response(
        "`too-large`: the body is larger than REGISTRY_MAX_BODY_BYTES, 32 MiB where nothing else is set (changes of a "
        "mirror: 8 times that)"
    ),
    415: error_response("`unsupported-media-type`: the body is not application/json"),
    **INVALID,
    **UNAVAILABLE,
}
UNAUTHORIZED: dict[int | str, dict[str, Any]] = {
    401: error_response("`unauthorized`: no valid token"),
    403: error_response("`forbidden`: the token is valid, but not for this"),
}
PRECONDITION_FAILED: dict[int | str, dict[str, Any]] = {
    412: error_response("`precondition-failed`: it is another than If-Match says")
}
ADMINISTRATION: dict[int | str, dict[str, Any]] = {**UNAUTHORIZED, **UNAVAILABLE}
_NEVER_CHANGES = "what is published never changes; where, say the faults"
UNKNOWN_VENDOR: dict[int | str, dict[str, Any]] = {
    404: error_response("`unknown-vendor`: the vendor of the name is not registered")
}
ENTRY_CHANGED: dict[int | str, dict[str, Any]] = {409: error_response(f"`entry-changed`: {_NEVER_CHANGES}")}
PUBLICATION: dict[int | str, dict[str, Any]] = {
    200: {"model": Publication, "description": "nothing was added"},
    **BODY_ERRORS,
    **UNAUTHORIZED,
    **UNKNOWN_VENDOR,
    **ENTRY_CHANGED,
}
RELEASE_PUBLICATION: dict[int | str, dict[str, Any]] = {
    **PUBLICATION,
    409: error_response(
        f"`entry-changed`, `variable-redefined`: {_NEVER_CHANGES}. "
        "`evolution-gate`: it breaks what earlier releases gave; what, says `broken`"
    ),
}


def published(name: str, outcome: Outcome, *, dry_run: bool) -> Response:
    """Answer a publication: 201 if anything was added, 200 if all was there already."""
    content = publication_document(name, outcome, dry_run=dry_run)
    status = HTTPStatus.CREATED if outcome.added else HTTPStatus.OK
    return json_response(content, status)


def publication_document(name: str, outcome: Outcome, *, dry_run: bool) -> dict[str, Any]:
    """Return in JSON what came of a publication."""
    return {
        "name": name,
        "dry_run": dry_run,
        "added": outcome.added.counts(),
        "not_accepted": [
            {
                "profile": each.profile,
                "model": each.model,
                "problems": [problem_document(problem) for problem in each.problems],
            }
            for each in outcome.not_accepted
        ],
        "overridden": [broken_document(each) for each in outcome.overridden[:MAX_BROKEN]],
        "overridden_count": len(outcome.overridden),
    }
