"""What releases make of profiles themselves counts: at the source, and as a warning at the destination (DESIGN 5)."""

from typing import Any

import pytest

from app.domain.publishing.gate import made_otherwise
from app.domain.verdict.destination import Destination
from app.domain.verdict.judge import Verdict
from app.domain.verdict.problem import Problem, ProblemCode, WarningCode
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, codes, device, variable

OLD, NEW, NEWER = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-a.com/fw@3"
P = "vendor-a.com/p"
QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", True, False)


def world(here: dict[str, Any], there: dict[str, Any], profile: dict[str, Any] | None = None) -> World:
    """Return two releases with the same variables; here, there: what they make of the profile themselves."""
    variables = {NIC: {"queues": QUEUES, "flag": FLAG}}
    return (
        World()
        .publish(OLD, {NIC: {"queues": QUEUES}})
        .publish(NEW, variables, own_values={P: {NIC: here}})
        .publish(NEWER, variables, own_values={P: {NIC: there}})
        .profile(P, {NIC: profile or {}})
    )


def to_set(verdict: Verdict) -> Any:
    """Return what has to be set explicitly at the destination."""
    return next((one.values for one in verdict.warnings if one.code is WarningCode.MUST_BE_SET), None)


def test_a_device_has_what_its_release_makes_of_the_profile() -> None:
    made = world({"flag": True, "queues": 8}, {})
    assert made.ask(device(NEW, P), NEW).configuration == {"queues": 8, "flag": True}
    assert codes(made.ask(device(NEW, P), OLD)) == [("variable-not-supported", "flag")]
    # What the device gives explicitly counts before.
    assert made.ask(device(NEW, P, flag=False, queues=2), OLD).configuration == {"queues": 2}


def test_own_values_of_another_profile_or_without_a_profile_do_not_count() -> None:
    made = world({"flag": True}, {}).profile("vendor-a.com/q", {NIC: {}})
    assert made.ask(device(NEW, "vendor-a.com/q"), NEW).configuration == {"queues": 1, "flag": False}
    assert made.ask(device(NEW), NEW).configuration == {"queues": 4, "flag": True}
    # Without a source release, nobody made anything of the profile yet.
    assert made.ask(device(None, P), OLD).compatible


def test_an_own_value_can_be_the_off_value() -> None:
    made = world({"flag": False}, {}, {"flag": True})
    assert made.ask(device(NEW, P), OLD).compatible
    assert codes(world({}, {}, {"flag": True}).ask(device(NEW, P), OLD)) == [("variable-not-supported", "flag")]


def test_what_the_destination_makes_otherwise_must_be_set() -> None:
    less = world({}, {"flag": False}, {"flag": True}).ask(device(NEW, P), NEWER)
    assert (less.compatible, to_set(less)) == (True, {"flag": True})
    (message,) = [one.message for one in less.warnings if one.code is WarningCode.MUST_BE_SET]
    assert message == (
        "Set flag=on explicitly at the destination: vendor-a.com/fw@3 by itself makes something else of "
        "vendor-a.com/p, which would change the guest's hardware."
    )
    more = world({"queues": 8}, {}).ask(device(NEW, P), NEWER)
    assert to_set(more) == {"queues": 8}
    # Also where only the profile is known of the source.
    assert to_set(world({}, {"queues": 2}).ask(device(None, P), NEWER)) == {"queues": 1}


def test_what_both_make_alike_needs_no_warning() -> None:
    assert to_set(world({"queues": 8}, {"queues": 8}).ask(device(NEW, P), NEWER)) is None
    assert to_set(world({}, {}, {"queues": 8}).ask(device(NEW, P), NEWER)) is None


def test_what_the_device_gives_is_set_anyway_and_not_warned_of() -> None:
    verdict = world({}, {"queues": 2}).ask(device(NEW, P, queues=8), NEWER)
    assert (verdict.configuration, to_set(verdict)) == ({"queues": 8, "flag": False}, None)


def test_nothing_is_to_be_set_where_the_device_cannot_go() -> None:
    verdict = world({"queues": 8}, {}).ask(device(NEW, P, flag="x"), NEWER)
    assert (verdict.compatible, to_set(verdict)) == (False, None)


def test_fixed_instance_and_backend_variables_are_never_to_be_set() -> None:
    fixed = {
        "speed": variable("int", 10, settable=False),
        "mac": variable("str", "", scope="instance"),
        "tap": variable("str", "", scope="backend"),
    }
    other = {**fixed, "tap": variable("str", "tap0", scope="backend")}
    made = World().publish(NEW, {NIC: fixed}).publish(NEWER, {NIC: other}).profile(P, {NIC: {}})
    verdict = made.ask(device(NEW, P, mac="52:54:00:00:00:01"), NEWER)
    assert (verdict.compatible, to_set(verdict)) == (True, None)


def test_the_init_value_of_a_variable_without_an_off_value_is_made_by_each_release_itself() -> None:
    made = (
        World()
        .publish(NEW, {NIC: {"speed": variable("int", 10)}})
        .publish(NEWER, {NIC: {"speed": variable("int", 40)}})
    )
    verdict = made.profile(P, {NIC: {}}).ask(device(NEW, P), NEWER)
    assert (verdict.configuration, to_set(verdict)) == ({"speed": 10}, {"speed": 10})


def test_a_device_on_a_host_has_only_what_the_host_has() -> None:
    made = world({}, {}, {"flag": True, "queues": 8})
    old_kernel = Destination("old-1", (NEW,), {NIC: {"flag": [False]}})
    asked = Device(id="nic", model=NIC, profile=P, host=old_kernel)
    verdict = made.ask(asked, OLD)
    assert (verdict.compatible, verdict.configuration) == (True, {"queues": 8})
    # A host that can have it would give it to the guest, so it has to be switched off there.
    assert to_set(made.ask(asked, NEWER)) == {"flag": False}
    assert to_set(made.ask(asked, NEWER, restrict={NIC: {"flag": [False]}})) == {"flag": False}


def test_a_value_that_the_host_does_not_have_cannot_be_given_there() -> None:
    old_kernel = Destination("old-1", (NEW,), {NIC: {"flag": [False]}})
    asked = Device(id="nic", model=NIC, profile=P, host=old_kernel, values={"flag": True})
    assert ("source-value-invalid", "flag") in codes(world({}, {}).ask(asked, NEWER))


@pytest.mark.parametrize("allowed", [1, 2, "2-3"])
def test_what_a_host_made_of_a_value_other_than_a_switch_is_not_guessed(allowed: object) -> None:
    made = world({}, {}, {"queues": 8})
    asked = Device(id="nic", model=NIC, profile=P, host=Destination("h", (NEW,), {NIC: {"queues": [allowed]}}))
    assert ("source-value-invalid", "queues") in codes(made.ask(asked, NEWER))


def test_an_explicit_null_has_to_be_set_at_the_destination() -> None:
    made = world({"queues": 8}, {})
    assert to_set(made.ask(Device(id="nic", model=NIC, release=NEW, profile=P, values={"queues": None}), NEW)) == {
        "queues": 1
    }


def test_the_host_tells_the_release_of_a_device() -> None:
    made = world({}, {})
    one = Destination("one", (NEW, "vendor-b.com/none@1"))
    both = Destination("both", (OLD, NEW))
    assert made.ask(Device(id="nic", model=NIC, host=one), NEWER).configuration == {"queues": 4, "flag": True}
    several = made.ask(Device(id="nic", model=NIC, host=both), NEWER)
    assert codes(several) == [("source-unknown", None)]
    assert several.problems[0].message == (
        "Several releases of the host both implement vendor-a.com/nic: vendor-a.com/fw@1, vendor-a.com/fw@2. Name one."
    )
    assert made.ask(Device(id="nic", model=NIC, host=both, release=OLD), NEWER).configuration == {
        "queues": 4,
        "flag": False,
    }
    elsewhere = made.ask(Device(id="nic", model=NIC, host=one, release=OLD), NEWER)
    assert elsewhere.problems[0].message == (
        "The device names the source release vendor-a.com/fw@1, but its host one runs vendor-a.com/fw@2, "
        "vendor-b.com/none@1."
    )
    nothing = made.ask(Device(id="nic", model=NIC, host=Destination("h", ("vendor-b.com/none@1",))), NEWER)
    assert nothing.problems[0].message == ("The registry has no release vendor-b.com/none@1, which the host h runs.")
    twice = Destination("h", (NEW, NEW))
    assert made.ask(Device(id="nic", model=NIC, host=twice), NEWER).compatible
    # One that is being updated: the device can have been made by either.
    updating = Destination("h", ("vendor-a.com/fw@99", NEW))
    assert made.ask(Device(id="nic", model=NIC, host=updating), NEWER).problems[0].message == (
        "The registry has no release vendor-a.com/fw@99, which the host h runs beside vendor-a.com/fw@2: "
        "name the release that made the device."
    )


def test_the_variables_of_which_a_release_makes_something_else_are_told() -> None:
    values, off = {"queues": 8}, {"flag": False, "queues": 1}
    assert made_otherwise(values, off, {}, {"flag": True}) == {"flag": (False, True)}
    assert made_otherwise(values, off, {"queues": 4}, {}) == {"queues": (4, 8)}
    assert made_otherwise(values, off, {"queues": 8}, {"flag": False}) == {}
    assert made_otherwise(values, {}, {}, {"speed": 10}) == {"speed": (None, 10)}


def told(verdict: Verdict, code: WarningCode) -> str:
    """Return the message of a warning."""
    (message,) = [one.message for one in verdict.warnings if one.code is code]
    return message


def test_what_must_be_set_is_named_in_order() -> None:
    made = world({}, {"flag": False, "queues": 4}, {"flag": True, "queues": 8})
    assert told(made.ask(device(NEW, P), NEWER), WarningCode.MUST_BE_SET) == (
        "Set flag=on, queues=8 explicitly at the destination: vendor-a.com/fw@3 by itself makes something else of "
        "vendor-a.com/p, which would change the guest's hardware."
    )


def test_only_what_can_be_set_and_belongs_to_the_guest_must_be_set() -> None:
    backend = {**variable("int", 1, 1), "scope": "backend"}
    fixed = {**variable("int", 2, 1), "settable": False}
    variables = {NIC: {"queues": QUEUES, "fd": backend, "fixed": fixed}}
    own = {P: {NIC: {"queues": 2}}}
    made = World().publish(OLD, variables).publish(NEW, variables, own_values=own).profile(P, {NIC: {"fixed": 2}})
    assert to_set(made.ask(device(OLD, P, fd=7), NEW)) == {"queues": 1}
    assert to_set(made.ask(device(OLD, P), OLD)) is None


def test_what_a_release_cannot_but_make_need_not_be_set() -> None:
    fixed = {**variable("int", 2, 1), "settable": False}
    backend = {**variable("int", 1, 0), "scope": "backend"}
    made = World().publish(OLD, {NIC: {"rings": variable("int", 2, 1)}}, own_values={P: {NIC: {"rings": 2}}})
    made.publish(NEW, {NIC: {"rings": fixed, "fd": backend}}).profile(P, {NIC: {}})
    verdict = made.ask(device(OLD, P), NEW)
    assert (verdict.configuration, to_set(verdict)) == ({"rings": 2, "fd": 1}, None)


def test_what_another_vendor_makes_itself_is_told_by_its_own_off_values() -> None:
    first, second = "vendor-b.com/fw@1", "vendor-b.com/fw@2"
    made = World().publish(first, {NIC: {}}).publish(second, {NIC: {"turbo": variable("int", 4, 2)}})
    verdict = made.profile(P, {NIC: {}}).ask(device(first, P), second)
    assert (verdict.configuration, to_set(verdict)) == ({"turbo": 2}, None)


def test_devices_that_differ_in_their_hosts_are_judged_apart() -> None:
    made = world({}, {}, {"flag": True})
    hosts = [Destination("full", (NEW,)), Destination("old", (NEW,), {NIC: {"flag": [False]}})]
    asked = [Device(id=host.id, model=NIC, profile=P, host=host) for host in hosts]
    answers = made.answer(asked, Destination("there", (OLD,))).devices
    assert [one.verdict.compatible for one in answers] == [False, True]
    assert [one.source.device.host for one in answers] == hosts


@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)])
def test_each_release_of_which_nobody_stated_that_it_migrates_is_named(order: tuple[str, str]) -> None:
    unknown = {"variables": {"queues": QUEUES}, "migratable": "unknown"}
    made = World().publish(OLD, {NIC: unknown}).publish(NEW, {NIC: unknown})
    source, destination = order
    assert told(made.ask(device(source), destination), WarningCode.MIGRATABILITY_UNKNOWN) == (
        f"Nobody has stated whether {source} and {destination} can migrate vendor-a.com/nic at all."
    )
    assert told(made.ask(device(source), source), WarningCode.MIGRATABILITY_UNKNOWN) == (
        f"Nobody has stated whether {source} can migrate vendor-a.com/nic at all."
    )


@pytest.mark.parametrize(
    ("releases", "message"),
    [
        (
            ("vendor-a.com/fw@8", "vendor-a.com/fw@9"),
            "The registry has no release vendor-a.com/fw@8, vendor-a.com/fw@9, which the host h runs.",
        ),
        (
            (OLD, "vendor-a.com/fw@8", NEW),
            (
                "The registry has no release vendor-a.com/fw@8, which the host h runs beside vendor-a.com/fw@1, "
                "vendor-a.com/fw@2: name the release that made the device."
            ),
        ),
        (
            ("vendor-b.com/other@1", "vendor-b.com/other@2"),
            "No release that the host h runs implements vendor-a.com/nic: vendor-b.com/other@1, vendor-b.com/other@2.",
        ),
    ],
)
def test_the_message_says_why_a_host_does_not_tell_the_release(releases: tuple[str, ...], message: str) -> None:
    made = world({}, {})
    for other in ("vendor-b.com/other@1", "vendor-b.com/other@2"):
        made.publish(other, {"vendor-b.com/gpu": {}})
    verdict = made.ask(Device(id="nic", model=NIC, host=Destination("h", releases)), NEWER)
    assert [problem.message for problem in verdict.problems] == [message]


def test_an_unknown_release_that_comes_first_can_have_made_the_device() -> None:
    before = Device(id="nic", model=NIC, host=Destination("h", ("vendor-b.com/none@1", NEW)))
    assert codes(world({}, {}).ask(before, NEWER)) == [("source-unknown", None)]


def test_a_restriction_of_the_source_host_without_effect_is_told() -> None:
    host = Destination("h", (NEW,), {NIC: {"qq": [2]}})
    verdict = world({}, {}).ask(Device(id="nic", model=NIC, host=host), NEWER)
    assert told(verdict, WarningCode.RESTRICTION_WITHOUT_EFFECT) == (
        "The source host restricts qq of vendor-a.com/nic, but its release has no such variable."
    )


def test_a_host_that_is_not_known_is_the_problem() -> None:
    problem = Problem(ProblemCode.UNKNOWN_HOST, "No host h is registered.")
    nowhere = Device(id="nic", model=NIC, host=Destination("h", (), problem=problem))
    assert world({}, {}).ask(nowhere, NEWER).problems == (problem,)


def test_a_host_knows_a_model_by_the_name_that_its_release_gives() -> None:
    made = world({}, {}).publish("vendor-a.com/fw@4", {NIC: {"queues": QUEUES}}, aliases={"vendor-a.com/card": NIC})
    on_host = Device(id="nic", model="vendor-a.com/card", host=Destination("h", ("vendor-a.com/fw@4",)))
    assert made.ask(on_host, OLD).configuration == {"queues": 4}


def test_a_block_counts_for_what_is_given_where_the_profile_is_not_known() -> None:
    blocked = {"variables": {"queues": QUEUES}, "blocks_migration": [{"when": {"queues": [1]}, "description": "one"}]}
    made = World().publish(OLD, {NIC: blocked})
    unknown = made.ask(device(OLD, "vendor-a.com/none", queues=None), OLD)
    assert codes(unknown) == [("unknown-profile", None), ("not-migratable", "queues")]
