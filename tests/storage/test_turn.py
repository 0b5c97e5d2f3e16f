"""Writers that wait share a transaction: all of it is committed, or nothing, and no answer comes before."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from app.domain.publishing.outcome import ConflictError
from app.storage import database, schema
from app.storage import turn as turns
from app.storage.failure import Cause, FailureError
from app.storage.publication import publish_vendor
from app.storage.turn import Turn

_WRITERS = 6


@contextmanager
def counted(engine: sa.Engine, event: str) -> Iterator[list[object]]:
    """Yield the events of an engine's connections."""
    events: list[object] = []
    note = events.append
    sa.event.listen(engine, event, note)
    try:
        yield events
    finally:
        sa.event.remove(engine, event, note)


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def vendors(engine: sa.Engine) -> set[str]:
    """Return the vendors that are stored."""
    with database.reading(engine) as connection:
        return set(connection.execute(sa.select(schema.vendor.c.name)).scalars())


def name(number: int) -> str:
    return f"vendor-{number}.com"


def publish(engine: sa.Engine, number: int, **options: Any) -> int:
    """Create a vendor, and return the revision after it."""
    with database.writing(engine, "test", can_share=True, **options) as writing:
        publish_vendor(writing, name(number), None, None)
        return database.revision(writing.connection)


def queued(engine: sa.Engine, pool: ThreadPoolExecutor, writers: Sequence[Callable[[], Any]]) -> list[Future[Any]]:
    """Let writers wait, in this order, while another one has the turn; then let them write."""
    turn = database.condition(engine).turn
    assert turn.take(1, can_share=False) is None
    futures = []
    for number, writer in enumerate(writers, 1):
        futures.append(pool.submit(writer))
        until(partial(are_waiting, turn, number))
    turn.release()
    return futures


def are_waiting(turn: Turn, count: int) -> bool:
    """Return whether this many writers wait for their turn."""
    return len(turn._waiting) == count


@pytest.fixture(autouse=True)
def _on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let writers share a transaction however slow the machine is."""
    monkeypatch.setattr(turns, "_SHARING_SECONDS", 60)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Yield threads for all writers."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        yield pool


def test_writers_that_wait_are_committed_together(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    with database.reading(engine) as connection:
        before = database.revision(connection)
    with counted(engine, "commit") as commits:
        futures = queued(engine, pool, [partial(publish, engine, n) for n in range(_WRITERS)])
        revisions = [future.result() for future in futures]
    assert len(commits) == 1
    # Each sees what those before have written.
    assert revisions == [before + number + 1 for number in range(_WRITERS)]
    assert vendors(engine) == {name(number) for number in range(_WRITERS)}


def test_an_error_undoes_the_part_of_one_writer(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def refused() -> None:
        with database.writing(engine, "test", can_share=True) as writing:
            publish_vendor(writing, name(9), None, None)
            # It is refused because of what the first one has written.
            known = writing.connection.execute(sa.select(schema.vendor.c.name).where(schema.vendor.c.name == name(0)))
            assert known.all()
            raise ConflictError([])

    def broken() -> None:
        with database.writing(engine, "test", can_share=True) as writing:
            writing.connection.execute(sa.insert(schema.vendor), {"id": 1, "name": None})

    writers = [lambda: publish(engine, 0), refused, lambda: publish(engine, 1), broken, lambda: publish(engine, 2)]
    with counted(engine, "commit") as commits:
        first, second, third, fourth, last = queued(engine, pool, writers)
        with pytest.raises(ConflictError):
            second.result()
        with pytest.raises(sa.exc.IntegrityError):
            fourth.result()
        assert [future.result() for future in (first, third, last)]
    assert len(commits) == 1
    assert vendors(engine) == {name(0), name(1), name(2)}


def test_no_writer_returns_before_the_commit(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    begun, may_end = Event(), Event()

    def slow() -> int:
        with database.writing(engine, "test", can_share=True) as writing:
            begun.set()
            assert may_end.wait(10)
            publish_vendor(writing, name(1), None, None)
        return 1

    first, second = queued(engine, pool, [lambda: publish(engine, 0), slow])
    assert begun.wait(10)
    assert not first.done()
    assert vendors(engine) == set()
    may_end.set()
    assert first.result()
    assert second.result()


@pytest.mark.parametrize("failing", [1, 3])
def test_all_raise_the_error_of_the_commit(engine: sa.Engine, pool: ThreadPoolExecutor, failing: int) -> None:
    def refused() -> None:
        with database.writing(engine, "test", can_share=True):
            raise ConflictError([])

    def fail(_: sa.Connection) -> None:
        message = "disk I/O error"
        raise sa.exc.OperationalError(message, None, Exception(message))

    sa.event.listen(engine, "commit", fail)
    try:
        writers = [partial(publish, engine, n) for n in range(failing)]
        for future in queued(engine, pool, [*writers, refused] if failing > 1 else writers):
            with pytest.raises(sa.exc.OperationalError, match="disk"):
                future.result()
    finally:
        sa.event.remove(engine, "commit", fail)
    assert vendors(engine) == set()
    # The turn is free again.
    assert publish(engine, 5)


def test_a_lost_transaction_is_lost_for_all(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def losing() -> None:
        with database.writing(engine, "test", can_share=True) as writing:
            # As SQLite rolls back by itself where its disk is full, and a server that ends the connection.
            writing.connection.exec_driver_sql("ROLLBACK")
            raise ConflictError([])

    for future in queued(engine, pool, [lambda: publish(engine, 0), losing]):
        with pytest.raises(sa.exc.DBAPIError):
            future.result()
    assert vendors(engine) == set()
    assert publish(engine, 1)


def test_a_full_disk_and_a_corrupt_page_are_the_failure_of_all(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def failing(cause: Cause) -> None:
        with database.writing(engine, "test", can_share=True):
            raise FailureError(cause)

    for cause in (Cause.FULL, Cause.CORRUPT):
        for future in queued(engine, pool, [partial(publish, engine, 0), partial(failing, cause)]):
            with pytest.raises(FailureError) as raised:
                future.result()
            assert raised.value.failure.cause is cause
    assert vendors(engine) == set()


def test_who_was_too_slow_does_not_fail_the_others(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def slow() -> None:
        with database.writing(engine, "test", can_share=True) as writing:
            publish_vendor(writing, name(1), None, None)
            raise FailureError(Cause.SLOW)

    first, second, third = queued(engine, pool, [partial(publish, engine, 0), slow, partial(publish, engine, 2)])
    with pytest.raises(FailureError):
        second.result()
    assert first.result()
    assert third.result()
    assert vendors(engine) == {name(0), name(2)}


def test_nothing_is_written_after_a_corrupt_page_was_read(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def reads_it() -> None:
        with database.writing(engine, "test", can_share=True) as writing:
            publish_vendor(writing, name(1), None, None)
            database.condition(engine).is_corrupt = True

    for future in queued(engine, pool, [reads_it, partial(publish, engine, 2)]):
        with pytest.raises(FailureError, match="corrupt"):
            future.result()
    assert vendors(engine) == set()


def test_a_dry_run_and_a_large_write_share_nothing(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    def alone() -> None:
        with database.writing(engine, "test") as writing:
            publish_vendor(writing, name(7), None, None)

    def dry_run() -> None:
        with database.writing(engine, "test", dry_run=True) as writing:
            publish_vendor(writing, name(8), None, None)

    writers = [lambda: publish(engine, 0), alone, lambda: publish(engine, 1), dry_run, lambda: publish(engine, 2)]
    with counted(engine, "commit") as commits, counted(engine, "rollback") as rollbacks:
        for future in queued(engine, pool, writers):
            future.result()
    assert len(commits) == len(writers) - 1
    assert rollbacks
    assert vendors(engine) == {name(0), name(1), name(2), name(7)}


def test_a_transaction_is_not_handed_on_for_ever(engine: sa.Engine) -> None:
    count = 40
    with ThreadPoolExecutor(count) as pool, counted(engine, "commit") as commits:
        writers = [partial(publish, engine, n) for n in range(count)]
        for future in queued(engine, pool, writers):
            future.result()
    # At most 16 share one.
    assert 3 <= len(commits) < count
    assert len(vendors(engine)) == count


def test_who_waits_too_long_gives_up_and_the_turn_goes_on(engine: sa.Engine) -> None:
    turn = Turn()
    assert turn.take(None, can_share=True) is None
    with pytest.raises(TimeoutError):
        turn.take(0.01, can_share=True)
    turn.release()
    assert turn.take(0.01, can_share=False) is None
    database.condition(engine).limits = database.Limits(lock=1)
    held = database.condition(engine).turn
    assert held.take(1, can_share=False) is None
    with pytest.raises(FailureError, match="Other publications"):
        publish(engine, 0)
    held.release()
    assert publish(engine, 0)
