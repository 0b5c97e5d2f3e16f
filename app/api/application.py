"""The application: routes, errors, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import sqlalchemy as sa
from anyio import CancelScope, create_task_group, sleep, to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import (
    baseline,
    changes,
    compatibility,
    diff,
    errors,
    health,
    hosts,
    implementations,
    mirrors,
    models,
    profiles,
    releases,
    states,
    support_matrix,
    tokens,
    variable_sets,
    vendors,
)
from app.api.publishing import UNAUTHORIZED, UNAVAILABLE
from app.settings import Settings
from app.storage.catalog import Catalog
from app.storage.database import create_engine
from app.storage.token import Tokens

_NOTING_SECONDS = 1
_DESCRIPTION = """
The registry of device profiles for VM live migration. Device vendors publish their devices' variables and profiles;
orchestrators ask **POST /compatibility** before they schedule a migration, and get a verdict that is explained, with
the complete configuration for the destination. *Unknown never means compatible.*
"""


def create_app(settings: Settings) -> FastAPI:
    """Return the service; its database is to be migrated before it answers."""
    engine = create_engine(settings.database_url)

    known_tokens = Tokens(engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with create_task_group() as beside:
            beside.start_soon(_keep_noting_uses, known_tokens)
            yield
            beside.cancel_scope.cancel()
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
    app.state.tokens = known_tokens
    errors.add_error_handlers(app)
    asking = (compatibility, baseline, diff, support_matrix)
    publishing = (
        vendors,
        implementations,
        releases,
        variable_sets,
        models,
        profiles,
        states,
        hosts,
        changes,
        mirrors,
        tokens,
    )
    for module in (*asking, *publishing):
        app.include_router(module.router, responses={401: UNAUTHORIZED[401], **UNAVAILABLE})
    app.include_router(health.router)
    return app


async def _keep_noting_uses(tokens: Tokens) -> None:
    """Write down every second when tokens were last used; what cannot be written down now is no reason to fail."""
    try:
        while True:
            await sleep(_NOTING_SECONDS)
            with suppress(sa.exc.SQLAlchemyError):
                await to_thread.run_sync(tokens.note_uses)
    finally:
        with CancelScope(shield=True), suppress(sa.exc.SQLAlchemyError):
            await to_thread.run_sync(tokens.note_uses)
