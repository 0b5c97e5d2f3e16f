"""profile-registry serve, migrate: runs the service and migrates its database."""

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

from app.api.connection import Connection
from app.cli.output import AsJson, fail, print_json, print_line
from app.settings import COUNTS_FOLDER, Settings
from app.storage import database

_MARGIN_SECONDS = 1
_KEEP_ALIVE_SECONDS = 75


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="The number of worker processes.", min=1)] = 1,
    *,
    migrate_first: Annotated[
        bool, typer.Option("--migrate/--no-migrate", help="Migrate the database's schema first.")
    ] = True,
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = True,
) -> None:
    r"""Serve the registry with the settings in the environment (REGISTRY_DATABASE_URL, REGISTRY_ADMIN_TOKEN).

    Example:

        REGISTRY_ADMIN_TOKEN=a-long-secret \
          profile-registry serve --host 0.0.0.0 --workers 2
    """
    check_free(host, port)
    if not access_log:
        # The worker processes read the settings anew.
        os.environ["REGISTRY_LOG_REQUESTS"] = "false"
    settings = read_settings()
    _check_replica(settings)
    if migrate_first:
        _migrate(settings.database_url)
    with TemporaryDirectory() if workers > 1 else nullcontext() as folder:
        if folder is not None:
            # The workers share this folder so that each can report the metrics of all.
            os.environ.setdefault(COUNTS_FOLDER, folder)
        if COUNTS_FOLDER in os.environ:
            Path(os.environ[COUNTS_FOLDER]).mkdir(parents=True, exist_ok=True)
        uvicorn.run(
            "app.main:create",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            # The service logs requests itself, with their operation, token and id.
            access_log=False,
            # Longer than clients keep connections: if the server closed first, a request in flight could be lost.
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            # The service itself ends requests that take longer than the time of grace.
            timeout_graceful_shutdown=settings.grace_seconds + _MARGIN_SECONDS,
            http=Connection,
            ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            server_header=False,
        )


def migrate(*, as_json: AsJson = False) -> None:
    r"""Migrate the schema of the database at REGISTRY_DATABASE_URL to this version.

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
    """Return the settings in the environment; print all errors in them and exit if there are any."""
    try:
        return Settings()
    except ValidationError as error:
        fail("\n".join(map(_error_line, error.errors())))


def _error_line(error: ErrorDetails) -> str:
    # Pydantic's message counts the length of a secret in items, not characters.
    min_length = error.get("ctx", {}).get("min_length")
    message = error["msg"] if min_length is None else f"must have at least {min_length} characters"
    return f"REGISTRY_{str(error['loc'][0]).upper()}: {message}"


def check_free(host: str, port: int) -> None:
    """Exit with an error if the port is in use."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fail(f"cannot listen on {host}, port {port}: {error.strerror}")
        fail(f"port {port} is in use; choose another, such as --port {port + 1}")


def _check_replica(settings: Settings) -> None:
    replica = settings.database_replica_url
    if replica is None:
        return
    try:
        database.create_engine(replica).dispose()
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_REPLICA_URL: {error}")
    if settings.database_url.startswith("sqlite"):
        fail("REGISTRY_DATABASE_REPLICA_URL: a replica needs PostgreSQL, but REGISTRY_DATABASE_URL names SQLite")


def _migrate(url: str) -> str:
    """Migrate a database; return its URL without the password."""
    try:
        engine = database.create_engine(url)
        database.migrate(engine)
        engine.dispose()
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_URL: {error}")
    except sa.exc.DatabaseError as error:
        fail(f"the database cannot be reached or used: {error.orig} (REGISTRY_DATABASE_URL sets its address)")
    return sa.make_url(url).render_as_string(hide_password=True)
