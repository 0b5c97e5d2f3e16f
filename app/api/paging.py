"""Pages of lists: limit and cursor of the request, items and next cursor of the answer."""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError

from app.storage.listing import Key, Page


class Paging(NamedTuple):
    """Where a page begins, and how long it is."""

    after: Key | None
    limit: int


class _Reader:
    """Reads the page asked for, of a list whose cursors have one shape."""

    def __init__(self, *shape: type) -> None:
        self._shape = shape

    async def __call__(
        self,
        limit: Annotated[int, Query(ge=1, le=1000, description="items on a page, 1 to 1,000")] = 100,
        cursor: Annotated[
            str | None, Query(max_length=2000, description="`next` of the page before, as it is: it is opaque")
        ] = None,
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
        or any(isinstance(each, str) and "\0" in each for each in key)
        or any(isinstance(each, int) and abs(each) >= 2**31 for each in key)
    ):
        error = {"type": "value_error", "loc": ("query", "cursor"), "msg": "is no cursor of this registry"}
        raise RequestValidationError([error])
    return tuple(key)


def _encoded(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode("ascii")


def cursor(page: Page) -> str | None:
    """Return what the next page is asked for with, None on the last one."""
    return _encoded(page.after) if page.after else None


def answer(page: Page, items: Sequence[Any]) -> dict[str, Any]:
    """Return the JSON of a page."""
    return {"items": list(items), "next": cursor(page)}


ByName = Annotated[Paging, Depends(_Reader(str))]
ByTimeAndId = Annotated[Paging, Depends(_Reader(str, str))]
ByNameAndNumber = Annotated[Paging, Depends(_Reader(str, int))]
