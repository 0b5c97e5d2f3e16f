"""The baseline: settings with which a new VM can move anywhere in a fleet."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.fleet.baseline import MAX_TRIES, Baseline, baseline
from app.domain.things.variable_set import VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Device
from tests.domain.test_laws import RELEASES, worlds
from tests.domain.world import NIC, World, variable

GFX = "vendor-a.com/gfx"
GFX_4, GFX_8, GFX_VAR = (f"{GFX}/gfx-{size}@1" for size in ("4GB", "8GB", "varGB"))


# A set without variables of which something can be compared.
STATED: dict[str, Any] = {"variables": {}, "saved_state": {"writes": 1, "reads": [1]}}


def gfx() -> World:
    """Return one model with three products: two with a fixed memory, one with a choice of four."""
    world = World()
    for release, memory in ((GFX_4, 4), (GFX_8, 8)):
        fixed = {"type": "int", "init_value": memory, "settable": False}
        world.publish(release, {GFX: {"memory-gb": fixed}})
    choosable = variable("int", 2, allowed=[1, 2, 4, 8])
    return world.publish(GFX_VAR, {GFX: {"memory-gb": choosable}})


def ask(world: World, *members: str | Destination, model: str = NIC) -> Baseline:
    """Return the baseline over releases and hosts."""
    destinations = [member if isinstance(member, Destination) else Destination(member, (member,)) for member in members]
    return baseline(model, destinations, world.lookups(), world.profiles_for(model))


def problems(result: Baseline) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Return the problems of a baseline."""
    return [(problem.code.value, problem.variable, problem.members) for problem in result.problems]


@pytest.mark.parametrize(
    ("members", "memory"),
    [
        ([GFX_4], 4),
        ([GFX_VAR], 2),
        ([GFX_4, GFX_VAR], 4),
        ([GFX_VAR, GFX_8], 8),
    ],
)
def test_the_worked_case_of_a_memory_that_all_allow(members: list[str], memory: int) -> None:
    result = ask(gfx(), *members, model=GFX)
    assert result.values == {"memory-gb": memory}
    assert not result.problems


def test_the_worked_case_of_two_memories_that_collide() -> None:
    result = ask(gfx(), GFX_VAR, GFX_4, GFX_8, model=GFX)
    assert result.values is None
    assert problems(result) == [("no-common-value", "memory-gb", (GFX_4, GFX_8))]
    assert result.problems[0].message == (
        "No value of memory-gb is allowed everywhere: vendor-a.com/gfx/gfx-4GB@1 allows 4; "
        "vendor-a.com/gfx/gfx-8GB@1 allows 8."
    )


ONE, TWO, THREE = (f"vendor-a.com/fw@{version}" for version in (1, 2, 3))


def test_init_values_come_first_in_the_order_asked_then_the_off_value_then_the_nearest() -> None:
    world = (
        World()
        .publish(ONE, {NIC: {"queues": variable("int", 4, 1, [1, "3-8"])}})
        .publish(TWO, {NIC: {"queues": variable("int", 8, 1, [1, "3-16"])}})
        .publish(THREE, {NIC: {"queues": variable("int", 12, allowed=["2-3", "6-20"])}})
    )
    assert ask(world, ONE, TWO).values == {"queues": 4}
    assert ask(world, TWO, ONE).values == {"queues": 8}
    assert ask(world, ONE, THREE).values == {"queues": 3}
    assert ask(world, THREE, ONE).values == {"queues": 8}
    off = world.publish("vendor-a.com/fw@4", {NIC: {"queues": variable("int", 1, 1, [1, 20])}})
    assert ask(off, ONE, "vendor-a.com/fw@4").values == {"queues": 1}


def test_a_release_without_the_variable_accepts_its_off_value_alone() -> None:
    new = variable("bool", True, False)
    world = World().publish(ONE, {NIC: STATED}).publish(TWO, {NIC: {"new": new, "queues": variable("int", 4)}})
    world.publish(THREE, {NIC: {"new": new}})
    assert ask(world, TWO, THREE).values is None
    assert ask(world, ONE, THREE).values == {"new": False}
    (collision,) = ask(world, ONE, TWO).problems
    assert collision.message == (
        f"No value of queues is allowed everywhere: {ONE} does not know it, and no off_value counts for all; "
        f"{TWO} allows any int."
    )


def constrained(**more: Any) -> dict[str, Any]:
    """Return a set whose new feature needs at least three queues."""
    return {
        "variables": {"feature": variable("bool", True, False), "queues": variable("int", 4, 1, ["1-8"])},
        "constraints": [{"when": {"feature": [True]}, "require": {"queues": ["3-8"]}}],
        **more,
    }


def test_constraints_of_every_release_are_met_with_the_fewest_variables_off_their_first_choice() -> None:
    few = {"variables": {"feature": variable("bool", True, False), "queues": variable("int", 2, 1, ["1-8"])}}
    world = World().publish(ONE, {NIC: few}).publish(TWO, {NIC: constrained()})
    # Changing either would do; the variable whose name comes first is changed.
    assert ask(world, ONE, TWO).values == {"feature": False, "queues": 2}
    assert ask(world, TWO, ONE).values == {"feature": True, "queues": 4}


def test_settings_that_collide_are_reported_with_their_releases() -> None:
    needs = [{"when": {}, "require": {"queues": ["5-8"]}, "description": "wide bus"}]
    blocks = [{"when": {"queues": ["5-8"]}, "description": "the wide state cannot be saved"}]
    wide = {"variables": {"queues": variable("int", 6, 1, ["1-8"])}, "constraints": needs}
    narrow = {"variables": {"queues": variable("int", 4, 1, ["1-8"])}, "blocks_migration": blocks}
    world = World().publish(ONE, {NIC: wide}).publish(TWO, {NIC: narrow})
    world.publish(THREE, {NIC: {"queues": variable("int", 4, 1, ["1-8"])}})
    result = ask(world, ONE, THREE, TWO)
    assert problems(result) == [("no-assignment", None, (ONE, TWO))]
    assert result.problems[0].message.endswith("together (wide bus; the wide state cannot be saved).")
    assert result.domains["queues"].document() == ["1-8"]


def test_a_search_ends_at_its_limit_and_reports_it() -> None:
    names = [f"v{number:02}" for number in range(40)]
    variables = {name: variable("int", 0, allowed=["0-9"]) for name in names}
    pairs = [{"when": {one: [0]}, "require": {other: ["1-9"]}} for one, other in pairwise(names)]
    far = {name: variable("int", 1 + place % 2, allowed=["0-9"]) for place, name in enumerate(names)}
    world = World().publish(ONE, {NIC: {"variables": variables}})
    world.publish(TWO, {NIC: {"variables": far, "constraints": pairs}})
    result = ask(world, ONE, TWO)
    assert [problem.code.value for problem in result.problems] == ["baseline-undecided"]
    assert f"{MAX_TRIES:,}" in result.problems[0].message
    assert set(result.domains) == set(names)


def test_values_that_no_rule_distinguishes_are_tried_once() -> None:
    aligned = {"min": 4096, "max": 1 << 60, "step": 4096}
    rules = [
        {"when": {"on": [True]}, "require": {"size": [aligned]}},
        {"when": {}, "require": {"on": [True]}},
    ]

    def sized(init: int) -> dict[str, Any]:
        return {"size": variable("int", init, allowed=["0-18446744073709551615"]), "on": variable("bool", True)}

    world = World().publish(ONE, {NIC: sized(5000)})
    world.publish(TWO, {NIC: {"variables": sized(1 << 59), "constraints": rules}})
    assert ask(world, ONE, TWO).values == {"on": True, "size": 1 << 59}
    world.publish(THREE, {NIC: {"variables": sized(8192), "constraints": rules}})
    assert ask(world, ONE, THREE).values == {"on": True, "size": 8192}


def test_a_string_that_no_document_names_is_not_excluded() -> None:
    taken = {"variables": {"name": variable("str", "")}, "blocks_migration": [{"when": {"name": [""]}}]}
    assert problems(ask(World().publish(ONE, {NIC: taken}), ONE)) == [("baseline-undecided", None, ())]


def test_hosts_can_restrict_values_and_run_more_than_one_release() -> None:
    world = (
        World()
        .publish(ONE, {NIC: {"queues": variable("int", 4, 1, ["1-4"])}})
        .publish(TWO, {NIC: {"queues": variable("int", 8, 1, [1, "8-16"])}})
    )
    both = Destination("both", (ONE, TWO))
    small = Destination("small", (ONE,), {NIC: {"queues": ["1-2"]}})
    assert ask(world, both, TWO).values == {"queues": 8}
    assert ask(world, both, small).values == {"queues": 1}
    two = [Destination(name, (ONE,), {NIC: {"queues": [2]}}) for name in ("two", "two-too")]
    assert problems(ask(world, TWO, *two)) == [("no-common-value", "queues", (TWO, "two", "two-too"))]


def test_there_is_no_baseline_where_nothing_can_be_compared() -> None:
    opaque = {"mac": variable("str", "", scope="instance"), "fd": variable("int", 3, scope="backend")}
    world = (
        World()
        .publish(ONE, {NIC: opaque}, profiles=["vendor-a.com/p"])
        .publish(TWO, {NIC: {"a": variable("int", 4, 1)}})
    )
    world.publish(THREE, {NIC: {}}).profile("vendor-a.com/p", {NIC: {}})
    result = ask(world, ONE, THREE, TWO)
    assert (result.values, result.profiles) == (None, ())
    assert problems(result) == [("nothing-compared", None, (ONE, THREE))]
    assert result.problems[0].message == (
        f"No variable of {NIC} that is compared, and no saved state, is stated by {ONE}, {THREE}, so nothing says "
        "that devices are the same there."
    )
    # A list that has a profile says that its devices are the same; another release of the host can be compared.
    assert ask(world, ONE).profiles == ("vendor-a.com/p",)
    assert ask(world, Destination("h", (ONE, TWO))).values == {"a": 4}


def test_a_host_is_served_by_the_implementation_that_a_verdict_chooses() -> None:
    first, later, own = "vendor-c.com/i@2", "vendor-c.com/i@3", ONE
    world = World().publish(own, {NIC: {"a": variable("int", 0)}})
    world.publish(first, {"vendor-c.com/gpu": {}}).publish(later, {NIC: STATED})
    host = Destination("h", (first, own, later))
    assert ask(world, host).values == {}
    assert world.ask(Device(id="x", model=NIC, complete=True), *host.releases).compatible


def test_a_variable_that_only_one_release_of_a_host_has_needs_no_off_value() -> None:
    world = World().publish(ONE, {NIC: STATED}).publish(TWO, {NIC: {"a": variable("int", 4)}})
    assert ask(world, Destination("h", (TWO, ONE)), ONE).values == {}
    assert ask(world, Destination("h", (TWO, ONE)), TWO).values == {"a": 4}


def test_only_members_that_collide_with_each_other_are_named() -> None:
    one, two, other = "vendor-b.com/i@1", "vendor-b.com/i@2", "vendor-c.com/i@1"
    world = World().publish(ONE, {NIC: {}}).publish(one, {NIC: {"a": variable("int", 3, 3)}})
    world.publish(two, {NIC: STATED}).publish(other, {NIC: {"a": variable("int", 4)}})
    assert ask(world, one, two).values == {"a": 3}
    assert problems(ask(world, one, two, other)) == [("no-common-value", "a", (two, other))]


def test_a_host_with_several_releases_accepts_what_one_of_them_accepts_whole() -> None:
    world = (
        World()
        .publish(ONE, {NIC: {"a": variable("bool", True), "b": variable("bool", False, allowed=[False])}})
        .publish(TWO, {NIC: {"a": variable("bool", False, allowed=[False]), "b": variable("bool", True)}})
        .publish(THREE, {NIC: {"a": variable("bool", True), "b": variable("bool", True)}})
    )
    # THREE alone would have both on, which no release of the host allows.
    assert ask(world, THREE, Destination("both", (ONE, TWO))).values == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ("vendor-a.com/fw@9", "unknown-release"),
        (Destination("h", (), problem=Problem(ProblemCode.UNKNOWN_HOST, "No host h is registered.")), "unknown-host"),
        ("vendor-a.com/other@1", "model-not-supported"),
        ("vendor-a.com/fixed@1", "not-migratable"),
        ("vendor-a.com/old@1", "release-retired"),
    ],
)
def test_a_member_that_cannot_take_part_is_reported(member: str | Destination, code: str) -> None:
    queues = {"queues": variable("int", 4, 1, ["1-8"])}
    world = World().publish(ONE, {NIC: queues}).publish("vendor-a.com/other@1", {"vendor-a.com/gpu": {}})
    world.publish("vendor-a.com/fixed@1", {NIC: {"variables": queues, "migratable": False}})
    world.publish("vendor-a.com/old@1", {NIC: queues}, state=State.RETIRED)
    result = ask(world, ONE, member)
    assert result.values is None
    assert problems(result) == [(code, None, (member if isinstance(member, str) else member.id,))]


def test_an_unknown_model_is_reported() -> None:
    assert problems(ask(World(), ONE, model="vendor-a.com/none")) == [("unknown-model", None, ())]


def test_a_baseline_lists_the_profiles_that_all_members_accept() -> None:
    queues = variable("int", 4, 1, ["1-8"])
    world = (
        World()
        .publish(ONE, {NIC: {"queues": queues}})
        .publish(TWO, {NIC: {"queues": {**queues, "allowed_values": ["1-4"]}}})
    )
    world.profile("vendor-a.com/p1", {NIC: {"queues": 4}}).profile("vendor-a.com/p2", {NIC: {"queues": 8}})
    world.profile("vendor-a.com/p3", {NIC: {"queues": 2}}).profile("vendor-a.com/p4", {NIC: {}}, State.RETIRED)
    assert ask(world, ONE, TWO).profiles == ("vendor-a.com/p3", "vendor-a.com/p1")


POOLS: dict[str, list[Any]] = {"int": list(range(-1, 6)), "bool": [False, True], "str": ["", "x", "y"]}


def _choices(sets: Sequence[VariableSet], off: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the values of each compared variable that all sets allow, in order of preference."""
    choices = {}
    for name in sorted({name for variable_set in sets for name in variable_set.variables}):
        variables = [variable_set.variables[name] for variable_set in sets if name in variable_set.variables]
        if {variable.scope.value for variable in variables} in ({"backend"}, {"instance"}):
            continue
        near = variables[0].init_value
        pool = sorted(POOLS[variables[0].type.value], key=lambda value, near=near: _distance(value, near))  # type: ignore[misc]
        ranked = [*(variable.init_value for variable in variables), *([off[name]] if name in off else []), *pool]
        allowed = [
            variable_set.variables[name].allowed if name in variable_set.variables else _only(off, name)
            for variable_set in sets
        ]
        common = [value for value in ranked if all(value in values for values in allowed)]
        choices[name] = list({(type(value), value): value for value in common}.values())
    return choices


def _distance(value: Any, near: Any) -> tuple[int, Any]:
    return (abs(value - near) if isinstance(near, int) else 0, value)


def _only(off: Mapping[str, Any], name: str) -> Any:
    return AllowedValues.only(off[name]) if name in off else ()


def _best_by_brute_force(world: World, members: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the best assignment; judge every assignment."""
    model = world.model(NIC)
    assert model is not None
    releases = [release for name in members if (release := world.release(name)) is not None]
    off = model.off_values(*(release.name.vendor for release in releases))
    choices = _choices([release.sets[NIC] for release in releases], off)
    ranked = []
    for places in product(*(range(len(values)) for values in choices.values())):
        values = {name: choices[name][place] for name, place in zip(choices, places, strict=True)}
        changed = [name for name, place in zip(choices, places, strict=True) if place]
        ranked.append(((len(changed), changed, places), values))
    for _, values in sorted(ranked, key=lambda entry: entry[0]):
        asked = Device(id="nic", model=NIC, values=values, complete=True)
        if all(world.ask(asked, name).compatible for name in members):
            return values
    return None


@given(worlds(), st.permutations(RELEASES), st.integers(1, 3))
def test_a_brute_force_search_finds_no_better_baseline(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], order: list[str], size: int
) -> None:
    world, releases = published
    members = [name for name in order[:size] if name in dict(releases)]
    assume(members)
    result = ask(world, *members)
    assume("baseline-undecided" not in {problem.code.value for problem in result.problems})
    expected = _best_by_brute_force(world, members)
    assert result.values == expected, (members, result)
    if result.values is not None:
        asked = Device(id="nic", model=NIC, values=result.values, complete=True)
        assert all(world.ask(asked, name).compatible for name in members)
