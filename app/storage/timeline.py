"""The releases of an implementation one after the other, as far as a person needs to tell them apart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.values.name import ReleaseName, version_order
from app.domain.values.state import State
from app.signing.envelope import Subject
from app.storage import lookup, schema

_OF_A_RELEASE = (ChangeKind.RELEASE_PUBLISHED, ChangeKind.RELEASE_EXTENDED, ChangeKind.RELEASE_STATE_CHANGED)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a release: when, by whom, which kind. state: the one that it took, None if it kept its own."""

    at: str
    by: str
    kind: ChangeKind
    state: State | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A release among those of its implementation.

    before: the release with the highest lower version, None for the first. published: None if the feed does not have
    it. overrides: the reasons why it was published although it breaks earlier ones. profile_count: None without a list.
    """

    name: ReleaseName
    before: ReleaseName | None
    state: State
    description: str | None
    published: Event | None
    overrides: Sequence[str]
    erratum_count: int
    model_count: int
    profile_count: int | None
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some releases of an implementation, the highest version first; count: of all."""

    entries: Sequence[TimelineEntry]
    count: int


def timeline(connection: sa.Connection, implementation: str, skip: int, limit: int) -> Timeline:
    """Return up to limit releases of an implementation, the highest version first; skip: how many to leave out."""
    implementation_id = lookup.ids(connection, schema.implementation, [implementation]).get(implementation)
    if implementation_id is None:
        return Timeline((), 0)
    ids = lookup.versions(connection, implementation_id)
    ordered = sorted(ids, key=version_order, reverse=True)
    shown = ordered[skip : skip + limit]
    names = {ids[version]: ReleaseName(implementation, version) for version in shown}
    befores = dict(pairwise(ordered))
    rows = _rows(connection, list(names))
    published = events(connection, [str(name) for name in names.values()])
    entries = []
    for release_id, name in names.items():
        row, before = rows[release_id], befores.get(name.version)
        entries.append(
            TimelineEntry(
                name,
                None if before is None else ReleaseName(implementation, before),
                State(row.state or State.PUBLISHED),
                row.description,
                next(iter(published.get(str(name), ())), None),
                _reasons(connection, release_id) if row.overrides else (),
                row.errata,
                row.models,
                row.profiles if row.list_id is not None else None,
                bool(row.signatures),
            )
        )
    return Timeline(entries, len(ordered))


def _rows(connection: sa.Connection, release_ids: Sequence[int]) -> Mapping[int, sa.Row[*tuple[object, ...]]]:
    release, product = schema.release, schema.implementation
    erratum, withdrawal, entry = schema.erratum, schema.erratum_withdrawal, schema.envelope_entry

    def count(table: sa.Table) -> sa.ScalarSelect[int]:
        return sa.select(sa.func.count()).select_from(table).where(table.c.release_id == release.c.id).scalar_subquery()

    errata = (
        sa.select(sa.func.count())
        .select_from(erratum.outerjoin(withdrawal))
        .where(erratum.c.release_id == release.c.id, withdrawal.c.at.is_(None))
    )
    name = product.c.name + "@" + release.c.version
    signatures = (
        sa.select(sa.func.count())
        .select_from(entry)
        .where(entry.c.subject == Subject.RELEASE.value, entry.c.name == name)
    )
    query = (
        sa.select(
            release.c.id,
            release.c.description,
            schema.release_state.c.state,
            schema.profile_list.c.release_id.label("list_id"),
            count(schema.release_model).label("models"),
            count(schema.release_profile).label("profiles"),
            count(schema.evolution_override).label("overrides"),
            errata.scalar_subquery().label("errata"),
            signatures.scalar_subquery().label("signatures"),
        )
        .select_from(release)
        .join(product)
        .outerjoin(schema.release_state)
        .outerjoin(schema.profile_list, schema.profile_list.c.release_id == release.c.id)
        .where(release.c.id.in_(release_ids))
    )
    return {row.id: row for row in connection.execute(query)}


def _reasons(connection: sa.Connection, release_id: int) -> Sequence[str]:
    table = schema.evolution_override
    query = sa.select(table.c.reason).where(table.c.release_id == release_id).order_by(table.c.id)
    return connection.execute(query).scalars().all()


def events(connection: sa.Connection, releases: Sequence[str]) -> dict[str, list[Event]]:
    """Return the changes of releases by name, the oldest first."""
    table = schema.change
    query = (
        sa.select(table.c.name, table.c.at, table.c.by, table.c.kind, table.c.detail)
        .where(table.c.name.in_(releases), table.c.kind.in_(_OF_A_RELEASE))
        .order_by(table.c.seq)
    )
    by_name: dict[str, list[Event]] = {}
    for name, at, by, kind, detail in connection.execute(query):
        state = json.loads(detail).get("state")
        by_name.setdefault(name, []).append(Event(at, by, ChangeKind(kind), None if state is None else State(state)))
    return by_name


def newest_profiles(connection: sa.Connection, vendor: str, limit: int) -> tuple[Sequence[str], int]:
    """Return up to limit profiles of a vendor that are not retired, the newest first, and the number of all of them."""
    profile, state = schema.profile, schema.profile_state
    named = (
        sa.select(profile.c.name, sa.func.count().over().label("total"))
        .select_from(profile.join(schema.vendor).outerjoin(state, state.c.profile_id == profile.c.id))
        .where(schema.vendor.c.name == vendor, sa.func.coalesce(state.c.state, "") != State.RETIRED.value)
    )
    rows = connection.execute(named.order_by(profile.c.seq.desc(), profile.c.id.desc()).limit(limit)).all()
    return [row.name for row in rows], rows[0].total if rows else 0
