"""Growth: a running device may find more than it had, where the vendor of the destination states it (DESIGN 5)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.baseline import baseline
from app.domain.fleet.difference import between_releases
from app.domain.fleet.form import Form
from app.domain.fleet.rendering import rendered
from app.domain.things.variable import Variable
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import Place
from app.domain.values.value import Type
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import Verdict, refusals
from app.domain.verdict.problem import WarningCode
from app.domain.verdict.source import Device
from tests.domain.test_laws import devices, world_profile, worlds
from tests.domain.world import NIC, World, codes, device, variable

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
P = "vendor-a.com/p"
MORE: dict[str, Any] = {"may_grow": True}


def world(here: dict[str, Any], there: dict[str, Any], profile: dict[str, Any] | None = None) -> World:
    """Return two releases with these variables, and a profile."""
    return World().publish(OLD, {NIC: here}).publish(NEW, {NIC: there}).profile(P, {NIC: profile or {}})


def grown(verdict: Verdict) -> Any:
    """Return what the guest sees more of."""
    return next((one.values for one in verdict.warnings if one.code is WarningCode.GUEST_MAY_SEE_MORE), None)


QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", False, False)
FIXED_FLAG = variable("bool", True, False, settable=False, **MORE)


@pytest.mark.parametrize(
    ("allowed", "queues", "expected"),
    [
        ([2, 16], 8, 16),
        ([16, 32], 8, 16),
        (["1-2", {"min": 5, "max": 20, "step": 5}], 8, 10),
        (["1-2", {"min": 5, "max": 20, "step": 5}], 5, 5),
        ([2, 4], 8, None),
        ([16, "1-8"], 8, 8),
    ],
)
def test_the_smallest_larger_value_completes_the_configuration(
    allowed: list[Any], queues: int, expected: int | None
) -> None:
    there = {**QUEUES, "init_value": 2, "allowed_values": [2, *allowed], **MORE}
    del there["off_value"]
    verdict = world({"queues": QUEUES}, {"queues": there}).ask(device(OLD, queues=queues), NEW)
    if expected is None:
        assert codes(verdict) == [("value-not-allowed", "queues")]
        assert grown(verdict) is None
    else:
        assert verdict.configuration == {"queues": expected}
        assert grown(verdict) == (None if expected == queues else {"queues": expected})


def test_only_a_destination_whose_vendor_states_it_takes_a_smaller_value() -> None:
    larger = {**QUEUES, "init_value": 16, "off_value": 16, "allowed_values": [16]}
    del larger["off_value"]
    made = world({"queues": {**QUEUES, **MORE}}, {"queues": larger})
    assert codes(made.ask(device(OLD), NEW)) == [("value-not-allowed", "queues")]


def test_a_capability_that_is_off_is_found_switched_on() -> None:
    made = world({"flag": FLAG, "queues": QUEUES}, {"flag": FIXED_FLAG, "queues": QUEUES})
    verdict = made.ask(device(OLD), NEW)
    assert (verdict.configuration, grown(verdict)) == ({"flag": True, "queues": 4}, {"flag": True})
    (warning,) = [one for one in verdict.warnings if one.code is WarningCode.GUEST_MAY_SEE_MORE]
    assert warning.message == ("The guest may find more at vendor-a.com/fw@2, as its vendor states: flag=on, not off.")
    # A variable that the source lacks was off.
    assert grown(world({"queues": QUEUES}, {"flag": FIXED_FLAG}).ask(device(OLD, queues=1), NEW)) == {"flag": True}
    # What is on never becomes off.
    back = world({"flag": FIXED_FLAG}, {"flag": {**FLAG, "settable": False, **MORE}})
    assert codes(back.ask(device(OLD, flag=True), NEW)) == [("value-not-allowed", "flag")]


def test_several_variables_are_told_in_one_warning() -> None:
    there = {"flag": FIXED_FLAG, "queues": {**variable("int", 16, None, [16]), **MORE}}
    verdict = world({"queues": QUEUES}, there, {"queues": 8}).ask(device(OLD, P), NEW)
    assert grown(verdict) == {"flag": True, "queues": 16}
    (message,) = [one.message for one in verdict.warnings if one.code is WarningCode.GUEST_MAY_SEE_MORE]
    assert message.endswith(": flag=on, not off; queues=16, not 8.")
    # What is given explicitly counts before what the profile says.
    assert (
        "queues=16, not 2"
        in world({"queues": QUEUES}, there, {"queues": 8}).ask(device(OLD, P, queues=2), NEW).warnings[0].message
    )


def test_of_an_unknown_value_nobody_knows_what_is_more() -> None:
    there = {"queues": {**variable("int", 16, None, [16]), **MORE}}
    assert codes(world({"a": FLAG}, there).ask(device(OLD), NEW)) == [("cannot-be-off", "queues")]


def test_the_grown_configuration_meets_constraints_and_is_told_beside_other_problems() -> None:
    there = {
        "variables": {"queues": {**variable("int", 16, None, [16, 32]), **MORE}, "flag": FLAG},
        "constraints": [{"when": {"flag": [True]}, "require": {"queues": [32]}}],
    }
    verdict = world({"queues": QUEUES, "flag": FLAG}, there).ask(device(OLD, flag=True), NEW)
    assert (codes(verdict), grown(verdict)) == ([("constraint-violated", "queues")], {"queues": 16})


def test_a_profile_is_accepted_with_what_it_grows_to_and_the_arguments_say_it() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 16, None, [16, 32]), **MORE}}, {"queues": 8})
    model, release, profile = made.model(NIC), made.release(NEW), made.profile_named(P)
    assert model is not None
    assert release is not None
    assert refusals({"queues": 8}, model, NEW, release.sets[NIC]) == ()
    assert Acceptance().accepts({"queues": 8}, model, NEW, release.sets[NIC])
    configuration = made.ask(device(None, P), NEW).configuration
    assert configuration == {"queues": 16}
    assert rendered(Form.QEMU, configuration, release, model, profile) == ["-device", "nic,queues=16"]


@pytest.mark.parametrize("here", [True, False])
def test_of_a_value_that_the_host_decides_nobody_knows_what_is_more(here: bool) -> None:
    auto = {"resolved_by_host": [0]}
    source = {**variable("int", 0, None, ["0-8"]), **(auto if here else {})}
    there = {**variable("int", 4, None, [4, 0] if not here else [4]), **MORE, **({} if here else auto)}
    asked = device(OLD) if here else device(OLD, queues=2)
    assert codes(world({"queues": source}, {"queues": there}).ask(asked, NEW)) == [("value-not-allowed", "queues")]


def test_what_a_profile_does_not_name_grows_too() -> None:
    there = {"flag": FIXED_FLAG, "queues": {**variable("int", 16, None, [16]), **MORE}}
    made = world({"queues": QUEUES, "flag": FLAG}, there, {"queues": 8}).profile(
        "vendor-a.com/q", {NIC: {"flag": True}}
    )
    assert grown(made.ask(device(None, P), NEW)) == {"flag": True, "queues": 16}
    assert grown(made.ask(device(None, "vendor-a.com/q"), NEW)) == {"queues": 16}


def test_a_value_of_another_type_does_not_grow() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 16, None, [16]), **MORE}})
    assert codes(made.ask(device(complete=True, queues="many"), NEW)) == [("type-mismatch", "queues")]


def test_what_a_host_allows_decides_what_it_grows_to() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 16, None, ["16-64"]), **MORE}})
    verdict = made.ask(device(OLD), NEW, restrict={NIC: {"queues": ["32-48"]}})
    assert (verdict.configuration, grown(verdict)) == ({"queues": 32}, {"queues": 32})
    none = made.ask(device(OLD), NEW, restrict={NIC: {"queues": [1]}})
    assert codes(none) == [("value-not-allowed", "queues")]


def test_an_explicit_null_and_a_renamed_variable_grow_too() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 16, None, [16]), **MORE}})
    null = Device(id="nic", model=NIC, release=OLD, values={"queues": None})
    assert made.ask(null, NEW).configuration == {"queues": 16}
    renamed = {**variable("int", 16, None, [16]), **MORE, "stands_for": {"variable": "queues"}}
    verdict = world({"queues": QUEUES}, {"rings": renamed}).ask(device(OLD), NEW)
    assert (verdict.configuration, grown(verdict)) == ({"rings": 16}, {"rings": 16})


def test_the_grown_value_has_to_be_set_and_is_held_against_errata() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 32, None, [16, 32]), **MORE}}, {"queues": 8})
    verdict = made.ask(device(OLD, P), NEW)
    assert [one.values for one in verdict.warnings if one.code is WarningCode.MUST_BE_SET] == [{"queues": 16}]
    made.erratum(NEW, when={"queues": [16]})
    assert codes(made.ask(device(OLD, P), NEW)) == [("known-broken", "queues")]


def test_a_baseline_offers_no_profile_that_has_to_grow() -> None:
    made = world({"queues": QUEUES}, {"queues": {**variable("int", 16, None, [16]), **MORE}}, {"queues": 8})
    members = [Destination(release, (release,)) for release in (OLD, NEW)]
    assert baseline(NIC, members, made.lookups(), made.profiles_for(NIC)).profiles == ()
    assert baseline(NIC, members[:1], made.lookups(), made.profiles_for(NIC)).profiles == (P,)


def test_a_new_vm_of_a_baseline_needs_no_growth() -> None:
    made = world({"queues": QUEUES}, {"queues": {**QUEUES, "init_value": 8, "allowed_values": [1, "6-16"], **MORE}})
    members = [Destination(release, (release,)) for release in (OLD, NEW)]
    assert baseline(NIC, members, made.lookups()).values == {"queues": 8}


def test_a_remedy_leaves_what_can_grow() -> None:
    live = {"runtime": True}
    there = {"queues": {**variable("int", 16, None, [16]), **MORE}, "flag": {**FLAG, "allowed_values": [False]}}
    made = world({"queues": {**QUEUES, **live}, "flag": {**FLAG, **live}}, there)
    (change,) = made.ask(device(OLD, flag=True), NEW).remedies
    assert (change.variable, change.after) == ("flag", False)


@pytest.mark.parametrize(
    ("before", "after", "closes"),
    [
        (
            {"q": QUEUES},
            {"q": {**QUEUES, "init_value": 8, "allowed_values": [1, 8, 16], **MORE}},
            {"backward": "in-part"},
        ),
        ({"q": QUEUES}, {"q": {**QUEUES, **MORE}}, {}),
        (
            {"a": FLAG},
            {"a": FLAG, "q": {**variable("bool", True, False, settable=False), **MORE}},
            {"backward": "always"},
        ),
    ],
)
def test_a_difference_counts_growth(before: Any, after: Any, closes: dict[str, str]) -> None:
    made = world(before, after)
    model, old, new = made.model(NIC), made.release(OLD), made.release(NEW)
    assert model is not None
    assert old is not None
    assert new is not None
    (found,) = between_releases(model, ("vendor-a.com", "vendor-a.com"), old.sets[NIC], new.sets[NIC])
    assert {direction.value: extent.value for direction, extent in (found.closes or {}).items()} == closes
    assert "more" in found.message


@pytest.mark.parametrize(
    "document",
    [
        variable("str", "", "", **MORE),
        variable("bool", True, True, may_grow=True, stands_for={"variable": "x", "inverted": True}),
        variable("int", 1, 1, may_grow="yes"),
        variable("int", 1, 1, may_grow=True, scope="instance"),
        variable("int", 1, 1, may_grow=True, scope="backend"),
    ],
)
def test_faults(document: Any) -> None:
    place = Place()
    assert Variable.read(document, place) is None
    assert [fault.pointer for fault in place.faults] == ["/may_grow"]


def test_it_is_in_the_document_only_where_it_is_stated() -> None:
    assert "may_grow" not in read(QUEUES).document()
    assert read({**QUEUES, **MORE}).document()["may_grow"] is True
    assert not read({**QUEUES, **MORE}).states_as(read(QUEUES))


def read(document: Any) -> Variable:
    """Return a variable."""
    made = Variable.read(document, Place())
    assert made is not None
    return made


PARTS = st.lists(
    st.one_of(
        st.integers(-6, 12),
        st.tuples(st.integers(-6, 12), st.integers(0, 6)).map(lambda ends: f"{ends[0]}-{ends[0] + ends[1]}"),
        st.fixed_dictionaries({"min": st.integers(-6, 0), "max": st.integers(1, 12), "step": st.integers(2, 5)}),
    ),
    max_size=4,
)


@given(PARTS, st.integers(-8, 14))
def test_the_least_value_above_another_one(parts: list[Any], number: int) -> None:
    values = AllowedValues.read(Type.INT, parts, Place())
    above = [other for other in range(-8, 30) if other in values and other > number]
    assert values.least_above(number) == min(above, default=None)
    smaller = values.with_smaller()
    assert (number in smaller) is any(other in values and other >= number for other in range(-8, 30))


@given(worlds(), devices())
def test_growth_never_turns_a_yes_into_a_no(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], asked: Device
) -> None:
    made, releases = published
    growing = World()
    for release, document in releases:
        stated = {
            name: {**one, "may_grow": one["type"] != "str" and one["scope"] in {"interface", "saved-state"}}
            for name, one in document["variables"].items()
        }
        growing.publish(release, {NIC: {**document, "variables": stated}})
    growing.profile("vendor-a.com/p", {NIC: world_profile(made)})
    for release, _ in releases:
        before, after = made.ask(asked, release), growing.ask(asked, release)
        if before.compatible:
            assert (after.configuration, grown(after)) == (before.configuration, None)
        assert set(codes(after)) - set(codes(before)) <= {
            (code, name) for code, name in codes(after) if code in {"constraint-violated", "not-migratable"}
        }
