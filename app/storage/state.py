"""The states of releases and profiles, and drafts."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.outcome import ConflictError
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.storage import database, lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing


def set_release_state(writing: Writing, name: ReleaseName, state: State) -> State:
    """Set the state of a published release; return the previous one. Raises ConflictError."""
    connection = writing.connection
    release_id = lookup.release_id(connection, name.implementation, name.version)
    if release_id is None:
        raise KeyError(str(name))
    previous = lookup.release_state(connection, release_id)
    if _is_change(previous, state):
        lookup.put(connection, schema.release_state.c.release_id, release_id, {"state": state.value})
        models = lookup.release_models(connection, release_id)
        _record(writing, ChangeKind.RELEASE_STATE_CHANGED, str(name), previous, state, models)
    return previous


def set_profile_state(writing: Writing, name: str, state: State) -> State:
    """Set the state of a published profile; return the previous one. Raises ConflictError."""
    connection = writing.connection
    profile_id = lookup.ids(connection, schema.profile, [name])[name]
    previous = lookup.profile_state(connection, profile_id)
    if _is_change(previous, state):
        lookup.put(connection, schema.profile_state.c.profile_id, profile_id, {"state": state.value})
        models = lookup.resolved_entries(connection, [profile_id])[profile_id]
        _record(writing, ChangeKind.PROFILE_STATE_CHANGED, name, previous, state, models)
    return previous


def _record(
    writing: Writing, kind: ChangeKind, name: str, previous: State, state: State, models: Collection[str]
) -> None:
    detail = {"before": previous.value, "state": state.value}
    document = {"state": state.value}
    record(writing, Change(kind=kind, name=name, document=document, models=models, detail=detail))
    database.count_revision(writing.connection)


def _is_change(previous: State, state: State) -> bool:
    """Return whether the states differ; raises ConflictError for draft, because it is published already."""
    if state is State.DRAFT:
        at = Place() / "state"
        message = f'must be published, deprecated or retired, not "draft": it is {previous.value} already'
        at.fault(FaultCode.ENTRY_CHANGED, message)
        raise ConflictError(at.faults)
    return previous is not state


def put_release_draft(
    writing: Writing, name: ReleaseName, read: ReleaseDocument, document: Mapping[str, Any], digest: str
) -> bool:
    """Store the draft of a release, or replace it; return whether it is new. digest: the one that it would have."""
    row = {
        "digest": digest,
        "model_count": len(read.sets),
        "profile_count": None if read.profiles is None else len(read.profiles),
        "document": json.dumps(document),
    }
    table = schema.release_draft
    is_new = not delete_release_draft(writing.connection, name)
    key = {"implementation": name.implementation, "version": name.version}
    writing.connection.execute(sa.insert(table), {**row, **key})
    record(writing, Change(kind=ChangeKind.DRAFT_KEPT, name=str(name)))
    return is_new


def put_profile_draft(writing: Writing, read: ProfileDocument, document: Mapping[str, Any]) -> bool:
    """Store the draft of a profile, or replace it; return whether it is new."""
    is_new = not delete_profile_draft(writing.connection, read.name)
    row = {"extends": read.extends, "model_count": len(read.values), "document": json.dumps(document)}
    writing.connection.execute(sa.insert(schema.profile_draft), {**row, "name": read.name})
    record(writing, Change(kind=ChangeKind.DRAFT_KEPT, name=read.name))
    return is_new


def release_draft(connection: sa.Connection, name: ReleaseName) -> dict[str, Any] | None:
    """Return the draft of a release as it was written, None if there is none."""
    table = schema.release_draft
    query = sa.select(table.c.document).where(
        table.c.implementation == name.implementation, table.c.version == name.version
    )
    return _document(connection, query)


def profile_draft(connection: sa.Connection, name: str) -> dict[str, Any] | None:
    """Return the draft of a profile as it was written, None if there is none."""
    table = schema.profile_draft
    return _document(connection, sa.select(table.c.document).where(table.c.name == name))


def _document(connection: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> dict[str, Any] | None:
    text = connection.execute(query).scalar_one_or_none()
    if text is None:
        return None
    document: dict[str, Any] = json.loads(text)
    return document


def delete_release_draft(connection: sa.Connection, name: ReleaseName) -> bool:
    """Delete the draft of a release; return whether there was one."""
    table = schema.release_draft
    where = (table.c.implementation == name.implementation) & (table.c.version == name.version)
    return connection.execute(sa.delete(table).where(where)).rowcount > 0


def delete_profile_draft(connection: sa.Connection, name: str) -> bool:
    """Delete the draft of a profile; return whether there was one."""
    table = schema.profile_draft
    return connection.execute(sa.delete(table).where(table.c.name == name)).rowcount > 0


def discard_release_draft(writing: Writing, name: ReleaseName) -> bool:
    """Delete the draft of a release on request, and record that; return whether there was one."""
    is_deleted = delete_release_draft(writing.connection, name)
    if is_deleted:
        record(writing, Change(kind=ChangeKind.DRAFT_DELETED, name=str(name)))
    return is_deleted


def discard_profile_draft(writing: Writing, name: str) -> bool:
    """Delete the draft of a profile on request, and record that; return whether there was one."""
    is_deleted = delete_profile_draft(writing.connection, name)
    if is_deleted:
        record(writing, Change(kind=ChangeKind.DRAFT_DELETED, name=name))
    return is_deleted
