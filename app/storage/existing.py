"""Loads what is published already, as far as a publication depends on it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.existing import Entry, Existing, ExistingProfile, ExistingRelease
from app.domain.publishing.profile import is_as_published
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.name import ReleaseName
from app.storage import lookup, schema, state


def existing_for_profile(connection: sa.Connection, document: ProfileDocument) -> Existing:
    """Return what the publication of a profile depends on."""
    return _existing(connection, [document], (), set(document.values), of_models=document.values)


def existing_for_release(connection: sa.Connection, name: ReleaseName, document: ReleaseDocument) -> Existing:
    """Return what the publication of a release, with its profiles, depends on."""
    listed = document.profiles or ()
    documents = [entry for entry in listed if isinstance(entry, ProfileDocument)]
    names = [entry for entry in listed if isinstance(entry, str)]
    models = {*document.sets, *(model for profile in documents for model in profile.values)}
    existing = _existing(connection, documents, names, models, of_models=None)
    release = _release(connection, name)
    present = release.sets if release else {}
    # Sets of other models are needed only to judge profiles and own values.
    is_judged = bool(document.profiles or document.own_values)
    needed = [
        digest
        for model, digest in present.items()
        if (is_judged if model not in document.sets else document.sets[model].digest != digest)
    ]
    return Existing(
        existing.models,
        existing.profiles,
        existing.resolved,
        existing.values,
        release,
        lookup.variable_sets(connection, needed),
        state.release_draft(connection, name) is not None,
        _published(connection, {*document.aliases, *document.aliases.values()}),
        existing.aliased,
    )


def _published(connection: sa.Connection, names: Collection[str]) -> frozenset[str]:
    """Return those of the names that are profiles or device models."""
    if not names:
        return frozenset()
    return frozenset({**lookup.ids(connection, schema.profile, names), **lookup.ids(connection, schema.model, names)})


def _release(connection: sa.Connection, name: ReleaseName) -> ExistingRelease | None:
    release_id = lookup.release_id(connection, name.implementation, name.version)
    if release_id is None:
        return None
    description = connection.execute(
        sa.select(schema.release.c.description).where(schema.release.c.id == release_id)
    ).scalar_one()
    return ExistingRelease(
        description,
        lookup.release_state(connection, release_id),
        lookup.release_models(connection, release_id),
        lookup.listed_profiles(connection, release_id),
        lookup.own_values_of(connection, [release_id]).get(release_id, {}),
        lookup.aliases_of(connection, [release_id]).get(release_id, {}),
    )


def _existing(
    connection: sa.Connection,
    documents: Sequence[ProfileDocument],
    listed: Sequence[str],
    models: set[str],
    *,
    of_models: Collection[str] | None,
) -> Existing:
    """Return the published models and profiles; of_models: those that values are loaded for, None: all."""
    names = {document.name for document in documents}
    parents = {document.extends for document in documents if document.extends and document.extends not in names}
    profile_ids = lookup.ids(connection, schema.profile, {*names, *parents, *listed})
    resolved_by_id = lookup.resolved_entries(connection, profile_ids.values())
    resolved = {name: resolved_by_id[profile_id] for name, profile_id in profile_ids.items()}
    profiles = _profiles(connection, [name for name in profile_ids if name in names])
    if of_models is None:
        models = models | {model for digests in resolved.values() for model in digests}
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
        lookup.models(connection, models),
        profiles,
        resolved,
        lookup.profile_values(connection, needed),
        aliased=_aliased(connection, {*names, *models}),
    )


def _aliased(connection: sa.Connection, names: Collection[str]) -> frozenset[str]:
    """Return those of the names that some release states as aliases."""
    alias = schema.release_alias.c.alias
    return frozenset(
        name
        for batch in lookup.batches(names)
        for name in connection.execute(sa.select(alias).distinct().where(alias.in_(batch))).scalars()
    )


def _profiles(connection: sa.Connection, names: Collection[str]) -> Mapping[str, ExistingProfile]:
    profile, parent = schema.profile, schema.profile.alias("parent")
    rows: list[Any] = []
    for batch in lookup.batches(names):
        query = (
            sa.select(profile.c.id, profile.c.name, profile.c.description, parent.c.name.label("extends"))
            .select_from(profile.outerjoin(parent, parent.c.id == profile.c.extends_id))
            .where(profile.c.name.in_(batch))
        )
        rows += connection.execute(query).all()
    entries = lookup.profile_entries(connection, [row.id for row in rows])
    states = {stored.id: stored.state for stored in lookup.profiles(connection, names)}
    return {
        row.name: ExistingProfile(
            row.extends,
            row.description,
            states[row.id],
            {model: Entry(own, resolved) for model, (own, resolved) in entries[row.id].items()},
        )
        for row in rows
    }
