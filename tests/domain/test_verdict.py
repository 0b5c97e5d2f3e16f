"""What a verdict means where it is not a problem: sources, closed worlds, scopes, completion, hosts."""

from app.domain.question import Destination
from app.domain.source import Device
from app.domain.verdict import Policy
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


def test_under_a_profile_a_variable_without_off_value_keeps_its_init_value() -> None:
    speed = variable("int", 10, allowed=[10, 100])
    fast = World().publish(OLD, {NIC: {"speed": speed}}).publish(NEW, {NIC: {"speed": {**speed, "init_value": 100}}})
    fast.profile(P1, {NIC: {}})
    assert fast.ask(device(OLD, P1), NEW).configuration == {"speed": 10}
    assert codes(fast.ask(device(profile=P1), NEW)) == [("cannot-be-off", "speed")]


def test_backend_variables_are_never_compared() -> None:
    netdev = variable("str", "none", allowed=["none", "tap"], scope="backend")
    hosts = (
        World()
        .publish(OLD, {NIC: {"netdev": netdev}})
        .publish(NEW, {NIC: {"netdev": {**netdev, "allowed_values": ["none", "vhost"], "init_value": "vhost"}}})
    )
    assert hosts.ask(device(OLD, netdev="tap"), NEW).configuration == {"netdev": "vhost"}
    assert hosts.ask(device(OLD, netdev="none"), NEW).configuration == {"netdev": "none"}
    bare = hosts.publish("vendor-a.com/fw@3", {NIC: {}})
    assert bare.ask(device(OLD, netdev="tap"), "vendor-a.com/fw@3").compatible


def test_a_variable_that_only_one_side_calls_backend_is_compared() -> None:
    mode = variable("str", "a", allowed=["a", "b"])
    mixed = (
        World()
        .publish(OLD, {NIC: {"mode": {**mode, "scope": "backend"}}})
        .publish(NEW, {NIC: {"mode": {**mode, "allowed_values": ["a"]}}})
    )
    assert codes(mixed.ask(device(OLD, mode="b"), NEW)) == [("value-not-allowed", "mode")]


def test_instance_variables_are_checked_where_given_and_else_carried_over() -> None:
    mac = variable("str", "", scope="instance")
    cards = (
        World()
        .publish(OLD, {NIC: {"mac": mac}})
        .publish(NEW, {NIC: {"mac": mac, "slot": variable("int", 0, scope="instance")}})
    )
    carried = cards.ask(device(OLD), NEW)
    assert (carried.configuration, carried.carry_over) == ({}, ("mac", "slot"))
    given = cards.ask(device(OLD, mac="52:54:00:12:34:56"), NEW)
    assert given.configuration == {"mac": "52:54:00:12:34:56"}
    assert (given.carry_over, given.unchecked) == (("slot",), ("mac",))
    assert codes(cards.publish("vendor-a.com/fw@3", {NIC: {}}).ask(device(OLD, mac="x"), "vendor-a.com/fw@3")) == [
        ("variable-not-supported", "mac")
    ]


def test_what_nothing_can_check_is_said() -> None:
    msi = variable("str", "auto", "off", ["auto", "on", "off"], resolved_by_host=["auto"])
    hosts = World().publish(OLD, {NIC: {"msi": msi, "rom": variable("str", "efi.rom", "")}})
    assert hosts.ask(device(OLD), OLD).unchecked == ("msi", "rom")
    assert hosts.ask(device(OLD, msi="on", rom=""), OLD).unchecked == ("rom",)


def test_the_off_value_holds_for_sets_that_do_not_state_it() -> None:
    stated = World().publish(OLD, {NIC: {"queues": {**QUEUES, "off_value": 1}}})
    stated.publish(NEW, {NIC: {"queues": variable("int", 4, allowed=["1-8"])}}).profile(P1, {NIC: {}})
    assert stated.ask(device(profile=P1), NEW).configuration == {"queues": 1}


def test_an_off_value_may_be_gained() -> None:
    gained = World().publish(OLD, {NIC: {}}).publish(NEW, {NIC: {"extra": variable("bool", True)}})
    assert codes(gained.ask(device(OLD), NEW)) == [("cannot-be-off", "extra")]
    gained.publish("vendor-a.com/fw@3", {NIC: {"extra": FLAG}})
    assert gained.ask(device(OLD), NEW).configuration == {"extra": False}


def test_what_other_vendors_state_counts_for_their_own_sets_alone() -> None:
    mine, theirs, others = "vendor-a.com/fw@1", "vendor-b.com/clone@1", "vendor-c.com/clone@1"
    extra = variable("int", 1, 1, ["1-9"])
    clones = World().publish(mine, {NIC: {}}).publish(theirs, {NIC: {"extra": extra}})
    newer = "vendor-b.com/clone@2"
    clones.publish(newer, {NIC: {}})
    assert clones.ask(device(theirs), newer).configuration == {}
    # Of the two sides only one says what off is, so nothing is known to be off between them.
    assert codes(clones.ask(device(theirs), mine)) == [("variable-not-supported", "extra")]
    assert codes(clones.ask(device(mine), theirs)) == [("cannot-be-off", "extra")]
    clones.publish(others, {NIC: {"extra": {**extra, "off_value": 2, "init_value": 2}}})
    # What the device has on its source is as the source's vendor says, wherever it is asked to go.
    assert clones.ask(device(theirs, extra=None), others).configuration == {"extra": 1}
    # Once the model's own vendor states it, that counts for all.
    clones.publish("vendor-a.com/fw@2", {NIC: {"extra": {**extra, "off_value": 3, "init_value": 3}}})
    assert clones.ask(device(theirs, extra=None), others).configuration == {"extra": 3}


def test_an_unsettable_variable_must_be_what_it_is() -> None:
    fixed = (
        World()
        .publish(OLD, {NIC: {"queues": QUEUES}})
        .publish(NEW, {NIC: {"queues": variable("int", 4, settable=False)}})
    )
    assert fixed.ask(device(OLD), NEW).configuration == {"queues": 4}
    assert codes(fixed.ask(device(OLD, queues=2), NEW)) == [("value-not-allowed", "queues")]
    assert codes(fixed.ask(device(OLD, queues=1), NEW)) == [("cannot-be-off", "queues")]


def test_strict_says_when_only_variables_were_compared() -> None:
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


def test_a_host_restricts_what_a_release_allows() -> None:
    narrow = {NIC: {"queues": ["1-2"]}}
    assert codes(world().ask(device(OLD), OLD, restrict=narrow)) == [("value-not-allowed", "queues")]
    assert world().ask(device(OLD, queues=2), OLD, restrict=narrow).compatible
    odd = world().ask(device(OLD), OLD, restrict={NIC: {"quues": [1]}})
    assert [warning.code.value for warning in odd.warnings] == ["restriction-without-effect"]


def test_of_an_implementation_the_first_release_that_takes_all_devices_serves() -> None:
    pair = [device(NEW), Device(id="second", model=NIC, release=NEW, values={"new": False})]
    answer = world().answer(pair, Destination("host", (OLD, NEW)))
    assert [(each.release, each.verdict.compatible) for each in answer.devices] == [(NEW, True), (NEW, True)]
    assert world().answer(pair[1:], Destination("host", (OLD, NEW))).devices[0].release == OLD


def test_if_no_release_takes_all_the_first_ones_problems_are_answered() -> None:
    asked = [device(NEW, nonsense=1)]
    answer = world().answer(asked, Destination("host", (OLD, NEW)))
    assert answer.devices[0].release == OLD
    assert ("variable-not-supported", "new") in codes(answer.devices[0].verdict)


def test_a_device_belongs_to_the_first_implementation_that_has_its_model() -> None:
    gpu, clone = "vendor-b.com/gpu-fw@1", "vendor-b.com/clone@1"
    mixed = world().publish(gpu, {"vendor-b.com/gpu": {}}).publish(clone, {NIC: {"queues": QUEUES}})
    devices = [device(OLD), Device(id="gpu", model="vendor-b.com/gpu", release=gpu)]
    host = Destination("host", (gpu, OLD, clone))
    later = mixed.answer(devices, Destination("host", (gpu, "vendor-b.com/gpu-fw@2", OLD)))
    assert [each.release for each in later.devices] == [OLD, gpu]
    answer = mixed.answer(devices, host)
    assert [each.release for each in answer.devices] == [OLD, gpu]
    assert answer.compatible


def test_an_implementation_stands_where_its_first_release_does() -> None:
    first, second = "vendor-b.com/multi@1", "vendor-b.com/multi@2"
    hosts = world().publish(first, {"vendor-b.com/gpu": {}}).publish(second, {NIC: {"queues": QUEUES}})
    answer = hosts.answer([device(OLD)], Destination("host", (first, OLD, second)))
    assert (answer.devices[0].release, answer.compatible) == (second, True)


def test_an_unknown_release_of_a_host_is_said() -> None:
    taken = world().ask(device(OLD), "vendor-a.com/fw@9", OLD)
    assert taken.compatible
    assert [warning.code.value for warning in taken.warnings] == ["unknown-release"]
