"""JSON answers; the shapes of the wire document them, and tests compare the two."""

from http import HTTPStatus

import orjson
from fastapi import Response


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(content), status, media_type="application/json")
