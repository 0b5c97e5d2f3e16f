"""One writer at a time, by locking a row: also on servers that speak PostgreSQL's protocol and differ inside.

Such a server accepts advisory locks and ignores them, and its sequences hand out numbers in blocks, one for each
connection, so that row ids come in another order than commits.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind, linked
from app.domain.publishing.outcome import ConflictError, Outcome
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.storage import database, listing, lookup, schema, version
from app.storage.change import Change, audit, feed, record, registry_id
from app.storage.failure import Cause, failure_of
from app.storage.publication import publish_release, publish_vendor
from app.storage.timeline import newest_profiles
from tests import postgresql
from tests.conftest import copied_database

_WRITERS = 8
_WRITES = 10
_SERVICES = 3
_VENDOR = "vendor-a.com"
_IGNORED_LOCKS = (
    "pg_advisory_lock(bigint)",
    "pg_advisory_xact_lock(bigint)",
    "pg_advisory_lock(integer, integer)",
    "pg_advisory_xact_lock(integer, integer)",
)
_SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"


def without_locks(url: str) -> None:
    """Make the advisory locks of a database do nothing, and its sequences hand out numbers in blocks."""
    parsed = sa.make_url(url)
    postgresql.administer(
        parsed,
        "CREATE SCHEMA without_locks",
        *(f"CREATE FUNCTION without_locks.{lock} RETURNS void LANGUAGE sql AS ''" for lock in _IGNORED_LOCKS),
        f"ALTER DATABASE {parsed.database} SET search_path = without_locks, pg_catalog, public",
    )
    with _connected(url) as connection:
        for (name,) in connection.exec_driver_sql(_SEQUENCES).all():
            connection.exec_driver_sql(f"ALTER SEQUENCE {name} CACHE 100")


def _connected(url: str) -> sa.Connection:
    driver = sa.make_url(url).set(drivername="postgresql+psycopg")
    return sa.create_engine(driver, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect()


@pytest.fixture
def url(migrated_postgresql: postgresql.Databases, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database without advisory locks; no other test uses it."""
    with copied_database(migrated_postgresql.template.render_as_string(hide_password=False), request) as url:
        without_locks(url)
        yield url


@pytest.fixture
def engines(url: str) -> Iterator[list[sa.Engine]]:
    """Yield the engine of each of several services on that database."""
    engines = [database.create_engine(url) for _ in range(_WRITERS)]
    yield engines
    for engine in engines:
        engine.dispose()


def write_at_once(engines: list[sa.Engine]) -> int:
    """Write with several services at once, and check that every change is in the feed, which has no gaps.

    Return how often the database refused a writer, which then tried again, as a client does after a 503.
    """

    def write(number: int) -> int:
        refusals = 0
        for turn in range(_WRITES):
            while not is_written(engines[number], number, turn):
                refusals += 1
        return refusals

    with ThreadPoolExecutor(len(engines)) as writers:
        refusals = sum(writers.map(write, range(len(engines))))
    with database.reading(engines[0]) as connection:
        rows, link = feed(connection, 0, 1_000), registry_id(connection)
        audited = [row.seq for row in audit(connection, 0, 1_000)]
    assert {row.name for row in rows} == {
        f"host-{number}-{turn}" for number in range(_WRITERS) for turn in range(_WRITES)
    }
    assert [row.seq for row in rows] == list(range(1, len(engines) * _WRITES + 1))
    for row in rows:
        fields = {**row._mapping, "detail": {}}
        link = linked(link, fields)
        assert row.link == link
    assert audited == [row.seq for row in rows]
    return refusals


def is_written(engine: sa.Engine, number: int, turn: int) -> bool:
    """Record a change; return False if the database was busy with another one."""
    try:
        with database.writing(engine, f"writer {number}") as writing:
            record(writing, Change(kind=ChangeKind.HOST_REGISTERED, name=f"host-{number}-{turn}", document={}))
    except sa.exc.DBAPIError as error:
        failure = failure_of(error)
        if failure is None or failure.cause is not Cause.LOCKED:
            raise
        return False
    return True


def test_no_two_write_at_once_without_advisory_locks(engines: list[sa.Engine]) -> None:
    with engines[0].connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        locks = connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").scalar_one()
    assert locks == 0
    assert write_at_once(engines) == 0


def test_no_two_write_at_once_where_transactions_are_serializable(url: str, engines: list[sa.Engine]) -> None:
    parsed = sa.make_url(url)
    postgresql.administer(parsed, f"ALTER DATABASE {parsed.database} SET default_transaction_isolation = serializable")
    assert write_at_once(engines) == 0


def test_a_writer_begins_again_on_a_server_that_knows_no_other_isolation(
    engines: list[sa.Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_OF_WRITERS", {"isolation_level": "SERIALIZABLE"})
    write_at_once(engines)


def test_releases_are_in_the_order_published_whatever_their_ids(engines: list[sa.Engine]) -> None:
    models = {f"{_VENDOR}/nic": {"variables": {"queues": {"type": "int", "init_value": 1, "off_value": 1}}}}
    versions = [f"{number}.{turn}" for turn in range(3) for number in range(len(engines), 0, -1)]
    with database.writing(engines[0], "a test") as writing:
        publish_vendor(writing, _VENDOR, None, None)
    previous = []
    for number, version_ in enumerate(versions):
        profile = {"name": f"{_VENDOR}/profile-{version_}", "values": {f"{_VENDOR}/nic": {}}}
        place = Place()
        read = ReleaseDocument.read({"models": models, "profiles": [profile]}, place)
        with database.writing(engines[number % len(engines)], "a test") as writing:
            name = ReleaseName(f"{_VENDOR}/fw", version_)
            previous.append(publish_release(writing, name, read, place).previous)
    assert previous[-1] == f"{_VENDOR}/fw@1.1"
    assert previous[len(engines)] == f"{_VENDOR}/fw@{len(engines)}.0"
    with database.reading(engines[0]) as connection:
        listed = listing.releases(connection, {}, [State.PUBLISHED], None, 100)
        ids = lookup.ids(connection, schema.implementation, [f"{_VENDOR}/fw"])
        assert [row.version for row in listed.rows] == versions
        assert list(lookup.versions(connection, ids[f"{_VENDOR}/fw"])) == versions
        assert [name for name, _, _ in lookup.sets_of_model(connection, f"{_VENDOR}/nic")] == [f"{_VENDOR}/fw"] * 24
        newest, count = newest_profiles(connection, _VENDOR, 100)
    assert (list(newest), count) == ([f"{_VENDOR}/profile-{version_}" for version_ in reversed(versions)], 24)


def publish(engine: sa.Engine, version_: str, off_value: int, product: str = "fw") -> Outcome:
    """Publish a release of a device model; off_value: what it states about the only variable."""
    queues = {"type": "int", "init_value": 1, "off_value": off_value}
    place = Place()
    read = ReleaseDocument.read({"models": {f"{_VENDOR}/nic": {"variables": {"queues": queues}}}}, place)
    with database.writing(engine, "a test") as writing:
        return publish_release(writing, ReleaseName(f"{_VENDOR}/{product}", version_), read, place)


def test_the_first_statement_stands_whoever_else_states_something_at_once(engines: list[sa.Engine]) -> None:
    with database.writing(engines[0], "a test") as writing:
        publish_vendor(writing, _VENDOR, None, None)

    def state(number: int) -> bool:
        try:
            publish(engines[number], "1", number, product=f"fw-{number}")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(len(engines)) as writers:
        winners = [number for number, won in enumerate(writers.map(state, range(len(engines)))) if won]
    with database.reading(engines[0]) as connection:
        stated = lookup.models(connection, [f"{_VENDOR}/nic"])[f"{_VENDOR}/nic"].statements[_VENDOR]["queues"]
        published = [row.name for row in feed(connection, 0, 100) if row.kind == ChangeKind.RELEASE_PUBLISHED]
    assert [stated.off_value] == winners
    assert published == [f"{_VENDOR}/fw-{winners[0]}@1"]


def test_each_release_is_compared_with_the_one_before_it(engines: list[sa.Engine]) -> None:
    with database.writing(engines[0], "a test") as writing:
        publish_vendor(writing, _VENDOR, None, None)
    numbers = list(range(3 * len(engines)))
    Random(4).shuffle(numbers)  # noqa: S311 (not for secrets)

    def previous(number: int) -> str | None:
        return publish(engines[number % len(engines)], str(number), 1).previous

    with ThreadPoolExecutor(len(engines)) as writers:
        answers = dict(zip(numbers, writers.map(previous, numbers), strict=True))
    with database.reading(engines[0]) as connection:
        ids = lookup.ids(connection, schema.implementation, [f"{_VENDOR}/fw"])
        order = [int(version_) for version_ in lookup.versions(connection, ids[f"{_VENDOR}/fw"])]
    assert sorted(order) == sorted(numbers)
    for place, number in enumerate(order):
        lower = [earlier for earlier in order[:place] if earlier < number]
        assert answers[number] == (f"{_VENDOR}/fw@{max(lower)}" if lower else None)


def test_a_transaction_that_cannot_be_serialized_is_a_failure_of_the_database(engines: list[sa.Engine]) -> None:
    count = sa.update(schema.revision).values(number=schema.revision.c.number + 1)
    with engines[0].connect().execution_options(isolation_level="REPEATABLE READ") as late:
        late.execute(sa.select(schema.revision))
        with database.writing(engines[1], "a test") as writing:
            writing.connection.execute(count)
        with pytest.raises(sa.exc.DBAPIError) as raised:
            late.execute(count)
    failure = failure_of(raised.value)
    assert failure is not None
    assert (failure.cause, failure.is_lasting, "40001" in failure.report) == (Cause.LOCKED, False, True)


def test_several_services_migrate_an_empty_database_at_once(url: str, engines: list[sa.Engine]) -> None:
    with _connected(url) as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    # Alembic keeps what it does in modules, so each service needs a process of its own.
    environment = {**os.environ, "REGISTRY_DATABASE_URL": url}
    services = [
        subprocess.Popen([sys.executable, "-m", "app.cli", "migrate"], env=environment) for _ in range(_SERVICES)
    ]
    assert [service.wait(60) for service in services] == [0] * _SERVICES
    with database.reading(engines[0]) as connection:
        version.check(connection)


def test_migrations_wait_for_the_writer_and_writers_for_the_migration(engines: list[sa.Engine]) -> None:
    older = version.revisions()[1]
    with engines[0].begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :older"), {"older": older})
    with database._alone(engines[0], 1), pytest.raises(sa.exc.OperationalError, match="lock timeout"):
        database.migrate(engines[1], wait_seconds=1)
    writer, late = database._alone(engines[0], 1), database._alone(engines[1], 1)
    with writer, pytest.raises(sa.exc.OperationalError, match="lock timeout"), late:
        pass
