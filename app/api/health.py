"""Health: liveness, readiness and metrics."""

from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import Field

from app.api import metrics
from app.api.container import container
from app.api.errors import STOPPING, busy, unavailable
from app.api.identity import check_reader
from app.api.responses import INVALID, UNAUTHORIZED, UNAVAILABLE
from app.storage.failure import failure_of
from app.wire.base import Shape

router = APIRouter(tags=["health"])


class Health(Shape):
    """The health of the service."""

    status: str = Field(
        description="`ok`; with `for=reading` also `read-only`: questions are answered, and `away`: the database is "
        "away, and memory answers questions"
    )


@router.get("/healthz")
async def get_health() -> Health:
    """Report that the process is alive."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health, responses={**INVALID, **UNAVAILABLE})
async def get_readiness(
    request: Request,
    purpose: Annotated[
        Literal["writing", "reading"],
        Query(
            alias="for",
            description="`reading`: it is enough that questions are answered: the database can be read, even if it "
            "cannot be written, or it is away, and memory answers",
        ),
    ] = "writing",
) -> Response:
    """Report that the database can be read and written, and that its schema fits this version of the service.

    After SIGTERM the service is not ready, so that no new connections are sent to it.

    The `cause` of a 503 says what is wrong; its `can_read` says whether questions are answered.
    """
    shared = container(request)
    if shared.stopping.has_begun:
        raise busy(STOPPING, "stopping")
    if purpose == "reading" and shared.catalog.as_of() is not None:
        return JSONResponse({"status": "away"})
    try:
        failure = await to_thread.run_sync(shared.readiness.wait, limiter=shared.checking)
    except Exception as error:
        shared.catalog.note(error)
        failure = failure_of(error)
        if failure is None or shared.catalog.as_of() is None:
            raise
        if purpose == "reading":
            return JSONResponse({"status": "away"})
    if failure is None:
        return JSONResponse({"status": "ok"})
    if purpose == "reading":
        return JSONResponse({"status": failure.cause.value})
    return unavailable(request, failure, {"can_read": True})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "the metrics in the text format of Prometheus",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        401: UNAUTHORIZED[401],
    },
)
async def get_metrics(request: Request, _: Annotated[None, Depends(check_reader)]) -> Response:
    """Return the metrics: what was counted since the service started, how busy it is, and figures of the registry.

    With several workers, any of them reports the sum of all. This works while the database cannot be reached; what
    comes from the database is then left out.
    """
    shared = container(request)
    shared.measure()
    await shared.gauges.refresh()
    headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
    # In a thread, because it reads files of all workers.
    return Response(await to_thread.run_sync(metrics.text, shared.gauges), headers=headers)
