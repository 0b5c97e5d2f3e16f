"""The application: routes, errors, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import (
    baseline,
    compatibility,
    diff,
    errors,
    health,
    hosts,
    implementations,
    models,
    profiles,
    releases,
    states,
    support_matrix,
    variable_sets,
    vendors,
)
from app.settings import Settings
from app.storage.catalog import Catalog
from app.storage.database import create_engine

_DESCRIPTION = """
The registry of device profiles for VM live migration. Device vendors publish their devices' variables and profiles;
orchestrators ask **POST /compatibility** before they schedule a migration, and get a verdict that is explained, with
the complete configuration for the destination. *Unknown never means compatible.*
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the service; its database is to be migrated before it answers."""
    engine = create_engine(settings.database_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.dispose()

    app = FastAPIOffline(
        title="Device-profile registry",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        strict_content_type=False,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.settings = settings
    app.state.engine = engine
    app.state.catalog = Catalog(engine)
    errors.add_error_handlers(app)
    asking = (compatibility, baseline, diff, support_matrix)
    publishing = (vendors, implementations, releases, variable_sets, models, profiles, states, hosts)
    for module in (*asking, *publishing, health):
        app.include_router(module.router)
    return app
