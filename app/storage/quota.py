"""How much a vendor's publications take: the content that they refer to, and their drafts, errata and signatures."""

from collections.abc import Iterator

import sqlalchemy as sa

from app.storage import schema

# What a row takes besides its document, roughly: many small entries count, too.
_ROW_BYTES = 200


def stored_bytes(connection: sa.Connection, vendor: str) -> int:
    """Return the size of what a vendor's publications store, in bytes.

    Content that several entries share counts once, and for each vendor that publishes it.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    totals: list[sa.Label[int]] = []
    for documents in _documents(vendor):
        column = documents.selected_columns[0]
        # PostgreSQL knows the bytes of a text without reading it; SQLite counts the characters that it reads.
        size = sa.func.length(sa.cast(column, sa.LargeBinary)) if is_sqlite else sa.func.octet_length(column)
        total = documents.with_only_columns(sa.func.coalesce(sa.func.sum(size + _ROW_BYTES), 0))
        totals.append(total.scalar_subquery().label(f"total_{len(totals)}"))
    return sum(connection.execute(sa.select(*totals)).one())


def _documents(vendor: str) -> Iterator[sa.Select[tuple[str]]]:
    """Iterate over queries of the documents that a vendor's publications store."""
    vendor_id = sa.select(schema.vendor.c.id).where(schema.vendor.c.name == vendor).scalar_subquery()
    releases = (
        sa.select(schema.release.c.id)
        .join(schema.implementation, schema.implementation.c.id == schema.release.c.implementation_id)
        .where(schema.implementation.c.vendor_id == vendor_id)
    )
    profiles = sa.select(schema.profile.c.id).where(schema.profile.c.vendor_id == vendor_id)
    table = schema.release_model
    sets = sa.select(table.c.digest).where(table.c.release_id.in_(releases))
    yield sa.select(schema.variable_set.c.document).where(schema.variable_set.c.digest.in_(sets))
    entry, own = schema.profile_entry, schema.release_own_values
    values = sa.union(
        sa.select(entry.c.own_digest).where(entry.c.profile_id.in_(profiles)),
        sa.select(entry.c.resolved_digest).where(entry.c.profile_id.in_(profiles)),
        sa.select(own.c.digest).where(own.c.release_id.in_(releases)),
    )
    yield sa.select(schema.profile_values.c.document).where(schema.profile_values.c.digest.in_(values))
    yield sa.select(schema.erratum.c.document).where(schema.erratum.c.release_id.in_(releases))
    change, added = schema.change, schema.change_document
    yield sa.select(added.c.document).join(change, change.c.seq == added.c.seq).where(change.c.vendor == vendor)
    yield sa.select(change.c.detail).where(change.c.vendor == vendor)
    for draft, name in (
        (schema.release_draft, schema.release_draft.c.implementation),
        (schema.profile_draft, schema.profile_draft.c.name),
    ):
        yield sa.select(draft.c.document).where(name.startswith(f"{vendor}/", autoescape=True))
    signed = schema.envelope_entry
    digests = sa.select(signed.c.digest).where(signed.c.name.startswith(f"{vendor}/", autoescape=True))
    yield sa.select(schema.envelope.c.document).where(schema.envelope.c.digest.in_(digests))
