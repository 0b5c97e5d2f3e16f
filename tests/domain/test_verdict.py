"""Verdicts apart from their problems: sources, closed worlds, scopes, completion, hosts."""

from typing import Any

import pytest

from app.domain.things.release import Release
from app.domain.values.allowed import AllowedValues
from app.domain.values.value import Type
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import compare
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import ProblemCode, WarningCode
from app.domain.verdict.source import Device, Source
from app.domain.verdict.steps import admitted
from tests.domain.world import NIC, World, codes, device, variable

QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", True, False)
OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
P1 = "vendor-a.com/p1"


def world() -> World:
    return (
        World()
        .publish(OLD, {NIC: {"queues": QUEUES}}, profiles=[P1])
        .publish(NEW, {NIC: {"queues": QUEUES, "new": FLAG}}, profiles=[P1])
        .profile(P1, {NIC: {"queues": 8}})
    )


def test_without_a_profile_the_source_has_its_init_values() -> None:
    assert world().ask(device(NEW), NEW).configuration == {"queues": 4, "new": True}
    assert codes(world().ask(device(NEW), OLD)) == [("variable-not-supported", "new")]


def test_a_profile_is_a_closed_world() -> None:
    assert world().ask(device(NEW, P1), OLD).configuration == {"queues": 8}
    assert world().ask(device(OLD, P1), NEW).configuration == {"queues": 8, "new": False}


def test_explicit_values_count_before_the_profile() -> None:
    assert world().ask(device(OLD, P1, queues="0x2"), NEW).configuration == {"queues": 2, "new": False}
    assert world().ask(device(OLD, P1, queues=None), NEW).configuration == {"queues": 1, "new": False}


def test_without_a_release_the_profile_or_complete_values_are_the_source() -> None:
    assert world().ask(device(profile=P1), NEW).configuration == {"queues": 8, "new": False}
    assert world().ask(device(complete=True, new="on"), NEW).configuration == {"queues": 1, "new": True}
    assert world().ask(device(complete=True), OLD).configuration == {"queues": 1}


def test_without_a_release_a_variable_with_its_off_value_is_not_in_effect() -> None:
    off = world().profile(P1, {NIC: {"new": False}})
    for asked in (device(profile=P1), device(complete=True, new=False)):
        assert off.ask(asked, OLD).configuration == {"queues": 1}


def test_a_variable_whose_given_value_is_refused_is_left_out_of_the_completed_configuration() -> None:
    block = {"when": {"queues": [4]}}
    narrow = {"variables": {"queues": {**QUEUES, "allowed_values": ["1-4"]}}, "blocks_migration": [block]}
    refused = world().publish("vendor-a.com/fw@3", {NIC: narrow})
    # Not the init value 4, which the destination does not migrate, nor what the profile sets.
    assert codes(refused.ask(device(OLD, queues=8), "vendor-a.com/fw@3")) == [("value-not-allowed", "queues")]
    refused.profile(P1, {NIC: {"queues": 4}})
    for asked in (device(OLD, P1, queues=8), device(profile=P1, queues=8)):
        assert codes(refused.ask(asked, "vendor-a.com/fw@3")) == [("value-not-allowed", "queues")]


def test_under_a_profile_a_variable_without_off_value_keeps_its_init_value() -> None:
    speed = variable("int", 10, allowed=[10, 100])
    fast = World().publish(OLD, {NIC: {"speed": speed}}).publish(NEW, {NIC: {"speed": {**speed, "init_value": 100}}})
    fast.profile(P1, {NIC: {}})
    assert fast.ask(device(OLD, P1), NEW).configuration == {"speed": 10}
    assert codes(fast.ask(device(profile=P1), NEW)) == [("cannot-be-off", "speed")]


def test_a_listed_profile_says_that_a_device_of_which_nothing_is_stated_is_the_same() -> None:
    listed = World().publish(OLD, {NIC: {}}, profiles=[P1, "vendor-a.com/q"])
    listed.profile(P1, {NIC: {}}).profile("vendor-a.com/q", {"vendor-b.com/gpu": {}})
    assert listed.ask(device(OLD, P1), OLD).compatible
    of_another = listed.ask(device(OLD, "vendor-a.com/q"), OLD)
    assert codes(of_another) == [("profile-not-for-model", None), ("nothing-compared", None)]
    assert codes(listed.ask(device(OLD), OLD)) == [("nothing-compared", None)]
    without_list = World().publish(OLD, {NIC: {}}).profile(P1, {NIC: {}})
    assert codes(without_list.ask(device(OLD, P1), OLD)) == [("nothing-compared", None)]


def with_state(**variables: Any) -> dict[str, Any]:
    """Return a set with a saved state, so that something is compared whatever the variables are."""
    return {"variables": variables, "saved_state": {"writes": 1, "reads": [1]}}


def test_backend_variables_are_never_compared() -> None:
    netdev = variable("str", "none", allowed=["none", "tap"], scope="backend")
    hosts = (
        World()
        .publish(OLD, {NIC: {"netdev": netdev}})
        .publish(NEW, {NIC: with_state(netdev={**netdev, "allowed_values": ["none", "vhost"], "init_value": "vhost"})})
    )
    assert hosts.ask(device(OLD, netdev="tap"), NEW).configuration == {"netdev": "vhost"}
    assert hosts.ask(device(OLD, netdev="none"), NEW).configuration == {"netdev": "none"}
    lanes = hosts.publish("vendor-a.com/fw@4", {NIC: with_state(lanes=variable("int", 4, scope="backend"))})
    for asked in (device(OLD, lanes="0x2"), device(complete=True, lanes="0x2")):
        assert lanes.ask(asked, "vendor-a.com/fw@4").configuration == {"lanes": 2}
    bare = hosts.publish("vendor-a.com/fw@3", {NIC: with_state()})
    assert bare.ask(device(OLD, netdev="tap"), "vendor-a.com/fw@3").compatible
    # Where nothing is given the init value is taken, also where any string is allowed.
    free = hosts.publish("vendor-a.com/fw@5", {NIC: with_state(netdev=variable("str", "none", scope="backend"))})
    for asked in (device(OLD), device(complete=True), device(complete=True, netdev=None)):
        assert free.ask(asked, "vendor-a.com/fw@5").configuration == {"netdev": "none"}


def test_a_variable_that_only_one_side_calls_backend_is_compared() -> None:
    mode = variable("str", "a", allowed=["a", "b"])
    mixed = (
        World()
        .publish(OLD, {NIC: {"mode": {**mode, "scope": "backend"}}})
        .publish(NEW, {NIC: {"mode": {**mode, "allowed_values": ["a"]}}})
    )
    assert codes(mixed.ask(device(OLD, mode="b"), NEW)) == [("value-not-allowed", "mode")]
    assert mixed.ask(device(NEW, mode="a"), OLD).configuration == {"mode": "a"}


def test_instance_variables_are_checked_where_given_and_else_carried_over() -> None:
    mac = variable("str", "", scope="instance")
    cards = (
        World()
        .publish(OLD, {NIC: with_state(mac=mac)})
        .publish(NEW, {NIC: with_state(mac=mac, slot=variable("int", 0, scope="instance"))})
    )
    carried = cards.ask(device(OLD), NEW)
    assert (carried.configuration, carried.carry_over) == ({}, ("mac", "slot"))
    given = cards.ask(device(OLD, mac="52:54:00:12:34:56"), NEW)
    assert given.configuration == {"mac": "52:54:00:12:34:56"}
    assert (given.carry_over, given.unchecked) == (("slot",), ("mac",))
    # A given value is applied also if it is the off value.
    cards.publish("vendor-a.com/fw@4", {NIC: {"mac": mac, "vf": variable("int", 0, 0, scope="instance")}})
    for asked in (device("vendor-a.com/fw@4", vf=0), device(complete=True, vf=0)):
        off = cards.ask(asked, "vendor-a.com/fw@4")
        assert (off.configuration, off.carry_over) == ({"vf": 0}, ("mac",))
    assert codes(cards.publish("vendor-a.com/fw@3", {NIC: {}}).ask(device(OLD, mac="x"), "vendor-a.com/fw@3")) == [
        ("variable-not-supported", "mac"),
        ("nothing-compared", None),
    ]


def test_values_that_nothing_can_check_are_listed() -> None:
    msi = variable("str", "auto", "off", ["auto", "on", "off"], resolved_by_host=["auto"])
    hosts = World().publish(OLD, {NIC: {"msi": msi, "rom": variable("str", "efi.rom", "")}})
    assert hosts.ask(device(OLD), OLD).unchecked == ("msi", "rom")
    assert hosts.ask(device(OLD, msi="on", rom=""), OLD).unchecked == ("rom",)
    assert hosts.ask(device(OLD, msi="auto", rom="x"), OLD).unchecked == ("msi", "rom")
    # One side that decides is enough.
    hosts.publish(NEW, {NIC: {"msi": {**msi, "resolved_by_host": []}}})
    assert hosts.ask(device(OLD, msi="auto", rom=""), NEW).unchecked == ("msi",)
    assert hosts.ask(device(NEW, msi="auto"), OLD).unchecked == ("msi", "rom")
    assert hosts.ask(device(NEW, msi="auto"), NEW).unchecked == ()
    hosts.publish("vendor-a.com/fw@3", {NIC: {"netdev": variable("str", "", scope="backend")}})
    assert hosts.ask(device("vendor-a.com/fw@3", netdev="tap0"), "vendor-a.com/fw@3").unchecked == ()


def test_the_off_value_holds_for_sets_that_do_not_state_it() -> None:
    stated = World().publish(OLD, {NIC: {"queues": {**QUEUES, "off_value": 1}}})
    stated.publish(NEW, {NIC: {"queues": variable("int", 4, allowed=["1-8"])}}).profile(P1, {NIC: {}})
    assert stated.ask(device(profile=P1), NEW).configuration == {"queues": 1}


def test_an_off_value_can_be_added_later() -> None:
    gained = World().publish(OLD, {NIC: {}}).publish(NEW, {NIC: {"extra": variable("bool", True)}})
    assert codes(gained.ask(device(OLD), NEW)) == [("cannot-be-off", "extra")]
    gained.publish("vendor-a.com/fw@3", {NIC: {"extra": FLAG}})
    assert gained.ask(device(OLD), NEW).configuration == {"extra": False}


def test_an_off_value_of_another_vendor_counts_only_for_its_own_sets() -> None:
    mine, theirs, others = "vendor-a.com/fw@1", "vendor-b.com/clone@1", "vendor-c.com/clone@1"
    extra = variable("int", 1, 1, ["1-9"])
    clones = World().publish(mine, {NIC: with_state()}).publish(theirs, {NIC: {"extra": extra}})
    newer = "vendor-b.com/clone@2"
    clones.publish(newer, {NIC: with_state()})
    assert clones.ask(device(theirs), newer).configuration == {}
    # Only one side states the off value, so none is known for this pair.
    assert codes(clones.ask(device(theirs), mine)) == [("variable-not-supported", "extra")]
    assert codes(clones.ask(device(mine), theirs)) == [("cannot-be-off", "extra")]
    clones.publish(others, {NIC: {"extra": {**extra, "off_value": 2, "init_value": 2}}})
    # The vendor of the source defines the value on the source, whatever the destination is.
    assert clones.ask(device(theirs, extra=None), others).configuration == {"extra": 1}
    # The off value of the model's vendor counts for all.
    clones.publish("vendor-a.com/fw@2", {NIC: {"extra": {**extra, "off_value": 3, "init_value": 3}}})
    assert clones.ask(device(theirs, extra=None), others).configuration == {"extra": 3}


def test_an_unsettable_variable_has_to_have_its_fixed_value() -> None:
    fixed = (
        World()
        .publish(OLD, {NIC: {"queues": QUEUES}})
        .publish(NEW, {NIC: {"queues": variable("int", 4, settable=False)}})
    )
    assert fixed.ask(device(OLD), NEW).configuration == {"queues": 4}
    assert codes(fixed.ask(device(OLD, queues=2), NEW)) == [("value-not-allowed", "queues")]
    assert codes(fixed.ask(device(OLD, queues=1), NEW)) == [("cannot-be-off", "queues")]


def test_strict_warns_if_only_variables_were_compared() -> None:
    bare = world().publish("vendor-a.com/fw@3", {NIC: {"queues": QUEUES}})
    assert not world().ask(device(OLD, P1), NEW, policy=Policy.STRICT).warnings
    for asked, there in ((device(OLD), OLD), (device(OLD, P1), "vendor-a.com/fw@3")):
        strict = bare.ask(asked, there, policy=Policy.STRICT)
        assert [warning.code.value for warning in strict.warnings] == ["only-variables-compared"]
        assert not bare.ask(asked, there).warnings


def test_all_problems_are_collected() -> None:
    low = (
        World()
        .publish(NEW, {NIC: {"a": FLAG, "b": QUEUES, "c": QUEUES}})
        .publish(OLD, {NIC: {"b": variable("int", 1, 1, [1]), "d": variable("int", 1)}})
    )
    assert codes(low.ask(device(NEW), OLD)) == [
        ("variable-not-supported", "a"),
        ("variable-not-supported", "c"),
        ("value-not-allowed", "b"),
        ("cannot-be-off", "d"),
    ]


def test_problems_with_one_code_are_in_the_order_of_their_variables() -> None:
    changed = world().publish(
        "vendor-a.com/fw@3", {NIC: {"a": variable("int", 1), "queues": variable("int", 4, allowed=[4])}}
    )
    # Their messages would be in the opposite order.
    assert codes(changed.ask(device(OLD, queues=1), "vendor-a.com/fw@3")) == [
        ("cannot-be-off", "a"),
        ("cannot-be-off", "queues"),
    ]


def test_a_host_restricts_what_a_release_allows() -> None:
    narrow = {NIC: {"queues": ["1-2"]}}
    assert codes(world().ask(device(OLD), OLD, restrict=narrow)) == [("value-not-allowed", "queues")]
    assert world().ask(device(OLD, queues=2), OLD, restrict=narrow).compatible
    odd = world().ask(device(OLD), OLD, restrict={NIC: {"quues": [1]}})
    assert [warning.code.value for warning in odd.warnings] == ["restriction-without-effect"]


def test_the_first_release_of_an_implementation_that_accepts_all_devices_serves() -> None:
    pair = [device(NEW), Device(id="second", model=NIC, release=NEW, values={"new": False})]
    answer = world().answer(pair, Destination("host", (OLD, NEW)))
    assert [(result.release, result.verdict.compatible) for result in answer.devices] == [(NEW, True), (NEW, True)]
    assert world().answer(pair[1:], Destination("host", (OLD, NEW))).devices[0].release == OLD


def test_if_no_release_accepts_all_the_problems_of_the_first_are_reported() -> None:
    asked = [device(NEW, nonsense=1)]
    answer = world().answer(asked, Destination("host", (OLD, NEW)))
    assert answer.devices[0].release == OLD
    assert ("variable-not-supported", "new") in codes(answer.devices[0].verdict)


def test_a_device_belongs_to_the_first_implementation_that_has_its_model() -> None:
    gpu, clone = "vendor-b.com/gpu-fw@1", "vendor-b.com/clone@1"
    mixed = world().publish(gpu, {"vendor-b.com/gpu": with_state()}).publish(clone, {NIC: {"queues": QUEUES}})
    devices = [device(OLD), Device(id="gpu", model="vendor-b.com/gpu", release=gpu)]
    host = Destination("host", (gpu, OLD, clone))
    later = mixed.answer(devices, Destination("host", (gpu, "vendor-b.com/gpu-fw@2", OLD)))
    assert [result.release for result in later.devices] == [OLD, gpu]
    answer = mixed.answer(devices, host)
    assert [result.release for result in answer.devices] == [OLD, gpu]
    assert answer.compatible


def test_an_implementation_has_the_place_of_its_first_release() -> None:
    first, second = "vendor-b.com/multi@1", "vendor-b.com/multi@2"
    hosts = world().publish(first, {"vendor-b.com/gpu": {}}).publish(second, {NIC: {"queues": QUEUES}})
    answer = hosts.answer([device(OLD)], Destination("host", (first, OLD, second)))
    assert (answer.devices[0].release, answer.compatible) == (second, True)


def test_an_unknown_release_of_a_host_is_a_warning() -> None:
    taken = world().ask(device(OLD), "vendor-a.com/fw@9", OLD)
    assert taken.compatible
    assert [warning.code.value for warning in taken.warnings] == ["unknown-release"]


def test_a_set_without_the_variable_admits_the_off_value_alone_and_nothing_without_one() -> None:
    queues = release_named(OLD).sets[NIC].variables["queues"]
    assert admitted(queues, 1, Type.INT) == queues.allowed
    assert admitted(None, 1, Type.INT) == AllowedValues.only(1)
    nothing = admitted(None, None, Type.STR)
    assert (nothing.type, nothing.document()) == (Type.STR, [])


def release_named(name: str) -> Release:
    """Return a release of the world."""
    release = world().release(name)
    assert release is not None
    return release


def test_nothing_is_completed_where_the_source_or_the_destination_has_no_set() -> None:
    registry, there = world().lookups(), release_named(OLD).sets[NIC]
    unknown_model = Source.of(Device(id="x", model="vendor-a.com/no", release=OLD), registry)
    for source, variable_set in (
        (unknown_model, there),
        (Source.of(device("vendor-a.com/fw@9"), registry), there),
        (Source.of(device(OLD), registry), None),
    ):
        compared = compare(source, "vendor-a.com", variable_set, OLD)
        assert compared.problems
        assert (compared.completed, compared.carry_over, compared.unchecked) == ({}, (), ())


def test_what_either_sides_vendor_states_is_off_between_them() -> None:
    own, clone = "vendor-a.com/fw@3", "vendor-b.com/clone@1"
    extra = variable("int", 2, 1, ["1-9"])
    stated = World().publish(OLD, {NIC: {"queues": QUEUES}}).publish(clone, {NIC: {"queues": QUEUES, "extra": extra}})
    assert codes(stated.ask(device(clone, extra=1), OLD)) == [("variable-not-supported", "extra")]
    stated.publish(own, {NIC: {"queues": QUEUES, "extra": extra}})
    assert stated.ask(device(clone, extra=1), OLD).configuration == {"queues": 4}


@pytest.mark.parametrize("first", [0, 1])
def test_without_a_source_release_a_value_has_the_type_that_counts_at_the_destination(first: int) -> None:
    sets = [("vendor-b.com/clone@1", "int", 1), ("vendor-c.com/clone@1", "str", "1")]
    clones = World().publish(OLD, {NIC: {}})
    for release, of_type, init in (sets[first], sets[1 - first]):
        clones.publish(release, {NIC: {"theirs": variable(of_type, init)}})
    for release, _, value in sets:
        assert clones.ask(device(complete=True, theirs="1"), release).configuration == {"theirs": value}
        # With a source release, the type does not depend on the destination.
        assert _unknown_value(clones, release) == _unknown_value(clones, OLD)


def _unknown_value(clones: World, release: str) -> object:
    """Return the value that a release's problem states of a variable that the source release lacks."""
    problems = clones.ask(device(OLD, theirs="1"), release).problems
    return next(problem.value for problem in problems if problem.code is ProblemCode.UNKNOWN_VARIABLE)


def test_a_model_that_no_release_of_a_host_has_is_answered_for_the_first_release() -> None:
    mixed = world().publish("vendor-b.com/gpu-fw@1", {"vendor-b.com/gpu": {}})
    gpu = Device(id="gpu", model="vendor-b.com/gpu", release="vendor-b.com/gpu-fw@1")
    for releases in ((NEW, OLD), ("vendor-a.com/fw@9", OLD), (OLD,)):
        answer = mixed.answer([gpu], Destination("host", releases))
        assert answer.devices[0].release == releases[0]
        assert not answer.compatible


def test_a_block_is_told_once_for_both_ends_and_each_reason_once() -> None:
    def blocked(description: str) -> dict[str, Any]:
        return {
            "variables": {"peer": variable("bool", False, False)},
            "blocks_migration": [{"when": {"peer": [True]}, "description": description}],
        }

    world = World().publish(OLD, {NIC: blocked("DMA cannot be stopped")}).publish(NEW, {NIC: blocked("no code")})
    (same,) = world.ask(device(OLD, peer=True), OLD).problems
    assert same.message == (
        "The source release vendor-a.com/fw@1 does not migrate a device with peer=on (DMA cannot be stopped)."
    )
    assert (same.variable, same.value) == ("peer", True)
    assert len(world.ask(device(OLD, peer=True), NEW).problems) == 2


def test_explicit_values_can_block_a_device_of_which_nothing_else_is_known() -> None:
    blocks = [{"when": {"peer": [True]}}]
    document = {"variables": {"peer": variable("bool", False, False)}, "blocks_migration": blocks}
    world = World().publish(OLD, {NIC: document}).profile(P1, {"vendor-a.com/gpu": {}})
    found = codes(world.ask(device(OLD, P1, peer="on"), OLD))
    assert found == [("profile-not-for-model", None), ("not-migratable", "peer")]
    assert codes(world.ask(device(OLD, P1), OLD)) == [("profile-not-for-model", None)]


def test_what_nobody_asked_is_a_warning_and_unchecked() -> None:
    queues = {"queues": QUEUES}
    world = World().publish(OLD, {NIC: {"variables": queues, "migratable": "unknown"}}).publish(NEW, {NIC: queues})

    def told(source: str | None, destination: str) -> list[str]:
        verdict = world.ask(device(source, complete=source is None, queues=4), destination)
        assert verdict.compatible
        assert ("migratable" in verdict.unchecked) == bool(verdict.warnings)
        return [warning.message for warning in verdict.warnings if warning.code is WarningCode.MIGRATABILITY_UNKNOWN]

    unknown = "Nobody has stated whether vendor-a.com/fw@1 can migrate vendor-a.com/nic at all."
    assert told(OLD, NEW) == told(NEW, OLD) == told(OLD, OLD) == told(None, OLD) == [unknown]
    assert told(NEW, NEW) == []


def test_fixed_hardware_can_lack_its_off_value() -> None:
    fixed = {"capability": variable("bool", True, False, settable=False)}
    world = World().publish(OLD, {NIC: with_state()}).publish(NEW, {NIC: fixed})
    assert codes(world.ask(device(OLD), NEW)) == [("cannot-be-off", "capability")]
    assert codes(world.ask(device(NEW), OLD)) == [("variable-not-supported", "capability")]
    assert world.ask(device(NEW), NEW).configuration == {"capability": True}
