"""The application: routes, errors, and what they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from app import VERSION
from app.api import (
    background,
    baseline,
    changes,
    compatibility,
    diff,
    documentation,
    errors,
    health,
    hosts,
    implementations,
    metrics,
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
from app.storage.replica import Databases
from app.storage.token import Tokens

_DESCRIPTION = """
The registry of device profiles for VM live migration. Device vendors publish their devices' variables and profiles;
orchestrators ask **POST /compatibility** before they schedule a migration, and get a verdict that is explained, with
the complete configuration for the destination. *Unknown never means compatible.*

The examples can be tried as they are with the sample that `make run` publishes; those that publish need the vendor
`vendor-a.com` first (PUT /vendors/{vendor}), and a release before a profile for it; those that delete a draft need it
to be published first, the second example there. [The pages](./) show the same to people.

Every error is `application/problem+json` (RFC 9457) with a stable `code`. Beside those listed with each operation:
404 `not-found` for an address that is none, 405 `method-not-allowed` for another method (HEAD among them), and
500 `internal-error` for a fault of the registry itself. Of a GET, `ETag` and `If-None-Match` save what has not changed.
"""
_TAGS = {
    "compatibility": "may a device go there: before a migration is scheduled",
    "fleets": "which settings go everywhere, what differs, which release supports which profile",
    "vendors": "the namespaces",
    "implementations": "products that provide devices, and what their releases are held to",
    "releases": "versions of an implementation: what a host runs",
    "variable sets": "what one release says about one device model",
    "models": "device models, with their variables",
    "profiles": "named sets of variable values",
    "states": "what a change of state would flip",
    "hosts": "what an operator's hosts run",
    "changes": "the feed of all that happens",
    "mirrors": "other registries that are made here, too",
    "tokens": "who may publish and read",
    "health": "alive, ready, measured",
}


def create_app(settings: Settings) -> FastAPI:
    """Return the service; its database is to be migrated before it answers."""
    databases = _databases(settings)
    catalog = Catalog(databases, settings.memory_megabytes)
    known_tokens = Tokens(databases.primary)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with create_task_group() as beside:
            beside.start_soon(background.keep_noting_uses, known_tokens)
            beside.start_soon(background.keep_settling, catalog)
            yield
            beside.cancel_scope.cancel()
        databases.dispose()

    app = FastAPIOffline(
        title="Device-profile registry",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=lifespan,
        strict_content_type=False,
        redoc_url=None,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.databases = databases
    app.state.catalog = catalog
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
    app.include_router(metrics.router)
    app.add_middleware(metrics.Measured)
    documentation.document(app)
    return app


def _operation_id(route: APIRoute) -> str:
    """Return what a generated client calls the operation."""
    return route.name


def _databases(settings: Settings) -> Databases:
    """Return the databases of the settings; raises ValueError for a URL that is none."""
    size, prepares = settings.database_pool_size, settings.database_prepares
    primary, *replica = [
        create_engine(url, pool_size=size, prepares=prepares)
        for url in (settings.database_url, settings.database_replica_url)
        if url is not None
    ]
    return Databases(primary, *replica)
