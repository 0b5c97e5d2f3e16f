"""Trusted publishers: a pipeline's OIDC token is exchanged for a publisher token, and no other token is."""

import hmac
import json
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient
from httpx2 import Response
from joserfc.jwk import ECKey, OctKey, RSAKey
from pydantic import SecretStr

from app.api.application import create_app
from app.settings import Settings
from app.storage import schema
from tests.api.stories import QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, TOKEN, make_app
from tests.issuer import AUDIENCE, CLAIMS, EC, OTHER_RSA, RSA, Issuer, running_issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Yield an issuer that nobody trusts yet."""
    with running_issuer() as running:
        yield running


@pytest.fixture
def trusting(registry: TestClient, issuer: Issuer) -> TestClient:
    """Return an anonymous client of a registry that trusts a pipeline of the issuer for vendor-a.com."""
    vendor(registry)
    trust(registry, issuer)
    del registry.headers["Authorization"]
    return registry


@pytest.fixture
def asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker ask an issuer again without a pause."""
    monkeypatch.setattr("app.api.issuer.RETRY_SECONDS", 0)


def trust(registry: TestClient, issuer: Issuer, **more: Any) -> Any:
    """Create a trusted publisher as the admin; return it."""
    document = {"vendor": "vendor-a.com", "issuer": issuer.url, "audience": AUDIENCE, "claims": CLAIMS, **more}
    response = registry.post("/trusted-publishers", json=document, headers=AUTHORIZATION)
    assert response.status_code in {200, 201}, response.text
    return response.json()


def exchange(registry: TestClient, token: str, **more: Any) -> Response:
    return registry.post("/tokens/exchange", json={"token": token, **more})


def bearer(response: Response) -> dict[str, str]:
    assert response.status_code == 201, response.text
    return {"Authorization": f"Bearer {response.json()['token']}"}


def stored_counts(registry: TestClient) -> tuple[int, int]:
    """Return the number of tokens, and of OIDC tokens that were exchanged."""
    with registry.app.state.container.primary.connect() as connection:  # type: ignore[attr-defined]
        return tuple(  # type: ignore[return-value]
            len(connection.execute(table.select()).all()) for table in (schema.token, schema.exchanged_token)
        )


@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_a_run_of_a_trusted_pipeline_publishes_for_its_vendor_alone(
    trusting: TestClient, issuer: Issuer, key: RSAKey | ECKey
) -> None:
    vendor(TestClient(trusting.app, headers=AUTHORIZATION), "vendor-b.com")
    response = exchange(trusting, issuer.token(key))
    assert response.headers["Cache-Control"] == "no-store"
    exchanged = response.json()
    assert (exchanged["role"], exchanged["vendor"], exchanged["dry_run"]) == ("publisher", "vendor-a.com", False)
    assert exchanged["expires_at"] > exchanged["created_at"]
    run = TestClient(trusting.app, headers=bearer(response))
    assert publish(run, "vendor-a.com/fw@1", {"num-queues": QUEUES}).status_code == 201
    problem(publish(run, "vendor-b.com/fw@1", {"num-queues": QUEUES}), 403, "forbidden")
    problem(run.get("/tokens"), 403, "forbidden")


def test_the_audit_names_the_run_and_the_trusted_publisher(trusting: TestClient, issuer: Issuer) -> None:
    exchanged = exchange(trusting, issuer.token()).json()
    publish(
        TestClient(trusting.app, headers={"Authorization": f"Bearer {exchanged['token']}"}),
        "vendor-a.com/fw@1",
        {"num-queues": QUEUES},
    )
    admin = TestClient(trusting.app, headers=AUTHORIZATION)
    (publisher,) = admin.get("/trusted-publishers").json()["items"]
    assert exchanged["trusted_publisher"] == publisher["id"]
    name = f"vendor-a/firmware run 16293, trusted publisher {publisher['id']}"
    _, created, token_created, published = admin.get("/audit").json()["items"]
    assert (created["kind"], created["by"], created["name"]) == (
        "token-created", "admin", publisher["id"],
    )  # fmt: skip
    assert created["detail"]["token_name"] == f"trusted publisher {publisher['id']}"
    assert created["detail"]["claims"] == CLAIMS
    assert (token_created["kind"], token_created["by"]) == ("token-created", "vendor-a/firmware run 16293")
    assert token_created["detail"]["trusted_publisher"] == publisher["id"]
    assert token_created["detail"]["claims"]["sha"] == "8fe1b322"
    assert published["by"] == f"{name} ({exchanged['id']})"
    assert [change["kind"] for change in admin.get("/changes").json()["items"]] == [
        "vendor-registered", "release-published",
    ]  # fmt: skip


def test_the_token_expires_after_15_minutes(
    trusting: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("app.api.exchange.time.time", lambda: now - 15 * 60 + 2)
    times = {name: int(now) - 900 for name in ("iat", "nbf")}
    response = exchange(trusting, issuer.token(exp=int(now) - 600, **times))
    run = TestClient(trusting.app, headers=bearer(response))
    assert publish(run, "vendor-a.com/fw@1", {"num-queues": QUEUES}).status_code == 201
    time.sleep(2.1)
    problem(publish(run, "vendor-a.com/fw@2", {"num-queues": QUEUES}), 401, "unauthorized")


# Longer than all the tests take.
_LONG_SECONDS = 1_000_000
# Claims of a token that its issuer signed, the code of the refusal, and a part of its message.
_REFUSED = {
    "another audience": ({"aud": "https://other.example"}, "wrong-audience", '"https://other.example"'),
    "an empty audience": ({"aud": []}, "wrong-audience", "audience []"),
    "expired": ({"exp": 1_000_000_000, "iat": 999_999_900, "nbf": 999_999_900}, "token-expired", "expired"),
    "not yet valid": ({"nbf": int(time.time()) + _LONG_SECONDS}, "token-not-yet-valid", "valid only in"),
    "issued in the future": ({"iat": int(time.time()) + _LONG_SECONDS}, "token-not-yet-valid", "check the clocks"),
    "another repository": ({"repository": "evil/firmware"}, "claims-not-trusted", 'has repository="evil/firmware"'),
    "a longer repository": ({"repository": "vendor-a/firmware-fork"}, "claims-not-trusted", "firmware-fork"),
    "other letters": ({"repository": "Vendor-A/firmware"}, "claims-not-trusted", "Vendor-A"),
    "another branch": ({"ref": "refs/heads/x\x1b[2J"}, "claims-not-trusted", 'ref="refs/heads/x\\u001b[2J"'),
    "no branch": ({"ref": None}, "claims-not-trusted", "It has no ref"),
    "a list": ({"repository": ["vendor-a/firmware"]}, "claims-not-trusted", '["vendor-a/firmware"]'),
    "all of it": ({"aud": "x", "exp": 1e9, "iat": 1e9, "nbf": 1e9, "ref": "x"}, "token-expired", 'has ref="x"'),
}


@pytest.mark.parametrize(("claims", "code", "message"), _REFUSED.values(), ids=_REFUSED.keys())
def test_a_token_that_says_something_else_is_refused(
    trusting: TestClient, issuer: Issuer, claims: dict[str, Any], code: str, message: str
) -> None:
    response = exchange(trusting, issuer.token(**claims))
    problem(response, 403, code)
    assert message in response.json()["detail"]
    assert stored_counts(trusting) == (0, 0)
    # What is required is not shown: anybody can have a token of a public issuer.
    assert f'"{CLAIMS["ref"]}"' not in response.json()["detail"]


def test_clocks_can_differ_a_little(trusting: TestClient, issuer: Issuer) -> None:
    now = int(time.time())
    for times in ({"exp": now - 10, "iat": now - 100, "nbf": now - 100}, {"iat": now + 15, "nbf": now + 15}):
        assert exchange(trusting, issuer.token(**times)).status_code == 201


def test_an_audience_can_be_one_of_several(trusting: TestClient, issuer: Issuer) -> None:
    assert exchange(trusting, issuer.token(aud=["https://x.example", AUDIENCE])).status_code == 201


def test_a_token_can_be_exchanged_once_by_all_workers(trusting: TestClient, issuer: Issuer, database_url: str) -> None:
    token = issuer.token(EC)
    with TestClient(create_app(Settings(database_url=database_url, admin_token=SecretStr(TOKEN)))) as worker:
        assert exchange(worker, token).status_code == 201
        for client in (worker, trusting):
            problem(exchange(client, token), 403, "token-replayed")
    # A signature of elliptic curves can be changed into another valid one, by anybody.
    signed, _, signature = token.rpartition(".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    raw = _decoded(signature)
    other = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    problem(exchange(trusting, f"{signed}.{_encoded(other)}"), 403, "token-replayed")
    assert stored_counts(trusting) == (1, 1)
    assert exchange(trusting, issuer.token(EC)).status_code == 201


def _decoded(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def test_requests_at_once_exchange_a_token_once(trusting: TestClient, issuer: Issuer) -> None:
    token, statuses = issuer.token(), []
    threads = [
        threading.Thread(target=lambda: statuses.append(exchange(trusting, token).status_code)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 403, 403, 403, 403]
    # One request has read the keys for all.
    assert len(issuer.requests) == 2


def test_exchanged_tokens_are_forgotten_once_they_have_expired(
    trusting: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    assert exchange(trusting, token).status_code == 201
    later = time.time() + 20 * 60
    monkeypatch.setattr("app.api.exchange.time.time", lambda: later)
    assert exchange(trusting, issuer.token(exp=int(later) + 60)).status_code == 201
    assert stored_counts(trusting) == (2, 1)
    problem(exchange(trusting, token), 403, "token-expired")


def test_a_dry_run_uses_nothing_up(trusting: TestClient, issuer: Issuer) -> None:
    token = issuer.token()
    for _ in range(2):
        tried = trusting.post("/tokens/exchange", json={"token": token}, params={"dry_run": True})
        assert (tried.status_code, tried.json()["token"]) == (201, None)
    assert stored_counts(trusting) == (0, 0)
    assert exchange(trusting, token).status_code == 201


def test_a_key_that_the_issuer_does_not_have_is_refused(trusting: TestClient, issuer: Issuer) -> None:
    problem(exchange(trusting, issuer.token(OTHER_RSA)), 403, "unknown-key")
    problem(exchange(trusting, issuer.token(OTHER_RSA, {"kid": "rsa"})), 403, "invalid-signature")
    problem(exchange(trusting, issuer.token(OTHER_RSA, {"kid": None})), 403, "invalid-signature")
    # The issuer is not asked again at once: anybody can send such tokens.
    assert len(issuer.requests) == 2
    assert exchange(trusting, issuer.token(RSA, {"kid": None})).status_code == 201


@pytest.mark.usefixtures("asks_at_once")
def test_a_rotated_key_is_found(trusting: TestClient, issuer: Issuer) -> None:
    assert exchange(trusting, issuer.token()).status_code == 201
    issuer.keys = {"keys": [OTHER_RSA.as_dict(private=False)]}
    assert exchange(trusting, issuer.token(OTHER_RSA)).status_code == 201
    problem(exchange(trusting, issuer.token(RSA)), 403, "unknown-key")


def test_a_withdrawn_key_is_not_used_for_long(
    trusting: TestClient, issuer: Issuer, asks_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del asks_at_once
    assert exchange(trusting, issuer.token()).status_code == 201
    issuer.keys = {"keys": [OTHER_RSA.as_dict(private=False)]}
    assert exchange(trusting, issuer.token()).status_code == 201
    monkeypatch.setattr("app.api.issuer._FRESH_SECONDS", 0.0)
    problem(exchange(trusting, issuer.token()), 403, "unknown-key")


def test_an_algorithm_that_needs_no_private_key_is_refused(trusting: TestClient, issuer: Issuer) -> None:
    claims = json.dumps(issuer.claims()).encode()
    # Programs that take the issuer's public key for the secret of HS256 accept this one.
    public = RSA.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_encoded(json.dumps({'alg': 'HS256', 'kid': 'rsa'}).encode())}.{_encoded(claims)}"
    forged = [f"{signed}.{_encoded(hmac.digest(public, signed.encode(), 'sha256'))}"]
    for algorithm in ("none", "None", ""):
        header = json.dumps({"alg": algorithm, "kid": "rsa"}).encode()
        forged += [f"{_encoded(header)}.{_encoded(claims)}.", f"{_encoded(header)}.{_encoded(claims)}.AAAA"]
    for token in forged:
        response = exchange(trusting, token)
        problem(response, 403, "unsupported-algorithm")
        assert "RS256" in response.json()["detail"]
    assert issuer.requests == []
    assert stored_counts(trusting) == (0, 0)


def test_a_signature_of_something_else_is_refused(trusting: TestClient, issuer: Issuer) -> None:
    header, claims, signature = issuer.token().split(".")
    other = issuer.token(repository="evil/firmware").split(".")
    for token in (
        f"{header}.{claims}.",
        f"{header}.{claims}.AAAA",
        f"{header}.{claims}.{signature[:-8]}",
        f"{other[0]}.{claims}.{other[2]}",
        f"{header}.{other[1]}.{signature}",
        issuer.token(EC, {"kid": "rsa"}),
        issuer.token(RSA, {"kid": "ec"}),
    ):
        problem(exchange(trusting, token), 403, "invalid-signature")
    assert stored_counts(trusting) == (0, 0)


def test_a_shared_secret_among_the_keys_signs_nothing(trusting: TestClient, issuer: Issuer) -> None:
    secret = OctKey.import_key("0" * 64, {"kid": "secret"})
    weak = {**RSA.as_dict(private=False), "kid": "weak", "n": "AQAB"}
    for_encryption = {**RSA.as_dict(private=False), "kid": "enc", "use": "enc"}
    other_algorithm = {**RSA.as_dict(private=False), "kid": "rs512", "alg": "RS512"}
    strange = [None, {}, {"kty": "EC"}, {"kty": "RSA", "n": 5, "e": None}, {"kty": ["RSA"]}, {"kty": "ML-DSA"}]
    issuer.keys["keys"] += [secret.as_dict(), weak, for_encryption, other_algorithm, *strange]
    for header in ({"kid": "secret"}, {"kid": "weak"}, {"kid": "enc"}):
        problem(exchange(trusting, issuer.token(RSA, header)), 403, "unknown-key")
    problem(exchange(trusting, issuer.token(RSA, {"kid": "rs512"})), 403, "invalid-signature")
    assert exchange(trusting, issuer.token()).status_code == 201


def test_keys_in_the_header_of_a_token_are_not_used(trusting: TestClient, issuer: Issuer) -> None:
    header = {"jwk": OTHER_RSA.as_dict(private=False), "kid": "rsa"}
    problem(exchange(trusting, issuer.token(OTHER_RSA, header)), 403, "invalid-signature")
    with running_issuer() as other:
        header = {"jku": f"{other.url}/keys", "kid": "rsa"}
        problem(exchange(trusting, issuer.token(OTHER_RSA, header)), 403, "invalid-signature")
        assert other.requests == []


def test_an_issuer_that_nobody_trusts_is_never_asked(trusting: TestClient, issuer: Issuer) -> None:
    with running_issuer() as other:
        response = exchange(trusting, other.token())
        problem(response, 403, "unknown-issuer")
        assert other.url in response.json()["detail"]
        for alike in (f"{issuer.url}/", f"{issuer.url}#", issuer.url.upper()):
            problem(exchange(trusting, issuer.token(iss=alike)), 403, "unknown-issuer")
        problem(exchange(trusting, issuer.token(), vendor="vendor-b.com"), 403, "unknown-issuer")
        assert other.requests == issuer.requests == []


# Attributes of the issuer, and why its keys cannot be read.
_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "slow": ({"delay": 3.0}, "did not answer within 0.3 seconds"),
    "an error": ({"status": 500}, "/.well-known/openid-configuration answered 500"),
    "a redirect": ({"status": 302, "location": "http://127.0.0.1:1/"}, "answered 302"),
    "no JSON": ({"configuration": b"<html>"}, "did not answer with a JSON object"),
    "nested JSON": ({"configuration": b"[" * 100_000}, "did not answer with a JSON object"),
    "another issuer": ({"configuration": {"issuer": "https://x.example"}}, "is about another issuer"),
    "huge keys": ({"keys": {"keys": [], "more": "x" * 300_000}}, "answered more than 262,144 bytes"),
    "many keys": ({"keys": {"keys": [{}] * 101}}, "at most 100 keys"),
    "no keys": ({"keys": {}}, "must be an array"),
}


@pytest.mark.parametrize(("attributes", "why"), _FAULTS.values(), ids=_FAULTS.keys())
def test_an_issuer_whose_keys_cannot_be_read_is_503(
    trusting: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], why: str
) -> None:
    # On a busy machine every issuer is slow.
    monkeypatch.setattr("app.api.issuer._DEADLINE_SECONDS", 0.3 if "delay" in attributes else 20)
    for name, value in attributes.items():
        setattr(issuer, name, value)
    token = issuer.token()
    response = exchange(trusting, token)
    problem(response, 503, "issuer-unavailable")
    assert response.headers["Retry-After"]
    assert why in response.json()["detail"]
    asked = len(issuer.requests)
    # Others do not wait for it again at once.
    problem(exchange(trusting, token), 503, "issuer-unavailable")
    assert len(issuer.requests) == asked
    assert stored_counts(trusting) == (0, 0)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/keys", "http://localhost/keys", "file:///etc/passwd", 5, None])
def test_keys_at_another_address_are_not_read(trusting: TestClient, issuer: Issuer, address: object) -> None:
    issuer.configuration["jwks_uri"] = address
    problem(exchange(trusting, issuer.token()), 503, "issuer-unavailable")


@pytest.mark.usefixtures("asks_at_once")
def test_an_issuer_that_is_away_stops_only_unknown_keys(
    trusting: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exchange(trusting, issuer.token()).status_code == 201
    issuer.status = 500
    monkeypatch.setattr("app.api.issuer._FRESH_SECONDS", 0.0)
    assert exchange(trusting, issuer.token()).status_code == 201
    problem(exchange(trusting, issuer.token(OTHER_RSA)), 503, "issuer-unavailable")
    monkeypatch.setattr("app.api.issuer._STALE_SECONDS", 0.0)
    problem(exchange(trusting, issuer.token()), 503, "issuer-unavailable")
    issuer.status = 200
    monkeypatch.undo()
    monkeypatch.setattr("app.api.issuer.RETRY_SECONDS", 0)
    assert exchange(trusting, issuer.token()).status_code == 201


def test_an_issuer_that_is_gone_is_503(trusting: TestClient) -> None:
    vendor(TestClient(trusting.app, headers=AUTHORIZATION))
    with running_issuer() as gone:
        trust(trusting, gone)
        token = gone.token()
    response = exchange(trusting, token)
    problem(response, 503, "issuer-unavailable")
    assert "cannot be reached" in response.json()["detail"]


def test_a_deleted_publisher_is_not_trusted_and_its_tokens_are_revoked(trusting: TestClient, issuer: Issuer) -> None:
    admin = TestClient(trusting.app, headers=AUTHORIZATION)
    other = trust(admin, issuer, claims={"repository": "vendor-a/other"})
    run = TestClient(trusting.app, headers=bearer(exchange(trusting, issuer.token())))
    other_run = TestClient(trusting.app, headers=bearer(exchange(trusting, issuer.token(repository="vendor-a/other"))))
    assert publish(run, "vendor-a.com/fw@1", {"num-queues": QUEUES}).status_code == 201
    first = admin.get("/trusted-publishers").json()["items"][0]["id"]
    assert admin.delete(f"/trusted-publishers/{first}", params={"dry_run": True}).status_code == 204
    assert admin.delete(f"/trusted-publishers/{first}").status_code == 204
    problem(publish(run, "vendor-a.com/fw@2", {"num-queues": QUEUES}), 401, "unauthorized")
    assert publish(other_run, "vendor-a.com/fw@2", {"num-queues": QUEUES}).status_code == 201
    problem(exchange(trusting, issuer.token()), 403, "claims-not-trusted")
    problem(admin.delete(f"/trusted-publishers/{first}"), 404, "unknown-trusted-publisher")
    assert admin.delete(f"/trusted-publishers/{other['id']}").status_code == 204
    problem(exchange(trusting, issuer.token()), 403, "unknown-issuer")
    audited = admin.get("/audit").json()["items"]
    revoked = [change["detail"]["token_name"] for change in audited if change["kind"] == "token-revoked"]
    names = [f"vendor-a/{project} run 16293, trusted publisher" for project in ("firmware", "other")]
    assert revoked == [
        f"trusted publisher {first}", f"{names[0]} {first}",
        f"trusted publisher {other['id']}", f"{names[1]} {other['id']}",
    ]  # fmt: skip


def test_a_publisher_that_is_deleted_during_the_exchange_is_not_trusted(trusting: TestClient, issuer: Issuer) -> None:
    issuer.delay = 0.3
    responses: list[Response] = []
    thread = threading.Thread(target=lambda: responses.append(exchange(trusting, issuer.token())))
    thread.start()
    while not issuer.requests:
        time.sleep(0.01)
    admin = TestClient(trusting.app, headers=AUTHORIZATION)
    (publisher,) = admin.get("/trusted-publishers").json()["items"]
    assert admin.delete(f"/trusted-publishers/{publisher['id']}").status_code == 204
    thread.join()
    problem(responses[0], 403, "unknown-issuer")


def test_a_pipeline_of_several_vendors_names_one(trusting: TestClient, issuer: Issuer) -> None:
    admin = TestClient(trusting.app, headers=AUTHORIZATION)
    vendor(admin, "vendor-b.com")
    trust(admin, issuer, vendor="vendor-b.com")
    token = issuer.token()
    response = exchange(trusting, token)
    assert problem(response, 422, "invalid") == [("/vendor", "missing-field")]
    assert "vendor-a.com, vendor-b.com" in response.json()["faults"][0]["message"]
    assert exchange(trusting, token, vendor="vendor-b.com").json()["vendor"] == "vendor-b.com"


def test_a_boolean_and_a_number_are_compared_as_text(trusting: TestClient, issuer: Issuer) -> None:
    claims = {"project_path": "vendor-a/firmware", "ref_protected": "true", "runner_id": "12"}
    trust(trusting, issuer, claims=claims)
    values: dict[str, Any] = {"project_path": "vendor-a/firmware", "repository": None}
    assert exchange(trusting, issuer.token(**values, ref_protected=True, runner_id=12)).status_code == 201
    assert exchange(trusting, issuer.token(**values, ref_protected="true", runner_id="12")).status_code == 201
    for others in ({"ref_protected": 1, "runner_id": 12}, {"ref_protected": True, "runner_id": 12.0}):
        problem(exchange(trusting, issuer.token(**values, **others)), 403, "claims-not-trusted")


def _unsigned(header: object, claims: object) -> str:
    return ".".join([*(_encoded(json.dumps(part).encode()) for part in (header, claims)), "AAAA"])


def _of_text(claims: bytes) -> str:
    """Return a token whose claims are a text that is not what JSON should be."""
    return f"{_encoded(json.dumps(_HEADER).encode())}.{_encoded(claims)}.AAAA"


_HEADER = {"alg": "RS256", "kid": "rsa"}
_MALFORMED = {
    "nothing": ("", 1),
    "two parts": ("a.b", 1),
    "five parts, encrypted": ("a.b.c.d.e", 1),
    "no base64url": ("a+/.b=.c", 1),
    "no JSON": ("aaaa.bbbb.cccc", 1),
    "no objects": (_unsigned([], "x"), 1),
    "no claims": (_unsigned(_HEADER, {}), 4),
    "nothing right": (_unsigned({"kid": 5, "crit": ["b64"]}, {"iss": 5, "aud": [5], "exp": "1", "iat": True}), 7),
    "a time beyond all": (_unsigned(_HEADER, {"iss": "x", "aud": "x", "iat": 1, "exp": 1e300, "nbf": -1}), 2),
    "infinite": (_of_text(b'{"exp": 1e999}'), 1),
    "a lone surrogate": (_of_text(b'{"iss": "\\ud800"}'), 1),
    "duplicate names": (_of_text(b'{"iss": 1, "iss": 2}'), 1),
    "nested": (_of_text(b"[" * 12_000), 1),
    "valid for a year": (_unsigned(_HEADER, {"iss": "x", "aud": "x", "iat": 1, "exp": 31_536_000}), 1),
}


@pytest.mark.parametrize(("token", "count"), _MALFORMED.values(), ids=_MALFORMED.keys())
def test_text_that_is_not_an_oidc_token_is_422_with_all_faults(trusting: TestClient, token: str, count: int) -> None:
    faults = problem(exchange(trusting, token), 422, "invalid")
    assert {pointer for pointer, _ in faults} == {"/token"}
    assert len(faults) == count


def test_an_invalid_exchange_is_422(trusting: TestClient) -> None:
    bodies: list[Any] = [{}, {"token": 5}, {"token": "x" * 20_000}, {"token": "x", "issuer": "https://x.example"}, []]
    for body in bodies:
        assert problem(trusting.post("/tokens/exchange", json=body), 422, "invalid")


@pytest.mark.usefixtures("trusting")
def test_an_exchange_needs_no_other_token_even_where_reads_are_closed(issuer: Issuer, database_url: str) -> None:
    settings = Settings(database_url=database_url, admin_token=SecretStr(TOKEN), read="token")
    # A token of an earlier step can have expired.
    with TestClient(create_app(settings), headers={"Authorization": "Bearer dpr_expired"}) as closed:
        assert exchange(closed, issuer.token()).status_code == 201
        problem(closed.get("/vendors"), 401, "unauthorized")


def test_trusted_publishers_are_listed_in_the_order_created(trusting: TestClient, issuer: Issuer) -> None:
    admin = TestClient(trusting.app, headers=AUTHORIZATION)
    vendor(admin, "vendor-b.com")
    (first,) = admin.get("/trusted-publishers").json()["items"]
    again = trust(admin, issuer)
    assert again == {**first, "dry_run": False}
    second = trust(admin, issuer, vendor="vendor-b.com")
    page = admin.get("/trusted-publishers", params={"limit": 1}).json()
    rest = admin.get("/trusted-publishers", params={"cursor": page["next"]}).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == [first["id"], second["id"]]
    only = admin.get("/trusted-publishers", params={"vendor": "vendor-b.com"}).json()["items"]
    assert [item["vendor"] for item in only] == ["vendor-b.com"]


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ({"issuer": "http://issuer.example"}, ["/issuer"]),
        ({"issuer": "https://user@issuer.example"}, ["/issuer"]),
        ({"issuer": "https://issuer.example/?x"}, ["/issuer"]),
        ({"issuer": "https://issuer.example:99999"}, ["/issuer"]),
        ({"issuer": "https://[::1"}, ["/issuer"]),
        ({"issuer": "ftp://127.0.0.1"}, ["/issuer"]),
        ({"issuer": "nonsense", "audience": "", "claims": {}}, ["/audience", "/claims", "/issuer"]),
        ({"claims": {"ref": "refs/heads/main"}}, ["/claims"]),
        ({"claims": {"repository": "a/b", "iss": "x"}}, ["/claims"]),
        ({"claims": {"repository": 5}}, ["/claims/repository"]),
        ({"claims": {"repository": "a\0"}, "more": 1}, ["/claims/repository", "/more"]),
        ({"claims": {f"c{number}": "x" for number in range(21)}}, ["/claims"]),
    ],
)
def test_a_publisher_that_is_not_safe_is_refused(
    registry: TestClient, document: dict[str, Any], faults: list[str]
) -> None:
    vendor(registry)
    full = {"vendor": "vendor-a.com", "issuer": "https://x.example", "audience": AUDIENCE, "claims": CLAIMS}
    refused = registry.post("/trusted-publishers", json={**full, **document})
    assert sorted(pointer for pointer, _ in problem(refused, 422, "invalid")) == faults


@pytest.mark.parametrize(
    "url", ["https://x.example/realms/a", "http://localhost:1", "http://[::1]:1", "http://127.1.2.3"]
)
def test_an_issuer_is_https_or_on_this_machine(registry: TestClient, url: str) -> None:
    vendor(registry)
    document = {"vendor": "vendor-a.com", "issuer": url, "audience": AUDIENCE, "claims": CLAIMS}
    assert registry.post("/trusted-publishers", json=document).status_code == 201
    unknown = registry.post("/trusted-publishers", json={**document, "vendor": "vendor-z.com"})
    problem(unknown, 404, "unknown-vendor")


def test_an_unreachable_database_is_503(issuer: Issuer) -> None:
    with TestClient(make_app("postgresql://u@127.0.0.1:1/none")) as client:
        problem(exchange(client, issuer.token()), 503, "unavailable")
