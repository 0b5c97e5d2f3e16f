"""The gate remembers what releases accept, by content, and judges again whatever has changed."""

from typing import Any

import pytest
import sqlalchemy as sa

from app.domain.engine.acceptance import Acceptance
from app.domain.publishing.gate import EvolutionError
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.storage import database, evolution
from app.storage.publication import publish_release, publish_vendor

NIC, P = "vendor-a.com/gate-nic", "vendor-a.com/gate"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the releases that are judged from now on; nothing is remembered yet."""
    monkeypatch.setattr(evolution, "_ACCEPTED", evolution._Accepted(1_000))
    judged: list[str] = []
    refusals = Acceptance.refusals

    def note(self: Acceptance, values: Any, model: Any, release: str, variable_set: Any) -> Any:
        judged.append(release)
        return refusals(self, values, model, release, variable_set)

    monkeypatch.setattr(Acceptance, "refusals", note)
    return judged


def publish(
    engine: sa.Engine, version: str, variables: dict[str, Any], *, dry_run: bool = False, **document: Any
) -> None:
    with database.writing(engine, "a test", dry_run=dry_run) as writing:
        publish_vendor(writing, "vendor-a.com", None, None)
        place = Place()
        read = ReleaseDocument.read({"models": {NIC: {"variables": variables}}, **document}, place)
        publish_release(writing, ReleaseName("vendor-a.com/fw", version), read, place)
        place.raise_faults()


def queues(most: int) -> dict[str, Any]:
    return {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": [f"1-{most}"]}


def test_what_a_dry_run_found_accepted_is_not_judged_again(engine: sa.Engine, judged: list[str]) -> None:
    publish(engine, "1", {"queues": queues(4)}, profiles=[{"name": P, "values": {NIC: {"queues": 4}}}])
    new = {"queues": queues(8)}
    judged.clear()
    publish(engine, "2", new, dry_run=True)
    assert "vendor-a.com/fw@2" in judged
    judged.clear()
    publish(engine, "2", new)
    assert judged == []


def test_what_has_changed_is_judged_again(engine: sa.Engine, judged: list[str]) -> None:
    publish(engine, "1", {"queues": queues(4)}, profiles=[{"name": P, "values": {NIC: {"queues": 4}}}])
    publish(engine, "2", {"queues": queues(5)}, dry_run=True)
    # Another set.
    judged.clear()
    with pytest.raises(EvolutionError):
        publish(engine, "2", {"queues": queues(3)})
    assert judged
    # What is refused is judged again, for its reasons.
    judged.clear()
    with pytest.raises(EvolutionError):
        publish(engine, "2", {"queues": queues(3)})
    assert judged
    # Another profile.
    publish(engine, "1.1", {"queues": queues(4)}, profiles=[{"name": f"{P}-3", "values": {NIC: {"queues": 3}}}])
    judged.clear()
    publish(engine, "2", {"queues": queues(5)}, dry_run=True)
    assert judged
    # An off value that the model gains counts for all its sets.
    rings = {"type": "int", "init_value": 7, "allowed_values": [7]}
    judged.clear()
    with pytest.raises(EvolutionError):
        publish(engine, "3", {"queues": queues(5), "rings": rings})
    assert judged
    judged.clear()
    publish(engine, "3", {"queues": queues(5), "rings": {**rings, "off_value": 7}})
    assert judged
