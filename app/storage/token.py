"""Tokens, stored by the hash of their secret; valid ones are cached for a moment."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from typing import Any

import sqlalchemy as sa
from cachetools import TTLCache

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.token import Identity, Role
from app.storage import database, schema
from app.storage.change import Change, record
from app.storage.database import Writing

_MAX_KEPT = 10_000
_NAME_SECONDS = 600
# Lets secret scanners recognise a token in a log or a repository.
_PREFIX = "dpr_"
_SECRET_BYTES = 32
_ID_BYTES = 6


def create(
    writing: Writing, name: str, role: Role, vendor: str | None, expires_at: str | None
) -> tuple[Mapping[str, Any], str]:
    """Create a token; return it and its secret, of which only the hash is stored."""
    secret = f"{_PREFIX}{secrets.token_urlsafe(_SECRET_BYTES)}"
    row = {
        "id": secrets.token_hex(_ID_BYTES),
        "name": name,
        "role": role.value,
        "vendor": vendor,
        "created_at": writing.at,
        "created_by": writing.by,
        "expires_at": expires_at,
        "revoked_at": None,
        "last_used_at": None,
    }
    writing.connection.execute(sa.insert(schema.token).values(secret_hash=_hash(secret), **row))
    detail = {"token_name": name, "role": role.value, "vendor": vendor, "expires_at": expires_at}
    record(writing, Change(kind=ChangeKind.TOKEN_CREATED, name=row["id"] or "", detail=detail))
    return row, secret


def revoke(writing: Writing, token_id: str) -> bool:
    """Revoke a token; return whether it exists."""
    table = schema.token
    row = writing.connection.execute(sa.select(table).where(table.c.id == token_id)).first()
    if row is None:
        return False
    if row.revoked_at is None:
        update = sa.update(table).where(table.c.id == token_id).values(revoked_at=writing.at)
        writing.connection.execute(update)
        detail = {"token_name": row.name}
        record(writing, Change(kind=ChangeKind.TOKEN_REVOKED, name=token_id, detail=detail))
    return True


def _hash(secret: str) -> str:
    # A long random secret cannot be guessed, so a fast hash is enough.
    return sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A token as it was read. read_at: on the monotonic clock."""

    id: str
    identity: Identity
    expires: datetime | None
    read_at: float


class Tokens:
    """The tokens that one worker has seen; each is kept for FRESH_SECONDS."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._kept: dict[str, _Kept] = {}
        # The names of tokens that were valid some minutes ago.
        self._names: TTLCache[str, str] = TTLCache(_MAX_KEPT, _NAME_SECONDS)
        self._used: dict[str, str] = {}
        self._lock = Lock()
        self._generation = 0

    def remembered(self, secret: str) -> Identity | None:
        """Return the identity of a valid token that was read a moment ago, else None; does not read the database."""
        return self._valid(self._kept.get(_hash(secret)))

    def known_name(self, secret: str) -> str | None:
        """Return the name of a token that was valid some minutes ago, else None; it says whose share a request takes.

        It says nothing about what the token allows: that is read anew.
        """
        with self._lock:
            name: str | None = self._names.get(_hash(secret))
            return name

    def find(self, secret: str) -> Identity | None:
        """Return the identity of a token, None if it is unknown, revoked or expired."""
        key = _hash(secret)
        table = schema.token
        read_at, generation = time.monotonic(), self._generation
        query = sa.select(table).where(table.c.secret_hash == key, table.c.revoked_at.is_(None))
        with database.reading(self._engine, quickly=True) as connection:
            row = connection.execute(query).first()
        with self._lock:
            self._kept.pop(key, None)
            self._names.pop(key, None)
            if row is None:
                return None
            while len(self._kept) >= _MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            expires = None if row.expires_at is None else datetime.fromisoformat(row.expires_at)
            identity = Identity(f"{row.name} ({row.id})", Role(row.role), row.vendor, row.id)
            kept = _Kept(row.id, identity, expires, read_at)
            self._names[key] = identity.name
            # If this worker revoked a token after the read began, this one may be it.
            if generation == self._generation:
                self._kept[key] = kept
        return self._valid(kept)

    def _valid(self, kept: _Kept | None) -> Identity | None:
        if kept is None or time.monotonic() - kept.read_at > database.FRESH_SECONDS:
            return None
        if kept.expires is not None and kept.expires <= datetime.now(UTC):
            return None
        self._used[kept.id] = database.now()
        return kept.identity

    def forget(self) -> None:
        """Read every token again at its next use; called after this worker has revoked one."""
        with self._lock:
            self._generation += 1
            self._kept.clear()

    def note_uses(self) -> None:
        """Store when the tokens used since the last call were last used."""
        used = dict(self._used)
        if not used:
            return
        table = schema.token
        with database.noting(self._engine) as connection:
            # In a fixed order, so that two workers cannot deadlock.
            for token_id, at in sorted(used.items()):
                connection.execute(sa.update(table).where(table.c.id == token_id).values(last_used_at=at))
        for token_id, at in used.items():
            if self._used.get(token_id) == at:
                del self._used[token_id]
