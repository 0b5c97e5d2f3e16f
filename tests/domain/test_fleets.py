"""What is said of many at once: the support matrix, the impact of a change of state, the summary of a drain."""

from app.domain import impact
from app.domain.matrix import MAX_PROBLEMS, matrix
from app.domain.question import Destination
from app.domain.source import Device
from app.domain.state import State
from app.domain.summary import summed_up
from app.domain.verdict import Policy
from tests.domain.world import NIC, World, device, variable

ONE, TWO, THREE = (f"vendor-a.com/fw@{version}" for version in (1, 2, 3))
GPU = "vendor-a.com/gpu"
QUEUES = variable("int", 4, 1, ["1-8"])
P, LATER = "vendor-a.com/p", "vendor-a.com/later"


def world() -> World:
    """The second release has fewer queues, no GPU, and lists one profile of two."""
    return (
        World()
        .publish(ONE, {NIC: {"queues": QUEUES}, GPU: {}}, profiles=[P, LATER])
        .publish(TWO, {NIC: {"queues": {**QUEUES, "allowed_values": ["1-4"]}}}, profiles=[P])
        .publish("vendor-b.com/other@1", {"vendor-b.com/x": {}})
        .profile(P, {NIC: {"queues": 8}, GPU: {}})
        .profile(LATER, {NIC: {"queues": 4}})
    )


def _cells(made: World, *models: str) -> dict[tuple[str, str], tuple[bool, list[str], int, int]]:
    profiles = [profile for name in (P, LATER) if (profile := made.profile_named(name))]
    releases = [each for name in (ONE, TWO, "vendor-b.com/other@1") if (each := made.release(name))]
    return {
        (row.profile, cell.release): (
            cell.compatible,
            [problem.code.value for problem in cell.problems],
            cell.accepted,
            cell.models,
        )
        for row in matrix(profiles, releases, made.lookups(), models)
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


def test_a_model_that_is_asked_has_to_be_implemented() -> None:
    assert _cells(world(), GPU)[P, TWO] == (False, ["model-not-supported"], 0, 1)
    retired = world().publish(THREE, {NIC: {"queues": QUEUES}}, profiles=[], state=State.RETIRED)
    release, profile = retired.release(THREE), retired.profile(P, {NIC: {}}, State.RETIRED).profile_named(P)
    assert release
    assert profile
    ((cell,),) = [row.cells for row in matrix([profile], [release], retired.lookups())]
    assert [problem.code.value for problem in cell.problems] == [
        "release-retired",
        "profile-retired",
        "profile-not-listed",
    ]


def test_a_cell_tells_only_so_many_problems_and_counts_the_rest() -> None:
    many = {f"v{number}": variable("bool", False, False) for number in range(MAX_PROBLEMS + 5)}
    made = World().publish(ONE, {NIC: many}).publish(TWO, {NIC: {}}).profile(P, {NIC: dict.fromkeys(many, True)})
    profile, release = made.profile_named(P), made.release(TWO)
    assert profile
    assert release
    ((cell,),) = [row.cells for row in matrix([profile], [release], made.lookups())]
    assert (len(cell.problems), cell.problem_count) == (MAX_PROBLEMS, MAX_PROBLEMS + 5)


def test_the_impact_of_retiring_a_release() -> None:
    made = world().publish(THREE, {NIC: {"queues": QUEUES}})
    hosts = [
        Destination("alone", (ONE,)),
        Destination("both", (ONE, THREE)),
        Destination("small", (THREE, ONE), {NIC: {"queues": ["1-2"]}}),
        Destination("elsewhere", (TWO,)),
        Destination("others-first", ("vendor-c.com/clone@1", ONE)),
        Destination("newer", (THREE, "vendor-a.com/fw@4", ONE)),
    ]
    made.publish("vendor-c.com/clone@1", {NIC: {"queues": QUEUES}, GPU: {}}).publish("vendor-a.com/fw@4", {GPU: {}})
    release = made.release(ONE)
    assert release
    profiles = [profile for name in (P, LATER) if (profile := made.profile_named(name))]
    found = impact.of_release(release, State.RETIRED, profiles, hosts, made.lookups())
    assert found.profiles == (LATER, P)
    assert found.releases == (ONE,)
    assert found.listed == ((LATER, ONE), (P, ONE))
    # At `both` the GPU has nowhere to go but ONE, and so at `small`; at the others another release takes all.
    assert found.hosts == ("alone", "both", "small")
    assert impact.of_release(release, State.DEPRECATED, profiles, hosts, made.lookups()) == impact.Impact()


def test_the_impact_on_devices_without_a_profile() -> None:
    made = World().publish(ONE, {NIC: {"queues": QUEUES}}).publish(TWO, {NIC: {"queues": QUEUES}})
    release = made.release(ONE)
    assert release
    hosts = [Destination("alone", (ONE,)), Destination("both", (ONE, TWO))]
    found = impact.of_release(release, State.RETIRED, [], hosts, made.lookups())
    assert (found.releases, found.hosts, found.profiles, found.listed) == ((ONE,), ("alone",), (), ())


def test_the_impact_where_another_release_of_the_host_allows_less() -> None:
    fewer = {NIC: {"q": variable("int", 1, 1, ["1-4"])}}
    more = {NIC: {"q": variable("int", 1, 1, ["1-8"])}}
    made = World().publish("vendor-a.com/fw@1", fewer).publish("vendor-a.com/fw@2", more)
    hosts = [Destination("both", ("vendor-a.com/fw@1", "vendor-a.com/fw@2"))]
    flipped = {}
    for name in hosts[0].releases:
        release = made.release(name)
        assert release
        flipped[name] = impact.of_release(release, State.RETIRED, [], hosts, made.lookups()).hosts
    assert flipped == {"vendor-a.com/fw@1": (), "vendor-a.com/fw@2": ("both",)}


def test_the_impact_where_only_this_release_lists_a_profile_that_it_does_not_accept_by_itself() -> None:
    """A device with the profile may still go there: it has a value for what has no off value."""
    nic = {NIC: {"q": QUEUES, "x": variable("int", 3)}}
    made = World().publish(ONE, nic, profiles=[P]).publish(TWO, nic, profiles=[]).profile(P, {NIC: {"q": 8}})
    release, profile = made.release(ONE), made.profile_named(P)
    assert release
    assert profile
    both = Destination("both", (ONE, TWO))
    going = Device(id="nic", model=NIC, release=ONE, profile=P, values={"x": 3})
    assert made.answer([going], both, Policy.STRICT).compatible
    assert impact.of_release(release, State.RETIRED, [profile], [both], made.lookups()).hosts == ("both",)


def test_nothing_could_ever_go_where_nothing_can_be_migrated() -> None:
    made = World().publish(ONE, {NIC: {"variables": {"q": QUEUES}, "migratable": False}})
    release = made.release(ONE)
    assert release
    assert impact.of_release(release, State.RETIRED, [], [Destination("h", (ONE,))], made.lookups()).hosts == ()


def test_the_impact_of_retiring_a_profile() -> None:
    made = world()
    profile = made.profile_named(P)
    assert profile
    releases = [each for name in (ONE, TWO) if (each := made.release(name))]
    hosts = [
        Destination("one", (ONE,)),
        Destination("two", (TWO,)),
        Destination("narrow", (TWO,), {NIC: {"queues": ["1-2"]}}),
    ]
    found = impact.of_profile(profile, State.RETIRED, releases, hosts, made.lookups())
    assert (found.profiles, found.releases, found.hosts, found.listed) == ((P,), (ONE,), ("one",), ((P, ONE),))
    assert impact.of_profile(profile, State.PUBLISHED, releases, hosts, made.lookups()) == impact.Impact()


def test_reasons_are_summed_up_over_hosts_and_devices() -> None:
    made = world()
    devices = [device(ONE, queues=8), device(ONE, queues=2)]
    question = made.question(devices, Policy.PERMISSIVE)
    hosts = [Destination(f"h{number}", (TWO if number % 3 else ONE,)) for number in range(9)]
    found = summed_up((host.id, question.at(host)) for host in hosts)
    assert found.possible == ("h0", "h3", "h6")
    (reason,) = found.reasons
    assert (reason.code.value, reason.variable, reason.releases) == ("value-not-allowed", "queues", (TWO,))
    assert reason.destinations == ("h1", "h2", "h4", "h5", "h7", "h8")
    assert reason.message == f"the source has queues=8, but {TWO} allows 1-4"


def test_states_in_a_verdict() -> None:
    made = World().publish(ONE, {NIC: {"queues": QUEUES}}, state=State.RETIRED)
    made.publish(TWO, {NIC: {"queues": QUEUES}}, state=State.DEPRECATED).publish(THREE, {NIC: {"queues": QUEUES}})
    made.profile(P, {NIC: {}}, State.DEPRECATED)
    leaving = made.ask(device(ONE), THREE)
    assert leaving.compatible
    assert [each.code.value for each in leaving.warnings] == ["release-retired"]
    old = made.ask(device(THREE, P), TWO)
    assert old.compatible
    assert [each.code.value for each in old.warnings] == ["release-deprecated", "profile-deprecated"]
    # A host goes on with what it has beside a retired release.
    assert made.ask(device(THREE), ONE, THREE).compatible
