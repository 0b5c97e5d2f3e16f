"""Whether the service is alive, and ready."""

from fastapi import APIRouter
from pydantic import Field

from app.api.access import Probing
from app.api.errors import OTHER_SCHEMA, unavailable
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
        raise unavailable(OTHER_SCHEMA)
    return Health(status="ok")
