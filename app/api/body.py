"""Request bodies: strict JSON; large ones are parsed in a worker thread."""

import json
import re
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

from anyio import to_thread
from fastapi import Request

from app.api.client import client_of
from app.api.container import container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.presence import unless_gone
from app.domain.values.budget import Budget, limited, spend
from app.wire.base import Shape
from app.wire.reading import read_shape

Read = TypeVar("Read")
Shaped = TypeVar("Shaped", bound=Shape)

# Smaller bodies are read on the event loop: of clients without a token, which can send very many, and with one.
READ_ON_THE_LOOP = (8 * 1024, 64 * 1024)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)


class Defect(StrEnum):
    """What makes a text no strict JSON."""

    SYNTAX = "syntax"
    ENCODING = "encoding"
    DEPTH = "depth"
    DUPLICATE = "duplicate"
    CONSTANT = "constant"
    SURROGATE = "surrogate"


class MalformedError(ApiError):
    """A body that is no strict JSON.

    offset: of the character that breaks the syntax, or of the byte that is not UTF-8; None of other defects.
    """

    def __init__(self, defect: Defect, reason: str, offset: int | None = None) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, ErrorCode.MALFORMED_JSON, f"the body is not valid JSON: {reason}")
        self.defect = defect
        self.words = reason
        self.offset = offset


def parse(body: bytes) -> Any:
    """Parse strict JSON: UTF-8, no duplicate names, no NaN, no lone surrogates. Raises MalformedError."""
    try:
        text = body.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        if _SURROGATE.search(body):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise MalformedError(Defect.DEPTH, "it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise MalformedError(Defect.ENCODING, f"byte {error.start} is not UTF-8", error.start) from None
    except UnicodeEncodeError:
        message = "it has a lone surrogate (\\ud800 to \\udfff), which is not a character"
        raise MalformedError(Defect.SURROGATE, message) from None
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise MalformedError(Defect.SYNTAX, message, error.pos) from None
    except _ConstantError as error:
        raise MalformedError(Defect.CONSTANT, str(error)) from None
    except _DuplicateError as error:
        raise MalformedError(Defect.DUPLICATE, str(error)) from None
    except ValueError as error:
        # A number with more digits than Python converts.
        raise MalformedError(Defect.CONSTANT, str(error)) from None
    return document


class _DuplicateError(ValueError):
    """An object has two entries of one name."""


class _ConstantError(ValueError):
    """A number that JSON does not have."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    spend()
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        duplicate = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        message = f"duplicate name {json.dumps(duplicate)} in an object"
        raise _DuplicateError(message)
    return document


def _refuse_constant(constant: str) -> NoReturn:
    message = f"{constant} is not a JSON value"
    raise _ConstantError(message)


def _too_large(limit: int) -> NoReturn:
    message = f"the body is larger than the limit of {limit:,} bytes"
    raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, ErrorCode.TOO_LARGE, message)


async def shaped(shape: type[Shaped], document: object, request: Request) -> Shaped:
    """Return the document of a request as its shape; a large one is read in a worker thread.

    Raises InvalidShapeError.
    """
    size = len(await request.body())
    return await _read(request, size, partial(read_shape, shape, document, size), goes_on=True)


async def read_in_turn(request: Request, read: Callable[[], Read]) -> Read:
    """Return what is read from the document of a request; a large one is read in a worker thread."""
    return await _read(request, len(await request.body()), read, goes_on=True)


async def _read(request: Request, size: int, read: Callable[[], Read], *, goes_on: bool = False) -> Read:
    """Return what is read from a body; a large one is read in a worker thread, when it is its client's turn.

    goes_on: it is parsed already.
    """
    shared, client = container(request), client_of(request)
    if size <= READ_ON_THE_LOOP[client.has_token]:
        return read()

    async def in_turn() -> Read:
        async with shared.shares.turn_to_parse(client, goes_on=goes_on):
            with limited(Budget(sys.maxsize, sys.maxsize, give_way=shared.give_way(client))):
                return await to_thread.run_sync(read)

    return await unless_gone(request, in_turn)


class JsonRequest(Request):
    """A request whose body is strict JSON, no larger than the limit."""

    async def body(self) -> bytes:
        """Return the body; raises 413 as soon as it is larger than the limit."""
        if not hasattr(self, "_body"):
            limit: int = self.scope["max_body_bytes"]
            announced = self.headers.get("content-length", "")
            size = int(announced) if announced.isdecimal() else 0
            if size > limit:
                _too_large(limit)
            shares, client = container(self).shares, client_of(self)
            if announced.isdecimal() and size <= READ_ON_THE_LOOP[client.has_token]:
                self._body = await self._received(limit, lambda _: None)
            else:
                with shares.receiving(client) as count:
                    self._body = await self._received(limit, count)
        return self._body

    async def _received(self, limit: int, count: Callable[[int], None]) -> bytes:
        body = bytearray()
        async for chunk in self.stream():
            body += chunk
            if len(body) > limit:
                _too_large(limit)
            count(len(chunk))
        return bytes(body)

    async def json(self) -> Any:
        """Return the parsed body; a large one is parsed in a worker thread."""
        body = await self.body()
        return await _read(self, len(body), partial(parse, body))


def check_content_type(content_type: str | None) -> None:
    """Raise 415 for a body with a content type other than JSON."""
    if content_type and not _JSON.fullmatch(content_type.partition(";")[0].strip()):
        message = f"the body must be application/json, not {content_type}"
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
