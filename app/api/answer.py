"""Answers as JSON, written at once: the shapes document them, and tests hold them against the shapes."""

from http import HTTPStatus

import orjson
from fastapi import Response


def json_response(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(content), status, media_type="application/json")
