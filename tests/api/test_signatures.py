"""The signed head of the feed, vendors' keys, and signed publications over HTTP."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from app.main import service
from app.settings import Settings
from app.signing.checkpoint import Note, check_history
from app.signing.envelope import Subject, sign
from app.signing.key import PrivateKey, PublicKey
from app.wire.signature import Envelope, RegistryKeys, VendorKey
from tests.api.stories import FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, TOKEN, make_app

VENDOR = "vendor-a.com"
ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P = f"{VENDOR}/p"
DOCUMENT: dict[str, Any] = {
    "models": {NIC: {"variables": {"num-queues": QUEUES}}},
    "profiles": [{"name": P, "values": {NIC: {"num-queues": 8}}}],
}
KEY, NEXT, OTHER = (PrivateKey.create(f"{VENDOR}/{name}") for name in ("2026", "2027", "unknown"))
OLD_HEAD, NEW_HEAD = (PrivateKey.create("registry.example") for _ in range(2))


@pytest.fixture
def signing(database_url: str) -> Iterator[TestClient]:
    """Yield a client of a registry that signs its feed with two keys, with the admin's token."""
    app = make_app(database_url, signing_key=f"{OLD_HEAD.text()}\n{NEW_HEAD.text()}")
    with TestClient(app, headers=AUTHORIZATION) as client:
        yield client


def register(registry: TestClient, *keys: PrivateKey, owner: str = VENDOR) -> None:
    """Register public keys of a vendor."""
    for key in keys:
        response = registry.put(f"/vendors/{owner}/keys/{key.public.id}", json={"key": str(key.public)})
        assert response.status_code == 201, response.text


def signed(document: object, *keys: PrivateKey, name: str = ONE) -> dict[str, Any]:
    """Return the envelope that publishes a release."""
    return sign(Subject.RELEASE, name, document, keys)


def put(registry: TestClient, body: object, name: str = ONE, **parameters: Any) -> Any:
    return registry.put(f"/releases/{name}", json=body, params=parameters)


def test_an_unsigned_registry_says_so(registry: TestClient) -> None:
    problem(registry.get("/checkpoint"), 404, "unsigned")
    keys = registry.get("/keys").json()
    RegistryKeys.model_validate(keys)
    assert (keys["origin"], keys["keys"]) == (None, [])


def test_the_head_is_signed_by_all_keys_and_leads_from_every_earlier_one(signing: TestClient) -> None:
    empty = signing.get("/checkpoint")
    assert empty.headers["content-type"].startswith("text/plain")
    assert empty.headers["cache-control"] == "public, no-cache"
    vendor(signing)
    publish(signing, ONE, {"num-queues": QUEUES})
    keys = signing.get("/keys").json()
    assert keys["origin"] == "registry.example"
    assert [PublicKey.read(key["key"]) for key in keys["keys"]] == [OLD_HEAD.public, NEW_HEAD.public]
    feed = signing.get("/changes").json()
    for key in (OLD_HEAD, NEW_HEAD):
        head = Note.read(signing.get("/checkpoint").text).verified([key.public])
        assert (head.origin, head.seq, head.link) == ("registry.example", feed["head"], feed["link"])
        check_history(0, feed["registry"], feed["items"], head)
        check_history(0, feed["registry"], [], Note.read(empty.text).verified([key.public]))


def test_a_closed_registry_shows_its_head_to_readers_alone(database_url: str) -> None:
    settings = Settings(
        database_url=database_url, admin_token=SecretStr(TOKEN), read="token", signing_key=SecretStr(OLD_HEAD.text())
    )
    with TestClient(service(settings)) as client:
        for path in ("/checkpoint", "/keys", f"/vendors/{VENDOR}/keys", "/signatures/sha256:x"):
            problem(client.get(path), 401, "unauthorized")
        head = client.get("/checkpoint", headers=AUTHORIZATION)
        assert Note.read(head.text).verified([OLD_HEAD.public]).seq == 0
        assert head.headers["cache-control"].startswith("private")


def test_a_registry_does_not_start_with_keys_that_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    key = OLD_HEAD.text()
    for text in ("nonsense", key[:-4], f"{key} {KEY.text()}", ""):
        monkeypatch.setenv("REGISTRY_SIGNING_KEY", text)
        with pytest.raises(ValidationError) as refused:
            Settings()
        assert not any(part in str(refused.value) for part in (key[-20:-4], KEY.text()[-20:], key[:40]))
    monkeypatch.delenv("REGISTRY_SIGNING_KEY")
    file = tmp_path / "keys"
    monkeypatch.setenv("REGISTRY_SIGNING_KEY_FILE", str(file))
    with pytest.raises(ValidationError):
        Settings()
    file.write_text("nonsense")
    with pytest.raises(ValidationError, match="must be a private key"):
        Settings()
    file.write_text(f"{key}\n{NEW_HEAD.text()}\n")
    assert [entry.public for entry in Settings().signing_keys] == [OLD_HEAD.public, NEW_HEAD.public]


def test_an_admin_registers_lists_and_revokes_keys(registry: TestClient) -> None:
    vendor(registry)
    assert registry.get(f"/vendors/{VENDOR}/keys").json() == []
    register(registry, KEY)
    again = registry.put(f"/vendors/{VENDOR}/keys/{KEY.public.id}", json={"key": str(KEY.public)})
    assert (again.status_code, again.json()["dry_run"]) == (200, False)
    (key,) = registry.get(f"/vendors/{VENDOR}/keys").json()
    VendorKey.model_validate(key)
    assert (key["id"], key["key"], key["revoked_at"]) == (KEY.public.id, str(KEY.public), None)
    assert registry.delete(f"/vendors/{VENDOR}/keys/{KEY.public.id}").status_code == 204
    assert registry.delete(f"/vendors/{VENDOR}/keys/{KEY.public.id}").status_code == 204
    (key,) = registry.get(f"/vendors/{VENDOR}/keys").json()
    assert key["revoked_at"]
    revived = registry.put(f"/vendors/{VENDOR}/keys/{KEY.public.id}", json={"key": str(KEY.public)})
    assert problem(revived, 422, "invalid") == [("/key", "key-revoked")]
    kinds = [(change["kind"], change["name"]) for change in registry.get("/changes").json()["items"]]
    assert kinds == [("vendor-registered", VENDOR), ("vendor-completed", VENDOR), ("vendor-completed", VENDOR)]


def test_a_key_that_cannot_be_the_vendors_is_refused(registry: TestClient) -> None:
    vendor(registry)
    address = f"/vendors/{VENDOR}/keys/{KEY.public.id}"
    foreign, sibling = PrivateKey.create("vendor-b.com"), PrivateKey.create(f"{VENDOR}.evil.com/x")
    refused = [
        (registry.put(address, json={"key": "nonsense"}), [("/key", "invalid-value")]),
        (registry.put(address, json={"key": KEY.text()}), [("/key", "invalid-value")]),
        (registry.put(address, json={"key": str(NEXT.public)}), [("/key", "invalid-value")]),
        (registry.put(address, json={"key": 1}), [("/key", "wrong-type")]),
        (registry.put(address, json={}), [("/key", "missing-field")]),
        *(
            (registry.put(f"/vendors/{VENDOR}/keys/{key.public.id}", json={"key": str(key.public)}), faults)
            for key, faults in ((foreign, [("/key", "invalid-name")]), (sibling, [("/key", "invalid-name")]))
        ),
        (
            registry.put(address, json={"key": str(foreign.public)}),
            [("/key", "invalid-name"), ("/key", "invalid-value")],
        ),
    ]
    for response, faults in refused:
        assert problem(response, 422, "invalid") == faults
    assert registry.put(f"/vendors/{VENDOR}/keys/x", json={"key": str(KEY.public)}).status_code == 422
    problem(registry.put(f"/vendors/vendor-z.com/keys/{foreign.public.id}", json={"key": "x"}), 422, "invalid")
    unknown = PrivateKey.create("vendor-z.com").public
    response = registry.put(f"/vendors/vendor-z.com/keys/{unknown.id}", json={"key": str(unknown)})
    problem(response, 404, "unknown-vendor")
    problem(registry.get("/vendors/vendor-z.com/keys"), 404, "unknown-vendor")
    problem(registry.delete(f"/vendors/{VENDOR}/keys/00000000"), 404, "unknown-key")


def test_keys_are_an_admins(registry: TestClient) -> None:
    vendor(registry)
    token = registry.post("/tokens", json={"name": "p", "role": "publisher", "vendor": VENDOR}).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    address = f"/vendors/{VENDOR}/keys/{KEY.public.id}"
    problem(registry.put(address, json={"key": str(KEY.public)}, headers=headers), 403, "forbidden")
    problem(registry.delete(address, headers=headers), 403, "forbidden")
    problem(registry.put(f"/vendors/{VENDOR}", json={"signed": False}, headers=headers), 403, "forbidden")


def test_a_signed_release_shows_its_signature_and_its_envelope(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    envelope = signed(DOCUMENT, KEY)
    published = put(registry, envelope)
    assert published.status_code == 201, published.text
    assert published.json()["added"]["signatures"] == 1
    (signature,) = registry.get(f"/releases/{ONE}").json()["signatures"]
    assert (signature["keys"], signature["models"]) == ([KEY.public.label], [NIC])
    assert registry.get(f"/profiles/{P}").json()["signatures"] == [signature]
    stored = registry.get(f"/signatures/{signature['digest']}")
    Envelope.model_validate(stored.json())
    assert stored.json() == envelope
    assert "immutable" in stored.headers["cache-control"]
    assert json.loads(base64.b64decode(stored.json()["payload"])) == {"name": ONE, "document": DOCUMENT}
    problem(registry.get("/signatures/sha256:x"), 404, "unknown-signature")
    again = put(registry, envelope)
    assert (again.status_code, again.json()["added"]["signatures"]) == (200, 0)


def test_the_content_is_the_same_signed_or_not(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    assert put(registry, DOCUMENT).status_code == 201
    before = {path: registry.get(path).json() for path in (f"/releases/{ONE}", f"/profiles/{P}")}
    head = registry.get("/changes").json()["head"]
    later = put(registry, signed(DOCUMENT, KEY))
    assert (later.status_code, later.json()["added"]["signatures"]) == (201, 1)
    assert sum(later.json()["added"].values()) == 1
    for path, document in before.items():
        now = registry.get(path).json()
        assert len(now.pop("signatures")) == 1
        assert now == {name: value for name, value in document.items() if name != "signatures"}
    changes = registry.get("/changes", params={"after": head}).json()["items"]
    assert [(change["kind"], change["name"]) for change in changes] == [
        ("release-extended", ONE),
        ("profile-extended", P),
    ]
    (digest,) = [signature["digest"] for signature in registry.get(f"/releases/{ONE}").json()["signatures"]]
    assert changes[0]["detail"]["signature"] == digest
    assert list(registry.get(f"/changes/{head + 1}").json()["contents"]) == [digest]


def test_a_profile_can_be_signed_alone(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    publish(registry, ONE, {"num-queues": QUEUES})
    name = f"{VENDOR}/q"
    document = {"name": name, "values": {NIC: {"num-queues": 2}}}
    envelope = sign(Subject.PROFILE, name, document, [KEY])
    assert registry.post("/profiles", json=envelope).status_code == 201
    assert registry.put(f"/profiles/{name}", json=envelope).status_code == 200
    assert registry.get(f"/profiles/{name}").json()["signatures"][0]["keys"] == [KEY.public.label]
    by_two = sign(Subject.PROFILE, name, document, [KEY, NEXT])
    assert registry.put(f"/profiles/{name}", json=by_two).status_code == 200, "the second key is unknown"
    register(registry, NEXT)
    assert registry.put(f"/profiles/{name}", json=by_two).status_code == 201
    signatures = registry.get(f"/profiles/{name}").json()["signatures"]
    assert [signature["keys"] for signature in signatures] == [
        [KEY.public.label],
        sorted([KEY.public.label, NEXT.public.label]),
    ]
    problem(registry.put(f"/profiles/{P}", json=envelope), 422, "invalid")
    mixed = sign(Subject.PROFILE, name, {**document, "name": P}, [KEY])
    assert problem(registry.post("/profiles", json=mixed), 422, "invalid") == [
        ("/payload/document/name", "invalid-name")
    ]


def test_a_key_is_replaced_and_the_old_one_verifies_what_was_before(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    assert put(registry, signed(DOCUMENT, KEY)).status_code == 201
    register(registry, NEXT)
    with_both: dict[str, Any] = {"models": {**DOCUMENT["models"], f"{VENDOR}/gpu": {"variables": {}}}}
    assert put(registry, signed(with_both, KEY, NEXT)).status_code == 201
    registry.delete(f"/vendors/{VENDOR}/keys/{KEY.public.id}")
    more: dict[str, Any] = {"models": {f"{VENDOR}/disk": {"variables": {}}}}
    refused = put(registry, signed(more, KEY))
    assert problem(refused, 422, "invalid") == [("/signatures/0/keyid", "key-revoked")]
    assert "was revoked at" in refused.json()["faults"][0]["message"]
    assert put(registry, signed(more, KEY, NEXT)).status_code == 201, "one valid key is enough"
    assert [signature["keys"] for signature in registry.get(f"/releases/{ONE}").json()["signatures"]] == [
        [KEY.public.label],
        [KEY.public.label, NEXT.public.label],
        [NEXT.public.label],
    ]


def _altered_payload(envelope: dict[str, Any]) -> None:
    payload = base64.b64decode(envelope["payload"]).replace(b'"1-8"', b'"1-9"')
    envelope["payload"] = base64.b64encode(payload).decode()


def _altered_signature(envelope: dict[str, Any]) -> None:
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()


def _exchanged_key(envelope: dict[str, Any]) -> None:
    envelope["signatures"][0]["keyid"] = NEXT.public.label


def _unknown_key(envelope: dict[str, Any]) -> None:
    envelope["signatures"][0]["keyid"] = OTHER.public.label


def _other_type(envelope: dict[str, Any]) -> None:
    envelope["payloadType"] = Subject.PROFILE.payload_type


def _strange_key(envelope: dict[str, Any]) -> None:
    envelope["signatures"][0]["keyid"] = "\u0000 /+'; DROP"


@pytest.mark.parametrize(
    ("alter", "faults"),
    [
        (_altered_payload, [("/signatures/0/sig", "signature-invalid")]),
        (_altered_signature, [("/signatures/0/sig", "signature-invalid")]),
        (_exchanged_key, [("/signatures/0/sig", "signature-invalid")]),
        (_unknown_key, [("/signatures/0/keyid", "unknown-key")]),
        (_strange_key, [("/signatures/0/keyid", "unknown-key")]),
        (_other_type, [("/payloadType", "invalid-value")]),
    ],
)
def test_an_altered_envelope_is_refused(registry: TestClient, alter: Any, faults: list[tuple[str, str]]) -> None:
    vendor(registry)
    register(registry, KEY, NEXT)
    envelope = signed(DOCUMENT, KEY)
    alter(envelope)
    assert problem(put(registry, envelope), 422, "invalid") == faults
    problem(registry.get(f"/releases/{ONE}"), 404, "unknown-release")


def test_an_envelope_is_signed_for_one_name(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    refused = put(registry, signed(DOCUMENT, KEY), TWO)
    assert problem(refused, 422, "invalid") == [("/payload/name", "invalid-name")]


def test_the_key_of_another_vendor_does_not_count(registry: TestClient) -> None:
    vendor(registry)
    vendor(registry, "vendor-b.com")
    foreign = PrivateKey.create("vendor-b.com")
    register(registry, foreign, owner="vendor-b.com")
    assert problem(put(registry, signed(DOCUMENT, foreign)), 422, "invalid") == [("/signatures/0/keyid", "unknown-key")]


def test_faults_of_the_signature_and_of_the_document_come_at_once(registry: TestClient) -> None:
    vendor(registry)
    document = {"models": {NIC: {"variables": {"x": {"type": "float"}}}}, "state": "draft", "more": 1}
    refused = put(registry, signed(document, KEY))
    assert {place for place, _ in problem(refused, 422, "invalid")} == {
        "/payload/document/state",
        "/payload/document/more",
        "/payload/document/models/vendor-a.com~1my-nic/variables/x",
        "/payload/document/models/vendor-a.com~1my-nic/variables/x/type",
    }
    refused = put(registry, signed({**document, "state": "published"}, KEY))
    assert ("/signatures/0/keyid", "unknown-key") in problem(refused, 422, "invalid")
    assert ("/payload/document/more", "unknown-field") in problem(refused, 422, "invalid")


@pytest.mark.parametrize("document", [None, [], "x", 1, {"models": 1}, {"models": {NIC: 1}}])
def test_a_signed_document_of_any_shape_has_an_answer(registry: TestClient, document: object) -> None:
    vendor(registry)
    register(registry, KEY)
    problem(put(registry, signed(document, KEY)), 422, "invalid")
    name = f"{VENDOR}/p"
    problem(registry.post("/profiles", json=sign(Subject.PROFILE, name, document, [KEY])), 422, "invalid")
    for strange in ("", "x", "\u0000", "vendor-a.com"):
        problem(registry.post("/profiles", json=sign(Subject.PROFILE, strange, document, [KEY])), 422, "invalid")


def test_signatures_are_required_where_the_vendor_is_set_so(registry: TestClient) -> None:
    vendor(registry)
    assert registry.get(f"/vendors/{VENDOR}").json()["signed"] is False
    assert put(registry, {**DOCUMENT, "state": "draft"}, TWO).status_code == 201
    assert registry.put(f"/vendors/{VENDOR}", json={"signed": True}).status_code == 201
    assert registry.put(f"/vendors/{VENDOR}", json={"signed": True}).status_code == 200
    assert registry.put(f"/vendors/{VENDOR}", json={"name": "A"}).status_code == 201
    assert registry.get("/vendors").json()["items"][0]["signed"] is True
    required = [("", "signature-required")]
    assert problem(put(registry, DOCUMENT), 422, "invalid") == required
    one_set = {"model": NIC, "implementation": FIRMWARE, "version": "1", "variables": {}}
    assert problem(registry.post("/variable-sets", json=one_set), 422, "invalid") == required
    assert problem(registry.patch(f"/releases/{TWO}", json={"state": "published"}), 422, "invalid") == required
    profile = {"name": P, "values": {}}
    assert problem(registry.post("/profiles", json=profile), 422, "invalid") == required
    # A draft is not published yet, and a trial stores nothing but says what a publication would.
    assert put(registry, {**DOCUMENT, "state": "draft"}, f"{FIRMWARE}@3").status_code == 201
    assert problem(put(registry, DOCUMENT, dry_run=True), 422, "invalid") == required
    register(registry, KEY)
    assert put(registry, signed(DOCUMENT, KEY)).status_code == 201
    assert registry.patch(f"/releases/{ONE}", json={"state": "deprecated"}).status_code == 200
    assert registry.put(f"/vendors/{VENDOR}", json={"signed": False}).status_code == 201
    assert put(registry, {"models": {f"{VENDOR}/gpu": {"variables": {}}}}).status_code == 201


def test_every_vendor_of_a_release_with_profiles_signs(registry: TestClient) -> None:
    vendor(registry)
    registry.put("/vendors/vendor-b.com", json={"signed": True})
    other = PrivateKey.create("vendor-b.com")
    register(registry, KEY)
    register(registry, other, owner="vendor-b.com")
    profiles = [{"name": "vendor-b.com/p", "values": {NIC: {"num-queues": 8}}}]
    document = {**DOCUMENT, "profiles": profiles}
    refused = put(registry, signed(document, KEY))
    assert problem(refused, 422, "invalid") == [("/payload/document", "signature-required")]
    assert put(registry, signed(document, KEY, other)).status_code == 201
    (signature,) = registry.get("/profiles/vendor-b.com/p").json()["signatures"]
    assert signature["keys"] == sorted([KEY.public.label, other.public.label])


def test_a_dry_run_of_a_signed_publication_stores_nothing(registry: TestClient) -> None:
    vendor(registry)
    register(registry, KEY)
    head = registry.get("/changes").json()["head"]
    tried = put(registry, signed(DOCUMENT, KEY), dry_run=True)
    assert (tried.status_code, tried.json()["added"]["signatures"]) == (201, 1)
    assert registry.get("/changes").json()["head"] == head
