"""Envelopes are DSSE, of canonical documents; whatever else is one is refused with all faults at once."""

import base64
from typing import Any

import pytest

from app.domain.values.document import Place
from app.signing.envelope import Envelope, Subject, is_envelope, sign
from app.signing.key import PrivateKey

KEY = PrivateKey.create("vendor-a.com/2026")
NAME = "vendor-a.com/fw@1"
DOCUMENT = {"models": {"vendor-a.com/nic": {"variables": {}}}, "description": "größer"}


def read(written: Any) -> tuple[Envelope | None, list[tuple[str, str]]]:
    """Return what is read of an envelope, and its faults."""
    place = Place()
    envelope = Envelope.read(written, place, Subject.RELEASE)
    return envelope, [(fault.pointer, fault.code.value) for fault in place.faults]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_what_is_signed_is_the_specifications_encoding() -> None:
    envelope, faults = read(sign(Subject.RELEASE, NAME, DOCUMENT, [KEY]))
    assert envelope is not None
    assert faults == []
    kind = b"application/vnd.device-profile-registry.release+json"
    assert envelope.message == b"DSSEv1 52 %b %d %b" % (kind, len(envelope.payload), envelope.payload)
    assert (envelope.name, envelope.document) == (NAME, DOCUMENT)
    (signature,) = envelope.signatures
    assert KEY.public.has_signed(envelope.message, signature.content)


def test_a_document_of_one_kind_cannot_be_taken_for_another() -> None:
    release, profile = (sign(subject, NAME, DOCUMENT, [KEY]) for subject in Subject)
    assert release["payload"] == profile["payload"]
    assert release["signatures"] != profile["signatures"]
    assert read(profile)[1] == [("/payloadType", "invalid-value")]


def test_both_alphabets_of_base64_are_read() -> None:
    written = sign(Subject.RELEASE, NAME, {"description": "~~~???>>>"}, [KEY])
    url_safe = {**written, "payload": written["payload"].replace("+", "-").replace("/", "_")}
    assert url_safe != written
    assert read(url_safe)[0] is not None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"document":{},"name":"a","name":"b"}',
        b'{"name": "a", "document": {}}',
        b'{"name":"a","document":{}}',
        b'{"document":NaN,"name":"a"}',
        b'{"document":"\\ud800","name":"a"}',
        b'{"document":"\\u00e9","name":"a"}',
        b"\xff",
        b"",
        b"[" * 100_000,
    ],
)
def test_a_payload_that_is_not_canonical_is_refused(payload: bytes) -> None:
    written = {**sign(Subject.RELEASE, NAME, DOCUMENT, [KEY]), "payload": encoded(payload)}
    assert read(written) == (None, [("/payload", "invalid-value")])


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({"payloadType": 1}, [("/payloadType", "invalid-value")]),
        ({"payload": 1}, [("/payload", "wrong-type")]),
        ({"payload": "!"}, [("/payload", "invalid-value")]),
        ({"payload": encoded(b"[]")}, [("/payload", "wrong-type")]),
        (
            {"payload": encoded(b'{"name":1,"x":2}')},
            [
                ("/payload", "missing-field"),
                ("/payload/x", "unknown-field"),
                ("/payload/name", "wrong-type"),
            ],
        ),
        ({"signatures": []}, [("/signatures", "limit-exceeded")]),
        ({"signatures": [{"keyid": "a", "sig": ""}] * 17}, [("/signatures", "limit-exceeded")]),
        ({"signatures": {}}, [("/signatures", "wrong-type")]),
        ({"signatures": [1]}, [("/signatures/0", "wrong-type")]),
        ({"signatures": [{"sig": "AA=="}]}, [("/signatures/0", "missing-field")]),
        ({"signatures": [{"keyid": "a"}]}, [("/signatures/0", "missing-field")]),
        ({"signatures": [{"keyid": 1, "sig": "!"}]}, [("/signatures/0/keyid", "wrong-type")]),
        ({"signatures": [{"keyid": "a", "sig": "!"}]}, [("/signatures/0/sig", "invalid-value")]),
        (
            {"signatures": [{"keyid": "a", "sig": "AA=="}, {"keyid": "a", "sig": "AA=="}]},
            [("/signatures/1/keyid", "duplicate")],
        ),
        ({"more": 1}, [("/more", "unknown-field")]),
    ],
)
def test_every_fault_of_an_envelope_has_its_place(change: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    assert read({**sign(Subject.RELEASE, NAME, DOCUMENT, [KEY]), **change})[1] == faults


def test_all_faults_are_reported_at_once() -> None:
    written = {"payloadType": "text/plain", "payload": "!", "signatures": [{"keyid": "a"}], "x": 1}
    assert [pointer for pointer, _ in read(written)[1]] == ["/x", "/payloadType", "/signatures/0", "/payload"]


def test_only_an_object_with_a_payload_type_is_meant_as_an_envelope() -> None:
    assert is_envelope({"payloadType": None})
    others: list[Any] = [DOCUMENT, [], None, "payloadType", 1]
    assert not any(map(is_envelope, others))
