"""Alembic's environment: run the migrations on a given connection, or else on the configured database."""

from alembic import context
from sqlalchemy import Connection

from app.storage.database import create_engine
from app.storage.schema import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


def _main() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    from app.settings import Settings

    with create_engine(Settings().database_url).connect() as own_connection:
        _run(own_connection)


_main()
