"""Mirroring: what another registry published is published here, in its order, each transaction whole."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.change import LINKED, ChangeKind, linked
from app.domain.document import MAX_DESCRIPTION, Fault, FaultCode, InvalidDocumentError, Place
from app.domain.evolution import Evolution, Mode
from app.domain.name import ReleaseName, host_name, name, vendor_name
from app.domain.profile import ProfileDocument
from app.domain.release import ReleaseDocument
from app.domain.state import State
from app.storage import evolution, listing, lookup, schema, state
from app.storage.database import Writing
from app.storage.evolution import Override
from app.storage.host import delete_host, put_host
from app.storage.outcome import ConflictError, UnknownVendorError
from app.storage.publication import Gate, publish_profile, publish_release, publish_vendor, set_evolution


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A change of another registry, with what it added: content stands by its digest."""

    seq: int
    part_of: int
    at: str
    by: str
    kind: ChangeKind
    name: str
    digest: str | None
    detail: Mapping[str, Any]
    document_digest: str | None
    link: str
    document: Mapping[str, Any] | None


class AlteredError(ValueError):
    """Something that is not what its digest says: it was altered on the way; the message names it."""


class GapError(ValueError):
    """Changes that do not follow on those that are here."""


class RefusedError(ValueError):
    """A change that cannot be made here; the message names it, the faults say why."""

    def __init__(self, change: Mirrored, faults: Sequence[Fault]) -> None:
        why = "; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults[:5])
        super().__init__(f"change {change.seq} ({change.kind.value} {change.name}) cannot be made here: {why}")
        self.faults = tuple(faults)


def _position(connection: sa.Connection, registry: str) -> tuple[int, str]:
    """Return the last change of another registry that is here, and its link; of none what the first is linked to."""
    row = listing.mirror(connection, registry)
    return (0, registry) if row is None else (row.seq, row.link)


def mirror(
    writing: Writing,
    registry: str,
    url: str,
    changes: Sequence[Mirrored],
    contents: Mapping[str, Mapping[str, Any]],
    *,
    with_hosts: bool = False,
) -> int:
    """Make the changes of another registry here, those made already left out; return of how many something was new.

    changes: without gaps, those of one transaction together. Raises AlteredError, GapError, RefusedError; then nothing
    of them is here.
    """
    for key, content in contents.items():
        if digest(canonical_json(content)) != key:
            message = f"the content {key} is not what its digest says"
            raise AlteredError(message)
    making = _Making(writing, contents, with_hosts=with_hosts)
    last, link = _position(writing.connection, registry)
    added = 0
    for change in changes:
        if change.seq <= last:
            continue
        if change.seq != last + 1:
            message = f"change {change.seq} does not follow on change {last}, the last one that is here"
            raise GapError(message)
        if change.link != linked(link, {field: getattr(change, field) for field in LINKED}):
            message = (
                f"change {change.seq} ({change.kind.value} {change.name}) is not what its link says: it was altered on "
                f"the way, or the other registry was set back behind what is here"
            )
            raise AlteredError(message)
        writing.detail = {"origin": {"registry": registry, "seq": change.seq, "at": change.at, "by": change.by}}
        added += making.make(change)
        last, link = change.seq, change.link
    row = {"registry": registry, "url": url, "seq": last, "link": link, "at": writing.at}
    table = schema.mirror
    updated = sa.update(table).where(table.c.registry == registry).values(row)
    if writing.connection.execute(updated).rowcount == 0:
        writing.connection.execute(sa.insert(table).values(row))
    return added


class _Making:
    """Makes changes one after the other."""

    def __init__(self, writing: Writing, contents: Mapping[str, Mapping[str, Any]], *, with_hosts: bool) -> None:
        self.writing = writing
        self.contents = contents
        self.with_hosts = with_hosts
        # The transaction of the other registry, and whether something of it was new here.
        self._part_of = 0
        self._new = False
        self._kinds: Mapping[ChangeKind, Callable[[str, Mapping[str, Any]], bool]] = {
            ChangeKind.VENDOR_REGISTERED: self._vendor,
            ChangeKind.VENDOR_COMPLETED: self._vendor,
            ChangeKind.RELEASE_PUBLISHED: self._release,
            ChangeKind.RELEASE_EXTENDED: self._release,
            ChangeKind.PROFILE_PUBLISHED: self._profile,
            ChangeKind.PROFILE_EXTENDED: self._profile,
            ChangeKind.RELEASE_STATE_CHANGED: self._release_state,
            ChangeKind.PROFILE_STATE_CHANGED: self._profile_state,
            ChangeKind.EVOLUTION_SET: self._evolution,
            ChangeKind.GATE_OVERRIDDEN: self._override,
            ChangeKind.HOST_REGISTERED: self._host,
            ChangeKind.HOST_CHANGED: self._host,
            ChangeKind.HOST_FORGOTTEN: self._forget_host,
        }

    def make(self, change: Mirrored) -> bool:
        """Make a change; return whether something of it is new here."""
        if change.part_of != self._part_of:
            self._part_of, self._new = change.part_of, False
            self.writing.first_seq = None
        document = change.document
        stated = None if document is None else digest(canonical_json(document))
        if stated != change.document_digest:
            message = f"what change {change.seq} ({change.kind.value} {change.name}) adds is not what its digest says"
            raise AlteredError(message)
        is_new = False
        if document is not None:
            make = self._kinds.get(change.kind)
            if make is None:
                message = f"change {change.seq} is of a kind that is not mirrored: {change.kind.value}"
                raise AlteredError(message)
            try:
                _check_shape(change, document)
                is_new = make(change.name, document)
            except AlteredError:
                raise
            except (ConflictError, InvalidDocumentError) as error:
                raise RefusedError(change, error.faults) from error
            except (UnknownVendorError, LookupError, TypeError, AttributeError, ValueError) as error:
                raise RefusedError(change, [Fault("", FaultCode.INVALID_VALUE, str(error))]) from error
        self._new = self._new or is_new
        if self._new and change.digest is not None:
            self._check_digest(change)
        # What came with a release is as new as that.
        return is_new or (document is None and self._new)

    def _check_digest(self, change: Mirrored) -> None:
        """Check that what stands now is what stood in the other registry after the change."""
        connection = self.writing.connection
        if change.kind in {ChangeKind.RELEASE_PUBLISHED, ChangeKind.RELEASE_EXTENDED}:
            found = listing.release(connection, ReleaseName.parse(change.name))
        elif change.kind in {ChangeKind.PROFILE_PUBLISHED, ChangeKind.PROFILE_EXTENDED}:
            found = listing.profile(connection, change.name)
        else:
            return
        if found is None or found.digest != change.digest:
            message = (
                f"after change {change.seq} {change.name} is not what it is in the other registry: it was altered on "
                f"the way, or something of it was published here beside the mirror"
            )
            raise AlteredError(message)

    def _content(self, key: str) -> dict[str, Any]:
        if key in self.contents:
            return dict(self.contents[key])
        # What came with a change before is not sent again.
        for table in (schema.variable_set, schema.profile_values):
            for _, stored in lookup.documents(self.writing.connection, table, [key]):
                content: dict[str, Any] = json.loads(stored)
                return content
        message = f"the content {key} is missing"
        raise AlteredError(message)

    def _vendor(self, name: str, document: Mapping[str, Any]) -> bool:
        standing = listing.vendor(self.writing.connection, name)
        # What people call a vendor is no identity: of two registries the first one's stands.
        title = document.get("name") if standing is None or standing.title is None else None
        url = document.get("url") if standing is None or standing.url is None else None
        return bool(publish_vendor(self.writing, name, title, url).added)

    def _release(self, name: str, document: Mapping[str, Any]) -> bool:
        at = Place()
        written: dict[str, Any] = {**document, "models": {}}
        for model, key in document["models"].items():
            content = self._content(key)
            if content.pop("model", None) != model:
                message = f"the content {key} is not of {model}"
                raise AlteredError(message)
            written["models"][model] = content
        if "profiles" in document:
            written["profiles"] = [
                each if isinstance(each, str) else self._profile_document(each) for each in document["profiles"]
            ]
        if "own_values" in document:
            written["own_values"] = {
                profile: {model: self._content(key) for model, key in own.items()}
                for profile, own in document["own_values"].items()
            }
        read = ReleaseDocument.read(written, at)
        gate = Gate(is_open=True)
        return bool(publish_release(self.writing, ReleaseName.parse(name), read, at, gate).added)

    def _profile(self, name: str, document: Mapping[str, Any]) -> bool:
        at = Place()
        read = ProfileDocument.read(self._profile_document(document), at, named=name)
        return bool(publish_profile(self.writing, read, at).added)

    def _profile_document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return {**document, "values": {model: self._content(key) for model, key in document["values"].items()}}

    def _release_state(self, name: str, document: Mapping[str, Any]) -> bool:
        wanted = State(document["state"])
        return state.set_release_state(self.writing, ReleaseName.parse(name), wanted) is not wanted

    def _profile_state(self, name: str, document: Mapping[str, Any]) -> bool:
        wanted = State(document["state"])
        return state.set_profile_state(self.writing, name, wanted) is not wanted

    def _evolution(self, name: str, document: Mapping[str, Any]) -> bool:
        return set_evolution(self.writing, name, Evolution(Mode(document["evolution"]), document["transitive"]))

    def _override(self, name: str, document: Mapping[str, Any]) -> bool:
        release = ReleaseName.parse(name)
        release_id = lookup.release_id(self.writing.connection, release.implementation, release.version)
        if release_id is None:
            raise KeyError(name)
        override = Override(document["reason"], document["at"], document["broken"])
        if override in evolution.overrides(self.writing.connection, release_id):
            return False
        evolution.store_override(self.writing, release, release_id, override)
        return True

    def _host(self, name: str, document: Mapping[str, Any]) -> bool:
        if not self.with_hosts:
            return False
        return put_host(self.writing, name, document["releases"], document["restrict"], document["labels"])

    def _forget_host(self, name: str, _document: Mapping[str, Any]) -> bool:
        return self.with_hosts and delete_host(self.writing, name)


_TEXT = str | None
_SHAPES: Mapping[ChangeKind, Mapping[str, Any]] = {
    ChangeKind.VENDOR_REGISTERED: {"name": _TEXT, "url": _TEXT},
    ChangeKind.VENDOR_COMPLETED: {"name": _TEXT, "url": _TEXT},
    ChangeKind.RELEASE_STATE_CHANGED: {"state": str},
    ChangeKind.PROFILE_STATE_CHANGED: {"state": str},
    ChangeKind.EVOLUTION_SET: {"evolution": str, "transitive": bool},
    ChangeKind.GATE_OVERRIDDEN: {"reason": str, "at": str, "broken": list},
    ChangeKind.HOST_REGISTERED: {"releases": list, "restrict": dict, "labels": dict},
    ChangeKind.HOST_CHANGED: {"releases": list, "restrict": dict, "labels": dict},
}
_NAMES: Mapping[str, Callable[[str], object]] = {
    "vendor": vendor_name,
    "release": ReleaseName.parse,
    "gate": ReleaseName.parse,
    "profile": name,
    "evolution": name,
    "host": host_name,
}


def _check_shape(change: Mirrored, document: Mapping[str, Any]) -> None:
    """Check what no publication checks: that the name can be one, and that fields are of their types."""
    _NAMES[change.kind.value.partition("-")[0]](change.name)
    for field, of_type in _SHAPES.get(change.kind, {}).items():
        value = document.get(field)
        if not isinstance(value, of_type) or (isinstance(value, str) and len(value) > MAX_DESCRIPTION):
            message = f"its {field} is not what it can be"
            raise TypeError(message)
    if change.kind is ChangeKind.GATE_OVERRIDDEN and not all(
        isinstance(each, dict) and each.keys() >= _BROKEN for each in document["broken"]
    ):
        message = "its broken is not what it can be"
        raise TypeError(message)


_BROKEN = frozenset({"profile", "model", "accepted_by", "refused_by", "problems"})
