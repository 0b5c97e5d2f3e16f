"""Kinds of hosts, what can move between them, and the problems that follow from others."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine.question import Engine
from app.domain.fleet.group import groups_of
from app.domain.fleet.kind import HostKind, SetsAtHosts, digest_of
from app.domain.fleet.leading import Leading
from app.domain.fleet.movement import FleetMap, newest_listed
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import ProblemCode
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, device, variable

ONE, TWO, CARD = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "acme.com/dpu@1"
GPU, DPU = "vendor-a.com/gpu", "acme.com/net"
OLD, NEW = "vendor-a.com/old", "vendor-a.com/new"
QUEUES = variable("int", 4, 1, ["1-8"])


def world() -> World:
    """Return a world with two releases, the second with a new variable, and a card."""
    return (
        World()
        .publish(ONE, {NIC: {"queues": QUEUES}, GPU: {"variables": {}, "migratable": False}}, profiles=[OLD])
        .publish(TWO, {NIC: {"queues": QUEUES, "fast": variable("bool", False, False)}}, profiles=[OLD, NEW])
        .publish(CARD, {DPU: {"rings": QUEUES}})
        .profile(OLD, {NIC: {"queues": 8}, GPU: {}})
        .profile(NEW, {NIC: {"queues": 8, "fast": True}})
    )


def kinds_of(hosts: list[Destination]) -> list[HostKind]:
    """Return the kinds of hosts, in the order of their first hosts."""
    return [HostKind(group.digest or "", group.first) for group in groups_of(enumerate(hosts))]


def host(name: str, *releases: str, **more: object) -> Destination:
    """Return a registered host."""
    return Destination(name, releases, **more)  # type: ignore[arg-type]


def fleet_map(registry: World, kinds: list[HostKind], models: set[str] | None = None) -> FleetMap:
    """Return the map of a fleet whose devices are made with the newest listed profile."""
    lookups = registry.lookups()
    profile_of = newest_listed([NEW, OLD], {OLD: frozenset({NIC, GPU}), NEW: frozenset({NIC})})
    return FleetMap(kinds, lookups, Engine(lookups), profile_of, models)


def test_the_ids_of_units_and_their_room_make_no_kind() -> None:
    hosts = [
        host("a", ONE, units=(Unit("card0", (CARD,), available=3),)),
        host("b", ONE, units=(Unit("card7", (CARD,)),)),
        host("c", ONE),
        host("d", TWO),
        host("e", TWO, restrict={NIC: {"queues": [4]}}),
    ]
    groups = groups_of(enumerate(hosts))
    assert [[entry.name for entry in group.explicit] for group in groups] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert digest_of(hosts[0]) == digest_of(hosts[1])
    assert len({digest_of(one) for one in hosts}) == 4


def test_the_order_of_releases_is_part_of_a_kind() -> None:
    assert digest_of(host("a", ONE, TWO)) != digest_of(host("a", TWO, ONE))


def test_equal_units_of_a_kind_are_named_once() -> None:
    units = (Unit("card0", (CARD,)), Unit("card1", (CARD,)), Unit("card2", (CARD,), {DPU: {"rings": [2]}}))
    (kind,) = kinds_of([host("a", ONE, units=units)])
    assert [(unit and unit.id, name) for unit, name in kind.releases()] == [
        (None, ONE),
        ("card0", CARD),
        ("card2", CARD),
    ]


def test_a_release_at_a_host_allows_what_the_host_and_the_unit_allow() -> None:
    release = world().release(CARD)
    assert release is not None
    unit = Unit("card0", (CARD,), {DPU: {"rings": ["1-2"]}})
    at = host("a", CARD, restrict={DPU: {"rings": ["2-8"]}}, units=(unit,))
    sets = SetsAtHosts()
    narrowed = sets.release_at(at, unit, release, [DPU]).sets[DPU].variables["rings"].allowed
    assert [value for value in range(9) if value in narrowed] == [2]
    assert sets.release_at(host("b", CARD), None, release, [DPU]) is release
    assert sets.release_at(at, unit, release, [NIC]) is release
    alike = host("c", CARD, restrict={DPU: {"rings": ["2-8"]}}, units=(unit._replace(id="card1"),))
    assert sets.release_at(alike, alike.units[0], release, [DPU]).sets[DPU].variables["rings"].allowed is narrowed


def test_a_map_counts_what_can_move_and_names_what_cannot_move_at_all() -> None:
    kinds = kinds_of([host("a", ONE), host("b", TWO), host("c", TWO, restrict={NIC: {"queues": ["1-4"]}})])
    judged = fleet_map(world(), kinds)
    by_host = {kind.first.id: kind for kind in kinds}
    order = [kind.first.id for kind in kinds]
    from_a = dict(zip(order, judged.row(by_host["a"]), strict=True))
    from_b = dict(zip(order, judged.row(by_host["b"]), strict=True))
    # The GPU of release 1 cannot be migrated, so that it is not counted.
    assert [device.model for device, _ in from_a["a"].stuck] == [GPU]
    assert (len(from_a["a"].accepted), from_a["a"].count) == (1, 1)
    assert (len(from_a["b"].accepted), from_a["b"].count) == (1, 1)
    # There the host allows fewer queues than the profile has.
    assert (len(from_a["c"].accepted), from_a["c"].count) == (0, 1)
    # The newest profile of release 2 has what release 1 does not know.
    ((device, answer),) = from_b["a"].refused
    assert device.profile == NEW
    assert [problem.code for problem in answer.devices[0].verdict.problems] == [
        ProblemCode.VARIABLE_NOT_SUPPORTED,
        ProblemCode.PROFILE_NOT_LISTED,
    ]


def test_a_map_of_some_models_makes_devices_of_these_alone() -> None:
    kinds = kinds_of([host("a", ONE, units=(Unit("card0", (CARD,)),))])
    (movement,) = fleet_map(world(), kinds, {DPU}).row(kinds[0])
    assert [(device.model, device.profile) for device, _ in movement.accepted] == [(DPU, None)]


_LIMITS = st.sampled_from([{}, {NIC: {"queues": ["1-8"]}}, {NIC: {"queues": [8]}}, {NIC: {"queues": [1, 2]}}])
_HOSTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([ONE, TWO, "vendor-a.com/fw@9"]), min_size=1, max_size=2, unique=True),
        _LIMITS,
        st.lists(st.sampled_from([{}, {DPU: {"rings": [4]}}, {DPU: {"rings": [1]}}]), max_size=2),
    ),
    min_size=1,
    max_size=4,
)


@given(_HOSTS)
def test_each_cell_of_a_map_is_the_plain_verdict(stated: list[tuple[list[str], object, list[object]]]) -> None:
    registry = world()
    hosts = [
        host(
            f"h{number}",
            *releases,
            restrict=restrict,
            units=tuple(Unit(f"u{place}", (CARD,), limits) for place, limits in enumerate(units)),  # type: ignore[arg-type]
        )
        for number, (releases, restrict, units) in enumerate(stated)
    ]
    kinds = kinds_of(hosts)
    judged = fleet_map(registry, kinds)
    for source in kinds:
        for to, movement in zip(kinds, judged.row(source), strict=True):
            for moving, answer in [*movement.accepted, *movement.refused]:
                plain = registry.answer([moving], to.first, Policy.STRICT)
                assert answer.compatible == plain.compatible
            assert {device.id for device, _ in movement.stuck}.isdisjoint(
                device.id for device, _ in [*movement.accepted, *movement.refused]
            )


def left(registry: World, source: Device, destination: Destination) -> list[tuple[str, str | None]]:
    """Return what is left of the problems of a strict verdict."""
    answer = registry.answer([source], destination, Policy.STRICT)
    shown = Leading(registry.lookups()).problems(answer.devices[0])
    assert list(shown[:1]) == list(answer.devices[0].verdict.problems[:1])
    return [(problem.code.value, problem.variable) for problem in shown]


def test_a_release_that_refuses_a_profile_is_not_also_said_not_to_list_it() -> None:
    registry = world()
    assert left(registry, device(TWO, NEW), host("a", ONE)) == [("variable-not-supported", "fast")]
    # It accepts the profile, and refuses a value of the device alone: that it does not list the profile stays.
    registry.publish("vendor-a.com/fw@3", {NIC: {"queues": QUEUES}}, profiles=[])
    assert left(registry, device(ONE, OLD, queues=16), host("a", "vendor-a.com/fw@3")) == [
        ("source-value-invalid", "queues"),
        ("profile-not-listed", None),
    ]
    # The host refuses a value, the release does not.
    held = host("a", "vendor-a.com/fw@3", restrict={NIC: {"queues": ["1-2"]}})
    assert left(registry, device(ONE, OLD), held) == [("value-not-allowed", "queues"), ("profile-not-listed", None)]


def test_a_profile_that_is_not_listed_is_said_where_nothing_else_is() -> None:
    registry = world().publish("vendor-a.com/fw@3", {NIC: {"queues": QUEUES}}, profiles=[])
    assert left(registry, device(ONE, OLD), host("a", "vendor-a.com/fw@3")) == [("profile-not-listed", None)]


def test_a_release_that_migrates_a_model_neither_away_nor_here_is_named_once() -> None:
    registry = world().publish("vendor-a.com/fw@3", {GPU: {"variables": {}, "migratable": False}})
    gpu = replace(device(ONE, OLD), model=GPU)
    assert left(registry, gpu, host("a", ONE)).count(("not-migratable", None)) == 1
    # Two releases that do not are two facts.
    assert left(registry, gpu, host("a", "vendor-a.com/fw@3")).count(("not-migratable", None)) == 2


def test_units_of_one_kind_that_differ_are_judged_apart() -> None:
    kinds = list(
        kinds_of(
            [
                host("both", ONE, units=(Unit("u0", (CARD,)), Unit("u1", (CARD,), {DPU: {"rings": [4]}}))),
                host("few", ONE, units=(Unit("u0", (CARD,), {DPU: {"rings": [4]}}),)),
                host("none", TWO),
            ]
        )
    )
    judged = fleet_map(world(), kinds, {DPU})
    order = [kind.first.id for kind in kinds]
    row = dict(zip(order, judged.row(kinds[order.index("both")]), strict=True))
    assert [device.id for device, _ in row["both"].accepted] == [DPU, f"{DPU} of {CARD}, unit u1"]
    assert (len(row["none"].accepted), row["none"].count) == (0, 2)
