"""Bad input gets a clear 4xx and stores nothing; the only 5xx of a request is 503."""

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.api.examples import MIRRORED
from tests.api.stories import problem, vendor
from tests.conftest import AUTHORIZATION, make_app, shared_registry

_MALFORMED = {
    "no JSON": b"{",
    "two documents": b"{} {}",
    "duplicate names": b'{"models": {}, "models": {}}',
    "NaN": b'{"models": NaN}',
    "Infinity": b'{"models": -Infinity}',
    "nested too deeply": b'{"models":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a lone surrogate": b'{"description": "\\ud800", "models": {}}',
    "a lone surrogate as a name": b'{"models": {"\\udc00": {}}}',
    "no UTF-8": b'{"models": "\xff"}',
    "a number of 5,000 digits": b'{"models": ' + b"9" * 5000 + b"}",
}


unchanged = shared_registry(vendor)


@pytest.mark.parametrize("body", _MALFORMED.values(), ids=_MALFORMED.keys())
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/releases/vendor-a.com/fw@1"),
        ("POST", "/variable-sets"),
        ("POST", "/profiles"),
        ("POST", "/compatibility"),
        ("PUT", "/vendors/vendor-b.com"),
    ],
)
def test_malformed_bodies(unchanged: TestClient, method: str, path: str, body: bytes) -> None:
    response = unchanged.request(method, path, content=body, headers={"Content-Type": "application/json"})
    problem(response, 400, "malformed-json")
    assert unchanged.get("/releases").json()["items"] == []


@pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', "true", "1e999", "{}"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/releases/vendor-a.com/fw@1"),
        ("POST", "/variable-sets"),
        ("POST", "/profiles"),
        ("POST", "/compatibility"),
    ],
)
def test_json_that_is_not_a_document(unchanged: TestClient, method: str, path: str, body: str) -> None:
    response = unchanged.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert problem(response, 422, "invalid")


def test_numbers_beyond_64_bits(unchanged: TestClient) -> None:
    variables = {
        "a": {"type": "int", "init_value": 2**64},
        "b": {"type": "int", "init_value": 0, "allowed_values": [0, -(2**63) - 1, 1e308]},
    }
    document = {"models": {"vendor-a.com/nic": {"variables": variables}}}
    assert problem(unchanged.put("/releases/vendor-a.com/fw@1", json=document), 422, "invalid") == [
        ("/models/vendor-a.com~1nic/variables/a/init_value", "invalid-value"),
        ("/models/vendor-a.com~1nic/variables/b/allowed_values/1", "invalid-value"),
        ("/models/vendor-a.com~1nic/variables/b/allowed_values/2", "invalid-value"),
    ]


def test_control_characters_and_nul(unchanged: TestClient) -> None:
    assert problem(unchanged.put("/vendors/b.org", json={"name": "a\0b", "url": "\x1b"}), 422, "invalid") == [
        ("/name", "invalid-value"),
        ("/url", "invalid-value"),
    ]
    document = {
        "models": {"vendor-a.com/x\0": {"variables": {"a\0": {"type": "str", "init_value": "\0"}}}},
        "description": "\0",
    }
    assert len(problem(unchanged.put("/releases/vendor-a.com/fw@1", json=document), 422, "invalid")) == 4
    profile = {"name": "vendor-a.com/p", "extends": "vendor-a.com/\0", "values": {"x/m\0": {}}}
    assert len(problem(unchanged.post("/profiles", json=profile), 422, "invalid")) >= 2
    for path in ("vendors", "models", "profiles", "releases", "variable-sets"):
        assert unchanged.get(f"/{path}/vendor-a.com%2Fx%00").status_code == 404
    for parameter in ("q", "vendor"):
        assert problem(unchanged.get("/models", params={parameter: "\0"}), 422, "invalid")


def test_a_body_larger_than_the_limit(database_url: str) -> None:
    with TestClient(make_app(database_url, max_body_bytes=2048), headers=AUTHORIZATION) as registry:
        vendor(registry)
        document = {"models": {}, "description": "x" * 3000}
        problem(registry.put("/releases/vendor-a.com/fw@1", json=document), 413, "too-large")
        chunks = (b" " * 500 for _ in range(10))
        headers = {"Content-Type": "application/json"}
        problem(registry.put("/releases/vendor-a.com/fw@1", content=chunks, headers=headers), 413, "too-large")


def test_other_errors_have_the_same_shape(unchanged: TestClient) -> None:
    problem(unchanged.get("/nothing/here"), 404, "not-found")
    problem(unchanged.delete("/vendors"), 405, "method-not-allowed")
    problem(
        unchanged.post("/profiles", content=b"<x/>", headers={"Content-Type": "text/xml"}),
        415,
        "unsupported-media-type",
    )
    problem(unchanged.get("/models/vendor-a.com/none"), 404, "unknown-model")
    problem(unchanged.get("/profiles/vendor-a.com/none"), 404, "unknown-profile")
    problem(unchanged.get("/releases/vendor-a.com/none@1"), 404, "unknown-release")
    problem(unchanged.get("/releases/none"), 404, "unknown-release")
    problem(unchanged.get("/vendors/none.com"), 404, "unknown-vendor")
    problem(unchanged.get("/variable-sets/sha256:0"), 404, "unknown-variable-set")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/vendors/NoDomain", "vendor"),
        ("/releases/vendor-a.com/fw", "release"),
        ("/releases/vendor-a.com/f w@1", "release"),
        ("/profiles/vendor-a.com", "name"),
    ],
)
def test_names_that_cannot_be_published(unchanged: TestClient, path: str, place: str) -> None:
    response = unchanged.put(
        path, json={"models": {}} if "releases" in path else {"values": {}} if "profiles" in path else {}
    )
    assert problem(response, 422, "invalid") == [(place, "invalid-value")]


def test_names_in_a_set_that_cannot_be_published(unchanged: TestClient) -> None:
    document = {"model": 1, "implementation": "noslash", "version": "a b", "variables": {"q": {}}}
    assert sorted(problem(unchanged.post("/variable-sets", json=document), 422, "invalid")) == [
        ("/implementation", "invalid-name"),
        ("/model", "wrong-type"),
        ("/variables/q", "missing-field"),
        ("/variables/q", "missing-field"),
        ("/version", "invalid-name"),
    ]


def test_an_unreachable_database_is_503(registry: TestClient, engine: sa.Engine) -> None:
    assert registry.get("/readyz").json() == {"status": "ok"}
    assert registry.get("/healthz").json() == {"status": "ok"}
    unreachable = (
        "sqlite:////proc/none/registry.db" if engine.dialect.name == "sqlite" else "postgresql://u@127.0.0.1:1/none"
    )
    try:
        app = make_app(unreachable)
    except OSError:
        app = make_app("postgresql://u@127.0.0.1:1/none")
    with TestClient(app, headers=AUTHORIZATION) as client:
        for path in ("/readyz", "/vendors", "/compatibility?model=vendor-a.com/nic"):
            response = client.get(path)
            problem(response, 503, "unavailable")
            assert response.headers["retry-after"]
        problem(client.put("/vendors/vendor-a.com", json={}), 503, "unavailable")


def test_a_schema_of_another_version_is_503(database_url: str, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE vendor RENAME TO once"))
    with TestClient(make_app(database_url), headers=AUTHORIZATION) as other:
        for response in (other.get("/vendors"), other.put("/vendors/vendor-a.com", json={}), other.get("/ui/vendors")):
            assert response.status_code == 503
            assert response.headers["retry-after"]


def test_a_database_that_is_not_migrated_is_not_ready(tmp_path: object) -> None:
    with TestClient(make_app(f"sqlite:///{tmp_path}/empty.db")) as empty:
        response = empty.get("/readyz")
        problem(response, 503, "unavailable")
        assert response.headers["retry-after"]


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("PUT", "/vendors/vendor-b.com?dry-run=true", ("dry-run", "unknown-field")),
        ("GET", "/vendors?limits=1", ("limits", "unknown-field")),
        ("GET", "/vendors?limit=1&limit=2", ("limit", "duplicate")),
        ("GET", "/vendors/vendor-a.com?x", ("x", "unknown-field")),
        ("GET", "/compatibility?model=vendor-a.com/nic&vlaue=q=1", ("vlaue", "unknown-field")),
        ("GET", "/compatibility?model=vendor-a.com/nic&model=vendor-a.com/b", ("model", "duplicate")),
        ("DELETE", "/hosts/a?force=true", ("force", "unknown-field")),
    ],
)
def test_parameters_that_a_route_does_not_have(
    unchanged: TestClient, method: str, path: str, fault: tuple[str, str]
) -> None:
    asked = unchanged.put(path, json={}) if method == "PUT" else unchanged.request(method, path)
    assert problem(asked, 422, "invalid") == [fault]
    assert [item["vendor"] for item in unchanged.get("/vendors").json()["items"]] == ["vendor-a.com"]


def test_the_limits_of_the_short_question(unchanged: TestClient) -> None:
    for value, fault in (
        (f"q={'x' * 4097}", "value.0"),
        (f"{'q' * 200}={'x' * 4090}", "value.0"),
        ("q", "value.0"),
    ):
        asked = unchanged.get("/compatibility", params={"model": "vendor-a.com/nic", "value": value})
        assert [place for place, _ in problem(asked, 422, "invalid")] == [fault]
    longest = {"model": "vendor-a.com/nic", "value": f"{'q' * 128}={'x' * 4096}"}
    assert unchanged.get("/compatibility", params=longest).status_code == 200
    many = {"model": "vendor-a.com/nic", "value": [f"q{number}=1" for number in range(1001)]}
    assert problem(unchanged.get("/compatibility", params=many), 422, "invalid") == [("value", "limit-exceeded")]


def test_characters_that_cannot_be_stored(unchanged: TestClient) -> None:
    assert problem(unchanged.delete("/tokens/%00"), 422, "invalid") == [("token_id", "invalid-value")]
    document = {**MIRRORED, "url": "https://a\0b.example"}
    assert problem(unchanged.post("/mirrors/other/changes", json=document), 422, "invalid") == [
        ("/url", "invalid-value")
    ]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("APPLICATION/JSON", 201),
        ("application/json; charset=utf-8", 201),
        ("application/merge-patch+json", 201),
        ("application/jsonx", 415),
        ("text/plain", 415),
    ],
)
def test_media_types(registry: TestClient, content_type: str, status: int) -> None:
    asked = registry.put("/vendors/vendor-a.com", content=b"{}", headers={"Content-Type": content_type})
    assert asked.status_code == status


def test_faults_are_worded_for_people(unchanged: TestClient) -> None:
    def messages(method: str, path: str, document: object) -> dict[str, str]:
        faults = unchanged.request(method, path, json=document).json()["faults"]
        return {fault.get("pointer", fault.get("parameter")): fault["message"] for fault in faults}

    assert messages("POST", "/compatibility", []) == {"": "must be an object"}
    assert messages("POST", "/compatibility", {"devices": [], "more": 1}) == {
        "/devices": "must have at least 1 items",
        "/more": "unknown field",
    }
    restrict = {"vendor-a.com/nic": {"q": ["x" * 4097, 1.5]}}
    assert set(messages("PUT", "/hosts/a", {"releases": ["vendor-a.com/fw@1"], "restrict": restrict})) == {
        "/restrict/vendor-a.com~1nic/q/0",
        "/restrict/vendor-a.com~1nic/q/1",
    }
    assert messages("PUT", "/vendors/Vendor", {}) == {
        "vendor": 'a vendor must be a DNS domain in lower case, such as vendor-a.com, not "Vendor"'
    }


def test_shared_caches_never_keep_what_only_admins_see(unchanged: TestClient) -> None:
    for path in ("/audit", "/tokens"):
        assert unchanged.get(path).headers["cache-control"].startswith("private, ")
    assert unchanged.get("/vendors").headers["cache-control"].startswith("public, ")
