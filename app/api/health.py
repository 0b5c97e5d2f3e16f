"""Health: liveness and readiness."""

from fastapi import APIRouter, Request
from pydantic import Field

from app.api.container import container
from app.api.errors import OTHER_SCHEMA, STOPPING, unavailable
from app.api.responses import UNAVAILABLE
from app.api.session import Probing
from app.storage import database
from app.wire.base import Shape

router = APIRouter(tags=["health"])


class Health(Shape):
    """The health of the service."""

    status: str = Field(description="always `ok`: a service that is not ready answers 503")


@router.get("/healthz")
async def get_health() -> Health:
    """Report that the process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=UNAVAILABLE)
def get_readiness(request: Request, reading: Probing) -> Health:
    """Report that the database can be reached, that its schema has the version of this service, and that it goes on.

    After SIGTERM the service is not ready, so that no new connections are sent to it.
    """
    if container(request).stopping.has_begun:
        raise unavailable(STOPPING)
    if not database.is_migrated(reading):
        raise unavailable(OTHER_SCHEMA)
    return Health(status="ok")
