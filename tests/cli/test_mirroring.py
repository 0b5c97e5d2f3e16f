"""Mirrors and archives copy one registry into another, and refuse altered content."""

import gzip
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from alembic import command as alembic
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli import feed, packed
from app.cli.client import Registry
from app.cli.command import command
from app.cli.feed import Archive, ArchiveError, CopyResult, RemoteFeed, copy_feed, write_archive
from app.client import RegistryError
from app.domain.publishing.change import linked
from app.domain.values.canonical import canonical_json, digest
from app.storage import database, schema, version
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, publish, vendor
from tests.cli.conftest import Run, client_of
from tests.conftest import AUTHORIZATION, copied_database, make_app, shared_registry

ENTRY = {
    "seq": 1, "part_of": 1, "at": "", "by": "", "kind": "host-forgotten", "name": "h", "digest": None, "detail": {},
    "document_digest": None, "link": "",
}  # fmt: skip
ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P, Q = "vendor-a.com/p", "vendor-a.com/q"
GPU = "vendor-a.com/gpu"


def fill(registry: TestClient) -> None:
    """Publish and change resources of every kind in a registry."""
    vendor(registry)
    vendor(registry, "a.vendor-b.com")
    assert publish(registry, "a.vendor-b.com/dpu@1", {}, model="a.vendor-b.com/own").status_code == 201
    profiles = [{"name": P, "description": "first", "values": {NIC: {"num-queues": 8}}}]
    publish(registry, ONE, {"num-queues": QUEUES}, profiles=profiles, description="shipped in May")
    child = {"name": Q, "extends": P, "values": {NIC: {"num-queues": None, "feature": True}}}
    override = {"override": "a smaller chip"}
    document = {
        "models": {NIC: {"variables": {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}, "feature": FEATURE}}},
        "profiles": [child],
        "own_values": {Q: {NIC: {"num-queues": 2}}},
        "state": "deprecated",
    }
    assert registry.put(f"/releases/{TWO}", json=document, params=override).status_code == 201
    registry.put("/vendors/vendor-a.com", json={"name": "Vendor A"})
    gpu = {
        "model": GPU,
        "implementation": FIRMWARE,
        "version": "2",
        "variables": {
            "memory": {"type": "int", "init_value": 4},
            "clock": {"type": "int", "init_value": 1, "off_value": 0},
        },
        "saved_state": {"writes": "b", "reads": ["a", "b"]},
        "needs": ["firmware", {"role": "driver", "when": {"clock": [1]}}],
        "together": [{"role": "driver", "over": 1, "require": {"p2p": [True, "2-4"]}}],
    }
    assert registry.post("/variable-sets", json=gpu).status_code == 201
    # A parent gains a model that its child already has; a release gains another vendor's model.
    early = {"name": "vendor-a.com/early", "extends": P, "values": {GPU: {"memory": 4}}}
    assert registry.post("/profiles", json=early).status_code == 201
    extended = {"name": P, "values": {GPU: {"memory": 4, "clock": 1}}}
    assert registry.post("/profiles", json=extended).status_code == 201
    memory = {"memory": {"type": "int", "init_value": 4}}
    assert publish(registry, "a.vendor-b.com/dpu@1", memory, model=GPU).status_code == 201
    registry.put(f"/implementations/{FIRMWARE}", json={"evolution": "full", "transitive": True})
    registry.patch(f"/profiles/{P}", json={"state": "retired"})
    registry.patch(f"/releases/{TWO}", json={"state": "published"})
    host = {
        "releases": [ONE],
        "labels": {"rack": "r1"},
        "restrict": {NIC: {"num-queues": [1]}},
        "resolves": {NIC: {"num-queues": {"0": 4}}},
        "units": [{"id": "card0", "releases": [TWO], "restrict": {GPU: {"clock": [1]}}, "available": 3}],
    }
    assert registry.put("/hosts/host-1", json=host).is_success
    registry.put("/hosts/host-2", json={"releases": [ONE]})
    registry.delete("/hosts/host-2")


@pytest.fixture
def source(registry: TestClient) -> TestClient:
    """Return a registry with a long history."""
    fill(registry)
    return registry


unchanged = shared_registry(fill)


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a migrated database; copies of the usual one have the registry id of the source."""
    url = f"sqlite:///{tmp_path_factory.mktemp('another') / 'registry.db'}"
    engine = database.create_engine(url)
    database.migrate(engine)
    engine.dispose()
    return url


@pytest.fixture
def target(another: str, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Yield an empty registry."""
    with copied_database(another, request) as url, TestClient(make_app(url), headers=AUTHORIZATION) as client:
        yield client


PATHS = [
    "/vendors",
    "/models",
    "/variable-sets",
    f"/models/{NIC}",
    f"/releases/{ONE}",
    f"/releases/{TWO}?own_values=true",
]
PATHS += [
    f"/profiles/{name}?resolved={resolved}" for name in (P, Q, "vendor-a.com/early") for resolved in ("true", "false")
]
PATHS += [f"/implementations/{FIRMWARE}", "/releases", "/profiles"]


def content_of(registry: TestClient) -> dict[str, Any]:
    return {path: registry.get(path).json() for path in PATHS}


def copy(source: TestClient, target: TestClient, **options: Any) -> CopyResult:
    with client_of(source) as origin, client_of(target) as mirror:
        return copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None, **options)


def test_a_mirror_becomes_equal_and_stays_equal(source: TestClient, target: TestClient) -> None:
    result = copy(source, target)
    assert content_of(target) == content_of(source)
    assert target.get("/hosts").json()["items"] == []
    registry = source.get("/changes").json()["registry"]
    (mirror,) = target.get("/mirrors").json()
    assert (mirror["registry"], mirror["seq"]) == (registry, result.seq)
    assert target.get(f"/mirrors/{registry}").json() == mirror
    assert copy(source, target) == CopyResult(0, 0, result.seq)
    source.patch(f"/profiles/{P}", json={"state": "published"})
    assert copy(source, target) == CopyResult(1, 1, result.seq + 1)
    assert content_of(target) == content_of(source)
    # The mirror's own feed names the origin of the change.
    last = target.get("/changes", params={"limit": 1000}).json()["items"][-1]
    assert (last["kind"], last["name"]) == ("profile-state-changed", P)
    assert last["detail"]["origin"] == {
        "registry": registry,
        "seq": result.seq + 1,
        "at": last["detail"]["origin"]["at"],
        "by": "admin",
    }


def test_a_transaction_stays_whole(source: TestClient, target: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_MAX_CHANGES", 1)
    copy(source, target)
    hosts = 3
    assert _transaction_sizes(target) == _transaction_sizes(source)[:-hosts]


def _transaction_sizes(registry: TestClient) -> list[int]:
    changes = registry.get("/changes", params={"limit": 1000}).json()["items"]
    transactions = [change["part_of"] for change in changes]
    return [transactions.count(transaction) for transaction in dict.fromkeys(transactions)]


def test_an_archive_is_a_backup(source: TestClient, target: TestClient, run: Run, tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl.gz", tmp_path / "other.jsonl.gz"
    exported = run("export", str(one))
    assert exported.exit_code == 0, exported.output
    assert json.loads(run("export", str(other), "--json").stdout)["changes"] == source.get("/changes").json()["head"]
    assert one.read_bytes() == other.read_bytes()
    with client_of(target) as mirror:
        copy_feed(Archive(one), mirror, "one", lambda *_: None, with_hosts=True)
    assert content_of(target) == content_of(source)
    assert _hosts(target) == _hosts(source)
    # Existing content is skipped, and a mirror continues where the archive ends.
    with client_of(target) as mirror:
        assert copy_feed(Archive(one), mirror, "one", lambda *_: None).changes == 0
    source.put("/vendors/vendor-b.com", json={}, headers=AUTHORIZATION)
    assert copy(source, target).changes == 1
    assert run("export", str(tmp_path / "none" / "x")).exit_code == 2
    assert run("import", "archive", str(tmp_path / "none")).exit_code == 2


def test_content_from_before_the_feed_is_mirrored(source: TestClient, target: TestClient, database_url: str) -> None:
    before = content_of(source)
    _lose_the_feed(database_url)
    assert content_of(source) == before
    copy(source, target, with_hosts=True)
    assert content_of(target) == before
    assert _hosts(target) == _hosts(source)
    assert source.get("/changes").json()["items"][0]["by"] == "before there was a feed"


A, B, C, D = (f"vendor-a.com/{name}" for name in "abcd")
OTHER = "vendor-a.com/o"
Entry = tuple[str, str | None, str, dict[str, int | None]]
HISTORIES: list[list[Entry]] = [
    # A parent gains a model after one child has it and before another child has it.
    [(A, None, OTHER, {"x": 1}), (D, A, NIC, {"x": 5}), (A, None, NIC, {"y": 2}), (C, A, NIC, {"z": 3})],
    # Two levels gain it late, the upper one first or the lower one first.
    [
        (A, None, OTHER, {"x": 1}),
        (B, A, OTHER, {"y": 1}),
        (D, B, NIC, {"x": 5}),
        (A, None, NIC, {"x": 1, "y": 2}),
        (B, A, NIC, {"x": 1}),
    ],
    [
        (A, None, OTHER, {"x": 1}),
        (B, A, OTHER, {"y": 1}),
        (D, B, NIC, {"x": 5}),
        (B, A, NIC, {"x": 1}),
        (A, None, NIC, {"x": 1, "y": 2}),
    ],
    # A child removes an inherited value.
    [
        (A, None, NIC, {"x": 1}),
        (B, A, NIC, {"x": None, "y": 1}),
        (C, B, OTHER, {"x": 1}),
        (B, A, OTHER, {"y": 1}),
        (D, C, OTHER, {"x": None}),
    ],
]


@pytest.mark.parametrize("history", HISTORIES)
def test_profiles_from_before_the_feed_are_mirrored_in_their_order_of_publication(
    registry: TestClient, target: TestClient, database_url: str, history: list[Entry]
) -> None:
    vendor(registry)
    variables = {name: {"type": "int", "init_value": 0, "off_value": 0} for name in "xyz"}
    models = {model: {"variables": variables} for model in (NIC, OTHER)}
    assert registry.put(f"/releases/{ONE}", json={"models": models}).status_code == 201
    for name, extends, model, values in history:
        document = {"name": name, "values": {model: values}, **({"extends": extends} if extends else {})}
        assert registry.post("/profiles", json=document).status_code == 201, name
    _lose_the_feed(database_url)
    copy(registry, target)
    for name in {entry[0] for entry in history}:
        path = f"/profiles/{name}?resolved=true"
        assert target.get(path).json() == registry.get(path).json()


def test_an_owners_off_value_after_another_vendors_is_mirrored(
    registry: TestClient, target: TestClient, database_url: str
) -> None:
    vendor(registry)
    vendor(registry, "vendor-b.com")
    variable = {"type": "int", "init_value": 1}
    publish(registry, ONE, {"x": variable})
    publish(registry, "vendor-b.com/dpu@1", {"w": {**variable, "off_value": 1}})
    document = {"models": {NIC: {"variables": {"w": {**variable, "off_value": 0}}}}}
    assert registry.put(f"/releases/{TWO}", json=document).status_code == 201
    before = [registry.get(path).json() for path in (f"/models/{NIC}", "/releases")]
    _lose_the_feed(database_url)
    copy(registry, target)
    assert [target.get(path).json() for path in (f"/models/{NIC}", "/releases")] == before


def _hosts(registry: TestClient) -> list[Any]:
    """Return the registered hosts, without the time at which each registry got them."""
    items = registry.get("/hosts").json()["items"]
    return [{name: value for name, value in host.items() if name != "reported_at"} for host in items]


def _lose_the_feed(database_url: str) -> None:
    """Return a registry's database to the schema without a feed, and migrate it."""
    engine = database.create_engine(database_url)
    tables = (
        schema.exchanged_token,
        schema.trusted_publisher,
        schema.envelope_entry,
        schema.envelope,
        schema.vendor_signing,
        schema.vendor_key_revocation,
        schema.vendor_key,
        schema.change_model,
        schema.change_document,
        schema.change,
        schema.identity,
        schema.mirror,
        schema.token,
        schema.profile_digest,
        schema.erratum_withdrawal,
        schema.erratum,
        schema.release_alias,
        schema.stand_in,
        schema.program,
    )
    config = version.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.downgrade(config, "0009")
        for table in tables:
            connection.execute(sa.text(f"DROP TABLE {table.name}"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    database.migrate(engine)
    engine.dispose()


class _AlteringTransport(httpx.BaseTransport):
    """Alters the responses of a registry."""

    def __init__(self, source: TestClient, alter: Callable[[str, Any], None]) -> None:
        self._source = source
        self._alter = alter

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._source.request(request.method, str(request.url))
        document = response.json()
        self._alter(request.url.path, document)
        return httpx.Response(response.status_code, json=document)


def _alter_description(path: str, document: Any) -> None:
    if path == "/changes/4":
        document["document"]["description"] = "altered"


def _alter_content(path: str, document: Any) -> None:
    if path == "/changes/4":
        (digest,) = document["document"]["models"].values()
        document["contents"][digest]["variables"]["num-queues"]["init_value"] = 5


def _remove_contents(path: str, document: Any) -> None:
    if path == "/changes/4":
        document["contents"].clear()


def _alter_digest(path: str, document: Any) -> None:
    for change in document.get("items", ()) if path == "/changes" else ():
        if change["seq"] == 5:
            change["digest"] = f"sha256:{0:064}"


def _alter_state(path: str, document: Any) -> None:
    if path != "/changes" and "document" in document and document["kind"] == "profile-state-changed":
        document["document"]["state"] = "published"


def _alter_name(path: str, document: Any) -> None:
    for change in document.get("items", ()) if path == "/changes" else ():
        if change["kind"] == "profile-state-changed":
            change["name"] = Q


def _remove_document_digest(path: str, document: Any) -> None:
    for change in document.get("items", ()) if path == "/changes" else ():
        if change["kind"] == "profile-state-changed":
            change["document_digest"] = None


def _swap_document_digests(path: str, document: Any) -> None:
    if path == "/changes":
        releases = [change for change in document["items"] if change["kind"] == "release-published"]
        for first, second in pairwise(releases):
            first["document_digest"], second["document_digest"] = second["document_digest"], first["document_digest"]


def _remove_change(path: str, document: Any) -> None:
    if path == "/changes":
        document["items"] = [change for change in document["items"] if change["seq"] != 4]


@pytest.mark.parametrize(
    ("alter", "code", "message"),
    [
        (_alter_description, "altered", f"change 4 (release-published {ONE})"),
        (_alter_content, "altered", "the content sha256:"),
        (_remove_contents, "altered", "is missing"),
        (_alter_digest, "altered", f"change 5 (profile-published {P})"),
        (_alter_state, "altered", f"(profile-state-changed {P})"),
        (_alter_name, "altered", f"(profile-state-changed {Q})"),
        (_remove_document_digest, "altered", f"(profile-state-changed {P})"),
        (_swap_document_digests, "altered", "does not match its link"),
        (_remove_change, "gap", "change 5 does not follow change 3"),
    ],
)
def test_altered_content_is_refused_and_named(
    unchanged: TestClient, target: TestClient, alter: Callable[[str, Any], None], code: str, message: str
) -> None:
    altered = client_of(unchanged)
    altered._http = httpx.Client(base_url="http://testserver", transport=_AlteringTransport(unchanged, alter))
    with altered as origin, client_of(target) as mirror:
        with pytest.raises(RegistryError) as refused:
            copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None)
        assert refused.value.problem is not None
        assert refused.value.problem["code"] == code
        assert message in str(refused.value)
        assert not refused.value.is_transient
    assert target.get("/releases").json()["items"] == []
    copy(unchanged, target)
    assert content_of(target) == content_of(unchanged)


def _answer_no_items(path: str, document: Any) -> None:
    if path == "/changes":
        document["items"] = 5


def _answer_no_entries(path: str, document: Any) -> None:
    if path == "/changes":
        document["items"] = [{}, None]


def _answer_the_same_again(path: str, document: Any) -> None:
    if path == "/changes":
        document["items"] *= 2


def _answer_no_document(path: str, document: Any) -> None:
    if path == "/changes/4":
        del document["document"]


@pytest.mark.parametrize("alter", [_answer_no_items, _answer_no_entries, _answer_the_same_again, _answer_no_document])
def test_a_source_that_does_not_answer_as_a_registry_is_refused_in_one_line(
    unchanged: TestClient, target: TestClient, alter: Callable[[str, Any], None]
) -> None:
    altered = client_of(unchanged)
    altered._http = httpx.Client(base_url="http://testserver", transport=_AlteringTransport(unchanged, alter))
    with (
        altered as origin,
        client_of(target) as mirror,
        pytest.raises(ArchiveError, match="does not answer with change"),
    ):
        copy_feed(RemoteFeed(origin), mirror, "http://source", lambda *_: None)
    assert target.get("/releases").json()["items"] == []


def test_a_conflicting_publication_is_not_overwritten(unchanged: TestClient, target: TestClient) -> None:
    vendor(target)
    publish(target, ONE, {"num-queues": {**QUEUES, "init_value": 1}})
    with pytest.raises(RegistryError, match=f"change 4 .release-published {ONE}. cannot be applied here") as refused:
        copy(unchanged, target)
    assert refused.value.problem is not None
    assert refused.value.problem["code"] == "mirror-conflict"
    assert refused.value.problem["faults"]


def test_a_restored_source_is_noticed(source: TestClient, target: TestClient) -> None:
    copy(source, target)
    with client_of(source) as origin, client_of(target) as mirror:
        older = RemoteFeed(origin)
        older.head = 3
        with pytest.raises(ArchiveError, match=r"ends at change 3, but .* the source was restored from a backup"):
            copy_feed(older, mirror, "http://source", lambda *_: None)


def test_a_source_that_changed_after_a_restore_is_no_longer_followed(
    source: TestClient, target: TestClient, tmp_path: Path, run: Run
) -> None:
    head = copy(source, target).seq
    source.put("/vendors/vendor-c.com", json={}, headers=AUTHORIZATION)
    copy(source, target)
    with client_of(source) as origin, client_of(target) as mirror:
        # As if another change had this seq.
        other = RemoteFeed(origin)
        other.link = lambda seq: f"sha256:{seq:064}"  # type: ignore[method-assign]
        with pytest.raises(
            ArchiveError, match=f"change {head + 1} of http://source differs from change {head + 1} here"
        ):
            copy_feed(other, mirror, "http://source", lambda *_: None)
    archive = tmp_path / "archive"
    assert run("export", str(archive)).exit_code == 0
    lines = gzip.decompress(archive.read_bytes()).splitlines()
    last = json.loads(lines[-1])
    last["change"]["link"] = f"sha256:{0:064}"
    archive.write_bytes(gzip.compress(b"\n".join([*lines[:-1], json.dumps(last).encode()])))
    with client_of(target) as mirror, pytest.raises(ArchiveError, match="differs from change"):
        copy_feed(Archive(archive), mirror, "archive", lambda *_: None)


MALFORMED: list[tuple[str, str, Any]] = [
    ("vendor-registered", "b.com", {"name": {"a": 1}, "url": None}),
    ("vendor-registered", "bad name!", {"name": None, "url": None}),
    ("vendor-registered", "b.com", {"name": "x" * 100_000, "url": None}),
    ("evolution-set", "vendor-a.com/fw", {"evolution": "none", "transitive": "yes"}),
    ("gate-overridden", ONE, {"reason": 1, "at": [2], "broken": 3}),
    ("gate-overridden", ONE, {"reason": "x", "at": "x", "broken": [1]}),
    ("release-published", ONE, {"models": 1}),
    ("release-published", ONE, {"models": {}, "profiles": [1]}),
    ("release-state-changed", ONE, {"state": "lost"}),
    ("release-state-changed", "vendor-a.com/none@1", {"state": "retired"}),
    ("profile-published", P, {"values": {NIC: "sha256:x"}}),
    ("host-registered", "host-1", {"releases": "x", "restrict": {}, "labels": {}}),
    ("host-registered", "host-1", {"releases": [], "restrict": {}, "labels": {}, "units": {}}),
    ("host-registered", "host-1", {"releases": [], "restrict": {}, "labels": {}, "units": [{"id": "a"}]}),
    ("host-changed", "host-1", {"releases": [], "restrict": {}, "labels": {}, "resolves": []}),
]


@pytest.mark.parametrize(("kind", "name", "document"), MALFORMED)
def test_a_malformed_change_is_refused(target: TestClient, kind: str, name: str, document: Any) -> None:
    entry = {
        "seq": 1,
        "part_of": 1,
        "at": "2026-11-23T12:00:00.000Z",
        "by": "admin",
        "kind": kind,
        "name": name,
        "digest": None,
        "detail": {},
        "document_digest": digest(canonical_json(document)),
    }
    change = {**entry, "link": linked("another", entry), "document": document}
    body = {"url": "x", "changes": [change], "contents": {}, "hosts": True}
    response = target.post("/mirrors/another/changes", json=body)
    if response.status_code == 422:
        assert response.json()["faults"][0]["pointer"].startswith("/changes/0/document"), response.text
    else:
        assert response.status_code == 409, response.text
        assert f"change 1 ({kind} {name})" in response.json()["detail"] or "is missing" in response.json()["detail"]


def test_a_mirror_keeps_its_own_name_of_a_vendor(unchanged: TestClient, target: TestClient) -> None:
    target.put("/vendors/vendor-a.com", json={"name": "Another A"})
    copy(unchanged, target)
    assert target.get("/vendors/vendor-a.com").json()["name"] == "Another A"


@pytest.mark.parametrize(
    "lines",
    [
        [{"format": "another"}],
        [],
        [{"format": feed.FORMAT, "version": 1, "registry": "x", "head": 1}, {"nothing": 1}],
        [{"format": feed.FORMAT, "version": 1, "registry": "x", "head": 1}],
        [{"format": feed.FORMAT, "version": 1}],
        [{"format": feed.FORMAT, "version": 1, "registry": "../tokens", "head": 1}],
        [
            {"format": feed.FORMAT, "version": 1, "registry": "x", "head": 1},
            {"change": {"seq": 1, "part_of": 1}, "document": None, "contents": {}},
        ],
        [
            {"format": feed.FORMAT, "version": 1, "registry": "x", "head": 1},
            {"change": ENTRY, "document": json.loads("[" * 500 + "]" * 500), "contents": {}},
        ],
    ],
)
def test_a_file_that_is_not_an_archive_is_refused(target: TestClient, tmp_path: Path, lines: list[Any]) -> None:
    path = tmp_path / "archive"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    with client_of(target) as mirror, pytest.raises(ArchiveError):
        copy_feed(Archive(path), mirror, "archive", lambda *_: None)


def _archive_of(*pieces: bytes) -> bytes:
    """Return an archive with a valid header, then these pieces; equal ones that follow each other are cheap."""
    header = {"format": feed.FORMAT, "version": 1, "registry": "x", "head": 1}
    return gzip.compress(b"".join((json.dumps(header).encode(), b"\n", *pieces)), 1)


def test_an_archive_that_unpacks_to_gigabytes_is_refused_in_little_memory(
    target: TestClient, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive"
    path.write_bytes(_archive_of(b"0" * 70 * 1024 * 1024))
    refused = run("import", "archive", str(path))
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
    assert "a line has more than 64 MiB" in refused.stderr
    # Short lines that never end.
    monkeypatch.setattr(packed, "MAX_ARCHIVE_BYTES", 1024 * 1024)
    path.write_bytes(_archive_of(json.dumps({"change": ENTRY, "document": None, "contents": {}}).encode() * 10_000))
    with client_of(target) as mirror, pytest.raises(ArchiveError, match="unpacks to more than 1 MiB"):
        copy_feed(Archive(path), mirror, "archive", lambda *_: None)


def test_a_transaction_that_never_ends_is_refused(target: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    line = json.dumps({"change": ENTRY, "document": None, "contents": {}}).encode() + b"\n"
    path.write_bytes(_archive_of(line * 10_100))
    with client_of(target) as mirror, pytest.raises(ArchiveError, match="is too large: more than 10,000 changes"):
        copy_feed(Archive(path), mirror, "archive", lambda *_: None)


def test_a_registry_cannot_mirror_itself(source: TestClient, run: Run) -> None:
    before = content_of(source)
    refused = run("mirror", "http://testserver", "--once")
    assert (refused.exit_code, "mirror-of-itself" in refused.stderr) == (2, True)
    assert content_of(source) == before


def test_an_error_of_the_feed_ends_an_export(unchanged: TestClient, tmp_path: Path) -> None:
    class BrokenFeed:
        registry, head, note = "x", 1, None

        def entries(self, after: int) -> Iterator[Any]:
            raise RegistryError(str(after))

        def changes(self, after: int) -> Iterator[feed.Change]:
            raise RegistryError(str(after))

        def link(self, seq: int) -> str | None:
            return str(seq)

    with (tmp_path / "x").open("wb") as file, pytest.raises(RegistryError):
        write_archive(BrokenFeed(), file, lambda *_: None)
    assert unchanged.get("/changes").status_code == 200


def test_tokens_are_created_listed_and_revoked(run: Run, api: Registry) -> None:
    api.put("/vendors/vendor-a.com", {})
    created = run(
        "token", "create", "pipeline", "--role", "publisher", "--vendor", "vendor-a.com", "--expires-in", "90d"
    )
    assert created.exit_code == 0, created.output
    assert created.stdout.startswith("dpr_")
    (token,) = json.loads(run("token", "list", "--json").stdout)
    assert (token["name"], token["vendor"]) == ("pipeline", "vendor-a.com")
    assert "pipeline" in run("token", "list").stdout
    assert run("token", "revoke", token["id"]).exit_code == 0
    assert run("token", "revoke", "none").exit_code == 2
    assert run("token", "create", "x", "--role", "publisher").exit_code == 2
    assert run("token", "create", "x", "--role", "reader", "--expires-in", "soon").exit_code == 2
    assert json.loads(run("token", "create", "x", "--role", "reader", "--json").stdout)["role"] == "reader"


def test_a_single_copy_from_a_registry_that_is_down_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.mirroring._GIVE_UP_SECONDS", 0.5)
    monkeypatch.setenv("REGISTRY_URL", "http://127.0.0.1:9")
    ended = CliRunner().invoke(command(), ["mirror", "http://127.0.0.1:9", "--once"])
    assert (ended.exit_code, "retrying" in ended.stderr) == (2, True)


def fill_with_errata(registry: TestClient) -> None:
    """Publish a renamed variable, aliases, own values, a host, and errata: standing, withdrawn and local."""
    vendor(registry)
    publish(registry, ONE, {"feature": FEATURE}, profiles=[{"name": P, "values": {NIC: {"feature": True}}}])
    inverted = {"type": "bool", "init_value": True, "off_value": True}
    renamed = {**inverted, "stands_for": {"variable": "feature", "inverted": True}}
    more = {"aliases": {"vendor-a.com/latest": P}, "own_values": {P: {NIC: {"no-feature": True}}}}
    document = {
        "models": {NIC: {"variables": {"no-feature": renamed}, "migratable": "unknown"}},
        "profiles": [P],
        **more,
    }
    assert registry.put(f"/releases/{TWO}", json=document).status_code == 201
    erratum = {"release": TWO, "model": NIC, "description": "it fails", "when": {"no-feature": [False]}}
    others: list[dict[str, Any]] = [{}, {"with": [ONE]}, {"local": True}, {"local": True, "direction": "to"}]
    for number, added in enumerate(others):
        posted = registry.post("/errata", json={**erratum, **added})
        assert posted.status_code == 201, posted.text
        if number % 2:
            registry.patch(f"/errata/{posted.json()['id']}", json={"state": "withdrawn"})
    registry.put("/hosts/host-1", json={"releases": [ONE]})


def told(registry: TestClient) -> list[Any]:
    """Return what verdicts say of the release and of the one before."""
    device = {"model": NIC, "release": TWO, "profile": "vendor-a.com/latest"}
    answer = registry.post("/compatibility", json={"devices": [device]}).json()["results"]
    return [(result["destination"], result["devices"]) for result in answer]


def errata_of(registry: TestClient, *, with_local: bool) -> list[Any]:
    found = registry.get("/errata").json()["items"]
    return [
        {name: value for name, value in erratum.items() if name not in {"at", "withdrawn_at"}}
        for erratum in sorted(found, key=lambda erratum: str(erratum["id"]))
        if with_local or not erratum["local"]
    ]


def test_renames_aliases_own_values_and_errata_are_mirrored(registry: TestClient, target: TestClient) -> None:
    fill_with_errata(registry)
    copy(registry, target)
    for path in (f"/releases/{TWO}?own_values=true", f"/models/{NIC}", "/variable-sets"):
        assert target.get(path).json() == registry.get(path).json()
    assert errata_of(target, with_local=True) == errata_of(registry, with_local=False)
    for erratum in registry.get("/errata").json()["items"]:
        if erratum["local"] and erratum["state"] == "published":
            registry.patch(f"/errata/{erratum['id']}", json={"state": "withdrawn"})
    assert told(target) == told(registry)
    # What an admin withdraws here stays withdrawn, whatever the source says.
    (standing,) = target.get("/errata", params={"state": "published"}).json()["items"]
    target.patch(f"/errata/{standing['id']}", json={"state": "withdrawn"}, headers=AUTHORIZATION)
    registry.put("/vendors/vendor-z.com", json={})
    copy(registry, target)
    assert target.get("/errata", params={"state": "published"}).json()["items"] == []


def test_a_restore_with_hosts_after_one_without_adds_them(
    registry: TestClient, target: TestClient, tmp_path: Path
) -> None:
    fill_with_errata(registry)
    file = tmp_path / "backup.jsonl.gz"
    with client_of(registry) as origin, file.open("wb") as written:
        write_archive(RemoteFeed(origin), written, lambda *_: None)
    with client_of(target) as mirror:
        copy_feed(Archive(file), mirror, "backup", lambda *_: None)
        assert target.get("/hosts").json()["items"] == []
        result = copy_feed(Archive(file), mirror, "backup", lambda *_: None, with_hosts=True)
        assert (result.changes, result.added) == (0, 2)
        assert copy_feed(Archive(file), mirror, "backup", lambda *_: None, with_hosts=True).added == 0
    assert _hosts(target) == _hosts(registry)
    assert told(target) == told(registry)
