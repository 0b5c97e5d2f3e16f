"""VMs with parts at hosts with units: what serves each device (DESIGN 5, "Units"), held against every possible way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine.kind import Kinds
from app.domain.engine.question import Answer
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.host import Host
from app.domain.verdict.source import Device
from tests.domain.world import World, codes, variable

PASS, STREAM, CARD = "vendor-a.com/pass", "vendor-a.com/stream", "vendor-a.com/card"
MODELS = (PASS, STREAM, CARD)
EMULATOR, KERNEL, OLD, NEW = "vendor-a.com/emu@1", "vendor-a.com/drv@1", "vendor-a.com/fw@1", "vendor-a.com/fw@2"
RELEASES = (EMULATOR, "vendor-a.com/emu@2", KERNEL, "vendor-a.com/drv@2", OLD, NEW, "vendor-a.com/all@1")


class Facts(NamedTuple):
    """What a release states of a model: as the oracle reads it, not as the registry does."""

    allowed: tuple[int, ...]
    p2p: bool | None
    state: tuple[int, tuple[int, ...]] | None
    needs: tuple[str, ...]
    over: int | None

    def document(self) -> dict[str, Any]:
        """Return the variable set."""
        variables = {"v": variable("int", self.allowed[0], None, self.allowed)}
        if self.p2p is not None:
            variables["p2p"] = variable("bool", self.p2p, settable=False, scope="backend")
        document: dict[str, Any] = {"variables": variables, "needs": list(self.needs)}
        if self.state is not None:
            document["saved_state"] = {"writes": self.state[0], "reads": list(self.state[1])}
        if self.over is not None:
            document["together"] = [{"role": "behind", "over": self.over, "require": {"p2p": [True]}}]
        return document


Registry = Mapping[str, Mapping[str, Facts]]


@dataclass(frozen=True)
class Place:
    """One way to serve a device: by a release of the host, or of the unit at this position."""

    unit: int | None
    release: str


def implementation(release: str) -> str:
    """Return the product of a release."""
    return release.partition("@")[0]


def serving(model: str, releases: Sequence[str], registry: Registry) -> list[str]:
    """Return the releases of the first product that implements a model, in order."""
    first = next((implementation(release) for release in releases if model in registry[release]), None)
    return [release for release in releases if implementation(release) == first]


def every_way(vm: Sequence[Device], host: Destination, registry: Registry) -> Iterator[list[Place]]:
    """Iterate over every way to serve the devices of a VM, in the host's order; none if a model is not implemented."""
    groups: dict[tuple[str, str], list[int]] = {}
    for position, device in enumerate(vm):
        groups.setdefault(group_of(device, vm, host, registry), []).append(position)
    choices: list[list[dict[int, Place]]] = []
    for (where, key), members in groups.items():
        if where == "host":
            releases = serving(vm[members[0]].model, host.releases, registry)
            choices.append([dict.fromkeys(members, Place(None, release)) for release in releases])
        else:
            choices.append(list(ways_at_units(members, key, vm, host, registry)))
    for ways_of in product(*choices):
        merged = {position: place for way in ways_of for position, place in way.items()}
        yield [merged[position] for position in range(len(vm))]


def group_of(device: Device, vm: Sequence[Device], host: Destination, registry: Registry) -> tuple[str, str]:
    """Return what is equal for devices that are served together: a product of the host, or the outermost of a unit."""
    by_id = {other.id: other for other in vm}

    def is_of_unit(other: Device) -> bool:
        return not serving(other.model, host.releases, registry) and bool(host.units)

    if not is_of_unit(device):
        return "host", implementation(next(iter(serving(device.model, host.releases, registry)), "@"))
    above, outer = device, device.id
    while above.part_of is not None:
        above = by_id[above.part_of]
        outer = above.id if is_of_unit(above) else outer
    return "unit", outer


def ways_at_units(
    members: Sequence[int], outermost: str, vm: Sequence[Device], host: Destination, registry: Registry
) -> Iterator[dict[int, Place]]:
    """Iterate over the ways to serve devices together at one of the host's units."""
    models = {device.id: device.model for device in vm}
    for index, unit in enumerate(host.units):
        if not serving(models[outermost], unit.releases, registry):
            continue
        at_unit = [serving(vm[member].model, unit.releases, registry) for member in members]
        # All devices of one product are served by one of its releases.
        for releases in product(*at_unit):
            products = {implementation(release): release for release in releases}
            if all(products[implementation(release)] == release for release in releases):
                yield {member: Place(index, release) for member, release in zip(members, releases, strict=True)}


def is_possible(vm: Sequence[Device], host: Destination, places: Sequence[Place], registry: Registry) -> bool:
    """Return whether the devices of a VM can be served like that: steps 4, 9, 10 and 11."""
    parts = [device for device in vm if device.role == "behind"]
    for device, place in zip(vm, places, strict=True):
        here, there = registry[device.release or ""][device.model], registry[place.release].get(device.model)
        if there is None:
            return False
        limits = [host.restrict, *([] if place.unit is None else [host.units[place.unit].restrict])]
        allowed = set(there.allowed)
        for restrict in limits:
            allowed &= {*restrict.get(device.model, {}).get("v", there.allowed)}
        filled = {part.role for part in vm if part.part_of == device.id}
        if device.values["v"] not in allowed or not {*here.needs, *there.needs} <= filled:
            return False
        if here.state and there.state and here.state[0] not in there.state[1]:
            return False
    at_source = [registry[device.release or ""][device.model] for device in vm]
    at_host = [registry[place.release][device.model] for device, place in zip(vm, places, strict=True)]
    for end in (at_source, at_host):
        overs = [facts.over for facts in end if facts.over is not None]
        behind = [facts for device, facts in zip(vm, end, strict=True) if device in parts]
        if len({part.part_of for part in parts}) > min(overs, default=99) and not all(facts.p2p for facts in behind):
            return False
    return True


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Return what some releases state."""
    some = st.tuples(st.integers(1, 2), st.sampled_from([(1, 2), (1, 2), (1,), (2,)]))
    states = st.none() | st.none() | some
    facts = st.builds(
        Facts,
        st.sampled_from([(1, 2, 3), (1, 2, 3), (1, 2), (2, 3), (3,)]),
        st.sampled_from([True, True, False, None]),
        states,
        st.sampled_from([(), (), (), ("behind",)]),
        st.sampled_from([None, None, None, None, 1]),
    )
    models = {"emu": [PASS], "drv": [STREAM], "fw": [CARD], "all": list(MODELS)}
    return {
        release: {model: draw(facts) for model in models[implementation(release).rpartition("/")[2]]}
        for release in RELEASES
    }


@st.composite
def vms(draw: st.DrawFn, registry: Registry) -> list[Device]:
    """Return the devices of a VM: some that are passed through, most with a driver and a card behind them."""
    devices: list[Device] = []

    def add(model: str, part_of: str | None) -> str:
        release = draw(st.sampled_from([name for name in RELEASES if model in registry[name]]))
        value = draw(st.sampled_from(registry[release][model].allowed))
        role = None if part_of is None else draw(st.sampled_from(["behind", "behind", "other"]))
        name = f"d{len(devices)}"
        devices.append(Device(id=name, model=model, release=release, values={"v": value}, part_of=part_of, role=role))
        return name

    for _ in range(draw(st.integers(1, 2))):
        above: str | None = add(draw(st.sampled_from([PASS, PASS, CARD])), None)
        for model in (STREAM, CARD):
            if draw(st.integers(0, 3)):
                above = add(model, above)
    return draw(st.permutations(devices))


@st.composite
def hosts(draw: st.DrawFn) -> Destination:
    """Return a host with some releases and units."""

    def restricted() -> dict[str, Any]:
        some = st.lists(st.integers(1, 3), min_size=2, unique=True)
        return {draw(st.sampled_from(MODELS)): {"v": draw(some)}} if draw(st.integers(0, 3)) == 0 else {}

    drivers = st.lists(st.sampled_from(RELEASES[2:5]), max_size=2, unique=True)
    own = [*draw(st.permutations(RELEASES[:2]))[: draw(st.integers(1, 2))], *draw(drivers)]
    some = st.lists(st.sampled_from(RELEASES[2:]), min_size=1, max_size=2, unique=True)
    units = [Unit(f"u{index}", tuple(draw(some)), restricted()) for index in range(draw(st.integers(0, 3)))]
    return Destination("there", tuple(own), restricted(), units=tuple(units))


@given(st.data())
def test_a_vm_is_compatible_if_some_way_to_serve_it_is_and_the_first_one_serves_it(data: st.DataObject) -> None:
    registry = data.draw(registries())
    world = World()
    for release, models in registry.items():
        world.publish(release, {model: facts.document() for model, facts in models.items()})
    vm, host = data.draw(vms(registry)), data.draw(hosts())
    answer = world.answer(vm, host)
    possible = [places for places in every_way(vm, host, registry) if is_possible(vm, host, places, registry)]
    assert answer.compatible == bool(possible)
    if possible:
        assert [Place(one.unit, one.release) for one in answer.devices] == possible[0]


@given(st.data())
def test_no_order_and_no_id_changes_whether_a_vm_is_compatible(data: st.DataObject) -> None:
    registry = data.draw(registries())
    world = World()
    for release, models in registry.items():
        world.publish(release, {model: facts.document() for model, facts in models.items()})
    vm, host = data.draw(vms(registry)), data.draw(hosts())
    names = {device.id: f"other-{index}" for index, device in enumerate(vm)}
    renamed = [
        replace(device, id=names[device.id], part_of=names.get(device.part_of or ""))
        for device in data.draw(st.permutations(vm))
    ]
    units = [unit._replace(id=f"unit-{unit.id}") for unit in data.draw(st.permutations(host.units))]
    turned = host._replace(id="other", units=tuple(units))
    assert world.answer(renamed, turned).compatible == world.answer(vm, host).compatible


NIC, GPU = "vendor-a.com/nic", "vendor-a.com/gpu"
QUEUES = variable("int", 4, 1, ["1-8"])


def cards() -> World:
    """Return an emulator, two firmwares of a card, and three types of a GPU."""
    made = World().publish(EMULATOR, {PASS: {"variables": {"v": variable("int", 1)}, "needs": ["behind"]}})
    made.publish(OLD, {NIC: {"queues": {**QUEUES, "allowed_values": ["1-4"]}}}).publish(NEW, {NIC: {"queues": QUEUES}})
    for size in (1, 2, 4):
        made.publish(f"vendor-a.com/gpu-{size}@1", {GPU: {"gb": variable("int", size, settable=False)}})
    return made


def nic(name: str = "nic", **more: Any) -> Device:
    """Return a device of a card."""
    return Device(id=name, model=NIC, **{"release": NEW, **more})


def at_units(*units: Unit, releases: tuple[str, ...] = (EMULATOR,), **more: Any) -> Destination:
    """Return a host with these units."""
    return Destination("there", releases, units=units, **more)


def served(answer: Answer) -> list[tuple[int | None, str, list[tuple[str, str | None]]]]:
    """Return the unit, the release and the problems of each device."""
    return [(one.unit, one.release, codes(one.verdict)) for one in answer.devices]


def test_a_device_goes_to_the_first_unit_that_takes_it() -> None:
    old, new = Unit("a", (OLD,)), Unit("b", (NEW,))
    eight, four = nic(values={"queues": 8}), nic(values={"queues": 4})
    assert served(cards().answer([eight], at_units(old, new))) == [(1, NEW, [])]
    assert served(cards().answer([four], at_units(old, new))) == [(0, OLD, [])]
    # Several devices may use one unit.
    assert served(cards().answer([four, nic("other", values={"queues": 2})], at_units(old))) == [(0, OLD, [])] * 2
    gpu = Device(id="gpu", model=GPU, release="vendor-a.com/gpu-2@1")
    types = [Unit(f"t{size}", (f"vendor-a.com/gpu-{size}@1",)) for size in (1, 2, 4)]
    assert served(cards().answer([gpu], at_units(*types))) == [(1, "vendor-a.com/gpu-2@1", [])]


def test_what_the_host_itself_runs_counts_before_its_units() -> None:
    asked = nic(values={"queues": 8})
    answer = cards().answer([asked], at_units(Unit("b", (NEW,)), releases=(EMULATOR, OLD)))
    assert served(answer) == [(None, OLD, [("value-not-allowed", "queues")])]


def test_where_no_unit_takes_a_device_the_one_with_the_fewest_problems_answers() -> None:
    stated = {"queues": QUEUES, "speed": variable("int", 10)}
    made = cards().publish("vendor-a.com/fw@3", {NIC: stated}).publish("vendor-a.com/fw@4", {NIC: stated})
    asked = nic(release="vendor-a.com/fw@3", values={"queues": 8, "speed": 40})
    two = Unit("two", (OLD,))
    one = Unit("one", ("vendor-a.com/fw@4",), {NIC: {"queues": [2]}})
    same = Unit("same", ("vendor-a.com/fw@4",), {NIC: {"speed": [10]}})
    lacks = Unit("lacks", ("vendor-a.com/gpu-1@1",))
    answer = made.answer([asked], at_units(lacks, two, one, same))
    assert served(answer) == [(2, "vendor-a.com/fw@4", [("value-not-allowed", "queues")])]
    # What no unit implements is a question of the host.
    nowhere = made.answer([asked], at_units(lacks))
    assert served(nowhere) == [(None, EMULATOR, [("model-not-supported", None)])]


def test_a_device_takes_its_parts_along_to_one_unit() -> None:
    made = cards().publish("vendor-a.com/both@1", {NIC: {"queues": QUEUES}, GPU: {"gb": variable("int", 1)}})
    gpu = Device(id="gpu", model=GPU, release="vendor-a.com/gpu-1@1", part_of="nic", role="engine")
    cards_of_host = at_units(Unit("nic", (NEW,)), Unit("both", ("vendor-a.com/both@1",)))
    assert served(made.answer([nic(), gpu], cards_of_host)) == [(1, "vendor-a.com/both@1", [])] * 2
    # Without the part, the first will do; the order of the devices never matters.
    assert served(made.answer([nic()], cards_of_host)) == [(0, NEW, [])]
    assert served(made.answer([gpu, nic()], cards_of_host)) == [(1, "vendor-a.com/both@1", [])] * 2


def test_a_part_that_the_host_implements_is_served_there() -> None:
    stream = {"variables": {"v": variable("int", 1)}, "needs": ["firmware"]}
    made = cards().publish(KERNEL, {STREAM: stream})
    asked = [
        Device(id="dev", model=PASS, release=EMULATOR),
        Device(id="drv", model=STREAM, release=KERNEL, part_of="dev", role="behind"),
        nic("fw", values={"queues": 8}, part_of="drv", role="firmware"),
    ]
    answer = made.answer(asked, at_units(Unit("a", (OLD,)), Unit("b", (NEW,)), releases=(EMULATOR, KERNEL)))
    assert served(answer) == [(None, EMULATOR, []), (None, KERNEL, []), (1, NEW, [])]


def test_a_unit_and_its_host_both_restrict() -> None:
    unit = Unit("a", (NEW,), {NIC: {"queues": ["2-8"]}})
    host = at_units(unit, restrict={NIC: {"queues": ["1-4"]}})
    for queues, is_allowed in ((1, False), (2, True), (4, True), (5, False)):
        assert cards().answer([nic(values={"queues": queues})], host).compatible is is_allowed


def test_an_unknown_release_of_a_unit_is_named() -> None:
    gone = Unit("gone", ("vendor-a.com/fw@9",))
    answer = cards().answer([nic()], at_units(gone))
    assert served(answer) == [(None, EMULATOR, [("unknown-release", None)])]
    answered = cards().answer([nic()], at_units(gone, Unit("b", (NEW,))))
    assert served(answered) == [(1, NEW, [])]
    assert "unknown-release" in [caution.code for caution in answered.devices[0].verdict.warnings]


def test_a_remedy_at_any_unit_is_one() -> None:
    runtime = {"queues": {**QUEUES, "runtime": True}, "on": variable("bool", False, False)}
    made = cards().publish("vendor-a.com/fw@3", {NIC: runtime})
    asked = nic(release="vendor-a.com/fw@3", values={"queues": 8})
    narrow = at_units(Unit("a", (OLD,), {NIC: {"queues": [1]}}), Unit("b", (OLD,)))
    (change,) = made.answer([asked], narrow).devices[0].verdict.remedies
    assert (change.variable, change.before, change.after) in {("queues", 8, 4), ("queues", 8, 1)}


# --- The source host.


def source_of(host: Destination, unit: str | None = None, release: str | None = None, **values: Any) -> Device:
    """Return a NIC on a host."""
    return Device(id="nic", model=NIC, host=host, unit=unit, release=release, values=values)


def test_the_unit_of_the_source_says_which_release_made_a_device() -> None:
    one = Destination("src", (EMULATOR,), units=(Unit("a", (NEW,)),))
    here = at_units(Unit("x", (NEW,)))
    assert cards().answer([source_of(one, queues=8)], here).compatible
    two = Destination("src", (EMULATOR,), units=(Unit("a", (OLD,)), Unit("b", (NEW,)), Unit("c", (NEW,))))
    (problem,) = cards().answer([source_of(two)], here).devices[0].verdict.problems
    assert problem.message == (
        "Several releases of the host src implement vendor-a.com/nic: vendor-a.com/fw@1, vendor-a.com/fw@2. Name one."
    )
    assert cards().answer([source_of(two, "b", queues=8)], here).compatible
    assert cards().answer([source_of(two, release=NEW, queues=8)], here).compatible
    assert served(cards().answer([source_of(two, "a", queues=8)], here))[0][2] == [("source-value-invalid", "queues")]
    for asked, message in (
        (source_of(two, "z"), "The host src has no unit z. Its units: a, b, c."),
        (source_of(Destination("src", (EMULATOR,)), "z"), "The host src has no unit z. Its units: none."),
        (
            source_of(two, "a", NEW),
            (
                "The device names the source release vendor-a.com/fw@2, but the unit a of its host src runs "
                "vendor-a.com/fw@1."
            ),
        ),
        (
            source_of(two, None, "vendor-a.com/fw@7"),
            (
                "The device names the source release vendor-a.com/fw@7, but its host src runs vendor-a.com/emu@1, "
                "vendor-a.com/fw@1, vendor-a.com/fw@2."
            ),
        ),
    ):
        problems = cards().answer([asked], here).devices[0].verdict.problems
        assert message in [problem.message for problem in problems]


def test_units_that_make_a_device_differently_have_to_be_told_apart() -> None:
    narrow = Unit("b", (NEW,), {NIC: {"queues": [4]}})
    host = Destination("src", (EMULATOR,), units=(Unit("a", (NEW,)), narrow))
    here = at_units(Unit("x", (NEW,)))
    (problem,) = cards().answer([source_of(host)], here).devices[0].verdict.problems
    assert problem.message == ("Units of the host src make vendor-a.com/nic differently: a, b. Name the device's unit.")
    assert cards().answer([source_of(host, "a", queues=8)], here).compatible
    assert not cards().answer([source_of(host, "b", queues=8)], here).compatible
    # What a unit restricts of another model says nothing of this one.
    alike = Destination("src", (EMULATOR,), units=(Unit("a", (NEW,)), Unit("b", (NEW,), {GPU: {"gb": [1]}})))
    assert cards().answer([source_of(alike, queues=8)], here).compatible


# --- Values that a host decides.


def offloading(**more: Any) -> World:
    """Return a device with a switch whose meaning each host decides."""
    uso = variable("bool", True, False, resolved_by_host=[True], **more)
    mode = variable("str", "auto", None, ["auto", "fast", "safe"], resolved_by_host=["auto"])
    return World().publish(EMULATOR, {PASS: {"uso": uso, "mode": mode}})


def resolving(identifier: str, **made: dict[str, Any]) -> Destination:
    """Return a host that makes something of values."""
    return Destination(identifier, (EMULATOR,), resolves={PASS: made} if made else {})


LACKS, HAS = {"on": False}, {"on": True}


@pytest.mark.parametrize(
    ("source", "there", "expected"),
    [
        (None, None, {"uso": True}),
        (None, LACKS, None),
        (None, HAS, {"uso": True}),
        (LACKS, None, {"uso": False}),
        (LACKS, LACKS, {"uso": False}),
        (LACKS, HAS, {"uso": False}),
        (HAS, LACKS, None),
        (HAS, HAS, {"uso": True}),
    ],
)
def test_a_value_is_what_the_source_makes_of_it_and_allowed_where_the_same_is_made_of_it(
    source: Any, there: Any, expected: Any
) -> None:
    asked = Device(
        id="dev",
        model=PASS,
        release=EMULATOR,
        values={"mode": "fast"},
        host=resolving("src", **({"uso": source} if source else {})),
    )
    answer = offloading().answer([asked], resolving("dst", **({"uso": there} if there else {})))
    verdict = answer.devices[0].verdict
    assert answer.compatible is (expected is not None)
    if expected is None:
        assert codes(verdict) == [("value-not-allowed", "uso")]
        assert verdict.problems[0].message == "uso=on at the source, but the destination's host makes off of on."
        return
    assert verdict.configuration == {**expected, "mode": "fast"}
    # It is checked where both hosts say what they make of it, or what is made of it is no longer decided by a host.
    assert verdict.unchecked == (("uso",) if expected["uso"] and not (source and there) else ())


def test_only_named_values_are_resolved_and_a_unit_counts_before_its_host() -> None:
    made = offloading()
    auto = Device(id="dev", model=PASS, release=EMULATOR, values={"uso": False})
    fast = resolving("src", mode={"auto": "fast"})
    on_fast = Device(id="dev", model=PASS, host=fast, values={"uso": False})
    verdict = made.answer([on_fast], resolving("dst", mode={"auto": "safe"})).devices[0].verdict
    assert verdict.configuration == {"uso": False, "mode": "fast"}
    assert verdict.unchecked == ()
    # Nobody says what auto was at the source.
    assert codes(made.answer([auto], fast).devices[0].verdict) == [("value-not-allowed", "mode")]
    # An explicit value is resolved, too: it is what was asked of the source.
    explicit = Device(id="dev", model=PASS, host=resolving("src", uso=LACKS), values={"uso": "on", "mode": "safe"})
    assert made.answer([explicit], resolving("dst")).devices[0].verdict.configuration == {"uso": False, "mode": "safe"}
    unit = Unit("u", (EMULATOR,), resolves={PASS: {"uso": HAS}})
    host = Destination("dst", (NEW,), resolves={PASS: {"uso": LACKS}}, units=(unit,))
    made.publish(NEW, {NIC: {"queues": QUEUES}})
    given = Device(id="dev", model=PASS, release=EMULATOR, values={"mode": "fast"})
    assert made.answer([given], host).compatible


def test_what_cannot_be_resolved_has_no_effect_and_is_said() -> None:
    asked = Device(id="dev", model=PASS, release=EMULATOR, values={"mode": "fast"})
    host = Destination("dst", (EMULATOR,), resolves={PASS: {"uso": {"maybe": True}, "no": {"1": 1}}, "a.com/x": {}})
    verdict = offloading().answer([asked], host).devices[0].verdict
    assert verdict.compatible
    messages = [caution.message for caution in verdict.warnings if caution.code == "restriction-without-effect"]
    assert messages == [
        (
            "The destination resolves uso of vendor-a.com/pass, but a value must be true or false (on a command line "
            'also on, off, yes or no), not "maybe".'
        ),
        "The destination resolves no of vendor-a.com/pass, but its release has no such variable.",
        "The destination resolves a.com/x, but the registry has no device model a.com/x.",
    ]


def test_a_value_that_its_host_does_not_resolve_stays_as_it_is() -> None:
    asked = Device(id="dev", model=PASS, host=resolving("src", mode={"auto": "fast"}), values={"mode": "safe"})
    verdict = offloading().answer([asked], resolving("dst")).devices[0].verdict
    assert verdict.configuration == {"uso": True, "mode": "safe"}


def test_the_message_about_a_resolved_value_says_why_it_is_refused() -> None:
    made = offloading().profile("vendor-a.com/p", {PASS: {"uso": True, "mode": "fast"}})
    of_profile = Device(id="dev", model=PASS, profile="vendor-a.com/p")
    (problem,) = made.answer([of_profile], resolving("dst", uso=LACKS)).devices[0].verdict.problems
    assert problem.message == "The profile sets uso=on, but the destination's host makes off of on."
    # A restriction refuses it, not what is made of it.
    restricted = resolving("dst", uso=HAS)._replace(restrict={PASS: {"uso": [False]}})
    (problem,) = made.answer([of_profile], restricted).devices[0].verdict.problems
    assert problem.message == "The profile sets uso=on, but vendor-a.com/emu@1 on this host allows off."


def test_the_remedy_is_one_that_the_unit_allows() -> None:
    runtime = {"queues": {**QUEUES, "runtime": True}, "on": variable("bool", False, False)}
    made = cards().publish("vendor-a.com/fw@3", {NIC: runtime})
    asked = nic(release="vendor-a.com/fw@3", values={"queues": 8})
    (change,) = made.answer([asked], at_units(Unit("a", (OLD,), {NIC: {"queues": [2]}}))).devices[0].verdict.remedies
    assert change.after == 2


def test_a_unit_of_two_products_serves_each_device_by_its_own() -> None:
    gpu = Device(id="gpu", model=GPU, release="vendor-a.com/gpu-1@1", part_of="nic", role="engine")
    both = Unit("both", (OLD, "vendor-a.com/gpu-2@1", "vendor-a.com/gpu-1@1", NEW))
    answer = cards().answer([nic(values={"queues": 8}), gpu], at_units(both))
    # The GPUs are products of their own: the first one there has the model, and does not take the device.
    assert [(one.release, one.verdict.compatible) for one in answer.devices] == [
        (NEW, True),
        ("vendor-a.com/gpu-2@1", False),
    ]
    right = both._replace(releases=(OLD, "vendor-a.com/gpu-1@1", NEW))
    assert served(cards().answer([nic(values={"queues": 8}), gpu], at_units(right))) == [
        (0, NEW, []),
        (0, "vendor-a.com/gpu-1@1", []),
    ]


def test_a_host_names_what_serves_a_model_itself_or_by_its_units() -> None:
    units = (Unit("a", (OLD, "vendor-a.com/gpu-1@1")), Unit("b", (NEW,)))
    host = at_units(*units, releases=(EMULATOR, "vendor-a.com/none@1"))
    assert host.all_releases() == (EMULATOR, "vendor-a.com/none@1", OLD, "vendor-a.com/gpu-1@1", NEW)
    assert at_units().all_releases() == (EMULATOR,)
    found = Host.of(host, cards().lookups())

    def names(model: str) -> list[tuple[int | None, str]]:
        return [(runner.position, str(release.name)) for runner, release in found.serving(model)]

    assert names(NIC) == [(0, OLD), (1, NEW)]
    assert names(PASS) == [(None, EMULATOR)]
    assert names("vendor-a.com/none") == []
    assert found.unknown == ["vendor-a.com/none@1"]


def test_a_release_of_the_whole_source_host_counts_before_one_of_a_unit() -> None:
    narrow = Unit("a", (NEW,), {NIC: {"queues": [4]}})
    both = Destination("src", (EMULATOR, NEW), units=(narrow,))
    here = at_units(Unit("x", (NEW,)))
    assert cards().answer([source_of(both, queues=8)], here).compatible
    assert cards().answer([source_of(both, release=NEW, queues=8)], here).compatible
    assert not cards().answer([source_of(both, "a", queues=8)], here).compatible
    older = Destination("src", (OLD,), units=(Unit("a", (NEW,)),))
    assert served(cards().answer([source_of(older, queues=8)], here))[0][2] == [("source-value-invalid", "queues")]


def test_what_a_source_host_states_counts_for_the_model_that_an_alias_means() -> None:
    made = cards().publish("vendor-a.com/fw@3", {NIC: {"queues": QUEUES}}, aliases={"vendor-a.com/card-1": NIC})
    host = Destination("src", (EMULATOR,), {NIC: {"queues": [4]}}, units=(Unit("a", ("vendor-a.com/fw@3",)),))
    asked = Device(id="nic", model="vendor-a.com/card-1", host=host, values={"queues": 8})
    answer = made.answer([asked], at_units(Unit("x", (NEW,))))
    assert codes(answer.devices[0].verdict) == [("source-value-invalid", "queues")]


def test_what_a_source_makes_of_a_value_is_allowed_there_whatever_it_makes_of_that() -> None:
    source = resolving("src", mode={"auto": "fast", "fast": "safe"})
    asked = Device(id="dev", model=PASS, host=source, values={"mode": "auto"})
    assert offloading().answer([asked], resolving("dst")).devices[0].verdict.configuration == {
        "uso": True,
        "mode": "fast",
    }


def test_hosts_are_of_one_kind_if_they_state_the_same_but_for_the_ids_of_units() -> None:
    kinds = Kinds()
    unit = Unit("a", (OLD,), {NIC: {"queues": [1]}}, {NIC: {"queues": {"0": 1}}}, 3)
    plain = Destination("plain", (EMULATOR,))
    assert kinds.of(plain) == kinds.of(plain._replace(id="other"))
    one = plain._replace(units=(unit,))
    assert kinds.of(one) == kinds.of(one._replace(id="other", units=(unit._replace(id="b", available=None),)))
    others = [
        plain,
        plain._replace(restrict={NIC: {"queues": [1]}}),
        plain._replace(resolves={NIC: {"queues": {"0": 1}}}),
        plain._replace(units=(unit._replace(restrict={}),)),
        plain._replace(units=(unit._replace(resolves={}),)),
        plain._replace(units=(unit._replace(releases=(NEW,)),)),
        plain._replace(units=(unit, unit)),
    ]
    assert len({kinds.of(host) for host in [one, *others]}) == 1 + len(others)
    assert [host.is_plain for host in [one, *others]] == [False, True, *[False] * 6]


def test_a_switch_that_host_and_unit_both_restrict_was_in_the_one_position_left() -> None:
    made = World().publish(NEW, {NIC: {"on": variable("bool", True, False)}}).publish(EMULATOR, {PASS: {}})
    lacking = {NIC: {"on": [False]}}
    host = Destination("src", (EMULATOR,), lacking, units=(Unit("a", (NEW,), lacking),))
    verdict = made.answer([source_of(host)], at_units(Unit("x", (NEW,)))).devices[0].verdict
    assert verdict.configuration == {"on": False}


@pytest.mark.parametrize("at_source", [True, False])
def test_what_a_unit_says_of_a_value_counts_first_by_whatever_name(at_source: bool) -> None:
    renamed = {"not-x": variable("bool", False, stands_for={"variable": "x", "inverted": True})}
    made = World().publish(OLD, {NIC: {"x": variable("bool", True)}}).publish(NEW, {NIC: renamed})
    made.publish(EMULATOR, {PASS: {"v": variable("int", 1)}})
    # The host makes off of on; the unit says, by the new name, what it makes of off.
    unit = Unit("u", (NEW,), resolves={NIC: {"not-x": {"on": True}}})
    host = Destination("h", (EMULATOR,), resolves={NIC: {"x": {"on": False}}}, units=(unit,))
    if at_source:
        answer = made.answer([source_of(host)], Destination("there", (OLD,)))
        assert answer.devices[0].verdict.configuration == {"x": False}
        return
    # The unit overrules its host.
    kept = host._replace(units=(unit._replace(resolves={NIC: {"not-x": {"off": False}}}),))
    assert made.answer([nic(release=OLD)], kept).compatible
    assert not made.answer([nic(release=OLD)], host).compatible


def test_a_device_without_a_named_unit_can_be_on_any_that_the_registry_does_not_know() -> None:
    known, unknown = Unit("a", (NEW,)), Unit("b", ("vendor-a.com/other@1",))
    for units in ((known, unknown), (unknown, known)):
        host = Destination("src", (EMULATOR,), units=units)
        verdict = cards().answer([source_of(host)], at_units(Unit("x", (NEW,)))).devices[0].verdict
        assert codes(verdict) == [("source-unknown", None)]
        assert cards().answer([source_of(host, "a")], at_units(Unit("x", (NEW,)))).compatible


def test_each_product_of_a_unit_is_chosen_by_itself_however_many_releases_it_has() -> None:
    made = World().publish(EMULATOR, {PASS: {"v": variable("int", 1)}})
    products = ("one", "two", "three")
    for product_name in products:
        for version in range(1, 12):
            allowed = [1, 2] if version == 11 else [1]
            made.publish(
                f"vendor-a.com/{product_name}@{version}",
                {f"vendor-a.com/m-{product_name}": {"v": variable("int", 1, None, allowed)}},
            )
    vm = [
        Device(
            id=product_name,
            model=f"vendor-a.com/m-{product_name}",
            release=f"vendor-a.com/{product_name}@11",
            values={"v": 2},
            part_of=products[index - 1] if index else None,
            role="behind" if index else None,
        )
        for index, product_name in enumerate(products)
    ]
    unit = Unit("u", tuple(f"vendor-a.com/{name}@{version}" for name in products for version in range(1, 12)))
    assert made.answer(vm, at_units(unit)).compatible
