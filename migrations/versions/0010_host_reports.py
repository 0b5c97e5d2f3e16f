"""When each host last reported; programs that do not know the column leave it as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; hosts that are registered already last reported when their registration last changed."""
    op.add_column("host", sa.Column("reported_at", sa.Text(), nullable=True))
    op.execute(
        "UPDATE host SET reported_at = last.at FROM (SELECT name, max(at) AS at FROM change"
        " WHERE kind IN ('host-registered', 'host-changed') GROUP BY name) AS last WHERE last.name = host.name"
    )
    op.create_index("ix_host_reported_at", "host", ["reported_at"])


def downgrade() -> None:
    """Remove the column."""
    op.drop_index("ix_host_reported_at", "host")
    op.drop_column("host", "reported_at")
