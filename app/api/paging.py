"""Paging: limit and cursor of a request, items and next cursor of the answer."""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError

from app.storage.listing import Key, Page


class Paging(NamedTuple):
    """The start of a page, and its length."""

    after: Key | None
    limit: int


class _Reader:
    """Reads the parameters of a page; shape: the types of the parts of a cursor."""

    def __init__(self, *shape: type) -> None:
        self._shape = shape

    async def __call__(
        self,
        limit: Annotated[int, Query(ge=1, le=1000, description="the number of items on a page, 1 to 1,000")] = 100,
        cursor: Annotated[str | None, Query(max_length=2000, description="`next` of the previous page; opaque")] = None,
    ) -> Paging:
        return Paging(None if cursor is None else _decoded(cursor, self._shape), limit)


def _decoded(cursor: str, shape: tuple[type, ...]) -> Key:
    key: Any = None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")).decode())
        is_key = isinstance(key, list) and tuple(map(type, key)) == shape
        json.dumps(key, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        is_key = False
    if (
        not is_key
        or any(isinstance(part, str) and "\0" in part for part in key)
        or any(isinstance(part, int) and abs(part) >= 2**31 for part in key)
    ):
        error = {
            "type": "value_error",
            "loc": ("query", "cursor"),
            "msg": "must be `next` of the previous page of this list",
        }
        raise RequestValidationError([error])
    return tuple(key)


def _encoded(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode("ascii")


def cursor(page: Page) -> str | None:
    """Return the cursor of the next page, None on the last page."""
    return _encoded(page.after) if page.after else None


def answer(page: Page, items: Sequence[Any]) -> dict[str, Any]:
    """Return the JSON of a page."""
    return {"items": list(items), "next": cursor(page)}


ByName = Annotated[Paging, Depends(_Reader(str))]
ByTimeAndId = Annotated[Paging, Depends(_Reader(str, str))]
ByNameAndVersion = Annotated[Paging, Depends(_Reader(str, str))]
ByNameAndNumber = Annotated[Paging, Depends(_Reader(str, int))]
