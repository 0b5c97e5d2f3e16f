"""The database itself protects published rows."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.domain.publishing.outcome import Outcome
from app.domain.things.erratum import read_erratum
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.signing.envelope import Envelope, Subject, sign
from app.signing.key import PrivateKey
from app.storage import database, schema
from app.storage.database import Writing
from app.storage.erratum import publish_erratum, withdraw_erratum
from app.storage.publication import Gate, publish_profile, publish_release, publish_vendor
from app.storage.signature import register_key, revoke_key, verified
from app.storage.version import fit

NIC = "vendor-a.com/nic"


def publish(writing: Writing, version: str = "1", init: int = 4) -> Outcome:
    """Publish a release with a profile."""
    publish_vendor(writing, "vendor-a.com", None, None)
    at = Place()
    queues = {"type": "int", "init_value": init, "off_value": 1}
    rings = {"type": "int", "init_value": 1, "off_value": 1, "stands_for": {"variable": "ring-count"}}
    document = {
        "models": {NIC: {"variables": {"queues": queues, "rings": rings}}},
        "aliases": {"vendor-a.com/latest": "vendor-a.com/p"},
        "profiles": [{"name": "vendor-a.com/p", "values": {NIC: {"queues": 8}}}],
        "own_values": {"vendor-a.com/p": {NIC: {"queues": 4}}},
    }
    read = ReleaseDocument.read(document, at)
    return publish_release(writing, ReleaseName("vendor-a.com/fw", version), read, at)


def sign_and_revoke(writing: Writing) -> None:
    """Register a key, publish a signed profile, and revoke the key."""
    key, place = PrivateKey.create("vendor-a.com"), Place()
    register_key(writing, "vendor-a.com", key.public, place)
    document = {"name": "vendor-a.com/q", "values": {NIC: {"queues": 2}}}
    envelope = Envelope.read(sign(Subject.PROFILE, "vendor-a.com/q", document, [key]), place, Subject.PROFILE)
    assert envelope is not None
    signed = verified(writing.connection, envelope)
    publish_profile(writing, ProfileDocument.read(document, place), place, signed)
    revoke_key(writing, "vendor-a.com", key.public.id)


def test_the_migrations_create_the_schema(engine: sa.Engine) -> None:
    with database.reading(engine) as connection:
        assert not fit(connection).is_older
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_migrating_again_changes_nothing(engine: sa.Engine) -> None:
    database.migrate(engine)
    with database.reading(engine) as connection:
        assert not fit(connection).is_older


_MAY_CHANGE = {
    schema.revision,
    schema.release_digest,
    schema.release_state,
    schema.profile_state,
    schema.release_draft,
    schema.profile_draft,
    schema.evolution,
    schema.host,
    schema.host_label,
    schema.host_kind,
    schema.host_group,
    schema.label_set,
    schema.label,
    schema.profile_digest,
    schema.mirror,
    schema.token,
    schema.trusted_publisher,
    schema.exchanged_token,
    schema.vendor_signing,
    schema.program,
}
_PUBLISHED = [table for table in schema.metadata.sorted_tables if table not in _MAY_CHANGE]


@pytest.mark.parametrize("table", _PUBLISHED, ids=lambda table: table.name)
def test_what_is_published_cannot_be_changed_or_deleted(engine: sa.Engine, table: sa.Table) -> None:
    with database.writing(engine, "a test") as writing:
        publish(writing)
        at, name = Place(), ReleaseName("vendor-a.com/fw", "2")
        publish_release(writing, name, ReleaseDocument.read({"models": {}}, at), at, Gate("the card is gone"))
        erratum = {"release": "vendor-a.com/fw@1", "model": NIC, "description": "it fails"}
        stored, _ = publish_erratum(writing, read_erratum(erratum, at), at)
        withdraw_erratum(writing, stored.id)
        sign_and_revoke(writing)
    with database.reading(engine) as connection:
        before = connection.execute(sa.select(table)).all()
    assert before
    column = table.c.name if table is schema.vendor else next(iter(table.c))
    changes: list[sa.Executable] = [sa.delete(table), sa.update(table).values({column.name: column})]
    for change in changes:
        with pytest.raises(sa.exc.IntegrityError, match="never changes"), database.writing(engine, "a test") as writing:
            writing.connection.execute(change)
    with database.reading(engine) as connection:
        assert connection.execute(sa.select(table)).all() == before


@pytest.mark.parametrize(
    "table",
    [
        schema.release,
        schema.release_model,
        schema.profile,
        schema.profile_entry,
        schema.variable_set,
        schema.off_value,
        schema.statement,
    ],
)
def test_an_entry_cannot_be_stored_twice(engine: sa.Engine, table: sa.Table) -> None:
    with database.writing(engine, "a test") as writing:
        publish(writing)
        row = dict(writing.connection.execute(sa.select(table)).mappings().first() or {})
    row.pop("id", None)
    with pytest.raises(sa.exc.IntegrityError), database.writing(engine, "a test") as writing:
        writing.connection.execute(sa.insert(table), row)


def test_what_is_published_cannot_be_replaced_or_emptied(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        publish(writing)
    statements = {
        "sqlite": ["INSERT OR REPLACE INTO off_value SELECT model_id, vendor_id, variable, '2' FROM off_value"],
        "postgresql": ["TRUNCATE off_value", "TRUNCATE vendor CASCADE"],
    }
    for statement in statements[engine.dialect.name]:
        with pytest.raises(sa.exc.IntegrityError, match="never changes"), database.writing(engine, "a test") as writing:
            writing.connection.execute(sa.text(statement))


def test_a_set_is_stored_once_per_digest(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        for version in ("1", "2", "3"):
            publish(writing, version)
    with database.reading(engine) as connection:
        count = sa.select(sa.func.count())
        assert connection.execute(count.select_from(schema.variable_set)).scalar_one() == 1
        assert connection.execute(count.select_from(schema.release_model)).scalar_one() == 3
        assert connection.execute(count.select_from(schema.profile_values)).scalar_one() == 2


def _publish_and_fail(engine: sa.Engine) -> None:
    with database.writing(engine, "a test") as writing:
        publish(writing)
        raise ZeroDivisionError


def test_an_error_or_a_dry_run_leaves_nothing(engine: sa.Engine) -> None:
    with database.writing(engine, "a test", dry_run=True) as writing:
        assert publish(writing).added
    with pytest.raises(ZeroDivisionError):
        _publish_and_fail(engine)
    with database.reading(engine) as connection:
        assert connection.execute(sa.select(schema.vendor)).all() == []
        assert database.revision(connection) == 0


def test_only_additions_raise_the_revision(engine: sa.Engine) -> None:
    revisions = []
    for version in ("1", "1", "2"):
        with database.writing(engine, "a test") as writing:
            publish(writing, version)
        with database.reading(engine) as connection:
            revisions.append(database.revision(connection))
    assert revisions == [2, 2, 3]


def test_concurrent_writers_publish_one_after_the_other(engine: sa.Engine) -> None:
    outcomes: list[bool] = []

    def write(init: int) -> None:
        try:
            with database.writing(engine, "a test") as writing:
                added = bool(publish(writing, "1", init).added)
            outcomes.append(added)
        except ValueError:
            outcomes.append(False)

    _run_at_once([lambda init=init: write(init) for init in (1, 2, 3, 4)])  # type: ignore[misc]
    assert sorted(outcomes) == [False, False, False, True]
    with database.reading(engine) as connection:
        assert len(connection.execute(sa.select(schema.release_model)).all()) == 1


def _run_at_once(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "postgresql+asyncpg://x/y"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///<path> or postgresql"):
        database.create_engine(url)


def test_a_database_whose_file_is_gone_is_not_created_anew(tmp_path: Path) -> None:
    """Somebody is putting a backup in its place: an empty file would take its writes."""
    path = tmp_path / "registry.db"
    engine = database.create_engine(f"sqlite:///{path}")
    with engine.connect():
        assert path.exists()
    engine.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(sa.exc.OperationalError, match="is gone"):
        engine.connect()
    assert not path.exists()
