"""Changes: the feed and the audit."""

import json
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from anyio import sleep, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic.config import JsonDict

from app.api import observer
from app.api.answer import json_response
from app.api.container import LOOK_SECONDS, container
from app.api.identity import Allowed
from app.api.parameters import narrowing
from app.api.responses import ADMINISTRATION, INVALID, not_found
from app.api.route import Route
from app.api.session import Auditing, Following, FollowSession, Reading
from app.domain.values.budget import AbandonedError
from app.domain.values.document import FaultCode, Place
from app.service.known import UnknownNameError
from app.storage import change, database
from app.storage.database import Position
from app.storage.failure import failure_of
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

# A number beyond is no fault, but an unknown change.
_SEQS: JsonDict = {"minimum": 1, "maximum": _MAX_SEQ}
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
    allowed: Allowed,
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
    if vendor is None:
        # One chain links all changes, so those of hosts cannot be left out. A vendor's changes have none.
        allowed.check_hosts()
    filters = {"vendor": vendor, "model": model}
    if accept is not None and accept.partition(",")[0].partition(";")[0].strip() == _STREAM:
        start = _seq(last_event_id) if last_event_id is not None else after
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = _until_failure(request, _events(request, session, start, filters))
        return StreamingResponse(events, media_type=_STREAM, headers=headers)
    deadline = time.monotonic() + wait * _SECOND
    head = container(request).head

    def is_over() -> bool:
        return time.monotonic() >= deadline or session.must_end

    while True:
        await session.check()
        read_at = time.monotonic()
        page = await to_thread.run_sync(_page, session.engine, after, limit, filters)
        if page.items or is_over():
            return json_response(page.document())
        # Poll: other processes write, too, so there is no event to wait for.
        while not await head.is_other_than(page.position, read_at) and not is_over():
            await sleep(LOOK_SECONDS)
            if await request.is_disconnected():
                # It must not keep a place of its client's share.
                raise AbandonedError


def _seq(event_id: str) -> int:
    if event_id.isascii() and event_id.isdecimal() and len(event_id) <= len(str(_MAX_SEQ)):
        return min(int(event_id), _MAX_SEQ)
    at = Place()
    at.fault(FaultCode.INVALID_VALUE, "Last-Event-ID must be the seq of a change, a number")
    at.raise_faults()
    return 0


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of the feed, and the end of the feed when it was read; is_last: nothing comes after it.

    is_continued: the feed still has the position that it is read on from.
    """

    items: list[dict[str, Any]]
    position: Position
    is_last: bool
    is_continued: bool

    def document(self) -> dict[str, Any]:
        """Return the page as JSON."""
        return {
            "registry": self.position.registry,
            "head": self.position.seq,
            "link": self.position.link,
            "items": self.items,
            "next": None if self.is_last else self.items[-1]["seq"],
        }


def _page(
    engine: sa.Engine,
    after: int,
    limit: int,
    filters: Mapping[str, str | None],
    before: Position | None = None,
) -> _Page:
    with database.reading(engine) as connection:
        rows = change.feed(connection, after, limit + 1, **filters)
        is_continued = before is None or change.has(connection, before)
        return _Page(
            [_item(row) for row in rows[:limit]], change.position(connection), len(rows) <= limit, is_continued
        )


def _item(row: change.Row, fields: Collection[str] = Change.model_fields) -> dict[str, Any]:
    return {field: getattr(row, field) for field in fields} | {"detail": json.loads(row.detail)}


async def _until_failure(request: Request, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Iterate over events; at a failure of the database the stream ends, and the client connects again."""
    try:
        async for event in events:
            yield event
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        observer.log_failure(failure, request.state.request_id)


async def _events(
    request: Request, session: FollowSession, after: int, filters: dict[str, str | None]
) -> AsyncIterator[bytes]:
    """Iterate over the events while the client is connected, its token is valid, and the service does not stop.

    The stream ends if the registry was set back: the client then reads the feed again, and compares links.
    """
    head, sent = container(request).head, time.monotonic()
    yield b": the feed of changes\n\n"
    page: _Page | None = None
    read_at = float("-inf")
    while not session.must_end and await session.is_valid():
        if page is None or not page.is_last or await head.is_other_than(page.position, read_at):
            read_at = time.monotonic()
            before = page.position if page else None
            page = await to_thread.run_sync(_page, session.engine, after, _PAGE, filters, before)
            if not page.is_continued:
                return
            for item in page.items:
                yield f"id: {item['seq']}\nevent: {item['kind']}\ndata: ".encode() + orjson.dumps(item) + b"\n\n"
            after = page.items[-1]["seq"] if page.items else after
            sent = time.monotonic() if page.items else sent
        else:
            await sleep(LOOK_SECONDS)
        if time.monotonic() - sent > _HEARTBEAT_SECONDS:
            sent = time.monotonic()
            yield b":\n\n"


@router.get("/changes/{seq}", response_model=ChangeDocument, responses={**not_found("change"), **INVALID})
def get_change(
    seq: Annotated[int, Path(description="the number of the change in the feed, from 1", json_schema_extra=_SEQS)],
    reading: Reading,
    allowed: Allowed,
) -> Response:
    """Return a change with the content that it added, as canonical JSON that names contents by digest."""
    rows: Sequence[change.Row] = change.feed(reading, seq - 1, 1) if 0 < seq <= _MAX_SEQ else []
    if not rows or rows[0].seq != seq:
        raise UnknownNameError(str(seq), "change")
    if rows[0].kind in change.OF_HOSTS:
        allowed.check_hosts()
    document = change.documents(reading, [seq]).get(seq)
    item = _item(rows[0])
    contents = {} if document is None else change.contents(reading, json.loads(document), item["detail"])
    content = {
        **item,
        "document": None if document is None else orjson.Fragment(document),
        "contents": {digest: orjson.Fragment(text) for digest, text in contents.items()},
    }
    # Not immutable: a registry that was set back has another change under this number.
    return json_response(content)


@router.get("/audit", response_model=Audit, responses={**INVALID, **ADMINISTRATION})
def list_audit(reading: Auditing, after: After = 0, limit: Limit = 100) -> dict[str, Any]:
    """List all changes in order: those of the feed, and those of drafts and tokens."""
    rows = change.audit(reading, after, limit + 1)
    items = [_item(row, AuditedChange.model_fields) for row in rows[:limit]]
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}
