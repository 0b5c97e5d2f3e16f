"""The problems that a verdict can find, each with the rule that finds it: the one table of problem codes."""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.allowed import AllowedValues
from app.domain.value import Value


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


RULES: dict[ProblemCode, str] = {
    ProblemCode.UNKNOWN_MODEL: "The device model is in the registry.",
    ProblemCode.UNKNOWN_PROFILE: "The profile that the device names is in the registry.",
    ProblemCode.UNKNOWN_RELEASE: "The source release and the destination's releases are in the registry.",
    ProblemCode.UNKNOWN_HOST: "The destination is a registered host, and a label one that hosts have.",
    ProblemCode.SOURCE_UNKNOWN: "The device names a release or a profile, or says that its values are complete.",
    ProblemCode.PROFILE_NOT_FOR_MODEL: "The profile names the device model: else it says nothing about the device.",
    ProblemCode.UNKNOWN_VARIABLE: "The source release has every variable that the device has in effect.",
    ProblemCode.SOURCE_VALUE_INVALID: "The source release allows the configuration that the device is said to have.",
    ProblemCode.MODEL_NOT_SUPPORTED: "The release implements the device model.",
    ProblemCode.NOT_MIGRATABLE: "The device is migratable in this configuration, at the source and the destination.",
    ProblemCode.VARIABLE_NOT_SUPPORTED: "The destination has every variable that is in effect.",
    ProblemCode.TYPE_MISMATCH: "A variable in effect has the same type at the destination.",
    ProblemCode.VALUE_NOT_ALLOWED: "The value of a variable in effect is allowed at the destination.",
    ProblemCode.CANNOT_BE_OFF: "A variable of the destination that is not in effect can take its off value.",
    ProblemCode.CONSTRAINT_VIOLATED: "The completed configuration meets every constraint of the destination.",
    ProblemCode.RELEASE_RETIRED: "The destination release is not retired.",
    ProblemCode.PROFILE_RETIRED: "The profile that the device names is not retired.",
    ProblemCode.PROFILE_NOT_LISTED: "Under policy strict, the destination release lists the profile.",
}


# What helps, for whoever is refused.
CURES: dict[ProblemCode, str] = {
    ProblemCode.UNKNOWN_MODEL: "Correct the name; have its vendor publish a release of it.",
    ProblemCode.UNKNOWN_PROFILE: "Correct the name; publish it.",
    ProblemCode.UNKNOWN_RELEASE: "Publish it, or correct what the host is registered with.",
    ProblemCode.UNKNOWN_HOST: "Correct the name; or register it, PUT /hosts/{host} or host report on it.",
    ProblemCode.SOURCE_UNKNOWN: 'Name one; or say "complete": true if its values are all that is in effect.',
    ProblemCode.PROFILE_NOT_FOR_MODEL: "Name the profile that it was created with; its vendor may add the model to it.",
    ProblemCode.UNKNOWN_VARIABLE: "Correct the name, or the release that it is said to be on.",
    ProblemCode.SOURCE_VALUE_INVALID: "Look at the running device: its release, profile or a value is told wrong.",
    ProblemCode.MODEL_NOT_SUPPORTED: "Another host, or another release on it.",
    ProblemCode.NOT_MIGRATABLE: "Unplug it, or change what blocks it.",
    ProblemCode.VARIABLE_NOT_SUPPORTED: "A newer release there; or off where it runs, if it is runtime.",
    ProblemCode.TYPE_MISMATCH: "Its vendors mean different things by one name: they have to settle it.",
    ProblemCode.VALUE_NOT_ALLOWED: "Another host, another value where it runs, or less restriction there.",
    ProblemCode.CANNOT_BE_OFF: "A profile that names it; or its vendor gives an honest off value.",
    ProblemCode.CONSTRAINT_VIOLATED: "Other values, as the constraint's description says.",
    ProblemCode.RELEASE_RETIRED: "Another release; a retired source is only a warning.",
    ProblemCode.PROFILE_RETIRED: "Create the device anew with a current profile.",
    ProblemCode.PROFILE_NOT_LISTED: "Its vendor lists it; or policy permissive: variables alone are compared.",
}


class WarningCode(StrEnum):
    """What a verdict tells beside its problems; the strings are part of the interface and never change."""

    ONLY_VARIABLES_COMPARED = "only-variables-compared"
    UNKNOWN_RELEASE = "unknown-release"
    RELEASE_DEPRECATED = "release-deprecated"
    PROFILE_DEPRECATED = "profile-deprecated"
    RELEASE_RETIRED = "release-retired"
    NOT_RENDERABLE = "not-renderable"
    RESTRICTION_WITHOUT_EFFECT = "restriction-without-effect"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a device cannot be re-created, with what was found and what was allowed."""

    code: ProblemCode
    message: str
    variable: str | None = None
    value: Value | None = None
    allowed: tuple[object, ...] | None = None

    @classmethod
    def about(
        cls, code: ProblemCode, message: str, variable: str, value: Value | None, allowed: AllowedValues | None
    ) -> "Problem":
        """Return a problem of a variable; allowed: the values that it may have, where that is the point."""
        listed = allowed.document() if allowed else None
        return cls(code, message, variable, value, None if listed is None else tuple(listed))


@dataclass(frozen=True, slots=True)
class Caution:
    """Something to know about a verdict, in a warning: it does not make the device incompatible."""

    code: WarningCode
    message: str
