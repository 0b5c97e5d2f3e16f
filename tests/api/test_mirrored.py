"""Changes of another registry that were altered, with digests that match again: refused with a reason, or applied."""

import json
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.domain.publishing.change import LINKED, linked
from app.domain.values.canonical import canonical_json, digest
from app.storage import schema
from app.wire.base import without_credentials
from tests.api.stories import FEATURE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, fresh_database, make_app
from tests.counts import IS_LONG

SOURCE = "the-source"
STEP = NIC.replace("/", "~1")
OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
PROFILE = "vendor-a.com/p"
HOST = {
    "releases": [OLD],
    "restrict": {NIC: {"num-queues": ["1-4"]}},
    "resolves": {NIC: {"mode": {"auto": "off"}}},
    "units": [{"id": "pci/0", "releases": [OLD], "restrict": {NIC: {"num-queues": [1]}}, "available": 3}],
    "labels": {"rack": "r1"},
}
MODE = {"type": "str", "init_value": "off", "off_value": "off", "resolved_by_host": ["auto"]}
JUNK: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    2**64,
    10**30,
    1.5,
    "",
    "x",
    "a\0b",
    "\x1b[31m",
    "x" * 5000,
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"x": {"y": {"z": 1}}},
    {"a\0": "b"},
    [{}],
    json.loads("[" * 300 + "]" * 300),
)


def fill(registry: TestClient) -> None:
    """Publish content that makes changes of every kind."""
    vendor(registry)
    variables = {"num-queues": QUEUES, "new-feature": FEATURE, "mode": MODE}
    profile = {"name": PROFILE, "values": {NIC: {"num-queues": 8}}}
    own_values = {PROFILE: {NIC: {"num-queues": 8}}}
    answers = [
        publish(registry, OLD, variables, profiles=[profile], own_values=own_values),
        registry.put(f"/profiles/{PROFILE}-2", json={"extends": PROFILE, "values": {NIC: {"new-feature": True}}}),
        registry.put("/implementations/vendor-a.com/fw", json={"evolution": "backward", "transitive": True}),
        registry.put(
            f"/releases/{NEW}",
            json={"models": {NIC: {"variables": {"num-queues": QUEUES}}}},
            params={"override": "it is known"},
        ),
        registry.patch(f"/releases/{OLD}", json={"state": "deprecated"}),
        registry.patch(f"/profiles/{PROFILE}", json={"state": "deprecated"}),
        registry.put("/hosts/h1", json=HOST),
        registry.put("/hosts/h1", json={**HOST, "labels": {}}),
        registry.put("/hosts/h2", json=HOST),
        registry.delete("/hosts/h2"),
        registry.put("/vendors/vendor-a.com", json={"name": "A", "url": "https://vendor-a.com"}),
    ]
    erratum = {"release": OLD, "model": NIC, "description": "bad", "when": {"num-queues": [2]}, "with": [NEW]}
    answers.append(registry.post("/errata", json=erratum))
    answers.append(registry.patch(f"/errata/{answers[-1].json().get('id')}", json={"state": "withdrawn"}))
    bad = [(answer.request.url, answer.text) for answer in answers if answer.status_code not in {200, 201, 204}]
    assert not bad, bad


def body(registry: TestClient) -> dict[str, Any]:
    """Return the feed as it is sent to a mirror."""
    changes, contents = [], {}
    for entry in registry.get("/changes", params={"limit": 1000}).json()["items"]:
        change = dict(entry)
        if entry["document_digest"] is not None:
            added = registry.get(f"/changes/{entry['seq']}").json()
            change["document"] = added["document"]
            contents.update(added["contents"])
        changes.append(change)
    return {"url": "https://source.example", "changes": changes, "contents": contents, "hosts": True}


def sealed(altered: dict[str, Any]) -> dict[str, Any]:
    """Give changes the digests and links that their content has, as somebody who controls a source can."""
    keys = {key: digest(canonical_json(content)) for key, content in altered["contents"].items()}
    text = json.dumps(altered["changes"])
    for before, after in keys.items():
        text = text.replace(before, after)
    altered["changes"] = json.loads(text)
    altered["contents"] = {keys[key]: content for key, content in altered["contents"].items()}
    link = SOURCE
    for change in altered["changes"]:
        document = change.get("document")
        change["document_digest"] = None if document is None else digest(canonical_json(document))
        link = change["link"] = linked(link, {field: change[field] for field in LINKED})
    return altered


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Iterate over the paths of everything in a document."""
    yield path
    if isinstance(document, dict | list):
        for key, content in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(content, (*path, key))


def changed(document: Any, path: tuple[Any, ...], content: Any) -> Any:
    """Return a document with other content at a path; `places` names it."""
    if not path:
        return content
    copied = copy(document)
    copied[path[0]] = changed(document[path[0]], path[1:], content)
    return copied


def without(document: Any, path: tuple[Any, ...]) -> Any:
    """Return a document without what is at a path."""
    copied = copy(document)
    if len(path) > 1:
        copied[path[0]] = without(document[path[0]], path[1:])
    else:
        del copied[path[0]]
    return copied


FIELDS = (
    "name", "url", "keys", "revoked_keys", "signed", "units", "resolves", "restrict", "labels", "releases", "local",
    "profiles", "own_values", "aliases", "models", "values", "extends", "state", "problems", "evolution", "signature",
    "x",
)  # fmt: skip


def altered(whole: Mapping[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return changes of which one was altered somewhere, with digests and links that match."""
    result = deepcopy(dict(whole))
    place = chance.choice(["document"] * 6 + ["contents"] * 2 + ["entry"] * 2)
    holder: dict[str, Any]
    if place == "contents":
        holder, key = result["contents"], chance.choice(sorted(result["contents"]))
    elif place == "document":
        holder = chance.choice([change for change in result["changes"] if change.get("document") is not None])
        key = "document"
    else:
        holder, key = chance.choice(result["changes"]), chance.choice(["detail", "name", "digest", "at", "by", "kind"])
    path = chance.choice([path for path in places(holder[key]) if path or place == "entry"] or [()])
    junk = deepcopy(chance.choice(JUNK))
    way = chance.choice(["replace"] * 4 + ["remove", "add"])
    if way == "remove" and path:
        holder[key] = without(holder[key], path)
    elif way == "add" and isinstance(holder[key], dict):
        holder[key] = {**holder[key], chance.choice(FIELDS): junk}
    else:
        holder[key] = changed(holder[key], path, junk)
    return sealed(result)


READS = (
    "/hosts", "/releases", "/profiles", "/models", "/vendors", "/errata", "/mirrors", "/audit?limit=1000", "/",
    f"/releases/{OLD}", f"/releases/{NEW}", f"/profiles/{PROFILE}-2", f"/models/{NIC}",
)  # fmt: skip
QUESTION = {
    "devices": [{"id": "nic", "model": NIC}],
    "source": {"releases": [OLD]},
    "destinations": [{"all_hosts": True}, {"label": "rack=r1"}],
}


@pytest.fixture(scope="module")
def whole(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the changes of a registry with content of every kind."""
    path = shutil.copy(migrated_sqlite, tmp_path_factory.mktemp("source") / "registry.db")
    with TestClient(make_app(f"sqlite:///{path}"), headers=AUTHORIZATION) as source:
        fill(source)
        return sealed(body(source))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_changes_that_were_altered_are_refused_whole_or_can_be_read(
    whole: dict[str, Any], kind: str, request: pytest.FixtureRequest
) -> None:
    examples = (300 if IS_LONG else 40) if kind == "sqlite" else (60 if IS_LONG else 15)
    for seed in range(examples):
        chance = random.Random(f"{kind} {seed}")  # noqa: S311 (the same examples each time)
        document = altered(whole, chance)
        with (
            fresh_database(kind, request) as url,
            TestClient(make_app(url), headers=AUTHORIZATION) as target,
        ):
            response = target.post(f"/mirrors/{SOURCE}/changes", json=document)
            if response.status_code != HTTPStatus.OK:
                assert response.status_code in {409, 422}, (seed, response.text)
                assert not re.search(r"object has|NoneType|unhashable|validation error", response.text), (
                    seed,
                    response.text,
                )
                assert target.get("/audit").json()["items"] == [], seed
                assert target.get("/mirrors").json() == [], seed
                continue
            for path in READS:
                assert target.get(path).status_code in {200, 404}, (seed, path)
            assert target.post("/compatibility", json=QUESTION).status_code in {200, 422}, seed
            again = body(target)
            assert len(again["changes"]) >= 1


BAD_HOSTS = [
    ({"labels": None}, ("/labels", "wrong-type")),
    ({"labels": {"a": 1}}, ("/labels/a", "wrong-type")),
    ({"restrict": None}, ("/restrict", "wrong-type")),
    ({"restrict": {NIC: {"num-queues": 1}}}, (f"/restrict/{STEP}/num-queues", "wrong-type")),
    ({"restrict": {"no name": {}}}, ("/restrict/no name", "invalid-name")),
    ({"resolves": []}, ("/resolves", "wrong-type")),
    ({"units": {}}, ("/units", "wrong-type")),
    ({"units": [{"id": 1, "releases": [OLD]}]}, ("/units/0/id", "wrong-type")),
    ({"units": [{"id": "a", "releases": [OLD], "available": 2**64}]}, ("/units/0/available", "invalid-value")),
    ({"units": [{"id": "a", "releases": [OLD]}] * 2}, ("/units/1/id", "duplicate")),
    ({"releases": True}, ("/releases", "wrong-type")),
    ({"releases": ["x"]}, ("/releases/0", "invalid-name")),
    ({"hosts": True}, ("/hosts", "unknown-field")),
]


@pytest.mark.parametrize(("stated", "fault"), BAD_HOSTS)
def test_a_mirrored_host_is_checked_as_a_registration_is(
    registry: TestClient, stated: dict[str, Any], fault: tuple[str, str]
) -> None:
    document = mirrored("host-registered", "h1", {"releases": [OLD], "restrict": {}, "labels": {}, **stated})
    pointer, code = fault
    response = registry.post(f"/mirrors/{SOURCE}/changes", json=document)
    assert problem(response, 422, "invalid") == [(f"/changes/0/document{pointer}", code)]
    assert registry.get("/hosts").json()["items"] == []


BROKEN = {"profile": PROFILE, "model": NIC, "accepted_by": OLD, "refused_by": NEW, "problems": ["it is refused"]}
BAD_DOCUMENTS = [
    ("gate-overridden", NEW, {"reason": "r", "at": "now", "broken": [{**BROKEN, "problems": 1}]}, "/broken/0/problems"),
    ("gate-overridden", NEW, {"reason": "r", "at": "now", "broken": [{**BROKEN, "model": ["x"]}]}, "/broken/0/model"),
    ("gate-overridden", NEW, {"reason": "a\0b", "at": "now", "broken": []}, "/reason"),
    ("vendor-registered", "vendor-a.com", {"name": 1, "url": None}, "/name"),
    ("vendor-registered", "vendor-a.com", {"name": None, "url": None, "keys": {}}, "/keys"),
    ("vendor-registered", "vendor-a.com", {"name": None, "url": None, "signed": "yes"}, "/signed"),
    ("release-published", OLD, {"models": []}, "/models"),
    ("release-published", OLD, {"models": {NIC: ["x"]}}, f"/models/{STEP}"),
    ("release-published", OLD, {"models": {}, "own_values": {PROFILE: None}}, "/own_values/vendor-a.com~1p"),
    ("profile-published", PROFILE, {}, "/values"),
    ("release-state-changed", OLD, {"state": "gone"}, "/state"),
    ("evolution-set", "vendor-a.com/fw", {"evolution": [], "transitive": True}, "/evolution"),
    ("erratum-withdrawn", OLD, {"erratum": None}, "/erratum"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "document", "pointer"), BAD_DOCUMENTS)
def test_a_mirrored_document_of_another_shape_is_refused_with_its_place(
    registry: TestClient, kind: str, name: str, document: dict[str, Any], pointer: str
) -> None:
    response = registry.post(f"/mirrors/{SOURCE}/changes", json=mirrored(kind, name, document))
    assert [place for place, _ in problem(response, 422, "invalid")] == [f"/changes/0/document{pointer}"]
    assert registry.get("/audit").json()["items"] == []


@pytest.mark.parametrize("depth", [100, 400, 900, 950, 1000, 100_000])
def test_a_mirrored_document_can_be_nested_deeply(registry: TestClient, depth: int) -> None:
    """It is refused, wherever reading it ends."""
    text = json.dumps(mirrored("erratum-published", OLD, {"release": "DEEP"}))
    text = text.replace('"DEEP"', "[" * depth + "]" * depth)
    headers = {"Content-Type": "application/json"}
    response = registry.post(f"/mirrors/{SOURCE}/changes", content=text, headers=headers)
    assert response.status_code in {400, 409, 422}, response.text


def mirrored(kind: str, name: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the first change of a registry, as it is sent to a mirror."""
    change = {
        "seq": 1, "part_of": 1, "at": "2026-01-01T00:00:00.000Z", "by": "admin", "kind": kind, "name": name,
        "digest": None, "detail": {}, "document": document,
    }  # fmt: skip
    return sealed({"url": "https://source.example", "changes": [change], "contents": {}, "hosts": True})


ADDRESSES = [
    ("https://user:pass@source.example/registry/", "https://source.example/registry/"),
    ("https://source.example/?token=secret#secret", "https://source.example/"),
    ("https://s3cret@source.example?token=secret", "https://source.example"),
    ("https://user:pa@ss@source.example:8000", "https://source.example:8000"),
    ("https://user:pa/ss@source.example", "https://…"),
    ("https://user:pa?ss@source.example", "https://…"),
    ("//user:pass@source.example/x", "//source.example/x"),
    ("https://[::1]:8000/@scope/x", "https://[::1]:8000/@scope/x"),
    ("https://source.example:8000/@scope", "https://source.example:8000/@scope"),
    ("archive@2026-01-01?.jsonl.gz", "archive@2026-01-01?.jsonl.gz"),
    ("/var/a@b.gz", "/var/a@b.gz"),
]


@pytest.mark.parametrize(("given", "shown"), ADDRESSES)
def test_an_address_is_shown_without_credentials(given: str, shown: str) -> None:
    assert without_credentials(given) == shown


def test_credentials_in_the_address_of_a_mirror_are_neither_stored_nor_shown(
    registry: TestClient, engine: sa.Engine
) -> None:
    document = mirrored("vendor-registered", "vendor-a.com", {"name": None, "url": None})
    given = {**document, "url": "https://user:pass@source.example/?token=secret"}
    answer = registry.post(f"/mirrors/{SOURCE}/changes", json=given)
    assert answer.json()["url"] == "https://source.example/"
    with engine.connect() as connection:
        assert connection.execute(sa.select(schema.mirror.c.url)).scalars().all() == ["https://source.example/"]
    # A version before stored it.
    with engine.begin() as connection:
        connection.execute(sa.update(schema.mirror).values(url=given["url"]))
    for path in ("/mirrors", f"/mirrors/{SOURCE}"):
        assert "source.example/" in registry.get(path).text
        assert not re.search(r"user|pass|token|secret", registry.get(path).text)
