"""What the changes behind one are about is found without a look at all of them."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_change_model_seq", "change_model", ["seq"])


def downgrade() -> None:
    """Drop it: it holds nothing."""
    op.drop_index("ix_change_model_seq", "change_model")
