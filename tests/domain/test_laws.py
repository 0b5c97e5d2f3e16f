"""The laws of the design, checked with random models, releases, profiles and questions."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.values.document import InvalidDocumentError
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import Verdict
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, codes

NAMES = ("a", "b", "c", "d")
TYPES = {"a": "int", "b": "bool", "c": "str", "d": "int"}
VALUES: dict[str, list[Any]] = {"int": [0, 1, 2, 3, 4], "bool": [False, True], "str": ["", "x", "y"]}
RELEASES = ("vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-b.com/clone@1")
PROFILE = "vendor-a.com/p"


@st.composite
def variables(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Draw the document of a variable."""
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
    """Draw a variable set, with or without constraints and migration blocks."""
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
        # Refused: the init values break a constraint, or the variable already has another definition.
        return


@st.composite
def worlds(
    draw: st.DrawFn, change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
) -> tuple[World, list[tuple[str, dict[str, Any]]]]:
    """Draw a world with up to three releases of two vendors and a profile; change: a change to every set."""
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
    """Return a strategy for values of some variables."""
    return st.dictionaries(st.sampled_from(NAMES), st.just(None), max_size=3).flatmap(
        lambda chosen: st.fixed_dictionaries({name: st.sampled_from(VALUES[TYPES[name]]) for name in chosen})
    )


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """Draw a device of a question."""
    return Device(
        id="nic",
        model=NIC,
        release=draw(st.none() | st.sampled_from(RELEASES)),
        profile=draw(st.none() | st.just(PROFILE)),
        values=draw(values()),
        complete=draw(st.booleans()),
    )


def compared(verdict: Verdict) -> list[tuple[str, str | None]]:
    """Return the problems without that nothing was compared (step 12), which says nothing about values."""
    return [(code, name) for code, name in codes(verdict) if code != "nothing-compared"]


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
            assert not compared(verdict) or any(code in own for code, _ in codes(verdict))


@given(worlds(), devices())
def test_a_completed_configuration_is_accepted_by_its_destination(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device
) -> None:
    world, releases = published
    for release, _ in releases:
        verdict = world.ask(device, release)
        if verdict.configuration is not None:
            again = Device(id="nic", model=NIC, release=release, values=verdict.configuration)
            after = world.ask(again, release)
            assert after.configuration == verdict.configuration or not compared(after)


@given(worlds(), devices(), st.sampled_from([True, False]))
def test_a_variable_that_one_side_lacks_never_changes_a_verdict_while_it_is_off(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device, off: bool
) -> None:
    world, releases = published
    for release, document in releases:
        before = world.ask(device, release)
        more = World()
        for name, stated in releases:
            has_extra = name == release
            extra = {"extra": {"type": "bool", "init_value": off, "off_value": off}} if has_extra else {}
            _try_publish(more, name, {**stated, "variables": {**stated["variables"], **extra}})
        own = world_profile(world)
        more.profile(PROFILE, {NIC: own})
        after = more.ask(device, release)
        if device.release == release or not release.startswith("vendor-a.com/"):
            # The source then has it too. An off value of another vendor does not count for the model's vendor.
            continue
        assert compared(after) == compared(before)
        if before.configuration is not None:
            assert after.configuration == {**before.configuration, "extra": off}
        assert document is not None


def world_profile(world: World) -> Mapping[str, Any]:
    """Return the values of the profile of a world."""
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
        for other, stated in releases:
            changed = {**stated, "variables": {**stated["variables"], name: wider}} if other == release else stated
            _try_publish(more, other, changed)
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
    return [_reversed(item) for item in reversed(document)] if isinstance(document, list) else document


@given(worlds(), devices())
def test_the_order_of_anything_never_matters(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], device: Device
) -> None:
    world, releases = published
    reordered = World()
    for release, document in releases:
        reordered.publish(release, {NIC: _reversed(document)})
    reordered.profile(PROFILE, {NIC: _reversed(world_profile(world))})
    for release, _ in releases:
        before, after = world.release(release), reordered.release(release)
        assert before is not None
        assert after is not None
        assert before.sets[NIC].digest == after.sets[NIC].digest
        assert world.ask(device, release) == reordered.ask(device, release)


@given(worlds(), st.lists(devices(), min_size=1, max_size=3), st.permutations(RELEASES))
def test_several_destinations_are_judged_as_one_by_one(
    published: tuple[World, list[tuple[str, dict[str, Any]]]], asked: list[Device], order: list[str]
) -> None:
    world, _ = published
    hosts = [Destination(str(size), tuple(order[:size])) for size in (1, 2, 3)]
    question = world.question(asked, Policy.STRICT)
    for host in [*hosts, *reversed(hosts)]:
        assert question.at(host) == world.answer(asked, host, Policy.STRICT)
