"""What a verdict says to people: each message names the object, the value and what is allowed."""

from collections.abc import Mapping, Sequence

from app.domain.things.condition import Condition, Constraint, MigrationBlock, Need
from app.domain.things.erratum import Erratum, Way
from app.domain.things.part import Together
from app.domain.things.release import Release
from app.domain.things.saved_state import SavedState
from app.domain.values.allowed import AllowedValues, shown_item
from app.domain.values.budget import spend
from app.domain.values.document import did_you_mean
from app.domain.values.value import Type, Value, same, shown
from app.domain.verdict.case import Pair
from app.domain.verdict.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.verdict.source import Source

# What a message takes of a request's budget, its hint apart.
_STEPS = 10


def problem(code: ProblemCode, pair: Pair, source: Source, destination: str) -> Problem:
    """Return the problem that a step from 2 to 5, or the check of the source, found of a variable."""
    spend(_STEPS)
    name, value = pair.name, pair.value
    allowed = pair.there.allowed if pair.there else None
    code_of_value = {ProblemCode.VALUE_NOT_ALLOWED, ProblemCode.CANNOT_BE_OFF}
    if code in code_of_value and pair.there is not None and (made := _made_otherwise(pair)) is not None:
        return Problem.about(code, _resolved_otherwise(pair, source, made), name, pair.wanted, allowed)
    match code:
        case ProblemCode.UNKNOWN_VARIABLE:
            release = f"the source release {source.device.release}"
            stated = source.set.stated if source.set else ()
            hint = did_you_mean(name, stated)
            message = f"{name}={shown(value)} is given, but {release} has no variable {name}{hint}."
            return Problem(code, message, name, value)
        case ProblemCode.VARIABLE_NOT_SUPPORTED:
            return Problem(code, _not_supported(pair, source, destination), name, value)
        case ProblemCode.TYPE_MISMATCH:
            return Problem(code, _type_mismatch(pair, source, destination), name, value)
        case ProblemCode.VALUE_NOT_ALLOWED:
            message = f"{_stated(pair, source)}, but {destination} allows {allowed.shown() if allowed else 'nothing'}."
            return Problem.about(code, message, name, value, allowed)
        case ProblemCode.CANNOT_BE_OFF:
            return Problem.about(code, _cannot_be_off(pair, source, destination), name, pair.off, allowed)
        case _:
            message = f"no step for one variable finds {code}"
            raise ValueError(message)


def _stated(pair: Pair, source: Source) -> str:
    return _setting(pair.name, pair.value, pair, source)


def _setting(name: str, value: Value | None, pair: Pair, source: Source) -> str:
    setting = f"{name}={shown(value)}"
    return f"The profile sets {setting}" if _is_of_profile(pair, source) else f"{setting} at the source"


def _is_of_profile(pair: Pair, source: Source) -> bool:
    """Return whether the value of a variable is what a profile says: nothing else is known of the source."""
    return source.profile is not None and source.release is None and not pair.is_given


def _made_otherwise(pair: Pair) -> Value | None:
    """Return what the destination's host makes of the value that it has to have, None if the same."""
    if pair.there is None or pair.wanted is None:
        return None
    made = pair.there.made.get(pair.wanted)
    return None if made is None or same(made, pair.wanted) else made


def _resolved_otherwise(pair: Pair, source: Source, made: Value) -> str:
    return (
        f"{_setting(pair.name, pair.wanted, pair, source)}, but the destination's host makes {shown(made)} of "
        f"{shown(pair.wanted)}."
    )


def _not_supported(pair: Pair, source: Source, destination: str) -> str:
    refused = f"{_stated(pair, source)}, but {destination} does not know {pair.name}."
    if pair.off is None:
        return f"{refused} No off_value says which devices can move there without it."
    things = "profiles" if _is_of_profile(pair, source) else "devices"
    return f"{refused} Only {things} with {pair.name}={shown(pair.off)} can move there."


def _type_mismatch(pair: Pair, source: Source, destination: str) -> str:
    of_type = Type.of(pair.value) if pair.here is None and pair.value is not None else pair.here and pair.here.type
    where = "in the profile" if _is_of_profile(pair, source) else "at the source"
    there = pair.there.type if pair.there else None
    return f"{pair.name} is of type {of_type} {where}, but of type {there} on {destination}."


def _cannot_be_off(pair: Pair, source: Source, destination: str) -> str:
    name = pair.name
    if pair.off is None:
        return (
            f"{destination} has a new variable {name} without an off_value, so nothing says what earlier devices had. "
            "Set it in the profile, or publish an off_value."
        )
    off, allowed = shown(pair.off), pair.there.allowed.shown() if pair.there else "nothing"
    if _is_of_profile(pair, source):
        return (
            f"The profile does not set {name}, so it is {off} (its value before the setting existed); "
            f"{destination} allows only {allowed}."
        )
    since = " (its value before the variable existed)" if pair.here is None else ""
    return f"{name}={off} at the source{since}, but {destination} allows only {allowed}."


def source_value(release: str, name: str, value: Value, allowed: AllowedValues) -> Problem:
    """Return the problem of a value that the source release itself does not allow."""
    message = f"{name}={shown(value)} at the source, but the source release {release} allows "
    return Problem.about(ProblemCode.SOURCE_VALUE_INVALID, f"{message}{allowed.shown()}.", name, value, allowed)


def source_not_off(name: str) -> Problem:
    """Return the problem of an explicit null for a variable without an off value."""
    message = f"{name} is given as null (off), but it has no off_value. Give its value."
    return Problem(ProblemCode.SOURCE_VALUE_INVALID, message, name)


def broken(
    code: ProblemCode, constraint: Constraint, name: str, value: Value, required: AllowedValues, where: str
) -> Problem:
    """Return the problem of a constraint that a configuration breaks; where: whose constraint it is."""
    reason = constraint.description or _shown_when(constraint.when)
    message = f"{name}={shown(value)}, but {where} requires {required.shown()} ({reason})."
    return Problem.about(code, message, name, value, required)


def _shown_when(condition: Condition) -> str:
    conditions = " and ".join(f"{name} {values.shown()}" for name, values in sorted(condition.items()))
    return f"with {conditions}" if conditions else "in every case"


def blocked(blocks: Sequence[MigrationBlock], configuration: Mapping[str, Value], release: str) -> Problem:
    """Return the problem of a configuration that a release does not migrate; of several blocks the first in order."""
    first = min(blocks, key=lambda block: _shown_block(block, configuration))
    message = f"{release} does not migrate a device {_shown_block(first, configuration)}."
    (name,) = first.when if len(first.when) == 1 else (None,)
    return Problem(ProblemCode.NOT_MIGRATABLE, message, name, None if name is None else configuration[name])


def _shown_block(block: MigrationBlock, configuration: Mapping[str, Value]) -> str:
    values = _shown_values(block.when, configuration)
    reason = f" ({block.description})" if block.description else ""
    return f"with {values}{reason}" if values else f"of this model{reason}"


def _shown_values(condition: Condition, configuration: Mapping[str, Value]) -> str:
    return ", ".join(f"{name}={shown(configuration[name])}" for name in sorted(condition))


def known_broken(erratum: Erratum, configuration: Mapping[str, Value] | None) -> Problem:
    """Return the problem of a migration that an erratum forbids."""
    when = ""
    if erratum.when and configuration is not None:
        when = f" with {_shown_values(erratum.when, configuration)}"
    elsewhere = f" ({erratum.url})" if erratum.url else ""
    reason = erratum.description.removesuffix(".")
    message = f"Known to fail: {_forbidden(erratum)}{when}. {reason}{elsewhere}."
    (name,) = erratum.when if len(erratum.when) == 1 else (None,)
    value = None if name is None or configuration is None else configuration[name]
    return Problem(ProblemCode.KNOWN_BROKEN, message, name, value)


def state_not_readable(source: str, written: SavedState, destination: str, there: SavedState) -> Problem:
    """Return the problem that a destination release does not read the saved state of the source release."""
    message = (
        f"{source} writes saved states of format {written.writes_shown}, but {destination} reads {there.reads_shown}."
    )
    allowed = tuple(there.reads.document() or ())
    return Problem(ProblemCode.STATE_NOT_READABLE, message, None, written.writes, allowed)


def guest_may_see_more(release: Release, before: Mapping[str, Value], after: Mapping[str, Value]) -> str:
    """Return the warning of variables of which a destination has a larger value alone."""
    changes = "; ".join(f"{name}={shown(value)}, not {shown(before[name])}" for name, value in sorted(after.items()))
    return f"The guest may find more at {release.name}, as its vendor states: {changes}."


def part_unknown(release: str, need: Need, configuration: Mapping[str, Value]) -> Problem:
    """Return the problem that a device needs a part which the question does not have."""
    with_values = f" with {_shown_values(need.when, configuration)}" if need.when else ""
    reason = f": {need.description.removesuffix('.')}" if need.description else ""
    message = (
        f"At {release} such a device{with_values} needs a part in the role {need.role}, and the question has "
        f"none{reason}."
    )
    return Problem(ProblemCode.PART_UNKNOWN, message, value=need.role)


def not_together(  # noqa: PLR0913, PLR0917 (each is a word of the sentence)
    rule: Together,
    release: str | None,
    count: int,
    part: str,
    name: str,
    value: Value | None,
    required: Sequence[object],
) -> Problem:
    """Return the problem that a part does not meet what a release requires of all parts in its role, across a VM."""
    values = ", ".join(shown_item(item) for item in required if isinstance(item, dict | bool | int | str)) or "nothing"
    reason = f" ({rule.description.removesuffix('.')})" if rule.description else ""
    has = f"has no variable {name}" if value is None else f"has {name}={shown(value)}"
    devices = f"{count} device{'' if count == 1 else 's'}"
    message = (
        f"The VM has {devices} with a part in the role {rule.role}, and {release} then requires {name} {values} of "
        f"each such part{reason}; {part} {has}."
    )
    return Problem(ProblemCode.NOT_TOGETHER, message, name, value, tuple(required))


def nothing_compared(release: str, model: str) -> Problem:
    """Return the problem that nothing is known of a device model that could differ."""
    message = (
        f"{release} states no variable of {model} that is compared, and no saved state, and lists no profile that the "
        "device names, so nothing says that the device is the same there."
    )
    return Problem(ProblemCode.NOTHING_COMPARED, message)


def erratum_not_checked(erratum: Erratum) -> str:
    """Return the warning of an erratum about source releases, where the source release is not known."""
    return f"Not checked, because the source release is not known: {_forbidden(erratum)} is known to fail."


def _forbidden(erratum: Erratum) -> str:
    others = "any release" if erratum.others is None else " or ".join(map(str, erratum.others))
    between = {
        Way.TO: f"from {erratum.release} to {others}",
        Way.FROM: f"from {others} to {erratum.release}",
        Way.BOTH: f"between {erratum.release} and {others}",
    }
    return f"migrating {erratum.model} {between[erratum.way]}"


def must_be_set(release: Release, profile: str | None, values: Mapping[str, Value]) -> str:
    """Return the warning of variables of which a release by itself makes something else of a profile."""
    settings = ", ".join(f"{name}={shown(value)}" for name, value in sorted(values.items()))
    return (
        f"Set {settings} explicitly at the destination: {release.name} by itself makes something else of {profile}, "
        "which would change the guest's hardware."
    )


def migratability_unknown(releases: str, model: str) -> Caution:
    """Return the warning that nobody stated whether releases migrate a device model; releases: their names."""
    message = f"Nobody has stated whether {releases} can migrate {model} at all."
    return Caution(WarningCode.MIGRATABILITY_UNKNOWN, message)
