"""The tables of trusted publishers, and of the OIDC tokens that were exchanged.

They only add to the schema, so that the version before still works with it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "trusted_publisher",
        sa.Column("id", NAME, nullable=False),
        sa.Column("vendor", NAME, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trusted_publisher"),
    )
    op.create_index("ix_trusted_publisher_issuer", "trusted_publisher", ["issuer"])
    op.create_table(
        "exchanged_token",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("trusted_publisher_id", NAME, nullable=False),
        sa.Column("token_id", NAME, nullable=False),
        sa.Column("kept_until", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name="fk_exchanged_token_token_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_exchanged_token"),
    )
    op.create_index("ix_exchanged_token_trusted_publisher_id", "exchanged_token", ["trusted_publisher_id"])
    op.create_index("ix_exchanged_token_kept_until", "exchanged_token", ["kept_until"])


def downgrade() -> None:
    """Drop the tables: nobody can publish by a trusted publisher any more."""
    op.drop_table("exchanged_token")
    op.drop_table("trusted_publisher")
