"""profile-registry serve, migrate: runs the service and migrates its database."""

import os
import resource
import sqlite3
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import pydantic
import pydantic_settings
import sqlalchemy as sa
import typer
import uvicorn

from app import settings as registry_settings
from app.api import client, connection
from app.cli import listening
from app.cli.output import AsJson, fail, print_json, print_line, warn
from app.domain.values.document import did_you_mean
from app.storage import database
from app.storage import failure as storage_failure
from app.storage import host as storage_host

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# The service ends by itself before.
_MARGIN_SECONDS = 10
_SAFE_LENGTH = 16
_OWN_ADDRESSES = {"127.0.0.1", "::1", "localhost"}
_KEEP_ALIVE_SECONDS = 75
# How long to wait for whoever writes to the database before migrating it.
_WAIT_SECONDS = 60


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
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
    listening.check_free(host, port)
    if not access_log:
        # The worker processes read the settings anew.
        os.environ["REGISTRY_LOG_REQUESTS"] = "false"
    settings = read_settings()
    _warn_of_token(settings, host)
    _check_replica(settings)
    if migrate_first:
        _migrate(settings.database_url)
    else:
        _engine(settings.database_url).dispose()
    # Every client and every connection to the database takes a file descriptor; the limit of a shell is low.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with TemporaryDirectory() if workers > 1 else nullcontext() as folder:
        if folder is not None:
            # The workers share this folder so that each can report the metrics of all.
            os.environ.setdefault(registry_settings.COUNTS_FOLDER, folder)
        if registry_settings.COUNTS_FOLDER in os.environ:
            Path(os.environ[registry_settings.COUNTS_FOLDER]).mkdir(parents=True, exist_ok=True)
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
            http=connection.Connection,
            ws="none",
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=client.with_mapped(settings.trusted_proxies),
            server_header=False,
        )


def migrate(*, as_json: AsJson = False) -> None:
    r"""Migrate the schema of the database at REGISTRY_DATABASE_URL to this version.

    Example:

        REGISTRY_DATABASE_URL=postgresql://registry@db/registry \
          profile-registry migrate
    """
    url, is_newer = _migrate(read_settings().database_url)
    if as_json:
        print_json({"database": url})
        return
    print_line(f"the schema of {url} is {'newer than this version, which fits it' if is_newer else 'up to date'}")


def read_settings() -> "registry_settings.Settings":
    """Return the settings in the environment; print all errors in them and exit if there are any."""
    unknown = [
        f"{name}: unknown setting{did_you_mean(name, known)}"
        for name, known in registry_settings.unknown_variables(os.environ)
    ]
    try:
        settings = registry_settings.Settings()
    except pydantic.ValidationError as error:
        fail("\n".join([*unknown, *map(_error_line, error.errors())]))
    except pydantic_settings.SettingsError as error:
        fail("\n".join([*unknown, str(error)]))
    if unknown:
        fail("\n".join(unknown))
    return settings


def _warn_of_token(settings: "registry_settings.Settings", host: str) -> None:
    """Warn of an admin token that can be guessed, where others than this machine can try."""
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    if 0 < len(token) < _SAFE_LENGTH and host not in _OWN_ADDRESSES:
        warn(
            f"REGISTRY_ADMIN_TOKEN has {len(token)} characters, so it can be guessed; use at least {_SAFE_LENGTH} "
            "random ones."
        )


def _error_line(error: "ErrorDetails") -> str:
    # Pydantic's message counts the length of a secret in items, not characters.
    min_length = error.get("ctx", {}).get("min_length")
    message = error["msg"] if min_length is None else f"must have at least {min_length} characters"
    return f"REGISTRY_{str(error['loc'][0]).upper()}: {message}"


def _check_replica(settings: "registry_settings.Settings") -> None:
    replica = settings.database_replica_url
    if replica is None:
        return
    try:
        database.create_engine(replica).dispose()
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_REPLICA_URL: {error}")
    if settings.database_url.startswith("sqlite"):
        fail("REGISTRY_DATABASE_REPLICA_URL: a replica needs PostgreSQL, but REGISTRY_DATABASE_URL names SQLite")


_ADDRESS = "(REGISTRY_DATABASE_URL sets its address)"


def _engine(url: str) -> "sa.Engine":
    """Return an engine; exit with an error if no database can be there."""
    try:
        return database.create_engine(url)
    except ValueError as error:
        fail(f"REGISTRY_DATABASE_URL: {error}")
    except OSError as error:
        fail(f"the folder of the database cannot be made: {error} {_ADDRESS}")


def _migrate(url: str) -> tuple[str, bool]:
    """Migrate a database; return its URL without the password, and whether a newer version has migrated it already."""
    engine = _engine(url)
    try:
        is_newer = database.migrate(engine, wait_seconds=_WAIT_SECONDS, on_wait=_say_who_writes)
        if not is_newer:
            _file_hosts(engine)
    except (sa.exc.SQLAlchemyError, sqlite3.Error, storage_failure.FailureError) as error:
        failure = storage_failure.failure_of(error)
        if failure is None:
            raise
        report = f" ({failure.report})" if failure.report != failure.words else ""
        fail(f"{failure.words}{report} {_ADDRESS}")
    finally:
        engine.dispose()
    return sa.make_url(url).render_as_string(hide_password=True), is_newer


def _file_hosts(engine: "sa.Engine") -> None:
    """File the hosts that the version before has registered; otherwise the first question about labels waits for it."""
    with database.reading(engine) as connection:
        if storage_host.are_filed(connection):
            return
    try:
        with database.writing(engine, "the registry") as writing:
            storage_host.file_hosts(writing.connection)
    except storage_failure.FailureError as error:
        warn(f"hosts of the version before are not filed yet: {error}")


def _say_who_writes(writer: str) -> None:
    warn(f"waiting up to {_WAIT_SECONDS} s to migrate the database, which is locked by {writer}")
