"""Trusted publishers, and the OIDC tokens that were exchanged: each of them once."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.token import Role
from app.domain.publishing.trusted_publisher import (
    LEEWAY_SECONDS,
    TOKEN_SECONDS,
    OidcToken,
    RefusalCode,
    RefusedTokenError,
    TrustedPublisher,
    token_name,
)
from app.domain.values.canonical import canonical_json
from app.storage import listing, schema
from app.storage import token as tokens
from app.storage.change import Change, record
from app.storage.database import Writing, written_time

_TABLE = schema.trusted_publisher


def create(writing: Writing, publisher: TrustedPublisher) -> tuple[Mapping[str, Any], bool]:
    """Create a trusted publisher; return it as `document` does, and whether it is new."""
    existing = writing.connection.execute(sa.select(_TABLE).where(_TABLE.c.id == publisher.id)).first()
    if existing is not None:
        return document(existing), False
    content = {"vendor": publisher.vendor, "issuer": publisher.issuer, "audience": publisher.audience}
    written = {"created_at": writing.at, "created_by": writing.by}
    row = {"id": publisher.id, **content, "claims": canonical_json(publisher.claims), **written}
    writing.connection.execute(sa.insert(_TABLE), row)
    _record(writing, ChangeKind.TOKEN_CREATED, publisher)
    return {"id": publisher.id, **content, "claims": publisher.claims, **written}, True


def delete(writing: Writing, publisher_id: str) -> bool:
    """Delete a trusted publisher and revoke its tokens; return whether it existed."""
    row = writing.connection.execute(sa.select(_TABLE).where(_TABLE.c.id == publisher_id)).first()
    if row is None:
        return False
    writing.connection.execute(sa.delete(_TABLE).where(_TABLE.c.id == publisher_id))
    _record(writing, ChangeKind.TOKEN_REVOKED, _publisher(row))
    uses = schema.exchanged_token
    valid = (
        sa.select(schema.token.c.id)
        .join_from(uses, schema.token, schema.token.c.id == uses.c.token_id)
        .where(uses.c.trusted_publisher_id == publisher_id, schema.token.c.expires_at > writing.at)
        .order_by(schema.token.c.id)
    )
    for token_id in writing.connection.execute(valid).scalars().all():
        tokens.revoke(writing, token_id)
    return True


def _record(writing: Writing, kind: ChangeKind, publisher: TrustedPublisher) -> None:
    # The version before does not know other kinds, and cannot show an audit that has them. To trust a pipeline is to
    # give it tokens.
    detail = {
        "token_name": f"trusted publisher {publisher.id}",
        "role": Role.PUBLISHER.value,
        "vendor": publisher.vendor,
        "issuer": publisher.issuer,
        "audience": publisher.audience,
        "claims": dict(publisher.claims),
    }
    record(writing, Change(kind=kind, name=publisher.id, detail=detail))


def document(row: listing.Row) -> dict[str, Any]:
    """Return a row of `page` as JSON."""
    return {
        "id": row.id,
        "vendor": row.vendor,
        "issuer": row.issuer,
        "audience": row.audience,
        "claims": json.loads(row.claims),
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


def _publisher(row: listing.Row) -> TrustedPublisher:
    return TrustedPublisher(vendor=row.vendor, issuer=row.issuer, audience=row.audience, claims=json.loads(row.claims))


def page(connection: sa.Connection, vendor: str | None, after: listing.Key | None, limit: int) -> listing.Page:
    """Return a page of trusted publishers in the order created. vendor: only those of this vendor."""
    keys = [_TABLE.c.created_at, _TABLE.c.id]
    query = sa.select(*keys, *(column for column in _TABLE.c if column not in {*keys}))
    if vendor is not None:
        query = query.where(_TABLE.c.vendor == vendor)
    return listing.page(connection, query, keys, after, limit)


def of_issuer(connection: sa.Connection, issuer: str) -> Sequence[TrustedPublisher]:
    """Return the trusted publishers with an issuer."""
    rows = connection.execute(sa.select(_TABLE).where(_TABLE.c.issuer == issuer)).all()
    return [_publisher(row) for row in rows]


def exchange(
    writing: Writing, token: OidcToken, publisher: TrustedPublisher, now: float
) -> tuple[Mapping[str, Any], str]:
    """Create the publisher token for an OIDC token; return it and its secret.

    now: in seconds since 1970. Raises RefusedTokenError for an OIDC token that was exchanged before.
    """
    uses = schema.exchanged_token
    connection = writing.connection
    # Those that can neither be replayed nor have a valid publisher token are not needed any more.
    connection.execute(sa.delete(uses).where(uses.c.kept_until < _written(now)))
    if connection.execute(sa.select(uses.c.digest).where(uses.c.digest == token.digest)).first() is not None:
        message = "The token was exchanged before; each OIDC token can be exchanged once. Request a new one."
        raise RefusedTokenError(RefusalCode.REPLAYED, message)
    expires = now + TOKEN_SECONDS
    writing.detail = {"trusted_publisher": publisher.id, "claims": token.audited}
    row, secret = tokens.create(
        writing, token_name(publisher, token), Role.PUBLISHER, publisher.vendor, _written(expires)
    )
    # Beyond the leeway, so that no token can be exchanged again in its last moment.
    kept_until = _written(max(expires, token.expires_at + 2 * LEEWAY_SECONDS))
    use = {
        "digest": token.digest,
        "trusted_publisher_id": publisher.id,
        "token_id": row["id"],
        "kept_until": kept_until,
    }
    connection.execute(sa.insert(uses), use)
    return row, secret


def _written(seconds: float) -> str:
    return written_time(datetime.fromtimestamp(seconds, UTC))
