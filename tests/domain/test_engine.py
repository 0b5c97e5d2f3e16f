"""The engine gives the answers of the plain rule, whatever it remembers, over random worlds.

As in production, equal content is one object: sets by their digest, profile values by their canonical JSON. One memo
serves all questions of a world, before and after the registry has changed.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.engine import comparison as compared
from app.domain.engine.acceptance import Acceptance
from app.domain.engine.comparison import MAX_REMEMBERED
from app.domain.engine.kind import Kinds
from app.domain.engine.memo import Memo
from app.domain.engine.migration import Migration
from app.domain.engine.question import Engine, Question, Remedy, TakesLongerError
from app.domain.things.profile import Values
from app.domain.things.release import Release
from app.domain.things.snapshot import Snapshot
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json
from app.domain.values.document import InvalidDocumentError
from app.domain.values.state import State
from app.domain.verdict.case import Case, Pair, pair
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.host import Served, judge_vm
from app.domain.verdict.judge import Change, Verdict, judge, refusals
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Device, Source, with_parts
from tests.domain.world import NIC, World, device, variable

GPU = "vendor-b.com/gpu"
# In the order of publication. Types of `x` and `y` differ between vendors; NIC's own vendor never has them.
RELEASES = (
    "vendor-a.com/fw@1",
    "vendor-b.com/clone@1",
    "vendor-c.com/other@1",
    "vendor-a.com/fw@2",
    "vendor-a.com/alt@1",
    "vendor-b.com/clone@2",
)
UNKNOWN = "vendor-a.com/unknown@1"
PROFILES = ("vendor-a.com/p", "vendor-b.com/q")
ROLES = ("host-device", "firmware")
OWN_TYPES = {"a": "int", "b": "bool", "c": "str", "d": "int"}
FOREIGN_TYPES = {"vendor-b.com": {"x": "int", "y": "bool"}, "vendor-c.com": {"x": "bool", "y": "str"}}
VALUES: Mapping[str, Sequence[Any]] = {"int": [0, 1, 2, 3], "bool": [False, True], "str": ["", "1", "true", "x"]}
# Equal in Python or on a command line, different in JSON.
WRITTEN = [0, 1, 2, 3, True, False, "0", "1", "on", "off", "true", "", "x", None]


def types_of(vendor: str) -> Mapping[str, str]:
    """Return the variables that a vendor's sets of the NIC can have, with their types."""
    return OWN_TYPES | FOREIGN_TYPES.get(vendor, {})


@st.composite
def variables(draw: st.DrawFn, of_type: str) -> dict[str, Any]:
    """Return a variable's document."""
    values = VALUES[of_type]
    document: dict[str, Any] = {"type": of_type}
    allowed = draw(st.none() | st.lists(st.sampled_from(values), min_size=1, unique=True))
    document["init_value"] = draw(st.sampled_from(allowed or values))
    if allowed is not None:
        document["allowed_values"] = allowed
    if draw(st.booleans()):
        document["off_value"] = draw(st.sampled_from(allowed or values))
    if draw(st.integers(0, 5)) == 0:
        document["settable"] = False
        document["off_value"] = document["init_value"]
    document["scope"] = draw(st.sampled_from(["interface", "interface", "saved-state", "instance", "backend"]))
    document["runtime"] = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        document["resolved_by_host"] = [document["init_value"]]
    if of_type != "str" and document["scope"] in {"interface", "saved-state"} and draw(st.integers(0, 2)) == 0:
        document["may_grow"] = True
    return document


@st.composite
def sets(draw: st.DrawFn, vendor: str) -> dict[str, Any]:
    """Return a variable set of the NIC, which can have constraints and migration blocks."""
    types = types_of(vendor)
    names = draw(st.lists(st.sampled_from(sorted(types)), unique=True))
    stated = {name: draw(variables(types[name])) for name in names}
    document: dict[str, Any] = {"variables": stated}
    compared = [name for name in names if stated[name]["scope"] in {"interface", "saved-state"}]
    if compared:
        condition = st.dictionaries(st.sampled_from(compared), st.just(None), max_size=2).flatmap(
            lambda chosen: st.fixed_dictionaries(
                {name: st.lists(st.sampled_from(VALUES[types[name]]), min_size=1) for name in chosen}
            )
        )
        rule = st.fixed_dictionaries({"when": condition, "require": condition})
        document["constraints"] = draw(st.lists(rule, max_size=2))
        document["blocks_migration"] = draw(st.lists(st.fixed_dictionaries({"when": condition}), max_size=1))
    document["migratable"] = draw(st.sampled_from([True] * 8 + [False, "unknown"]))
    if draw(st.booleans()):
        reads = st.lists(st.integers(1, 2), min_size=1, max_size=2)
        document["saved_state"] = {"writes": draw(st.integers(1, 2)), "reads": draw(reads)}
    if compared and draw(st.integers(0, 3)) == 0:
        need = st.fixed_dictionaries({"role": st.sampled_from(ROLES)}, optional={"when": condition})
        document["needs"] = draw(st.lists(need, min_size=1, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        required = st.lists(st.sampled_from([0, 1, "2-3", True, "x"]), max_size=2)
        rules = {"over": st.integers(0, 1), "require": st.dictionaries(st.sampled_from(["a", "b", "x"]), required)}
        document["together"] = [draw(st.fixed_dictionaries({"role": st.sampled_from(ROLES), **rules}))]
    if vendor == "vendor-a.com" and "b" not in names and draw(st.booleans()):
        # The model's own vendor can rename `b`, and turn it round.
        renamed = draw(variables("bool"))
        stated["not-b"] = renamed | {"stands_for": {"variable": "b", "inverted": True}}
    return document


@dataclass
class Published:
    """A world that grows: a snapshot after each publication, with equal content as one object."""

    world: World
    sets: dict[str, VariableSet]
    values: dict[str, Values]

    def snapshot(self) -> Snapshot:
        """Return the registry as it stands."""
        names = (NIC, GPU, "vendor-a.com/none")
        releases = {name: self.world.release(name) for name in (*RELEASES, UNKNOWN)}
        profiles = {name: self.world.profile_named(name) for name in (*PROFILES, "vendor-a.com/short")}
        return Snapshot(
            {name: self.world.model(name) for name in names},
            {
                name: None
                if release is None
                else replace(
                    release,
                    sets={model: self.sets.setdefault(own.digest, own) for model, own in release.sets.items()},
                )
                for name, release in releases.items()
            },
            {
                name: None
                if profile is None
                else replace(
                    profile,
                    values={
                        model: self.values.setdefault(canonical_json(values), values)
                        for model, values in profile.values.items()
                    },
                )
                for name, profile in profiles.items()
            },
        )


def profile_values() -> st.SearchStrategy[dict[str, Any]]:
    """Return values of some variables, of any type that a vendor has."""
    names = sorted({*OWN_TYPES, "x", "y"})
    return st.dictionaries(st.sampled_from(names), st.sampled_from([0, 1, 2, True, False, "", "1", "x"]), max_size=4)


@st.composite
def own_values(draw: st.DrawFn, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a release makes of a profile itself: values of some variables of its set."""
    stated = document["variables"]
    names = [name for name in stated if stated[name]["scope"] in {"interface", "saved-state"}]
    return {name: draw(st.sampled_from(VALUES[stated[name]["type"]])) for name in names if draw(st.booleans())}


@st.composite
def errata(draw: st.DrawFn, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an erratum about some configurations, and some or all other releases."""
    stated = document["variables"]
    names = [name for name in stated if stated[name]["scope"] in {"interface", "saved-state"}]
    chosen = draw(st.lists(st.sampled_from(names), max_size=1)) if names else []
    erratum: dict[str, Any] = {
        "when": {name: draw(st.lists(st.sampled_from(VALUES[stated[name]["type"]]), min_size=1)) for name in chosen},
        "direction": draw(st.sampled_from(["to", "from", "both"])),
    }
    others = [*RELEASES, "vendor-a.com/fw@*", "vendor-b.com/clone@<2", "vendor-a.com/fw@>=2,<=3"]
    if draw(st.integers(0, 3)):
        erratum["others"] = draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))
    return erratum


@st.composite
def snapshots(draw: st.DrawFn) -> list[Snapshot]:
    """Return the registry as it stood after some of the publications, and in the end."""
    published = Published(World(), {}, {})
    taken = []
    for name in RELEASES:
        vendor = name.partition("/")[0]
        listed = draw(st.none() | st.lists(st.sampled_from(PROFILES), unique=True))
        state = draw(st.sampled_from([State.PUBLISHED] * 4 + [State.DEPRECATED, State.RETIRED]))
        models: dict[str, Any] = {NIC: draw(sets(vendor))} if draw(st.integers(0, 5)) else {}
        if vendor == "vendor-b.com" and draw(st.booleans()):
            models[GPU] = {"variables": {"a": variable("int", 1, 1)}}
        aliases = draw(st.sampled_from([{}, {}, {"vendor-a.com/none": NIC, "vendor-a.com/short": PROFILES[0]}]))
        own = {profile: {NIC: draw(own_values(models[NIC]))} for profile in listed or () if NIC in models}
        try:
            published.world.publish(name, models, listed, state, own_values=own, aliases=aliases)
            for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])) if NIC in models else 0):
                published.world.erratum(name, **draw(errata(models[NIC])))
        except (InvalidDocumentError, AssertionError):
            # Refused: init values that break a constraint, or a variable that is defined differently already.
            continue
        if draw(st.booleans()):
            taken.append(published.snapshot())
        if draw(st.booleans()):
            values = {NIC: draw(profile_values()), **({GPU: {}} if draw(st.booleans()) else {})}
            in_state = draw(st.sampled_from([State.PUBLISHED, State.PUBLISHED, State.DEPRECATED, State.RETIRED]))
            published.world.profile(draw(st.sampled_from(PROFILES)), values, in_state)
    return [*taken, published.snapshot()]


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """Return a device, with values and names right and wrong."""
    names = ["a", "b", "c", "d", "x", "y", "z", "not-b"]
    host = draw(hosts()) if draw(st.integers(0, 5)) == 0 else None
    unit = draw(st.sampled_from([None, None, "u0", "u1", "u9"])) if host else None
    release = draw(st.none() | st.sampled_from(RELEASES)) if host is None or draw(st.integers(0, 3)) == 0 else None
    return Device(
        id=str(draw(st.integers(0, 99))),
        model=draw(st.sampled_from([NIC] * 6 + [GPU, "vendor-a.com/none"])),
        release=release,
        profile=draw(st.none() | st.sampled_from((*PROFILES, *PROFILES, "vendor-a.com/short"))),
        host=host,
        unit=unit,
        values=draw(st.dictionaries(st.sampled_from(names), st.sampled_from(WRITTEN), max_size=4)),
        complete=draw(st.booleans()),
    )


@st.composite
def vms(draw: st.DrawFn) -> list[Device]:
    """Return the devices of a VM, some of them parts of others."""
    asked = [
        replace(each, id=str(index)) for index, each in enumerate(draw(st.lists(devices(), min_size=1, max_size=4)))
    ]
    for index in range(1, len(asked)):
        if draw(st.booleans()):
            whole, role = draw(st.integers(0, index - 1)), draw(st.sampled_from([*ROLES, None]))
            asked[index] = replace(asked[index], part_of=str(whole), role=role)
    return draw(st.permutations(asked))


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    """Return what a host or a unit states of variables, also of unknown ones."""
    names = st.sampled_from(["a", "b", "c", "x", "z", "not-b"])
    values = st.lists(st.sampled_from([0, 1, 2, True, False, "", "x"]), max_size=3)
    written = st.sampled_from(["0", "1", "on", "off", "", "x"])
    made = st.dictionaries(written, st.sampled_from([0, 1, 2, True, False, "off", "x"]), max_size=2)
    models = st.sampled_from([NIC, NIC, GPU, "vendor-a.com/none"])
    restrict = draw(st.none() | st.dictionaries(models, st.dictionaries(names, values, max_size=2), max_size=2))
    resolves = draw(st.none() | st.dictionaries(models, st.dictionaries(names, made, max_size=2), max_size=2))
    return {"restrict": restrict or {}, "resolves": resolves or {}}


@st.composite
def hosts(draw: st.DrawFn) -> Destination:
    """Return a host with some releases and units in any order, which can restrict and resolve variables."""
    some = st.lists(st.sampled_from(RELEASES), min_size=1, max_size=3, unique=True)
    releases = [UNKNOWN] if draw(st.integers(0, 4)) == 0 else draw(some)
    units = [Unit(f"u{index}", tuple(draw(some)), **draw(limits())) for index in range(draw(st.integers(0, 3)))]
    return Destination(draw(st.uuids()).hex, tuple(releases), **draw(limits()), units=tuple(units))


def in_other_states(snapshot: Snapshot) -> Snapshot:
    """Return the registry after all states have changed, and nothing else."""
    following = dict(zip(State, [*list(State)[1:], *list(State)[:1]], strict=True))
    releases = {
        name: release and replace(release, state=following[release.state])
        for name, release in snapshot.releases.items()
    }
    profiles = {
        name: profile and replace(profile, state=following[profile.state])
        for name, profile in snapshot.profiles.items()
    }
    return Snapshot(snapshot.models, releases, profiles)


def plain(asked: Sequence[Device], destination: Destination, snapshot: Snapshot, policy: Policy) -> list[Served]:
    """Return the answer of the plain rule."""
    return judge_vm([Source.of(each, snapshot) for each in with_parts(asked)], destination, snapshot, policy)


@given(
    snapshots(),
    st.lists(vms(), min_size=1, max_size=3),
    st.lists(hosts(), min_size=1, max_size=4),
    st.sampled_from(Policy),
)
def test_the_engine_answers_as_the_plain_rule(
    registry: list[Snapshot], asked_vms: list[list[Device]], destinations: list[Destination], policy: Policy
) -> None:
    memo = Memo()
    for snapshot in [*registry, registry[0], in_other_states(registry[-1])]:
        engine = Engine(snapshot, policy, memo)
        for asked in asked_vms:
            answers = Question(asked, engine).at_all(destinations)
            for destination, answer in zip(destinations, answers, strict=True):
                expected = plain(asked, destination, snapshot, policy)
                assert [Served(one.release, one.verdict, one.unit) for one in answer.devices] == expected
                assert answer.compatible == all(served.verdict.compatible for served in expected)
                # Equality of Python takes 1 for true; the wire does not.
                given_json = [canonical_json(one.verdict.configuration) for one in answer.devices]
                assert given_json == [canonical_json(served.verdict.configuration) for served in expected]


@given(
    snapshots(),
    vms(),
    st.lists(st.sampled_from(WRITTEN), min_size=2, max_size=6),
    st.lists(hosts(), min_size=1, max_size=2),
    st.sampled_from(Policy),
)
def test_devices_share_a_verdict_only_if_the_rule_gives_them_the_same(
    registry: list[Snapshot], vm: list[Device], written: list[Any], some: list[Destination], policy: Policy
) -> None:
    memo = Memo()
    destinations = [*some, *(Destination(name, (name,)) for name in RELEASES)]
    vms_alike = [vm, *([replace(one, values=dict.fromkeys(one.values, value)) for one in vm] for value in written), vm]
    for snapshot in [*registry, in_other_states(registry[-1])]:
        for asked in vms_alike:
            engine = Engine(snapshot, policy, memo, with_configurations=False)
            answers = Question(asked, engine).at_all(destinations)
            for destination, answer in zip(destinations, answers, strict=True):
                served = [Served(one.release, without_configuration(one.verdict), one.unit) for one in answer.devices]
                assert served == [
                    Served(one.release, without_configuration(one.verdict), one.unit)
                    for one in plain(asked, destination, snapshot, policy)
                ]


def without_configuration(verdict: Verdict) -> Verdict:
    return replace(verdict, configuration=None)


def test_devices_that_differ_in_free_values_are_judged_once() -> None:
    world = World().publish(OLD, {NIC: {"queues": QUEUES}}).publish(NEW, {NIC: {"queues": QUEUES}})
    memo, there = Memo(), Destination("there", (NEW,))
    verdicts = [
        Question([device(OLD, queues=queues)], Engine(world.lookups(), memo=memo, with_configurations=False))
        .at(there)
        .devices[0]
        .verdict
        for queues in (1, 2, 9)
    ]
    assert verdicts[0] is verdicts[1]
    assert [verdict.compatible for verdict in verdicts] == [True, True, False]


def test_a_part_does_not_get_the_verdict_of_an_equal_device_that_is_none() -> None:
    whole, part = "vendor-a.com/whole", "vendor-a.com/part"
    together = [{"role": "vf", "over": 1, "require": {"p2p": [True]}}]
    models = {whole: {"queues": QUEUES}, part: {"p2p": variable("bool", False, False)}}
    world = World().publish(OLD, models)
    world.publish(NEW, {whole: {"variables": models[whole], "together": together}, part: models[part]})
    engine = Engine(world.lookups(), memo=Memo(), with_configurations=False)
    alone = Device(id="alone", model=part, release=OLD)
    wholes = [Device(id=f"w{number}", model=whole, release=OLD) for number in range(2)]
    parts = [replace(alone, id=f"p{number}", part_of=f"w{number}", role="vf") for number in range(2)]
    there = Destination("there", (NEW,))
    assert Question([alone], engine).at(there).compatible
    assert not Question([*wholes, *parts], engine).at(there).compatible
    assert not Question([alone, *wholes, *parts], engine).at(there).compatible


@given(snapshots(), st.lists(profile_values(), min_size=1, max_size=4))
def test_acceptance_is_that_of_the_plain_rule(registry: list[Snapshot], values: list[Values]) -> None:
    acceptance = Acceptance()
    for snapshot in registry:
        model = snapshot.model(NIC)
        for release in snapshot.known_releases() if model else ():
            for own in values:
                name = str(release.name)
                assert model is not None
                found = acceptance.refusals(own, model, name, release.sets.get(NIC))
                assert tuple(found) == refusals(own, model, name, release.sets.get(NIC))
                assert acceptance.accepts(own, model, name, release.sets.get(NIC)) == (not found)


def test_acceptance_takes_the_off_values_of_the_releases_own_vendor() -> None:
    world = World().publish("vendor-b.com/fw@1", {NIC: {"turbo": variable("bool", True, False)}})
    world.publish("vendor-b.com/fw@2", {NIC: {}}).publish("vendor-c.com/fw@1", {NIC: {}})
    model, acceptance, values = world.model(NIC), Acceptance(), {"turbo": False}
    assert model is not None
    for name, accepts in (("vendor-b.com/fw@2", True), ("vendor-c.com/fw@1", False)):
        release = world.release(name)
        assert release is not None
        assert acceptance.accepts(values, model, name, release.sets[NIC]) is accepts
        assert (not refusals(values, model, name, release.sets[NIC])) is accepts


OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
QUEUES = variable("int", 4, 1, ["1-8"])
PUBLISHED: Mapping[str, Any] = {
    OLD: {"models": {NIC: {"queues": QUEUES}}, "profiles": PROFILES},
    NEW: {"models": {NIC: {"queues": QUEUES}}, "profiles": PROFILES},
}


def in_state(snapshot: Snapshot, name: str, **changes: Any) -> Snapshot:
    """Return the registry with a change of a release or a profile; all else in it are the same objects."""
    releases, profiles = dict(snapshot.releases), dict(snapshot.profiles)
    if (release := releases.get(name)) is not None:
        releases[name] = replace(release, **changes)
    if (profile := profiles.get(name)) is not None:
        profiles[name] = replace(profile, **changes)
    return Snapshot(snapshot.models, releases, profiles)


CHANGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "the destination is deprecated": (NEW, {"state": State.DEPRECATED}),
    "the destination is retired": (NEW, {"state": State.RETIRED}),
    "the source release is retired": (OLD, {"state": State.RETIRED}),
    "the profile is deprecated": (PROFILES[0], {"state": State.DEPRECATED}),
    "the profile is retired": (PROFILES[0], {"state": State.RETIRED}),
    "the destination lists another profile": (NEW, {"profiles": frozenset(PROFILES[1:])}),
    "the destination lists no profiles any more": (NEW, {"profiles": None}),
    "an erratum of the destination": (NEW, {"errata": NEW}),
    "an erratum of the source": (OLD, {"errata": OLD}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_remembered_of_two_releases_ends_with_a_change(change: str) -> None:
    world = World().profile(PROFILES[0], {NIC: {"queues": 2}})
    for name, published in PUBLISHED.items():
        world.publish(name, **published)
    names = (OLD, NEW)
    before = Snapshot(
        {NIC: world.model(NIC)},
        {name: world.release(name) for name in names},
        {PROFILES[0]: world.profile_named(PROFILES[0])},
    )
    changed, fields = CHANGES[change]
    if "errata" in fields:
        broken = world.erratum(fields["errata"]).release(fields["errata"])
        assert broken is not None
        fields = {"errata": broken.errata}
    after = in_state(before, changed, **fields)
    memo, asked, there = Memo(), [device(OLD, PROFILES[0])], Destination("there", (NEW,))
    verdicts = []
    for snapshot in (before, after, before):
        answer = Question(asked, Engine(snapshot, Policy.STRICT, memo)).at(there)
        assert [Served(one.release, one.verdict) for one in answer.devices] == plain(
            asked, there, snapshot, Policy.STRICT
        )
        verdicts.append(answer.devices[0].verdict)
    assert verdicts[0] == verdicts[2] != verdicts[1]


def test_what_is_remembered_of_two_releases_is_of_one_policy_profile_and_source() -> None:
    world = World().profile(PROFILES[0], {NIC: {"queues": 2}}).profile(PROFILES[1], {NIC: {"queues": 2}})
    for name, published in PUBLISHED.items():
        world.publish(name, published["models"], PROFILES[:1])
    memo, there = Memo(), Destination("there", (NEW,))
    for policy in Policy:
        for one in (device(OLD, PROFILES[0]), device(OLD, PROFILES[1]), device(OLD), device(NEW, PROFILES[1])):
            answer = Question([one], Engine(world.lookups(), policy, memo)).at(there)
            (expected,) = judge_vm([Source.of(one, world.lookups())], there, world.lookups(), policy)
            assert answer.devices[0].verdict == expected.verdict


def test_what_is_remembered_of_values_is_of_their_type_and_words() -> None:
    world = World().publish(OLD, {NIC: {"queues": QUEUES, "on": variable("bool", True, False)}})
    world.publish(NEW, {NIC: {"queues": variable("int", 1, 1, [1]), "on": variable("bool", False, False, [False])}})
    world.publish("vendor-a.com/fw@3", {NIC: {"queues": variable("int", 1, 1, [1])}})
    memo = Memo()
    for written in (1, True, "1", "on", 2, "2", 9, None, False, 0, *range(10, 100)):
        for name in ("queues", "on", "no-such"):
            for release in (NEW, "vendor-a.com/fw@3"):
                asked, there = [device(OLD, **{name: written})], Destination("there", (release,))
                answer = Question(asked, Engine(world.lookups(), Policy.STRICT, memo)).at(there)
                sources = [Source.of(asked[0], world.lookups())]
                (expected,) = judge_vm(sources, there, world.lookups(), Policy.STRICT)
                assert answer.devices[0].verdict == expected.verdict


def two_releases() -> World:
    """Return a world in which the newer release has a variable more."""
    return World().publish(OLD, {NIC: {"queues": QUEUES}}).publish(NEW, {NIC: {"queues": QUEUES, "new": QUEUES}})


def test_a_memo_forgets_the_least_recently_used_and_stays_within_its_capacity() -> None:
    world = two_releases()
    model, old, new = world.model(NIC), world.release(OLD), world.release(NEW)
    assert model is not None
    assert old is not None
    assert new is not None
    memo = Memo(capacity=4 + 2 * MAX_REMEMBERED)
    first = memo.origin(model, old.sets[NIC], None, ("vendor-a.com",))
    second = memo.origin(model, new.sets[NIC], None, ("vendor-a.com",))
    assert memo.origin(model, old.sets[NIC], None, ("vendor-a.com",)) is first
    comparison = memo.comparison(first, old.sets[NIC], "vendor-a.com")
    assert memo.known(first, old.sets[NIC], "vendor-a.com") is comparison
    # One variable and two and one are remembered, and room for values; the next one pushes out the origin that was not
    # used since.
    memo.comparison(first, None, "vendor-b.com")
    assert memo.origin(model, old.sets[NIC], None, ("vendor-a.com",)) is first
    assert memo.origin(model, new.sets[NIC], None, ("vendor-a.com",)) is not second


def test_a_memo_remembers_100000_variables_if_nothing_else_is_said() -> None:
    world = two_releases()
    model, new = world.model(NIC), world.release(NEW)
    assert model is not None
    assert new is not None
    queues = new.sets[NIC].variables["queues"]
    large = VariableSet(NIC, {str(number): queues for number in range(99_999)})
    memo = Memo()
    origin = memo.origin(model, large, None, ())
    memo.origin(model, None, None, ("a",))
    assert memo.origin(model, large, None, ()) is origin
    memo.origin(model, None, None, ("a",))
    memo.origin(model, None, None, ("b",))
    assert memo.origin(model, large, None, ()) is not origin


def test_a_memo_keeps_the_newest_entry_however_large_it_is() -> None:
    world = two_releases()
    model, new = world.model(NIC), world.release(NEW)
    assert model is not None
    assert new is not None
    memo = Memo(capacity=1)
    origin = memo.origin(model, new.sets[NIC], None, ())
    assert memo.origin(model, new.sets[NIC], None, ()) is origin


def test_a_memo_counts_the_variables_of_a_set_and_one_for_no_set() -> None:
    world = two_releases()
    model, new = world.model(NIC), world.release(NEW)
    assert model is not None
    assert new is not None
    memo = Memo(capacity=3 + MAX_REMEMBERED)
    origin = memo.origin(model, None, None, ())
    memo.comparison(origin, new.sets[NIC], "vendor-a.com")
    assert memo.origin(model, None, None, ()) is origin
    # The origin was used last, so that the comparison goes first: two variables.
    memo.comparison(origin, None, "vendor-a.com")
    assert memo.known(origin, new.sets[NIC], "vendor-a.com") is None
    assert memo.origin(model, None, None, ()) is origin
    small = Memo(capacity=2 + MAX_REMEMBERED)
    first = small.origin(model, None, None, ())
    small.comparison(first, None, "vendor-a.com")
    assert small.origin(model, None, None, ()) is first


def test_profiles_without_a_source_release_share_the_comparison_of_nothing() -> None:
    world, memo = two_releases(), Memo()
    model, new = world.model(NIC), world.release(NEW)
    assert model is not None
    assert new is not None
    own, first, second = new.sets[NIC], {"queues": 2}, {"queues": 3}
    comparisons = [memo.comparison(memo.origin(model, None, values, ()), own, NIC) for values in (first, second, {})]
    assert comparisons[0].base is not None
    assert comparisons[0].base is comparisons[1].base
    assert comparisons[0].base is memo.comparison(memo.origin(model, None, None, ()), own, NIC)
    assert comparisons[2].base is None
    assert memo.comparison(memo.origin(model, own, first, ("vendor-a.com",)), own, NIC).base is None
    assert memo.comparison(memo.origin(model, None, first, ()), None, NIC).base is None


def test_a_memo_forgets_one_entry_for_each_that_is_too_many() -> None:
    model = two_releases().model(NIC)
    assert model is not None
    memo = Memo(capacity=2)
    first, *_, last = [memo.origin(model, None, None, (vendor,)) for vendor in "abcd"]
    assert memo.origin(model, None, None, ("d",)) is last
    again = memo.origin(model, None, None, ("a",))
    assert again is not first
    memo.origin(model, None, None, ("e",))
    assert memo.origin(model, None, None, ("d",)) is not last
    single = Memo(capacity=1)
    one = single.origin(model, None, None, ("a",))
    single.origin(model, None, None, ("b",))
    assert single.origin(model, None, None, ("a",)) is not one


def test_a_memo_tells_vendors_apart() -> None:
    world = two_releases()
    model, old = world.model(NIC), world.release(OLD)
    assert model is not None
    assert old is not None
    memo = Memo()
    origin = memo.origin(model, old.sets[NIC], None, ("vendor-a.com",))
    assert memo.origin(model, old.sets[NIC], None, ("vendor-b.com",)) is not origin
    comparison = memo.comparison(origin, old.sets[NIC], "vendor-a.com")
    assert memo.known(origin, old.sets[NIC], "vendor-b.com") is None
    assert memo.comparison(origin, old.sets[NIC], "vendor-b.com") is not comparison


def test_many_threads_can_share_a_memo() -> None:
    world = two_releases()
    memo, barrier = Memo(capacity=3), threading.Barrier(4)

    def ask(_: int) -> set[bool]:
        barrier.wait()
        answers = set()
        for _round in range(200):
            engine = Engine(world.lookups(), Policy.PERMISSIVE, memo)
            for destination in (OLD, NEW):
                answers.add(Question([device(OLD)], engine).at(Destination("there", (destination,))).compatible)
        return answers

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [{True}] * 4


def test_an_engine_that_only_remembers_compiles_nothing() -> None:
    world, memo = two_releases(), Memo()
    destination = Destination("there", (NEW,))

    def ask(*, only_remembered: bool, restrict: Mapping[str, Any] | None = None) -> bool:
        engine = Engine(world.lookups(), Policy.PERMISSIVE, memo, only_remembered=only_remembered)
        return Question([device(OLD)], engine).at(destination._replace(restrict=restrict or {})).compatible

    with pytest.raises(TakesLongerError):
        ask(only_remembered=True)
    assert ask(only_remembered=False)
    assert ask(only_remembered=True)
    # What one host restricts is never remembered.
    with pytest.raises(TakesLongerError):
        ask(only_remembered=True, restrict={NIC: {"queues": [4]}})
    with pytest.raises(TakesLongerError):
        ask(only_remembered=True, restrict={NIC: {"queues": [4]}})


def test_equal_devices_and_equal_hosts_are_judged_once() -> None:
    world = two_releases()
    engine = Engine(world.lookups(), Policy.PERMISSIVE)
    one, other = device(OLD), replace(device(OLD), id="other")
    assert engine.source(one) is engine.source(other)
    assert engine.source(replace(one, values={"queues": 1})) is not engine.source(replace(one, values={"queues": True}))
    question = Question([one, other], engine)
    first, second, third = question.at_all(
        [
            Destination("first", (OLD,), {NIC: {"queues": [4]}}),
            Destination("second", (OLD,), {NIC: {"queues": [4]}}),
            Destination("third", (OLD,)),
        ]
    )
    assert first is second
    assert third is not first
    assert first.devices[0].verdict is first.devices[1].verdict


def test_a_clear_verdict_is_one_object_for_all_destinations_with_the_set() -> None:
    speed = variable("int", 10, allowed=[10, 100])
    world = World().publish(OLD, {NIC: {"queues": QUEUES, "speed": speed}}, profiles=["vendor-a.com/p"])
    world.profile("vendor-a.com/p", {NIC: {"queues": 8, "speed": 10}})
    release = world.release(OLD)
    assert release is not None
    engine = Engine(world.lookups(), Policy.STRICT)
    for asked in (
        device(OLD, "vendor-a.com/p"),
        device(profile="vendor-a.com/p"),
        device(OLD, "vendor-a.com/p", queues=2),
        device(OLD, "vendor-a.com/p", speed=100),
    ):
        source = engine.source(asked)
        verdict = engine.verdict(source, release, ())
        assert engine.verdict(source, replace(release), ()) is verdict
        assert verdict == judge(source, release, release.sets[NIC], Policy.STRICT)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each variable that the engine looks at."""
    names: list[str] = []

    def recording(case: Case, name: str, *rest: Any) -> Pair:
        names.append(name)
        return pair(case, name, *rest)

    monkeypatch.setattr(compared, "pair", recording)
    return names


def test_only_what_can_differ_is_looked_at_again_for_each_device(looked_at: list[str]) -> None:
    queues, host_decides = variable("int", 4, 1, ["1-8"]), variable("str", "a", "", ["a", ""], resolved_by_host=["a"])
    stated = {"alike": queues, "backend": {**queues, "scope": "backend"}, "decided": host_decides}
    world = World().publish(OLD, {NIC: {**stated, "wider": queues, "narrower": queues}})
    world.publish(
        NEW, {NIC: {**stated, "wider": variable("int", 4), "narrower": {**queues, "allowed_values": ["1-4"]}}}
    )
    engine = Engine(world.lookups(), Policy.PERMISSIVE)
    destination = Destination("there", (NEW,))
    values: dict[str, Any] = {"alike": 8, "backend": 8, "decided": "", "wider": 8, "narrower": 2}
    assert Question([device(OLD)], engine).at(destination).compatible
    assert set(looked_at) == set(values)
    looked_at.clear()
    verdict = Question([device(OLD, **values)], engine).at(destination).devices[0].verdict
    assert verdict.configuration == values
    assert sorted(looked_at) == ["backend", "decided", "narrower"]


def test_what_profiles_do_not_set_is_looked_at_once_for_all(looked_at: list[str]) -> None:
    world, acceptance = two_releases(), Acceptance()
    model, release = world.model(NIC), world.release(NEW)
    assert model is not None
    assert release is not None
    for queues in (2, 3):
        assert acceptance.accepts({"queues": queues}, model, NEW, release.sets[NIC])
    assert sorted(looked_at) == ["new", "queues", "queues", "queues"]


def test_what_hosts_restrict_differently_is_told_apart() -> None:
    world = World().publish(OLD, {NIC: {"queues": QUEUES}})
    world.publish(NEW, {NIC: {"queues": {**QUEUES, "init_value": 8}, "new": variable("bool", True, False)}})
    asked = [device(OLD), device(NEW), device(OLD, queues=2), device(NEW, new=False, queues=2)]
    destinations = [
        Destination("there", (release,), {NIC: {"queues": [values]}})
        for values in ("1-2", "1-4", "1-8")
        for release in (NEW, OLD)
    ]
    snapshot = world.lookups()
    engine = Engine(snapshot, Policy.PERMISSIVE)
    for destination in destinations:
        expected = judge_vm([Source.of(one, snapshot) for one in asked], destination, snapshot, Policy.PERMISSIVE)
        for one, served in zip(asked, expected, strict=True):
            assert Question([one], engine).at(destination).devices[0].verdict == served.verdict


def test_profiles_without_a_release_keep_what_else_is_carried_over_and_unchecked() -> None:
    stated = {
        "mac": variable("str", "", scope="instance"),
        "slot": variable("int", 0, scope="instance"),
        "rom": variable("str", "", ""),
        "queues": QUEUES,
    }
    world = World().publish(OLD, {NIC: stated}).profile("vendor-a.com/p", {NIC: {"queues": 8, "slot": 3}})
    verdict = world.ask(device(profile="vendor-a.com/p"), OLD)
    assert verdict.configuration == {"queues": 8, "rom": "", "slot": 3}
    assert (verdict.carry_over, verdict.unchecked) == (("mac",), ("rom",))


class StubRemedies:
    """Finds one change for each device and remembers what it was asked; possible: what it says of any device."""

    def __init__(self, *, possible: bool = True) -> None:
        self.possible = possible
        self.asked: list[tuple[object, str, Policy, tuple[str, ...]]] = []

    def is_possible(self, compiled: compared.Compiled, verdict: Verdict) -> bool:
        """Return what the stub says of any device."""
        assert compiled.origin is not None
        assert not verdict.compatible
        return self.possible

    def search(self, migration: Migration, release: Release, policy: Policy, verdict: Verdict) -> Remedy | None:
        """Return a change that shows how often the stub was asked."""
        values = migration.compiled.source.device.values
        messages = tuple(problem.message for problem in verdict.problems)
        self.asked.append((dict(values), str(release.name), policy, messages))
        count = len(self.asked)
        return Remedy((Change("queues", 8, count),), (count, ["queues"], [count]))


def few_queues() -> World:
    """Return a world in which two newer releases allow few queues."""
    world = World().publish(OLD, {NIC: {"queues": QUEUES}})
    for release in (NEW, "vendor-a.com/fw@3"):
        world.publish(release, {NIC: {"queues": {**QUEUES, "allowed_values": ["1-4"]}}})
    return world


def refused(queues: int, release: str = NEW) -> tuple[str, ...]:
    """Return what a release that allows four queues says of more."""
    return (f"queues={queues} at the source, but {release} allows 1-4.",)


def changed_to(question: Question, destination: Destination) -> list[list[object]]:
    """Return for each device the values after its changes."""
    return [[change.after for change in one.verdict.remedies] for one in question.at(destination).devices]


def test_a_remedy_is_searched_for_once_for_each_refused_device_release_and_restriction() -> None:
    remedies = StubRemedies()
    engine = Engine(few_queues().lookups(), Policy.PERMISSIVE, remedies=remedies)
    question = Question([device(OLD, queues=number) for number in (4, 7, 8, 7)], engine)
    assert changed_to(question, Destination("there", (NEW,))) == [[], [1], [2], [1]]
    assert remedies.asked == [
        ({"queues": 7}, NEW, Policy.PERMISSIVE, refused(7)),
        ({"queues": 8}, NEW, Policy.PERMISSIVE, refused(8)),
    ]
    one = Question([device(OLD, queues=8)], engine)
    assert changed_to(one, Destination("there", (NEW,))) == [[2]]
    assert changed_to(one, Destination("narrow", (NEW,), {NIC: {"queues": ["1-3"]}})) == [[3]]
    assert changed_to(one, Destination("narrower", (NEW,), {NIC: {"queues": ["1-2"]}})) == [[4]]
    # The first release needs the fewest changes; its verdict is the answer.
    assert changed_to(one, Destination("both", (NEW, "vendor-a.com/fw@3"))) == [[2]]
    third = "vendor-a.com/fw@3"
    assert remedies.asked[-1] == ({"queues": 8}, third, Policy.PERMISSIVE, refused(8, third))


def test_no_remedy_is_searched_for_where_none_is_possible() -> None:
    remedies = StubRemedies(possible=False)
    engine = Engine(few_queues().lookups(), Policy.PERMISSIVE, remedies=remedies)
    question = Question([device(OLD, queues=8), device(OLD, queues=2)], engine)
    assert changed_to(question, Destination("there", (NEW,))) == [[], []]
    assert remedies.asked == []


@pytest.mark.parametrize("possible", [True, False])
def test_an_engine_that_only_remembers_searches_for_no_remedy(possible: bool) -> None:
    world, memo, destination = few_queues(), Memo(), Destination("there", (NEW,))

    def ask(*, only_remembered: bool) -> bool:
        remedies = StubRemedies(possible=possible)
        engine = Engine(world.lookups(), Policy.PERMISSIVE, memo, remedies=remedies, only_remembered=only_remembered)
        return Question([device(OLD, queues=8), device(OLD)], engine).at(destination).compatible

    assert not ask(only_remembered=False)
    if possible:
        with pytest.raises(TakesLongerError):
            ask(only_remembered=True)
    else:
        assert not ask(only_remembered=True)


def test_a_destination_that_is_not_registered_does_not_hide_the_ones_after_it() -> None:
    engine = Engine(two_releases().lookups(), Policy.PERMISSIVE)
    problem = Problem(ProblemCode.UNKNOWN_HOST, "There is no host there.")
    unknown, known = Destination("there", (), problem=problem), Destination("here", (OLD,))
    answers = Question([device(OLD), device(OLD)], engine).at_all([unknown, known, unknown])
    assert [answer.compatible for answer in answers] == [False, True, False]
    assert [(one.release, one.verdict.problems) for one in answers[0].devices] == [("there", (problem,))] * 2


def test_a_destination_that_is_not_registered_is_like_no_other_whatever_the_releases_of_that_are_called() -> None:
    engine = Engine(two_releases().lookups(), Policy.PERMISSIVE)
    problem = Problem(ProblemCode.UNKNOWN_HOST, "There is no host there.")
    missing, runs = Destination("there", (), problem=problem), Destination("here", ("unknown", "there"))
    for asked in ([missing, runs], [runs, missing]):
        answers = zip(asked, Question([device(OLD)], engine).at_all(asked), strict=True)
        codes = {where.id: answer.devices[0].verdict.problems[0].code for where, answer in answers}
        assert codes == {"there": ProblemCode.UNKNOWN_HOST, "here": ProblemCode.UNKNOWN_RELEASE}


def test_a_restriction_is_written_once_and_equal_ones_alike() -> None:
    kinds = Kinds()
    one, other = {"queues": [1], "new": [2]}, {"new": [2], "queues": [1]}
    assert kinds.text(one) is kinds.text(one)
    assert kinds.text(one) == kinds.text(other)
    assert kinds.text({}) == kinds.text(None) == ""
