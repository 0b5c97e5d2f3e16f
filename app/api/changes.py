"""Changes: the feed of what happened, and the audit."""

import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from anyio import Lock, sleep, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.access import Auditing, Following, FollowSession, Reading, of_app
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.parameters import narrowing
from app.api.publishing import ADMINISTRATION, INVALID, not_found
from app.api.route import Route
from app.api.wire.base import printable
from app.api.wire.change import Audit, AuditedChange, Change, ChangeDocument, Feed
from app.domain.document import FaultCode, Place
from app.storage import change, database

router = APIRouter(route_class=Route, tags=["changes"])

MAX_WAIT = 60
_STREAM = "text/event-stream"
_LOOK_SECONDS = 0.2
# Tests have no time to wait.
_SECOND = 1.0
_HEARTBEAT_SECONDS = 15
_MAX_SEQ = 2**31 - 1
_PAGE = 500

After = Annotated[int, Query(ge=0, le=_MAX_SEQ, description="only what comes behind this seq (of the audit: id)")]
Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many, 1 to 1,000")]


@router.get(
    "/changes",
    response_model=Feed,
    responses={200: {"content": {_STREAM: {"schema": {"type": "string"}}}}, **INVALID},
)
async def list_changes(  # noqa: PLR0913, PLR0917 (what is asked for)
    request: Request,
    session: Following,
    after: After = 0,
    limit: Limit = 100,
    wait: Annotated[
        int,
        Query(
            ge=0, le=MAX_WAIT, description=f"seconds to wait for a change where there is none yet, at most {MAX_WAIT}"
        ),
    ] = 0,
    vendor: Annotated[str | None, narrowing("only changes of its names"), printable] = None,
    model: Annotated[
        str | None, narrowing("only what can change a verdict on it; changes of hosts can"), printable
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[str | None, Header(description="in the place of `after`, as EventSource sends it")] = None,
) -> Response:
    """Return what happened, in order and without gaps: publications, additions, states, overrides, hosts.

    `vendor` leaves out what is not of its names, `model` what cannot change a verdict on the model (hosts stay).
    As server-sent events (`Accept: text/event-stream`) the changes go on as they happen; the id of an event is the
    change's seq, its name the kind.
    """
    filters = {"vendor": vendor, "model": model}
    if accept is not None and accept.partition(",")[0].partition(";")[0].strip() == _STREAM:
        start = _seq(last_event_id) if last_event_id is not None else after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(request, session, start, filters), media_type=_STREAM, headers=headers)
    deadline = time.monotonic() + wait * _SECOND
    head = _head_of(request)
    while True:
        await session.check()
        found = await to_thread.run_sync(_page, session.engine, after, limit, filters)
        seen = found["head"]
        if found["items"] or time.monotonic() >= deadline:
            return json_response(found)
        # What is waited for happens in other processes, too.
        while await head.seq() <= seen and time.monotonic() < deadline:  # noqa: ASYNC110
            await sleep(_LOOK_SECONDS)


def _seq(event_id: str) -> int:
    if event_id.isascii() and event_id.isdecimal() and len(event_id) <= len(str(_MAX_SEQ)):
        return min(int(event_id), _MAX_SEQ)
    at = Place()
    at.fault(FaultCode.INVALID_VALUE, "Last-Event-ID is no seq of a change")
    at.raise_faults()
    return 0


def _page(engine: sa.Engine, after: int, limit: int, filters: dict[str, str | None]) -> dict[str, Any]:
    with database.reading(engine) as connection:
        rows = change.feed(connection, after, limit + 1, **filters)
        head, registry = change.head(connection), change.registry_id(connection)
    items = [_item(row) for row in rows[:limit]]
    return {
        "registry": registry,
        "head": head,
        "items": items,
        "next": items[-1]["seq"] if len(rows) > limit else None,
    }


def _item(row: change.Row, fields: Collection[str] = Change.model_fields) -> dict[str, Any]:
    return {field: getattr(row, field) for field in fields} | {"detail": json.loads(row.detail)}


class _Head:
    """Where the feed ends: one look every moment for all that wait."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._seq = 0
        self._looked = float("-inf")

    async def seq(self) -> int:
        """Return the seq of the last change, as it was at most a moment ago."""
        async with self._lock:
            if time.monotonic() - self._looked >= _LOOK_SECONDS:
                self._seq = await to_thread.run_sync(self._look)
                self._looked = time.monotonic()
        return self._seq

    def _look(self) -> int:
        with database.reading(self._engine) as connection:
            return change.head(connection)


def _head_of(request: Request) -> _Head:
    head: _Head = of_app(request, "head", lambda: _Head(request.app.state.databases.primary))
    return head


async def _events(
    request: Request, session: FollowSession, after: int, filters: dict[str, str | None]
) -> AsyncIterator[bytes]:
    """Iterate over the events as long as the client listens and may read."""
    head, told = _head_of(request), time.monotonic()
    yield b": the feed of changes\n\n"
    seen = -1
    while await session.may_still():
        if await head.seq() > seen or seen < 0:
            found = await to_thread.run_sync(_page, session.engine, after, _PAGE, filters)
            for item in found["items"]:
                yield f"id: {item['seq']}\nevent: {item['kind']}\ndata: ".encode() + orjson.dumps(item) + b"\n\n"
            after = found["items"][-1]["seq"] if found["items"] else after
            seen = after if found["next"] is not None else found["head"]
            told = time.monotonic() if found["items"] else told
        else:
            await sleep(_LOOK_SECONDS)
        if time.monotonic() - told > _HEARTBEAT_SECONDS:
            told = time.monotonic()
            yield b":\n\n"


@router.get("/changes/{seq}", response_model=ChangeDocument, responses={**not_found("change"), **INVALID})
def get_change(seq: Annotated[int, Path(description="its place in the feed, from 1")], reading: Reading) -> Response:
    """Return a change with what it added: canonical JSON whose contents are named by their digests."""
    rows: Sequence[change.Row] = change.feed(reading, seq - 1, 1) if 0 < seq <= _MAX_SEQ else []
    if not rows or rows[0].seq != seq:
        raise unknown(str(seq), "change")
    document = change.documents(reading, [seq]).get(seq)
    contents = {} if document is None else change.contents(reading, json.loads(document))
    content = {
        **_item(rows[0]),
        "document": None if document is None else orjson.Fragment(document),
        "contents": {digest: orjson.Fragment(each) for digest, each in contents.items()},
    }
    response = json_response(content)
    response.headers["Cache-Control"] = "max-age=31536000, immutable"
    return response


@router.get("/audit", response_model=Audit, responses={**INVALID, **ADMINISTRATION})
def list_audit(reading: Auditing, after: After = 0, limit: Limit = 100) -> dict[str, Any]:
    """Return all that happened, in order: the feed, and what it leaves out, drafts and tokens."""
    rows = change.audit(reading, after, limit + 1)
    items = [_item(row, AuditedChange.model_fields) for row in rows[:limit]]
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}
