"""Mirrors and imports verify the signed head of a feed, and what vendors have signed stays signed in a mirror."""

import base64
import gzip
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.client import Registry
from app.cli.command import command
from app.cli.feed import Archive, CopyResult, RemoteFeed, copy_feed, read_trust, write_archive
from app.cli.keys import _signed_sets
from app.client import RegistryError
from app.domain.publishing.change import linked
from app.domain.values.canonical import canonical_json, digest
from app.signing.checkpoint import Checkpoint, UntrustedError
from app.signing.envelope import Subject, sign
from app.signing.key import InvalidKeyError, PrivateKey, PublicKey
from app.storage import database
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import AppTransport, Run, client_of
from tests.conftest import AUTHORIZATION, TOKEN, copied_database, make_app

OLD, NEW, OTHER = (PrivateKey.create("registry.example") for _ in range(3))
VENDOR_KEY, VENDOR_NEXT = PrivateKey.create("vendor-a.com/2026"), PrivateKey.create("vendor-a.com/2027")
ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P, Q = "vendor-a.com/p", "vendor-a.com/q"


def fill(registry: TestClient) -> None:
    """Publish signed and unsigned content, and a host."""
    vendor(registry)
    publish(registry, ONE, {"num-queues": QUEUES}, description="unsigned")
    for key in (VENDOR_KEY, VENDOR_NEXT):
        registry.put(f"/vendors/vendor-a.com/keys/{key.public.id}", json={"key": str(key.public)})
    document: dict[str, Any] = {
        "models": {NIC: {"variables": {"num-queues": QUEUES}}},
        "profiles": [{"name": P, "values": {NIC: {"num-queues": "0x8"}}}],
        "state": "deprecated",
    }
    put(registry, f"/releases/{TWO}", sign(Subject.RELEASE, TWO, document, [VENDOR_KEY]))
    put(registry, f"/releases/{ONE}", sign(Subject.RELEASE, ONE, {"models": {}}, [VENDOR_KEY, VENDOR_NEXT]))
    profile = {"name": Q, "values": {NIC: {"num-queues": 2}}}
    put(registry, f"/profiles/{Q}", sign(Subject.PROFILE, Q, profile, [VENDOR_KEY]))
    put(registry, "/vendors/vendor-a.com", {"signed": True})
    registry.delete(f"/vendors/vendor-a.com/keys/{VENDOR_KEY.public.id}")
    registry.put("/hosts/host-1", json={"releases": [ONE]})


def put(registry: TestClient, path: str, document: Any) -> None:
    response = registry.put(path, json=document)
    assert response.status_code == 201, response.text


@pytest.fixture
def source(database_url: str) -> Iterator[TestClient]:
    """Yield a registry with content that signs its feed with an old key."""
    with signing(database_url, OLD) as client:
        fill(client)
        yield client


def signing(url: str, *keys: PrivateKey) -> TestClient:
    """Return a client of a registry that signs its feed."""
    text = "\n".join(key.text() for key in keys)
    return TestClient(make_app(url, signing_key=text or None), headers=AUTHORIZATION)


@pytest.fixture
def target(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Yield an empty registry, which is unsigned."""
    another = f"sqlite:///{tmp_path_factory.mktemp('another') / 'registry.db'}"
    engine = database.create_engine(another)
    database.migrate(engine)
    engine.dispose()
    with copied_database(another, request) as url, TestClient(make_app(url), headers=AUTHORIZATION) as client:
        yield client


def copy(source: TestClient, target: TestClient, *trust: PrivateKey) -> CopyResult:
    with client_of(source) as origin, client_of(target) as mirror:
        keys = [key.public for key in trust]
        return copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None, trust=keys)


def import_archive(path: Path, target: TestClient, *trust: PrivateKey, with_hosts: bool = False) -> CopyResult:
    keys = [key.public for key in trust]
    with client_of(target) as mirror:
        return copy_feed(Archive(path), mirror, path.name, lambda *_: None, with_hosts=with_hosts, trust=keys)


def export(source: TestClient, path: Path) -> Path:
    with client_of(source) as origin, path.open("wb") as file:
        write_archive(RemoteFeed(origin), file, lambda *_: None)
    return path


def is_empty(registry: TestClient) -> bool:
    return bool(registry.get("/changes").json()["head"] == 0)


PATHS = [
    f"/releases/{ONE}",
    f"/releases/{TWO}",
    f"/profiles/{P}",
    f"/profiles/{Q}",
    "/vendors",
    "/vendors/vendor-a.com/keys",
]


def content_of(registry: TestClient) -> dict[str, Any]:
    """Return the content of a registry without the times, which are those of each registry."""

    def timeless(document: Any) -> Any:
        if isinstance(document, list):
            # What is registered at one time has no other order.
            return sorted((timeless(item) for item in document), key=canonical_json)
        if isinstance(document, dict):
            return {
                name: bool(value) if name in {"at", "revoked_at"} else timeless(value)
                for name, value in document.items()
            }
        return document

    return {path: timeless(registry.get(path).json()) for path in PATHS}


def test_a_trusted_mirror_has_the_vendors_signatures_too(source: TestClient, target: TestClient) -> None:
    result = copy(source, target, OLD)
    assert result.signature == f"verified: signed by {OLD.public.label}"
    assert content_of(target) == content_of(source)
    (first, second) = (
        target.get(f"/releases/{ONE}").json()["signatures"] + target.get(f"/profiles/{P}").json()["signatures"]
    )
    for signature in (first, second):
        path = f"/signatures/{signature['digest']}"
        assert target.get(path).json() == source.get(path).json()
    assert copy(source, target, OLD).changes == 0
    # What is published later is signed as the source requires it.
    more: dict[str, Any] = {"models": {"vendor-a.com/gpu": {"variables": {}}}}
    put(source, f"/releases/{ONE}", sign(Subject.RELEASE, ONE, more, [VENDOR_NEXT]))
    assert copy(source, target, OLD).changes == 1
    assert content_of(target) == content_of(source)


def test_a_copy_without_a_pinned_key_says_what_it_did_not_verify(
    source: TestClient, target: TestClient, database_url: str
) -> None:
    assert copy(source, target).signature == f"signed by {OLD.public.label}; not verified (--trust)"
    with signing(database_url) as unsigned:
        assert copy(unsigned, target).signature == "unsigned"
        with pytest.raises(UntrustedError, match="http://source is not trusted: it is unsigned"):
            copy(unsigned, target, OLD)


def test_a_wrong_key_copies_nothing(source: TestClient, target: TestClient, tmp_path: Path) -> None:
    with pytest.raises(UntrustedError, match="not by a trusted key"):
        copy(source, target, OTHER)
    with pytest.raises(UntrustedError, match="not by a trusted key"):
        import_archive(export(source, tmp_path / "a"), target, OTHER)
    other_origin = PrivateKey("other.example", OLD.seed)
    with pytest.raises(UntrustedError, match="not by a trusted key"):
        copy(source, target, other_origin)
    assert is_empty(target)


def test_a_key_is_rotated_with_an_overlap(source: TestClient, target: TestClient, database_url: str) -> None:
    copy(source, target, OLD)
    with signing(database_url, OLD, NEW) as both:
        assert copy(both, target, OLD).signature == f"verified: signed by {OLD.public.label}"
        assert copy(both, target, OLD, NEW).signature.endswith(f"{OLD.public.label}, {NEW.public.label}")
    with signing(database_url, NEW) as after:
        assert copy(after, target, OLD, NEW).signature == f"verified: signed by {NEW.public.label}"
        with pytest.raises(UntrustedError, match="not by a trusted key"):
            copy(after, target, OLD)


def test_an_archive_contains_its_signed_head_and_is_reproducible(
    source: TestClient, target: TestClient, tmp_path: Path
) -> None:
    one, two = export(source, tmp_path / "one"), export(source, tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    assert import_archive(one, target, OLD, with_hosts=True).signature.startswith("verified")
    assert content_of(target) == content_of(source)
    assert [host["host"] for host in target.get("/hosts").json()["items"]] == ["host-1"]


def test_an_older_head_is_refused(source: TestClient, target: TestClient, tmp_path: Path) -> None:
    older = export(source, tmp_path / "older")
    source.put("/vendors/vendor-b.com", json={})
    newer = export(source, tmp_path / "newer")
    import_archive(newer, target, OLD)
    with pytest.raises(UntrustedError, match=r"change \d+, is older than change \d+, which was seen before"):
        import_archive(older, target, OLD)
    # The old head in front of a newer feed.
    lines = lines_of(newer)
    lines[0]["checkpoint"] = lines_of(older)[0]["checkpoint"]
    with pytest.raises(UntrustedError, match=r"its signed head is change \d+, but it goes on to change \d+"):
        import_archive(written(tmp_path / "mixed", lines), target, OLD)


def lines_of(archive: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(archive.read_bytes()).splitlines()]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    return path


def relinked(lines: list[Any]) -> list[Any]:
    """Return an archive with every digest and every link made right again, as somebody would who altered it."""
    link = lines[0]["registry"]
    for line in lines[1:]:
        if line["document"] is not None:
            line["change"]["document_digest"] = digest(canonical_json(line["document"]))
        link = line["change"]["link"] = linked(link, line["change"])
    return lines


def _alter_description(lines: list[Any]) -> None:
    release = next(line for line in lines[1:] if line["change"]["name"] == ONE)
    release["document"]["description"] = "altered"


def _alter_by(lines: list[Any]) -> None:
    lines[1]["change"]["by"] = "mallory"


def _drop_the_last(lines: list[Any]) -> None:
    lines.pop()
    lines[0]["head"] -= 1


def _drop_the_signature(lines: list[Any]) -> None:
    for line in lines[1:]:
        line["change"]["detail"].pop("signature", None)


def _add_one(lines: list[Any]) -> None:
    document = {"name": None, "url": None}
    change = {**lines[1]["change"], "seq": len(lines), "part_of": len(lines), "name": "mallory.com"}
    lines.append({"change": change, "document": document, "contents": {}})
    lines[0]["head"] += 1


def _other_registry(lines: list[Any]) -> None:
    lines[0]["registry"] = "another"


ALTERATIONS: list[Callable[[list[Any]], None]] = [
    _alter_description,
    _alter_by,
    _drop_the_last,
    _drop_the_signature,
    _add_one,
    _other_registry,
]


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_archive_that_was_altered_and_linked_anew_is_refused(
    source: TestClient, target: TestClient, tmp_path: Path, alter: Callable[[list[Any]], None]
) -> None:
    lines = lines_of(export(source, tmp_path / "true"))
    alter(lines)
    forged = written(tmp_path / "forged", relinked(lines))
    with pytest.raises(UntrustedError, match="forged is not trusted"):
        import_archive(forged, target, OLD)
    assert is_empty(target)
    # With a signature of a key that is not pinned, or none at all.
    last = lines[-1]["change"]
    lines[0]["checkpoint"] = Checkpoint.of("registry.example", last["seq"], last["link"]).signed([OTHER])
    with pytest.raises(UntrustedError):
        import_archive(written(tmp_path / "forged", lines), target, OLD)
    del lines[0]["checkpoint"]
    with pytest.raises(UntrustedError, match="unsigned"):
        import_archive(written(tmp_path / "forged", lines), target, OLD)
    assert is_empty(target)


@pytest.mark.parametrize("place", ["document", "contents"])
def test_altered_content_of_a_signed_archive_is_refused(
    source: TestClient, target: TestClient, tmp_path: Path, place: str
) -> None:
    lines = lines_of(export(source, tmp_path / "true"))
    release = next(line for line in lines[1:] if line["change"]["name"] == ONE)
    if place == "document":
        release["document"]["description"] = "altered"
    else:
        next(iter(release["contents"].values()))["variables"]["num-queues"]["init_value"] = 1
    with pytest.raises(RegistryError, match="altered"):
        import_archive(written(tmp_path / "forged", lines), target, OLD)


def test_hosts_that_were_altered_before_what_is_applied_are_refused(
    source: TestClient, target: TestClient, tmp_path: Path
) -> None:
    archive = export(source, tmp_path / "true")
    import_archive(archive, target, OLD)
    lines = lines_of(archive)
    lines[-1]["document"]["releases"] = [TWO]
    with pytest.raises(Exception, match="does not match its digest"):
        import_archive(written(tmp_path / "a", lines), target, OLD, with_hosts=True)
    with pytest.raises(UntrustedError):
        import_archive(written(tmp_path / "b", relinked(lines)), target, OLD, with_hosts=True)
    assert target.get("/hosts").json()["items"] == []
    assert import_archive(archive, target, OLD, with_hosts=True).added == 1


def test_an_archive_of_a_version_that_did_not_sign_is_imported(
    source: TestClient, target: TestClient, tmp_path: Path
) -> None:
    lines = lines_of(export(source, tmp_path / "true"))
    del lines[0]["checkpoint"]
    assert import_archive(written(tmp_path / "old", lines), target).signature == "unsigned"
    assert content_of(target) == content_of(source)


def test_a_feed_of_a_version_that_did_not_sign_is_mirrored(source: TestClient, target: TestClient) -> None:
    class OldTransport(AppTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/checkpoint":
                return httpx.Response(404, json={"status": 404, "code": "not-found", "detail": "no such address"})
            return super().handle_request(request)

    origin = client_of(source)
    origin._http = httpx.Client(base_url="http://testserver", transport=OldTransport(source))
    with origin, client_of(target) as mirror:
        result = copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None)
    assert result.signature == "unsigned"
    assert content_of(target) == content_of(source)


def test_a_source_that_serves_another_feed_than_it_signed_is_refused(source: TestClient, target: TestClient) -> None:
    class ForgingTransport(AppTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if request.url.path != "/changes":
                return response
            page = response.json()
            link = page["registry"]
            for entry in page["items"]:
                entry["by"] = "mallory"
                link = entry["link"] = linked(link, entry)
            return httpx.Response(200, json=page)

    origin = client_of(source)
    origin._http = httpx.Client(base_url="http://testserver", transport=ForgingTransport(source))
    with origin, client_of(target) as mirror, pytest.raises(UntrustedError, match="do not lead to its signed head"):
        copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None, trust=[OLD.public])
    assert is_empty(target)


def test_a_mirror_refuses_an_envelope_that_a_revoked_key_signed(source: TestClient, target: TestClient) -> None:
    """The source accepted it before it revoked the key; an admin of the mirror has revoked it there earlier."""
    put(target, "/vendors/vendor-a.com", {})
    put(target, f"/vendors/vendor-a.com/keys/{VENDOR_KEY.public.id}", {"key": str(VENDOR_KEY.public)})
    target.delete(f"/vendors/vendor-a.com/keys/{VENDOR_KEY.public.id}")
    with pytest.raises(RegistryError, match="was revoked at") as refused:
        copy(source, target, OLD)
    assert refused.value.problem is not None
    assert refused.value.problem["code"] == "mirror-conflict"


def test_a_mirror_that_requires_signatures_refuses_what_is_unsigned(source: TestClient, target: TestClient) -> None:
    put(target, "/vendors/vendor-a.com", {"signed": True})
    with pytest.raises(RegistryError, match="must be signed with a key of vendor-a"):
        copy(source, target, OLD)


def _alter_what_is_signed(lines: list[Any], line: Any) -> None:
    """Another vendor's content under the envelope of a signed release."""
    variables = {"num-queues": {**QUEUES, "init_value": 1}}
    (key,) = line["document"]["models"].values()
    content = next(entry["contents"][key] for entry in lines[1:] if key in entry["contents"])
    altered = {**content, "variables": {**content["variables"], **variables}}
    line["document"]["models"][NIC] = digest(canonical_json(altered))
    line["contents"][digest(canonical_json(altered))] = altered
    line["change"]["digest"] = f"sha256:{0:064}"


def _alter_the_payload(_lines: list[Any], line: Any) -> None:
    envelope = line["contents"].pop(line["change"]["detail"]["signature"])
    payload = base64.b64decode(envelope["payload"]).replace(b'"1-8"', b'"1-9"')
    _put_envelope(line, {**envelope, "payload": base64.b64encode(payload).decode()})


def _sign_with_another_key(_lines: list[Any], line: Any) -> None:
    line["contents"].pop(line["change"]["detail"]["signature"])
    forger = PrivateKey.create("vendor-a.com/2026")
    document = {"models": {NIC: {"variables": {"num-queues": QUEUES}}}, "profiles": []}
    _put_envelope(line, sign(Subject.RELEASE, TWO, document, [forger]))


def _take_another_envelope(lines: list[Any], line: Any) -> None:
    other = next(entry for entry in lines[1:] if "signature" in entry["change"]["detail"] and entry is not line)
    line["contents"].pop(line["change"]["detail"]["signature"])
    _put_envelope(line, other["contents"][other["change"]["detail"]["signature"]])


def _put_envelope(line: Any, envelope: Any) -> None:
    key = digest(canonical_json(envelope))
    line["contents"][key] = envelope
    line["change"]["detail"]["signature"] = key


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (_alter_what_is_signed, "differs from the other registry"),
        (_alter_the_payload, "does not match the payload"),
        (_sign_with_another_key, "has no key vendor-a.com/2026"),
        (_take_another_envelope, "must be vendor-a.com/fw@2"),
    ],
)
def test_a_source_cannot_put_other_content_under_a_vendors_signature(
    source: TestClient, target: TestClient, tmp_path: Path, alter: Callable[[list[Any], Any], None], message: str
) -> None:
    """The source itself forges: every digest, link and its own signature are right."""
    lines = lines_of(export(source, tmp_path / "true"))
    release = next(line for line in lines[1:] if line["change"]["name"] == TWO)
    alter(lines, release)
    last = relinked(lines)[-1]["change"]
    lines[0]["checkpoint"] = Checkpoint.of("registry.example", last["seq"], last["link"]).signed([OLD])
    with pytest.raises(RegistryError, match=message):
        import_archive(written(tmp_path / "forged", lines), target, OLD)
    assert is_empty(target)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ({"signature": "sha256:none"}, "is missing"),
        ({"signature": 1}, "is missing"),
        ({"signature": ["x"]}, "is missing"),
    ],
)
def test_a_change_that_names_no_envelope_is_refused(target: TestClient, detail: Any, message: str) -> None:
    vendor(target)
    entry = {
        "seq": 1,
        "part_of": 1,
        "at": "2026-11-23T12:00:00.000Z",
        "by": "admin",
        "kind": "release-published",
        "name": ONE,
        "digest": None,
        "detail": detail,
        "document_digest": digest(canonical_json({"models": {}})),
    }
    change = {**entry, "link": linked("another", entry), "document": {"models": {}}}
    response = target.post("/mirrors/another/changes", json={"url": "x", "changes": [change]})
    assert (response.status_code, message in response.text) == (409, True), response.text


@pytest.mark.parametrize(
    "document",
    [
        {"keys": 1},
        {"keys": [1]},
        {"keys": ["nonsense"]},
        {"keys": [str(OLD.public)]},
        {"revoked_keys": ["x"]},
        {"signed": 1},
    ],
)
@pytest.mark.parametrize("kind", ["vendor-registered", "vendor-completed"])
def test_malformed_keys_of_a_vendor_are_refused(target: TestClient, kind: str, document: Any) -> None:
    whole = {"name": None, "url": None, **document}
    entry = {
        "seq": 1,
        "part_of": 1,
        "at": "2026-11-23T12:00:00.000Z",
        "by": "admin",
        "kind": kind,
        "name": "vendor-a.com",
        "digest": None,
        "detail": {},
        "document_digest": digest(canonical_json(whole)),
    }
    change = {**entry, "link": linked("another", entry), "document": whole}
    response = target.post("/mirrors/another/changes", json={"url": "x", "changes": [change]})
    assert (response.status_code, response.json()["code"]) in {(409, "mirror-conflict"), (422, "invalid")}


def test_the_commands_verify_and_say_so(
    source: TestClient, target: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, pinned = export(source, tmp_path / "registry.jsonl.gz"), tmp_path / "registry.pub"
    pinned.write_text(f"{OTHER.public}\n{OLD.public}\n")
    monkeypatch.setenv("REGISTRY_URL", "http://target")
    monkeypatch.setenv("REGISTRY_TOKEN", TOKEN)
    real_client = httpx.Client

    def client(**options: Any) -> httpx.Client:
        service = source if options["base_url"] == "http://source" else target
        return real_client(**{**options, "transport": AppTransport(service)})

    monkeypatch.setattr(httpx, "Client", client)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command(), list(arguments))

    refused = run("import", "archive", str(archive), "--trust", str(OTHER.public))
    assert (refused.exit_code, "not by a trusted key" in refused.stderr) == (1, True)
    assert run("import", "archive", str(archive), "--trust", "nonsense").exit_code == 2
    imported = run("import", "archive", str(archive), "--trust", str(pinned), "--json")
    assert imported.exit_code == 0, imported.output
    assert json.loads(imported.stdout)["signature"] == f"verified: signed by {OLD.public.label}"
    mirrored = run("mirror", "http://source", "--once", "--trust", str(OLD.public))
    assert (mirrored.exit_code, f"(verified: signed by {OLD.public.label})" in mirrored.stdout) == (0, True)
    refused = run("mirror", "http://source", "--once", "--trust", str(OTHER.public), "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["code"]) == (1, "untrusted")
    assert "not verified (--trust)" in run("mirror", "http://source", "--once").stdout


def test_a_vendor_makes_a_key_and_signs_with_one_option(run: Run, api: Registry, tmp_path: Path) -> None:
    file, document = tmp_path / "vendor-a.key", tmp_path / "release.json"
    created = run("key", "create", "vendor-a.com/2026", "--file", str(file))
    assert created.exit_code == 0, created.output
    public = PublicKey.read(created.stdout.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("key", "create", "vendor-a.com/2026", "--file", str(file)).exit_code == 2
    assert run("key", "create", "a b", "--file", str(tmp_path / "x")).exit_code == 2
    assert run("key", "show", str(file)).stdout == created.stdout
    assert run("key", "show", str(tmp_path / "none")).exit_code == 2
    api.put("/vendors/vendor-a.com", {"signed": True})
    document.write_text(json.dumps({"models": {NIC: {"variables": {"num-queues": QUEUES}}}}))
    arguments = ("import", "migration-info", str(document), "--release", ONE)
    refused = run(*arguments)
    assert (refused.exit_code, "add --sign FILE" in refused.stderr) == (1, True)
    refused = run(*arguments, "--sign", str(file))
    assert (refused.exit_code, "has no key" in refused.stderr) == (1, True)
    assert run("key", "register", "vendor-a.com", "nonsense").exit_code == 2
    assert run("key", "register", "vendor-a.com", str(public)).exit_code == 0
    published = run(*arguments, "--sign", str(file))
    assert (published.exit_code, "signatures" in published.stdout) == (0, True), published.output
    assert api.get(f"/releases/{ONE}")["signatures"][0]["keys"] == [public.label]
    verified = run("key", "verify", ONE, "--trust", str(public), "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["models"]) == (0, {NIC: [public.label]})
    for key in (VENDOR_KEY.public, PublicKey(public.name, VENDOR_KEY.public.raw)):
        assert run("key", "verify", ONE, "--trust", str(key)).exit_code == 1
    assert run("key", "verify", TWO, "--trust", str(public)).exit_code == 2
    assert public.id in run("key", "list", "vendor-a.com").stdout
    assert run("key", "revoke", "vendor-a.com", public.id).exit_code == 0
    assert "revoked" in run("key", "list", "vendor-a.com").stdout
    assert run("key", "revoke", "vendor-a.com", "00000000").exit_code == 2
    assert "unsigned" in run("key", "list").stdout
    assert json.loads(run("key", "list", "--json").stdout)["keys"] == []


def test_a_registry_that_shows_other_content_than_was_signed_does_not_verify(source: TestClient) -> None:
    whole = source.get(f"/releases/{TWO}").json()
    envelope = source.get(f"/signatures/{whole['signatures'][0]['digest']}").json()
    assert [entry[0] for entry in _signed_sets(envelope, TWO, [VENDOR_KEY.public])] == [NIC]
    assert list(_signed_sets(envelope, ONE, [VENDOR_KEY.public])) == []
    assert list(_signed_sets({**envelope, "payload": "AA=="}, TWO, [VENDOR_KEY.public])) == []
    assert list(_signed_sets([], TWO, [VENDOR_KEY.public])) == []
    (entry,) = whole["models"]
    assert entry["digest"] == next(_signed_sets(envelope, TWO, [VENDOR_KEY.public]))[1]


def test_trusted_keys_are_read_from_texts_and_files(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{OLD.public}\n\n{NEW.public}\n")
    assert read_trust([str(file), str(OTHER.public)]) == [OLD.public, NEW.public, OTHER.public]
    file.write_bytes(b"\xff")
    for given in ("nonsense", str(file), OLD.text()):
        with pytest.raises(InvalidKeyError):
            read_trust([given])
