"""The tables of the registry: vendors, models, releases, variable sets and profiles, with their triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
IMMUTABLE = (
    "model",
    "statement",
    "off_value",
    "implementation",
    "release",
    "variable_set",
    "release_model",
    "profile",
    "profile_values",
    "profile_entry",
    "profile_list",
    "release_profile",
)


def upgrade() -> None:
    """Create the tables, and the triggers that keep published rows from being changed or deleted."""
    op.create_table(
        "profile_values",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_profile_values"),
    )
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="single_row"),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
    )
    op.create_table(
        "vendor",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_vendor"),
        sa.UniqueConstraint("name", name="uq_vendor_name"),
    )
    op.create_table(
        "implementation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_implementation_vendor_id"),
        sa.PrimaryKeyConstraint("id", name="pk_implementation"),
        sa.UniqueConstraint("name", name="uq_implementation_name"),
    )
    op.create_index("ix_implementation_vendor_id", "implementation", ["vendor_id"])

    op.create_table(
        "model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_model_vendor_id"),
        sa.PrimaryKeyConstraint("id", name="pk_model"),
        sa.UniqueConstraint("name", name="uq_model_name"),
    )
    op.create_index("ix_model_vendor_id", "model", ["vendor_id"])

    op.create_table(
        "profile",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("extends_id", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["extends_id"], ["profile.id"], name="fk_profile_extends_id"),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_profile_vendor_id"),
        sa.PrimaryKeyConstraint("id", name="pk_profile"),
        sa.UniqueConstraint("name", name="uq_profile_name"),
    )
    op.create_index("ix_profile_extends_id", "profile", ["extends_id"])
    op.create_index("ix_profile_vendor_id", "profile", ["vendor_id"])

    op.create_table(
        "profile_entry",
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("own_digest", NAME, nullable=False),
        sa.Column("resolved_digest", NAME, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_profile_entry_model_id"),
        sa.ForeignKeyConstraint(["own_digest"], ["profile_values.digest"], name="fk_profile_entry_own_digest"),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name="fk_profile_entry_profile_id"),
        sa.ForeignKeyConstraint(
            ["resolved_digest"], ["profile_values.digest"], name="fk_profile_entry_resolved_digest"
        ),
        sa.PrimaryKeyConstraint("profile_id", "model_id", name="pk_profile_entry"),
    )
    op.create_index("ix_profile_entry_model_id", "profile_entry", ["model_id"])

    op.create_table(
        "release",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("implementation_id", sa.Integer(), nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["implementation_id"], ["implementation.id"], name="fk_release_implementation_id"),
        sa.PrimaryKeyConstraint("id", name="pk_release"),
        sa.UniqueConstraint("implementation_id", "version", name="uq_release_implementation_id_version"),
    )
    op.create_table(
        "statement",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("variable", NAME, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.CheckConstraint("type IN ('bool', 'int', 'str')", name="type"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_statement_model_id"),
        sa.ForeignKeyConstraint(["vendor_id"], ["vendor.id"], name="fk_statement_vendor_id"),
        sa.PrimaryKeyConstraint("model_id", "vendor_id", "variable", name="pk_statement"),
    )
    op.create_index("ix_statement_variable", "statement", ["variable"])

    op.create_table(
        "variable_set",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_variable_set_model_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_variable_set"),
        sa.UniqueConstraint("model_id", "digest", name="uq_variable_set_model_id_digest"),
    )
    op.create_table(
        "off_value",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("vendor_id", sa.Integer(), nullable=False),
        sa.Column("variable", NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "vendor_id", "variable"],
            ["statement.model_id", "statement.vendor_id", "statement.variable"],
            name="fk_off_value_model_id_vendor_id_variable",
        ),
        sa.PrimaryKeyConstraint("model_id", "vendor_id", "variable", name="pk_off_value"),
    )
    op.create_table(
        "profile_list",
        sa.Column("release_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_profile_list_release_id"),
        sa.PrimaryKeyConstraint("release_id", name="pk_profile_list"),
    )
    op.create_table(
        "release_digest",
        sa.Column("release_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_release_digest_release_id"),
        sa.PrimaryKeyConstraint("release_id", name="pk_release_digest"),
    )
    op.create_table(
        "release_model",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "digest"],
            ["variable_set.model_id", "variable_set.digest"],
            name="fk_release_model_model_id_digest",
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_release_model_model_id"),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name="fk_release_model_release_id"),
        sa.PrimaryKeyConstraint("release_id", "model_id", name="pk_release_model"),
    )
    op.create_index("ix_release_model_model_id_digest", "release_model", ["model_id", "digest"])

    op.create_table(
        "release_profile",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name="fk_release_profile_profile_id"),
        sa.ForeignKeyConstraint(["release_id"], ["profile_list.release_id"], name="fk_release_profile_release_id"),
        sa.PrimaryKeyConstraint("release_id", "profile_id", name="pk_release_profile"),
    )
    op.create_index("ix_release_profile_profile_id", "release_profile", ["profile_id"])
    op.execute("INSERT INTO revision (id, number) VALUES (1, 0)")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'what is published never changes: %', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    for table in IMMUTABLE:
        _refuse(table, "UPDATE")
        _refuse(table, "DELETE")
    _refuse("vendor", "UPDATE OF name")
    _refuse("vendor", "DELETE")

    if op.get_bind().dialect.name == "postgresql":
        for table in (*IMMUTABLE, "vendor"):
            _refuse(table, "TRUNCATE")


def _refuse(table: str, event: str) -> None:
    create = f"CREATE TRIGGER {table}_refuses_{event.split(maxsplit=1)[0].lower()} BEFORE {event} ON {table}"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"{create} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")
    else:
        op.execute(f"{create} BEGIN SELECT RAISE(ABORT, 'what is published never changes'); END")


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "the first migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
