"""What a publication adds, and every reason why it is refused (DESIGN 3 and 4), planned without a database."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.publishing.gate import Broken, not_overridden
from app.domain.publishing.outcome import ConflictError
from app.domain.publishing.profile import parents_first
from app.domain.publishing.vendor import gained
from app.domain.values.document import Fault, InvalidDocumentError, Place
from app.domain.values.state import State
from tests.domain.registry import MemoryRegistry
from tests.domain.test_laws import sets
from tests.domain.world import NIC, variable

GPU = "vendor-a.com/gpu"
OLD, NEW, CLONE = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-b.com/clone@1"
P, Q = "vendor-a.com/p", "vendor-a.com/q"
QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", False, False)
MAC = variable("str", "", scope="instance")


def release(models: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a release's document; models: the variables of each."""
    stated = {NIC: {"queues": QUEUES}} if models is None else models
    return {"models": {name: {"variables": variables} for name, variables in stated.items()}, **fields}


def profile(name: str = P, values: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a profile's document."""
    return {"name": name, "values": {NIC: {"queues": 8}} if values is None else values, **fields}


@pytest.fixture
def registry() -> MemoryRegistry:
    """Return a registry with one release of the NIC, which lists a profile."""
    registry = MemoryRegistry()
    registry.publish(OLD, release(profiles=[profile()], description="first"))
    return registry


def codes(faults: list[Fault]) -> list[tuple[str, str]]:
    """Return faults as (pointer, code)."""
    return sorted((fault.pointer, fault.code.value) for fault in faults)


def test_a_release_brings_its_model_variables_and_profiles(registry: MemoryRegistry) -> None:
    assert registry.models[NIC].off_values("vendor-a.com") == {"queues": 1}
    assert registry.releases[OLD].listed == frozenset({P})
    assert registry.values(P, NIC) == {"queues": 8}


def test_publishing_again_adds_nothing(registry: MemoryRegistry) -> None:
    document = release(profiles=[profile()], description="first")
    plan, faults = registry.plan(OLD, document)
    assert not faults
    assert not plan.is_new
    assert (plan.new_sets, plan.new_models, plan.newly_listed, plan.profiles.changed()) == ({}, set(), None, [])
    assert all(not added for added in plan.statements.values())
    before = plan.digest()
    registry.publish(OLD, document)
    assert registry.plan(OLD, document)[0].digest() == before


def test_a_release_may_gain_models_and_listed_profiles(registry: MemoryRegistry) -> None:
    plan = registry.publish(OLD, release({GPU: {"on": FLAG}}, profiles=[profile(Q, {GPU: {}})]), is_whole=False)
    assert (set(plan.new_sets), set(plan.new_models), plan.newly_listed) == ({GPU}, {GPU}, [Q])
    assert registry.releases[OLD].sets.keys() == {NIC, GPU}
    assert registry.releases[OLD].listed == frozenset({P, Q})
    # A list that grows concerns all that the release has.
    assert plan.concerned() == {NIC, GPU}
    assert plan.record() == {
        "models": {GPU: plan.new_sets[GPU].digest},
        "profiles": [{"name": Q, "values": {GPU: plan.profiles.profiles[Q].entries[GPU].own}}],
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (release({NIC: {"queues": {**QUEUES, "init_value": 8}}}), f"/models/{NIC.replace('/', '~1')}/variables/queues"),
        (release({NIC: {}}), f"/models/{NIC.replace('/', '~1')}/variables/queues"),
        (release(description="second"), "/description"),
        (release(state="retired"), "/state"),
    ],
)
def test_what_is_published_never_changes(registry: MemoryRegistry, document: Any, expected: str) -> None:
    with pytest.raises(ConflictError) as refused:
        registry.publish(OLD, document)
    assert codes(list(refused.value.faults)) == [(expected, "entry-changed")]


def test_a_description_alone_makes_another_content(registry: MemoryRegistry) -> None:
    _, faults = registry.plan(OLD, release({NIC: {"queues": {**QUEUES, "description": "pairs"}}}))
    assert [fault.code.value for fault in faults] == ["entry-changed"]
    assert "sha256:" in faults[0].message


@pytest.mark.parametrize(
    ("queues", "field"), [(variable("bool", False), "type"), ({**QUEUES, "off_value": 2}, "off_value")]
)
def test_a_variable_keeps_its_meaning(registry: MemoryRegistry, queues: dict[str, Any], field: str) -> None:
    _, faults = registry.plan(NEW, release({NIC: {"queues": queues}}))
    where = f"/models/{NIC.replace('/', '~1')}/variables/queues/{field}"
    assert codes(faults) == [(where, "variable-redefined")]


def test_an_off_value_may_be_gained_once(registry: MemoryRegistry) -> None:
    registry.publish(NEW, release({NIC: {"queues": QUEUES, "new": variable("int", 3)}}))
    plan = registry.publish("vendor-a.com/fw@3", release({NIC: {"queues": QUEUES, "new": variable("int", 3, 0)}}))
    assert {name: added.off_value for name, added in plan.statements[NIC].items()} == {"new": 0}
    assert registry.models[NIC].off_values("vendor-a.com")["new"] == 0
    plan, faults = registry.plan("vendor-a.com/fw@4", release({NIC: {"new": variable("int", 3, 0)}}))
    assert not faults
    assert plan.statements[NIC] == {}


def test_only_its_own_vendor_brings_a_model_into_being(registry: MemoryRegistry) -> None:
    _, faults = registry.plan(CLONE, release({GPU: {}}))
    assert codes(faults) == [(f"/models/{GPU.replace('/', '~1')}", "unknown-model")]
    assert "vendor-a.com" in faults[0].message
    assert not registry.plan(CLONE, release())[1]


def test_a_set_is_not_added_to_a_draft(registry: MemoryRegistry) -> None:
    assert codes(registry.plan(NEW, release(), is_whole=False, has_draft=True)[1]) == [("", "entry-changed")]
    assert not registry.plan(NEW, release(), is_whole=True, has_draft=True)[1]
    assert not registry.plan(OLD, release(), is_whole=False, has_draft=True)[1]


def test_a_new_release_takes_the_state_that_it_asks_for(registry: MemoryRegistry) -> None:
    for asked, planned in (("deprecated", State.DEPRECATED), ("retired", State.RETIRED), ("published", None)):
        plan, faults = registry.plan(NEW, release(state=asked))
        assert (faults, plan.state) == ([], planned)
    assert registry.plan(OLD, release(state="published"))[0].state is None


def test_a_profile_names_known_models_and_variables_with_values_of_their_type(registry: MemoryRegistry) -> None:
    values = {NIC: {"queues": "many", "unknown": 1}, "vendor-a.com/none": {}}
    nic = f"/values/{NIC.replace('/', '~1')}"
    assert codes(registry.plan_profile(profile(Q, values))[1]) == [
        (f"{nic}/queues", "invalid-value"),
        (f"{nic}/unknown", "unknown-variable"),
        ("/values/vendor-a.com~1none", "unknown-model"),
    ]


def test_at_least_one_published_release_accepts_a_profile(registry: MemoryRegistry) -> None:
    registry.publish(NEW, release({NIC: {"queues": {**QUEUES, "allowed_values": ["1-16"]}}}))
    planner, faults = registry.plan_profile(profile(Q, {NIC: {"queues": 16}}))
    assert not faults
    assert planner.profiles[Q].is_changed
    _, faults = registry.plan_profile(profile(Q, {NIC: {"queues": 17}}))
    assert codes(faults) == [(f"/values/{NIC.replace('/', '~1')}", "profile-not-accepted")]
    assert NEW in faults[0].message
    assert "queues=17" in faults[0].message


def test_a_model_that_no_release_implements_has_no_profiles(registry: MemoryRegistry) -> None:
    registry.models["vendor-a.com/idea"] = registry.models[NIC]
    _, faults = registry.plan_profile(profile(Q, {"vendor-a.com/idea": {}}))
    assert [fault.message for fault in faults] == ["No published release implements vendor-a.com/idea."]


def test_a_profile_holds_no_variable_of_one_device(registry: MemoryRegistry) -> None:
    registry.publish(NEW, release({NIC: {"queues": QUEUES, "mac": MAC}}))
    values = {NIC: {"queues": 8, "mac": "52:54:00:12:34:56"}}
    _, faults = registry.plan_profile(profile(Q, values))
    assert codes(faults) == [(f"/values/{NIC.replace('/', '~1')}/mac", "wrong-scope")]
    # Once some release has it as a variable that devices share, a profile can name it.
    registry.publish("vendor-a.com/fw@3", release({NIC: {"mac": variable("str", "")}}))
    assert not registry.plan_profile(profile(Q, values))[1]


def test_the_faults_of_equal_entries_are_reported_in_every_profile(registry: MemoryRegistry) -> None:
    wrong = {NIC: {"queues": 9}}
    _, faults = registry.plan(NEW, release(profiles=[profile(P + "1", wrong), profile(P + "2", wrong)]))
    pointers = [f"/profiles/{index}/values/{NIC.replace('/', '~1')}" for index in (0, 1)]
    assert codes(faults) == [(pointer, "profile-not-accepted") for pointer in pointers]


def test_an_entry_that_inherits_from_a_refused_one_is_not_reported_itself(registry: MemoryRegistry) -> None:
    parent, child = profile(Q, {NIC: {"queues": 9}}), profile("vendor-a.com/child", {NIC: {}}, extends=Q)
    _, faults = registry.plan(NEW, release(profiles=[child, parent]))
    assert codes(faults) == [(f"/profiles/1/values/{NIC.replace('/', '~1')}", "profile-not-accepted")]


def test_resolved_values_are_the_parents_overlaid_with_the_own(registry: MemoryRegistry) -> None:
    both = {NIC: {"queues": QUEUES, "flag": {**FLAG, "init_value": True}}}
    registry.publish(NEW, release(both, profiles=[profile(Q, {NIC: {"queues": 4, "flag": True}})]))
    registry.publish_profile(profile("vendor-a.com/r", {NIC: {"flag": None, "queues": "0x2"}}, extends=Q))
    assert registry.values("vendor-a.com/r", NIC) == {"queues": 2}


def test_profiles_published_together_can_extend_one_another_in_any_order(registry: MemoryRegistry) -> None:
    child, parent = profile("vendor-a.com/child", {NIC: {}}, extends=Q), profile(Q, {NIC: {"queues": 2}})
    registry.publish(NEW, release(profiles=[child, parent]))
    assert registry.values("vendor-a.com/child", NIC) == {"queues": 2}


def test_the_order_of_a_family_is_parents_first() -> None:
    family = {"c": "b", "b": "a", "a": None, "x": "y", "y": "x", "d": "elsewhere"}
    ordered = parents_first(family)
    assert sorted(ordered) == sorted(family)
    assert ordered.index("a") < ordered.index("b") < ordered.index("c")


def test_a_profile_keeps_its_parent_its_description_and_its_entries(registry: MemoryRegistry) -> None:
    registry.publish_profile(profile(Q, {NIC: {"queues": 2}}, extends=P, description="small"))
    nic = f"/values/{NIC.replace('/', '~1')}"
    for changed, pointer in (
        (profile(Q, {NIC: {"queues": 2}}, description="small"), "/extends"),
        (profile(Q, {NIC: {"queues": 2}}, extends=P, description="large"), "/description"),
        (profile(Q, {NIC: {"queues": 3}}, extends=P), nic),
        (profile(Q, {NIC: {}}, extends=P), nic),
        (profile(Q, {NIC: {"queues": 2}}, extends=P, state="retired"), "/state"),
    ):
        with pytest.raises(ConflictError) as refused:
            registry.publish_profile(changed)
        assert codes(list(refused.value.faults)) == [(pointer, "entry-changed")]
    assert not registry.publish_profile(profile(Q, {NIC: {"queues": 2}}, extends=P)).changed()


def test_a_profile_may_gain_models_but_not_change_inherited_ones(registry: MemoryRegistry) -> None:
    registry.publish(NEW, release({GPU: {"on": FLAG}, NIC: {"queues": QUEUES}}))
    registry.publish_profile(profile(Q, {}, extends=P))
    before = registry.resolved(Q)
    registry.publish_profile(profile(Q, {GPU: {}}, extends=P))
    assert registry.resolved(Q) == before | {GPU: registry.resolved(Q)[GPU]}
    _, faults = registry.plan_profile(profile(Q, {NIC: {"queues": 2}}, extends=P))
    assert codes(faults) == [(f"/values/{NIC.replace('/', '~1')}", "entry-changed")]


def test_a_parent_has_to_be_published(registry: MemoryRegistry) -> None:
    _, faults = registry.plan_profile(profile(Q, extends="vendor-a.com/none"))
    assert codes(faults) == [("/extends", "unknown-profile")]


def test_a_release_says_what_it_does_not_accept_of_its_list(registry: MemoryRegistry) -> None:
    registry.publish("vendor-a.com/fw@3", release({NIC: {"queues": QUEUES}, GPU: {"on": FLAG}}))
    registry.publish_profile(profile(Q, {NIC: {"queues": 8}, GPU: {"on": True}}))
    plan = registry.publish(NEW, release({NIC: {"queues": QUEUES}, GPU: {}}, profiles=[P, Q]))
    assert [(entry.profile, entry.model) for entry in plan.not_accepted] == [(Q, GPU)]
    assert [problem.code.value for problem in plan.not_accepted[0].problems] == ["variable-not-supported"]


def test_a_listed_profile_of_which_a_release_accepts_nothing_is_a_fault(registry: MemoryRegistry) -> None:
    few = {NIC: {"queues": {**QUEUES, "allowed_values": ["1-4"]}}}
    _, faults = registry.plan(NEW, release(few, profiles=[P]))
    assert codes(faults) == [("/profiles/0", "profile-not-accepted")]
    _, faults = registry.plan(NEW, release(profiles=["vendor-a.com/none"]))
    assert codes(faults) == [("/profiles/0", "unknown-profile")]


def test_the_draft_of_a_profile_does_not_come_with_a_release(registry: MemoryRegistry) -> None:
    _, faults = registry.plan(NEW, release(profiles=[profile(Q, state="draft")]))
    assert codes(faults) == [("/profiles/0/state", "invalid-value")]


def test_faults_of_sets_are_not_reported_again_as_faults_of_profiles(registry: MemoryRegistry) -> None:
    wrong = {NIC: {"queues": variable("int", 9, None, ["1-8"])}}
    _, faults = registry.plan(NEW, release(wrong, profiles=[profile(Q, {NIC: {"queues": 8}}), P]))
    assert codes(faults) == [
        (f"/models/{NIC.replace('/', '~1')}/variables/queues/init_value", "init-value-not-allowed")
    ]


def test_own_values_are_of_listed_profiles_implemented_models_and_their_variables(registry: MemoryRegistry) -> None:
    own = {P: {NIC: {"queues": 4, "none": 1}, GPU: {}}, Q: {NIC: {}}}
    _, faults = registry.plan(NEW, release(profiles=[P], own_values=own))
    assert codes(faults) == [
        (f"/own_values/{P.replace('/', '~1')}/{GPU.replace('/', '~1')}", "unknown-model"),
        (f"/own_values/{P.replace('/', '~1')}/{NIC.replace('/', '~1')}/none", "unknown-variable"),
        (f"/own_values/{Q.replace('/', '~1')}", "unknown-profile"),
    ]


def test_own_values_never_change(registry: MemoryRegistry) -> None:
    stated = release(profiles=[P], own_values={P: {NIC: {"queues": 4}}})
    plan = registry.publish(NEW, stated)
    assert plan.record()["own_values"] == {P: {NIC: plan.own_values[0].digest}}
    assert not registry.publish(NEW, stated).own_values
    with pytest.raises(ConflictError):
        registry.publish(NEW, release(profiles=[P], own_values={P: {NIC: {"queues": 5}}}))


def test_a_fault_of_another_kind_makes_a_conflict_an_invalid_document(registry: MemoryRegistry) -> None:
    with pytest.raises(InvalidDocumentError):
        registry.publish(OLD, release({NIC: {}}, description="second", profiles=["vendor-a.com/none"]))


def test_a_vendor_gains_a_title_and_a_url_which_never_change() -> None:
    place = Place()
    assert gained({"title": None, "url": None}, {"title": "A", "url": None}, place) == {"title": "A"}
    assert gained({"title": "A", "url": "u"}, {"title": "A", "url": None}, place) == {}
    assert not place.faults
    assert gained({"title": "A", "url": "u"}, {"title": "B", "url": "v"}, place) == {}
    assert codes(place.faults) == [("/name", "entry-changed"), ("/url", "entry-changed")]


def test_an_override_lets_pass_what_it_was_given_for_alone() -> None:
    first, second = (Broken(P, model, OLD, NEW, ()) for model in (NIC, GPU))
    assert not_overridden([first, second], (), {(P, NIC, NEW)}) == [second]
    assert not_overridden([first, second], (NIC,), {(P, NIC, NEW), (P, GPU, NEW)}) == [first]


@given(st.lists(sets(), min_size=1, max_size=4))
def test_whatever_is_published_stands_and_can_be_published_again(documents: list[dict[str, Any]]) -> None:
    registry = MemoryRegistry()
    published = {}
    for number, document in enumerate(documents):
        name = f"vendor-a.com/fw@{number}"
        try:
            registry.publish(name, {"models": {NIC: document}})
        except (ConflictError, InvalidDocumentError):
            assert name not in registry.releases
            continue
        published[name] = (document, registry.releases[name].sets[NIC])
    types = (
        {name: statement.type for name, statement in registry.models[NIC].statements["vendor-a.com"].items()}
        if (published)
        else {}
    )
    for name, (document, digest) in published.items():
        plan = registry.publish(name, {"models": {NIC: document}})
        assert not plan.new_sets
        assert registry.releases[name].sets[NIC] == digest
        assert all(types[variable].value == stated["type"] for variable, stated in document["variables"].items())


def test_all_faults_of_a_profile_entry_are_reported_at_once() -> None:
    registry = MemoryRegistry()
    mac = {"type": "str", "init_value": "", "scope": "instance"}
    variables = {"queues": {"type": "int", "init_value": 4}, "mac": mac}
    entry = {"queues": "many", "mac": "52:54:00:12:34:56", "unknown": 1}
    document = {
        "models": {NIC: {"variables": variables}},
        "profiles": [{"name": "vendor-a.com/p", "values": {NIC: entry}}],
    }
    _, faults = registry.plan("vendor-a.com/fw@1", document)
    where = f"/profiles/0/values/{NIC.replace('/', '~1')}"
    expected = {
        (f"{where}/queues", "invalid-value"),
        (f"{where}/mac", "wrong-scope"),
        (f"{where}/unknown", "unknown-variable"),
    }
    assert {(fault.pointer, fault.code.value) for fault in faults} == expected
    # The same where the set is published already, and the profile comes alone.
    registry.publish("vendor-a.com/fw@1", {"models": document["models"]})
    _, alone = registry.plan_profile({"name": "vendor-a.com/p", "values": {NIC: entry}})
    assert {(fault.pointer.removeprefix("/values"), fault.code.value) for fault in alone} == {
        (pointer.removeprefix("/profiles/0/values"), code) for pointer, code in expected
    }


def test_faults_of_a_set_and_of_its_profiles_are_reported_at_once() -> None:
    registry = MemoryRegistry()
    variables = {"queues": {"type": "int", "init_value": 4}, "speed": {"type": "integer", "init_value": 10}}
    other = {"model": {"variables": {"a": {"type": "bool", "init_value": False}}}}
    profile = {
        "name": "vendor-a.com/p",
        "values": {NIC: {"queues": "many", "speed": 40, "sped": 1}, "vendor-a.com/gpu": {"a": 7}},
    }
    document = {"models": {NIC: {"variables": variables}, "vendor-a.com/gpu": other["model"]}, "profiles": [profile]}
    _, faults = registry.plan("vendor-a.com/fw@1", document)
    nic = NIC.replace("/", "~1")
    assert {(fault.pointer, fault.code.value) for fault in faults} == {
        (f"/models/{nic}/variables/speed/type", "invalid-value"),
        (f"/profiles/0/values/{nic}/queues", "invalid-value"),
        (f"/profiles/0/values/{nic}/sped", "unknown-variable"),
        ("/profiles/0/values/vendor-a.com~1gpu/a", "invalid-value"),
    }


def test_aliases_stand_for_what_is_published_and_never_change() -> None:
    registry = MemoryRegistry()
    models = {NIC: {"variables": {"queues": {"type": "int", "init_value": 4, "off_value": 1}}}}
    profiles = [{"name": "vendor-a.com/p", "values": {NIC: {}}}]
    aliases = {"vendor-a.com/latest": "vendor-a.com/p", "vendor-a.com/card": NIC}
    document = {"models": models, "profiles": profiles, "aliases": aliases}
    plan = registry.publish("vendor-a.com/fw@1", document)
    assert plan.new_aliases == aliases
    assert plan.record()["aliases"] == aliases
    assert registry.plan("vendor-a.com/fw@1", document)[0].new_aliases == {}
    without = registry.plan("vendor-a.com/fw@2", {"models": models, "profiles": profiles})[0]
    with_aliases = registry.plan("vendor-a.com/fw@2", document)[0]
    assert without.digest() != with_aliases.digest()
    _, changed = registry.plan("vendor-a.com/fw@1", {**document, "aliases": {"vendor-a.com/card": "vendor-a.com/p"}})
    assert [(fault.pointer, fault.code.value) for fault in changed] == [
        ("/aliases/vendor-a.com~1card", "entry-changed")
    ]
    wrong = {"vendor-a.com/x": "vendor-a.com/none", "vendor-a.com/y": "vendor-a.com/y", "bad": "vendor-a.com/p"}
    _, faults = registry.plan("vendor-a.com/fw@2", {**document, "aliases": wrong})
    assert sorted((fault.pointer, fault.code.value) for fault in faults) == [
        ("/aliases/bad", "invalid-name"),
        ("/aliases/vendor-a.com~1x", "unknown-profile"),
        ("/aliases/vendor-a.com~1y", "invalid-value"),
    ]
    # What is published keeps its name, so that no restriction or list is passed by.
    shadows = {"vendor-a.com/p": "vendor-a.com/q", NIC: "vendor-a.com/p"}
    both = [*profiles, {"name": "vendor-a.com/q", "values": {NIC: {}}}]
    _, faults = registry.plan("vendor-a.com/fw@2", {"models": models, "profiles": both, "aliases": shadows})
    assert sorted((fault.pointer, fault.code.value) for fault in faults) == [
        ("/aliases/vendor-a.com~1nic", "duplicate"),
        ("/aliases/vendor-a.com~1p", "duplicate"),
    ]
