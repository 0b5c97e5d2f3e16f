"""The service as an ASGI server starts it: the API, and the web pages over it."""

import gc

from fastapi import FastAPI

from app.api.application import create_app
from app.pages.site import add_pages
from app.settings import Settings

_YOUNG_OBJECTS = 50_000


def create() -> FastAPI:
    """Return the service with the settings of the environment: `uvicorn --factory app.main:create`."""
    # A large answer makes a hundred thousand objects, and no garbage that waits to be found.
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    return service(Settings())


def service(settings: Settings) -> FastAPI:
    """Return the service; its database is to be migrated before it answers."""
    app = create_app(settings)
    add_pages(app)
    return app
