"""The tables of the feed, the audit, tokens and mirrors; existing entries become the first changes of the feed."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from migrations.immutable import refuse_changes

revision = "0004"
down_revision = "0003"

NAME = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
BY = "before there was a feed"


def upgrade() -> None:
    """Create the tables, and record existing entries as changes."""
    op.create_table(
        "profile_digest",
        sa.Column("profile_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name="fk_profile_digest_profile_id"),
        sa.PrimaryKeyConstraint("profile_id", name="pk_profile_digest"),
    )
    op.create_table(
        "change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("part_of", sa.Integer(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("vendor", NAME, nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("document_digest", sa.Text(), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        sa.UniqueConstraint("seq", name="uq_change_seq"),
    )
    op.create_index("ix_change_vendor_seq", "change", ["vendor", "seq"])
    op.create_table(
        "change_document",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["change.seq"], name="fk_change_document_seq"),
        sa.PrimaryKeyConstraint("seq", name="pk_change_document"),
    )
    op.create_table(
        "change_model",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_change_model_model_id"),
        sa.ForeignKeyConstraint(["seq"], ["change.seq"], name="fk_change_model_seq"),
        sa.PrimaryKeyConstraint("model_id", "seq", name="pk_change_model"),
    )
    identity = op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("registry", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="single_row"),
        sa.PrimaryKeyConstraint("id", name="pk_identity"),
    )
    registry = str(uuid4())
    op.bulk_insert(identity, [{"id": 1, "registry": registry}])
    op.create_table(
        "mirror",
        sa.Column("registry", NAME, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("registry", name="pk_mirror"),
    )
    op.create_table(
        "token",
        sa.Column("id", NAME, nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("vendor", NAME, nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.Column("last_used_at", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('admin', 'publisher', 'reader')", name="role"),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("secret_hash", name="uq_token_secret_hash"),
    )
    _Recording(registry).run()
    for table in ("change", "change_document", "change_model", "identity"):
        refuse_changes(table)


class _Recording:
    """Records existing entries as changes, in an order in which they can have been published."""

    def __init__(self, registry: str) -> None:
        self._connection = op.get_bind()
        self._link = registry
        self._at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._seq = 0
        self._models = {row.name: row.id for row in self._rows("SELECT id, name FROM model")}

    def run(self) -> None:
        for row in self._rows("SELECT name, title, url FROM vendor ORDER BY id"):
            self._record("vendor-registered", row.name, {"name": row.title, "url": row.url})
        self._record_releases()
        self._record_profiles()
        self._record_lists()
        for row in self._rows(
            "SELECT i.name, e.mode, e.transitive FROM evolution e JOIN implementation i ON i.id = e.implementation_id"
        ):
            document = {"evolution": row.mode, "transitive": bool(row.transitive)}
            self._record("evolution-set", row.name, document, detail=document)
        self._record_states()
        self._record_overrides()
        labels: dict[int, dict[str, str]] = {}
        for row in self._rows("SELECT host_id, name, value FROM host_label"):
            labels.setdefault(row.host_id, {})[row.name] = row.value
        for row in self._rows("SELECT id, name, document FROM host ORDER BY id"):
            document = {**json.loads(row.document), "labels": labels.get(row.id, {})}
            self._record("host-registered", row.name, document, digest=_digest(_canonical(document)), vendor=None)

    def _record_releases(self) -> None:
        """Record the releases in the order published.

        A release can implement a model of another vendor only once the model exists. Until then, its entry for the
        model waits, and is recorded as an extension.
        """
        releases = {row.id: row for row in self._releases()}
        waiting: dict[int, dict[str, str]] = {}
        there: set[str] = set()
        for row in releases.values():
            models = self._sets(row.id)
            there |= {model for model in models if _vendor(model) == _vendor(row.name)}
            now = {model: digest for model, digest in models.items() if model in there}
            waiting[row.id] = {model: digest for model, digest in models.items() if model not in there}
            document = {"models": now, **({} if row.description is None else {"description": row.description})}
            self._record_release("release-published", row, document, is_whole=not waiting[row.id])
            for release_id, foreign in waiting.items():
                coming = {model: digest for model, digest in foreign.items() if model in there}
                if coming:
                    waiting[release_id] = {model: each for model, each in foreign.items() if model not in there}
                    is_whole = not waiting[release_id]
                    document = {"models": coming}
                    self._record_release("release-extended", releases[release_id], document, is_whole=is_whole)

    def _record_release(self, kind: str, row: Any, document: Mapping[str, Any], *, is_whole: bool) -> None:
        digest = row.digest if is_whole and not self._lists(row.id) else None
        self._record(kind, f"{row.name}@{row.version}", document, digest=digest, models=document["models"])

    def _record_profiles(self) -> None:
        """Record the profiles, each entry at a point where it resolves to the stored values."""
        rows = self._rows(
            "SELECT p.id, p.name, p.description, p.extends_id, above.name AS extends FROM profile p "
            "LEFT JOIN profile above ON above.id = p.extends_id ORDER BY p.id"
        )
        entries = {row.id: self._entries(row.id) for row in rows}
        order = _Order(entries, {row.id: row.extends_id for row in rows}, self._overlaid)
        by_id = {row.id: row for row in rows}
        for profile_id, models, is_new in order.steps():
            now = {model: entries[profile_id][model] for model in models}
            kind = "profile-published" if is_new else "profile-extended"
            is_whole = order.is_done(profile_id)
            self._record_profile(kind, by_id[profile_id], now, entries[profile_id], is_whole=is_whole)

    def _record_profile(
        self, kind: str, row: Any, now: Mapping[str, list[str]], entries: Mapping[str, list[str]], *, is_whole: bool
    ) -> None:
        document = {"name": row.name, "values": {model: own for model, (own, _) in now.items()}}
        if row.extends is not None:
            document["extends"] = row.extends
        if row.description is not None and kind == "profile-published":
            document["description"] = row.description
        whole = _digest(_canonical({"profile": row.name, "extends": row.extends, "entries": entries}))
        if is_whole:
            insert = sa.text("INSERT INTO profile_digest (profile_id, digest) VALUES (:id, :digest)")
            self._connection.execute(insert, {"id": row.id, "digest": whole})
        self._record(kind, row.name, document, digest=whole if is_whole else None, models=now)

    def _entries(self, profile_id: int) -> dict[str, list[str]]:
        rows = self._rows(
            "SELECT m.name, e.own_digest, e.resolved_digest FROM profile_entry e "
            "JOIN model m ON m.id = e.model_id WHERE e.profile_id = :id",
            id=profile_id,
        )
        return {row.name: [row.own_digest, row.resolved_digest] for row in rows}

    def _overlaid(self, inherited: str, own: str) -> str:
        """Return the digest of inherited values overlaid with a profile's own (DESIGN 4)."""
        merged = {**self._values(inherited), **self._values(own)}
        return _digest(_canonical({variable: value for variable, value in merged.items() if value is not None}))

    def _values(self, digest: str) -> dict[str, Any]:
        (row,) = self._rows("SELECT document FROM profile_values WHERE digest = :digest", digest=digest)
        values: dict[str, Any] = json.loads(row.document)
        return values

    def _record_lists(self) -> None:
        for row in self._releases():
            if not self._lists(row.id):
                continue
            names = [
                each.name
                for each in self._rows(
                    "SELECT p.name FROM release_profile r JOIN profile p ON p.id = r.profile_id "
                    "WHERE r.release_id = :id ORDER BY p.id",
                    id=row.id,
                )
            ]
            own: dict[str, dict[str, str]] = {}
            for each in self._rows(
                "SELECT p.name AS profile, m.name AS model, o.digest FROM release_own_values o "
                "JOIN profile p ON p.id = o.profile_id JOIN model m ON m.id = o.model_id WHERE o.release_id = :id",
                id=row.id,
            ):
                own.setdefault(each.profile, {})[each.model] = each.digest
            document = {"models": {}, "profiles": names, **({"own_values": own} if own else {})}
            models = {model for of_profile in own.values() for model in of_profile}
            self._record("release-extended", f"{row.name}@{row.version}", document, digest=row.digest, models=models)

    def _record_states(self) -> None:
        for row in self._rows(
            "SELECT i.name, r.version, s.state FROM release_state s JOIN release r ON r.id = s.release_id "
            "JOIN implementation i ON i.id = r.implementation_id"
        ):
            self._record_state("release-state-changed", f"{row.name}@{row.version}", row.state)
        for row in self._rows("SELECT p.name, s.state FROM profile_state s JOIN profile p ON p.id = s.profile_id"):
            self._record_state("profile-state-changed", row.name, row.state)

    def _record_state(self, kind: str, name: str, state: str) -> None:
        self._record(kind, name, {"state": state}, detail={"before": "published", "state": state})

    def _record_overrides(self) -> None:
        for row in self._rows(
            "SELECT i.name, r.version, o.reason, o.at, o.broken FROM evolution_override o "
            "JOIN release r ON r.id = o.release_id JOIN implementation i ON i.id = r.implementation_id ORDER BY o.id"
        ):
            broken = json.loads(row.broken)
            detail = {"reason": row.reason, "broken_count": len(broken)}
            document = {"reason": row.reason, "at": row.at, "broken": broken}
            models = {each["model"] for each in broken}
            self._record("gate-overridden", f"{row.name}@{row.version}", document, models=models, detail=detail)

    def _releases(self) -> Iterable[Any]:
        return self._rows(
            "SELECT r.id, i.name, r.version, r.description, d.digest FROM release r "
            "JOIN implementation i ON i.id = r.implementation_id "
            "JOIN release_digest d ON d.release_id = r.id ORDER BY r.id"
        )

    def _lists(self, release_id: int) -> bool:
        return bool(self._rows("SELECT release_id FROM profile_list WHERE release_id = :id", id=release_id))

    def _sets(self, release_id: int) -> dict[str, str]:
        rows = self._rows(
            "SELECT m.name, r.digest FROM release_model r JOIN model m ON m.id = r.model_id WHERE r.release_id = :id",
            id=release_id,
        )
        return {row.name: row.digest for row in rows}

    def _rows(self, query: str, **parameters: Any) -> list[Any]:
        return list(self._connection.execute(sa.text(query), parameters).all())

    def _record(  # noqa: PLR0913 (the fields of a change)
        self,
        kind: str,
        name: str,
        document: Mapping[str, Any],
        *,
        digest: str | None = None,
        vendor: str | None = "",
        models: Iterable[str] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        self._seq += 1
        canonical = _canonical(document)
        insert = sa.text(
            "INSERT INTO change (seq, part_of, at, by, kind, name, vendor, digest, detail, document_digest, link) "
            "VALUES (:seq, :seq, :at, :by, :kind, :name, :vendor, :digest, :detail, :document_digest, :link)"
        )
        told = {
            "seq": self._seq,
            "part_of": self._seq,
            "at": self._at,
            "by": BY,
            "kind": kind,
            "name": name,
            "digest": digest,
            "detail": detail or {},
            "document_digest": _digest(canonical),
        }
        self._link = _digest(_canonical({"before": self._link, **told}))
        row = {
            **told,
            "detail": json.dumps(detail or {}),
            "vendor": _vendor(name) if vendor == "" else vendor,
            "link": self._link,
        }
        self._connection.execute(insert, row)
        insert = sa.text("INSERT INTO change_document (seq, document) VALUES (:seq, :document)")
        self._connection.execute(insert, {"seq": self._seq, "document": canonical})
        rows = [{"model_id": self._models[model], "seq": self._seq} for model in models if model in self._models]
        if rows:
            insert = sa.text("INSERT INTO change_model (model_id, seq) VALUES (:model_id, :seq)")
            self._connection.execute(insert, rows)


class _Order:
    """An order in which the entries of profiles can have been published.

    An entry was resolved once, with what its ancestors had then; what they gained later must come after it.
    """

    def __init__(
        self,
        entries: Mapping[int, Mapping[str, list[str]]],
        parents: Mapping[int, int | None],
        overlaid: Callable[[str, str], str],
    ) -> None:
        self._entries = entries
        self._parents = parents
        self._done: set[tuple[int, str]] = set()
        # By entry: the inherited entry that it was resolved with, and the entries that must come before it.
        self._bases: dict[tuple[int, str], tuple[int, str]] = {}
        self._before: dict[tuple[int, str], set[tuple[int, str]]] = {}
        for profile_id, models in entries.items():
            for model, (own, resolved) in models.items():
                above = parents[profile_id]
                while above is not None:
                    inherited = entries[above].get(model)
                    if inherited is not None and overlaid(inherited[1], own) == resolved:
                        self._bases[profile_id, model] = (above, model)
                        self._before.setdefault((profile_id, model), set()).add((above, model))
                        break
                    if inherited is not None:
                        self._before.setdefault((above, model), set()).add((profile_id, model))
                    above = parents[above]

    def steps(self) -> Iterator[tuple[int, list[str], bool]]:
        """Iterate over the publications: a profile, the models published, and whether the profile is new."""
        new = dict.fromkeys(self._entries)
        published: set[int] = set()
        while new or any(not self.is_done(each) for each in self._entries):
            step = self._publication(new, published) or self._extension(published)
            if step is None:
                # No order explains the remaining entries; record them anyway, so that none is missing from the feed.
                profile_id = next(iter(new), None) or next(each for each in self._entries if not self.is_done(each))
                step = profile_id, [each for each in self._entries[profile_id] if (profile_id, each) not in self._done]
            profile_id, models = step
            self._done |= {(profile_id, model) for model in models}
            yield profile_id, models, profile_id in new
            new.pop(profile_id, None)
            published.add(profile_id)

    def is_done(self, profile_id: int) -> bool:
        """Return whether all entries of a profile have been published."""
        return all((profile_id, model) in self._done for model in self._entries[profile_id])

    def _may_come(self, profile_id: int, model: str) -> bool:
        return self._before.get((profile_id, model), set()) <= self._done

    def _publication(self, new: Iterable[int], published: Collection[int]) -> tuple[int, list[str]] | None:
        for profile_id in new:
            parent = self._parents[profile_id]
            models = [model for model in self._entries[profile_id] if self._may_come(profile_id, model)]
            is_held_up = any(
                model not in models and self._differs(profile_id, model) for model in self._entries[profile_id]
            )
            if (parent is None or parent in published) and not is_held_up:
                return profile_id, models
        return None

    def _differs(self, profile_id: int, model: str) -> bool:
        """Return whether an entry differs from the inherited one; it can then only be published with the profile."""
        base = self._bases.get((profile_id, model))
        return base is not None and self._entries[base[0]][model][1] != self._entries[profile_id][model][1]

    def _extension(self, published: Collection[int]) -> tuple[int, list[str]] | None:
        for profile_id in sorted(published):
            for model in self._entries[profile_id]:
                if (profile_id, model) not in self._done and self._may_come(profile_id, model):
                    return profile_id, [model]
        return None


def _vendor(name: str) -> str:
    return name.partition("/")[0]


def _canonical(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _digest(canonical: str) -> str:
    return f"sha256:{sha256(canonical.encode()).hexdigest()}"


def downgrade() -> None:
    """Refuse: what is published is never deleted (DESIGN 2)."""
    message = "this migration cannot be reverted: what is published is never deleted"
    raise RuntimeError(message)
