"""A table of cases for every problem code: a registry, a question, and the problems of the verdict."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from app.domain.values.state import State
from app.domain.verdict.advice import ADVICE
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import RULES, Problem, ProblemCode
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, codes, device, variable

QUEUES = variable("int", 4, 1, ["1-8"])
FLAG = variable("bool", False, False)
OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"


def world() -> World:
    """Return a world with two releases; the newer one has `new` and allows more queues."""
    return (
        World()
        .publish(OLD, {NIC: {"queues": QUEUES}}, profiles=["vendor-a.com/p1"])
        .publish(NEW, {NIC: {"queues": {**QUEUES, "allowed_values": ["1-16"]}, "new": FLAG}})
        .profile("vendor-a.com/p1", {NIC: {"queues": 8}})
        .profile("vendor-a.com/p2", {NIC: {"queues": 8}})
    )


@dataclass(frozen=True)
class Case:
    """A question and its expected problems; at: the destination; known: a problem that it already has."""

    code: ProblemCode
    expected: list[tuple[str, str | None]]
    asked: Device
    at: str = NEW
    build: Callable[[], World] = world
    policy: Policy = Policy.PERMISSIVE
    known: Problem | None = None


def _with(at: str, **variables: object) -> Callable[[], World]:
    """Return a function that builds a world in which a release has only these variables."""
    sets: dict[str, dict[str, object]] = {NIC: dict(variables)}

    def build() -> World:
        start = World().publish(OLD, {NIC: {"queues": QUEUES}})
        return start.publish(at, sets)

    return build


THREE = "vendor-a.com/fw@3"
MAC, FD = variable("str", "", scope="instance"), variable("int", 3, scope="backend")
OTHER = "vendor-b.com/clone@1"
CASES = [
    Case(ProblemCode.UNKNOWN_MODEL, [("unknown-model", None)], Device(id="x", model="vendor-a.com/no", release=OLD)),
    Case(ProblemCode.UNKNOWN_RELEASE, [("unknown-release", None)], device("vendor-a.com/fw@9")),
    Case(ProblemCode.UNKNOWN_RELEASE, [("unknown-release", None)], device(OLD), at="vendor-a.com/fw@9"),
    Case(ProblemCode.UNKNOWN_PROFILE, [("unknown-profile", None)], device(OLD, "vendor-a.com/p9")),
    Case(ProblemCode.SOURCE_UNKNOWN, [("source-unknown", None)], device(queues=2)),
    Case(
        ProblemCode.PROFILE_NOT_FOR_MODEL,
        [("profile-not-for-model", None)],
        device(OLD, "vendor-a.com/p"),
        build=lambda: world().profile("vendor-a.com/p", {"vendor-a.com/gpu": {}}),
    ),
    Case(ProblemCode.UNKNOWN_VARIABLE, [("unknown-variable", "new")], device(OLD, new=True)),
    Case(ProblemCode.UNKNOWN_VARIABLE, [("unknown-variable", "nonsense")], device(OLD, nonsense=1)),
    Case(ProblemCode.SOURCE_VALUE_INVALID, [("source-value-invalid", "queues")], device(OLD, queues=16)),
    Case(
        ProblemCode.SOURCE_VALUE_INVALID,
        [("source-value-invalid", "queues"), ("value-not-allowed", "queues")],
        device(OLD, queues="many"),
    ),
    Case(
        ProblemCode.SOURCE_VALUE_INVALID,
        [("source-value-invalid", "speed"), ("cannot-be-off", "speed")],
        device(THREE, speed=None),
        at=THREE,
        build=_with(THREE, speed=variable("int", 10)),
    ),
    Case(
        ProblemCode.SOURCE_VALUE_INVALID,
        [("source-value-invalid", "queues"), ("constraint-violated", "queues")],
        device(THREE, queues=1),
        at=THREE,
        build=_with(
            THREE,
            variables={"queues": QUEUES},
            constraints=[{"when": {}, "require": {"queues": ["2-8"]}}],
        ),
    ),
    Case(
        ProblemCode.MODEL_NOT_SUPPORTED,
        [("model-not-supported", None)],
        device(OLD),
        at=THREE,
        build=lambda: world().publish(THREE, {"vendor-a.com/gpu": {}}),
    ),
    Case(
        ProblemCode.MODEL_NOT_SUPPORTED,
        [("model-not-supported", None)],
        device(THREE),
        build=lambda: world().publish(THREE, {"vendor-a.com/gpu": {}}),
    ),
    *[
        Case(
            ProblemCode.NOTHING_COMPARED,
            [("nothing-compared", None)],
            asked,
            at=THREE,
            build=lambda: (
                World()
                .publish(OLD, {NIC: {"queues": QUEUES}})
                .publish(THREE, {NIC: {"mac": MAC, "fd": FD}}, profiles=["vendor-a.com/p"])
                .profile("vendor-a.com/p", {NIC: {}})
                .profile("vendor-a.com/q", {NIC: {}})
            ),
        )
        for asked in (device(OLD, queues=1), device(OLD, "vendor-a.com/q"), device(complete=True))
    ],
    Case(
        ProblemCode.STATE_NOT_READABLE,
        [("state-not-readable", None)],
        device(OLD),
        at=THREE,
        build=lambda: (
            World()
            .publish(OLD, {NIC: {"variables": {"queues": QUEUES}, "saved_state": {"writes": 1, "reads": [1]}}})
            .publish(THREE, {NIC: {"variables": {"queues": QUEUES}, "saved_state": {"writes": 2, "reads": [2]}}})
        ),
    ),
    *[
        Case(
            ProblemCode.NOT_MIGRATABLE,
            [("not-migratable", None)],
            device(source),
            at=there,
            build=_with(THREE, variables={"queues": QUEUES}, migratable=False),
        )
        for source, there in ((OLD, THREE), (THREE, OLD))
    ],
    *[
        Case(
            ProblemCode.NOT_MIGRATABLE,
            [("not-migratable", "queues")],
            device(source, queues=8),
            at=there,
            build=_with(THREE, variables={"queues": QUEUES}, blocks_migration=[{"when": {"queues": [8]}}]),
        )
        for source, there in ((OLD, THREE), (THREE, OLD))
    ],
    Case(ProblemCode.VARIABLE_NOT_SUPPORTED, [("variable-not-supported", "new")], device(NEW, new=True), at=OLD),
    Case(
        ProblemCode.TYPE_MISMATCH,
        [("type-mismatch", "theirs")],
        device(OTHER, theirs=1),
        at="vendor-c.com/clone@1",
        build=lambda: (
            world()
            .publish(OTHER, {NIC: {"queues": QUEUES, "theirs": variable("int", 1)}})
            .publish("vendor-c.com/clone@1", {NIC: {"queues": QUEUES, "theirs": variable("bool", True)}})
        ),
    ),
    Case(ProblemCode.TYPE_MISMATCH, [("type-mismatch", "queues")], device(complete=True, queues="many")),
    Case(ProblemCode.VALUE_NOT_ALLOWED, [("value-not-allowed", "queues")], device(NEW, queues=16), at=OLD),
    Case(
        ProblemCode.CANNOT_BE_OFF,
        [("cannot-be-off", "queues")],
        device(complete=True),
        at=THREE,
        build=_with(THREE, queues=variable("int", 4, allowed=["4-8"])),
    ),
    Case(
        ProblemCode.CANNOT_BE_OFF,
        [("cannot-be-off", "speed")],
        device(OLD),
        at=THREE,
        build=_with(THREE, queues=QUEUES, speed=variable("int", 10)),
    ),
    Case(
        ProblemCode.CONSTRAINT_VIOLATED,
        [("constraint-violated", "queues")],
        device(OLD, queues=2),
        at=THREE,
        build=_with(
            THREE,
            variables={"queues": QUEUES, "new": FLAG},
            constraints=[{"when": {"new": [False]}, "require": {"queues": ["3-8"]}}],
        ),
    ),
    Case(
        ProblemCode.PROFILE_NOT_LISTED,
        [("profile-not-listed", None)],
        device(OLD, "vendor-a.com/p2"),
        at=OLD,
        policy=Policy.STRICT,
    ),
    Case(
        ProblemCode.RELEASE_RETIRED,
        [("release-retired", None)],
        device(OLD),
        at=THREE,
        build=lambda: world().publish(THREE, {NIC: {"queues": QUEUES}}, state=State.RETIRED),
    ),
    Case(
        ProblemCode.PROFILE_RETIRED,
        [("profile-retired", None)],
        device(OLD, "vendor-a.com/old"),
        build=lambda: world().profile("vendor-a.com/old", {NIC: {"queues": 8}}, State.RETIRED),
    ),
    Case(
        ProblemCode.PART_UNKNOWN,
        [("part-unknown", None)],
        device(OLD),
        at=THREE,
        build=lambda: world().publish(THREE, {NIC: {"variables": {"queues": QUEUES}, "needs": ["firmware"]}}),
    ),
    Case(ProblemCode.KNOWN_BROKEN, [("known-broken", None)], device(OLD), build=lambda: world().erratum(NEW)),
    Case(
        ProblemCode.UNKNOWN_HOST,
        [("unknown-host", None)],
        device(OLD),
        known=Problem(ProblemCode.UNKNOWN_HOST, "No host there is registered."),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.value)
def test_a_problem_is_found(case: Case) -> None:
    verdict = case.build().ask(case.asked, case.at, policy=case.policy, problem=case.known)
    assert codes(verdict) == case.expected
    assert not verdict.compatible
    assert verdict.configuration is None


# It takes a VM of several devices: see test_parts.py.
@pytest.mark.parametrize("code", [code for code in ProblemCode if code is not ProblemCode.NOT_TOGETHER])
def test_the_example_of_a_code_is_a_message_that_a_verdict_has(code: ProblemCode) -> None:
    cases = [case for case in CASES if case.code is code]
    verdicts = [case.build().ask(case.asked, case.at, policy=case.policy, problem=case.known) for case in cases]
    assert ADVICE[code].example in [problem.message for verdict in verdicts for problem in verdict.problems]


@pytest.mark.parametrize("code", list(ProblemCode))
def test_every_problem_code_has_a_rule_and_a_case(code: ProblemCode) -> None:
    assert code in RULES
    # It takes a VM of several devices: see test_parts.py.
    assert code is ProblemCode.NOT_TOGETHER or any(case.code is code for case in CASES)
