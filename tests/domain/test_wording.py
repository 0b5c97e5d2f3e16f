"""The exact wording of every message: what is published, what is asked, and what the rule and the engine both say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.engine.acceptance import Acceptance
from app.domain.values.state import State
from app.domain.verdict import wording
from app.domain.verdict.case import Pair
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import judge_vm
from app.domain.verdict.judge import refusals
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Device, Source
from tests.domain.world import NIC, World, device, variable

GPU = "vendor-b.com/gpu"
OLD, NEW, OTHER, THIRD = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-b.com/clone@1", "vendor-c.com/clone@1"
P, Q = "vendor-a.com/p", "vendor-a.com/q"
QUEUES = variable("int", 4, 1, ["1-8"])
SAME = {"queues": QUEUES}
SPEED = variable("int", 10, allowed=[10, 100])
FLAG = variable("bool", False, False)

WIDE = {"when": {}, "require": {"queues": ["3-8"]}}

Said = tuple[str, str, str | None, Any, Any]


@dataclass(frozen=True)
class Case:
    """A question, and the problems (code, message, variable, value, allowed) and warnings (code, message) found."""

    asked: Device
    world: Callable[[], World]
    problems: Sequence[Said] = ()
    warnings: Sequence[tuple[str, str]] = ()
    at: tuple[str, ...] = (NEW,)
    restrict: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy = Policy.PERMISSIVE


def two(old: Any, new: Any, **more: Any) -> Callable[[], World]:
    """Return a world of two releases with these sets, and two profiles; more: what is stated of the newer release."""

    def build() -> World:
        world = World().publish(OLD, {NIC: old}).publish(NEW, {NIC: new}, **more)
        return world.profile(P, {NIC: {}}).profile(Q, {GPU: {}})

    return build


def with_profile(state: State) -> Callable[[], World]:
    """Return a world of two releases with the same set, and a profile in a state."""
    return lambda: two(SAME, SAME)().profile(P, {NIC: {}}, state)


def blocks(*documents: Any) -> dict[str, Any]:
    """Return a set with migration blocks."""
    return {"variables": {"queues": QUEUES, "flag": FLAG}, "blocks_migration": list(documents)}


def rules(*documents: Any) -> dict[str, Any]:
    """Return a set with constraints."""
    return {"variables": {"queues": QUEUES, "flag": FLAG}, "constraints": list(documents)}


def named(code: str, message: str) -> Said:
    """Return a problem that is about no variable."""
    return (code, message, None, None, None)


def without_nic() -> World:
    """Return a world in which only the older release implements the NIC."""
    return World().publish(OLD, {NIC: SAME}).publish(NEW, {GPU: {}})


def only_on() -> World:
    """Return a world in which a later release has a feature that cannot be off."""
    world = World().publish(OLD, {NIC: {}}).publish(NEW, {NIC: {"flag": FLAG}})
    return world.publish("vendor-a.com/fw@3", {NIC: {"flag": variable("bool", True, allowed=[True])}})


def two_types() -> World:
    """Return a world in which two vendors use one name for different things."""
    world = World().publish(OLD, {NIC: {}}).publish(OTHER, {NIC: {"theirs": variable("int", 1)}})
    return world.publish(THIRD, {NIC: {"theirs": variable("bool", True)}})


CASES = [
    # Names
    Case(
        Device(id="x", model="vendor-a.com/no", release=OLD),
        two(SAME, SAME),
        [named("unknown-model", "The registry has no device model vendor-a.com/no.")],
    ),
    Case(
        Device(id="x", model="vendor-a.com/no", complete=True),
        two(SAME, SAME),
        [
            named(
                "unknown-model",
                "The registry has no device model vendor-a.com/no. "
                "If it is an alias, name the source release, which says what it stands for.",
            )
        ],
    ),
    Case(
        device("vendor-a.com/fw@9"),
        two(SAME, SAME),
        [named("unknown-release", "The registry has no release vendor-a.com/fw@9 (the source).")],
    ),
    Case(
        device(OLD),
        two(SAME, SAME),
        [
            named("unknown-release", "The registry has no release vendor-a.com/fw@8, which the destination runs."),
            named("unknown-release", "The registry has no release vendor-a.com/fw@9, which the destination runs."),
        ],
        at=("vendor-a.com/fw@8", "vendor-a.com/fw@9"),
    ),
    Case(
        device(OLD),
        two(SAME, SAME),
        warnings=[("unknown-release", "The registry has no release vendor-a.com/fw@9, which the destination runs.")],
        at=("vendor-a.com/fw@9", NEW),
    ),
    Case(
        device(OLD),
        without_nic,
        [named("unknown-release", "The registry has no release vendor-a.com/fw@9, which the destination runs.")],
        at=(NEW, "vendor-a.com/fw@9"),
    ),
    Case(
        device(OLD, queues=1),
        two(SAME, {"fd": {**QUEUES, "scope": "backend"}}),
        [
            named(
                "nothing-compared",
                "vendor-a.com/fw@2 states no variable of vendor-a.com/nic that is compared, and no saved state, and "
                "lists no profile that the device names, so nothing says that the device is the same there.",
            )
        ],
    ),
    Case(
        device(OLD, "vendor-a.com/p9"),
        two(SAME, SAME),
        [named("unknown-profile", "The registry has no profile vendor-a.com/p9.")],
    ),
    Case(
        device(None, "vendor-a.com/p9"),
        two(SAME, SAME),
        [
            named(
                "unknown-profile",
                "The registry has no profile vendor-a.com/p9. "
                "If it is an alias, name the source release, which says what it stands for.",
            )
        ],
    ),
    Case(
        device(OLD, Q),
        two(SAME, SAME),
        [named("profile-not-for-model", "The profile vendor-a.com/q has no values for vendor-a.com/nic.")],
    ),
    Case(
        device(queues=2),
        two(SAME, SAME),
        [
            named(
                "source-unknown",
                "The device names neither a release nor a profile, and does not state that its values are complete.",
            )
        ],
    ),
    # The source
    # A value is read in a type that the model has the variable in.
    *(
        Case(
            asked,
            two(SAME, {**SAME, "flag": FLAG}),
            [
                (
                    "unknown-variable",
                    "flag=on is given, but the source release vendor-a.com/fw@1 has no variable flag.",
                    "flag",
                    True,
                    None,
                )
            ],
        )
        for asked in (device(OLD, flag=True), device(OLD, flag="on"))
    ),
    Case(
        device(OLD, queue=2),
        two(SAME, SAME),
        [
            (
                "unknown-variable",
                (
                    "queue=2 is given, but the source release vendor-a.com/fw@1 has no variable queue "
                    '(did you mean "queues"?).'
                ),
                "queue",
                2,
                None,
            )
        ],
    ),
    # A variable that the source release lacks is not in effect, whatever is given.
    Case(
        device(OLD, theirs=1),
        two_types,
        [
            (
                "unknown-variable",
                "theirs=1 is given, but the source release vendor-a.com/fw@1 has no variable theirs.",
                "theirs",
                1,
                None,
            ),
            (
                "cannot-be-off",
                (
                    "vendor-c.com/clone@1 has a new variable theirs without an off_value, so nothing says what earlier "
                    "devices had. Set it in the profile, or publish an off_value."
                ),
                "theirs",
                None,
                None,
            ),
        ],
        at=(THIRD,),
    ),
    # The off value can be given, also of a variable that the source release lacks.
    Case(device(OLD, flag=False), two(SAME, {**SAME, "flag": FLAG})),
    Case(
        device(OLD, queues=16),
        two(SAME, {"queues": {**QUEUES, "allowed_values": ["1-16"]}}),
        [
            (
                "source-value-invalid",
                "queues=16 at the source, but the source release vendor-a.com/fw@1 allows 1-8.",
                "queues",
                16,
                ("1-8",),
            )
        ],
    ),
    Case(
        device(OLD, speed=None),
        two({"speed": SPEED}, SAME),
        [
            (
                "source-value-invalid",
                "speed is given as null (off), but it has no off_value. Give its value.",
                "speed",
                None,
                None,
            )
        ],
    ),
    Case(
        device(OLD, queues=2),
        two(rules({"when": {"flag": [False], "queues": ["1-2"]}, "require": {"queues": ["3-8"]}}), SAME),
        [
            (
                "source-value-invalid",
                "queues=2, but the source release vendor-a.com/fw@1 requires 3-8 (with flag off and queues 1, 2).",
                "queues",
                2,
                ("3-8",),
            )
        ],
    ),
    Case(
        device(OLD, P),
        lambda: two(SAME, {"queues": {**QUEUES, "allowed_values": ["1-16"]}})().profile(P, {NIC: {"queues": 16}}),
        [
            (
                "source-value-invalid",
                "queues=16 at the source, but the source release vendor-a.com/fw@1 allows 1-8.",
                "queues",
                16,
                ("1-8",),
            )
        ],
    ),
    # What the profile sets, and what it leaves off, has to meet the constraints of the source, too.
    Case(
        device(OLD, P),
        lambda: two(rules(WIDE), SAME)().profile(P, {NIC: {"queues": 2}}),
        [
            (
                "source-value-invalid",
                "queues=2, but the source release vendor-a.com/fw@1 requires 3-8 (in every case).",
                "queues",
                2,
                ("3-8",),
            )
        ],
    ),
    Case(
        device(OLD, P),
        two(rules(WIDE), SAME),
        [
            (
                "source-value-invalid",
                "queues=1, but the source release vendor-a.com/fw@1 requires 3-8 (in every case).",
                "queues",
                1,
                ("3-8",),
            )
        ],
    ),
    # Step 1
    Case(
        device(OLD, queues=None),
        two(blocks({"when": {"queues": [1]}}), SAME),
        [
            (
                "not-migratable",
                "The source release vendor-a.com/fw@1 does not migrate a device with queues=1.",
                "queues",
                1,
                None,
            )
        ],
    ),
    Case(
        device(NEW),
        without_nic,
        [named("model-not-supported", "The source release vendor-a.com/fw@2 does not implement vendor-a.com/nic.")],
        at=(OLD,),
    ),
    Case(
        device(OLD),
        without_nic,
        [named("model-not-supported", "vendor-a.com/fw@2 does not implement vendor-a.com/nic.")],
    ),
    Case(
        device(OLD),
        two(SAME, {"variables": SAME, "migratable": False}),
        [named("not-migratable", "vendor-a.com/fw@2 cannot migrate vendor-a.com/nic.")],
    ),
    Case(
        device(OLD),
        two({"variables": SAME, "migratable": False}, SAME),
        [named("not-migratable", "The source release vendor-a.com/fw@1 cannot migrate vendor-a.com/nic.")],
    ),
    Case(
        device(OLD),
        two(blocks({"when": {}}), SAME),
        [named("not-migratable", "The source release vendor-a.com/fw@1 does not migrate a device of this model.")],
    ),
    # Steps 2 to 5
    Case(
        device(NEW, flag=True),
        two(SAME, {**SAME, "flag": FLAG}),
        [
            (
                "variable-not-supported",
                (
                    "flag=on at the source, but vendor-a.com/fw@1 does not know flag. "
                    "Only devices with flag=off can move there."
                ),
                "flag",
                True,
                None,
            )
        ],
        at=(OLD,),
    ),
    Case(
        device(NEW, speed=100),
        two(SAME, {**SAME, "speed": SPEED}),
        [
            (
                "variable-not-supported",
                (
                    "speed=100 at the source, but vendor-a.com/fw@1 does not know speed. "
                    "No off_value says which devices can move there without it."
                ),
                "speed",
                100,
                None,
            )
        ],
        at=(OLD,),
    ),
    Case(
        device(OTHER, theirs=1),
        two_types,
        [
            (
                "type-mismatch",
                "theirs is of type int at the source, but of type bool on vendor-c.com/clone@1.",
                "theirs",
                1,
                None,
            )
        ],
        at=(THIRD,),
    ),
    Case(
        device(complete=True, queues="many"),
        two(SAME, SAME),
        [
            (
                "type-mismatch",
                "queues is of type str at the source, but of type int on vendor-a.com/fw@2.",
                "queues",
                "many",
                None,
            )
        ],
    ),
    Case(
        device(complete=True, queues=True),
        two(SAME, SAME),
        [
            (
                "type-mismatch",
                "queues is of type bool at the source, but of type int on vendor-a.com/fw@2.",
                "queues",
                True,
                None,
            )
        ],
    ),
    # The type is that of the source's variable, whatever is given.
    Case(
        device(OTHER, theirs="many"),
        two_types,
        [
            (
                "source-value-invalid",
                "theirs=many at the source, but the source release vendor-b.com/clone@1 allows any int.",
                "theirs",
                "many",
                None,
            ),
            (
                "type-mismatch",
                "theirs is of type int at the source, but of type bool on vendor-c.com/clone@1.",
                "theirs",
                "many",
                None,
            ),
        ],
        at=(THIRD,),
    ),
    Case(
        device(OLD, queues=8),
        two(SAME, {"queues": {**QUEUES, "allowed_values": ["1-4"]}}),
        [
            (
                "value-not-allowed",
                "queues=8 at the source, but vendor-a.com/fw@2 allows 1-4.",
                "queues",
                8,
                ("1-4",),
            )
        ],
    ),
    Case(
        device(OLD, queues=8),
        two(SAME, SAME),
        [
            (
                "value-not-allowed",
                "queues=8 at the source, but vendor-a.com/fw@2 on this host allows 1, 2.",
                "queues",
                8,
                (1, 2),
            )
        ],
        restrict={NIC: {"queues": ["1-2"]}},
    ),
    Case(
        device(OLD),
        two(SAME, {**SAME, "speed": SPEED}),
        [
            (
                "cannot-be-off",
                (
                    "vendor-a.com/fw@2 has a new variable speed without an off_value, so nothing says what earlier "
                    "devices had. Set it in the profile, or publish an off_value."
                ),
                "speed",
                None,
                (10, 100),
            )
        ],
    ),
    Case(
        device(OLD, queues=1),
        two(SAME, {"queues": variable("int", 4, allowed=["4-8"])}),
        [
            (
                "cannot-be-off",
                "queues=1 at the source, but vendor-a.com/fw@2 allows only 4-8.",
                "queues",
                1,
                ("4-8",),
            )
        ],
    ),
    *(
        Case(
            asked,
            only_on,
            [
                (
                    "cannot-be-off",
                    (
                        "flag=off at the source (its value before the variable existed), "
                        "but vendor-a.com/fw@3 allows only on."
                    ),
                    "flag",
                    False,
                    (True,),
                )
            ],
            at=("vendor-a.com/fw@3",),
        )
        for asked in (device(OLD), device(complete=True))
    ),
    # A profile is spoken of only where nothing else is known of the source.
    *(
        Case(
            asked,
            lambda: two(SAME, {"queues": {**QUEUES, "allowed_values": ["1-4"]}})().profile(P, {NIC: {"queues": 8}}),
            [("value-not-allowed", f"{start}, but vendor-a.com/fw@2 allows 1-4.", "queues", 8, ("1-4",))],
        )
        for asked, start in (
            (device(profile=P), "The profile sets queues=8"),
            (device(profile=P, queues=8), "queues=8 at the source"),
            (device(OLD, P), "queues=8 at the source"),
        )
    ),
    # Step 6
    Case(
        device(OLD, queues=2),
        two(SAME, rules({"when": {}, "require": {"queues": ["3-8"]}, "description": "wide bus"})),
        [
            (
                "constraint-violated",
                "queues=2, but vendor-a.com/fw@2 requires 3-8 (wide bus).",
                "queues",
                2,
                ("3-8",),
            )
        ],
    ),
    Case(
        device(OLD, queues=2),
        two(SAME, rules({"when": {}, "require": {"queues": ["3-8"]}})),
        [
            (
                "constraint-violated",
                "queues=2, but vendor-a.com/fw@2 requires 3-8 (in every case).",
                "queues",
                2,
                ("3-8",),
            )
        ],
    ),
    Case(
        device(OLD, queues=2),
        two(SAME, rules({"when": {"queues": ["1-3"], "flag": [False]}, "require": {"queues": ["3-8"]}})),
        [
            (
                "constraint-violated",
                "queues=2, but vendor-a.com/fw@2 on this host requires 3-8 (with flag off and queues 1-3).",
                "queues",
                2,
                ("3-8",),
            )
        ],
        restrict={NIC: {"queues": ["1-7"]}},
    ),
    Case(
        device(OLD, queues=8),
        two(SAME, blocks({"when": {"queues": [8]}})),
        [("not-migratable", "vendor-a.com/fw@2 does not migrate a device with queues=8.", "queues", 8, None)],
    ),
    Case(
        device(OLD, queues=8),
        two(SAME, blocks({"when": {"queues": [8], "flag": [False]}, "description": "wide state"})),
        [named("not-migratable", "vendor-a.com/fw@2 does not migrate a device with flag=off, queues=8 (wide state).")],
    ),
    Case(
        device(OLD, queues=8),
        two(SAME, blocks({"when": {}, "description": "no code for it"})),
        [named("not-migratable", "vendor-a.com/fw@2 does not migrate a device of this model (no code for it).")],
    ),
    Case(
        device(OLD, queues=8),
        two(
            SAME,
            blocks(
                {"when": {"queues": [8]}, "description": "b"},
                {"when": {"queues": ["7-8"]}, "description": "a"},
                {"when": {"queues": [1]}, "description": "0"},
            ),
        ),
        [("not-migratable", "vendor-a.com/fw@2 does not migrate a device with queues=8 (a).", "queues", 8, None)],
    ),
    # Steps 7 and 8
    Case(
        device(OLD),
        two(SAME, SAME, state=State.RETIRED),
        [named("release-retired", "vendor-a.com/fw@2 is retired: no device can move there.")],
    ),
    Case(
        device(NEW),
        two(SAME, SAME, state=State.RETIRED),
        warnings=[("release-retired", "The source release vendor-a.com/fw@2 is retired.")],
        at=(OLD,),
    ),
    Case(
        device(OLD),
        two(SAME, SAME, state=State.DEPRECATED),
        warnings=[("release-deprecated", "vendor-a.com/fw@2 is deprecated.")],
    ),
    Case(device(NEW), two(SAME, SAME, state=State.DEPRECATED), at=(OLD,)),
    Case(
        device(OLD, P),
        with_profile(State.RETIRED),
        [named("profile-retired", "The profile vendor-a.com/p is retired.")],
    ),
    Case(
        device(OLD, P),
        with_profile(State.DEPRECATED),
        warnings=[("profile-deprecated", "The profile vendor-a.com/p is deprecated.")],
    ),
    Case(
        device(OLD, P),
        two(SAME, SAME, profiles=[]),
        [
            named(
                "profile-not-listed",
                "vendor-a.com/fw@2 does not list vendor-a.com/p among the profiles that it supports.",
            )
        ],
        policy=Policy.STRICT,
    ),
    Case(
        device(OLD, P),
        two(SAME, SAME),
        warnings=[
            ("only-variables-compared", "Only variables were compared: vendor-a.com/fw@2 has no list of profiles.")
        ],
        policy=Policy.STRICT,
    ),
    Case(
        device(OLD),
        two(SAME, SAME, profiles=[]),
        warnings=[("only-variables-compared", "Only variables were compared: the device names no profile.")],
        policy=Policy.STRICT,
    ),
    Case(device(OLD, P), two(SAME, SAME, profiles=[P]), policy=Policy.STRICT),
    # The host
    Case(
        device(OLD),
        two(SAME, SAME),
        warnings=[
            (
                "restriction-without-effect",
                "The destination restricts quues of vendor-a.com/nic, but its release has no such variable.",
            ),
            (
                "restriction-without-effect",
                "The destination restricts vendor-a.com/no, but the registry has no device model vendor-a.com/no.",
            ),
        ],
        restrict={NIC: {"quues": [1]}, "vendor-a.com/no": {}},
    ),
]


def said(problems: Sequence[Problem]) -> list[Said]:
    """Return problems as the table has them."""
    return [(each.code.value, each.message, each.variable, each.value, each.allowed) for each in problems]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.problems[0][0] if case.problems else "no-problem")
def test_each_message_names_the_object_the_value_and_what_is_allowed(case: Case) -> None:
    world, destination = case.world(), Destination("there", case.at, case.restrict)
    registry = world.lookups()
    ((_, verdict, _),) = judge_vm([Source.of(case.asked, registry)], destination, registry, case.policy)
    assert said(verdict.problems) == list(case.problems)
    assert [(warning.code.value, warning.message) for warning in verdict.warnings] == list(case.warnings)
    assert world.answer([case.asked], destination, case.policy).devices[0].verdict == verdict


def test_the_table_has_every_problem_code() -> None:
    shown = {problem[0] for case in CASES for problem in case.problems}
    # Whoever asks about a host that is not registered words that problem; others have test files of their own.
    assert shown == {code.value for code in ProblemCode} - {
        "unknown-host",
        "known-broken",
        "state-not-readable",
        "part-unknown",
        "not-together",
    }


OF_PROFILE: list[tuple[dict[str, Any], list[Said]]] = [
    ({"queues": 4, "speed": 10}, []),
    (
        {"queues": 3, "flag": True, "speed": 10},
        [
            (
                "variable-not-supported",
                (
                    "The profile sets flag=on, but vendor-a.com/fw@2 does not know flag. "
                    "Only profiles with flag=off can move there."
                ),
                "flag",
                True,
                None,
            ),
            (
                "constraint-violated",
                "queues=3, but vendor-a.com/fw@2 requires 2, 4 (in every case).",
                "queues",
                3,
                (2, 4),
            ),
        ],
    ),
    (
        {"queues": 2, "theirs": 1, "speed": 10},
        [
            (
                "variable-not-supported",
                (
                    "The profile sets theirs=1, but vendor-a.com/fw@2 does not know theirs. "
                    "No off_value says which devices can move there without it."
                ),
                "theirs",
                1,
                None,
            )
        ],
    ),
    (
        {"queues": "many", "speed": 10},
        [
            (
                "type-mismatch",
                "queues is of type str in the profile, but of type int on vendor-a.com/fw@2.",
                "queues",
                "many",
                None,
            )
        ],
    ),
    (
        {"queues": 8, "speed": 10},
        [("value-not-allowed", "The profile sets queues=8, but vendor-a.com/fw@2 allows 2-4.", "queues", 8, ("2-4",))],
    ),
    (
        {"speed": 10},
        [
            (
                "cannot-be-off",
                (
                    "The profile does not set queues, so it is 1 (its value before the setting existed); "
                    "vendor-a.com/fw@2 allows only 2-4."
                ),
                "queues",
                1,
                ("2-4",),
            )
        ],
    ),
    (
        {"queues": 4},
        [
            (
                "cannot-be-off",
                (
                    "vendor-a.com/fw@2 has a new variable speed without an off_value, so nothing says what earlier "
                    "devices had. Set it in the profile, or publish an off_value."
                ),
                "speed",
                None,
                (10, 100),
            )
        ],
    ),
]


@pytest.mark.parametrize(("values", "problems"), OF_PROFILE)
def test_each_message_about_a_profile_speaks_of_the_profile(values: dict[str, Any], problems: list[Said]) -> None:
    rule = {"when": {}, "require": {"queues": [2, 4]}}
    world = World().publish(OLD, {NIC: {"queues": QUEUES, "flag": FLAG, "speed": SPEED}})
    narrow = {"queues": variable("int", 4, allowed=["2-4"]), "speed": SPEED}
    world.publish(NEW, {NIC: {"variables": narrow, "constraints": [rule]}})
    world.publish(THIRD, {NIC: {"theirs": variable("int", 1)}})
    model, release = world.model(NIC), world.release(NEW)
    assert model is not None
    assert release is not None
    assert said(refusals(values, model, NEW, release.sets[NIC])) == problems
    assert said(Acceptance().refusals(values, model, NEW, release.sets[NIC])) == problems


def test_a_value_that_is_not_allowed_breaks_no_constraint() -> None:
    world = World().publish(OLD, {NIC: rules({"when": {}, "require": {"queues": ["3-8"]}})})
    model, release = world.model(NIC), world.release(OLD)
    assert model is not None
    assert release is not None
    message = "The profile sets queues=9, but vendor-a.com/fw@1 allows 1-8."
    expected = [("value-not-allowed", message, "queues", 9, ("1-8",))]
    assert said(refusals({"queues": 9}, model, OLD, release.sets[NIC])) == expected
    assert said(Acceptance().refusals({"queues": 9}, model, OLD, release.sets[NIC])) == expected


def test_a_host_that_nobody_registered_is_the_problem_of_each_device() -> None:
    registry = two(SAME, SAME)().lookups()
    problem = Problem(ProblemCode.UNKNOWN_HOST, "There is no host there.")
    sources = [Source.of(device(release), registry) for release in (OLD, "vendor-a.com/fw@9")]
    first, second = judge_vm(sources, Destination("there", (), problem=problem), registry, Policy.STRICT)
    assert (first[0], first[1].problems) == ("there", (problem,))
    assert [each.code.value for each in second[1].problems] == ["unknown-release", "unknown-host"]


def test_a_problem_that_is_not_about_allowed_values_lists_none() -> None:
    problem = Problem.about(ProblemCode.CANNOT_BE_OFF, "No release has it.", "queues", 1, None)
    assert said([problem]) == [("cannot-be-off", "No release has it.", "queues", 1, None)]


def test_a_profile_for_a_model_that_the_release_does_not_implement_is_refused() -> None:
    world = World().publish(OLD, {NIC: SAME})
    model = world.model(NIC)
    assert model is not None
    expected = [named("model-not-supported", "vendor-a.com/fw@2 does not implement vendor-a.com/nic.")]
    assert said(refusals({}, model, NEW, None)) == expected
    assert said(Acceptance().refusals({}, model, NEW, None)) == expected


def test_what_no_step_for_one_variable_finds_is_not_worded() -> None:
    source = Source.of(device(OLD), two(SAME, SAME)().lookups())
    pair = Pair("queues", None, None, None, None, is_given=False, written=None, is_foreign=False, is_in_effect=False)
    with pytest.raises(ValueError, match=r"^no step for one variable finds unknown-model$"):
        wording.problem(ProblemCode.UNKNOWN_MODEL, pair, source, NEW)
