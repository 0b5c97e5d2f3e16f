"""An index of the changes of each name; programs that do not use it need not know it."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_change_name_seq", "change", ["name", "seq"])


def downgrade() -> None:
    """Remove the index."""
    op.drop_index("ix_change_name_seq", "change")
