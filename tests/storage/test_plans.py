"""EXPLAIN shows that PostgreSQL serves every query of the API by an index, with 100,000 variable sets."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import Place
from app.signing.envelope import Subject, sign
from app.signing.key import PrivateKey
from app.storage import database, schema
from app.storage.host import file_hosts
from tests.conftest import AUTHORIZATION, fresh_database, make_app

_RELEASES = 500
_MODELS = 200
_PROFILES = 1_000
_HOSTS = 5_000
# A sequential scan of fewer rows is as fast as an index.
_FEW_ROWS = 1_500
_VENDOR = "bulk.example"
_MODEL = f"{_VENDOR}/model-7"
_RELEASE = f"{_VENDOR}/dpu@7"
# The id of the erratum that a request below publishes.
_ERRATUM = "a32516116da11288"
_PROFILE = f"{_VENDOR}/profile-7"
_KEY = PrivateKey(_VENDOR, bytes(32))
_SIGNED = f"{_VENDOR}/dpu@7.3"
_VARIABLES = {"queues": {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": ["1-9"]}}
_ENVELOPE = sign(Subject.RELEASE, _SIGNED, {"models": {_MODEL: {"variables": _VARIABLES}}}, [_KEY])


@pytest.fixture(scope="module")
def large(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database with 100,000 variable sets."""
    with fresh_database("postgresql", request) as url:
        engine = database.create_engine(url)
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            for table, rows in _rows():
                database.insert(connection, table, rows)
            file_hosts(connection)
            for table in schema.metadata.tables.values():
                # Autovacuum would do this sooner or later.
                connection.execute(sa.text(f"ANALYZE {table.name}"))
            for table in (schema.release, schema.profile, schema.model, schema.host, schema.change):
                following = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1000000)"
                connection.execute(sa.text(following))
            connection.execute(sa.update(schema.revision).values(number=1))
        engine.dispose()
        yield url


def _rows() -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    """Iterate over the rows of each table."""
    yield schema.vendor, [{"id": 1000, "name": _VENDOR}]
    yield schema.implementation, [{"id": 1000, "vendor_id": 1000, "name": f"{_VENDOR}/dpu"}]
    models = range(1000, 1000 + _MODELS)
    yield (
        schema.model,
        [{"id": model, "vendor_id": 1000, "name": f"{_VENDOR}/model-{model - 1000}"} for model in models],
    )
    keys = [{"model_id": model, "vendor_id": 1000, "variable": "queues"} for model in models]
    yield schema.statement, [{**key, "type": "int"} for key in keys]
    yield schema.off_value, [{**key, "value": "1"} for key in keys]
    releases = range(1000, 1000 + _RELEASES)
    yield (
        schema.release,
        [
            {"id": release, "implementation_id": 1000, "version": str(release - 1000), "seq": release - 999}
            for release in releases
        ],
    )
    yield schema.release_digest, [{"release_id": release, "digest": "sha256:0"} for release in releases]
    sets = [(release, row) for model in models for release, row in zip(releases, _stored_sets(model), strict=True)]
    yield schema.variable_set, [row for _, row in sets]
    links = [{"release_id": release, "model_id": row["model_id"], "digest": row["digest"]} for release, row in sets]
    yield schema.release_model, links
    values = [_digested({"queues": number}) for number in range(1, 10)]
    yield schema.profile_values, [{"digest": key, "document": text} for key, text in values]
    profiles = range(1000, 1000 + _PROFILES)
    yield (
        schema.profile,
        [
            {"id": profile, "vendor_id": 1000, "name": f"{_VENDOR}/profile-{profile - 1000}", "seq": profile - 499}
            for profile in profiles
        ],
    )
    yield schema.profile_digest, [{"profile_id": profile, "digest": "sha256:0"} for profile in profiles]
    yield (
        schema.profile_entry,
        [
            {"profile_id": profile, "model_id": model, "own_digest": key, "resolved_digest": key}
            for profile in profiles
            for model in models[profile % 10 :: 10]
            for key in [values[profile % 9][0]]
        ],
    )
    yield schema.profile_list, [{"release_id": release} for release in releases]
    listed = [(release, profile) for release in releases for profile in profiles[release % 20 :: 20]]
    yield schema.release_profile, [{"release_id": release, "profile_id": profile} for release, profile in listed]
    envelope = {"at": "2026-01-01T00:00:00.000Z", "signers": "[]", "document": "{}"}
    yield (
        schema.envelope,
        [
            {"digest": digest(str(number)), "payload_digest": digest(f"payload {number}"), **envelope}
            for number in range(5_000)
        ],
    )
    yield (
        schema.envelope_entry,
        [
            {"subject": "release", "name": f"{_VENDOR}/x@{number}", "digest": digest(str(number)), "models": "[]"}
            for number in range(5_000)
        ],
    )
    hosts = range(1000, 1000 + _HOSTS)
    runs = [json.dumps({"releases": [f"{_VENDOR}/dpu@{host % _RELEASES}"], "restrict": {}}) for host in hosts]
    yield (
        schema.host,
        [
            {"id": host, "name": f"host-{host}", "document": text, "reported_at": "2099-01-01T00:00:00.000Z"}
            for host, text in zip(hosts, runs, strict=True)
        ],
    )
    yield schema.host_label, [{"host_id": host, "name": "rack", "value": f"r{host % 500}"} for host in hosts]
    yield (
        schema.change,
        [
            {
                "id": seq, "seq": seq, "part_of": seq, "at": "2026-01-01T00:00:00.000Z", "by": "admin",
                "kind": "release-published", "name": f"{_VENDOR}/dpu@{seq}", "vendor": _VENDOR, "detail": "{}",
                "link": "sha256:0",
            }
            for seq in range(1, 20_001)
        ],
    )  # fmt: skip
    yield schema.change_document, [{"seq": seq, "document": '{"models":{}}'} for seq in range(1, 20_001)]
    yield schema.change_model, [{"model_id": models[seq % _MODELS], "seq": seq} for seq in range(1, 20_001)]


def _stored_sets(model: int) -> Iterator[dict[str, Any]]:
    """Iterate over the sets of a model, one for each release; they differ in a description."""
    variables = {name: {**variable, "description": "{release}"} for name, variable in _VARIABLES.items()}
    canonical = VariableSet.read(f"{_VENDOR}/model-{model - 1000}", {"variables": variables}, Place()).canonical
    for release in range(_RELEASES):
        document = canonical.replace("{release}", f"of release {release}")
        yield {"digest": digest(document), "model_id": model, "document": document}


def _digested(values: Mapping[str, Any]) -> tuple[str, str]:
    text = json.dumps(values, separators=(",", ":"))
    return digest(text), text


_REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/vendors", None),
    ("GET", f"/vendors/{_VENDOR}", None),
    ("GET", "/models", None),
    ("GET", f"/models?vendor={_VENDOR}", None),
    ("GET", "/models?q=model-7", None),
    ("GET", f"/models/{_MODEL}", None),
    ("GET", "/releases", None),
    ("GET", f"/releases?implementation={_VENDOR}/dpu&state=published", None),
    ("GET", f"/releases?model={_MODEL}", None),
    ("GET", "/releases?include_drafts=true", None),
    ("GET", f"/releases/{_RELEASE}", None),
    ("GET", "/variable-sets", None),
    ("GET", f"/variable-sets?model={_MODEL}", None),
    ("GET", f"/variable-sets?model={_MODEL}&implementation={_VENDOR}/dpu&version=7", None),
    ("GET", "/variable-sets?version=7", None),
    ("GET", "/variable-sets?variable=queues", None),
    ("GET", "/profiles", None),
    ("GET", f"/profiles?vendor={_VENDOR}&model={_MODEL}&state=published", None),
    ("GET", f"/profiles/{_PROFILE}", None),
    ("GET", f"/profiles/{_PROFILE}?resolved=true", None),
    # The names that resemble an unknown one.
    ("GET", f"/models/{_MODEL}-unknown", None),
    ("GET", f"/profiles/{_PROFILE}-unknown", None),
    ("GET", f"/releases/{_RELEASE}-unknown", None),
    ("GET", f"/releases/{_VENDOR}/dqu@unknown", None),
    ("GET", "/hosts/host-unknown", None),
    ("GET", f"/implementations/{_VENDOR}/dpu", None),
    ("GET", "/errata", None),
    ("GET", f"/errata?release={_RELEASE}&state=published", None),
    ("GET", f"/errata?model={_MODEL}", None),
    ("POST", "/errata", {"release": _RELEASE, "model": _MODEL, "description": "it fails"}),
    ("PATCH", f"/errata/{_ERRATUM}", {"state": "withdrawn"}),
    ("GET", "/hosts", None),
    ("GET", "/hosts?label=rack=r7", None),
    ("GET", "/hosts?label=rack=r7&label=!draining&kind=sha256:0", None),
    ("POST", "/hosts", {"hosts": {"host-1007": {"releases": [_RELEASE], "labels": {"rack": "r1"}}}}),
    ("GET", "/hosts/host-1007", None),
    ("GET", "/changes?after=19000", None),
    ("GET", f"/changes?after=100&vendor={_VENDOR}", None),
    ("GET", f"/changes?after=100&model={_MODEL}", None),
    ("GET", "/changes/19000", None),
    ("GET", "/audit", None),
    ("GET", "/tokens", None),
    ("GET", f"/compatibility?model={_MODEL}&profile={_PROFILE}&source={_RELEASE}", None),
    ("GET", f"/diff?from={_RELEASE}&to={_VENDOR}/dpu@8", None),
    ("GET", f"/diff?from={_PROFILE}&to={_VENDOR}/profile-17", None),
    ("GET", f"/support-matrix?model={_MODEL}&profile={_PROFILE}", None),
    ("GET", f"/support-matrix?model={_MODEL}&profile={_PROFILE}&host=host-1007&label=rack=r7", None),
    ("POST", "/compatibility", {"devices": [{"model": _MODEL, "release": _RELEASE}]}),
    (
        "POST",
        "/compatibility",
        {"devices": [{"model": _MODEL, "release": _RELEASE}], "destinations": [{"label": "rack=r7"}]},
    ),
    ("POST", "/baseline", {"models": [_MODEL], "releases": [_RELEASE, f"{_VENDOR}/dpu@8"]}),
    ("PUT", f"/vendors/{_VENDOR}", {"name": "Bulk"}),
    ("PUT", f"/vendors/{_VENDOR}/keys/{_KEY.public.id}", {"key": str(_KEY.public)}),
    ("PUT", f"/releases/{_SIGNED}?override=a+test", _ENVELOPE),
    ("GET", f"/releases/{_SIGNED}", None),
    ("GET", f"/signatures/{digest(canonical_json(_ENVELOPE))}", None),
    ("GET", f"/vendors/{_VENDOR}/keys", None),
    ("DELETE", f"/vendors/{_VENDOR}/keys/{_KEY.public.id}", None),
    ("GET", "/keys", None),
    ("GET", "/checkpoint", None),
    ("PUT", f"/implementations/{_VENDOR}/dpu", {"evolution": "full", "transitive": False}),
    (
        "PUT",
        f"/releases/{_VENDOR}/dpu@7.1?override=a+test",
        {"models": {_MODEL: {"variables": _VARIABLES}}, "profiles": [_PROFILE]},
    ),
    ("PUT", f"/releases/{_VENDOR}/dpu@7.2", {"models": {_MODEL: {"variables": _VARIABLES}}, "state": "draft"}),
    (
        "POST",
        "/variable-sets",
        {
            "model": f"{_VENDOR}/model-8",
            "implementation": f"{_VENDOR}/dpu",
            "version": "7.1",
            "variables": _VARIABLES,
        },
    ),
    ("POST", "/profiles", {"name": f"{_VENDOR}/new", "extends": _PROFILE, "values": {_MODEL: {"queues": 3}}}),
    ("PUT", f"/profiles/{_VENDOR}/draft", {"values": {_MODEL: {}}, "state": "draft"}),
    ("DELETE", f"/profiles/{_VENDOR}/draft", None),
    ("GET", f"/impact?name={_RELEASE}", None),
    ("GET", f"/impact?name={_PROFILE}", None),
    ("PATCH", f"/profiles/{_VENDOR}/new", {"state": "deprecated"}),
    ("PATCH", f"/releases/{_VENDOR}/dpu@7.1", {"state": "deprecated"}),
    ("PUT", "/hosts/host-1008", {"releases": [_RELEASE], "labels": {"rack": "r1"}}),
    ("DELETE", "/hosts/host-1008", None),
    ("DELETE", f"/releases/{_VENDOR}/dpu@7.2", None),
    ("GET", "/", None),
    ("GET", "/?q=model-7", None),
    ("GET", f"/ui/vendors/{_VENDOR}", None),
    ("GET", "/ui/models?variable=queues", None),
    ("GET", f"/ui/models/{_MODEL}", None),
    ("GET", f"/ui/releases/{_RELEASE}", None),
    ("GET", f"/ui/profiles/{_PROFILE}?model={_VENDOR}/model-17", None),
    ("GET", f"/ui/support-matrix/reasons?profile={_PROFILE}&release={_RELEASE}&model={_VENDOR}/model-17", None),
    ("GET", f"/ui/ask?model={_MODEL}&source={_RELEASE}&destination={_RELEASE}", None),
]


# These requests need every row of a table: every release has the model, all hosts are in memory, and every profile
# names a model that the new release does not have.
_NEEDS_ALL_ROWS = {
    f"GET /compatibility?model={_MODEL}": {"release_profile"},
    f"GET /diff?from={_PROFILE}": {"release_profile"},
    "GET /support-matrix": {"release_profile"},
    "POST /compatibility": {"release_profile", "host"},
    "PUT /releases": {"profile_entry"},
    "GET /impact?name=bulk.example/dpu": {"profile_entry"},
}


def test_every_query_of_the_api_is_served_by_an_index(large: str) -> None:
    app = make_app(large, signing_key=_KEY.text())
    slow: list[str] = []
    with TestClient(app, headers=AUTHORIZATION) as registry:
        statements: dict[str, Any] = {}

        def collect(*args: Any) -> None:
            if args[2].startswith(("SELECT", "WITH", "UPDATE", "DELETE")) and not args[5]:
                statements.setdefault(args[2], args[3])

        engine = app.state.container.databases.primary
        for method, path, body in _REQUESTS:
            statements.clear()
            sa.event.listen(engine, "before_cursor_execute", collect)
            response = registry.request(method, path, json=body)
            sa.event.remove(engine, "before_cursor_execute", collect)
            assert response.status_code == 404 if path.endswith("unknown") else response.is_success, (path, response)
            request = f"{method} {path}"
            allowed = {
                table for start, tables in _NEEDS_ALL_ROWS.items() if request.startswith(start) for table in tables
            }
            slow += [
                f"{request}: {table} in {statement}"
                for table, statement in _scanned_tables(engine, statements)
                if table not in allowed
            ]
    assert not slow, "\n".join(slow)


def test_every_operation_is_covered(large: str) -> None:
    covered = {(method, path.partition("?")[0].split("/")[1]) for method, path, _ in _REQUESTS}
    paths = make_app(large).openapi()["paths"]
    operations = {
        (method.upper(), path.split("/")[1]) for path, path_operations in paths.items() for method in path_operations
    }
    # The changes of a mirror are publications, tokens and trusted publishers are few, and the others read no large
    # table.
    few = {"mirrors", "tokens", "trusted-publishers", "healthz", "readyz", "metrics"}
    assert {operation for operation in operations - covered if operation[1] not in few} == set()


def _scanned_tables(engine: sa.Engine, statements: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Iterate over the large tables that statements scan sequentially, with the statement."""
    with engine.connect() as connection:
        for statement, parameters in statements.items():
            plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
            for table, rows in _scans(plan[0]["Plan"]):
                if rows > _FEW_ROWS:
                    yield table, statement


def _scans(node: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Iterate over the tables that a plan scans sequentially, with their number of rows."""
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"], _SIZES.get(node["Relation Name"], node["Plan Rows"])
    for child in node.get("Plans", ()):
        yield from _scans(child)


_SIZES = {
    "variable_set": _RELEASES * _MODELS,
    "release_model": _RELEASES * _MODELS,
    "profile_entry": _PROFILES * _MODELS // 10,
    "release_profile": _RELEASES * _PROFILES // 20,
    "host": _HOSTS,
    "host_label": _HOSTS,
    "change": 20_000,
    "change_document": 20_000,
    "change_model": 20_000,
}
