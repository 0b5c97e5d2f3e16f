"""profile-registry serve, migrate: running the service."""

import errno
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import sqlalchemy as sa
import typer
import uvicorn
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.cli.output import AsJson, fail, print_json, print_line
from app.settings import COUNTS_FOLDER, Settings
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
    r"""Serve the registry, with the settings of the environment (REGISTRY_DATABASE_URL, REGISTRY_ADMIN_TOKEN).

    Example:

        REGISTRY_ADMIN_TOKEN=a-long-secret \
          profile-registry serve --host 0.0.0.0 --workers 2
    """
    check_free(host, port)
    settings = read_settings()
    _check_replica(settings)
    if migrate_first:
        _migrate(settings.database_url)
    with TemporaryDirectory() if workers > 1 else nullcontext() as folder:
        if folder is not None:
            # What they count is theirs together.
            os.environ.setdefault(COUNTS_FOLDER, folder)
        if COUNTS_FOLDER in os.environ:
            Path(os.environ[COUNTS_FOLDER]).mkdir(parents=True, exist_ok=True)
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


def migrate(*, as_json: AsJson = False) -> None:
    r"""Bring the schema of the database at REGISTRY_DATABASE_URL up to date.

    Example:

        REGISTRY_DATABASE_URL=postgresql://registry@db/registry \
          profile-registry migrate
    """
    url = _migrate(read_settings().database_url)
    if as_json:
        print_json({"database": url})
        return
    print_line(f"the schema of {url} is up to date")


def read_settings() -> Settings:
    """Return the settings of the environment; what is wrong with them ends the command, all at once."""
    try:
        return Settings()
    except ValidationError as error:
        fail("\n".join(map(_said, error.errors())))


def _said(fault: ErrorDetails) -> str:
    # Of a secret the length is counted in items.
    least = fault.get("ctx", {}).get("min_length")
    what = fault["msg"] if least is None else f"has at least {least} characters"
    return f"REGISTRY_{str(fault['loc'][0]).upper()}: {what}"


def check_free(host: str, port: int) -> None:
    """End the command if something listens on the port."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fail(f"{host} cannot be listened on at port {port}: {error.strerror}")
        fail(f"port {port} is in use: name another, --port {port + 1}")


def _check_replica(settings: Settings) -> None:
    replica = settings.database_replica_url
    if replica is None:
        return
    try:
        database.create_engine(replica).dispose()
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_REPLICA_URL: {error}")
    if settings.database_url.startswith("sqlite"):
        fail("REGISTRY_DATABASE_REPLICA_URL: only a PostgreSQL has replicas")


def _migrate(url: str) -> str:
    """Migrate a database; return its URL without the password."""
    try:
        engine = database.create_engine(url)
        database.migrate(engine)
        engine.dispose()
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_URL: {error}")
    except sa.exc.DatabaseError as error:
        fail(f"the database cannot be reached or used: {error.orig} (REGISTRY_DATABASE_URL says where it is)")
    return sa.make_url(url).render_as_string(hide_password=True)
