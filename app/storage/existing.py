"""Loads what is published already, as far as a publication depends on it.

Each statement costs more than its rows, so what the names of a publication stand for is read with one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeAlias

import sqlalchemy as sa

from app.domain.publishing.existing import Entry, Existing, ExistingProfile, ExistingRelease
from app.domain.publishing.gate import Evolution, Mode, previous
from app.domain.publishing.outcome import UnknownVendorError
from app.domain.publishing.profile import is_as_published
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.name import ReleaseName, vendor_of, version_key
from app.domain.values.state import State
from app.storage import lookup, schema
from app.storage.database import Position
from app.storage.lookup import Parts

Row: TypeAlias = sa.Row[*tuple[Any, ...]]

_COUNTED = (schema.implementation, schema.release, schema.model, schema.profile)


@dataclass(slots=True)
class Names:
    """What the names in a publication stand for; names that stand for nothing are left out.

    end: the end of the feed. following: the next id of each table. must_sign: vendors that must sign what they publish.
    earlier: versions of the implementation, with ids, among them the highest lower one. release, profiles: rows of
    those that are published. lineages: profiles, each with the ids of its ancestors, the farthest first. drafts:
    profiles with a draft. aliased: names that some release states as aliases. parts: of the release and the one before.
    """

    end: Position
    following: dict[str, int]
    vendors: Mapping[str, int]
    must_sign: frozenset[str]
    implementation_id: int | None
    evolution: Evolution
    earlier: Mapping[str, int]
    release: Row | None
    has_draft: bool
    models: Mapping[str, int]
    profiles: Mapping[str, Row]
    lineages: Sequence[tuple[str, int]]
    drafts: frozenset[str]
    aliased: frozenset[str]
    parts: Mapping[int, Parts] = field(default_factory=dict)

    def vendor_id(self, vendor: str) -> int:
        """Return the id of a vendor; raises UnknownVendorError."""
        if vendor not in self.vendors:
            raise UnknownVendorError(vendor)
        return self.vendors[vendor]

    def new_id(self, table: sa.Table) -> int:
        """Return the id of a new row: nobody else writes."""
        self.following[table.name] += 1
        return self.following[table.name] - 1

    def versions(self, connection: sa.Connection) -> Mapping[str, int]:
        """Return the ids of all releases of the implementation by version, in the order published."""
        return {} if self.implementation_id is None else lookup.versions(connection, self.implementation_id)


def _branch(
    kind: str,
    table: sa.FromClause,
    name: sa.ColumnElement[Any],
    number: sa.ColumnElement[Any] | None = None,
    texts: Sequence[sa.ColumnElement[Any]] = (),
) -> sa.Select[*tuple[Any, ...]]:
    """Return a part of the statement: rows of one kind, with a name, a number and up to three texts."""
    columns = [sa.cast(text, sa.Text) for text in [*texts, *[sa.null()] * (3 - len(texts))]]
    return sa.select(
        sa.literal_column(f"'{kind}'", sa.Text).label("kind"),
        sa.cast(name, sa.Text).label("name"),
        sa.cast(sa.null() if number is None else number, sa.Integer).label("number"),
        *(column.label(label) for column, label in zip(columns, ("text", "other", "third"), strict=True)),
    ).select_from(table)


def _statement() -> sa.CompoundSelect[*tuple[Any, ...]]:
    vendor, implementation, release, profile = schema.vendor, schema.implementation, schema.release, schema.profile
    signing, evolution, draft, change = schema.vendor_signing, schema.evolution, schema.release_draft, schema.change
    parent, state, alias = profile.alias("parent"), schema.profile_state, schema.release_alias

    vendors, models, profiles = (
        sa.bindparam(name, expanding=True, type_=sa.Text()) for name in ("vendors", "models", "profiles")
    )
    given, version, key = (sa.bindparam(name, type_=sa.Text()) for name in ("implementation", "version", "version_key"))
    one_implementation = implementation.c.name == given
    newest = sa.select(change.c.seq, change.c.link).where(change.c.seq.is_not(None))
    newest = newest.order_by(change.c.seq.desc()).limit(1)
    end, registry = newest.subquery("newest"), schema.identity
    # SQLite allows an order only inside.
    lower = sa.select(release.c.version, release.c.id).join(implementation).where(one_implementation)
    highest = lower.where(release.c.version_key < key).order_by(release.c.version_key.desc(), release.c.seq).limit(1)
    # Published by a program that does not know the column.
    unkeyed = lower.where(release.c.version_key.is_(None)).subquery("unkeyed")
    highest_lower = highest.subquery("highest_lower")
    lineage = lookup.lineage(profile.c.name.in_(profiles), profile.c.name)
    return sa.union_all(
        _branch("end", registry.outerjoin(end, sa.true()), registry.c.registry, end.c.seq, [end.c.link]),
        *(
            _branch(
                "following",
                table,
                sa.literal_column(f"'{table.name}'"),
                sa.func.coalesce(sa.func.max(table.c.id), 0) + 1,
            )
            for table in _COUNTED
        ),
        _branch(
            "vendor", vendor.outerjoin(signing), vendor.c.name, vendor.c.id, [sa.case((signing.c.is_required, "signs"))]
        ).where(vendor.c.name.in_(vendors)),
        _branch(
            "implementation",
            implementation.outerjoin(evolution),
            implementation.c.name,
            implementation.c.id,
            [evolution.c.mode, sa.case((evolution.c.transitive, "transitive"))],
        ).where(one_implementation),
        _branch("earlier", highest_lower, highest_lower.c.version, highest_lower.c.id),
        _branch("earlier", unkeyed, unkeyed.c.version, unkeyed.c.id),
        _branch(
            "release",
            release.join(implementation).outerjoin(schema.release_state),
            release.c.version,
            release.c.id,
            [release.c.description, schema.release_state.c.state],
        ).where(one_implementation, release.c.version == version),
        _branch("draft", draft, draft.c.version).where(draft.c.implementation == given, draft.c.version == version),
        _branch("model", schema.model, schema.model.c.name, schema.model.c.id).where(schema.model.c.name.in_(models)),
        _branch(
            "profile",
            profile.outerjoin(parent, parent.c.id == profile.c.extends_id).outerjoin(
                state, state.c.profile_id == profile.c.id
            ),
            profile.c.name,
            profile.c.id,
            [profile.c.description, parent.c.name, state.c.state],
        ).where(profile.c.name.in_(profiles)),
        _branch("lineage", lineage, lineage.c.below, lineage.c.id, [lineage.c.depth]),
        _branch("profile draft", schema.profile_draft, schema.profile_draft.c.name).where(
            schema.profile_draft.c.name.in_(profiles)
        ),
        _branch("alias", alias, alias.c.alias)
        .distinct()
        .where(alias.c.alias.in_(models) | alias.c.alias.in_(profiles)),
    )


_NAMES = _statement()


def names_of(
    connection: sa.Connection,
    release: ReleaseName | None,
    vendors: Iterable[str],
    models: Iterable[str],
    profiles: Iterable[str],
) -> Names:
    """Return what the names in a publication stand for; release: the one that is published, if it is one."""
    given = {
        "vendors": list(vendors),
        "implementation": release.implementation if release else "",
        "version": release.version if release else "",
        "version_key": version_key(release.version) if release else "",
    }
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    pairs = [*zip_longest(lookup.batches(models), lookup.batches(profiles))] or [(None, None)]
    for some_models, some_profiles in pairs:
        batch = {**given, "models": some_models or [], "profiles": some_profiles or []}
        for row in connection.execute(_NAMES, batch):
            rows[row.kind].append(row)
    end = rows["end"][0]
    implementation, published = (next(iter(rows[kind]), None) for kind in ("implementation", "release"))
    return Names(
        end=Position(end.name, end.number or 0, end.text or end.name),
        following=_numbers(rows["following"]),
        vendors=_numbers(rows["vendor"]),
        must_sign=frozenset(row.name for row in rows["vendor"] if row.text),
        implementation_id=None if implementation is None else implementation.number,
        evolution=_evolution(implementation),
        earlier=_numbers(rows["earlier"]),
        release=published,
        has_draft=bool(rows["draft"]),
        models=_numbers(rows["model"]),
        profiles={row.name: row for row in rows["profile"]},
        lineages=[(row.name, row.number) for row in sorted(rows["lineage"], key=lambda row: -int(row.text))],
        drafts=frozenset(row.name for row in rows["profile draft"]),
        aliased=frozenset(row.name for row in rows["alias"]),
    )


def _evolution(implementation: Row | None) -> Evolution:
    if implementation is None or implementation.text is None:
        return Evolution()
    return Evolution(Mode(implementation.text), bool(implementation.other))


def _numbers(rows: Iterable[Row]) -> dict[str, int]:
    return {row.name: row.number for row in rows}


def existing_for_profile(connection: sa.Connection, document: ProfileDocument) -> tuple[Names, Existing]:
    """Return what the publication of a profile depends on."""
    profiles = {document.name, *([document.extends] if document.extends else [])}
    names = names_of(connection, None, [vendor_of(document.name)], document.values, profiles)
    return names, _existing(connection, names, [document], profiles, set(document.values), of_models=document.values)


def existing_for_release(
    connection: sa.Connection, name: ReleaseName, document: ReleaseDocument
) -> tuple[Names, Existing]:
    """Return what the publication of a release, with its profiles, depends on."""
    listed = document.profiles or ()
    documents = [entry for entry in listed if isinstance(entry, ProfileDocument)]
    models = {*document.sets, *(model for profile in documents for model in profile.values)}
    profiles = {entry.name if isinstance(entry, ProfileDocument) else entry for entry in listed}
    profiles |= {profile.extends for profile in documents if profile.extends}
    aliases = {*document.aliases, *document.aliases.values()}
    vendors = {name.vendor, *map(vendor_of, document.own_profiles)}
    own = document.own_values
    own_models = {model for values in own.values() for model in values}
    names = names_of(connection, name, vendors, models | aliases | own_models, profiles | aliases | own.keys())
    before = previous(name.version, names.earlier)
    release_ids = [names.release.number] if names.release else []
    names.parts = lookup.parts(connection, [*release_ids, *([names.earlier[before]] if before else [])])
    existing = _existing(connection, names, documents, profiles, models, of_models=None)
    release = _release(names)
    present = release.sets if release else {}
    # Sets of other models are needed only to judge profiles and own values.
    is_judged = bool(document.profiles or document.own_values)
    needed = [
        digest
        for model, digest in present.items()
        if (is_judged if model not in document.sets else document.sets[model].digest != digest)
    ]
    return names, Existing(
        existing.models,
        existing.profiles,
        existing.resolved,
        existing.values,
        release,
        lookup.variable_sets(connection, needed),
        names.has_draft,
        frozenset(aliases & {*names.models, *names.profiles}),
        existing.aliased,
    )


def _release(names: Names) -> ExistingRelease | None:
    if names.release is None:
        return None
    parts = names.parts[names.release.number]
    state = State(names.release.other or State.PUBLISHED)
    listed = None if parts.listed is None else frozenset(parts.listed)
    return ExistingRelease(names.release.text, state, parts.sets, listed, parts.own_values, parts.aliases)


def _existing(
    connection: sa.Connection,
    names: Names,
    documents: Sequence[ProfileDocument],
    concerned: Collection[str],
    models: set[str],
    *,
    of_models: Collection[str] | None,
) -> Existing:
    """Return the published models and profiles.

    concerned: profiles that are published, extended or listed. of_models: those that values are loaded for, None: all.
    """
    own = {document.name for document in documents}
    resolved = lookup.entries_of_lineages(connection, [pair for pair in names.lineages if pair[0] in concerned])
    profiles = _profiles(connection, [row for name, row in names.profiles.items() if name in own])
    inherited = {model for digests in resolved.values() for model in digests} if of_models is None else set()
    needed = {
        digest
        for digests in resolved.values()
        for model, digest in digests.items()
        if of_models is None or model in of_models
    }
    for document in documents:
        published = profiles[document.name].entries if document.name in profiles else {}
        needed |= {
            published[model].own
            for model, written in document.values.items()
            if model in published and not is_as_published(published[model], written)
        }
    return Existing(
        lookup.models(connection, names.models.keys() & models | inherited),
        profiles,
        resolved,
        lookup.profile_values(connection, needed),
        aliased=names.aliased & (own | models),
    )


def _profiles(connection: sa.Connection, rows: Sequence[Row]) -> Mapping[str, ExistingProfile]:
    entries = lookup.profile_entries(connection, [row.number for row in rows])
    return {
        row.name: ExistingProfile(
            row.other,
            row.text,
            State(row.third or State.PUBLISHED),
            {model: Entry(own, resolved) for model, (own, resolved) in entries[row.number].items()},
        )
        for row in rows
    }
