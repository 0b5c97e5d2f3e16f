"""Create the application: its routes, error handlers and middleware."""

from asyncio import get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group, to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import VERSION
from app.api import (
    background,
    baseline,
    change,
    compatibility,
    diff,
    documentation,
    erratum,
    errors,
    exchange,
    health,
    host,
    implementation,
    inventory,
    mirror,
    model,
    profile,
    release,
    signature,
    state,
    support_matrix,
    token,
    trusted_publisher,
    variable_set,
    vendor,
)
from app.api.container import Container
from app.api.guard import Guarded
from app.api.observer import Observed
from app.api.responses import UNAUTHORIZED, UNAVAILABLE
from app.api.shortcut import Shortcut
from app.settings import Settings

_DESCRIPTION = """
The registry of device profiles for VM live migration. Device vendors publish their devices' variables and profiles;
orchestrators ask **POST /compatibility** before they schedule a migration, and get a verdict that is explained, with
the complete configuration for the destination. *Unknown never means compatible.*

The examples work as they are with the sample that `make run` publishes. Examples that publish need the vendor
`vendor-a.com` first (PUT /vendors/{vendor}), and a release before a profile for it. Examples that delete a draft need
the draft first: publish the second example there. [The pages](./) show the same content to people.

Examples of answers are real ones, recorded from the sample; lists in them are cut after two entries.

Every error is `application/problem+json` (RFC 9457) with a stable `code`. Its `type` is the address of
[the help](./help) on the code. A client that prefers `text/html`, as browsers do, gets errors as pages.

Any operation can also answer
404 `not-found` for an unknown address, 405 `method-not-allowed` for another method, 421 `unknown-host-name` for a name
that is not the service's, 429 `too-many-requests` with `Retry-After` where a client sends more than its share, and
500 `internal-error` for an error of the registry itself. HEAD is allowed wherever GET is. `ETag` and `If-None-Match`
save the transfer of a GET whose answer has not changed.
"""
# The threads of routes and pages; of the pages, those of clients without a token can take about half.
_THREADS = 100
_TAGS = {
    "compatibility": "the question before a migration is scheduled: can these devices move there?",
    "fleets": "baselines, differences and the support matrix",
    "vendors": "the namespaces of names",
    "implementations": "products that provide devices, with the evolution mode of their releases",
    "releases": "versions of an implementation: what a host runs",
    "variable sets": "the variables and constraints of a device model in one release",
    "models": "device models, with their variables",
    "profiles": "named sets of variable values",
    "errata": "what published releases turned out to do wrong",
    "states": "the impact of a change of state: the verdicts that it would flip",
    "hosts": "registered hosts and the releases that they run",
    "changes": "the feed of changes, and the audit",
    "mirrors": "other registries that are mirrored into this one",
    "signatures": "the signed head of the feed, keys, and signed publications",
    "tokens": "tokens to publish and to read with",
    "trusted publishers": "pipelines that publish without a stored token: they exchange the OIDC tokens of their runs",
    "health": "liveness, readiness and metrics",
}


def create_app(settings: Settings) -> FastAPI:
    """Return the service; migrate its database before it serves requests."""
    app = FastAPI(
        title="Device-profile registry",
        version=VERSION,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        strict_content_type=False,
        # documentation serves the document, and the pages show it.
        openapi_url=None,
        # It would redirect to the host that the client names; see errors.
        redirect_slashes=False,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.container = Container.of(settings)
    errors.add_error_handlers(app)
    asking = (compatibility, baseline, diff, support_matrix)
    publishing = (
        vendor,
        implementation,
        release,
        variable_set,
        model,
        profile,
        erratum,
        state,
        host,
        inventory,
        change,
        mirror,
        signature,
        token,
        trusted_publisher,
    )
    for module in (*asking, *publishing):
        app.include_router(module.router, responses={401: UNAUTHORIZED[401], **UNAVAILABLE})
    app.include_router(exchange.router)
    app.include_router(health.router)
    app.add_middleware(Shortcut)
    app.add_middleware(Guarded)
    app.add_middleware(Observed)
    documentation.document(app, settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    settings = container.settings
    container.stopping.listen(get_running_loop(), settings.drain_seconds, settings.grace_seconds)
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    async with create_task_group() as tasks:
        tasks.start_soon(background.keep_noting_uses, container.tokens)
        tasks.start_soon(background.keep_measuring, container)
        tasks.start_soon(background.keep_freezing, container.catalog)
        yield
        tasks.cancel_scope.cancel()
    container.databases.dispose()


def _operation_id(route: APIRoute) -> str:
    """Return the name of the operation in generated clients."""
    return route.name
