"""Tokens: kept by the hash of their secret, shown once, looked up often."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock
from typing import Any

import sqlalchemy as sa

from app.domain.change import ChangeKind
from app.domain.token import Identity, Role
from app.storage import database, schema
from app.storage.change import Change, record
from app.storage.database import Writing

_MOST_KEPT = 10_000
# So that a secret that leaks into a log or a repository is found by those who look for such.
_PREFIX = "dpr_"
_SECRET_BYTES = 32
_ID_BYTES = 6


def create(
    writing: Writing, name: str, role: Role, vendor: str | None, expires_at: str | None
) -> tuple[Mapping[str, Any], str]:
    """Create a token; return it, and its secret, which is kept nowhere."""
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
    """Revoke a token; return whether there is such a one."""
    table = schema.token
    row = writing.connection.execute(sa.select(table).where(table.c.id == token_id)).first()
    if row is None:
        return False
    if row.revoked_at is None:
        revoked = sa.update(table).where(table.c.id == token_id).values(revoked_at=writing.at)
        writing.connection.execute(revoked)
        detail = {"token_name": row.name}
        record(writing, Change(kind=ChangeKind.TOKEN_REVOKED, name=token_id, detail=detail))
    return True


def _hash(secret: str) -> str:
    # The secret is random and long: there is nothing to guess, so a fast hash will do.
    return sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Kept:
    id: str
    identity: Identity
    expires: datetime | None
    read_at: float


class Tokens:
    """The tokens as one worker knows them: those shown lately are remembered for FRESH_SECONDS."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._kept: dict[str, _Kept] = {}
        self._used: dict[str, str] = {}
        self._lock = Lock()
        self._generation = 0

    def remembered(self, secret: str) -> Identity | None:
        """Return whose valid token this is, if it was read a moment ago; without a look into the database."""
        return self._valid(self._kept.get(_hash(secret)))

    def find(self, secret: str) -> Identity | None:
        """Return whose valid token this is; None if there is no such one, it was revoked, or has expired."""
        key = _hash(secret)
        table = schema.token
        read_at, generation = time.monotonic(), self._generation
        query = sa.select(table).where(table.c.secret_hash == key, table.c.revoked_at.is_(None))
        with database.reading(self._engine) as connection:
            row = connection.execute(query).first()
        with self._lock:
            self._kept.pop(key, None)
            if row is None:
                return None
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            expires = None if row.expires_at is None else datetime.fromisoformat(row.expires_at)
            identity = Identity(f"{row.name} ({row.id})", Role(row.role), row.vendor)
            kept = _Kept(row.id, identity, expires, read_at)
            # What was read before a revocation here is not kept beyond it.
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
        """Look again at every token: this worker has revoked one."""
        with self._lock:
            self._generation += 1
            self._kept.clear()

    def note_uses(self) -> None:
        """Write down when tokens were last used, those used since this was last done."""
        used = dict(self._used)
        if not used:
            return
        table = schema.token
        with database.noting(self._engine) as connection:
            # In one order, so that two workers never wait for each other.
            for token_id, at in sorted(used.items()):
                connection.execute(sa.update(table).where(table.c.id == token_id).values(last_used_at=at))
        for token_id, at in used.items():
            if self._used.get(token_id) == at:
                del self._used[token_id]
