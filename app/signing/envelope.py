"""Signed publications: a vendor's document in a DSSE envelope (https://github.com/secure-systems-lab/dsse)."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.values.canonical import canonical_json
from app.domain.values.document import MAX_QUOTED, FaultCode, Place, must_be
from app.signing.key import PrivateKey

MAX_SIGNATURES = 16
_FIELDS = frozenset({"payloadType", "payload", "signatures"})
_PAYLOAD_FIELDS = frozenset({"name", "document"})
_SIGNATURE_FIELDS = frozenset({"keyid", "sig"})


class Subject(StrEnum):
    """What an envelope publishes, with the type of its payload."""

    RELEASE = "release"
    PROFILE = "profile"

    @property
    def payload_type(self) -> str:
        """The payload type, which the signature covers, so that no document can be taken for one of another kind."""
        return f"application/vnd.device-profile-registry.{self.value}+json"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of an envelope; key: the label of the key that made it."""

    key: str
    content: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Envelope:
    """A publication with its signatures, none of them verified.

    payload: the bytes that are signed, the canonical JSON of `{"name", "document"}`. The name is part of it: otherwise
    a document signed for one release could be published as another one.
    """

    subject: Subject
    name: str
    document: Any
    payload: bytes
    signatures: Sequence[Signature]
    place: Place

    @property
    def document_place(self) -> Place:
        """The place of the document, in the decoded payload."""
        return self.place / "payload" / "document"

    @property
    def message(self) -> bytes:
        """The bytes that each signature covers."""
        return _pre_authentication_encoding(self.subject, self.payload)

    @classmethod
    def read(cls, written: object, place: Place, subject: Subject) -> "Envelope | None":
        """Read an envelope that publishes such a subject; report its faults, None if the payload cannot be read."""
        fields = place.fields(written, required=_FIELDS)
        if "payloadType" in fields and fields["payloadType"] != subject.payload_type:
            (place / "payloadType").fault(FaultCode.INVALID_VALUE, f"must be {subject.payload_type}")
        signatures = _read_signatures(fields.get("signatures", []), place / "signatures")
        payload = _decoded(fields["payload"], place / "payload") if "payload" in fields else None
        content = None if payload is None else _parsed(payload, place / "payload")
        if payload is None or content is None:
            return None
        stated = (place / "payload").fields(content, required=_PAYLOAD_FIELDS)
        name = stated.get("name", "")
        if not isinstance(name, str):
            (place / "payload" / "name").fault(FaultCode.WRONG_TYPE, must_be("a string", name))
        return cls(subject, str(name), stated.get("document"), payload, signatures, place)

    def with_signatures(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the envelope as JSON, with the signatures of these keys alone."""
        kept = {signature.key: signature.content for signature in self.signatures}
        return _written(self.subject, self.payload, {key: kept[key] for key in sorted(keys)})


def is_envelope(document: object) -> bool:
    """Return whether a JSON document is meant as an envelope."""
    return isinstance(document, dict) and "payloadType" in document


def sign(subject: Subject, name: str, document: object, keys: Iterable[PrivateKey]) -> dict[str, Any]:
    """Return the envelope that publishes a document under a name, signed by all keys."""
    payload = canonical_json({"name": name, "document": document}).encode()
    message = _pre_authentication_encoding(subject, payload)
    return _written(subject, payload, {key.public.label: key.sign(message) for key in keys})


def payload_of(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the payload of an envelope that was stored."""
    payload: Mapping[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return payload


def _written(subject: Subject, payload: bytes, signatures: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "payloadType": subject.payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": key, "sig": base64.b64encode(content).decode()} for key, content in signatures.items()
        ],
    }


def _pre_authentication_encoding(subject: Subject, payload: bytes) -> bytes:
    kind = subject.payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _read_signatures(written: object, place: Place) -> Sequence[Signature]:
    if isinstance(written, list) and not 1 <= len(written) <= MAX_SIGNATURES:
        place.fault(FaultCode.LIMIT_EXCEEDED, f"must have 1 to {MAX_SIGNATURES} items")
        return ()
    signatures: dict[str, Signature] = {}
    for item, item_place in place.items(written):
        fields = item_place.fields(item, required=_SIGNATURE_FIELDS)
        key = fields.get("keyid", "")
        if not isinstance(key, str):
            (item_place / "keyid").fault(FaultCode.WRONG_TYPE, must_be("a string", key))
            continue
        if key in signatures:
            (item_place / "keyid").fault(FaultCode.DUPLICATE, f"duplicate signature of {key[:MAX_QUOTED]}")
        content = _decoded(fields["sig"], item_place / "sig") if "sig" in fields else None
        if content is not None and "keyid" in fields:
            signatures[key] = Signature(key, content, item_place)
    return list(signatures.values())


def _decoded(text: object, place: Place) -> bytes | None:
    """Return what is written in base64, of either alphabet; report a fault otherwise."""
    if not isinstance(text, str):
        place.fault(FaultCode.WRONG_TYPE, must_be("a string", text))
        return None
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        place.fault(FaultCode.INVALID_VALUE, "must be base64 (RFC 4648), with its padding")
        return None


def _parsed(payload: bytes, place: Place) -> object | None:
    """Return the JSON of a payload; only its canonical form is accepted, so that it has one meaning."""
    try:
        content: object = json.loads(payload)
        is_canonical = canonical_json(content).encode() == payload
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        message = 'must be the canonical JSON of {"name", "document"}: UTF-8, sorted keys, no spaces'
        place.fault(FaultCode.INVALID_VALUE, message)
        return None
    return content
