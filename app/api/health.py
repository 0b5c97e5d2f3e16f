"""Whether the service is alive, and ready."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import Field

from app.api.access import Probing
from app.api.errors import RETRY_SECONDS, ApiError
from app.api.publishing import UNAVAILABLE
from app.api.wire.base import Shape
from app.storage import database

router = APIRouter(tags=["health"])


class Health(Shape):
    """How the service is."""

    status: str = Field(description="always ok: what is not answers 503, or nothing at all")


@router.get("/healthz")
async def get_health() -> Health:
    """Say that the process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses=UNAVAILABLE)
def get_readiness(reading: Probing) -> Health:
    """Say that the database can be reached and its schema is of this version."""
    if not database.is_migrated(reading):
        message = "the database's schema is of another version: run profile-registry migrate"
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, {"Retry-After": str(RETRY_SECONDS)})
    return Health(status="ok")
