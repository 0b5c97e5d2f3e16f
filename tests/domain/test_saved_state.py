"""The saved state: what a release writes has to be read where a device goes (DESIGN 3; DESIGN 5, step 9)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fleet.baseline import baseline
from app.domain.fleet.difference import Difference, Direction, between_releases
from app.domain.things.saved_state import SavedState
from app.domain.things.variable_set import VariableSet
from app.domain.values.document import Place
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import ProblemCode
from tests.domain.world import NIC, World, codes, device, variable

OLD, NEW, OPAQUE = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-a.com/fw@3"
P = "vendor-a.com/p"
QUEUES = variable("int", 4, 1, ["1-8"])
FIRST = {"writes": 1, "reads": [1]}
SECOND = {"writes": 2, "reads": ["1-2"]}


def stated(saved_state: object) -> dict[str, Any]:
    """Return a set with a saved state, None: without."""
    return {"variables": {"queues": QUEUES}, **({} if saved_state is None else {"saved_state": saved_state})}


def world(old: object = FIRST, new: object = SECOND) -> World:
    """Return two releases with these saved states, and one that states none."""
    made = (
        World().publish(OLD, {NIC: stated(old)}).publish(NEW, {NIC: stated(new)}).publish(OPAQUE, {NIC: stated(None)})
    )
    return made.profile(P, {NIC: {"queues": 2}})


def test_a_newer_release_reads_what_an_older_one_writes_and_not_the_other_way_round() -> None:
    assert world().ask(device(OLD), NEW).configuration == {"queues": 4}
    (problem,) = world().ask(device(NEW), OLD).problems
    assert (problem.code, problem.variable) == (ProblemCode.STATE_NOT_READABLE, None)
    assert problem.message == ("vendor-a.com/fw@2 writes saved states of format 2, but vendor-a.com/fw@1 reads 1.")
    assert (problem.value, problem.allowed) == (2, (1,))


@pytest.mark.parametrize("asked", [device(NEW), device(NEW, P), device(NEW, queues=8)])
def test_no_value_of_a_device_changes_what_is_written(asked: Any) -> None:
    assert codes(world().ask(asked, OLD)) == [("state-not-readable", None)]
    assert not world().ask(asked, OLD).remedies


def test_formats_can_be_strings() -> None:
    firmware = {"writes": "28.41.1000", "reads": ["28.41.1000", "28.40.0"]}
    made = world(firmware, {"writes": "28.42.1000", "reads": ["28.41.1000", "28.42.1000"]})
    assert made.ask(device(OLD), NEW).compatible
    assert codes(made.ask(device(NEW), OLD)) == [("state-not-readable", None)]
    # A number is no string.
    (problem,) = world({"writes": 1, "reads": [1]}, {"writes": "1", "reads": ["1", "x"]}).ask(device(OLD), NEW).problems
    assert problem.message == (
        'vendor-a.com/fw@1 writes saved states of format 1, but vendor-a.com/fw@2 reads "1", "x".'
    )


@pytest.mark.parametrize(
    ("asked", "destination", "unchecked"),
    [
        (device(OLD), NEW, ()),
        (device(OPAQUE), OPAQUE, ()),
        (device(OPAQUE), NEW, ("saved-state",)),
        (device(OLD), OPAQUE, ("saved-state",)),
        (device(complete=True, queues=4), NEW, ("saved-state",)),
        (device(complete=True, queues=4), OPAQUE, ()),
        (device(NEW), OLD, ()),
    ],
)
def test_a_saved_state_that_only_one_side_states_is_unchecked(
    asked: Any, destination: str, unchecked: tuple[str, ...]
) -> None:
    assert world().ask(asked, destination).unchecked == unchecked


def test_what_cannot_be_compared_at_all_is_not_unchecked() -> None:
    made = world().publish(OPAQUE, {"vendor-b.com/gpu": {}})
    verdict = made.ask(device(OLD), OPAQUE)
    assert (codes(verdict), verdict.unchecked) == ([("model-not-supported", None)], ())


def test_it_is_told_beside_all_other_problems() -> None:
    found = codes(world().ask(device(NEW, "vendor-a.com/none", queues=8), OLD))
    assert found == [("unknown-profile", None), ("state-not-readable", None)]


def test_a_release_that_reads_nothing_says_so() -> None:
    (problem,) = world(new={"writes": 2, "reads": []}).ask(device(OLD), NEW).problems
    assert problem.message == "vendor-a.com/fw@1 writes saved states of format 1, but vendor-a.com/fw@2 reads none."


def members(*releases: str) -> list[Destination]:
    return [Destination(release, (release,)) for release in releases]


def test_a_baseline_needs_members_that_read_one_another() -> None:
    made = world()
    of_both = baseline(NIC, members(OLD, NEW), made.lookups(), made.profiles_for(NIC))
    (problem,) = of_both.problems
    assert (of_both.values, of_both.profiles) == (None, ())
    assert (problem.code.value, problem.members) == ("state-not-readable", (OLD, NEW))
    assert problem.message == ("vendor-a.com/fw@2 writes saved states of format 2, but vendor-a.com/fw@1 reads 1.")
    alike = world(SECOND, {"writes": 1, "reads": ["1-2"]})
    result = baseline(NIC, members(OLD, NEW, OPAQUE), alike.lookups(), alike.profiles_for(NIC))
    assert (result.values, result.profiles) == ({"queues": 4}, (P,))
    (warning,) = result.warnings
    assert (warning.code.value, warning.message) == (
        "state-not-compared",
        "No saved state of vendor-a.com/nic is stated by vendor-a.com/fw@3, so that of the others was not compared.",
    )
    for same in (members(OPAQUE), members(OLD)):
        assert baseline(NIC, same, alike.lookups()).warnings == ()


def test_a_release_that_does_not_read_what_it_writes_itself_collides_alone() -> None:
    made = world({"writes": 2, "reads": [1]})
    (problem,) = baseline(NIC, members(OLD, OPAQUE), made.lookups()).problems
    assert problem.members == (OLD,)
    assert codes(made.ask(device(OLD), OLD)) == [("state-not-readable", None)]


def test_every_release_of_a_host_counts_for_a_baseline() -> None:
    made = world()
    hosts = [Destination("both", (NEW, OLD)), Destination("old", (OLD,)), Destination("opaque", (OPAQUE,))]
    # The host serves a device with the newer release, which the other one does not read.
    assert made.ask(device(OLD), NEW, OLD).compatible
    assert made.answer([device(OLD)], hosts[0]).devices[0].release == NEW
    result = baseline(NIC, hosts, made.lookups(), made.profiles_for(NIC))
    (problem,) = result.problems
    assert (result.values, result.profiles, problem.members) == (None, (), ("both", "old"))


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (1, [("", "wrong-type")]),
        ({}, [("", "missing-field"), ("", "missing-field")]),
        ({"writes": True, "reads": [1]}, [("/writes", "wrong-type")]),
        ({"writes": 1.0, "reads": [1]}, [("/writes", "wrong-type")]),
        ({"writes": None, "reads": [1]}, [("/writes", "wrong-type")]),
        ({"writes": 2**64, "reads": [1]}, [("/writes", "invalid-value")]),
        ({"writes": "a\0", "reads": [1]}, [("/writes", "invalid-value"), ("/reads/0", "invalid-value")]),
        ({"writes": 1, "reads": ["x", "2-1", True]}, [(f"/reads/{place}", "invalid-value") for place in range(3)]),
        ({"writes": 1, "reads": 1, "more": 1}, [("/more", "unknown-field"), ("/reads", "wrong-type")]),
        ({"writes": 1}, [("", "missing-field")]),
    ],
)
def test_faults(document: object, faults: list[tuple[str, str]]) -> None:
    place = Place()
    assert SavedState.read(document, place) is None
    assert [(fault.pointer, fault.code.value) for fault in place.faults] == faults
    of_set = Place()
    VariableSet.read(NIC, {"variables": {}, "saved_state": document}, of_set)
    assert [fault.pointer for fault in of_set.faults] == [f"/saved_state{pointer}" for pointer, _ in faults]


def test_it_is_part_of_the_digest_only_where_it_is_stated() -> None:
    def read(**fields: object) -> VariableSet:
        place = Place()
        made = VariableSet.read(NIC, {"variables": {"queues": QUEUES}, **fields}, place)
        place.raise_faults()
        return made

    assert "saved_state" not in read().document()
    one, same = read(saved_state={"writes": 2, "reads": [1, 2]}), read(saved_state={"reads": ["1-2", 2], "writes": 2})
    assert one.document()["saved_state"] == {"writes": 2, "reads": [1, 2]}
    assert one.digest == same.digest != read().digest
    assert read(saved_state={"writes": "b", "reads": []}).document()["saved_state"] == {"writes": "b", "reads": []}


FORMATS = st.fixed_dictionaries({"writes": st.integers(1, 3), "reads": st.lists(st.integers(1, 3), max_size=3)})


@given(FORMATS, FORMATS)
def test_a_difference_closes_what_verdicts_refuse(old: Any, new: Any) -> None:
    made = world(old, new)
    refused = {
        direction
        for direction, source, there in ((Direction.FORWARD, OLD, NEW), (Direction.BACKWARD, NEW, OLD))
        if not made.ask(device(source), there).compatible
    }
    if (old["writes"], {*old["reads"]}) == (new["writes"], {*new["reads"]}):
        assert difference(old, new) == []
    else:
        assert [set(each.closes or {}) for each in difference(old, new)] == [refused]


def difference(old: object, new: object) -> list[Difference]:
    """Return the differences of the model between two releases with these saved states."""
    made = world(old, new)
    model, before, after = made.model(NIC), made.release(OLD), made.release(NEW)
    assert model is not None
    assert before is not None
    assert after is not None
    return between_releases(model, ("vendor-a.com", "vendor-a.com"), before.sets[NIC], after.sets[NIC])


@pytest.mark.parametrize(
    ("old", "new", "kind", "message", "closes"),
    [
        (FIRST, SECOND, "changed", "Saved state: writes format 2 (was 1) and reads 1, 2 (was 1).", {"backward"}),
        (SECOND, {"writes": 2, "reads": [2]}, "changed", "Saved state: reads 2 (was 1, 2).", set()),
        (SECOND, {"writes": 1, "reads": ["1-2"]}, "changed", "Saved state: writes format 1 (was 2).", set()),
        (
            None,
            FIRST,
            "added",
            "The saved state is stated now. It is compared only where both releases state it.",
            set(),
        ),
        (
            FIRST,
            None,
            "removed",
            "The saved state is no longer stated. It is compared only where both releases state it.",
            set(),
        ),
    ],
)
def test_a_difference_says_what_changes(old: object, new: object, kind: str, message: str, closes: set[str]) -> None:
    (found,) = difference(old, new)
    assert (found.variable, found.change.value, found.message) == (None, kind, message)
    assert {direction.value for direction in found.closes or {}} == closes
    assert (found.before, found.after) == (old and _listed(old), new and _listed(new))


def _listed(document: Any) -> object:
    return {**document, "reads": [1, 2] if document["reads"] == ["1-2"] else document["reads"]}
