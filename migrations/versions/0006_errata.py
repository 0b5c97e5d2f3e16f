"""The tables of errata, of releases' aliases, and of variables that stand for others."""

import sqlalchemy as sa
from alembic import op

from migrations.immutable import refuse_changes

revision = "0006"
down_revision = "0005"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stand_in",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("variable", NAME, nullable=False),
        sa.Column("stands_for", NAME, nullable=False),
        sa.Column("inverted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "vendor_id", "variable"],
            ["statement.model_id", "statement.vendor_id", "statement.variable"],
            name="fk_stand_in_model_id",
        ),
        sa.PrimaryKeyConstraint("model_id", "vendor_id", "variable", name="pk_stand_in"),
    )
    op.create_table(
        "release_alias",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_release_alias_release_id"),
        sa.PrimaryKeyConstraint("release_id", "alias", name="pk_release_alias"),
    )
    op.create_table(
        "erratum",
        sa.Column("id", NAME, nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_erratum_release_id"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_erratum_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_erratum"),
    )
    op.create_index("ix_erratum_release_id", "erratum", ["release_id"])
    op.create_index("ix_erratum_model_id", "erratum", ["model_id"])
    op.create_table(
        "erratum_withdrawal",
        sa.Column("erratum_id", NAME, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["erratum_id"], ["erratum.id"], name="fk_erratum_withdrawal_erratum_id"),
        sa.PrimaryKeyConstraint("erratum_id", name="pk_erratum_withdrawal"),
    )
    for table in ("stand_in", "release_alias", "erratum", "erratum_withdrawal"):
        refuse_changes(table)


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "this migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
