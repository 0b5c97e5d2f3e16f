"""The tables of states, drafts, the evolution gate and hosts."""

import sqlalchemy as sa
from alembic import op

from migrations.immutable import refuse_changes

revision = "0002"
down_revision = "0001"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
STATES = "state IN ('published', 'deprecated', 'retired')"


def upgrade() -> None:
    """Create the tables; overrides of the evolution gate are immutable, like what is published."""
    for table in ("release", "profile"):
        op.create_table(
            f"{table}_state",
            sa.Column(f"{table}_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("state", sa.Text(), nullable=False),
            sa.CheckConstraint(STATES, name="state"),
            sa.ForeignKeyConstraint([f"{table}_id"], [f"{table}.id"], name=f"fk_{table}_state_{table}_id"),
            sa.PrimaryKeyConstraint(f"{table}_id", name=f"pk_{table}_state"),
        )
    op.create_table(
        "release_draft",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("implementation", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("model_count", sa.Integer(), nullable=False),
        sa.Column("profile_count", sa.Integer(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_release_draft"),
        sa.UniqueConstraint("implementation", "version", name="uq_release_draft_implementation_version"),
    )
    op.create_table(
        "profile_draft",
        sa.Column("name", NAME, nullable=False),
        sa.Column("extends", NAME, nullable=True),
        sa.Column("model_count", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_profile_draft"),
    )
    op.create_table(
        "evolution",
        sa.Column("implementation_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("transitive", sa.Boolean(), nullable=False),
        sa.CheckConstraint("mode IN ('none', 'backward', 'full')", name="mode"),
        sa.ForeignKeyConstraint(["implementation_id"], ["implementation.id"], name="fk_evolution_implementation_id"),
        sa.PrimaryKeyConstraint("implementation_id", name="pk_evolution"),
    )
    op.create_table(
        "evolution_override",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("broken", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_evolution_override_release_id"),
        sa.PrimaryKeyConstraint("id", name="pk_evolution_override"),
    )
    op.create_index("ix_evolution_override_release_id", "evolution_override", ["release_id"])
    op.create_table(
        "host",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_host"),
        sa.UniqueConstraint("name", name="uq_host_name"),
    )
    op.create_table(
        "host_label",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", NAME, nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name="fk_host_label_host_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host_id", "name", name="pk_host_label"),
    )
    op.create_index("ix_host_label_name_value", "host_label", ["name", "value"])
    refuse_changes("evolution_override")


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "this migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
