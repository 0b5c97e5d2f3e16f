"""With 1,000,000 hosts of 50 kinds, questions and lists read as many hosts as they name, on both databases."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.domain.fleet.kind import Statement
from app.domain.values.canonical import canonical_json, digest
from app.storage import database, schema
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, fresh_database, make_app
from tests.counts import full
from tests.pages.plan import sent_statements

pytestmark = pytest.mark.long

_HOSTS = full(1_000_000, short=20_000)
_KINDS, _RACKS, _ZONES = 50, 5_000, 5
_RELEASE = f"{FIRMWARE}@1"
# The ids of kinds and sets of labels; the database gives smaller ones.
_FIRST = 1_000_000
# No statement goes through more hosts than it looks at in order before it sorts.
_MOST_ROWS = 25_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Yield a registry with very many hosts."""
    with fresh_database(request.param, request) as url:
        engine = database.create_engine(url)
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            _fill(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Autovacuum would do this sooner or later.
            connection.execute(sa.text("ANALYZE" if request.param == "sqlite" else "VACUUM ANALYZE"))
        engine.dispose()
        with TestClient(make_app(url), headers=AUTHORIZATION) as registry:
            vendor(registry)
            publish(registry, _RELEASE, {"num-queues": QUEUES})
            yield registry


def _fill(connection: sa.Connection) -> None:
    """Store hosts as registrations do; the database makes the rows, which takes seconds."""
    for number in range(1, _KINDS + 1):
        statement = Statement.of({"releases": [_RELEASE], "restrict": {NIC: {"num-queues": [number]}}})
        row = {
            "id": _FIRST + number,
            "digest": statement.digest,
            "document": statement.kind,
            "host_count": _HOSTS // _KINDS,
        }
        connection.execute(sa.insert(schema.host_kind).values(row))
    labels = [{"rack": f"r{number}", "zone": f"z{number % _ZONES}"} for number in range(1, _RACKS + 1)]
    rows = [{"id": _FIRST + number, "digest": digest(canonical_json(one))} for number, one in enumerate(labels, 1)]
    database.insert(connection, schema.label_set, rows)
    pairs = [
        {"label_set_id": _FIRST + number, "name": name, "value": value}
        for number, one in enumerate(labels, 1)
        for name, value in one.items()
    ]
    database.insert(connection, schema.label, pairs)
    numbers = (
        f"SELECT generate_series AS n FROM generate_series(0, {_HOSTS - 1})"  # noqa: S608 (a number of this file)
        if connection.dialect.name == "postgresql"
        else f"WITH RECURSIVE t(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM t WHERE n < {_HOSTS - 1}) SELECT n FROM t"  # noqa: S608 (the same)
    )
    pad = "lpad(n::text, 7, '0')" if connection.dialect.name == "postgresql" else "printf('%07d', n)"
    at = "2099-01-01T00:00:00.000Z"
    document = json.dumps({"releases": [_RELEASE], "restrict": {}})
    connection.execute(
        sa.text(
            "INSERT INTO host (name, document, reported_at, filed_at, kind_id, label_set_id)"  # noqa: S608 (the same)
            f" SELECT 'host-' || {pad}, :document, '{at}', '{at}', n % {_KINDS} + :first, n % {_RACKS} + :first"
            f" FROM ({numbers}) AS numbers"
        ),
        {"document": document, "first": _FIRST + 1},
    )
    connection.execute(
        sa.text(
            "INSERT INTO host_group (kind_id, label_set_id, host_count)"
            " SELECT kind_id, label_set_id, count(*) FROM host GROUP BY kind_id, label_set_id"
        )
    )


def _question(*destinations: Mapping[str, Any]) -> Mapping[str, Any]:
    device = {"model": NIC, "release": _RELEASE, "values": {"num-queues": 4}}
    return {"devices": [device], "destinations": destinations, "detail": "summary"}


_KIND = Statement.of({"releases": [_RELEASE], "restrict": {NIC: {"num-queues": [7]}}}).digest
_LABELS = ("rack=r7", "zone=z1", "zone!=z1", "rack", "!rack", "!draining", "draining")
_QUESTIONS: list[Any] = [
    [{"host": "host-0004711"}],
    [{"all_hosts": True}],
    *[[{"labels": [label]}] for label in _LABELS],
    [{"labels": ["zone=z1", "rack!=r6", "!draining"]}, {"labels": ["rack=r9"]}, {"host": "host-0000001"}],
]
_PATHS = [
    "/hosts",
    "/hosts/host-0004711",
    *(f"/hosts?label={label}" for label in _LABELS),
    "/hosts?label=zone=z1&label=rack!=r6&label=!draining",
    f"/hosts?kind={_KIND}",
    f"/hosts?kind={_KIND}&label=zone=z1",
    f"/hosts?kind={_KIND}&label=rack=r6",
    "/ui/hosts",
    "/ui/hosts?label=zone=z1",
    "/ui/hosts?stale=true",
    f"/ui/kinds/{_KIND}",
    "/ui/hosts/host-0004711",
    f"/impact?name={_RELEASE}",
    "/support-matrix?label=zone=z1",
    "/support-matrix?label=rack&host=host-0004711",
]


@pytest.mark.parametrize("path", _PATHS)
def test_a_list_reads_what_it_shows(registry: TestClient, path: str) -> None:
    with sent_statements(registry) as statements:
        response = registry.get(path)
    assert response.status_code == 200, response.text
    _check(registry, statements)


@pytest.mark.parametrize("destinations", _QUESTIONS, ids=str)
def test_a_question_reads_kinds(registry: TestClient, destinations: list[Mapping[str, Any]]) -> None:
    with sent_statements(registry) as statements:
        response = registry.post("/compatibility", json=_question(*destinations))
    assert response.status_code == 200, response.text
    _check(registry, statements)


def test_a_host_is_registered_and_forgotten_alone(registry: TestClient) -> None:
    with sent_statements(registry) as statements:
        assert registry.put("/hosts/one", json={"releases": [_RELEASE], "labels": {"rack": "r7"}}).status_code == 201
        assert registry.delete("/hosts/one").status_code == 204
    _check(registry, [(text, parameters) for text, parameters in statements if text.startswith(("SELECT", "WITH"))])


def _check(registry: TestClient, statements: Any) -> None:
    """Check that no statement reads very many hosts."""
    engine: sa.Engine = registry.app.state.container.primary  # type: ignore[attr-defined]
    with engine.connect() as connection:
        for text, parameters in statements:
            if not text.startswith(("SELECT", "WITH")) or " host" not in text:
                continue
            if engine.dialect.name == "sqlite":
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters).all()
                steps = [row[-1] for row in plan]
                assert not any(step.startswith("SCAN host ") and not _ends_early(step) for step in steps), (text, steps)
            else:
                analyzed = f"EXPLAIN (ANALYZE, FORMAT JSON) {text}"
                (document,) = connection.exec_driver_sql(analyzed, parameters).scalar_one()
                assert _rows(document["Plan"]) <= _MOST_ROWS, (text, json.dumps(document["Plan"], indent=1))


def _ends_early(step: str) -> bool:
    """Return whether a scan goes through an index in the order of a page, or through the index of unfiled hosts."""
    return "USING INDEX ix_host_unfiled" in step or "uq_host_name" in step or "autoindex" in step


def _rows(plan: Mapping[str, Any]) -> int:
    """Return how many rows of hosts a plan has read, those that a condition then left out included."""
    own = 0
    if plan.get("Relation Name") == "host":
        read = (
            plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        )
        own = read * plan["Actual Loops"]
    return own + sum(map(_rows, plan.get("Plans", ())))
