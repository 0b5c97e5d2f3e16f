"""An index to find the models of the changes after one without reading all changes."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_change_model_seq", "change_model", ["seq"])


def downgrade() -> None:
    """Drop the index; this loses no data."""
    op.drop_index("ix_change_model_seq", "change_model")
