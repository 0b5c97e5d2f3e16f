"""The service as an ASGI application: the API and the web pages."""

import gc
import sys

from fastapi import FastAPI

from app.api.application import create_app
from app.api.observer import log_failures, log_requests
from app.pages.site import add_pages
from app.settings import Settings

_YOUNG_OBJECTS = 50_000
# A thread that answers a long question lets the event loop go on after this time. Python's own is five times as long.
_SWITCH_SECONDS = 0.0005


def create() -> FastAPI:
    """Return the service with settings from the environment: `uvicorn --factory app.main:create`."""
    collect_less_often()
    sys.setswitchinterval(_SWITCH_SECONDS)
    settings = Settings()
    log_failures(as_json=settings.log_format == "json")
    if settings.log_requests:
        log_requests(as_json=settings.log_format == "json")
    return service(settings)


def collect_less_often() -> None:
    """Run the garbage collector less often: a large answer allocates a hundred thousand objects without any cycles."""
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def service(settings: Settings) -> FastAPI:
    """Return the service; migrate its database before it serves requests."""
    app = create_app(settings)
    add_pages(app)
    return app
