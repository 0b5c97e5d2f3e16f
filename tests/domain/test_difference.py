"""The difference of two releases or two profiles, and which direction of migration it closes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.difference import Difference, Direction, Extent, between_profiles, between_releases
from app.domain.source import Device
from tests.domain.world import NIC, World, codes, variable

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", True, False)
VENDORS = ("vendor-a.com", "vendor-a.com")


def differences(before: Any, after: Any) -> list[Difference]:
    """Return what differs between two sets of a model; None: it is not implemented."""
    world = World()
    for release, stated in ((OLD, before), (NEW, after)):
        world.publish(release, {} if stated is None else {NIC: stated})
    model, old, new = world.model(NIC), world.release(OLD), world.release(NEW)
    assert model
    assert old
    assert new
    return between_releases(model, VENDORS, old.sets.get(NIC), new.sets.get(NIC))


def told(before: Any, after: Any) -> list[tuple[str | None, str, str, str]]:
    """Return differences as (variable, change, what it closes, message)."""
    return [(each.variable, each.change.value, _closed(each), each.message) for each in differences(before, after)]


def _closed(each: Difference) -> str:
    return ", ".join(f"{direction.value} {extent.value}" for direction, extent in (each.closes or {}).items())


CASES: list[tuple[Any, Any, tuple[str | None, str, str, str]]] = [
    (None, {}, (None, "added", "backward always", f"{NIC} is new: no device of it can come back")),
    ({}, None, (None, "removed", "forward always", f"{NIC} is gone: no device of it can go there")),
    ({}, {"f": FLAG}, ("f", "added", "backward in-part", "f is new: a device goes back only with it off (off)")),
    ({"f": FLAG}, {}, ("f", "removed", "forward in-part", "f is gone: a device goes on only with it off (off)")),
    (
        {},
        {"f": variable("int", 1)},
        (
            "f",
            "added",
            "forward always, backward always",
            "f is new: it has no off value, so the other side cannot be the same",
        ),
    ),
    (
        {},
        {"f": variable("bool", False, False, settable=False)},
        ("f", "added", "", "f is new: it is always off (off)"),
    ),
    (
        {},
        {"mac": variable("str", "", scope="instance")},
        (
            "mac",
            "added",
            "backward in-part",
            "mac is new: it is one device's own; a device that is given it does not go back",
        ),
    ),
    (
        {"netdev": variable("str", "", scope="backend")},
        {},
        ("netdev", "removed", "", "netdev is gone: it is the host's own and never compared"),
    ),
    (
        {"q": QUEUES},
        {"q": {**QUEUES, "allowed_values": ["1-16"]}},
        ("q", "changed", "backward in-part", "q allows 1-16, not 1-8"),
    ),
    (
        {"q": QUEUES},
        {"q": {**QUEUES, "allowed_values": ["1-4"]}},
        ("q", "changed", "forward in-part", "q allows 1-4, not 1-8"),
    ),
    (
        {"q": variable("int", 4, allowed=[4])},
        {"q": variable("int", 8, allowed=[8])},
        ("q", "changed", "forward always, backward always", "q is 8 in a new device, not 4, allows 8, not 4"),
    ),
    ({"q": QUEUES}, {"q": {**QUEUES, "init_value": 8}}, ("q", "changed", "", "q is 8 in a new device, not 4")),
    (
        {"f": FLAG},
        {"f": {**FLAG, "off_value": False, "init_value": False, "settable": False}},
        ("f", "changed", "forward in-part", "f cannot be set any more (always off)"),
    ),
    (
        {"f": {**FLAG, "init_value": False, "settable": False}},
        {"f": FLAG},
        ("f", "changed", "backward in-part", "f is on in a new device, not off, can be set now: any bool"),
    ),
    (
        {"f": FLAG},
        {"f": {**FLAG, "runtime": True}},
        ("f", "changed", "", "f can be changed on a running device now"),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "migratable": False},
        (None, "changed", "forward always, backward always", "a device can no longer be migrated"),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "constraints": [{"when": {}, "require": {"q": ["2-8"]}}]},
        (None, "changed", "forward in-part", "the constraints are others"),
    ),
    (
        {"variables": {"q": QUEUES}},
        {"variables": {"q": QUEUES}, "blocks_migration": [{"when": {"q": [8]}}]},
        (
            None,
            "changed",
            "forward in-part, backward in-part",
            "the configurations that cannot be migrated are others",
        ),
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"), CASES, ids=lambda case: case[3] if isinstance(case, tuple) else ""
)
def test_a_difference_of_releases(before: Any, after: Any, expected: tuple[str | None, str, str, str]) -> None:
    assert told(before, after) == [expected]


def test_what_is_described_otherwise_is_no_difference() -> None:
    assert told({"q": QUEUES}, {"q": {**QUEUES, "description": "queue pairs"}}) == []
    assert told({"q": QUEUES}, {"q": {name: each for name, each in QUEUES.items() if name != "off_value"}}) == []
    model = World().publish(OLD, {NIC: {}}).model(NIC)
    assert model
    assert between_releases(model, VENDORS, None, None) == []


@pytest.mark.parametrize(("before", "after", "expected"), [case for case in CASES if case[0] and case[1]])
def test_what_is_closed_is_what_a_verdict_refuses(before: Any, after: Any, expected: tuple[str | None, ...]) -> None:
    """`always`: no value goes that way; `in-part`: some do; open: all do."""
    del expected
    world = World().publish(OLD, {NIC: before}).publish(NEW, {NIC: after})
    for (source, there), direction in (((OLD, NEW), Direction.FORWARD), ((NEW, OLD), Direction.BACKWARD)):
        own = world.release(source)
        assert own
        devices = [
            Device(id="x", model=NIC, release=source, values={name: value})
            for name, each in own.sets[NIC].variables.items()
            for value in {"int": range(20), "bool": (False, True), "str": ("", "x")}[each.type.value]
            if value in each.allowed
        ] or [Device(id="x", model=NIC, release=source)]
        asked = [world.ask(each, there) for each in devices]
        verdicts = [each.compatible for each in asked if ("source-value-invalid", "q") not in codes(each)]
        closed = [each.closes for each in differences(before, after) if each.closes]
        extents = {each[direction].value for each in closed if direction in each}
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
    """Return a variable as one vendor of several states it."""
    if draw(st.booleans()):
        allowed: list[Any] = draw(st.sampled_from([[False], [True], [False, True]]))
        kind = "bool"
    else:
        allowed, kind = draw(_INTS), "int"
    off = draw(st.sampled_from([None, *allowed]))
    return variable(kind, draw(st.sampled_from(allowed)), off, allowed, scope=draw(_SCOPES))


@given(_stated(), _stated())
def test_what_is_closed_is_what_a_verdict_refuses_for_any_two_statements(before: Any, after: Any) -> None:
    one, other, vendors = "vendor-b.com/fw@1", "vendor-c.com/fw@1", ("vendor-b.com", "vendor-c.com")
    world = World().publish(OLD, {NIC: {}}).publish(one, {NIC: {"v": before}}).publish(other, {NIC: {"v": after}})
    model, old, new = world.model(NIC), world.release(one), world.release(other)
    assert model
    assert old
    assert new
    found = between_releases(model, vendors, old.sets[NIC], new.sets[NIC])
    sides = {Direction.FORWARD: (one, old, other), Direction.BACKWARD: (other, new, one)}
    for direction, (source, release, there) in sides.items():
        allowed = [value for value in (False, True, 0, 1, 2, 3) if value in release.sets[NIC].variables["v"].allowed]
        devices = [Device(id="x", model=NIC, release=source, values={"v": value}) for value in allowed]
        devices.append(Device(id="x", model=NIC, release=source))
        verdicts = [world.ask(each, there).compatible for each in devices]
        closed = {each.closes[direction] for each in found if each.closes and direction in each.closes}
        expected = set() if all(verdicts) else {Extent.IN_PART} if any(verdicts) else {Extent.ALWAYS}
        assert closed == expected


def test_profiles_differ_in_what_a_device_is() -> None:
    world = World().publish(OLD, {NIC: {"q": QUEUES, "f": FLAG, "x": variable("int", 3)}})
    model = world.model(NIC)
    assert model
    assert between_profiles(model, VENDORS, {"q": 1, "f": False}, {}) == []
    found = between_profiles(model, VENDORS, {"q": 8, "f": True}, {"q": 4, "x": 3})
    assert [(each.variable, each.change.value, each.before, each.after) for each in found] == [
        ("f", "removed", True, False),
        ("q", "changed", 8, 4),
        ("x", "added", None, 3),
    ]
    assert {_closed(each) for each in found} == {"forward always, backward always"}
    (gone,) = between_profiles(model, VENDORS, {"q": 8}, None)
    assert (gone.variable, gone.change.value) == (None, "removed")
    assert between_profiles(model, VENDORS, None, None) == []
