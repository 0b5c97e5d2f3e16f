"""The order of publication by the feed's seq, and versions in an order that an index has.

Row ids no longer come from sequences, which count in blocks on some servers: the writer takes the next number.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
PUBLISHED = ("release", "profile")
# The tables whose rows only the one writer inserts, and whose ids have to be in the order of commits.
COUNTED = ("implementation", "model", "release", "profile", "change", "evolution_override", "release_draft")


def upgrade() -> None:
    """Add the columns, fill them, and fill them for programs that do not know them."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("release", sa.Column("seq", sa.Integer(), nullable=True))
    op.add_column("release", sa.Column("version_key", NAME, nullable=True))
    op.add_column("profile", sa.Column("seq", sa.Integer(), nullable=True))
    for table in PUBLISHED:
        op.execute(_dropped_trigger(f"{table}_refuses_update", table))
    op.execute(
        "UPDATE release SET seq = coalesce((SELECT min(c.seq) FROM change c"
        " JOIN implementation i ON c.name = i.name || '@' || release.version"
        " WHERE i.id = release.implementation_id AND c.kind = 'release-published'), 0)"
    )
    op.execute(
        "UPDATE profile SET seq = coalesce((SELECT min(c.seq) FROM change c"
        " WHERE c.name = profile.name AND c.kind = 'profile-published'), 0)"
    )
    rows = op.get_bind().execute(sa.text("SELECT id, version FROM release")).all()
    keys = [{"id": row.id, "key": _version_key(row.version)} for row in rows]
    if keys:
        op.get_bind().execute(sa.text("UPDATE release SET version_key = :key WHERE id = :id"), keys)
    op.create_index("ix_release_seq", "release", ["seq"])
    op.create_index("ix_release_implementation_id_version_key", "release", ["implementation_id", "version_key"])
    op.create_index("ix_profile_seq", "profile", ["seq"])
    if is_postgresql:
        _fill_on_postgresql()
    else:
        _fill_on_sqlite()


def _version_key(version: str) -> str:
    """Return the numeric components of a version, each with the number of its digits before it."""
    numbers = (str(int(digits)) for digits in re.findall("[0-9]+", version))
    return "".join(f"{len(number):02}{number}" for number in numbers)


def _dropped_trigger(name: str, table: str) -> str:
    return f"DROP TRIGGER {name}" + (f" ON {table}" if op.get_bind().dialect.name == "postgresql" else "")


def _fill_on_postgresql() -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION fill_seq() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.seq IS NULL THEN NEW.seq := (SELECT coalesce(max(seq), 0) + 1 FROM change); END IF;"
        " RETURN NEW; END $$"
    )
    for table in PUBLISHED:
        op.execute(
            f"CREATE TRIGGER {table}_fills_seq BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fill_seq()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_refuses_update BEFORE UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    for table in COUNTED:
        following = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 (a table above)
        # Volatile: it sees the rows that the same statement has inserted before.
        op.execute(
            f"CREATE OR REPLACE FUNCTION next_{table}_id() RETURNS integer LANGUAGE sql VOLATILE AS '{following}'"
        )
        op.execute(f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT next_{table}_id()")


def _fill_on_sqlite() -> None:
    for table in PUBLISHED:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_update BEFORE UPDATE ON {table} WHEN OLD.seq IS NOT NULL"
            " BEGIN SELECT RAISE(ABORT, 'what is published never changes'); END"
        )
        following = "(SELECT coalesce(max(seq), 0) + 1 FROM change)"
        fill = f"UPDATE {table} SET seq = {following} WHERE id = NEW.id"  # noqa: S608 (a table above)
        op.execute(f"CREATE TRIGGER {table}_fills_seq AFTER INSERT ON {table} WHEN NEW.seq IS NULL BEGIN {fill}; END")


def downgrade() -> None:
    """Remove the columns."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for table in PUBLISHED:
        op.execute(_dropped_trigger(f"{table}_fills_seq", table))
    if is_postgresql:
        op.execute("DROP FUNCTION fill_seq()")
        for table in COUNTED:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT nextval('{table}_id_seq')")
            op.execute(f"SELECT setval('{table}_id_seq', next_{table}_id(), false)")
            op.execute(f"DROP FUNCTION next_{table}_id()")
    else:
        for table in PUBLISHED:
            op.execute(_dropped_trigger(f"{table}_refuses_update", table))
            op.execute(
                f"CREATE TRIGGER {table}_refuses_update BEFORE UPDATE ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'what is published never changes'); END"
            )
    op.drop_index("ix_profile_seq", "profile")
    op.drop_index("ix_release_implementation_id_version_key", "release")
    op.drop_index("ix_release_seq", "release")
    op.drop_column("profile", "seq")
    op.drop_column("release", "version_key")
    op.drop_column("release", "seq")
