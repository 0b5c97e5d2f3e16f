"""What is remembered across requests gives the answers of the plain rule, before and after the registry has changed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.memo import Memo
from app.domain.fleet.baseline import baseline, kept_baseline
from app.domain.fleet.support_matrix import support_matrix
from app.domain.things.profile import Values
from app.domain.things.snapshot import Snapshot
from app.domain.values.budget import Budget, OverBudgetError, limited
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import refusals
from tests.domain.test_engine import (
    NEW,
    OLD,
    PROFILES,
    QUEUES,
    RELEASES,
    in_other_states,
    in_state,
    profile_values,
    snapshots,
)
from tests.domain.world import NIC, World, variable

OTHER = "vendor-a.com/other"


def moments(registry: list[Snapshot]) -> list[Snapshot]:
    """Return the registry as it stood, as it was set back, and with other states."""
    return [*registry, registry[0], in_other_states(registry[-1]), registry[-1]]


@given(snapshots(), st.lists(profile_values(), min_size=1, max_size=4))
def test_acceptance_is_that_of_the_plain_rule_across_requests(registry: list[Snapshot], values: list[Values]) -> None:
    memo = Memo()
    for snapshot in moments(registry):
        model, acceptance = snapshot.model(NIC), Acceptance(memo)
        for release in snapshot.known_releases() if model else ():
            for own in values:
                assert model is not None
                expected = refusals(own, model, str(release.name), release.sets.get(NIC))
                assert tuple(acceptance.refusals(own, model, str(release.name), release.sets.get(NIC))) == expected


@given(snapshots(), st.sampled_from([(), (NIC,), (NIC, "vendor-b.com/gpu")]), st.sampled_from([1, 1_000, 100_000]))
def test_a_matrix_is_the_same_across_requests(registry: list[Snapshot], models: Sequence[str], capacity: int) -> None:
    memo = Memo(capacity)
    for snapshot in moments(registry):
        profiles, releases = snapshot.known_profiles(), snapshot.known_releases()
        plain = list(support_matrix(profiles, releases, snapshot, Acceptance(), models))
        assert list(support_matrix(profiles, releases, snapshot, Acceptance(memo), models)) == plain


@given(snapshots(), st.lists(st.lists(st.sampled_from(RELEASES), min_size=1, max_size=2), min_size=1, max_size=3))
def test_a_baseline_is_the_same_across_requests(registry: list[Snapshot], hosts: list[list[str]]) -> None:
    memo = Memo()
    destinations = [Destination(f"h{number}", tuple(releases)) for number, releases in enumerate(hosts)]
    for snapshot in moments(registry):
        profiles = [profile for profile in snapshot.known_profiles() if NIC in profile.values]
        plain = baseline(NIC, destinations, snapshot, profiles)
        assert kept_baseline(NIC, destinations, snapshot, profiles, memo) == plain


def registry() -> tuple[World, Snapshot]:
    """Return a world of two releases, and what it holds."""
    world = World().profile(PROFILES[0], {NIC: {"queues": 2}})
    world.publish(OLD, {NIC: {"queues": QUEUES}}, PROFILES).publish(NEW, {NIC: {"queues": QUEUES}}, PROFILES)
    return world, taken(world)


def taken(world: World) -> Snapshot:
    """Return what a world holds."""
    releases = {name: world.release(name) for name in (OLD, NEW)}
    return Snapshot({NIC: world.model(NIC)}, releases, {PROFILES[0]: world.profile_named(PROFILES[0])})


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "a release is retired": (NEW, {"state": State.RETIRED}),
    "a profile is retired": (PROFILES[0], {"state": State.RETIRED}),
    "a list changes": (NEW, {"profiles": frozenset()}),
    "a profile changes": (PROFILES[0], {"values": {NIC: {"queues": 9}}}),
    "an erratum": (NEW, {"errata": {}}),
    "an off value": (NEW, {"sets": {}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_kept_ends_with_what_it_depends_on(change: str) -> None:
    world, before = registry()
    name, fields = CHANGES[change]
    if change == "an erratum":
        broken = world.erratum(NEW).release(NEW)
        assert broken is not None
        fields = {"errata": broken.errata}
    after = in_state(before, name, **fields)
    if change == "an off value":
        # Another release states an off value of the same model: what was accepted without one no longer is.
        world.publish(
            "vendor-a.com/fw@3", {NIC: {"queues": QUEUES, "ring": variable("bool", True, False, [True, False])}}
        )
        world.publish(NEW, {NIC: {"queues": QUEUES, "ring": variable("bool", True)}}, PROFILES)
        after = taken(world)
        before = replace(after, models=before.models)
    memo, answers, baselines = Memo(), [], []
    destinations = [Destination(OLD, (OLD,)), Destination(NEW, (NEW,))]
    for snapshot in (before, after, before):
        profiles, releases = snapshot.known_profiles(), snapshot.known_releases()
        answers.append(list(support_matrix(profiles, releases, snapshot, Acceptance(memo))))
        assert answers[-1] == list(support_matrix(profiles, releases, snapshot, Acceptance()))
        baselines.append(kept_baseline(NIC, destinations, snapshot, profiles, memo))
        assert baselines[-1] == baseline(NIC, destinations, snapshot, profiles)
    assert answers[0] == answers[2] != answers[1]
    assert baselines[0] == baselines[2] != baselines[1]


def test_what_did_not_change_costs_a_look_up_after_an_unrelated_publication() -> None:
    world, before = registry()
    memo, first, second = Memo(), Budget(10**9, 10**9), Budget(10**9, 10**9)
    cells = []
    for snapshot, budget in ((before, first), (taken(world.publish("vendor-a.com/x@1", {OTHER: {}})), second)):
        with limited(budget):
            rows = support_matrix(snapshot.known_profiles(), snapshot.known_releases(), snapshot, Acceptance(memo))
            cells.append([cell for row in rows for cell in row.cells])
    assert all(one is other for one, other in zip(*cells, strict=True))
    assert second.steps < first.steps / 5
    # What is remembered counts, too: no request does unbounded work.
    with pytest.raises(OverBudgetError), limited(Budget(1, 10**9)):
        list(support_matrix(before.known_profiles(), before.known_releases(), before, Acceptance(memo)))
    with pytest.raises(OverBudgetError), limited(Budget(100, 10)):
        list(support_matrix(before.known_profiles(), before.known_releases(), before, Acceptance(memo)))


def test_what_a_release_accepts_of_one_model_says_nothing_of_another_one_with_the_same_values() -> None:
    nothing: Values = {}
    world = (
        World()
        .publish("vendor-a.com/fw@1", {NIC: {}}, [f"vendor-a.com/{name}" for name in ("both", "nic", "gone")])
        .publish("vendor-a.com/fw@2", {OTHER: {"a": variable("int", 1)}})
    )
    world.publish("vendor-b.com/clone@1", {}).profile("vendor-a.com/both", {NIC: nothing, "vendor-a.com/gone": nothing})
    world.profile("vendor-a.com/nic", {NIC: nothing}).profile("vendor-a.com/gone", {"vendor-a.com/gone": nothing})
    registry = world.lookups()
    profiles = [profile for name in ("both", "nic", "gone") if (profile := registry.profile(f"vendor-a.com/{name}"))]
    releases = [
        release for name in ("vendor-a.com/fw@1", "vendor-b.com/clone@1") if (release := registry.release(name))
    ]
    asked = (NIC, "vendor-a.com/gone")
    rows = list(support_matrix(profiles, releases, registry, Acceptance(), asked))
    assert [[cell.compatible for cell in row.cells] for row in rows] == [[False, False], [True, False], [False, False]]
    assert [[cell.refused for cell in row.cells] for row in rows] == [[0, 0], [0, 0], [0, 0]]
    assert rows[1].cells[1].problems[0].message == f"{NIC}: vendor-b.com/clone@1 does not implement {NIC}."
