"""The table that names the oldest program that can use the schema."""

import sqlalchemy as sa
from alembic import op

from migrations.program import needs

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the table. Programs of revision 0006 can use the schema, too: nothing that they use has changed."""
    op.create_table(
        "program",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="single_row"),
        sa.PrimaryKeyConstraint("id", name="pk_program"),
    )
    needs("0006")


def downgrade() -> None:
    """Drop the table; this loses nothing."""
    op.drop_table("program")
