"""Parts: a device that needs others is decided together with them (DESIGN 3; DESIGN 5, steps 10 and 11)."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.engine.question import Answer
from app.domain.fleet.baseline import baseline
from app.domain.fleet.difference import Direction, Extent, between_releases
from app.domain.things.variable_set import FIELDS, VariableSet
from app.domain.values.document import Place
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.domain.world import World, codes, variable

PASS, DRIVER = "vendor-a.com/pass", "vendor-a.com/driver"
OLD, NEW = "vendor-a.com/emu@1", "vendor-a.com/emu@2"
HAS_P2P, NO_P2P, SILENT = "vendor-b.com/drv@1", "vendor-b.com/drv@2", "vendor-b.com/drv@3"
QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", False, False)
TOGETHER = {
    "role": "host-device",
    "over": 1,
    "require": {"p2p": [True]},
    "description": "all of them have to support P2P.",
}


def pass_through(needs: Sequence[Any] = ("host-device",), **more: Any) -> dict[str, Any]:
    """Return the set of a device that is passed through."""
    return {"variables": {"queues": QUEUES, "flag": FLAG}, "needs": list(needs), **more}


def driver(p2p: bool | None) -> dict[str, Any]:
    """Return the set of a driver; None: it does not have the variable."""
    own = {} if p2p is None else {"p2p": variable("bool", p2p, settable=False, scope="backend")}
    return {"variables": {"v": variable("int", 1), **own}}


def world(old: Any = None, new: Any = None) -> World:
    """Return two emulators, and drivers with P2P, without it, and with nothing stated of it."""
    made = World().publish(OLD, {PASS: old or pass_through()}).publish(NEW, {PASS: new or pass_through()})
    made.publish(HAS_P2P, {DRIVER: driver(p2p=True)}).publish(NO_P2P, {DRIVER: driver(p2p=False)})
    return made.publish(SILENT, {DRIVER: driver(None)})


def passed(name: str = "dev", **values: Any) -> Device:
    """Return a device that is passed through."""
    return Device(id=name, model=PASS, release=OLD, values=values)


def part(name: str, of: str = "dev", release: str = HAS_P2P, role: str | None = "host-device", **values: Any) -> Device:
    """Return a driver's device behind another one."""
    return Device(id=name, model=DRIVER, release=release, values=values, part_of=of, role=role)


def host(*releases: str) -> Destination:
    """Return a host that runs these releases."""
    return Destination("there", releases)


def found(answer: Answer) -> dict[str, list[str]]:
    """Return the codes of the problems by device, without the devices that have none."""
    return {one.device.id: [code for code, _ in codes(one.verdict)] for one in answer.devices if one.verdict.problems}


def test_a_device_that_needs_a_part_is_decided_only_with_it() -> None:
    alone = world().answer([passed()], host(NEW, HAS_P2P))
    (problem,) = alone.devices[0].verdict.problems
    assert (problem.code.value, problem.variable, problem.value) == ("part-unknown", None, "host-device")
    assert problem.message == (
        "At vendor-a.com/emu@1 such a device needs a part in the role host-device, and the question has none."
    )
    assert world().answer([passed(), part("vf")], host(NEW, HAS_P2P)).compatible
    # A part in another role, in none, or of another device fills nothing.
    for other in (part("vf", role="firmware"), part("vf", role=None), part("vf", of="vf2")):
        answer = world().answer([passed(), other, passed("vf2")], host(NEW, HAS_P2P))
        assert "part-unknown" in found(answer)["dev"]


def test_a_part_has_to_be_compatible_itself() -> None:
    answer = world().answer([passed(), part("vf", v=2)], host(NEW, HAS_P2P))
    assert answer.compatible
    assert found(world().answer([passed(), part("vf")], host(NEW))) == {"vf": ["model-not-supported"]}


@pytest.mark.parametrize("needing", ["source", "destination"])
def test_either_side_can_need_a_part_in_some_configurations(needing: str) -> None:
    needs = [{"role": "firmware", "when": {"queues": ["5-8"]}, "description": "more than 4 queues are offloaded"}]
    with_needs, without = pass_through(needs), pass_through(())
    made = world(with_needs, without) if needing == "source" else world(without, with_needs)
    assert made.answer([passed(queues=4)], host(NEW)).compatible
    (problem,) = made.answer([passed(queues=5)], host(NEW)).devices[0].verdict.problems
    assert problem.message == (
        f"At {OLD if needing == 'source' else NEW} such a device with queues=5 needs a part in the role firmware, and "
        "the question has none: more than 4 queues are offloaded."
    )
    assert made.answer([passed(queues=5), part("fw", role="firmware")], host(NEW, HAS_P2P)).compatible


def test_what_a_host_makes_of_a_device_decides_what_it_needs() -> None:
    # With a profile alone, the source is not known, but the destination's set is asked.
    made = world(pass_through(()), pass_through([{"role": "firmware", "when": {"flag": [False]}}]))
    made.profile("vendor-a.com/p", {PASS: {}})
    asked = Device(id="dev", model=PASS, profile="vendor-a.com/p")
    assert found(made.answer([asked], host(NEW))) == {"dev": ["part-unknown"]}


def several(*releases: str) -> list[Device]:
    """Return a device that is passed through for each of these drivers, with the driver behind it."""
    return [
        device
        for index, release in enumerate(releases)
        for device in (passed(f"dev{index}"), part(f"vf{index}", f"dev{index}", release))
    ]


@pytest.mark.parametrize("stating", ["source", "destination"])
def test_a_rule_across_the_vm_holds_for_all_parts_in_the_role(stating: str) -> None:
    with_rule, without = pass_through(together=[TOGETHER]), pass_through()
    made = world(with_rule, without) if stating == "source" else world(without, with_rule)
    runs = host(NEW, HAS_P2P, NO_P2P, SILENT)
    assert made.answer(several(NO_P2P), runs).compatible
    both = several(HAS_P2P, NO_P2P)
    # The driver at the destination is the first: with P2P.
    expected: dict[str, list[str]] = {"dev1": ["not-together"]} if stating == "source" else {}
    assert found(made.answer(both, runs)) == expected
    there = host(NEW, NO_P2P)
    answer = made.answer(several(HAS_P2P, HAS_P2P), there)
    expected = {} if stating == "source" else {"dev0": ["not-together"], "dev1": ["not-together"]}
    assert found(answer) == expected


def test_the_message_names_the_rule_the_part_and_its_value() -> None:
    made = world(pass_through(together=[TOGETHER]), pass_through(together=[TOGETHER]))
    answer = made.answer(several(NO_P2P, SILENT), host(NEW, NO_P2P))
    # The same of the source and of the destination is said once.
    one, other = (answer.devices[position].verdict.problems for position in (0, 2))
    assert [problem.message for problem in one] == [
        (
            "The VM has 2 devices with a part in the role host-device, and vendor-a.com/emu@1 then requires p2p on of "
            "each such part (all of them have to support P2P); vf0 has p2p=off."
        )
    ]
    assert (one[0].variable, one[0].value, one[0].allowed) == ("p2p", False, (True,))
    assert other[0].message.endswith("; vf1 has no variable p2p.")
    assert answer.devices[0].verdict.configuration is None
    assert answer.devices[1].verdict.compatible


def test_only_more_devices_than_stated_are_counted_and_each_device_once() -> None:
    rule = {**TOGETHER, "over": 2}
    made = world(pass_through(together=[rule]), pass_through(together=[rule]))
    runs = host(NEW, NO_P2P)
    assert made.answer(several(NO_P2P, NO_P2P), runs).compatible
    assert not made.answer(several(NO_P2P, NO_P2P, NO_P2P), runs).compatible
    assert made.answer([*several(NO_P2P, NO_P2P), part("second", "dev0", NO_P2P)], runs).compatible


def test_another_release_or_unit_serves_where_the_first_breaks_a_rule() -> None:
    rule = pass_through(together=[TOGETHER])
    made = world(pass_through(), rule).publish("vendor-a.com/emu@3", {PASS: pass_through()})
    asked = several(HAS_P2P, HAS_P2P)
    answer = made.answer(asked, host(NEW, "vendor-a.com/emu@3", NO_P2P))
    assert [one.release for one in answer.devices] == ["vendor-a.com/emu@3", NO_P2P] * 2
    cards = Destination("there", (NEW,), units=(Unit("a", (NO_P2P,)), Unit("b", (HAS_P2P,)), Unit("c", (HAS_P2P,))))
    answer = made.answer(asked, cards)
    assert answer.compatible
    assert [one.unit for one in answer.devices] == [None, 1, None, 1]
    neither = Destination("there", (NEW,), units=(Unit("a", (NO_P2P,)), Unit("b", (SILENT,))))
    assert found(made.answer(asked, neither)) == {"dev0": ["not-together"], "dev1": ["not-together"]}
    # Twelve devices have more ways than can be tried, but those of one card are tried beside what has no choice.
    many = made.answer(several(*[HAS_P2P] * 12), cards)
    assert many.compatible


def test_values_of_a_rule_are_of_the_type_that_the_part_has() -> None:
    rule = {"role": "host-device", "over": 0, "require": {"v": ["2-3", {"min": 10, "max": 20, "step": 5}]}}
    made = world(pass_through(together=[rule]), pass_through())
    for value, is_met in ((1, False), (2, True), (3, True), (15, True), (16, False)):
        answer = made.answer([passed(), part("vf", v=value)], host(NEW, HAS_P2P))
        assert answer.compatible is is_met
    words = {"role": "host-device", "over": 0, "require": {"v": ["1", "x"]}}
    text = world(pass_through(together=[words]), pass_through())
    assert text.answer([passed(), part("vf")], host(NEW, HAS_P2P)).compatible


def test_a_part_of_which_no_release_is_known_meets_what_the_question_says() -> None:
    made = world(pass_through(together=[{**TOGETHER, "over": 0}]), pass_through())
    made.profile("vendor-b.com/p", {DRIVER: {"v": 1}})
    given = Device(id="vf", model=DRIVER, profile="vendor-b.com/p", part_of="dev", role="host-device")
    assert found(made.answer([passed(), given], host(NEW, HAS_P2P))) == {"dev": ["not-together"]}
    unknown = Device(id="vf", model=DRIVER, part_of="dev", role="host-device")
    assert found(made.answer([passed(), unknown], host(NEW, HAS_P2P))) == {"vf": ["source-unknown"]}


def test_a_renamed_variable_can_be_required_under_either_name() -> None:
    made = World().publish(OLD, {PASS: pass_through()}).publish(HAS_P2P, {DRIVER: driver(p2p=True)})
    renamed = {
        "variables": {
            "v": variable("int", 1),
            "no-p2p": variable("bool", False, scope="backend", stands_for={"variable": "p2p", "inverted": True}),
        }
    }
    for require in ({"p2p": [True]}, {"no-p2p": [False]}):
        made.publish("vendor-b.com/drv@4", {DRIVER: renamed})
        made.publish(NEW, {PASS: pass_through(together=[{**TOGETHER, "over": 0, "require": require}])})
        answer = made.answer([passed(), part("vf")], host(NEW, "vendor-b.com/drv@4"))
        assert answer.compatible


def read(**fields: Any) -> tuple[VariableSet, list[tuple[str, str]]]:
    """Return a set with these fields, and its faults."""
    place = Place()
    assert fields.keys() <= FIELDS
    variable_set = VariableSet.read(PASS, {"variables": {"queues": QUEUES, "fd": FD}, **fields}, place)
    return variable_set, [(fault.pointer, fault.message) for fault in place.faults]


FD = variable("str", "", scope="backend")


def test_needs_and_rules_are_part_of_the_set_in_any_order() -> None:
    with_condition = {"role": "firmware", "when": {"queues": ["2-8"]}, "description": "offloaded"}
    one, faults = read(needs=["host-device", with_condition], together=[TOGETHER])
    other, _ = read(needs=[with_condition, {"role": "host-device"}, "host-device"], together=[TOGETHER, TOGETHER])
    assert not faults
    assert one.digest == other.digest
    assert one.document()["needs"] == [
        {"role": "host-device", "when": {}, "description": ""},
        {"role": "firmware", "when": {"queues": ["2-8"]}, "description": "offloaded"},
    ]
    assert one.document()["together"] == [TOGETHER]
    # A set that states neither is the same as before they existed.
    plain, _ = read()
    assert plain.digest == read(needs=[], together=[])[0].digest
    assert {"needs", "together"}.isdisjoint(plain.document())


def test_every_fault_of_needs_and_rules_is_reported() -> None:
    _, faults = read(
        needs=["", 4, {"when": {}}, {"role": "a b", "when": {"fd": ["x"], "quues": [1]}, "more": 1}],
        together=[
            {},
            {"role": "x", "over": True, "require": []},
            {"role": "x", "over": -1, "require": {"a=b": ["1"], "c": [1.5, None, {"min": 2, "max": 1, "step": 1}]}},
        ],
    )
    assert [pointer for pointer, _ in faults] == [
        "/needs/0",
        "/needs/1",
        "/needs/2",
        "/needs/3/more",
        "/needs/3/role",
        "/needs/3/when/fd",
        "/needs/3/when/quues",
        "/together/0",
        "/together/0",
        "/together/0",
        "/together/1/over",
        "/together/1/require",
        "/together/2/over",
        "/together/2/require/a=b",
        "/together/2/require/c/0",
        "/together/2/require/c/1",
        "/together/2/require/c/2",
    ]
    _, faults = read(together=[{"role": "x", "over": 1_001, "require": {"c": [0] * 1_001}}])
    assert faults == [
        ("/together/0/over", "must be an integer of 0 to 1,000"),
        ("/together/0/require/c", "must list at most 1,000 values and ranges"),
    ]


def test_a_difference_of_needs_or_rules_is_shown() -> None:
    made = world(pass_through(()), pass_through(together=[TOGETHER]))
    model, old, new = made.model(PASS), made.release(OLD), made.release(NEW)
    assert model is not None
    assert old is not None
    assert new is not None
    differences = between_releases(model, ("vendor-a.com", "vendor-a.com"), old.sets[PASS], new.sets[PASS])
    assert [(one.message, one.before) for one in differences] == [
        ("The parts that devices need differ.", []),
        ("The rules across the devices of a VM differ.", []),
    ]
    for one in differences:
        assert one.closes == dict.fromkeys(Direction, Extent.IN_PART)


def test_a_baseline_says_that_parts_have_baselines_of_their_own() -> None:
    members = [Destination(release, (release,)) for release in (OLD, NEW)]
    answer = baseline(PASS, members, world().lookups())
    assert answer.values == {"flag": False, "queues": 4}
    (caution,) = answer.warnings
    assert caution.code == "parts-not-compared"
    assert caution.message == (
        "vendor-a.com/pass needs parts, in the roles host-device: ask for a baseline of their models, too."
    )


def test_a_part_without_a_release_meets_a_rule_by_what_is_told_of_it() -> None:
    both = {**TOGETHER, "over": 0, "require": {"p2p": [True], "v": [3]}}
    made = world(pass_through(together=[both]), pass_through())
    made.profile("vendor-b.com/p", {DRIVER: {"v": 3}})
    given = Device(
        id="vf", model=DRIVER, profile="vendor-b.com/p", values={"p2p": True}, part_of="dev", role="host-device"
    )
    assert made.answer([passed(), given], host(NEW, HAS_P2P)).compatible


def test_a_part_can_state_a_rule_and_a_rule_can_be_about_a_role_that_nothing_has() -> None:
    stating = {"variables": driver(p2p=False)["variables"], "together": [{**TOGETHER, "over": 0}]}
    made = world(pass_through(together=[{**TOGETHER, "role": "firmware"}]), pass_through())
    made.publish("vendor-b.com/drv@4", {DRIVER: stating})
    answer = made.answer([passed(), part("vf", release="vendor-b.com/drv@4")], host(NEW, HAS_P2P))
    (problem,) = answer.devices[0].verdict.problems
    assert problem.message == (
        "The VM has 1 device with a part in the role host-device, and vendor-b.com/drv@4 then requires p2p on of each "
        "such part (all of them have to support P2P); vf has p2p=off."
    )
    assert made.answer([passed(), part("vf")], host(NEW, HAS_P2P)).compatible


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"require": {"v": [5, "7-9"]}}, "requires v 7-9, 5 of each such part; vf has v=1."),
        ({"require": {"v": []}, "description": "never"}, "requires v nothing of each such part (never); vf has v=1."),
    ],
)
def test_the_message_shows_what_a_rule_requires(rule: dict[str, Any], words: str) -> None:
    made = world(pass_through(together=[{"role": "host-device", "over": 0, **rule}]), pass_through())
    (problem,) = made.answer([passed(), part("vf")], host(NEW, HAS_P2P)).devices[0].verdict.problems
    assert problem.message.endswith(words)


def test_a_description_is_told_without_its_full_stop() -> None:
    needs = [{"role": "fw", "description": "the flow table lies in the card."}]
    (problem,) = world(pass_through(needs)).answer([passed()], host(NEW)).devices[0].verdict.problems[:1]
    assert problem.message.endswith("and the question has none: the flow table lies in the card.")


def test_every_role_that_is_missing_is_told_once() -> None:
    made = world(pass_through(["host-device", "firmware"]), pass_through(["firmware", "flow-table"]))
    problems = made.answer([passed()], host(NEW)).devices[0].verdict.problems
    assert sorted(str(problem.value) for problem in problems) == ["firmware", "flow-table", "host-device"]


def test_what_a_broken_rule_leaves_of_the_verdict() -> None:
    made = World().publish(OLD, {PASS: pass_through()})
    own = {"vendor-a.com/p": {PASS: {"flag": True}}}
    made.publish(NEW, {PASS: pass_through(together=[TOGETHER])}, ["vendor-a.com/p"], own_values=own)
    made.publish(NO_P2P, {DRIVER: driver(p2p=False)}).publish(HAS_P2P, {DRIVER: driver(p2p=True)})
    made.profile("vendor-a.com/p", {PASS: {"queues": 4}})
    asked = [
        Device(id=device.id, model=device.model, release=device.release, profile="vendor-a.com/p")
        if device.model == PASS
        else device
        for device in several(HAS_P2P, HAS_P2P)
    ]
    taken = made.answer(asked, host(NEW, HAS_P2P), Policy.STRICT).devices[0].verdict
    assert [caution.code for caution in taken.warnings] == ["must-be-set"]
    refused = made.answer(asked, host(NEW, NO_P2P), Policy.STRICT).devices
    assert [problem.message for problem in refused[0].verdict.problems] == [
        (
            "The VM has 2 devices with a part in the role host-device, and vendor-a.com/emu@2 then requires p2p on of "
            "each such part (all of them have to support P2P); vf0 has p2p=off."
        )
    ]
    # What would have to be set is no longer a question; what was not compared is.
    assert refused[0].verdict.warnings == ()
    given = made.answer(several(HAS_P2P, HAS_P2P), host(NEW, NO_P2P), Policy.STRICT).devices[0].verdict
    assert [caution.code for caution in given.warnings] == ["only-variables-compared"]


def test_many_cards_that_break_a_rule_do_not_hide_the_one_that_meets_it() -> None:
    rule = pass_through(together=[TOGETHER])
    made = world(pass_through(), rule).publish("vendor-a.com/emu@3", {PASS: rule})
    bad = [Unit(f"bad{number}", (NO_P2P,)) for number in range(20)]
    runs = Destination("there", (NEW, "vendor-a.com/emu@3"), units=(*bad, Unit("good", (HAS_P2P,))))
    answer = made.answer(several(*[HAS_P2P] * 12), runs)
    assert answer.compatible
    assert {one.unit for one in answer.devices} == {None, 20}


def test_a_part_without_a_release_has_what_it_does_not_name_off() -> None:
    made = World().publish(OLD, {PASS: pass_through(together=[{**TOGETHER, "over": 0, "require": {"fast": [False]}}])})
    made.publish(NEW, {PASS: pass_through()})
    made.publish("vendor-a.com/drv@1", {DRIVER: {"v": variable("int", 1, 1), "fast": variable("bool", True, False)}})
    made.profile("vendor-b.com/p", {DRIVER: {}})
    for stated in ({"complete": True}, {"profile": "vendor-b.com/p"}, {"complete": True, "values": {"fast": None}}):
        given = Device(id="vf", model=DRIVER, part_of="dev", role="host-device", **stated)
        assert made.answer([passed(), given], host(NEW, "vendor-a.com/drv@1")).compatible


def test_a_rule_can_name_a_variable_as_a_later_release_does() -> None:
    require = {**TOGETHER, "over": 0, "require": {"no-p2p": [False]}}
    made = World().publish(OLD, {PASS: pass_through(together=[require])}).publish(NEW, {PASS: pass_through()})
    made.publish(
        HAS_P2P.replace("b.com", "a.com"), {"vendor-a.com/drv": {"p2p": variable("bool", True, scope="backend")}}
    )
    renamed = variable("bool", False, scope="backend", stands_for={"variable": "p2p", "inverted": True})
    made.publish("vendor-a.com/drv@2", {"vendor-a.com/drv": {"v": variable("int", 1), "no-p2p": renamed}})
    older = Device(id="vf", model="vendor-a.com/drv", release="vendor-a.com/drv@1", part_of="dev", role="host-device")
    answer = made.answer([passed(), older], host(NEW, "vendor-a.com/drv@1"))
    assert "not-together" not in str(found(answer))


def test_a_remedy_never_breaks_a_rule_across_the_vm() -> None:
    made = World().publish(OLD, {PASS: pass_through(together=[{**TOGETHER, "over": 0}])})
    p2p = variable("bool", True, None, runtime=True)
    never = {**p2p, "allowed_values": [False], "init_value": False}
    made.publish(HAS_P2P, {DRIVER: {"p2p": p2p}}).publish(NO_P2P, {DRIVER: {"p2p": never}})
    answer = made.answer([passed(), part("vf")], host(OLD, NO_P2P))
    verdict = answer.devices[1].verdict
    assert codes(verdict) == [("value-not-allowed", "p2p")]
    assert verdict.remedies == ()
    assert made.ask(Device(id="vf", model=DRIVER, release=HAS_P2P), NO_P2P).remedies
