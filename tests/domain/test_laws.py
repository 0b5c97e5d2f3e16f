"""The laws of the design, for random models, releases, profiles and questions."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.document import InvalidDocumentError
from app.domain.question import Destination
from app.domain.source import Device
from app.domain.verdict import Policy
from tests.domain.world import NIC, World, codes

settings.register_profile("laws", max_examples=100, deadline=None)
settings.load_profile("laws")

NAMES = ("a", "b", "c", "d")
TYPES = {"a": "int", "b": "bool", "c": "str", "d": "int"}
VALUES: dict[str, list[Any]] = {"int": [0, 1, 2, 3, 4], "bool": [False, True], "str": ["", "x", "y"]}
RELEASES = ("vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-b.com/clone@1")
PROFILE = "vendor-a.com/p"


@st.composite
def variables(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A variable of a set."""
    values = VALUES[TYPES[name]]
    document: dict[str, Any] = {"type": TYPES[name]}
    allowed = draw(st.none() | st.lists(st.sampled_from(values), min_size=1, unique=True))
    document["init_value"] = draw(st.sampled_from(allowed or values))
    if allowed is not None:
        document["allowed_values"] = allowed
    if draw(st.booleans()):
        document["off_value"] = draw(st.sampled_from(allowed or values))
    if draw(st.integers(0, 5)) == 0:
        document["settable"] = False
    document["scope"] = draw(st.sampled_from(["interface", "interface", "saved-state", "instance", "backend"]))
    if draw(st.integers(0, 4)) == 0:
        document["resolved_by_host"] = [document["init_value"]]
    return document


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    """A variable set, which may have constraints and migration blocks."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    stated = {name: draw(variables(name)) for name in names}
    compared = [name for name in names if stated[name]["scope"] in {"interface", "saved-state"}]
    document: dict[str, Any] = {"variables": stated}
    if compared:
        conditions = st.dictionaries(st.sampled_from(compared), st.just(None), max_size=2).flatmap(
            lambda chosen: st.fixed_dictionaries(
                {name: st.lists(st.sampled_from(VALUES[TYPES[name]]), min_size=1) for name in chosen}
            )
        )
        document["constraints"] = draw(
            st.lists(st.fixed_dictionaries({"when": conditions, "require": conditions}), max_size=2)
        )
        document["blocks_migration"] = draw(st.lists(st.fixed_dictionaries({"when": conditions}), max_size=1))
    if draw(st.integers(0, 9)) == 0:
        document["migratable"] = False
    return document


def _try_publish(world: World, release: str, document: Mapping[str, Any]) -> None:
    try:
        world.publish(release, {NIC: document})
    except (InvalidDocumentError, AssertionError):
        # It is refused: init values that break a constraint, or a variable that is defined otherwise already.
        return


@st.composite
def worlds(
    draw: st.DrawFn, change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
) -> tuple[World, list[tuple[str, dict[str, Any]]]]:
    """What is published: up to three releases of two vendors, and a profile; change: what is done to every set."""
    world = World()
    published = []
    for release in RELEASES:
        document = change(draw(sets()))
        _try_publish(world, release, document)
        if world.release(release):
            published.append((release, document))
    world.profile(PROFILE, {NIC: draw(values())})
    return world, published


def values() -> st.SearchStrategy[dict[str, Any]]:
    """Values of some variables."""
    return st.dictionaries(st.sampled_from(NAMES), st.just(None), max_size=3).flatmap(
        lambda chosen: st.fixed_dictionaries({name: st.sampled_from(VALUES[TYPES[name]]) for name in chosen})
    )


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """A device of a question."""
    return Device(
        id="nic",
        model=NIC,
        release=draw(st.none() | st.sampled_from(RELEASES)),
        profile=draw(st.none() | st.just(PROFILE)),
        values=draw(values()),
        complete=draw(st.booleans()),
    )


@given(worlds(), devices())
def test_a_device_that_its_own_release_accepts_is_compatible_with_it(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device
) -> None:
    world, releases = published
    for release, document in releases:
        if (
            document.get("migratable", True)
            and not document.get("blocks_migration")
            and not document.get("constraints")
        ):
            asked = Device(id="nic", model=NIC, release=release, profile=device.profile, values=device.values)
            verdict = world.ask(asked, release)
            own = {"source-value-invalid", "unknown-variable"}
            assert verdict.compatible or any(code in own for code, _ in codes(verdict))


@given(worlds(), devices())
def test_the_configuration_answered_is_accepted_where_it_was_answered_for(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device
) -> None:
    world, releases = published
    for release, _ in releases:
        verdict = world.ask(device, release)
        if verdict.configuration is not None:
            again = Device(id="nic", model=NIC, release=release, values=verdict.configuration)
            assert world.ask(again, release).configuration == verdict.configuration


@given(worlds(), devices(), st.sampled_from([True, False]))
def test_a_variable_that_one_side_lacks_never_changes_a_verdict_while_it_is_off(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device, off: bool
) -> None:
    world, releases = published
    for release, document in releases:
        before = world.ask(device, release)
        more = World()
        for each, stated in releases:
            has_extra = each == release
            extra = {"extra": {"type": "bool", "init_value": off, "off_value": off}} if has_extra else {}
            _try_publish(more, each, {**stated, "variables": {**stated["variables"], **extra}})
        own = world_profile(world)
        more.profile(PROFILE, {NIC: own})
        after = more.ask(device, release)
        if device.release == release or not release.startswith("vendor-a.com/"):
            # The source then has it, too; and what another vendor states is not off for the model's own.
            continue
        assert codes(after) == codes(before)
        if before.configuration is not None:
            assert after.configuration == {**before.configuration, "extra": off}
        assert document is not None


def world_profile(world: World) -> Mapping[str, Any]:
    """Return the values of the world's profile."""
    profile = world.profile_named(PROFILE)
    assert profile is not None
    return profile.values[NIC]


@given(worlds(), devices(), st.sampled_from(NAMES))
def test_adding_an_allowed_value_to_a_destination_never_makes_a_verdict_worse(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device, name: str
) -> None:
    world, releases = published
    for release, document in releases:
        variable = document["variables"].get(name)
        if variable is None or "allowed_values" not in variable or device.release == release:
            continue
        wider = {**variable, "allowed_values": VALUES[variable["type"]]}
        more = World()
        for each, stated in releases:
            changed = {**stated, "variables": {**stated["variables"], name: wider}} if each == release else stated
            _try_publish(more, each, changed)
        more.profile(PROFILE, {NIC: world_profile(world)})
        if (
            world.ask(device, release).compatible
            and not document.get("constraints")
            and not document.get("blocks_migration")
        ):
            assert more.ask(device, release).compatible


def _reversed(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _reversed(value) for key, value in reversed(document.items())}
    return [_reversed(each) for each in reversed(document)] if isinstance(document, list) else document


@given(worlds(), devices())
def test_the_order_of_anything_never_matters(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device
) -> None:
    world, releases = published
    turned = World()
    for release, document in releases:
        turned.publish(release, {NIC: _reversed(document)})
    turned.profile(PROFILE, {NIC: _reversed(world_profile(world))})
    for release, _ in releases:
        before, after = world.release(release), turned.release(release)
        assert before is not None
        assert after is not None
        assert before.sets[NIC].digest == after.sets[NIC].digest
        assert world.ask(device, release) == turned.ask(device, release)


@given(worlds(), st.lists(devices(), min_size=1, max_size=3), st.permutations(RELEASES))
def test_several_destinations_are_judged_as_one_by_one(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], asked: list[Device], order: list[str]
) -> None:
    world, _ = published
    hosts = [Destination(str(size), tuple(order[:size])) for size in (1, 2, 3)]
    question = world.question(asked, Policy.STRICT)
    for host in [*hosts, *reversed(hosts)]:
        assert question.at(host) == world.answer(asked, host, Policy.STRICT)
