"""Changes: the feed and the audit."""

import json
import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from anyio import sleep, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.api.answer import json_response
from app.api.container import LOOK_SECONDS, container
from app.api.parameters import narrowing
from app.api.responses import ADMINISTRATION, INVALID, not_found
from app.api.route import Route
from app.api.session import Auditing, Following, FollowSession, Reading
from app.domain.values.document import FaultCode, Place
from app.service.known import UnknownNameError
from app.storage import change, database
from app.wire.base import printable
from app.wire.change import Audit, AuditedChange, Change, ChangeDocument, Feed

router = APIRouter(route_class=Route, tags=["changes"])

MAX_WAIT = 60
_STREAM = "text/event-stream"
# Tests make a second shorter.
_SECOND = 1.0
_HEARTBEAT_SECONDS = 15
_MAX_SEQ = 2**31 - 1
_PAGE = 500

After = Annotated[int, Query(ge=0, le=_MAX_SEQ, description="only entries after this `seq` (in the audit: `id`)")]
Limit = Annotated[int, Query(ge=1, le=1000, description="the maximum number of entries, 1 to 1,000")]


@router.get(
    "/changes",
    response_model=Feed,
    responses={200: {"content": {_STREAM: {"schema": {"type": "string"}}}}, **INVALID},
)
async def list_changes(  # noqa: PLR0913, PLR0917 (the parameters of the query)
    request: Request,
    session: Following,
    after: After = 0,
    limit: Limit = 100,
    wait: Annotated[
        int,
        Query(ge=0, le=MAX_WAIT, description=f"seconds to wait for a change if there is none yet, at most {MAX_WAIT}"),
    ] = 0,
    vendor: Annotated[str | None, narrowing("only changes of names of this vendor"), printable] = None,
    model: Annotated[
        str | None, narrowing("only changes that can change a verdict on this model, and changes of hosts"), printable
    ] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[
        str | None, Header(description="overrides `after`; EventSource sends it when it reconnects")
    ] = None,
) -> Response:
    """List the changes in order and without gaps: publications, additions, states, overrides, hosts.

    With `Accept: text/event-stream`, the response is a stream of server-sent events that continues as changes happen:
    the id of an event is the `seq` of the change, its name is the `kind`.
    """
    filters = {"vendor": vendor, "model": model}
    if accept is not None and accept.partition(",")[0].partition(";")[0].strip() == _STREAM:
        start = _seq(last_event_id) if last_event_id is not None else after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(request, session, start, filters), media_type=_STREAM, headers=headers)
    deadline = time.monotonic() + wait * _SECOND
    head = container(request).head
    while True:
        await session.check()
        feed = await to_thread.run_sync(_page, session.engine, after, limit, filters)
        seen = feed["head"]
        if feed["items"] or time.monotonic() >= deadline:
            return json_response(feed)
        # Poll: other processes write, too, so there is no event to wait for.
        while await head.seq() <= seen and time.monotonic() < deadline:  # noqa: ASYNC110
            await sleep(LOOK_SECONDS)


def _seq(event_id: str) -> int:
    if event_id.isascii() and event_id.isdecimal() and len(event_id) <= len(str(_MAX_SEQ)):
        return min(int(event_id), _MAX_SEQ)
    at = Place()
    at.fault(FaultCode.INVALID_VALUE, "Last-Event-ID must be the seq of a change, a number")
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


async def _events(
    request: Request, session: FollowSession, after: int, filters: dict[str, str | None]
) -> AsyncIterator[bytes]:
    """Iterate over the events while the client is connected and its token is valid."""
    head, sent = container(request).head, time.monotonic()
    yield b": the feed of changes\n\n"
    seen = -1
    while await session.is_valid():
        if await head.seq() > seen or seen < 0:
            feed = await to_thread.run_sync(_page, session.engine, after, _PAGE, filters)
            for item in feed["items"]:
                yield f"id: {item['seq']}\nevent: {item['kind']}\ndata: ".encode() + orjson.dumps(item) + b"\n\n"
            after = feed["items"][-1]["seq"] if feed["items"] else after
            seen = after if feed["next"] is not None else feed["head"]
            sent = time.monotonic() if feed["items"] else sent
        else:
            await sleep(LOOK_SECONDS)
        if time.monotonic() - sent > _HEARTBEAT_SECONDS:
            sent = time.monotonic()
            yield b":\n\n"


@router.get("/changes/{seq}", response_model=ChangeDocument, responses={**not_found("change"), **INVALID})
def get_change(
    seq: Annotated[int, Path(description="the number of the change in the feed, from 1")], reading: Reading
) -> Response:
    """Return a change with the content that it added, as canonical JSON that names contents by digest."""
    rows: Sequence[change.Row] = change.feed(reading, seq - 1, 1) if 0 < seq <= _MAX_SEQ else []
    if not rows or rows[0].seq != seq:
        raise UnknownNameError(str(seq), "change")
    document = change.documents(reading, [seq]).get(seq)
    contents = {} if document is None else change.contents(reading, json.loads(document))
    content = {
        **_item(rows[0]),
        "document": None if document is None else orjson.Fragment(document),
        "contents": {digest: orjson.Fragment(text) for digest, text in contents.items()},
    }
    response = json_response(content)
    response.headers["Cache-Control"] = "max-age=31536000, immutable"
    return response


@router.get("/audit", response_model=Audit, responses={**INVALID, **ADMINISTRATION})
def list_audit(reading: Auditing, after: After = 0, limit: Limit = 100) -> dict[str, Any]:
    """List all changes in order: those of the feed, and those of drafts and tokens."""
    rows = change.audit(reading, after, limit + 1)
    items = [_item(row, AuditedChange.model_fields) for row in rows[:limit]]
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}
