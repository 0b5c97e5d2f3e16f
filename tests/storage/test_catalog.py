"""The catalog gives every question the current registry, at one revision throughout the question."""

import pytest
import sqlalchemy as sa

from app.domain.publishing.change import ChangeKind
from app.domain.things.release import Release
from app.domain.things.snapshot import NotLoadedError
from app.domain.things.variable_set import VariableSet
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.storage import database, schema
from app.storage.catalog import Catalog
from app.storage.change import Change, record
from app.storage.content import ColdError
from app.storage.host import delete_host, put_host
from app.storage.memory import Memory
from app.storage.reader import Reader
from app.storage.replica import Databases
from app.storage.state import set_release_state
from tests.storage.test_fleet import register_as_before
from tests.storage.test_schema import NIC, publish


@pytest.fixture
def filled(engine: sa.Engine) -> Catalog:
    """Return a catalog of a registry with one release."""
    with database.writing(engine, "a test") as writing:
        publish(writing)
    return Catalog(Databases(engine))


OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"


def release(reader: Reader, name: str) -> Release | None:
    """Return a release with all its variable sets."""
    return reader.snapshot(releases=[name], of_models=None).release(name)


def test_publications_of_another_process_are_seen_within_a_second(
    filled: Catalog, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.FRESH_SECONDS < 1
    assert filled.ask(lambda reader: release(reader, NEW)) is None
    with database.writing(engine, "a test") as writing:
        publish(writing, "2")
    monkeypatch.setattr(database, "FRESH_SECONDS", -1)
    assert filled.ask(lambda reader: release(reader, NEW)) is not None


def test_a_question_sees_one_revision_throughout(filled: Catalog, engine: sa.Engine) -> None:
    seen = []

    def ask(reader: Reader) -> set[str]:
        seen.append(reader.position.seq)
        old = release(reader, OLD)
        if len(seen) == 1:
            with database.writing(engine, "a test") as writing:
                publish(writing, "2")
        assert release(reader, NEW) is not None
        return set(old.sets if old else ())

    assert filled.ask(ask) == {NIC}
    assert len(seen) == len(set(seen)) == 2


def test_content_is_read_once(filled: Catalog, engine: sa.Engine) -> None:
    def ask(reader: Reader) -> VariableSet:
        old = release(reader, OLD)
        assert old is not None
        return old.sets[NIC]

    first = filled.ask(ask)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert filled.ask(ask) is first
    assert filled.ask_at_once(ask) is first
    assert statements == []


def test_only_content_in_memory_is_answered_at_once(filled: Catalog) -> None:
    with pytest.raises(ColdError):
        filled.ask_at_once(lambda reader: release(reader, OLD))
    assert filled.ask(lambda reader: release(reader, OLD)) is not None
    assert filled.ask_at_once(lambda reader: release(reader, OLD)) is not None
    with pytest.raises(ColdError):
        filled.ask_at_once(lambda reader: reader.implementing([NIC]))


def test_a_snapshot_refuses_names_and_models_that_it_did_not_load(filled: Catalog) -> None:
    snapshot = filled.ask(lambda reader: reader.snapshot(releases=[OLD], of_models=["vendor-a.com/other"]))
    old = snapshot.release(OLD)
    assert old is not None
    assert "vendor-a.com/other" not in old.sets
    for use in (lambda: NIC in old.sets, lambda: old.sets.get(NIC), lambda: old.sets[NIC]):
        with pytest.raises(NotLoadedError):
            use()
    with pytest.raises(NotLoadedError):
        snapshot.release(NEW)
    with pytest.raises(NotLoadedError):
        snapshot.model(NIC)


def test_unchanged_content_stays_in_memory_after_a_change(filled: Catalog, engine: sa.Engine) -> None:
    def ask(reader: Reader) -> tuple[Release | None, Release | None, int]:
        return release(reader, OLD), release(reader, NEW), sum(kind.count for kind in reader.selected([[]]))

    old, nothing, hosts = filled.ask(ask)
    assert old is not None
    assert (nothing, hosts) == (None, 0)
    with database.writing(engine, "a test") as writing:
        publish(writing, "2")
        put_host(writing, "one", {"releases": ["vendor-a.com/fw@2"], "restrict": {}}, {})
    filled.outdate()
    filled.ask(lambda reader: reader.position.seq)
    again = filled.ask_at_once(lambda reader: reader.snapshot(releases=[OLD], of_models=[NIC])).release(OLD)
    assert again is not None
    assert again.sets[NIC] is old.sets[NIC]
    _, new, hosts = filled.ask(ask)
    assert new is not None
    assert hosts == 1
    with database.writing(engine, "a test") as writing:
        set_release_state(writing, ReleaseName.parse("vendor-a.com/fw@1"), State.DEPRECATED)
        delete_host(writing, "one")
    filled.outdate()
    changed, _, hosts = filled.ask(ask)
    assert changed is not None
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
    memory.resize("0", 60)
    assert memory.get("0") == "thing"
    assert sum(memory.get(str(number)) is not None for number in range(30)) == 5


def test_a_question_can_need_more_than_fits_in_memory(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        for version in range(1, 30):
            publish(writing, str(version))
    small = Catalog(Databases(engine), megabytes=0)

    def ask(reader: Reader) -> list[Release]:
        return reader.snapshot(releases=reader.implementing([NIC]), of_models=None).known_releases()

    assert len({id(loaded.sets[NIC]) for loaded in small.ask(ask)}) == 1
    assert [len(loaded.sets) for loaded in small.ask(ask)] == [1] * 29


def test_a_publication_during_a_read_is_seen_by_the_next_question(
    filled: Catalog, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = database.revision

    def slowly(connection: sa.Connection) -> int:
        number = read(connection)
        monkeypatch.setattr(database, "revision", read)
        with database.writing(engine, "a test") as writing:
            publish(writing, "2")
        filled.outdate()
        return number

    monkeypatch.setattr(database, "revision", slowly)
    filled.view()
    assert filled.ask(lambda reader: release(reader, NEW)) is not None


def test_many_rows_fail_like_few_rows(engine: sa.Engine) -> None:
    for count in (2, 200):
        rows = [{"name": f"v{number % (count - 1)}.com"} for number in range(count)]
        with pytest.raises(sa.exc.IntegrityError), database.noting(engine) as connection:
            database.insert(connection, schema.vendor, rows)


def test_content_that_was_pushed_out_is_not_kept_alive_by_the_memo(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        for version in range(1, 30):
            publish(writing, str(version), init=1 + version % 8)
    small = Catalog(Databases(engine), megabytes=0)
    memo = small._memo
    for version in range(1, 30):
        small.ask(lambda reader, version=version: release(reader, f"vendor-a.com/fw@{version}"))  # type: ignore[misc]
    assert small._memo is not memo
    # While there is room, it stays.
    large = Catalog(Databases(engine))
    memo = large._memo
    for version in range(1, 30):
        large.ask(lambda reader, version=version: release(reader, f"vendor-a.com/fw@{version}"))  # type: ignore[misc]
    assert large._memo is memo


def test_a_kind_that_is_gone_is_asked_again(engine: sa.Engine) -> None:
    old, new = {"releases": [OLD], "restrict": {}}, {"releases": [NEW], "restrict": {}}
    with database.writing(engine, "a test") as writing:
        put_host(writing, "one", old, {})
    catalog = Catalog(Databases(engine))
    moved: list[bool] = []

    def ask(reader: Reader) -> list[str]:
        (selected,) = reader.selected([[]])
        if not moved:
            moved.append(True)
            with database.writing(engine, "a test") as writing:
                put_host(writing, "one", new, {})
        (kind,) = reader.kinds([selected.digest]).values()
        return list(kind.releases)

    assert catalog.ask(ask) == [NEW]


@pytest.mark.parametrize("tries", [0, 3])
def test_what_the_version_before_registers_is_filed_before_hosts_are_selected(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    monkeypatch.setattr("app.storage.catalog._TRIES", tries)
    with database.writing(engine, "a test") as writing:
        put_host(writing, "one", {"releases": [OLD], "restrict": {}}, {})
    catalog = Catalog(Databases(engine))
    (before,) = catalog.ask(lambda reader: reader.selected([[]]))
    with database.writing(engine, "a test") as writing:
        register_as_before(writing.connection, "one", {"releases": [NEW]}, {}, "2026-01-01T00:00:00.000Z")
        register_as_before(writing.connection, "two", {"releases": [NEW]}, {}, "2026-01-01T00:00:00.000Z")
        record(writing, *(Change(kind=ChangeKind.HOST_CHANGED, name=name, document={}) for name in ("one", "two")))
    catalog.outdate()
    (after,) = catalog.ask(lambda reader: reader.selected([[]]))
    assert (after.count, after.names) == (2, ["one", "two"])
    assert after.digest != before.digest
