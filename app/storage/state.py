"""The states of profiles and releases, and drafts."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.document import FaultCode, Place
from app.domain.name import ReleaseName
from app.domain.profile import ProfileDocument
from app.domain.release import ReleaseDocument
from app.domain.state import State
from app.storage import lookup, schema
from app.storage.outcome import ConflictError


def set_release_state(connection: sa.Connection, release_id: int, state: State) -> bool:
    """Give a release a state; return whether that is another one. Raises ConflictError."""
    standing = lookup.release_state(connection, release_id)
    if not _is_another(standing, state):
        return False
    lookup.put(connection, schema.release_state.c.release_id, release_id, {"state": state.value})
    lookup.count_revision(connection)
    return True


def set_profile_state(connection: sa.Connection, profile_id: int, state: State) -> bool:
    """Give a profile a state; return whether that is another one. Raises ConflictError."""
    standing = lookup.profile_state(connection, profile_id)
    if not _is_another(standing, state):
        return False
    lookup.put(connection, schema.profile_state.c.profile_id, profile_id, {"state": state.value})
    lookup.count_revision(connection)
    return True


def _is_another(standing: State, state: State) -> bool:
    if state is State.DRAFT:
        at = Place() / "state"
        at.fault(FaultCode.ENTRY_CHANGED, f"is {standing.value}: what was published becomes no draft again")
        raise ConflictError(at.faults)
    return standing is not state


def check_state_asked(asked: State | None, standing: State, at: Place) -> None:
    """Report a publication that asks for another state than stands: it may be a repeated one, and undo a change."""
    if asked is not None and asked is not standing:
        message = f"is {standing.value}; PATCH changes that"
        (at / "state").fault(FaultCode.ENTRY_CHANGED, message)


def put_release_draft(
    connection: sa.Connection, name: ReleaseName, read: ReleaseDocument, document: Mapping[str, Any]
) -> bool:
    """Keep the draft of a release in the place of any before; return whether there was none."""
    sets = {model: each.digest for model, each in read.sets.items()}
    row = {
        "digest": digest(canonical_json({"release": str(name), "models": sets})),
        "model_count": len(read.sets),
        "profile_count": None if read.profiles is None else len(read.profiles),
        "document": json.dumps(document),
    }
    table = schema.release_draft
    is_new = not delete_release_draft(connection, name)
    connection.execute(sa.insert(table), {**row, "implementation": name.implementation, "version": name.version})
    return is_new


def put_profile_draft(connection: sa.Connection, read: ProfileDocument, document: Mapping[str, Any]) -> bool:
    """Keep the draft of a profile in the place of any before; return whether there was none."""
    is_new = not delete_profile_draft(connection, read.name)
    row = {"extends": read.extends, "model_count": len(read.values), "document": json.dumps(document)}
    connection.execute(sa.insert(schema.profile_draft), {**row, "name": read.name})
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
