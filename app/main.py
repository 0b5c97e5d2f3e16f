"""The service as an ASGI server starts it."""

from fastapi import FastAPI

from app.api.application import create_app
from app.settings import Settings


def create() -> FastAPI:
    """Return the service with the settings of the environment: `uvicorn --factory app.main:create`."""
    return create_app(Settings())
