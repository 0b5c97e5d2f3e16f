"""The tables of vendors' keys and of signed publications; programs that do not know them ignore them."""

import sqlalchemy as sa
from alembic import op

from migrations.immutable import refuse_changes

revision = "0009"
down_revision = "0008"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "vendor_key",
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_vendor_key_vendor_id"),
        sa.PrimaryKeyConstraint("vendor_id", "id", name="pk_vendor_key"),
    )
    op.create_table(
        "vendor_key_revocation",
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("key_id", NAME, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vendor_id", "key_id"],
            ["vendor_key.vendor_id", "vendor_key.id"],
            name="fk_vendor_key_revocation_vendor_id_key_id",
        ),
        sa.PrimaryKeyConstraint("vendor_id", "key_id", name="pk_vendor_key_revocation"),
    )
    op.create_table(
        "vendor_signing",
        sa.Column("vendor_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_required", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_vendor_signing_vendor_id"),
        sa.PrimaryKeyConstraint("vendor_id", name="pk_vendor_signing"),
    )
    op.create_table(
        "envelope",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("payload_digest", NAME, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("signers", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_envelope"),
    )
    op.create_index("ix_envelope_payload_digest", "envelope", ["payload_digest"])
    op.create_table(
        "envelope_entry",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.CheckConstraint("subject IN ('release', 'profile')", name="ck_envelope_entry_subject"),
        sa.ForeignKeyConstraint(["digest"], ["envelope.digest"], name="fk_envelope_entry_digest"),
        sa.PrimaryKeyConstraint("subject", "name", "digest", name="pk_envelope_entry"),
    )
    op.create_index("ix_envelope_entry_digest", "envelope_entry", ["digest"])
    for table in ("vendor_key", "vendor_key_revocation", "envelope", "envelope_entry"):
        refuse_changes(table)


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "this migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
