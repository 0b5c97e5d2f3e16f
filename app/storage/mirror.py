"""Mirroring: apply the changes of another registry here, in its order, each of its transactions as a whole."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import LINKED, ChangeKind, linked
from app.domain.publishing.gate import Evolution, Mode
from app.domain.publishing.outcome import ConflictError, UnknownVendorError
from app.domain.things.erratum import read_erratum
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import Fault, FaultCode, InvalidDocumentError, Place
from app.domain.values.name import ReleaseName, host_name, name, vendor_name
from app.domain.values.state import State
from app.signing.envelope import Envelope, Subject
from app.storage import evolution, listing, lookup, schema, signature, state
from app.storage.database import Writing
from app.storage.erratum import WithdrawnError, publish_erratum, withdraw_erratum
from app.storage.erratum import find as find_erratum
from app.storage.evolution import Override
from app.storage.host import delete_host, put_host
from app.storage.publication import Gate, publish_profile, publish_release, publish_vendor, set_evolution
from app.storage.signature import Signed


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A change of another registry. document: what it added; content is replaced by its digest.

    The caller has checked that the document has the shape of its kind.
    """

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
    """A change or its content does not match its digest, so it was altered in transit; the message names it."""


class GapError(ValueError):
    """Changes are missing between the last one here and the ones sent."""


class RefusedError(ValueError):
    """A change cannot be applied here; the message names it, the faults say why."""

    def __init__(self, change: Mirrored, faults: Sequence[Fault]) -> None:
        why = "; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults[:5])
        super().__init__(f"change {change.seq} ({change.kind.value} {change.name}) cannot be applied here: {why}")
        self.faults = tuple(faults)


def _position(connection: sa.Connection, registry: str) -> tuple[int, str]:
    """Return the seq and the link of the last change applied here; if there is none, 0 and the id of the registry."""
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
    """Apply changes of another registry, except those applied before; return how many of them added something.

    changes: without gaps, and whole transactions. Raises AlteredError, GapError or RefusedError; the caller's
    transaction then rolls back all of them.
    """
    for key, content in contents.items():
        if digest(canonical_json(content)) != key:
            message = f"the content {key} does not match its digest: it was altered in transit"
            raise AlteredError(message)
    application = _Application(writing, contents, with_hosts=with_hosts)
    last, link = _position(writing.connection, registry)
    added = 0
    for change in changes:
        if change.seq <= last:
            continue
        if change.seq != last + 1:
            message = (
                f"change {change.seq} does not follow change {last}, the last one here; send change {last + 1} next"
            )
            raise GapError(message)
        if change.link != linked(link, {field: getattr(change, field) for field in LINKED}):
            message = (
                f"change {change.seq} ({change.kind.value} {change.name}) does not match its link: it was altered in "
                f"transit, or the other registry was restored to a state older than this mirror"
            )
            raise AlteredError(message)
        writing.detail = {"origin": {"registry": registry, "seq": change.seq, "at": change.at, "by": change.by}}
        added += application.apply(change)
        last, link = change.seq, change.link
    row = {"registry": registry, "url": url, "seq": last, "link": link, "at": writing.at}
    table = schema.mirror
    update = sa.update(table).where(table.c.registry == registry).values(row)
    if writing.connection.execute(update).rowcount == 0:
        writing.connection.execute(sa.insert(table).values(row))
    return added


class _Application:
    """Applies changes one after the other."""

    def __init__(self, writing: Writing, contents: Mapping[str, Mapping[str, Any]], *, with_hosts: bool) -> None:
        self.writing = writing
        self.contents = contents
        self.with_hosts = with_hosts
        # The current transaction of the other registry, and whether it has added something here so far.
        self._part_of = 0
        self._has_added = False
        # The envelope that published the current change; None: it is not signed.
        self._signed: Signed | None = None
        self._handlers: Mapping[ChangeKind, Callable[[str, Mapping[str, Any]], bool]] = {
            ChangeKind.VENDOR_REGISTERED: self._vendor,
            ChangeKind.VENDOR_COMPLETED: self._vendor,
            ChangeKind.RELEASE_PUBLISHED: self._release,
            ChangeKind.RELEASE_EXTENDED: self._release,
            ChangeKind.PROFILE_PUBLISHED: self._profile,
            ChangeKind.PROFILE_EXTENDED: self._profile,
            ChangeKind.RELEASE_STATE_CHANGED: self._release_state,
            ChangeKind.PROFILE_STATE_CHANGED: self._profile_state,
            ChangeKind.ERRATUM_PUBLISHED: self._erratum,
            ChangeKind.ERRATUM_WITHDRAWN: self._withdraw_erratum,
            ChangeKind.EVOLUTION_SET: self._evolution,
            ChangeKind.GATE_OVERRIDDEN: self._override,
            ChangeKind.HOST_REGISTERED: self._host,
            ChangeKind.HOST_CHANGED: self._host,
            ChangeKind.HOST_FORGOTTEN: self._forget_host,
        }

    def apply(self, change: Mirrored) -> bool:
        """Apply a change; return whether it added something."""
        if change.part_of != self._part_of:
            self._part_of, self._has_added = change.part_of, False
            self.writing.first_seq = None
        document = change.document
        document_digest = None if document is None else digest(canonical_json(document))
        if document_digest != change.document_digest:
            message = (
                f"the document of change {change.seq} ({change.kind.value} {change.name}) does not match its digest: "
                f"it was altered in transit"
            )
            raise AlteredError(message)
        added = False
        if document is not None:
            handler = self._handlers.get(change.kind)
            if handler is None:
                message = f"change {change.seq} has the kind {change.kind.value}, which cannot be mirrored"
                raise AlteredError(message)
            try:
                _NAMES[change.kind.value.partition("-")[0]](change.name)
                self._signed = self._envelope(change)
                added = handler(change.name, document)
            except AlteredError:
                raise
            except (ConflictError, InvalidDocumentError) as error:
                raise RefusedError(change, error.faults) from error
            except (UnknownVendorError, LookupError, ValueError) as error:
                raise RefusedError(change, [Fault("", FaultCode.INVALID_VALUE, str(error))]) from error
        self._has_added = self._has_added or added
        if self._has_added and change.digest is not None:
            self._check_digest(change)
        # A change without a document came with another one of its transaction, like the profiles of a release.
        return added or (document is None and self._has_added)

    def _check_digest(self, change: Mirrored) -> None:
        """Check that the release or profile now has the digest that it had in the other registry after the change."""
        connection = self.writing.connection
        if change.kind in {ChangeKind.RELEASE_PUBLISHED, ChangeKind.RELEASE_EXTENDED}:
            row = listing.release(connection, ReleaseName.parse(change.name))
        elif change.kind in {ChangeKind.PROFILE_PUBLISHED, ChangeKind.PROFILE_EXTENDED}:
            row = listing.profile(connection, change.name)
        else:
            return
        if row is None or row.digest != change.digest:
            message = (
                f"after change {change.seq}, {change.name} differs from the other registry: it was altered in transit, "
                f"or something was published under this name here other than by mirroring"
            )
            raise AlteredError(message)

    def _content(self, key: str) -> dict[str, Any]:
        if key in self.contents:
            return dict(self.contents[key])
        # Content that came with an earlier change is not sent again.
        for table in (schema.variable_set, schema.profile_values, schema.envelope):
            for _, stored in lookup.documents(self.writing.connection, table, [key]):
                content: dict[str, Any] = json.loads(stored)
                return content
        message = f"the content {key} is missing: it came neither with these changes nor with earlier ones"
        raise AlteredError(message)

    def _envelope(self, change: Mirrored) -> Signed | None:
        """Return the envelope that published a change; raises InvalidDocumentError unless keys known here signed it."""
        key, subject = change.detail.get("signature"), _SUBJECTS.get(change.kind)
        if key is None or subject is None:
            return None
        place = Place()
        envelope = Envelope.read(self._content(str(key)), place, subject)
        if envelope is not None and envelope.name != change.name:
            (place / "payload" / "name").fault(FaultCode.INVALID_NAME, f"must be {change.name}, the name of the change")
        elif envelope is not None:
            signed = signature.verified(self.writing.connection, envelope)
            place.raise_faults()
            return signed
        place.raise_faults()
        return None

    def _vendor(self, name: str, document: Mapping[str, Any]) -> bool:
        existing = listing.vendor(self.writing.connection, name)
        # A vendor's title and URL do not identify it. Where two registries differ, the first one mirrored wins.
        title = document.get("name") if existing is None or existing.title is None else None
        url = document.get("url") if existing is None or existing.url is None else None
        added = bool(publish_vendor(self.writing, name, title, url, must_sign=document.get("signed")).added)
        revoked = {entry.key.id for entry in signature.keys(self.writing.connection, [name]) if entry.revoked_at}
        for text in document.get("keys", ()):
            key = signature.read_key(name, None, text, Place())
            # What an admin of this registry revoked stays revoked, whatever the other registry says.
            if key.id not in revoked:
                added = signature.register_key(self.writing, name, key, Place()) or added
        for text in document.get("revoked_keys", ()):
            key = signature.read_key(name, None, text, Place())
            added = (key.id not in revoked and signature.revoke_key(self.writing, name, key.id)) or added
        return added

    def _release(self, name: str, document: Mapping[str, Any]) -> bool:
        at = Place()
        if self._signed is not None:
            # Publish what the vendor signed; the digests afterwards show whether the other registry did the same.
            read, gate = ReleaseDocument.read(_without_state(self._signed), at), Gate(is_open=True)
            return bool(publish_release(self.writing, ReleaseName.parse(name), read, at, gate, self._signed).added)
        complete: dict[str, Any] = {**document, "models": {}}
        for model, key in document["models"].items():
            content = self._content(key)
            if content.pop("model", None) != model:
                message = f"the content {key} does not describe the model {model}"
                raise AlteredError(message)
            complete["models"][model] = content
        if "profiles" in document:
            complete["profiles"] = [
                profile if isinstance(profile, str) else self._profile_document(profile)
                for profile in document["profiles"]
            ]
        if "own_values" in document:
            complete["own_values"] = {
                profile: {model: self._content(key) for model, key in own.items()}
                for profile, own in document["own_values"].items()
            }
        release = ReleaseDocument.read(complete, at)
        gate = Gate(is_open=True)
        return bool(publish_release(self.writing, ReleaseName.parse(name), release, at, gate).added)

    def _profile(self, name: str, document: Mapping[str, Any]) -> bool:
        at = Place()
        written = self._profile_document(document) if self._signed is None else _without_state(self._signed)
        profile = ProfileDocument.read(written, at, named=name)
        # Without a name there is no vendor to look up.
        at.raise_faults()
        return bool(publish_profile(self.writing, profile, at, self._signed).added)

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
            message = f"no release {name} is published here"
            raise LookupError(message)
        override = Override(document["reason"], document["at"], document["broken"])
        if override in evolution.overrides(self.writing.connection, release_id):
            return False
        evolution.store_override(self.writing, release, release_id, override)
        return True

    def _erratum(self, _name: str, document: Mapping[str, Any]) -> bool:
        place = Place()
        read = read_erratum({field: value for field, value in document.items() if value is not None}, place)
        if read["local"] and not self.with_hosts:
            return False
        try:
            return publish_erratum(self.writing, read, place)[1]
        except WithdrawnError:
            # An admin of this registry withdrew it here.
            return False

    def _withdraw_erratum(self, _name: str, document: Mapping[str, Any]) -> bool:
        # An erratum of that registry's own was not mirrored.
        is_known = find_erratum(self.writing.connection, document["erratum"]) is not None
        return is_known and withdraw_erratum(self.writing, document["erratum"])

    def _host(self, name: str, document: Mapping[str, Any]) -> bool:
        if not self.with_hosts:
            return False
        stated = {"restrict": {}, **{field: content for field, content in document.items() if field != "labels"}}
        return put_host(self.writing, name, stated, document.get("labels", {}))

    def _forget_host(self, name: str, _document: Mapping[str, Any]) -> bool:
        return self.with_hosts and delete_host(self.writing, name)


def _without_state(signed: Signed) -> object:
    """Return what an envelope publishes; the state comes with a change of its own."""
    document = signed.envelope.document
    if not isinstance(document, dict):
        return document
    return {field: value for field, value in document.items() if field != "state"}


_SUBJECTS = {
    ChangeKind.RELEASE_PUBLISHED: Subject.RELEASE,
    ChangeKind.RELEASE_EXTENDED: Subject.RELEASE,
    ChangeKind.PROFILE_PUBLISHED: Subject.PROFILE,
    ChangeKind.PROFILE_EXTENDED: Subject.PROFILE,
}
_NAMES: Mapping[str, Callable[[str], object]] = {
    "vendor": vendor_name,
    "release": ReleaseName.parse,
    "gate": ReleaseName.parse,
    "erratum": ReleaseName.parse,
    "profile": name,
    "evolution": name,
    "host": host_name,
}
