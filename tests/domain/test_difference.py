"""Differences of two releases or two profiles, and the directions of migration that they close."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fleet.difference import Difference, Direction, Extent, between_profiles, between_releases
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, codes, variable

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", True, False)
VENDORS = ("vendor-a.com", "vendor-a.com")


def differences(before: Any, after: Any) -> list[Difference]:
    """Return the differences of two sets of a model; None: the release does not implement the model."""
    world = World()
    for release, stated in ((OLD, before), (NEW, after)):
        world.publish(release, {} if stated is None else {NIC: stated})
    model, old, new = world.model(NIC), world.release(OLD), world.release(NEW)
    assert model
    assert old
    assert new
    return between_releases(model, VENDORS, old.sets.get(NIC), new.sets.get(NIC))


def summary(before: Any, after: Any) -> list[tuple[str | None, str, str, str]]:
    """Return differences as (variable, change, closed directions, message)."""
    return [
        (difference.variable, difference.change.value, _closed(difference), difference.message)
        for difference in differences(before, after)
    ]


def _closed(difference: Difference) -> str:
    return ", ".join(f"{direction.value} {extent.value}" for direction, extent in (difference.closes or {}).items())


CASES: list[tuple[Any, Any, tuple[str | None, str, str, str]]] = [
    (None, {}, (None, "added", "backward always", f"{NIC} is new; no device of it can move back.")),
    ({}, None, (None, "removed", "forward always", f"{NIC} is no longer implemented; no device of it can move there.")),
    ({}, {"f": FLAG}, ("f", "added", "backward in-part", "f is new; migrating back needs f=off.")),
    ({"f": FLAG}, {}, ("f", "removed", "forward in-part", "f is no longer known; migrating there needs f=off.")),
    (
        {},
        {"f": variable("int", 1)},
        (
            "f",
            "added",
            "forward always, backward always",
            "f is new; it has no off_value, so nothing says what devices without it had.",
        ),
    ),
    (
        {},
        {"f": variable("bool", False, False, settable=False)},
        ("f", "added", "", "f is new; it is always off, as in devices without it."),
    ),
    (
        {},
        {"mac": variable("str", "", scope="instance")},
        (
            "mac",
            "added",
            "backward in-part",
            "mac is new; it belongs to one device; migrating back needs a device that does not set it.",
        ),
    ),
    (
        {"netdev": variable("str", "", scope="backend")},
        {},
        ("netdev", "removed", "", "netdev is no longer known; it is a resource of the host and never compared."),
    ),
    (
        {"q": QUEUES},
        {"q": {**QUEUES, "allowed_values": ["1-16"]}},
        ("q", "changed", "backward in-part", "q allows 1-16, not 1-8."),
    ),
    (
        {"q": QUEUES},
        {"q": {**QUEUES, "allowed_values": ["1-4"]}},
        ("q", "changed", "forward in-part", "q allows 1-4, not 1-8."),
    ),
    (
        {"q": variable("int", 4, allowed=[4])},
        {"q": variable("int", 8, allowed=[8])},
        ("q", "changed", "forward always, backward always", "q is 8 in a new device, not 4, allows 8, not 4."),
    ),
    ({"q": QUEUES}, {"q": {**QUEUES, "init_value": 8}}, ("q", "changed", "", "q is 8 in a new device, not 4.")),
    (
        {"f": FLAG},
        {"f": {**FLAG, "off_value": False, "init_value": False, "settable": False}},
        ("f", "changed", "forward in-part", "f can no longer be set (always off)."),
    ),
    (
        {"f": {**FLAG, "init_value": False, "settable": False}},
        {"f": FLAG},
        ("f", "changed", "backward in-part", "f is on in a new device, not off, can now be set: any bool."),
    ),
    (
        {"f": FLAG},
        {"f": {**FLAG, "runtime": True}},
        ("f", "changed", "", "f can now be changed while running."),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "migratable": False},
        (None, "changed", "forward always, backward always", "Devices can no longer be migrated."),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "constraints": [{"when": {}, "require": {"q": ["2-8"]}}]},
        (None, "changed", "forward in-part", "The constraints differ."),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "blocks_migration": [{"when": {"q": [8]}}]},
        (
            None,
            "changed",
            "forward in-part, backward in-part",
            "The configurations that block migration differ.",
        ),
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"), CASES, ids=lambda case: case[3] if isinstance(case, tuple) else ""
)
def test_a_difference_of_releases(before: Any, after: Any, expected: tuple[str | None, str, str, str]) -> None:
    assert summary(before, after) == [expected]


def test_a_changed_description_is_not_a_difference() -> None:
    assert summary({"q": QUEUES}, {"q": {**QUEUES, "description": "queue pairs"}}) == []
    assert summary({"q": QUEUES}, {"q": {name: value for name, value in QUEUES.items() if name != "off_value"}}) == []
    model = World().publish(OLD, {NIC: {}}).model(NIC)
    assert model
    assert between_releases(model, VENDORS, None, None) == []


@pytest.mark.parametrize(("before", "after", "expected"), [case for case in CASES if case[0] and case[1]])
def test_verdicts_refuse_exactly_what_a_difference_closes(
    before: Any, after: Any, expected: tuple[str | None, ...]
) -> None:
    """Check that no value can move if closed `always`, some if `in-part`, and all if open."""
    del expected
    world = World().publish(OLD, {NIC: before}).publish(NEW, {NIC: after})
    for (source, there), direction in (((OLD, NEW), Direction.FORWARD), ((NEW, OLD), Direction.BACKWARD)):
        own = world.release(source)
        assert own
        devices = [
            Device(id="x", model=NIC, release=source, values={name: value})
            for name, variable in own.sets[NIC].variables.items()
            for value in {"int": range(20), "bool": (False, True), "str": ("", "x")}[variable.type.value]
            if value in variable.allowed
        ] or [Device(id="x", model=NIC, release=source)]
        answers = [world.ask(asked, there) for asked in devices]
        verdicts = [verdict.compatible for verdict in answers if ("source-value-invalid", "q") not in codes(verdict)]
        closed = [difference.closes for difference in differences(before, after) if difference.closes]
        extents = {closes[direction].value for closes in closed if direction in closes}
        if "always" in extents:
            assert not any(verdicts)
        elif "in-part" in extents:
            assert any(verdicts)
            assert not all(verdicts)
        else:
            assert all(verdicts)


_SCOPES = st.sampled_from(["interface", "instance", "backend"])
_INTS = st.sets(st.integers(0, 3), min_size=1).map(sorted)


@st.composite
def _stated(draw: st.DrawFn) -> dict[str, Any]:
    """Return the document of a variable, as one of two vendors states it."""
    if draw(st.booleans()):
        allowed: list[Any] = draw(st.sampled_from([[False], [True], [False, True]]))
        kind = "bool"
    else:
        allowed, kind = draw(_INTS), "int"
    off = draw(st.sampled_from([None, *allowed]))
    scope = draw(_SCOPES)
    may_grow = scope == "interface" and draw(st.booleans())
    return variable(kind, draw(st.sampled_from(allowed)), off, allowed, scope=scope, may_grow=may_grow)


@given(_stated(), _stated())
def test_verdicts_refuse_exactly_what_the_difference_of_any_two_statements_closes(before: Any, after: Any) -> None:
    one, other, vendors = "vendor-b.com/fw@1", "vendor-c.com/fw@1", ("vendor-b.com", "vendor-c.com")
    world = World().publish(OLD, {NIC: {}}).publish(one, {NIC: {"v": before}}).publish(other, {NIC: {"v": after}})
    model, old, new = world.model(NIC), world.release(one), world.release(other)
    assert model
    assert old
    assert new
    result = between_releases(model, vendors, old.sets[NIC], new.sets[NIC])
    sides = {Direction.FORWARD: (one, old, other), Direction.BACKWARD: (other, new, one)}
    for direction, (source, release, there) in sides.items():
        allowed = [value for value in (False, True, 0, 1, 2, 3) if value in release.sets[NIC].variables["v"].allowed]
        devices = [Device(id="x", model=NIC, release=source, values={"v": value}) for value in allowed]
        devices.append(Device(id="x", model=NIC, release=source))
        # A difference is about values; that nothing can be compared is no difference.
        verdicts = [{code for code, _ in codes(world.ask(asked, there))} <= {"nothing-compared"} for asked in devices]
        closed = {
            difference.closes[direction]
            for difference in result
            if difference.closes and direction in difference.closes
        }
        expected = set() if all(verdicts) else {Extent.IN_PART} if any(verdicts) else {Extent.ALWAYS}
        assert closed == expected


def test_profiles_differ_in_the_values_of_a_device() -> None:
    world = World().publish(OLD, {NIC: {"q": QUEUES, "f": FLAG, "x": variable("int", 3)}})
    model = world.model(NIC)
    assert model
    assert between_profiles(model, VENDORS, {"q": 1, "f": False}, {}) == []
    result = between_profiles(model, VENDORS, {"q": 8, "f": True}, {"q": 4, "x": 3})
    assert [
        (difference.variable, difference.change.value, difference.before, difference.after) for difference in result
    ] == [
        ("f", "removed", True, False),
        ("q", "changed", 8, 4),
        ("x", "added", None, 3),
    ]
    assert {_closed(difference) for difference in result} == {"forward always, backward always"}
    (gone,) = between_profiles(model, VENDORS, {"q": 8}, None)
    assert (gone.variable, gone.change.value) == (None, "removed")
    assert between_profiles(model, VENDORS, None, None) == []
