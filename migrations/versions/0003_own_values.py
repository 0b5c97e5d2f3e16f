"""The table of releases' own values under the profiles on their lists."""

import sqlalchemy as sa
from alembic import op

from migrations.immutable import refuse_changes

revision = "0003"
down_revision = "0002"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
TABLE = "release_own_values"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        TABLE,
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=f"fk_{TABLE}_model_id"),
        sa.ForeignKeyConstraint(["digest"], ["profile_values.digest"], name=f"fk_{TABLE}_digest"),
        sa.ForeignKeyConstraint(
            ["release_id", "profile_id"],
            ["release_profile.release_id", "release_profile.profile_id"],
            name=f"fk_{TABLE}_release_id",
        ),
        sa.PrimaryKeyConstraint("release_id", "profile_id", "model_id", name=f"pk_{TABLE}"),
    )
    refuse_changes(TABLE)


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "this migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
