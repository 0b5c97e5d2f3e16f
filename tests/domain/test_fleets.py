"""Answers about many entries: the support matrix, the impact of a state change, the summary of a drain."""

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet import impact
from app.domain.fleet.group import groups_of
from app.domain.fleet.summary import summarize
from app.domain.fleet.support_matrix import MAX_PROBLEMS, support_matrix
from app.domain.values.budget import Budget, limited
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, device, variable

ONE, TWO, THREE = (f"vendor-a.com/fw@{version}" for version in (1, 2, 3))
GPU = "vendor-a.com/gpu"
QUEUES = variable("int", 4, 1, ["1-8"])
P, LATER = "vendor-a.com/p", "vendor-a.com/later"


def world() -> World:
    """Return a world whose second release has fewer queues and no GPU, and lists one of two profiles."""
    return (
        World()
        .publish(ONE, {NIC: {"queues": QUEUES}, GPU: {}}, profiles=[P, LATER])
        .publish(TWO, {NIC: {"queues": {**QUEUES, "allowed_values": ["1-4"]}}}, profiles=[P])
        .publish("vendor-b.com/other@1", {"vendor-b.com/x": {}})
        .profile(P, {NIC: {"queues": 8}, GPU: {}})
        .profile(LATER, {NIC: {"queues": 4}})
    )


def _cells(registry: World, *models: str) -> dict[tuple[str, str | None], tuple[bool, list[str], int, int]]:
    profiles = [profile for name in (P, LATER) if (profile := registry.profile_named(name))]
    releases = [release for name in (ONE, TWO, "vendor-b.com/other@1") if (release := registry.release(name))]
    return {
        (row.profile, cell.column): (
            cell.compatible,
            [problem.code.value for problem in cell.problems],
            cell.accepted,
            cell.models,
        )
        for row in support_matrix(profiles, releases, registry.lookups(), Acceptance(), models)
        for cell in row.cells
    }


def test_a_cell_of_the_matrix_is_a_verdict_with_its_reasons() -> None:
    assert _cells(world()) == {
        (P, ONE): (True, [], 2, 2),
        (P, TWO): (False, ["value-not-allowed"], 0, 2),
        (P, "vendor-b.com/other@1"): (False, ["model-not-supported"], 0, 2),
        (LATER, ONE): (True, [], 1, 1),
        (LATER, TWO): (False, ["profile-not-listed"], 1, 1),
        (LATER, "vendor-b.com/other@1"): (False, ["model-not-supported"], 0, 1),
    }


def test_a_requested_model_has_to_be_implemented() -> None:
    assert _cells(world(), GPU)[P, TWO] == (False, ["model-not-supported"], 0, 1)
    retired = world().publish(THREE, {NIC: {"queues": QUEUES}}, profiles=[], state=State.RETIRED)
    release, profile = retired.release(THREE), retired.profile(P, {NIC: {}}, State.RETIRED).profile_named(P)
    assert release
    assert profile
    ((cell,),) = [row.cells for row in support_matrix([profile], [release], retired.lookups(), Acceptance())]
    assert [problem.code.value for problem in cell.problems] == [
        "release-retired",
        "profile-retired",
        "profile-not-listed",
    ]


def test_an_erratum_about_other_releases_refuses_no_cell_and_takes_no_work() -> None:
    def steps(registry: World) -> int:
        with limited(Budget(100_000, 100_000)) as budget:
            assert _cells(registry)[P, ONE][0]
        return budget.steps

    assert steps(world().erratum(ONE, others=[TWO])) == steps(world())


def test_an_erratum_about_every_release_refuses_the_cells_that_it_concerns() -> None:
    cells = _cells(world().erratum(ONE, when={"queues": [8]}, others=[TWO]).erratum(ONE, when={"queues": [4]}))
    assert cells[LATER, ONE] == (False, ["known-broken"], 0, 1)
    assert cells[P, ONE] == (True, [], 2, 2)


def test_a_cell_lists_a_limited_number_of_problems_and_counts_all() -> None:
    many = {f"v{number}": variable("bool", False, False) for number in range(MAX_PROBLEMS + 5)}
    registry = (
        World().publish(ONE, {NIC: many}).publish(TWO, {NIC: {}}, [P]).profile(P, {NIC: dict.fromkeys(many, True)})
    )
    profile, release = registry.profile_named(P), registry.release(TWO)
    assert profile
    assert release
    ((cell,),) = [row.cells for row in support_matrix([profile], [release], registry.lookups(), Acceptance())]
    assert (len(cell.problems), cell.problem_count) == (MAX_PROBLEMS, MAX_PROBLEMS + 5)


def test_the_impact_of_retiring_a_release() -> None:
    registry = world().publish(THREE, {NIC: {"queues": QUEUES}})
    hosts = [
        Destination("alone", (ONE,)),
        Destination("both", (ONE, THREE)),
        Destination("small", (THREE, ONE), {NIC: {"queues": ["1-2"]}}),
        Destination("elsewhere", (TWO,)),
        Destination("others-first", ("vendor-c.com/clone@1", ONE)),
        Destination("newer", (THREE, "vendor-a.com/fw@4", ONE)),
    ]
    registry.publish("vendor-c.com/clone@1", {NIC: {"queues": QUEUES}, GPU: {}}).publish("vendor-a.com/fw@4", {GPU: {}})
    release = registry.release(ONE)
    assert release
    profiles = [profile for name in (P, LATER) if (profile := registry.profile_named(name))]
    result = impact.of_release(release, State.RETIRED, profiles, hosts, registry.lookups())
    assert result.profiles == (LATER, P)
    assert result.releases == (ONE,)
    assert result.listed == ((LATER, ONE), (P, ONE))
    # At `both` and `small`, only ONE implements the GPU; at the other hosts another release serves all devices.
    assert result.hosts == ("alone", "both", "small")
    assert impact.of_release(release, State.DEPRECATED, profiles, hosts, registry.lookups()) == impact.Impact()


def test_the_impact_on_devices_without_a_profile() -> None:
    registry = World().publish(ONE, {NIC: {"queues": QUEUES}}).publish(TWO, {NIC: {"queues": QUEUES}})
    release = registry.release(ONE)
    assert release
    hosts = [Destination("alone", (ONE,)), Destination("both", (ONE, TWO))]
    result = impact.of_release(release, State.RETIRED, [], hosts, registry.lookups())
    assert (result.releases, result.hosts, result.profiles, result.listed) == ((ONE,), ("alone",), (), ())


def test_the_impact_where_another_release_of_the_host_allows_less() -> None:
    fewer = {NIC: {"q": variable("int", 1, 1, ["1-4"])}}
    more = {NIC: {"q": variable("int", 1, 1, ["1-8"])}}
    registry = World().publish("vendor-a.com/fw@1", fewer).publish("vendor-a.com/fw@2", more)
    hosts = [Destination("both", ("vendor-a.com/fw@1", "vendor-a.com/fw@2"))]
    flipped = {}
    for name in hosts[0].releases:
        release = registry.release(name)
        assert release
        flipped[name] = impact.of_release(release, State.RETIRED, [], hosts, registry.lookups()).hosts
    assert flipped == {"vendor-a.com/fw@1": (), "vendor-a.com/fw@2": ("both",)}


def test_the_impact_where_only_this_release_lists_a_profile_that_it_does_not_accept_by_itself() -> None:
    """A device with the profile can still move there if it gives the variable without an off value."""
    nic = {NIC: {"q": QUEUES, "x": variable("int", 3)}}
    registry = World().publish(ONE, nic, profiles=[P]).publish(TWO, nic, profiles=[]).profile(P, {NIC: {"q": 8}})
    release, profile = registry.release(ONE), registry.profile_named(P)
    assert release
    assert profile
    both = Destination("both", (ONE, TWO))
    going = Device(id="nic", model=NIC, release=ONE, profile=P, values={"x": 3})
    assert registry.answer([going], both, Policy.STRICT).compatible
    assert impact.of_release(release, State.RETIRED, [profile], [both], registry.lookups()).hosts == ("both",)


def test_a_release_that_cannot_migrate_has_no_impact_on_hosts() -> None:
    registry = World().publish(ONE, {NIC: {"variables": {"q": QUEUES}, "migratable": False}})
    release = registry.release(ONE)
    assert release
    assert impact.of_release(release, State.RETIRED, [], [Destination("h", (ONE,))], registry.lookups()).hosts == ()


def test_the_impact_of_retiring_a_profile() -> None:
    registry = world()
    profile = registry.profile_named(P)
    assert profile
    releases = [release for name in (ONE, TWO) if (release := registry.release(name))]
    hosts = [
        Destination("one", (ONE,)),
        Destination("two", (TWO,)),
        Destination("narrow", (TWO,), {NIC: {"queues": ["1-2"]}}),
    ]
    result = impact.of_profile(profile, State.RETIRED, releases, hosts, registry.lookups())
    assert (result.profiles, result.releases, result.hosts, result.listed) == ((P,), (ONE,), ("one",), ((P, ONE),))
    assert impact.of_profile(profile, State.PUBLISHED, releases, hosts, registry.lookups()) == impact.Impact()


def test_reasons_are_grouped_over_hosts_and_devices() -> None:
    registry = world()
    devices = [device(ONE, queues=8), device(ONE, queues=2)]
    question = registry.question(devices, Policy.PERMISSIVE)
    hosts = [Destination(f"h{number}", (TWO if number % 3 else ONE,)) for number in range(9)]
    groups = groups_of(enumerate(hosts))
    answers = question.at_all([group.first for group in groups])
    result = summarize(groups, answers, registry.lookups(), lambda group: group.explicit)
    assert result.names == ("h0", "h3", "h6")
    assert (result.possible_count, result.impossible_count) == (3, 6)
    (reason,) = result.reasons
    assert (reason.code, reason.variables, reason.releases) == ("value-not-allowed", ("queues",), (TWO,))
    assert (reason.count, reason.examples) == (6, ("h1", "h2", "h4", "h5", "h7"))
    assert reason.message == f"queues=8 at the source, but {TWO} allows 1-4."


def test_states_in_a_verdict() -> None:
    registry = World().publish(ONE, {NIC: {"queues": QUEUES}}, state=State.RETIRED)
    registry.publish(TWO, {NIC: {"queues": QUEUES}}, state=State.DEPRECATED).publish(THREE, {NIC: {"queues": QUEUES}})
    registry.profile(P, {NIC: {}}, State.DEPRECATED)
    leaving = registry.ask(device(ONE), THREE)
    assert leaving.compatible
    assert [warning.code.value for warning in leaving.warnings] == ["release-retired"]
    old = registry.ask(device(THREE, P), TWO)
    assert old.compatible
    assert [warning.code.value for warning in old.warnings] == ["release-deprecated", "profile-deprecated"]
    # The other release of the host serves the device.
    assert registry.ask(device(THREE), ONE, THREE).compatible
