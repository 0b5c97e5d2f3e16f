"""Remedies: changes of a running device that make a destination compatible."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.verdict.destination import Destination
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.counts import full
from tests.domain.test_laws import RELEASES, devices, worlds
from tests.domain.world import NIC, World, device, variable

OLD, NEW, THREE = (f"vendor-a.com/fw@{version}" for version in (1, 2, 3))
P = "vendor-a.com/p"
SAME = variable("int", 1, 1)
LIVE: dict[str, Any] = {"runtime": True}


def changes(world: World, asked: Device, *there: str, **more: Any) -> list[tuple[str, Any, Any]]:
    """Return the remedies as (variable, from, to)."""
    remedies = world.ask(asked, *there, **more).remedies
    return [(remedy.variable, remedy.before, remedy.after) for remedy in remedies]


def test_a_value_that_is_not_allowed_is_changed_to_the_off_value_or_the_nearest() -> None:
    queues = variable("int", 8, 1, ["1-16"], **LIVE)
    world = World().publish(OLD, {NIC: {"queues": queues}})
    world.publish(NEW, {NIC: {"queues": {**queues, "allowed_values": [1, "3-6", 8]}}})
    assert changes(world, device(OLD, queues=12), NEW) == [("queues", 12, 1)]
    no_off = variable("int", 8, None, ["1-16"], **LIVE)
    other = World().publish(OLD, {NIC: {"queues": no_off}})
    other.publish(NEW, {NIC: {"queues": {**no_off, "allowed_values": ["1-6", 8, 16]}}})
    assert changes(other, device(OLD, queues=12), NEW) == [("queues", 12, 8)]
    assert changes(other, device(OLD, queues=8), NEW) == []


def test_a_variable_that_the_destination_lacks_is_switched_off() -> None:
    world = World().publish(OLD, {NIC: {"new": variable("bool", True, False, **LIVE)}}).publish(NEW, {NIC: {"c": SAME}})
    assert changes(world, device(OLD), NEW) == [("new", True, False)]
    fixed = World().publish(OLD, {NIC: {"new": variable("bool", True, False)}}).publish(NEW, {NIC: {"c": SAME}})
    assert changes(fixed, device(OLD), NEW) == []


def test_a_remedy_meets_the_constraints_of_both_sides() -> None:
    stated = {
        "feature": variable("bool", True, False, **LIVE),
        "queues": variable("int", 4, 1, ["1-8"], **LIVE),
    }
    rule = {"when": {"feature": [True]}, "require": {"queues": ["3-8"]}}
    source = {"variables": stated, "constraints": [rule]}
    small = {"variables": {**stated, "queues": variable("int", 2, 1, ["1-2"], **LIVE)}}
    world = World().publish(OLD, {NIC: source}).publish(NEW, {NIC: small})
    # Reducing only the queues would break the constraint of the source.
    assert changes(world, device(OLD), NEW) == [("feature", True, False), ("queues", 4, 1)]


def test_a_remedy_leaves_a_configuration_that_blocks_migration() -> None:
    stated = {"invtsc": variable("bool", True, False, **LIVE)}
    blocked = {"variables": stated, "blocks_migration": [{"when": {"invtsc": [True]}}]}
    world = World().publish(OLD, {NIC: blocked})
    assert changes(world, device(OLD), OLD) == [("invtsc", True, False)]


@pytest.mark.parametrize("policy", list(Policy))
def test_a_problem_that_no_value_solves_has_no_remedy(policy: Policy) -> None:
    queues = variable("int", 8, 1, ["1-16"], **LIVE)
    world = World().publish(OLD, {NIC: {"queues": queues}}, profiles=[P]).profile(P, {NIC: {"queues": 8}})
    world.publish(NEW, {NIC: {"queues": {**queues, "init_value": 4, "allowed_values": ["1-4"]}}}, profiles=[])
    expected = [("queues", 8, 1)] if policy is Policy.PERMISSIVE else []
    assert changes(world, device(OLD, P), NEW, policy=policy) == expected
    assert changes(world, device(OLD, queues=99), NEW) == []
    assert changes(world, device(OLD, P), "vendor-a.com/none@1") == []


def test_a_host_with_several_releases_needs_the_fewest_changes_for_one_of_them() -> None:
    a, b = variable("bool", True, False, **LIVE), variable("bool", True, False, **LIVE)
    world = (
        World().publish(OLD, {NIC: {"a": a, "b": b}}).publish(NEW, {NIC: {"c": SAME}}).publish(THREE, {NIC: {"b": b}})
    )
    assert changes(world, device(OLD), NEW, THREE) == [("a", True, False)]
    assert changes(world, device(OLD), NEW) == [("a", True, False), ("b", True, False)]


def test_remedies_are_omitted_if_they_are_not_requested() -> None:
    world = World().publish(OLD, {NIC: {"a": variable("bool", True, False, **LIVE)}}).publish(NEW, {NIC: {}})
    question = world.question([device(OLD)], Policy.PERMISSIVE, with_remedies=False)
    assert question.at(Destination("there", (NEW,))).devices[0].verdict.remedies == ()


# For a variable that allows any int, also try values that no document names: -1 is as near to 0 as 1, and smaller.
_TRIED: dict[str, list[Any]] = {"a": list(range(-5, 10)), "b": [False, True]}


def _live(document: Any) -> Any:
    return {
        **document,
        "variables": {name: {**variable, "runtime": name in "ab"} for name, variable in document["variables"].items()},
    }


@settings(max_examples=full(400, short=100))
@given(worlds(change=_live), devices(), st.sampled_from(RELEASES), st.sampled_from(RELEASES))
def test_a_brute_force_search_finds_no_smaller_remedy(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], asked: Device, source: str, there: str
) -> None:
    world, releases = published
    on_source = Device(id="nic", model=NIC, release=source, profile=asked.profile, values=asked.values)
    verdict = world.ask(on_source, there)
    config = world.ask(on_source, source).configuration
    own, model = world.release(source), world.model(NIC)
    if config is None or own is None or model is None or verdict.compatible or there not in dict(releases):
        return
    off = model.off_values(*(name.partition("/")[0] for name in (source, there)))
    variables = own.sets[NIC].variables
    names = [name for name in "ab" if name in config and name in variables and not variables[name].is_backend]
    candidates = []
    for values in product(*(_TRIED[name] for name in names)):
        changed = {name: value for name, value in zip(names, values, strict=True) if value != config[name]}
        again = Device(id="nic", model=NIC, release=source, profile=asked.profile, values={**asked.values, **changed})
        if world.ask(again, there).compatible:
            rank = [
                (value != off.get(name), abs(value - config[name]), value) for name, value in sorted(changed.items())
            ]
            candidates.append(((len(changed), sorted(changed), rank), changed))
    best = min(candidates, key=lambda entry: entry[0], default=(None, {}))[1]
    assert {remedy.variable: remedy.after for remedy in verdict.remedies} == best
