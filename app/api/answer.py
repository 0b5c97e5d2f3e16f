"""JSON answers; the shapes of the wire document them, and tests compare the two."""

from http import HTTPStatus

import orjson
from fastapi import Response

from app.domain.values.budget import write


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return a JSON answer."""
    body = orjson.dumps(content)
    write(len(body))
    return Response(body, status, media_type="application/json")


def lasting_response(document: str, digest: str) -> Response:
    """Return a JSON answer that never changes, because it is the content of a digest."""
    headers = {"Cache-Control": "max-age=31536000, immutable", "ETag": f'"{digest}"'}
    return Response(document, media_type="application/json", headers=headers)
