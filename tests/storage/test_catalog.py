"""The registry as verdicts see it is current, and one throughout a question."""

import pytest
import sqlalchemy as sa

from app.storage import catalog, database
from app.storage.catalog import Catalog, Standing
from app.storage.replica import Databases
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
    assert catalog.FRESH_SECONDS < 1
    assert filled.standing().release("vendor-a.com/fw@2") is None
    with database.writing(engine, "a test") as writing:
        publish(writing, "2")
    monkeypatch.setattr(catalog, "FRESH_SECONDS", 0)
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
    release = filled.standing().release("vendor-a.com/fw@1")
    assert release is not None
    first = release.sets[NIC]
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    again = filled.standing().release("vendor-a.com/fw@1")
    assert again is not None
    assert again.sets[NIC] is first
    assert statements == []
