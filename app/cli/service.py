"""profile-registry serve, migrate: running the service."""

from typing import Annotated

import sqlalchemy as sa
import typer
import uvicorn
from pydantic import ValidationError

from app.cli.output import fail, print_line
from app.settings import Settings
from app.storage import database

_GRACE_SECONDS = 10
_KEEP_ALIVE_SECONDS = 75


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1)] = 1,
    *,
    migrate_first: Annotated[
        bool, typer.Option("--migrate/--no-migrate", help="Bring the database's schema up to date first.")
    ] = True,
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = True,
) -> None:
    """Serve the registry, with the settings of the environment (REGISTRY_DATABASE_URL, REGISTRY_ADMIN_TOKEN).

    Example:

        REGISTRY_ADMIN_TOKEN=a-long-secret profile-registry serve --host 0.0.0.0 --workers 2
    """
    if migrate_first:
        _migrate()
    uvicorn.run(
        "app.main:create",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=access_log,
        # Longer than clients keep one: else both close it, and a request is lost in between.
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # Those who follow the feed never end by themselves.
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def migrate() -> None:
    """Bring the schema of the database at REGISTRY_DATABASE_URL up to date.

    Example:

        REGISTRY_DATABASE_URL=postgresql://registry@db/registry profile-registry migrate
    """
    print_line(f"the schema of {_migrate()} is up to date")


def _migrate() -> str:
    try:
        url = Settings().database_url
        engine = database.create_engine(url)
        database.migrate(engine)
        engine.dispose()
    except ValidationError as error:
        fail(f"the settings are not valid:\n{error}")
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_URL: {error}")
    except sa.exc.OperationalError as error:
        fail(f"the database cannot be reached: {error.orig}")
    return sa.make_url(url).render_as_string(hide_password=True)
