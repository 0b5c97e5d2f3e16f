"""The tables. Triggers in the database refuse to change or delete rows of what is published."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TEXT as POSTGRESQL_TEXT

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Names sort by code point on both databases, so that a page ends at the same place on both.
Name = Text().with_variant(POSTGRESQL_TEXT(collation="C"), "postgresql")

vendor = Table(
    "vendor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("title", Text),
    Column("url", Text),
)

model = Table(
    "model",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("vendor_id", ForeignKey("vendor.id"), nullable=False, index=True),
    Column("name", Name, nullable=False, unique=True),
)

statement = Table(
    "statement",
    metadata,
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("vendor_id", ForeignKey("vendor.id"), nullable=False),
    Column("variable", Name, nullable=False, index=True),
    Column("type", Text, CheckConstraint("type IN ('bool', 'int', 'str')", name="type"), nullable=False),
    PrimaryKeyConstraint("model_id", "vendor_id", "variable"),
)

off_value = Table(
    "off_value",
    metadata,
    Column("model_id", Integer, nullable=False),
    Column("vendor_id", Integer, nullable=False),
    Column("variable", Name, nullable=False),
    Column("value", Text, nullable=False),  # JSON
    PrimaryKeyConstraint("model_id", "vendor_id", "variable"),
    ForeignKeyConstraint(
        ["model_id", "vendor_id", "variable"], ["statement.model_id", "statement.vendor_id", "statement.variable"]
    ),
)

# Variables that stand for other variables: renamed, or also inverted.
stand_in = Table(
    "stand_in",
    metadata,
    Column("model_id", Integer, nullable=False),
    Column("vendor_id", Integer, nullable=False),
    Column("variable", Name, nullable=False),
    Column("stands_for", Name, nullable=False),
    Column("inverted", Boolean, nullable=False),
    PrimaryKeyConstraint("model_id", "vendor_id", "variable"),
    ForeignKeyConstraint(
        ["model_id", "vendor_id", "variable"], ["statement.model_id", "statement.vendor_id", "statement.variable"]
    ),
)

implementation = Table(
    "implementation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("vendor_id", ForeignKey("vendor.id"), nullable=False, index=True),
    Column("name", Name, nullable=False, unique=True),
)

release = Table(
    "release",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("implementation_id", ForeignKey("implementation.id"), nullable=False),
    Column("version", Name, nullable=False),
    Column("description", Text),
    # Of the change that published it: the order of publication (DESIGN 8).
    Column("seq", Integer, index=True),
    # Sorts as versions are compared (DESIGN 5); null: published by a program that does not know the column.
    Column("version_key", Name),
    UniqueConstraint("implementation_id", "version"),
    Index("ix_release_implementation_id_version_key", "implementation_id", "version_key"),
)

variable_set = Table(
    "variable_set",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("document", Text, nullable=False),  # canonical JSON
    UniqueConstraint("model_id", "digest"),
)

release_model = Table(
    "release_model",
    metadata,
    Column("release_id", ForeignKey("release.id"), nullable=False),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("digest", Name, nullable=False),
    PrimaryKeyConstraint("release_id", "model_id"),
    Index("ix_release_model_model_id_digest", "model_id", "digest"),
    ForeignKeyConstraint(["model_id", "digest"], ["variable_set.model_id", "variable_set.digest"]),
)

profile = Table(
    "profile",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("vendor_id", ForeignKey("vendor.id"), nullable=False, index=True),
    Column("name", Name, nullable=False, unique=True),
    Column("extends_id", ForeignKey("profile.id"), index=True),
    Column("description", Text),
    # Of the change that published it.
    Column("seq", Integer, index=True),
)

profile_values = Table(
    "profile_values",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("document", Text, nullable=False),  # canonical JSON
)

profile_entry = Table(
    "profile_entry",
    metadata,
    Column("profile_id", ForeignKey("profile.id"), nullable=False),
    Column("model_id", ForeignKey("model.id"), nullable=False, index=True),
    Column("own_digest", ForeignKey("profile_values.digest"), nullable=False),
    Column("resolved_digest", ForeignKey("profile_values.digest"), nullable=False),
    PrimaryKeyConstraint("profile_id", "model_id"),
)

# A release without a row here has no list of profiles; with one, its list is its rows in release_profile.
profile_list = Table(
    "profile_list", metadata, Column("release_id", ForeignKey("release.id"), primary_key=True, autoincrement=False)
)

release_profile = Table(
    "release_profile",
    metadata,
    Column("release_id", ForeignKey("profile_list.release_id"), nullable=False),
    Column("profile_id", ForeignKey("profile.id"), nullable=False, index=True),
    PrimaryKeyConstraint("release_id", "profile_id"),
)

# The values that a release gives a model under a listed profile, where they differ from the profile's own.
release_own_values = Table(
    "release_own_values",
    metadata,
    Column("release_id", Integer, nullable=False),
    Column("profile_id", Integer, nullable=False),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("digest", ForeignKey("profile_values.digest"), nullable=False),
    PrimaryKeyConstraint("release_id", "profile_id", "model_id"),
    ForeignKeyConstraint(["release_id", "profile_id"], ["release_profile.release_id", "release_profile.profile_id"]),
)

# Other names that a release's devices can give for profiles and models.
release_alias = Table(
    "release_alias",
    metadata,
    Column("release_id", ForeignKey("release.id"), nullable=False),
    Column("alias", Name, nullable=False),
    Column("target", Name, nullable=False),
    PrimaryKeyConstraint("release_id", "alias"),
)

# What releases turned out to do wrong; id: from the digest of the document.
erratum = Table(
    "erratum",
    metadata,
    Column("id", Name, primary_key=True),
    Column("release_id", ForeignKey("release.id"), nullable=False, index=True),
    Column("model_id", ForeignKey("model.id"), nullable=False, index=True),
    Column("at", Text, nullable=False),  # ISO 8601, UTC, like the times below
    Column("document", Text, nullable=False),  # canonical JSON
)
erratum_withdrawal = Table(
    "erratum_withdrawal",
    metadata,
    Column("erratum_id", ForeignKey("erratum.id"), primary_key=True),
    Column("at", Text, nullable=False),
)

# The digests of whole releases and profiles, updated with every addition.
release_digest = Table(
    "release_digest",
    metadata,
    Column("release_id", ForeignKey("release.id"), primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
)
profile_digest = Table(
    "profile_digest",
    metadata,
    Column("profile_id", ForeignKey("profile.id"), primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
)

# The states of releases and profiles that were changed after publication; without a row: published.
STATES = "state IN ('published', 'deprecated', 'retired')"
release_state = Table(
    "release_state",
    metadata,
    Column("release_id", ForeignKey("release.id"), primary_key=True, autoincrement=False),
    Column("state", Text, CheckConstraint(STATES, name="state"), nullable=False),
)
profile_state = Table(
    "profile_state",
    metadata,
    Column("profile_id", ForeignKey("profile.id"), primary_key=True, autoincrement=False),
    Column("state", Text, CheckConstraint(STATES, name="state"), nullable=False),
)

# Drafts, kept apart from what is published. Publishing a draft publishes its document.
release_draft = Table(
    "release_draft",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("implementation", Name, nullable=False),
    Column("version", Name, nullable=False),
    Column("digest", Text, nullable=False),
    Column("model_count", Integer, nullable=False),
    Column("profile_count", Integer),
    Column("document", Text, nullable=False),  # JSON
    UniqueConstraint("implementation", "version"),
)
profile_draft = Table(
    "profile_draft",
    metadata,
    Column("name", Name, primary_key=True),
    Column("extends", Name),
    Column("model_count", Integer, nullable=False),
    Column("document", Text, nullable=False),  # JSON
)

# What the evolution gate requires of an implementation's releases; without a row: the defaults of Evolution.
evolution = Table(
    "evolution",
    metadata,
    Column("implementation_id", ForeignKey("implementation.id"), primary_key=True, autoincrement=False),
    Column("mode", Text, CheckConstraint("mode IN ('none', 'backward', 'full')", name="mode"), nullable=False),
    Column("transitive", Boolean, nullable=False),
)

# Releases that were published although the evolution gate refused them, and the reason.
evolution_override = Table(
    "evolution_override",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("release_id", ForeignKey("release.id"), nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),  # ISO 8601, UTC
    Column("broken", Text, nullable=False),  # JSON
)

# What hosts state, each kind once (DESIGN 6). What a host alone states, the ids and free places of its units, is in
# host.own. host_count: how many hosts are of the kind.
host_kind = Table(
    "host_kind",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Name, nullable=False, unique=True),
    Column("document", Text, nullable=False),  # canonical JSON
    Column("host_count", Integer, nullable=False),
    Index("ix_host_kind_unused", "id", sqlite_where=text("host_count = 0"), postgresql_where=text("host_count = 0")),
)

# The sets of labels that hosts have, each once. digest: of the labels.
label_set = Table(
    "label_set",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Name, nullable=False, unique=True),
)
label = Table(
    "label",
    metadata,
    Column("label_set_id", ForeignKey("label_set.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("value", Name, nullable=False),
    PrimaryKeyConstraint("label_set_id", "name"),
    Index("ix_label_name_value", "name", "value"),
)

# How many hosts of a kind have a set of labels. A trigger counts hosts that are deleted.
host_group = Table(
    "host_group",
    metadata,
    Column("kind_id", ForeignKey("host_kind.id"), nullable=False),
    Column("label_set_id", ForeignKey("label_set.id"), nullable=False, index=True),
    Column("host_count", Integer, nullable=False),
    PrimaryKeyConstraint("kind_id", "label_set_id"),
    Index(
        "ix_host_group_unused",
        "label_set_id",
        sqlite_where=text("host_count = 0"),
        postgresql_where=text("host_count = 0"),
    ),
)

# Registered by an operator; hosts can be changed and deleted. What a host states is filed under a kind and a set of
# labels. The version before writes document, host_label and reported_at alone, so that filed_at tells whether a host
# still has to be filed (decision 0014).
UNFILED = "filed_at IS NULL OR filed_at <> coalesce(reported_at, '')"
host = Table(
    "host",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("document", Text, nullable=False),  # canonical JSON: what it states, apart from its labels
    # ISO 8601, UTC; null: registered by a program that does not know the column
    Column("reported_at", Text, index=True),
    Column("filed_at", Text),
    Column("kind_id", ForeignKey("host_kind.id")),
    Column("label_set_id", ForeignKey("label_set.id")),
    Column("own", Text),  # canonical JSON: the id and the free places of each unit; null: it has no units
    Index("ix_host_kind_id_name_label_set_id", "kind_id", "name", "label_set_id"),
    Index("ix_host_label_set_id_kind_id_name", "label_set_id", "kind_id", "name"),
    Index("ix_host_kind_id_reported_at", "kind_id", "reported_at"),
    Index(
        "ix_host_unfiled",
        "filed_at",
        sqlite_where=text(UNFILED),
        postgresql_where=text(UNFILED),
    ),
)
host_label = Table(
    "host_label",
    metadata,
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("value", Name, nullable=False),
    PrimaryKeyConstraint("host_id", "name"),
    Index("ix_host_label_name_value", "name", "value"),
)

# Changes, recorded in the transaction that makes them. The audit has all rows; the feed has those with a seq, which
# has no gaps.
change = Table(
    "change",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("seq", Integer, unique=True),
    Column("part_of", Integer),  # the seq of the first change of the same transaction
    Column("at", Text, nullable=False),  # ISO 8601, UTC
    Column("by", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Name, nullable=False),
    Column("vendor", Name),
    Column("digest", Text),
    Column("detail", Text, nullable=False),  # JSON
    Column("document_digest", Text),
    Column("link", Text),
    Index("ix_change_vendor_seq", "vendor", "seq"),
    Index("ix_change_name_seq", "name", "seq"),
)

# What each change added, so that a mirror can add it: canonical JSON, with content replaced by its digest.
change_document = Table(
    "change_document",
    metadata,
    Column("seq", ForeignKey("change.seq"), primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
)
change_model = Table(
    "change_model",
    metadata,
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("seq", ForeignKey("change.seq"), nullable=False, index=True),
    PrimaryKeyConstraint("model_id", "seq"),
)

# The id of this registry, and how far other registries are mirrored into it.
identity = Table(
    "identity",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single_row"), primary_key=True, autoincrement=False),
    Column("registry", Text, nullable=False),
)
mirror = Table(
    "mirror",
    metadata,
    Column("registry", Name, primary_key=True),
    Column("url", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("link", Text, nullable=False),
    Column("at", Text, nullable=False),  # ISO 8601, UTC
)

# The keys with which vendors sign what they publish; id: 8 hexadecimal digits that the key itself gives.
vendor_key = Table(
    "vendor_key",
    metadata,
    Column("vendor_id", ForeignKey("vendor.id"), nullable=False),
    Column("id", Name, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", Text, nullable=False),  # ISO 8601, UTC, like the times below
    PrimaryKeyConstraint("vendor_id", "id"),
)
vendor_key_revocation = Table(
    "vendor_key_revocation",
    metadata,
    Column("vendor_id", Integer, nullable=False),
    Column("key_id", Name, nullable=False),
    Column("at", Text, nullable=False),
    PrimaryKeyConstraint("vendor_id", "key_id"),
    ForeignKeyConstraint(["vendor_id", "key_id"], ["vendor_key.vendor_id", "vendor_key.id"]),
)

# Whether a vendor's publications must be signed; without a row: they need not.
vendor_signing = Table(
    "vendor_signing",
    metadata,
    Column("vendor_id", ForeignKey("vendor.id"), primary_key=True, autoincrement=False),
    Column("is_required", Boolean, nullable=False),
)

# Signed publications, with the signatures that were verified then; a key that is revoked later does not undo them.
envelope = Table(
    "envelope",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("payload_digest", Name, nullable=False, index=True),
    Column("at", Text, nullable=False),
    Column("signers", Text, nullable=False),  # JSON
    Column("document", Text, nullable=False),  # canonical JSON
)
# What an envelope publishes: a release, or a profile, alone or with a release; and its models.
envelope_entry = Table(
    "envelope_entry",
    metadata,
    Column("subject", Text, CheckConstraint("subject IN ('release', 'profile')", name="subject"), nullable=False),
    Column("name", Name, nullable=False),
    Column("digest", ForeignKey("envelope.digest"), nullable=False, index=True),
    Column("models", Text, nullable=False),  # JSON
    PrimaryKeyConstraint("subject", "name", "digest"),
)

# Access tokens; only the hash of a secret is stored.
token = Table(
    "token",
    metadata,
    Column("id", Name, primary_key=True),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, CheckConstraint("role IN ('admin', 'publisher', 'reader')", name="role"), nullable=False),
    Column("vendor", Name),
    Column("created_at", Text, nullable=False),  # ISO 8601, UTC, like the times below
    Column("created_by", Text, nullable=False),
    Column("expires_at", Text),
    Column("revoked_at", Text),
    Column("last_used_at", Text),
)

# Pipelines whose OIDC tokens are exchanged for publisher tokens, and the OIDC tokens that were: each can be exchanged
# once. A row is kept while its OIDC token or its publisher token is valid, also if the trusted publisher is deleted.
trusted_publisher = Table(
    "trusted_publisher",
    metadata,
    Column("id", Name, primary_key=True),
    Column("vendor", Name, nullable=False),
    Column("issuer", Text, nullable=False, index=True),
    Column("audience", Text, nullable=False),
    Column("claims", Text, nullable=False),  # canonical JSON
    Column("created_at", Text, nullable=False),  # ISO 8601, UTC
    Column("created_by", Text, nullable=False),
)
exchanged_token = Table(
    "exchanged_token",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("trusted_publisher_id", Name, nullable=False, index=True),
    Column("token_id", ForeignKey("token.id"), nullable=False),
    Column("kept_until", Text, nullable=False, index=True),  # ISO 8601, UTC
)

# A number that grows with every change to what is published; while it is the same, what was read is current.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single_row"), primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
)

# The oldest program that can use this schema, by the revision that it was made for; see app.storage.version.
program = Table(
    "program",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single_row"), primary_key=True, autoincrement=False),
    Column("oldest", Text, nullable=False),
)
