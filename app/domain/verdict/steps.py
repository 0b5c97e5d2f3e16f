"""The steps of a verdict (DESIGN 5), one function each, in order.

Steps 2 to 5 look at one variable at a time: a `Pair`. The other steps look at the whole `Case`.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.domain.things.condition import MigrationBlock, matches
from app.domain.things.erratum import ENTERING, LEAVING, forbidding
from app.domain.things.model import Model
from app.domain.things.part import Together
from app.domain.things.profile import Values
from app.domain.things.release import Release
from app.domain.things.variable import Variable
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.state import State
from app.domain.values.value import Type, Value, same
from app.domain.verdict import wording
from app.domain.verdict.case import Case, Pair, source_configuration
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.verdict.source import Device, Source, own_value, read_or_keep, stated_values

# --- Before step 1: the source release accepts the device (DESIGN 5, "Source configuration").


def unknown_variable(pair: Pair, source_off: Value | None) -> ProblemCode | None:
    """Check that a variable with a value, other than its off value, is one that the source release has."""
    if pair.is_foreign and pair.value is not None and not same(pair.value, source_off):
        return ProblemCode.UNKNOWN_VARIABLE
    return None


def source_invalid(case: Case, release: str) -> Iterator[Problem]:
    """Report what the source release itself does not allow of the source configuration.

    A device that cannot exist where it is said to be is never judged compatible. release: the source release.
    """
    own, source_off = case.own, case.source_off
    if own is None:
        return
    configuration = source_configuration(case)
    for name, value in configuration.items():
        allowed = own.variables[name].allowed
        if value not in allowed:
            yield wording.source_value(release, name, value, allowed)
    for name, written in case.given.items():
        if written is None and name not in source_off:
            yield wording.source_not_off(name)
    yield from broken_constraints(own, configuration, f"the source release {release}", ProblemCode.SOURCE_VALUE_INVALID)


# --- Step 1: the model is implemented, and the device is migratable.


def step_1(model: str, variable_set: VariableSet | None, destination: str) -> Iterator[Problem]:
    """Check that the destination implements the model and migrates it; variable_set: None if it does not.

    The destination's migration blocks are held against the completed configuration, in step 6.
    """
    if variable_set is None:
        yield Problem(ProblemCode.MODEL_NOT_SUPPORTED, f"{destination} does not implement {model}.")
    elif variable_set.migratable is Migratable.NO:
        yield Problem(ProblemCode.NOT_MIGRATABLE, f"{destination} cannot migrate {model}.")


def step_1_at_source(source: Source, configuration: Mapping[str, Value]) -> Iterator[Problem]:
    """Check that the source release migrates the model, in what is known of the source configuration."""
    own = source.set
    if own is not None and own.migratable is Migratable.NO:
        yield Problem(
            ProblemCode.NOT_MIGRATABLE, f"The source release {source.device.release} cannot migrate {own.model}."
        )
    if own is not None:
        blocks = blocks_of(own, configuration)
        yield from blocking(blocks, configuration, f"The source release {source.device.release}")


# --- Steps 2 to 5: one variable at a time. A step is taken only if the steps before it found nothing.


def step_2(pair: Pair) -> ProblemCode | None:
    """Check that a variable in effect exists at the destination."""
    return ProblemCode.VARIABLE_NOT_SUPPORTED if pair.is_in_effect and pair.there is None else None


def step_3(pair: Pair) -> ProblemCode | None:
    """Check that a variable in effect has the same type at the destination."""
    if not pair.is_in_effect or pair.there is None or pair.value is None:
        return None
    of_type = pair.here.type if pair.here else Type.of(pair.value)
    return None if pair.there.type is of_type else ProblemCode.TYPE_MISMATCH


def step_4(pair: Pair) -> ProblemCode | None:
    """Check that the value of a variable in effect is allowed at the destination."""
    if not pair.is_in_effect or pair.there is None or pair.value in pair.there.allowed:
        return None
    return ProblemCode.VALUE_NOT_ALLOWED if grown_value(pair) is None else None


def step_5(pair: Pair) -> ProblemCode | None:
    """Check that a variable of the destination that is not in effect can take its off value.

    `completed_value` gives it that value. An instance variable that is not given is carried over. The source's own
    value needs no check: where it is known and is not the off value, the variable is in effect.
    """
    if pair.there is None or pair.is_in_effect or pair.is_carried_over:
        return None
    if pair.off is not None and (pair.off in pair.there.allowed or grown_value(pair) is not None):
        return None
    return ProblemCode.CANNOT_BE_OFF


def grown_value(pair: Pair) -> Value | None:
    """Return the value to which a variable grows that steps 4 and 5 would refuse otherwise (DESIGN 5, "Growth").

    The least larger one that the destination allows, where its vendor states that a running device may find more. A
    variable with values that hosts resolve does not grow: nobody knows what is more than `auto`.
    """
    there, value = pair.there, pair.wanted
    if there is None or not there.may_grow or value is None or value in there.allowed:
        return None
    if there.resolved_by_host or (pair.here is not None and pair.here.resolved_by_host):
        return None
    return there.allowed.least_above(value)


def grown(pairs: Iterable[Pair]) -> Iterator[tuple[str, tuple[Value, Value]]]:
    """Iterate over the compared variables that have a larger value at the destination, before and after."""
    for pair in pairs:
        before, after = pair.wanted, grown_value(pair)
        if pair.is_compared and before is not None and after is not None:
            yield pair.name, (before, after)


STEPS_OF_A_VARIABLE: tuple[Callable[[Pair], ProblemCode | None], ...] = (step_2, step_3, step_4, step_5)


def first_problem(pair: Pair) -> ProblemCode | None:
    """Return what the first of steps 2 to 5 finds that finds anything, None if the variable can go."""
    for step in STEPS_OF_A_VARIABLE:
        code = step(pair)
        if code is not None:
            return code
    return None


def completed_value(pair: Pair) -> Value | None:
    """Return the value of a variable that can go, at the destination; None if it has none there.

    A variable in effect keeps its value, another one takes its off value; either can grow. A backend variable takes the
    explicit value if that is allowed there, or else the destination's init value.
    """
    if pair.there is None or pair.is_carried_over:
        return None
    if not pair.is_compared:
        init = pair.there.init_value
        value = init if pair.written is None else read_or_keep((pair.there.type,), pair.written)
        return value if value in pair.there.allowed else init
    larger = grown_value(pair)
    return pair.wanted if larger is None else larger


def is_unchecked(pair: Pair, completed: Value) -> bool:
    """Return whether nothing can check a value: any string is allowed, or each host decides what the value means."""
    if not pair.is_compared or pair.there is None:
        return False
    if pair.there.allowed.is_free_form or completed in pair.there.resolved_by_host:
        return True
    return pair.here is not None and completed in pair.here.resolved_by_host


def admitted(variable: Variable | None, off: Value | None, of_type: Type, *, may_grow: bool = False) -> AllowedValues:
    """Return the values with which steps 2 to 5 let a compared variable go to a set.

    Those that its variable allows; where the set lacks the variable, the off value alone, or nothing without one.
    may_grow: also those that can grow into one.
    """
    if variable is not None:
        return variable.admissible if may_grow else variable.allowed
    return AllowedValues(of_type, frozenset()) if off is None else AllowedValues.only(off)


# --- Step 6: the completed configuration.


def step_6(
    variable_set: VariableSet,
    completed: Mapping[str, Value],
    destination: str,
    found_at_source: Sequence[MigrationBlock] = (),
) -> Iterator[Problem]:
    """Check that the completed configuration meets every constraint, and blocks no migration.

    found_at_source: blocks of the source release, which step 1 has reported; the same reason is given once.
    """
    yield from broken_constraints(variable_set, completed, destination, ProblemCode.CONSTRAINT_VIOLATED)
    blocks = [block for block in blocks_of(variable_set, completed) if block not in found_at_source]
    yield from blocking(blocks, completed, destination)


def broken_constraints(
    variable_set: VariableSet, configuration: Mapping[str, Value], where: str, code: ProblemCode
) -> Iterator[Problem]:
    """Report the constraints of a set that a configuration breaks; where: whose set it is."""
    for constraint in variable_set.constraints:
        for name, required in constraint.broken_by(configuration):
            yield wording.broken(code, constraint, name, configuration[name], required, where)


def blocks_of(variable_set: VariableSet | None, configuration: Mapping[str, Value]) -> Sequence[MigrationBlock]:
    """Return the migration blocks of a set that a configuration matches."""
    if variable_set is None:
        return ()
    return [block for block in variable_set.blocks_migration if matches(block.when, configuration)]


def blocking(blocks: Sequence[MigrationBlock], configuration: Mapping[str, Value], release: str) -> Iterator[Problem]:
    """Report, once, that a release does not migrate a configuration."""
    if blocks:
        yield wording.blocked(blocks, configuration, release)


# --- Steps 7 and 8: names and states.


def step_7(release: Release, profile: str | None, profile_state: State | None) -> Iterator[Problem]:
    """Check that neither the destination release nor the device's profile is retired."""
    if release.state is State.RETIRED:
        yield Problem(ProblemCode.RELEASE_RETIRED, f"{release.name} is retired: no device can move there.")
    if profile_state is State.RETIRED:
        yield Problem(ProblemCode.PROFILE_RETIRED, f"The profile {profile} is retired.")


def step_8(release: Release, profile: str | None, policy: Policy = Policy.STRICT) -> Iterator[Problem]:
    """Check, under policy strict, that a release with a list of profiles lists the device's profile."""
    if policy is Policy.STRICT and profile is not None and not lists(release, profile):
        message = f"{release.name} does not list {profile} among the profiles that it supports."
        yield Problem(ProblemCode.PROFILE_NOT_LISTED, message)


def lists(release: Release, profile: str) -> bool:
    """Return whether a release lists a profile, or says nothing about profiles."""
    return release.profiles is None or profile in release.profiles


# --- Step 9: the saved state.


def step_9(source: Source, release: Release, variable_set: VariableSet | None) -> Iterator[Problem]:
    """Check that the destination reads what the source release writes, where both state their saved states."""
    yield from unreadable_state(str(source.device.release), source.set, str(release.name), variable_set)


def unreadable_state(
    source: str, own: VariableSet | None, destination: str, there: VariableSet | None
) -> Iterator[Problem]:
    """Report that one release does not read the saved state that another one writes, whatever the configuration is."""
    written, read = own.saved_state if own else None, there.saved_state if there else None
    if written is not None and read is not None and not written.is_read_by(read):
        yield wording.state_not_readable(source, written, destination, read)


# --- Steps 10 and 11: the parts.


def step_10(
    source: Source,
    configuration: Mapping[str, Value] | None,
    release: Release,
    variable_set: VariableSet | None,
    there: Mapping[str, Value] | None,
) -> Iterator[Problem]:
    """Check that every role that either set needs, in this configuration, is filled by a part in the question.

    configuration: of the source; there: at the destination, also values that it does not allow. None: not known.
    """
    needed: dict[str, Problem] = {}
    ends = ((source.device.release, source.set, configuration), (str(release.name), variable_set, there))
    for name, own, values in ends:
        for need in own.needs if own else ():
            if need.role not in source.device.filled and matches(need.when, values or {}):
                needed.setdefault(need.role, wording.part_unknown(str(name), need, values or {}))
    yield from needed.values()


@dataclass(frozen=True, slots=True)
class AtEnd:
    """A device of a VM at one end of the migration, for step 11.

    release: where it is there, None: not known. set: of its model there. configuration: None where it is not known.
    model: where the configuration is known, the model that says what variables stand for.
    """

    release: str | None
    set: VariableSet | None
    configuration: Mapping[str, Value] | None
    model: Model | None = None


def step_11(devices: Sequence[Device], ends: Sequence[Sequence[AtEnd]]) -> Iterator[tuple[int, Problem]]:
    """Check that every `together` rule holds across the VM, at the source and at the destination.

    ends: for either end, each device there. Reports the position of the device whose part does not meet a rule. A part
    whose configuration is not known there has problems of its own.
    """
    positions = {device.id: position for position, device in enumerate(devices)}
    parts: dict[str, list[tuple[int, int]]] = {}
    for position, device in enumerate(devices):
        if device.role is not None and device.part_of in positions:
            parts.setdefault(device.role, []).append((positions[device.part_of], position))
    reported: set[tuple[int, str, str]] = set()
    for end in ends if parts else ():
        for rule, release in _rules_together(end):
            in_role = parts.get(rule.role, [])
            count = len({whole for whole, _ in in_role})
            for whole, position in in_role if count > rule.over else ():
                part = end[position]
                if part.configuration is None:
                    continue
                for name, required in rule.broken_by(_under_both_names(part)):
                    key = (whole, rule.role, name)
                    if key not in reported:
                        reported.add(key)
                        value = _under_both_names(part).get(name)
                        yield (
                            whole,
                            wording.not_together(rule, release, count, devices[position].id, name, value, required),
                        )


def _rules_together(end: Sequence[AtEnd]) -> Iterator[tuple[Together, str | None]]:
    """Iterate over the distinct rules of the sets at one end, with a release that states them."""
    # Devices of one model share the set.
    sets = {id(device.set): (device.set.together, device.release) for device in end if device.set is not None}
    for together, release in sets.values():
        yield from ((rule, release) for rule in together)


def _under_both_names(part: AtEnd) -> Mapping[str, Value]:
    """Return a configuration under the names that verdicts compare, and under all others of these variables."""
    values = part.configuration or {}
    renames = {} if part.set is None else dict(part.set.renames)
    if part.model is not None:
        renames |= part.model.renames_for(part.model.vendor)
    others = {
        name: stands_for.converted(values[stands_for.variable])
        for name, stands_for in renames.items()
        if stands_for.variable in values
    }
    return {**others, **values}


# --- Step 12: something was compared.


def step_12(source: Source, release: Release, variable_set: VariableSet | None) -> Iterator[Problem]:
    """Check that something says that the device is the same there: a variable, the saved state, or a listed profile.

    An instance variable says it only where one is given.
    """
    if variable_set is None or source.model is None:
        return
    profile = None if source.profile_values is None else source.device.profile
    yield from step_12_of_profile(release, profile, variable_set, source.device.values, source.set)


def step_12_of_profile(
    release: Release,
    profile: str | None,
    variable_set: VariableSet | None,
    given: Container[str] = (),
    own: VariableSet | None = None,
) -> Iterator[Problem]:
    """Take step 12 for a device with a profile; given, own: as for `has_compared`."""
    if variable_set is None or has_compared(variable_set, given, own) or names_in_list(release, profile):
        return
    yield wording.nothing_compared(str(release.name), variable_set.model)


def names_in_list(release: Release, profile: str | None) -> bool:
    """Return whether a release has a list of profiles, and names this one there."""
    return profile in (release.profiles or ())


def has_compared(variable_set: VariableSet, given: Container[str] = (), own: VariableSet | None = None) -> bool:
    """Return whether a set states anything that can be compared.

    given: the variables with explicit values. own: the set of the source, where one is known: a variable that only one
    side calls backend or instance is compared.
    """
    here = own.variables if own else {}
    return variable_set.saved_state is not None or any(
        (variable.is_instance and name in given)
        or not all(side.is_backend or side.is_instance for side in (variable, here.get(name, variable)))
        for name, variable in variable_set.variables.items()
    )


# --- Step 13: errata.


def step_13(
    source: Source,
    configuration: Mapping[str, Value] | None,
    release: Release,
    there: Mapping[str, Value] | None,
) -> Iterator[Problem]:
    """Check that no erratum of the source or the destination release forbids the migration.

    configuration: of the source; there: at the destination, also values that it does not allow. None: not known.
    """
    model = source.device.model
    origin = source.release
    errata: dict[str, Problem] = {}
    if origin is not None:
        for erratum in forbidding(origin.errata.get(model, ()), LEAVING, configuration, release.name):
            errata[erratum.id] = wording.known_broken(erratum, configuration)
    for erratum in forbidding(release.errata.get(model, ()), ENTERING, there, origin.name if origin else None):
        errata.setdefault(erratum.id, wording.known_broken(erratum, there))
    yield from errata.values()


def errata_not_checked(source: Source, release: Release, completed: Mapping[str, Value] | None) -> Sequence[Caution]:
    """Warn of errata about certain other releases, where the source release is not known.

    completed: the configuration at the destination, None where it is not known.
    """
    if source.release is not None:
        return ()
    return [
        Caution(WarningCode.ERRATUM_NOT_CHECKED, wording.erratum_not_checked(erratum))
        for erratum in release.errata.get(source.device.model, ())
        if erratum.way in ENTERING and erratum.others is not None and erratum.concerns(completed)
    ]


# --- Warnings.


def must_be_set(
    source: Source, release: Release, variable_set: VariableSet, completed: Mapping[str, Value]
) -> Mapping[str, Value]:
    """Return what the destination by itself makes otherwise of the profile (DESIGN 5, "Own values").

    These variables of the completed configuration, as the destination names them, have to be set there explicitly. What
    the device gives explicitly is not among them: only `null` is a value that nobody can give again.
    """
    if source.profile_values is None or source.model is None:
        return {}
    stated = stated_values(source.profile_values, release.made_of(source.device.profile, source.device.model))
    off = source.model.off_values(release.name.vendor)
    differing = {
        name: completed[name]
        for name, variable in variable_set.variables.items()
        if name in completed
        and source.device.values.get(name) is None
        and makes_otherwise(name, variable, stated, off, completed)
    }
    return variable_set.under_own_names(differing)


def makes_otherwise(
    name: str,
    variable: Variable,
    stated: Values | None,
    off: Mapping[str, Value],
    completed: Mapping[str, Value],
) -> bool:
    """Return whether a release gives a variable by itself another value than a completed configuration has."""
    if not variable.settable or variable.is_backend or variable.is_instance:
        return False
    return not same(own_value(name, variable, stated, off.get(name)), completed[name])


def warnings(source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> Iterator[Caution]:
    """Warn of states, and of what was not compared (steps 1, 7, 8 and 13).

    A retired source release is only a warning, because hosts have to be evacuated.
    """
    if source.release and source.release.state is State.RETIRED:
        yield Caution(WarningCode.RELEASE_RETIRED, f"The source release {source.release.name} is retired.")
    if release.state is State.DEPRECATED:
        yield Caution(WarningCode.RELEASE_DEPRECATED, f"{release.name} is deprecated.")
    profile = source.device.profile
    if source.profile and source.profile.state is State.DEPRECATED:
        yield Caution(WarningCode.PROFILE_DEPRECATED, f"The profile {profile} is deprecated.")
    if policy is Policy.STRICT and (profile is None or release.profiles is None):
        why = "the device names no profile" if profile is None else f"{release.name} has no list of profiles"
        yield Caution(WarningCode.ONLY_VARIABLES_COMPARED, f"Only variables were compared: {why}.")
    for message in source.without_effect:
        yield Caution(WarningCode.RESTRICTION_WITHOUT_EFFECT, message)
    not_asked = [str(release.name)] if variable_set and variable_set.migratable is Migratable.UNKNOWN else []
    if source.release and source.set and source.set.migratable is Migratable.UNKNOWN:
        not_asked.insert(0, str(source.release.name))
    if not_asked:
        yield wording.migratability_unknown(" and ".join(dict.fromkeys(not_asked)), source.device.model)


def growth(release: Release, variable_set: VariableSet, grown: Mapping[str, tuple[Value, Value]]) -> Iterator[Caution]:
    """Warn of variables of which the guest may see more at a destination; grown: by variable, before and after."""
    if grown:
        after = variable_set.under_own_names({name: value for name, (_, value) in grown.items()})
        before = variable_set.under_own_names({name: value for name, (value, _) in grown.items()})
        yield Caution(WarningCode.GUEST_MAY_SEE_MORE, wording.guest_may_see_more(release, before, after), after)


# What `unchecked` lists in addition to variables: the saved state, and by the warning that says why.
SAVED_STATE = "saved-state"
_NOT_CHECKED = {WarningCode.MIGRATABILITY_UNKNOWN: "migratable", WarningCode.ERRATUM_NOT_CHECKED: "errata"}


def not_checked(cautions: Iterable[Caution], source: Source, variable_set: VariableSet | None) -> tuple[str, ...]:
    """Return what `unchecked` lists in addition to variables.

    The saved state is among it where only one side states it (step 9).
    """
    states = {own is not None and own.saved_state is not None for own in (source.set, variable_set)}
    state = (SAVED_STATE,) if variable_set is not None and len(states) > 1 else ()
    codes = dict.fromkeys(_NOT_CHECKED[caution.code] for caution in cautions if caution.code in _NOT_CHECKED)
    return (*state, *codes)
