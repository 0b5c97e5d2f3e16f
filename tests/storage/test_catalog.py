"""The registry as verdicts see it is current, and one throughout a question."""

import pytest
import sqlalchemy as sa

from app.domain.name import ReleaseName
from app.domain.release import Release
from app.domain.state import State
from app.domain.variable_set import VariableSet
from app.storage import database, schema
from app.storage.catalog import Catalog, Standing
from app.storage.content import ColdError
from app.storage.host import delete_host, put_host
from app.storage.kept import Memory
from app.storage.replica import Databases
from app.storage.state import set_release_state
from tests.storage.test_schema import NIC, publish


@pytest.fixture
def filled(engine: sa.Engine) -> Catalog:
    """Return a catalog of a registry with one release."""
    with database.writing(engine, "a test") as writing:
        publish(writing)
    return Catalog(Databases(engine))


def test_what_another_process_publishes_is_seen_within_a_second(
    filled: Catalog, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.FRESH_SECONDS < 1
    assert filled.standing().release("vendor-a.com/fw@2") is None
    with database.writing(engine, "a test") as writing:
        publish(writing, "2")
    monkeypatch.setattr(database, "FRESH_SECONDS", -1)
    assert filled.standing().release("vendor-a.com/fw@2") is not None


def test_a_question_sees_one_revision_throughout(filled: Catalog, engine: sa.Engine) -> None:
    seen = []

    def ask(standing: Standing) -> set[str]:
        seen.append(standing.revision)
        release = standing.release("vendor-a.com/fw@1")
        if len(seen) == 1:
            with database.writing(engine, "a test") as writing:
                publish(writing, "2")
        assert standing.model(NIC) is not None
        return set(release.sets if release else ())

    assert filled.ask(ask) == {NIC}
    assert seen == [2, 3]


def test_content_is_read_once(filled: Catalog, engine: sa.Engine) -> None:
    def ask(standing: Standing) -> VariableSet:
        release = standing.release("vendor-a.com/fw@1")
        assert release is not None
        return release.sets[NIC]

    first = filled.ask(ask)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert filled.ask(ask) is first
    assert filled.ask_at_once(ask) is first
    assert statements == []


def test_what_is_not_in_memory_is_not_answered_at_once(filled: Catalog) -> None:
    with pytest.raises(ColdError):
        filled.ask_at_once(lambda standing: standing.release("vendor-a.com/fw@1"))
    assert filled.ask(lambda standing: standing.release("vendor-a.com/fw@1")) is not None
    with pytest.raises(ColdError):
        filled.ask_at_once(lambda standing: standing.model(NIC))


def test_what_did_not_change_is_kept_when_something_else_does(filled: Catalog, engine: sa.Engine) -> None:
    def ask(standing: Standing) -> tuple[object, object, int]:
        hosts = standing.all_hosts()
        return standing.release("vendor-a.com/fw@1"), standing.release("vendor-a.com/fw@2"), len(hosts)

    release, nothing, hosts = filled.ask(ask)
    assert (nothing, hosts) == (None, 0)
    with database.writing(engine, "a test") as writing:
        publish(writing, "2")
        put_host(writing, "one", ["vendor-a.com/fw@2"], {}, {})
    filled.outdate()
    again, new, hosts = filled.ask(ask)
    assert again is release
    assert new is not None
    assert hosts == 1
    with database.writing(engine, "a test") as writing:
        set_release_state(writing, ReleaseName.parse("vendor-a.com/fw@1"), State.DEPRECATED)
        delete_host(writing, "one")
    filled.outdate()
    changed, _, hosts = filled.ask(ask)
    assert isinstance(changed, Release)
    assert changed.state is State.DEPRECATED
    assert hosts == 0


def test_memory_is_bounded() -> None:
    memory: Memory[str, str] = Memory(100)
    for number in range(30):
        memory.put(str(number), "thing", 10)
        memory.get("0")
    assert [key for key in map(str, range(30)) if memory.get(key)] == ["0", *map(str, range(21, 30))]
    memory.put("huge", "thing", 101)
    assert memory.get("huge") is None
    memory.grow("0", 60)
    assert memory.get("0") == "thing"
    assert sum(memory.get(str(number)) is not None for number in range(30)) == 5


def test_a_question_may_need_more_than_is_kept(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        for version in range(1, 30):
            publish(writing, str(version))
    small = Catalog(Databases(engine), megabytes=0)

    def ask(standing: Standing) -> set[int]:
        return {id(release.sets[NIC]) for release in standing.releases([NIC])}

    assert len(small.ask(ask)) == 1
    assert small.ask(lambda standing: [len(release.sets) for release in standing.releases()]) == [1] * 29


def test_what_this_process_adds_while_the_registry_is_read_is_seen_by_the_next_question(
    filled: Catalog, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = database.revision

    def slowly(connection: sa.Connection) -> int:
        found = read(connection)
        monkeypatch.setattr(database, "revision", read)
        with database.writing(engine, "a test") as writing:
            publish(writing, "2")
        filled.outdate()
        return found

    monkeypatch.setattr(database, "revision", slowly)
    filled.standing()
    assert filled.ask(lambda standing: standing.release("vendor-a.com/fw@2")) is not None


def test_many_rows_fail_as_few_do(engine: sa.Engine) -> None:
    for count in (2, 200):
        rows = [{"name": f"v{number % (count - 1)}.com"} for number in range(count)]
        with pytest.raises(sa.exc.IntegrityError), database.noting(engine) as connection:
            database.insert(connection, schema.vendor, rows)
