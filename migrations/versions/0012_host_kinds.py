"""Kinds of hosts and sets of labels, each stored once, with the number of their hosts.

Programs that do not know them register hosts as before; newer ones file what those have registered (decision 0014).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0012"
down_revision = "0011"

_Name = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
_UNUSED = sa.text("host_count = 0")
_UNFILED = sa.text("filed_at IS NULL OR filed_at <> coalesce(reported_at, '')")

_SQLITE_TRIGGER = """
CREATE TRIGGER host_leaves_group AFTER DELETE ON host WHEN OLD.kind_id IS NOT NULL BEGIN
  UPDATE host_group SET host_count = host_count - 1
    WHERE kind_id = OLD.kind_id AND label_set_id = OLD.label_set_id;
  UPDATE host_kind SET host_count = host_count - 1 WHERE id = OLD.kind_id;
END
"""
# One statement can delete very many hosts: their groups are counted once.
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION host_leaves_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE host_group AS g SET host_count = g.host_count - gone.count
    FROM (SELECT kind_id, label_set_id, count(*) AS count FROM deleted WHERE kind_id IS NOT NULL
          GROUP BY kind_id, label_set_id) AS gone
    WHERE g.kind_id = gone.kind_id AND g.label_set_id = gone.label_set_id;
  UPDATE host_kind AS k SET host_count = k.host_count - gone.count
    FROM (SELECT kind_id, count(*) AS count FROM deleted WHERE kind_id IS NOT NULL GROUP BY kind_id) AS gone
    WHERE k.id = gone.kind_id;
  RETURN NULL;
END $$
"""
_POSTGRESQL_TRIGGER = """
CREATE TRIGGER host_leaves_group AFTER DELETE ON host REFERENCING OLD TABLE AS deleted
  FOR EACH STATEMENT EXECUTE FUNCTION host_leaves_group()
"""


def upgrade() -> None:
    """Create the tables, the columns of hosts, and what counts hosts that are deleted; no host is filed yet."""
    op.create_table(
        "host_kind",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", _Name, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("host_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_host_kind"),
        sa.UniqueConstraint("digest", name="uq_host_kind_digest"),
    )
    op.create_index("ix_host_kind_unused", "host_kind", ["id"], sqlite_where=_UNUSED, postgresql_where=_UNUSED)
    op.create_table(
        "label_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", _Name, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_label_set"),
        sa.UniqueConstraint("digest", name="uq_label_set_digest"),
    )
    op.create_table(
        "label",
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("name", _Name, nullable=False),
        sa.Column("value", _Name, nullable=False),
        sa.ForeignKeyConstraint(["label_set_id"], ["label_set.id"], name="fk_label_label_set_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("label_set_id", "name", name="pk_label"),
    )
    op.create_index("ix_label_name_value", "label", ["name", "value"])
    op.create_table(
        "host_group",
        sa.Column("kind_id", sa.Integer(), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("host_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["kind_id"], ["host_kind.id"], name="fk_host_group_kind_id"),
        sa.ForeignKeyConstraint(["label_set_id"], ["label_set.id"], name="fk_host_group_label_set_id"),
        sa.PrimaryKeyConstraint("kind_id", "label_set_id", name="pk_host_group"),
    )
    op.create_index("ix_host_group_label_set_id", "host_group", ["label_set_id"])
    op.create_index(
        "ix_host_group_unused", "host_group", ["label_set_id"], sqlite_where=_UNUSED, postgresql_where=_UNUSED
    )
    # Columns that refer to other tables are added one by one: SQLite then need not copy the table.
    op.add_column("host", sa.Column("filed_at", sa.Text(), nullable=True))
    op.add_column("host", sa.Column("own", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE host ADD COLUMN kind_id INTEGER CONSTRAINT fk_host_kind_id REFERENCES host_kind (id)")
        op.execute(
            "ALTER TABLE host ADD COLUMN label_set_id INTEGER CONSTRAINT fk_host_label_set_id REFERENCES label_set (id)"
        )
        op.execute(_SQLITE_TRIGGER)
    else:
        op.add_column("host", sa.Column("kind_id", sa.Integer(), nullable=True))
        op.add_column("host", sa.Column("label_set_id", sa.Integer(), nullable=True))
        op.create_foreign_key("fk_host_kind_id", "host", "host_kind", ["kind_id"], ["id"])
        op.create_foreign_key("fk_host_label_set_id", "host", "label_set", ["label_set_id"], ["id"])
        op.execute(_POSTGRESQL_FUNCTION)
        op.execute(_POSTGRESQL_TRIGGER)
    op.create_index("ix_host_kind_id_name_label_set_id", "host", ["kind_id", "name", "label_set_id"])
    op.create_index("ix_host_label_set_id_kind_id_name", "host", ["label_set_id", "kind_id", "name"])
    op.create_index("ix_host_kind_id_reported_at", "host", ["kind_id", "reported_at"])
    op.create_index("ix_host_unfiled", "host", ["filed_at"], sqlite_where=_UNFILED, postgresql_where=_UNFILED)


def downgrade() -> None:
    """Remove them."""
    for index in ("unfiled", "kind_id_reported_at", "label_set_id_kind_id_name", "kind_id_name_label_set_id"):
        op.drop_index(f"ix_host_{index}", "host")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER host_leaves_group")
    else:
        op.execute("DROP TRIGGER host_leaves_group ON host")
        op.execute("DROP FUNCTION host_leaves_group()")
    for column in ("own", "label_set_id", "kind_id", "filed_at"):
        op.drop_column("host", column)
    for name in ("host_group", "label", "label_set", "host_kind"):
        op.drop_table(name)
