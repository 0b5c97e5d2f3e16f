"""The version of the schema: which one a database has, and whether this program fits it.

A migration expands the schema, and a later version contracts it, so that two neighbouring versions serve one database.
The schema names the oldest version that can still use it (the table `program`); a program that meets a schema newer
than itself can thereby tell whether it fits.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.storage import schema
from app.storage.failure import Cause, FailureError, failure_of

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has the migrations in the package, a checkout next to it.
_MIGRATIONS = next(folder for folder in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations") if folder.is_dir())
_VERSION = sa.text("SELECT version_num FROM alembic_version")


def alembic_config() -> Config:
    """Return the configuration of Alembic."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Return the revisions of the schema that this program knows, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())


@dataclass(frozen=True, slots=True)
class Fit:
    """How the schema of a database fits this program.

    revision: of the database, None if it has none. oldest: what a schema that this program does not know says about
    the oldest program that can use it; None if it says nothing.
    """

    revision: str | None
    oldest: str | None = None

    @property
    def is_older(self) -> bool:
        """Whether the schema has to be migrated for this program."""
        return self.revision is None or self.revision in revisions()[1:]

    @property
    def is_newer(self) -> bool:
        """Whether a newer program has migrated the schema."""
        return self.revision is not None and self.revision not in revisions()

    def check(self) -> None:
        """Raise FailureError if this program cannot use the schema."""
        newest = revisions()[0]
        if self.revision is None:
            message = "The database has no schema yet: run profile-registry migrate."
        elif self.is_older:
            message = (
                f"The schema of the database has revision {self.revision}, and this version of the registry needs "
                f"{newest}: run profile-registry migrate."
            )
        elif self.is_newer and self.oldest not in revisions():
            message = (
                f"The schema of the database has revision {self.revision}, of a newer version of the registry, and "
                f"this version knows revisions up to {newest}: start the newer version."
            )
        else:
            return
        raise FailureError(Cause.SCHEMA, message)


def fit(connection: sa.Connection) -> Fit:
    """Return how the schema of a database fits this program."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return Fit(None)
    revision = connection.execute(_VERSION).scalar()
    if revision is None or revision in revisions():
        return Fit(revision)
    oldest = None
    if sa.inspect(connection).has_table(schema.program.name):
        oldest = connection.execute(sa.select(schema.program.c.oldest)).scalar()
    return Fit(revision, oldest)


def check(connection: sa.Connection) -> None:
    """Raise FailureError if this program cannot use the schema; a single query where it has this program's revision."""
    try:
        revision = connection.execute(_VERSION).scalar()
    except sa.exc.DBAPIError as error:
        refuse_missing(error)
        raise
    if revision != revisions()[0]:
        fit(connection).check()


def refuse_missing(error: sa.exc.DBAPIError) -> None:
    """Raise FailureError if a statement has failed because the database has no schema."""
    failure = failure_of(error)
    if failure is not None and failure.cause is Cause.SCHEMA:
        Fit(None).check()
