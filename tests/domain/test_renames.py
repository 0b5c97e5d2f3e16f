"""Variables that a later release renamed or inverted, and other names of models and profiles (DESIGN 3)."""

from typing import Any

import pytest

from app.domain.fleet.difference import between_releases
from app.domain.fleet.form import Form
from app.domain.fleet.rendering import rendered
from app.domain.things.model import Model
from app.domain.things.profile import typed
from app.domain.things.variable_set import VariableSet
from app.domain.values.document import Place
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, codes, device, variable

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
P = "vendor-a.com/p"
HOTPLUG = variable("bool", True, True)
HIDE = {**variable("bool", False, False), "stands_for": {"variable": "hotplug", "inverted": True}}
RINGS = {**variable("int", 2, 1, ["1-4"]), "stands_for": {"variable": "queues"}}


def world(new: dict[str, Any] | None = None) -> World:
    """Return a release, and a later one that renamed `hotplug` to `hide-hotplug`, and turned it round."""
    old = {"hotplug": HOTPLUG, "queues": variable("int", 2, 1, ["1-4"])}
    return (
        World()
        .publish(OLD, {NIC: old})
        .publish(NEW, {NIC: new or {"hide-hotplug": HIDE, "rings": RINGS}})
        .profile(P, {NIC: {"hotplug": False, "queues": 3}})
    )


def test_a_renamed_variable_is_compared_as_the_one_that_it_stands_for() -> None:
    there = world().ask(device(OLD, P), NEW)
    assert there.configuration == {"hide-hotplug": True, "rings": 3}
    back = world().ask(device(NEW, P), OLD)
    assert back.configuration == {"hotplug": False, "queues": 3}
    assert world().ask(device(NEW, P), NEW).configuration == {"hide-hotplug": True, "rings": 3}


def test_explicit_values_are_given_under_the_name_of_the_own_release() -> None:
    assert world().ask(device(NEW, hide_hotplug="on"), OLD).configuration == {"hotplug": False, "queues": 2}
    assert world().ask(device(NEW, hide_hotplug=None), OLD).configuration == {"hotplug": True, "queues": 2}
    assert world().ask(device(NEW, hotplug=False), OLD).configuration == {"hotplug": False, "queues": 2}
    assert world().ask(device(complete=True, hide_hotplug=True), OLD).configuration == {"hotplug": False, "queues": 1}


def test_problems_name_the_variable_that_it_stands_for() -> None:
    verdict = world({"hide-hotplug": {**HIDE, "allowed_values": [False]}}).ask(device(OLD, hotplug=False), NEW)
    assert codes(verdict) == [("value-not-allowed", "hotplug"), ("variable-not-supported", "queues")] or codes(
        verdict
    ) == [("variable-not-supported", "queues"), ("value-not-allowed", "hotplug")]
    wrong = world().ask(device(NEW, hide_hotplug="maybe"), NEW)
    assert ("source-value-invalid", "hotplug") in codes(wrong)


def test_restrictions_and_conditions_are_stated_under_the_own_name() -> None:
    restricted = world().ask(device(OLD, P), NEW, restrict={NIC: {"hide-hotplug": [False]}})
    assert codes(restricted) == [("value-not-allowed", "hotplug")]
    assert world().ask(device(OLD, P), NEW, restrict={NIC: {"hotplug": [False]}}).compatible
    document = {
        "variables": {"hide-hotplug": HIDE, "rings": RINGS},
        "constraints": [{"when": {"hide-hotplug": [True]}, "require": {"rings": [1, 2]}}],
        "blocks_migration": [{"when": {"rings": [4]}}],
    }
    made = world(document)
    assert codes(made.ask(device(OLD, P), NEW)) == [("constraint-violated", "queues")]
    assert codes(made.ask(device(OLD, queues=4), NEW)) == [("not-migratable", "queues")]
    assert made.ask(device(OLD, hotplug=True, queues=3), NEW).compatible


def test_own_values_and_errata_are_stated_under_the_own_name() -> None:
    made = World().publish(OLD, {NIC: {"hotplug": HOTPLUG}})
    made.publish(NEW, {NIC: {"hide-hotplug": HIDE}}, own_values={P: {NIC: {"hide-hotplug": True}}})
    made.profile(P, {NIC: {}})
    assert made.ask(device(NEW, P), OLD).configuration == {"hotplug": False}
    made.erratum(NEW, when={"hide-hotplug": [True]})
    assert codes(made.ask(device(NEW, P), OLD)) == [("known-broken", "hotplug")]


def test_a_document_and_its_digest_keep_the_own_names() -> None:
    fields = {
        "variables": {"hide-hotplug": HIDE, "rings": RINGS},
        "constraints": [{"when": {"hide-hotplug": [True]}, "require": {"rings": [1, 2]}}],
    }
    place = Place()
    read = VariableSet.read(NIC, fields, place)
    assert not place.faults
    document = read.document()
    assert document["variables"]["hide-hotplug"]["stands_for"] == {"variable": "hotplug", "inverted": True}  # type: ignore[index]
    assert document["variables"]["rings"]["stands_for"] == {"variable": "queues", "inverted": False}  # type: ignore[index]
    assert document["constraints"] == [
        {"when": {"hide-hotplug": [True]}, "require": {"rings": [1, 2]}, "description": ""}
    ]
    again = VariableSet.read(NIC, {key: value for key, value in document.items() if key != "model"}, Place())
    assert again.digest == read.digest


def test_rendering_uses_the_own_name() -> None:
    made = world()
    release, model, profile = made.release(NEW), made.model(NIC), made.profile_named(P)
    assert release is not None
    assert model is not None
    configuration = made.ask(device(OLD, P), NEW).configuration
    assert configuration is not None
    assert rendered(Form.QEMU, configuration, release, model, profile) == ["-device", "nic,hide-hotplug=on,rings=3"]


def test_a_remedy_names_the_variable_as_the_running_device_has_it() -> None:
    runtime = {**HIDE, "runtime": True}
    made = World().publish(OLD, {NIC: {"hotplug": {**HOTPLUG, "allowed_values": [True]}}})
    made.publish(NEW, {NIC: {"hide-hotplug": runtime}})
    (change,) = made.ask(device(NEW, hide_hotplug=True), OLD).remedies
    assert (change.variable, change.before, change.after) == ("hide-hotplug", True, False)


def test_a_diff_tells_the_new_name() -> None:
    made = world()
    old, new, model = made.release(OLD), made.release(NEW), made.model(NIC)
    assert old is not None
    assert new is not None
    assert model is not None
    vendors = ("vendor-a.com", "vendor-a.com")
    messages = [one.message for one in between_releases(model, vendors, old.sets[NIC], new.sets[NIC])]
    assert messages == ["hotplug is now called hide-hotplug, with the opposite value.", "queues is now called rings."]


def test_a_profile_can_name_either_variable_and_not_both() -> None:
    model = world().model(NIC)
    assert model is not None
    assert typed({"hide-hotplug": True, "rings": None}, model, "vendor-a.com", Place()) == {
        "hotplug": False,
        "queues": None,
    }
    place = Place()
    typed({"hide-hotplug": True, "hotplug": False}, model, "vendor-a.com", place)
    assert [(fault.pointer, fault.code.value) for fault in place.faults] == [("/hide-hotplug", "duplicate")]


@pytest.mark.parametrize(
    "asked", [device(NEW, hide_hotplug=True, hotplug=True), device(complete=True, hide_hotplug=True, hotplug=True)]
)
def test_a_device_that_gives_both_names_of_a_variable_is_refused(asked: Device) -> None:
    verdict = world().ask(asked, OLD)
    assert codes(verdict) == [("source-unknown", "hotplug")]
    assert verdict.problems[0].message == (
        "The device gives a value of both hide-hotplug and hotplug, which are one variable; leave one out."
    )


@pytest.mark.parametrize("asked", [device(OLD, hide_hotplug=False, hotplug=False), device(OLD, P, hide_hotplug=False)])
def test_a_new_name_is_understood_also_where_the_release_has_the_old_one_alone(asked: Device) -> None:
    verdict = world().ask(asked, NEW)
    if asked.profile:
        assert verdict.configuration == {"hide-hotplug": False, "rings": 3}
    else:
        assert codes(verdict) == [("source-unknown", "hotplug")]


def test_without_a_release_the_destination_says_what_its_own_names_stand_for() -> None:
    here, there = "vendor-a.com/fw@1", "vendor-b.com/fw@1"
    hiding = {NIC: {"hide-hotplug": HIDE}}
    made = (
        World().publish(here, {NIC: {"hotplug": HOTPLUG}}).publish(there, hiding).profile(P, {NIC: {"hotplug": False}})
    )
    given = device(None, P, hide_hotplug=False)
    assert made.ask(given, there).configuration == {"hide-hotplug": False}
    assert made.ask(device(complete=True, hide_hotplug=True), there).configuration == {"hide-hotplug": True}
    both = made.ask(device(complete=True, hide_hotplug=False, hotplug=False), there)
    assert codes(both) == [("source-unknown", "hotplug")]


def test_what_another_vendor_renames_is_renamed_in_its_own_sets_alone() -> None:
    foo = variable("bool", False, False)
    other, own = "vendor-b.com/fw@1", "vendor-a.com/fw@3"
    renaming = {**variable("bool", True, True), "stands_for": {"variable": "hotplug", "inverted": True}}
    model_variables = {NIC: {"hotplug": variable("bool", False, False)}}
    made = (
        World().publish(OLD, model_variables).publish(other, {NIC: {"foo": renaming}}).publish(own, {NIC: {"foo": foo}})
    )
    assert made.ask(device(complete=True, foo=True), own).configuration == {"foo": True}
    assert made.ask(device(other, foo=False), OLD).configuration == {"hotplug": True}
    model = made.model(NIC)
    assert model is not None
    assert typed({"foo": True}, model, "vendor-a.com", Place()) == {"foo": True}
    # Where the model's own vendor has no such variable, the vendor of the profile says what it is.
    without_own = World().publish(OLD, model_variables).publish(other, {NIC: {"foo": renaming}})
    only_other = without_own.model(NIC)
    assert only_other is not None
    assert typed({"foo": True}, only_other, "vendor-b.com", Place()) == {"hotplug": False}
    assert typed({"foo": True}, only_other, "vendor-c.com", Place()) == {"foo": True}
    # A release of that vendor from before the renaming knows the variable under the old name alone.
    without_own.publish("vendor-b.com/fw@0", model_variables)
    assert without_own.ask(device("vendor-b.com/fw@0", foo=False), OLD).configuration == {"hotplug": True}
    assert codes(without_own.ask(device(OLD, foo=False), OLD)) == [("unknown-variable", "foo")]


def test_a_release_that_has_a_variable_of_its_own_keeps_its_name_whatever_is_renamed_later() -> None:
    other = "vendor-b.com/fw@1"
    made = World().publish(other, {NIC: {"hide-hotplug": variable("bool", False, False)}})
    made.publish(OLD, {NIC: {"hotplug": HOTPLUG}}).publish(NEW, {NIC: {"hide-hotplug": HIDE}})
    assert made.ask(device(other, hide_hotplug=True), other).configuration == {"hide-hotplug": True}


def test_a_list_has_the_profile_that_an_alias_of_the_source_release_stands_for() -> None:
    made = World().publish(
        OLD, {NIC: {"queues": variable("int", 4, 1)}}, profiles=[P], aliases={"vendor-a.com/latest": P}
    )
    made.publish(NEW, {NIC: {"queues": variable("int", 4, 1)}}, profiles=[P]).profile(P, {NIC: {"queues": 2}})
    verdict = made.ask(device(OLD, "vendor-a.com/latest"), NEW, policy=Policy.STRICT)
    assert (verdict.configuration, verdict.warnings) == ({"queues": 2}, ())


def test_what_is_carried_over_or_unchecked_has_the_name_of_the_destination() -> None:
    mac = {**variable("str", ""), "scope": "instance"}
    file = variable("str", "", "")
    new = {"addr": {**mac, "stands_for": {"variable": "mac"}}, "rom": {**file, "stands_for": {"variable": "file"}}}
    made = World().publish(OLD, {NIC: {"mac": mac, "file": file}}).publish(NEW, {NIC: new})
    verdict = made.ask(device(OLD, file="x"), NEW)
    assert (verdict.configuration, verdict.carry_over, verdict.unchecked) == ({"rom": "x"}, ("addr",), ("rom",))


@pytest.mark.parametrize(
    ("variables", "faults"),
    [
        ({"a": RINGS, "queues": variable("int", 1)}, [("/variables/a/stands_for/variable", "duplicate")]),
        ({"a": RINGS, "b": RINGS}, [("/variables/b/stands_for/variable", "duplicate")]),
        (
            {"a": {**variable("int", 1), "stands_for": {"variable": "q", "inverted": True}}},
            [("/variables/a/stands_for/inverted", "invalid-value")],
        ),
        ({"a": {**HIDE, "stands_for": {}}}, [("/variables/a/stands_for", "missing-field")]),
        ({"a": {**HIDE, "stands_for": {"variable": "x=y"}}}, [("/variables/a/stands_for/variable", "invalid-name")]),
    ],
)
def test_faults(variables: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    place = Place()
    VariableSet.read(NIC, {"variables": variables}, place)
    assert [(fault.pointer, fault.code.value) for fault in place.faults] == faults


def stated(variables: dict[str, Any], before: Model | None = None) -> Model:
    """Return the model with what a set of its own vendor states."""
    model = before or Model(NIC, {})
    read = VariableSet.read(NIC, {"variables": variables}, Place())
    return model.with_statements("vendor-a.com", model.additions(read, "vendor-a.com"))


def contradictions(model: Model, variables: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a further set contradicts."""
    read = VariableSet.read(NIC, {"variables": variables}, Place())
    return [(one.variable, one.field, one.message) for one in model.contradictions(read, "vendor-a.com")]


def test_a_variable_keeps_what_it_stands_for() -> None:
    model = stated({"hide-hotplug": HIDE})
    assert contradictions(model, {"hide-hotplug": HIDE}) == []
    (plain,) = contradictions(model, {"hide-hotplug": variable("bool", False, False)})
    assert plain == (
        "hide-hotplug",
        "stands_for",
        "must stand for hotplug with the opposite value, as published for hide-hotplug of vendor-a.com/nic",
    )
    (late,) = contradictions(stated({"rings": variable("int", 1)}), {"rings": RINGS})
    assert late[2] == "must stand for no other variable, as published for rings of vendor-a.com/nic"
    (chain,) = contradictions(model, {"c": {**variable("bool", False), "stands_for": {"variable": "hide-hotplug"}}})
    assert chain[:2] == ("c", "stands_for")


def test_a_renamed_variable_states_type_and_off_value_of_the_one_that_it_stands_for() -> None:
    model = stated({"hide-hotplug": HIDE})
    assert model.off_values("vendor-a.com")["hotplug"] is True
    assert contradictions(model, {"hotplug": variable("bool", True, False)})[0][:2] == ("hotplug", "off_value")
    before = stated({"hotplug": HOTPLUG})
    assert contradictions(before, {"hide-hotplug": {**HIDE, "off_value": True}})[0][:2] == ("hide-hotplug", "off_value")


ALIASES = {"vendor-a.com/card": NIC, "vendor-a.com/latest": P}


def test_a_device_can_give_the_names_that_its_own_release_knows() -> None:
    made = world().publish(NEW, {NIC: {"hide-hotplug": HIDE, "rings": RINGS}}, profiles=[P], aliases=ALIASES)
    asked = Device(id="nic", model="vendor-a.com/card", release=NEW, profile="vendor-a.com/latest")
    verdict = made.ask(asked, OLD)
    assert (verdict.compatible, verdict.configuration) == (True, {"hotplug": False, "queues": 3})
    # Another release does not know these names.
    elsewhere = Device(id="nic", model=NIC, release=OLD, profile="vendor-a.com/latest")
    assert codes(made.ask(elsewhere, NEW)) == [("unknown-profile", None)]


def test_the_own_releases_table_is_asked_first() -> None:
    made = world().profile("vendor-a.com/latest", {NIC: {"queues": 4}})
    made.publish(NEW, {NIC: {"hide-hotplug": HIDE, "rings": RINGS}}, aliases=ALIASES)
    named = Device(id="nic", model=NIC, release=NEW, profile="vendor-a.com/latest")
    assert made.ask(named, OLD).configuration == {"hotplug": False, "queues": 3}
    named = Device(id="nic", model=NIC, release=OLD, profile="vendor-a.com/latest")
    assert made.ask(named, OLD).configuration == {"hotplug": True, "queues": 4}
