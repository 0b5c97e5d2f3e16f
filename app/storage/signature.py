"""Signed publications: vendors' keys, which vendors must sign, and the envelopes that were verified."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.outcome import UnknownVendorError
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import MAX_QUOTED, FaultCode, InvalidDocumentError, Place
from app.domain.values.name import is_vendor, vendor_of
from app.signing.envelope import Envelope, Subject
from app.signing.key import InvalidKeyError, PublicKey
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing

# Limits what one vendor's keys cost; revoked ones count, because they are kept.
MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class VendorKey:
    """A key of a vendor. revoked_at: it verifies nothing that is published later; None: it is not revoked."""

    vendor: str
    key: PublicKey
    at: str
    revoked_at: str | None


def keys(connection: sa.Connection, vendors: Collection[str]) -> Sequence[VendorKey]:
    """Return the keys of vendors by the time registered, also those revoked; a mirror registers several at once."""
    table, revocation, vendor = schema.vendor_key, schema.vendor_key_revocation, schema.vendor
    is_revoked = (revocation.c.vendor_id == table.c.vendor_id) & (revocation.c.key_id == table.c.id)
    query = (
        sa.select(vendor.c.name, table.c.key, table.c.at, revocation.c.at.label("revoked_at"))
        .select_from(table.join(vendor, vendor.c.id == table.c.vendor_id).outerjoin(revocation, is_revoked))
        .where(vendor.c.name.in_(vendors))
        .order_by(vendor.c.name, table.c.at, table.c.id)
    )
    return [VendorKey(row.name, PublicKey.read(row.key), row.at, row.revoked_at) for row in connection.execute(query)]


def read_key(vendor: str, key_id: str | None, written: str, place: Place) -> PublicKey:
    """Return a key that a vendor can have; raises InvalidDocumentError. key_id: the id that it must have."""
    try:
        key = PublicKey.read(written)
    except InvalidKeyError as error:
        place.fault(FaultCode.INVALID_VALUE, str(error))
        raise InvalidDocumentError(place.faults) from None
    # The label of a key then belongs to one vendor alone.
    if key.name != vendor and not key.name.startswith(f"{vendor}/"):
        place.fault(FaultCode.INVALID_NAME, f"must be named {vendor} or {vendor}/…, not {key.name[:MAX_QUOTED]}")
    if key_id not in {None, key.id}:
        place.fault(FaultCode.INVALID_VALUE, f"must have the id in the address; the id of this key is {key.id}")
    place.raise_faults()
    return key


def register_key(writing: Writing, vendor: str, key: PublicKey, place: Place) -> bool:
    """Register a key of a vendor; return whether it is new.

    Raises UnknownVendorError, and InvalidDocumentError for a revoked key: that is final.
    """
    connection = writing.connection
    vendor_id = _vendor_id(connection, vendor)
    registered = keys(connection, [vendor])
    existing = next((entry for entry in registered if entry.key.id == key.id), None)
    if existing is None and len(registered) >= MAX_KEYS:
        place.fault(FaultCode.LIMIT_EXCEEDED, f"{vendor} has {MAX_KEYS:,} keys already")
    elif existing is not None and existing.revoked_at is not None:
        message = f"{existing.key.label} was revoked at {existing.revoked_at}, which is final; register a new key"
        place.fault(FaultCode.KEY_REVOKED, message)
    elif existing is not None and existing.key != key:
        place.fault(FaultCode.DUPLICATE, f"another key of {vendor} has the id {key.id}; make a new key")
    place.raise_faults()
    if existing is not None:
        return False
    row = {"vendor_id": vendor_id, "id": key.id, "key": str(key), "at": writing.at}
    connection.execute(sa.insert(schema.vendor_key), row)
    _record(writing, vendor, {"keys": [str(key)]})
    return True


def revoke_key(writing: Writing, vendor: str, key_id: str) -> bool:
    """Revoke a key of a vendor; return whether it exists. What it has signed before stays signed."""
    existing = next((entry for entry in keys(writing.connection, [vendor]) if entry.key.id == key_id), None)
    if existing is not None and existing.revoked_at is None:
        row = {"vendor_id": _vendor_id(writing.connection, vendor), "key_id": key_id, "at": writing.at}
        writing.connection.execute(sa.insert(schema.vendor_key_revocation), row)
        _record(writing, vendor, {"revoked_keys": [str(existing.key)]})
    return existing is not None


def require_signatures(writing: Writing, vendor: str, *, is_required: bool) -> bool:
    """Set whether a vendor's publications must be signed; return whether that is new. Raises UnknownVendorError."""
    connection = writing.connection
    if is_required is (vendor in must_sign(connection, [vendor])):
        return False
    row = {"is_required": is_required}
    lookup.put(connection, schema.vendor_signing.c.vendor_id, _vendor_id(connection, vendor), row)
    _record(writing, vendor, {"signed": is_required})
    return True


def _vendor_id(connection: sa.Connection, vendor: str) -> int:
    vendor_id = lookup.ids(connection, schema.vendor, [vendor]).get(vendor)
    if vendor_id is None:
        raise UnknownVendorError(vendor)
    return vendor_id


def _record(writing: Writing, vendor: str, gained: Mapping[str, Any]) -> None:
    """Record what a vendor gains. A kind of its own would stop workers of the version before on the same database."""
    document = {"name": None, "url": None, **gained}
    record(writing, Change(kind=ChangeKind.VENDOR_COMPLETED, name=vendor, document=document, detail=gained))


def must_sign(connection: sa.Connection, vendors: Collection[str]) -> frozenset[str]:
    """Return those of the vendors whose publications must be signed."""
    table, vendor = schema.vendor_signing, schema.vendor
    query = sa.select(vendor.c.name).join_from(table, vendor).where(table.c.is_required, vendor.c.name.in_(vendors))
    return frozenset(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope that was verified; keys: the labels of the keys, vendors: those whose keys they are."""

    envelope: Envelope
    keys: Sequence[str]
    vendors: frozenset[str]


def verified(connection: sa.Connection, envelope: Envelope) -> Signed | None:
    """Return an envelope that a key of its own vendor has signed; otherwise report faults, and return None.

    Signatures of unknown and revoked keys are ignored if another one verifies.
    """
    owner = vendor_of(envelope.name)
    # Other vendors sign, too, where profiles of theirs come with the release; their names begin the labels.
    vendors = {vendor_of(signature.key.partition("+")[0]) for signature in envelope.signatures}
    known = {entry.key.label: entry for entry in keys(connection, {owner, *filter(is_vendor, vendors)})}
    valid: list[VendorKey] = []
    has_fault = False
    for signature in envelope.signatures:
        entry = known.get(signature.key)
        if entry is None or entry.revoked_at is not None:
            continue
        if entry.key.has_signed(envelope.message, signature.content):
            valid.append(entry)
        else:
            message = f"the signature of {signature.key} does not match the payload and its type"
            (signature.place / "sig").fault(FaultCode.SIGNATURE_INVALID, message)
            has_fault = True
    if has_fault:
        return None
    if all(entry.vendor != owner for entry in valid):
        _report_unusable(envelope, owner, known)
        return None
    return Signed(envelope, sorted(entry.key.label for entry in valid), frozenset(entry.vendor for entry in valid))


def _report_unusable(envelope: Envelope, owner: str, known: Mapping[str, VendorKey]) -> None:
    """Report why no signature of an envelope counts."""
    for signature in envelope.signatures:
        place, entry = signature.place / "keyid", known.get(signature.key)
        if entry is None or entry.vendor != owner:
            message = (
                f"{owner} has no key {signature.key[:MAX_QUOTED]}. Sign with a registered key "
                f"(GET /vendors/{owner}/keys), or ask an admin to register this one"
            )
            place.fault(FaultCode.UNKNOWN_KEY, message)
        else:
            message = f"{signature.key} was revoked at {entry.revoked_at}: it signs nothing published later"
            place.fault(FaultCode.KEY_REVOKED, message)


_SIGNATURE_FAULTS = frozenset({FaultCode.SIGNATURE_INVALID, FaultCode.UNKNOWN_KEY, FaultCode.KEY_REVOKED})


def check_required(must_sign: Collection[str], signed: Signed | None, place: Place) -> None:
    """Report the vendors that must sign what is published of theirs, and have not."""
    if any(fault.code in _SIGNATURE_FAULTS for fault in place.faults):
        return
    for vendor in sorted(set(must_sign) - (signed.vendors if signed else frozenset())):
        message = (
            f"publications of {vendor} must be signed with a key of {vendor}: add --sign FILE to the command "
            f"(HTTP: PUT a DSSE envelope instead of the document)"
        )
        place.fault(FaultCode.SIGNATURE_REQUIRED, message)


def store(writing: Writing, signed: Signed, entries: Iterable[tuple[Subject, str, Collection[str]]]) -> str | None:
    """Store a verified envelope; return its digest, None if the same content is stored with all of its keys.

    entries: what it publishes: kind, name, models. Only verified signatures are kept.
    """
    connection, table = writing.connection, schema.envelope
    payload_digest = digest(signed.envelope.payload.decode())
    query = sa.select(table.c.signers).where(table.c.payload_digest == payload_digest)
    stored = {label for text in connection.execute(query).scalars() for label in json.loads(text)}
    if stored.issuperset(signed.keys):
        return None
    document = canonical_json(signed.envelope.with_signatures(signed.keys))
    row = {
        "digest": digest(document),
        "payload_digest": payload_digest,
        "at": writing.at,
        "signers": json.dumps(signed.keys),
        "document": document,
    }
    connection.execute(sa.insert(table), row)
    rows = [
        {"subject": subject.value, "name": name, "digest": row["digest"], "models": json.dumps(sorted(models))}
        for subject, name, models in entries
    ]
    connection.execute(sa.insert(schema.envelope_entry), rows)
    return str(row["digest"])


def signatures_of(connection: sa.Connection, subject: Subject, name: str) -> list[dict[str, Any]]:
    """Return the signatures of a release or a profile as JSON, by time."""
    table, entry = schema.envelope, schema.envelope_entry
    query = (
        sa.select(table.c.digest, table.c.at, table.c.signers, entry.c.models)
        .join_from(entry, table)
        .where(entry.c.subject == subject.value, entry.c.name == name)
        .order_by(table.c.at, table.c.digest)
    )
    return [
        {"digest": row.digest, "at": row.at, "keys": json.loads(row.signers), "models": json.loads(row.models)}
        for row in connection.execute(query)
    ]


def envelope_document(connection: sa.Connection, key: str) -> str | None:
    """Return a stored envelope as canonical JSON, by its digest."""
    return next((text for _, text in lookup.documents(connection, schema.envelope, [key])), None)
