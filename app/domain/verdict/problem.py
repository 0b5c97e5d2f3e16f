"""The problems that a verdict can find: one table row per code, with its step, rule, cure and subject."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.values.allowed import AllowedValues
from app.domain.values.value import Value


class ProblemCode(StrEnum):
    """Why a device cannot be re-created on a destination; the strings are part of the interface and never change."""

    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_PROFILE = "unknown-profile"
    UNKNOWN_RELEASE = "unknown-release"
    UNKNOWN_HOST = "unknown-host"
    SOURCE_UNKNOWN = "source-unknown"
    PROFILE_NOT_FOR_MODEL = "profile-not-for-model"
    UNKNOWN_VARIABLE = "unknown-variable"
    SOURCE_VALUE_INVALID = "source-value-invalid"
    MODEL_NOT_SUPPORTED = "model-not-supported"
    NOT_MIGRATABLE = "not-migratable"
    VARIABLE_NOT_SUPPORTED = "variable-not-supported"
    TYPE_MISMATCH = "type-mismatch"
    VALUE_NOT_ALLOWED = "value-not-allowed"
    CANNOT_BE_OFF = "cannot-be-off"
    CONSTRAINT_VIOLATED = "constraint-violated"
    RELEASE_RETIRED = "release-retired"
    PROFILE_RETIRED = "profile-retired"
    PROFILE_NOT_LISTED = "profile-not-listed"
    STATE_NOT_READABLE = "state-not-readable"
    PART_UNKNOWN = "part-unknown"
    NOT_TOGETHER = "not-together"
    NOTHING_COMPARED = "nothing-compared"
    KNOWN_BROKEN = "known-broken"


class Subject(StrEnum):
    """What has to change for a rule to be met.

    `value`: a value of the device, so that a running device can perhaps be changed to meet the rule.
    """

    QUESTION = "question"
    MODEL = "model"
    RELEASE = "release"
    PROFILE = "profile"
    HOST = "host"
    SOURCE = "source"
    TYPE = "type"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    step: the number of the step of DESIGN 5 that checks the rule, None for what is checked before step 1: names and
    the source itself. sentence: the rule as a statement that holds when it is met. cure: what helps when it is not.
    """

    code: ProblemCode
    step: int | None
    subject: Subject
    sentence: str
    cure: str


# In the order in which a verdict lists its problems.
RULES: Mapping[ProblemCode, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            ProblemCode.UNKNOWN_MODEL,
            None,
            Subject.MODEL,
            "The device model is in the registry.",
            "Correct the name, or ask its vendor to publish a release of it.",
        ),
        Rule(
            ProblemCode.UNKNOWN_PROFILE,
            None,
            Subject.PROFILE,
            "The profile that the device names is in the registry.",
            "Correct the name, or publish the profile.",
        ),
        Rule(
            ProblemCode.UNKNOWN_RELEASE,
            None,
            Subject.RELEASE,
            "The source release and the destination's releases are in the registry.",
            "Publish the release, or correct the releases that the host is registered with.",
        ),
        Rule(
            ProblemCode.UNKNOWN_HOST,
            None,
            Subject.HOST,
            "Hosts that the question names are registered, and some registered host has all the labels asked for.",
            "Correct the name, or register the host: run profile-registry host report on it, or PUT /hosts/{host}.",
        ),
        Rule(
            ProblemCode.SOURCE_UNKNOWN,
            None,
            Subject.QUESTION,
            "The device names a release or a profile, or states that its values are complete.",
            'Name the release or the profile; or add "complete": true if the values are all that is in effect.',
        ),
        Rule(
            ProblemCode.PROFILE_NOT_FOR_MODEL,
            None,
            Subject.PROFILE,
            "The profile names the device model.",
            "Name the profile that the device was created with, or ask its vendor to add the model to the profile.",
        ),
        Rule(
            ProblemCode.UNKNOWN_VARIABLE,
            None,
            Subject.SOURCE,
            "The source release has every variable that the device has in effect.",
            "Correct the name of the variable, or the source release.",
        ),
        Rule(
            ProblemCode.SOURCE_VALUE_INVALID,
            None,
            Subject.SOURCE,
            "The source release allows the configuration that the device has.",
            "Look at the running device and correct its release, its profile or the value.",
        ),
        Rule(
            ProblemCode.MODEL_NOT_SUPPORTED,
            1,
            Subject.MODEL,
            "The release implements the device model.",
            "Choose another host, or install another release on this one.",
        ),
        Rule(
            ProblemCode.NOT_MIGRATABLE,
            1,
            Subject.VALUE,
            "The device can be migrated in this configuration, from the source and to the destination.",
            "Unplug the device, or change the value that blocks the migration.",
        ),
        Rule(
            ProblemCode.VARIABLE_NOT_SUPPORTED,
            2,
            Subject.VALUE,
            "The destination has every variable that is in effect.",
            "Install a newer release on the destination; or switch the variable off at the source if it is runtime.",
        ),
        Rule(
            ProblemCode.TYPE_MISMATCH,
            3,
            Subject.TYPE,
            "A variable in effect has the same type at the destination.",
            "Ask the vendors: two of them use one name for different things.",
        ),
        Rule(
            ProblemCode.VALUE_NOT_ALLOWED,
            4,
            Subject.VALUE,
            "The value of a variable in effect is allowed at the destination, or can grow into one that is.",
            "Choose another host, change the value at the source, or install a release that allows it. If the host "
            "restricts the variable, loosen its restriction.",
        ),
        Rule(
            ProblemCode.CANNOT_BE_OFF,
            5,
            Subject.VALUE,
            "A variable of the destination that is not in effect can take its off value, or grow from it.",
            "Use a profile that names the variable, or ask its vendor for an honest off value.",
        ),
        Rule(
            ProblemCode.CONSTRAINT_VIOLATED,
            6,
            Subject.VALUE,
            "The completed configuration meets every constraint of the destination.",
            "Choose values that meet the constraint; its description says which.",
        ),
        Rule(
            ProblemCode.RELEASE_RETIRED,
            7,
            Subject.RELEASE,
            "The destination release is not retired.",
            "Choose a release that is not retired. A retired source release is only a warning.",
        ),
        Rule(
            ProblemCode.PROFILE_RETIRED,
            7,
            Subject.PROFILE,
            "The profile that the device names is not retired.",
            "Create the device again with a current profile.",
        ),
        Rule(
            ProblemCode.PROFILE_NOT_LISTED,
            8,
            Subject.PROFILE,
            "Under policy strict, the destination release lists the profile.",
            "Ask the vendor to list the profile; or use policy permissive, which compares variables alone.",
        ),
        Rule(
            ProblemCode.STATE_NOT_READABLE,
            9,
            Subject.RELEASE,
            "The destination reads the saved state that the source writes.",
            "Choose a host whose release reads it, for example one of the same release or of a newer one.",
        ),
        Rule(
            ProblemCode.PART_UNKNOWN,
            10,
            Subject.QUESTION,
            "Every part that the device needs, at the source or at the destination, is in the question.",
            "Add the device behind it (kernel driver, firmware, backend) to the question, with part_of and role.",
        ),
        Rule(
            ProblemCode.NOT_TOGETHER,
            11,
            Subject.HOST,
            "What the source and the destination require of several devices in one VM holds for all of them.",
            "Choose a host or a unit where it holds, or take devices out of the VM until the rule no longer applies.",
        ),
        Rule(
            ProblemCode.NOTHING_COMPARED,
            12,
            Subject.MODEL,
            "Something was compared: a variable, the saved state, or a profile that the destination lists.",
            "Ask the vendor to publish variables, the saved state, or a list of profiles.",
        ),
        Rule(
            ProblemCode.KNOWN_BROKEN,
            13,
            Subject.VALUE,
            "No erratum of the source or the destination release forbids the migration.",
            "Read the erratum; choose another host, or change the value that it names.",
        ),
    )
}


class WarningCode(StrEnum):
    """What a verdict warns of; the strings are part of the interface and never change."""

    ONLY_VARIABLES_COMPARED = "only-variables-compared"
    MIGRATABILITY_UNKNOWN = "migratability-unknown"
    STATE_NOT_COMPARED = "state-not-compared"
    PARTS_NOT_COMPARED = "parts-not-compared"
    MUST_BE_SET = "must-be-set"
    GUEST_MAY_SEE_MORE = "guest-may-see-more"
    ERRATUM_NOT_CHECKED = "erratum-not-checked"
    UNKNOWN_RELEASE = "unknown-release"
    RELEASE_DEPRECATED = "release-deprecated"
    PROFILE_DEPRECATED = "profile-deprecated"
    RELEASE_RETIRED = "release-retired"
    NOT_RENDERABLE = "not-renderable"
    RESTRICTION_WITHOUT_EFFECT = "restriction-without-effect"
    HOST_STALE = "host-stale"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a device cannot be re-created, with the value and what was allowed."""

    code: ProblemCode
    message: str
    variable: str | None = None
    value: Value | None = None
    allowed: tuple[object, ...] | None = None

    @classmethod
    def about(
        cls, code: ProblemCode, message: str, variable: str, value: Value | None, allowed: AllowedValues | None
    ) -> "Problem":
        """Return a problem of a variable; allowed: the values that it can have, where the problem is about them."""
        listed = allowed.document() if allowed else None
        return cls(code, message, variable, value, None if listed is None else tuple(listed))


@dataclass(frozen=True, slots=True)
class Caution:
    """A warning of a verdict: it does not make the device incompatible.

    values: under the destination's own names, what has to be set there explicitly, or what the guest sees there
    instead; None if the warning is about neither.
    """

    code: WarningCode
    message: str
    values: Mapping[str, Value] | None = None
