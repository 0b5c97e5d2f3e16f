"""Kinds of hosts are filed, counted and selected as the plain rule says, whatever happens to the hosts."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.fleet.kind import Statement, digest_of, read_kind, stated_by
from app.domain.values.canonical import canonical_json
from app.storage import database, fleet, schema
from app.storage.database import Writing, written_time
from app.storage.host import Label, Registration, Staleness, are_filed, delete_host, file_hosts, put_host, put_hosts

NEVER, DAY = Staleness(0), Staleness(24)
_RELEASES = ["vendor-a.com/fw@1", "vendor-a.com/fw@2"]
_UNITS: list[dict[str, Any]] = [
    {"id": "pci/0000:3b:00.2", "releases": ["acme.com/dpu@1"], "available": 3},
    {"id": "pci/0000:5e:00.0", "releases": ["acme.com/dpu@1"], "restrict": {"acme.com/net": {"rings": [2]}}},
]
_hosts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"releases": st.sampled_from([_RELEASES[:1], _RELEASES[1:], _RELEASES]), "restrict": st.builds(dict)},
    optional={"units": st.sampled_from([[], _UNITS[:1], _UNITS, [{**_UNITS[0], "id": "other", "available": 0}]])},
)
_labels = st.dictionaries(st.sampled_from(["rack", "zone", "draining"]), st.sampled_from(["", "1", "2"]), max_size=3)
_names = st.sampled_from([f"h{number}" for number in range(8)])
_conditions = ("rack", "!rack", "rack=1", "rack!=1", "draining", "!draining", "zone=", "zone!=2", "other", "!other")
_selections = st.lists(
    st.lists(st.sampled_from(_conditions), max_size=3, unique=True).map(tuple), min_size=1, max_size=2, unique=True
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.dictionaries(_names, st.tuples(_hosts, _labels), max_size=5), st.booleans()),
        st.tuples(st.just("delete"), _names, st.just(False)),
        st.tuples(st.just("before"), st.dictionaries(_names, st.tuples(_hosts, _labels), max_size=3), st.booleans()),
    ),
    max_size=6,
)


@contextmanager
def undone(engine: sa.Engine) -> Iterator[Writing]:
    """Yield a transaction whose changes are rolled back at the end."""
    with database.writing(engine, "a test", dry_run=True) as writing:
        yield writing


def register(writing: Writing, hosts: Mapping[str, tuple[Any, Mapping[str, str]]], **more: Any) -> Any:
    """Register hosts: by name, what each states and its labels."""
    return put_hosts(writing, {name: Registration.of(*host) for name, host in hosts.items()}, **more)


def register_as_before(connection: sa.Connection, name: str, stated: Any, labels: Mapping[str, str], at: str) -> None:
    """Register a host as the version before does: it knows neither kinds nor sets of labels."""
    row = {"document": json.dumps(stated), "reported_at": at}
    changed = connection.execute(sa.update(schema.host).where(schema.host.c.name == name).values(row))
    if not changed.rowcount:
        connection.execute(sa.insert(schema.host).values(name=name, **row))
    host_id = connection.execute(sa.select(schema.host.c.id).where(schema.host.c.name == name)).scalar_one()
    connection.execute(sa.delete(schema.host_label).where(schema.host_label.c.host_id == host_id))
    rows = [{"host_id": host_id, "name": label, "value": value} for label, value in labels.items()]
    if rows:
        connection.execute(sa.insert(schema.host_label), rows)


def apply(writing: Writing, step: tuple[str, Any, bool], expected: dict[str, Any], number: int) -> None:
    """Apply a step to the database, and to what is expected of it."""
    what, content, flag = step
    if what == "delete":
        assert delete_host(writing, content) == (expected.pop(content, None) is not None)
        return
    if what == "put":
        others = expected.keys() - content.keys() if flag else set()
        for name in others:
            del expected[name]
        result = register(writing, content, forget_others=flag)
        known = content.keys() & expected.keys()
        assert (result.added, result.forgotten) == (len(content) - len(known), len(others))
        assert result.changed + result.unchanged == len(known)
    elif flag and expected:
        # The version before forgets a host.
        name = min(expected)
        writing.connection.execute(sa.delete(schema.host).where(schema.host.c.name == name))
        del expected[name]
        return
    else:
        for name, (stated, labels) in content.items():
            register_as_before(writing.connection, name, stated, labels, f"2026-01-01T00:00:0{number}.000Z")
    expected.update(content)


def meets(conditions: Sequence[Label], labels: Mapping[str, str]) -> bool:
    """Return whether a host with these labels meets all conditions; one without a label has no value of it."""
    return all(
        (condition.name in labels and condition.value in {None, labels[condition.name]}) is not condition.is_negative
        for condition in conditions
    )


def kind_of(stated: Mapping[str, Any]) -> str:
    """Return the digest of the kind of a host, by the plain rule."""
    return digest_of(read_kind(Statement.of(stated).kind))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """Yield an engine of a database that stays empty."""
    from tests.conftest import fresh_database  # noqa: PLC0415

    with fresh_database(request.param, request) as url:
        engine = database.create_engine(url)
        yield engine
        engine.dispose()


@given(steps=_steps, selections=_selections, without=st.sets(_names, max_size=2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_selections_are_those_of_the_plain_rule(
    shared: sa.Engine, steps: Sequence[tuple[str, Any, bool]], selections: list[tuple[str, ...]], without: set[str]
) -> None:
    with undone(shared) as writing:
        expected: dict[str, Any] = {}
        for number, step in enumerate(steps):
            apply(writing, step, expected, number)
        connection = writing.connection
        file_hosts(connection)
        assert are_filed(connection)
        # Any registration also deletes what is left by hosts that the version before forgot.
        register(writing, {})
        parsed = [[Label.parse(text) for text in labels] for labels in selections]
        wanted = {
            name: kind_of(stated)
            for name, (stated, labels) in expected.items()
            if name not in without
            and meets(parsed[0], labels)
            and not any(meets(others, labels) for others in parsed[1:])
        }
        selected = fleet.selected(connection, parsed, NEVER, without)
        assert {kind.digest: kind.count for kind in selected} == Counter(wanted.values())
        for kind in selected:
            names = sorted(name for name, digest in wanted.items() if digest == kind.digest)
            assert (kind.names, kind.examples) == (names, names[:5])
        single = {name for name, (_, labels) in expected.items() if meets(parsed[0], labels)}
        members = list(fleet.members(connection, parsed[:1], NEVER))
        assert [member.name for member in members] == sorted(single)
        assert fleet.names(connection, parsed[:1], None, None, 1000) == sorted(single)
        assert fleet.within(connection, parsed[:1], list(expected)) == single
        hosts = fleet.hosts(connection, sorted(expected))
        assert [host.name for host in hosts] == sorted(expected)
        for host in hosts:
            stated, labels = expected[host.name]
            assert (host.kind, host.labels) == (kind_of(stated), labels)
            assert host.stated == stated_by(read_kind(Statement.of(stated).kind), Statement.of(stated).own)
        facets = Counter(label for name in single for label in expected[name][1].items())
        assert {
            (name, value): count
            for name, values in fleet.facets(connection, parsed[:1]).items()
            for value, count in values.items()
        } == facets
        check_counts(connection)


def check_counts(connection: sa.Connection) -> None:
    """Check that the numbers of hosts are right, and that nothing is kept that no host has."""
    host, group, kind = schema.host, schema.host_group, schema.host_kind
    columns = (host.c.kind_id, host.c.label_set_id)
    groups = connection.execute(sa.select(*columns, sa.func.count()).group_by(*columns))
    assert set(groups) == set(connection.execute(sa.select(group.c.kind_id, group.c.label_set_id, group.c.host_count)))
    kinds = connection.execute(sa.select(host.c.kind_id, sa.func.count()).group_by(host.c.kind_id))
    assert set(kinds) == set(connection.execute(sa.select(kind.c.id, kind.c.host_count)))
    used = connection.execute(sa.select(host.c.label_set_id).distinct()).scalars()
    assert set(used) == set(connection.execute(sa.select(schema.label_set.c.id)).scalars())


def test_what_a_host_states_is_taken_apart_and_put_together() -> None:
    stated: dict[str, Any] = {"releases": _RELEASES, "restrict": {}, "resolves": {}, "units": _UNITS}
    statement = Statement.of(stated)
    assert stated_by(read_kind(statement.kind), statement.own) == stated
    others = [{**unit, "id": f"other {number}", "available": 0} for number, unit in enumerate(_UNITS)]
    other = Statement.of({**stated, "units": others})
    assert (other.kind, other.digest) == (statement.kind, statement.digest)
    assert other.own != statement.own


def test_a_host_that_the_version_before_registered_is_asked_about_at_once(engine: sa.Engine) -> None:
    stated = {"releases": _RELEASES[:1], "restrict": {}, "units": _UNITS}
    with database.writing(engine, "a test") as writing:
        put_host(writing, "h0", {"releases": _RELEASES, "restrict": {}}, {"rack": "1"})
        register_as_before(writing.connection, "h0", stated, {"rack": "2"}, "2026-01-01T00:00:00.000Z")
    with database.reading(engine) as connection:
        assert not are_filed(connection)
        registered = fleet.registered(connection, ["h0", "h1"], NEVER)
        member = registered.members["h0"]
        host = fleet.destination(member, registered.unfiled[member.digest])
        assert (host.releases, [unit.id for unit in host.units]) == (
            tuple(_RELEASES[:1]),
            [one["id"] for one in _UNITS],
        )
        (shown,) = fleet.hosts(connection, ["h0"])
        assert (shown.labels, shown.kind) == ({"rack": "2"}, kind_of(stated))


def test_unchanged_hosts_cost_no_write(engine: sa.Engine) -> None:
    hosts = {
        f"h{number}": ({"releases": _RELEASES, "restrict": {}}, {"rack": str(number % 3)}) for number in range(300)
    }
    with database.writing(engine, "a test") as writing:
        assert register(writing, hosts).added == len(hosts)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with database.writing(engine, "a test") as writing:
        assert register(writing, hosts, noted_since="2000-01-01").unchanged == len(hosts)
    writes = [statement for statement in statements if statement.startswith(("INSERT", "UPDATE", "COPY"))]
    # On PostgreSQL, each writer locks this row.
    assert [statement for statement in writes if not statement.startswith("UPDATE revision ")] == []
    with database.writing(engine, "a test") as writing:
        hosts["h7"] = hosts["h7"][0], {"rack": "other"}
        result = register(writing, hosts, noted_since="2000-01-01")
        assert (result.changed, result.unchanged) == (1, len(hosts) - 1)


def test_many_changes_of_hosts_are_several_transactions_of_the_feed(engine: sa.Engine) -> None:
    stated = {"releases": _RELEASES, "restrict": {}}
    with database.writing(engine, "a test") as writing:
        register(writing, {f"h{number:04}": (stated, {}) for number in range(2_500)})
    table = schema.change
    with database.reading(engine) as connection:
        rows = connection.execute(sa.select(table.c.seq, table.c.part_of, table.c.name).order_by(table.c.seq)).all()
    assert [row.name for row in rows] == [f"h{number:04}" for number in range(2_500)]
    assert list(Counter(row.part_of for row in rows).items()) == [(1, 1_000), (1_001, 1_000), (2_001, 500)]


@pytest.mark.parametrize("label", ["", "rack=1"])
def test_stale_hosts_are_counted_by_kind(engine: sa.Engine, label: str) -> None:
    stated = {"releases": _RELEASES, "restrict": {}}
    with database.writing(engine, "a test") as writing:
        register(writing, {f"h{number}": (stated, {"rack": str(number % 2)}) for number in range(20)})
        put_host(writing, "one", {"releases": _RELEASES[:1], "restrict": {}}, {"rack": "1"})
        long_ago = written_time(datetime.now(UTC) - timedelta(days=2))
        silent = schema.host.c.name.in_([f"h{number}" for number in range(15)])
        times = {"reported_at": long_ago, "filed_at": long_ago}
        writing.connection.execute(sa.update(schema.host).where(silent).values(times))
        selections = [[Label.parse(label)] if label else []]
        kinds = fleet.selected(writing.connection, selections, DAY, ["h1", "h19"])
        counts = {kind.count: kind for kind in kinds}
        many = counts[8 if label else 18]
        assert (many.stale, counts[1].stale) == ((6, 0) if label else (14, 0))
        expected = ["h11", "h13", "h3", "h5", "h7"] if label else ["h0", "h10", "h11", "h12", "h13"]
        assert list(many.stale_examples) == expected
        assert fleet.stale_names(writing.connection, selections, many.digest, DAY, 2)[1:] == [
            "h11" if label else "h1",
        ]
        assert fleet.oldest_report(writing.connection, selections, many.digest) == long_ago
        count, newest = fleet.count_stale(writing.connection, DAY)
        assert (count, newest) == (15, long_ago)
        assert fleet.count_stale(writing.connection, NEVER) == (0, "")


def test_documents_of_kinds_are_canonical(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        put_host(writing, "h", {"releases": _RELEASES, "restrict": {"b": {"x": [1]}, "a": {"y": [True]}}}, {})
        (document,) = writing.connection.execute(sa.select(schema.host_kind.c.document)).scalars()
    assert canonical_json(json.loads(document)) == document
