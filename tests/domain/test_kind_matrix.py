"""Which profiles the hosts of a kind accept: the verdicts of new devices there, each asked about alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.memo import Memo
from app.domain.engine.question import Engine, Question
from app.domain.fleet.kind import digest_of
from app.domain.fleet.support_matrix import MAX_PROBLEMS, Cell, KindColumn, kind_matrix, support_matrix
from app.domain.things.profile import Profile
from app.domain.things.snapshot import Snapshot
from app.domain.values.budget import Budget, OverBudgetError, limited
from app.domain.values.state import State
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.host import judge_vm
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Device, Source
from tests.domain.test_engine import GPU, RELEASES, ROLES, hosts, in_other_states, snapshots
from tests.domain.world import NIC, World, variable

ONE, TWO, CARD = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "acme.com/dpu@1"
DPU = "acme.com/net"
P = "vendor-a.com/p"
QUEUES = variable("int", 4, 1, ["1-8"])
FEWER = variable("int", 4, 1, ["1-4"])


def columns(destinations: Sequence[Destination]) -> list[KindColumn]:
    """Return the columns of destinations, each a kind of its own."""
    return [KindColumn(None if host.problem else digest_of(host), host) for host in destinations]


def cell_of(world: World, host: Destination, *models: str, profile: str = P) -> Cell:
    """Return the one cell of a profile and a host."""
    named = world.profile_named(profile)
    assert named is not None
    ((cell,),) = [row.cells for row in kind_matrix([named], columns([host]), world.lookups(), Acceptance(), models)]
    return cell


def codes(cell: Cell) -> list[str]:
    """Return the codes of the problems of a cell."""
    return [problem.code.value for problem in cell.problems]


def judged(
    profile: Profile, models: Sequence[str], host: Destination, snapshot: Snapshot
) -> tuple[bool, set[ProblemCode]]:
    """Return the verdict of the plain rule on new devices with a profile, each asked about alone, with its parts."""
    problems: list[Problem] = []
    for model in models:
        device = Device(id="new", model=model, profile=profile.name, filled=frozenset(ROLES))
        (served,) = judge_vm([Source.of(device, snapshot)], host, snapshot, Policy.STRICT)
        (answer,) = Question([device], Engine(snapshot)).at(host).devices
        assert answer.verdict.compatible == served.verdict.compatible
        problems += served.verdict.problems
    return not problems, {problem.code for problem in problems}


def implemented_by(host: Destination, snapshot: Snapshot) -> set[str]:
    """Return the models that some release of a host or of its units implements."""
    known = (snapshot.release(name) for name in host.all_releases())
    return {model for release in known if release is not None for model in release.sets}


@given(snapshots(), st.lists(hosts(), min_size=1, max_size=4), st.sampled_from([(), (NIC,), (NIC, GPU)]))
def test_a_cell_is_the_verdict_on_new_devices_at_a_host_of_the_kind(
    registry: list[Snapshot], destinations: list[Destination], models: Sequence[str]
) -> None:
    memo = Memo()
    unknown = Destination("z", (), problem=Problem(ProblemCode.UNKNOWN_HOST, "No host z is registered."))
    for snapshot in [*registry, registry[0], in_other_states(registry[-1])]:
        profiles = [
            profile
            for profile in snapshot.known_profiles()
            # A published profile names published models, and the matrix has rows for those that name a given one.
            if all(map(snapshot.model, profile.values)) and (not models or not profile.values.keys().isdisjoint(models))
        ]
        kinds = columns([*destinations, unknown])
        rows = list(kind_matrix(profiles, kinds, snapshot, Acceptance(memo), models))
        assert rows == list(kind_matrix(profiles, kinds, snapshot, Acceptance(), models))
        assert [row.profile for row in rows] == [profile.name for profile in profiles]
        for profile, row in zip(profiles, rows, strict=True):
            named = profile.values.keys() & models if models else profile.values.keys()
            for (digest, host), cell in zip(kinds, row.cells, strict=True):
                here = implemented_by(host, snapshot)
                counted = sorted(named if models else named & here)
                compatible, expected = judged(profile, counted, host, snapshot)
                assert (cell.column, cell.models) == (digest, len(named))
                assert cell.compatible == (compatible and bool(counted))
                assert cell.accepted + cell.refused == len(named & here)
                if counted and cell.problem_count <= MAX_PROBLEMS:
                    assert {problem.code for problem in cell.problems} == expected
                for model in counted if len(counted) > 1 else ():
                    # The cell of all models is that of each.
                    (alone,) = kind_matrix([profile], [KindColumn(digest, host)], snapshot, Acceptance(), [model])
                    assert alone.cells[0].compatible or not cell.compatible


@given(snapshots(), st.sampled_from(RELEASES), st.sampled_from([(), (NIC,), (NIC, GPU)]))
def test_hosts_that_run_a_release_and_state_nothing_accept_what_the_release_accepts(
    registry: list[Snapshot], name: str, models: Sequence[str]
) -> None:
    for snapshot in registry:
        release = snapshot.release(name)
        if release is None:
            continue
        profiles = snapshot.known_profiles()
        of_release = support_matrix(profiles, [release], snapshot, Acceptance(), models)
        of_kind = kind_matrix(profiles, columns([Destination("h", (name,))]), snapshot, Acceptance(), models)
        for one, other in zip(of_release, of_kind, strict=True):
            alike = [replace(row.cells[0], column=None, problems=()) for row in (one, other)]
            assert alike[0] == alike[1]
            assert codes(one.cells[0]) == codes(other.cells[0])


def world() -> World:
    """Return a world with two releases, the second with fewer queues, and a card."""
    return (
        World()
        .publish(ONE, {NIC: {"queues": QUEUES}})
        .publish(TWO, {NIC: {"queues": FEWER}}, profiles=[P])
        .publish(CARD, {DPU: {"rings": QUEUES}})
        .profile(P, {NIC: {"queues": 8}, DPU: {"rings": 2}})
    )


def test_what_hosts_restrict_and_resolve_is_applied() -> None:
    cell = cell_of(world(), Destination("a", (ONE,)))
    assert (cell.compatible, cell.accepted, cell.refused, cell.models) == (True, 1, 0, 2)
    restricted = cell_of(world(), Destination("a", (ONE,), {NIC: {"queues": ["1-2"]}}))
    assert (codes(restricted), restricted.accepted, restricted.refused) == (["value-not-allowed"], 0, 1)
    assert restricted.problems[0].message.startswith(f"{NIC}: The profile sets queues=8")
    assert f"{ONE} on this host" in restricted.problems[0].message
    resolved = cell_of(world(), Destination("a", (ONE,), resolves={NIC: {"queues": {"8": 4}}}))
    assert codes(resolved) == ["value-not-allowed"]


def test_a_release_of_the_host_or_a_unit_that_takes_the_device_is_enough() -> None:
    assert cell_of(world(), Destination("a", (TWO, ONE))).compatible
    assert codes(cell_of(world(), Destination("a", (TWO,)))) == ["value-not-allowed"]
    small = Unit("card0", (CARD,), {DPU: {"rings": [1]}})
    full = Unit("card1", (CARD,))
    assert codes(cell_of(world(), Destination("a", (ONE,), units=(small,)))) == ["value-not-allowed"]
    both = cell_of(world(), Destination("a", (ONE,), units=(small, full)))
    assert (both.compatible, both.accepted, both.models) == (True, 2, 2)


def test_every_given_model_has_to_be_implemented() -> None:
    plain = Destination("a", (ONE,))
    assert cell_of(world(), plain, NIC).compatible
    assert codes(cell_of(world(), plain, NIC, DPU)) == ["model-not-supported"]
    unknown = Destination("a", (ONE, "acme.com/other@1"))
    assert codes(cell_of(world(), unknown, DPU)) == ["unknown-release"]
    # What the known release implements is judged, as in any verdict.
    assert cell_of(world(), unknown).compatible


def test_hosts_that_implement_none_of_the_models_do_not_accept_the_profile() -> None:
    registry = world().publish("vendor-b.com/x@1", {"vendor-b.com/x": {}})
    none = cell_of(registry, Destination("a", ("vendor-b.com/x@1",)))
    assert (none.compatible, codes(none), none.accepted, none.refused) == (False, ["model-not-supported"], 0, 0)
    assert codes(cell_of(registry, Destination("a", ("acme.com/other@1",)))) == ["unknown-release"]


def test_states_and_lists_count_and_are_named_once() -> None:
    registry = world().publish(TWO, {NIC: {"queues": QUEUES}, DPU: {"rings": QUEUES}}, profiles=[])
    unlisted = cell_of(registry, Destination("a", (TWO,)))
    assert (codes(unlisted), unlisted.accepted, unlisted.refused) == (["profile-not-listed"], 2, 0)
    retired = cell_of(world().profile(P, {NIC: {}}, State.RETIRED), Destination("a", (ONE,)))
    assert codes(retired) == ["profile-retired"]


def test_a_device_of_which_nothing_is_compared_is_refused_as_in_a_verdict() -> None:
    registry = World().publish(ONE, {NIC: {}}).publish(TWO, {NIC: {}}, profiles=[P]).profile(P, {NIC: {}})
    assert codes(cell_of(registry, Destination("a", (ONE,)))) == ["nothing-compared"]
    assert cell_of(registry, Destination("a", (TWO,))).compatible


@pytest.mark.parametrize("hosts", [1, 50])
def test_kinds_that_state_the_same_of_a_model_share_what_is_compared(hosts: int) -> None:
    restrict = {NIC: {"queues": [8, 1]}}
    registry, profile = world(), world().profile_named(P)
    assert profile is not None
    destinations = [
        Destination(f"h{number}", (ONE,), restrict, units=(Unit("u", (CARD,)),) * number) for number in range(hosts)
    ]
    with limited(Budget(10**9, 10**9)) as budget:
        (row,) = kind_matrix([profile], columns(destinations), registry.lookups(), Acceptance())
    assert all(cell.compatible for cell in row.cells)
    assert budget.steps < 300 + 100 * hosts


def test_cells_are_remembered_and_work_is_counted() -> None:
    registry, memo, steps = world(), Memo(), []
    profile = registry.profile_named(P)
    assert profile is not None
    kinds = columns([Destination(f"h{number}", (ONE,), {NIC: {"queues": [number, 8, 1]}}) for number in range(2, 8)])
    cells = []
    for _ in range(2):
        with limited(Budget(10**9, 10**9)) as budget:
            (row,) = kind_matrix([profile], kinds, registry.lookups(), Acceptance(memo))
        cells.append(row.cells)
        steps.append(budget.steps)
    assert all(one is other for one, other in zip(*cells, strict=True))
    assert all(later < earlier / 5 for earlier, later in pairwise(steps))
    for budget in (Budget(5, 10**9), Budget(10**9, 10)):
        with pytest.raises(OverBudgetError), limited(budget):
            list(kind_matrix([profile], kinds, registry.lookups(), Acceptance()))
