"""The verdict: whether a device, as it is on the source, can be re-created on a destination release."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from app.domain.allowed import AllowedValues
from app.domain.completion import Completion
from app.domain.model import Model
from app.domain.name import vendor_of
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.profile import Profile, Values, Written, read_as
from app.domain.release import Release
from app.domain.state import State
from app.domain.value import InvalidValueError, Type, Value, same, shown
from app.domain.variable import Variable
from app.domain.variable_set import Condition, VariableSet, matches


class Policy(StrEnum):
    """How a verdict treats profiles: `strict` wants the destination to list the device's profile."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


class Registry(Protocol):
    """What a verdict looks up by name."""

    def model(self, name: str) -> Model | None:
        """Return the device model, None if it is not published."""

    def release(self, name: str) -> Release | None:
        """Return the release, None if it is not published."""

    def profile(self, name: str) -> Profile | None:
        """Return the profile, None if it is not published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of a question, as it is on the source.

    release, profile: what it was made from there, where that is told.
    values: what is known of it beside; None says that the variable is off.
    complete: with neither release nor profile, the values are all the variables in effect.
    """

    id: str
    model: str
    release: str | None = None
    profile: str | None = None
    values: Mapping[str, Written | None] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A variable of a running device that is to be changed."""

    variable: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a device can be re-created on a release; every problem, and what to apply where there is none."""

    problems: tuple[Problem, ...]
    warnings: tuple[Caution, ...]
    configuration: Values | None
    carry_over: tuple[str, ...]
    unchecked: tuple[str, ...]
    remedies: tuple[Change, ...] = ()

    @property
    def compatible(self) -> bool:
        """Return whether there is no problem."""
        return not self.problems

    def with_warnings(self, *more: Caution) -> "Verdict":
        """Return the verdict with more warnings."""
        return replace(self, warnings=self.warnings + more) if more else self


@dataclass(frozen=True)
class Source:
    """The device with what the registry knows of where it is."""

    device: Device
    model: Model | None
    release: Release | None
    profile: Values | None
    problems: tuple[Problem, ...]
    is_known: bool
    profile_state: State | None = None
    called: str = "the source"

    @classmethod
    def of(cls, device: Device, registry: Registry) -> "Source":
        """Look up the names that a device gives; what is not there is a problem of the device."""
        problems = []
        model = registry.model(device.model)
        if model is None:
            message = f"the registry has no device model {device.model}"
            problems.append(Problem(ProblemCode.UNKNOWN_MODEL, message))
        release = registry.release(device.release) if device.release is not None else None
        if device.release is not None and release is None:
            message = f"the registry has no release {device.release}, which the device is said to be on"
            problems.append(Problem(ProblemCode.UNKNOWN_RELEASE, message))
        if model and release and device.model not in release.sets:
            message = f"the source release {device.release} does not implement {device.model}"
            problems.append(Problem(ProblemCode.MODEL_NOT_SUPPORTED, message))
        profile = registry.profile(device.profile) if device.profile is not None else None
        if device.profile is not None and profile is None:
            message = f"the registry has no profile {device.profile}"
            problems.append(Problem(ProblemCode.UNKNOWN_PROFILE, message))
        if model and profile and device.model not in profile.values:
            message = f"the profile {device.profile} says nothing about {device.model}"
            problems.append(Problem(ProblemCode.PROFILE_NOT_FOR_MODEL, message))
        if device.release is None and device.profile is None and not device.complete:
            message = "the device names neither a release nor a profile, and does not say that its values are complete"
            problems.append(Problem(ProblemCode.SOURCE_UNKNOWN, message))
        values = profile.values.get(device.model) if profile else None
        state = profile.state if profile else None
        return cls(device, model, release, values, tuple(problems), is_known=not problems, profile_state=state)

    @classmethod
    def of_profile(cls, values: Values, model: Model) -> "Source":
        """Return the source that is known by a profile's values alone."""
        return cls(Device(id="", model=model.name), model, None, values, (), is_known=True, called="the profile")

    @cached_property
    def set(self) -> VariableSet | None:
        """The variable set of the source release."""
        return self.release.sets.get(self.device.model) if self.release else None

    @cached_property
    def vendors(self) -> tuple[str, ...]:
        """The vendor of the source release, if there is one."""
        return (self.release.name.vendor,) if self.release else ()

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The variables that the source release has."""
        return self.set.variables if self.set else {}

    @cached_property
    def resolved_by_host(self) -> Sequence[str]:
        """The variables that have values whose meaning the source's host decides."""
        return [name for name, variable in self.variables.items() if variable.resolved_by_host]

    @cached_property
    def runtime(self) -> Sequence[str]:
        """The variables that may be changed while the device runs."""
        return [name for name, variable in self.variables.items() if variable.runtime and not variable.is_backend]

    @cached_property
    def stated(self) -> Mapping[str, Written | None]:
        """What the profile states, overlaid with what is given."""
        return {**(self.profile or {}), **self.device.values}

    @cached_property
    def strangers(self) -> Sequence[str]:
        """The variables of which something is stated, but which the source release does not have."""
        return [name for name in self.stated if name not in self.variables]

    @cached_property
    def configuration(self) -> Mapping[str, Value]:
        """What the device is on the source release: per variable what is given, the profile's, off or init value."""
        given, profile = self.device.values, self.profile
        off = self.model.off_values(*self.vendors) if self.model else {}
        values: dict[str, Value] = {}
        for name, variable in self.variables.items():
            value: Value | None
            if name in given:
                written = given[name]
                value = off.get(name) if written is None else _read_or_keep(variable.type, written)
            elif variable.is_instance:
                continue
            elif profile is None or (value := profile.get(name, off.get(name))) is None:
                value = variable.init_value
            if value is not None:
                values[name] = value
        return values

    def not_off(self, off: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return what of the configuration is not off by these off values; for those asked of last it is kept."""
        if not self._not_off or self._not_off[0] is not off:
            self._not_off[:] = [off, _without_off(self.configuration, off)]
        return self._not_off[1]

    @cached_property
    def _not_off(self) -> list[Mapping[str, Value]]:
        return []

    @cached_property
    def refused(self) -> Sequence[str]:
        """The variables whose values on the source release its own set does not allow."""
        variables = self.variables
        return [name for name, value in self.configuration.items() if value not in variables[name].allowed]


def judge(source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> Verdict:
    """Return the verdict on one device and one destination release (all steps).

    variable_set: the release's set of the device's model, narrowed by what the host restricts; None if it has none.
    """
    where = f"{release.name} on this host" if variable_set and variable_set.is_narrowed else str(release.name)
    check = _Check(source, release.name.vendor, where, variable_set)
    check.run()
    _check_states(check, source, release)
    _check_profile_is_listed(check, source, release, policy)
    return check.verdict()


def problems_accepting(values: Values, model: Model, release: str, own: VariableSet | None) -> list[Problem]:
    """Return why a release does not accept a profile's resolved values for a model: steps 1 to 6 without a source.

    own: the release's variable set of the model, None if it does not implement it.
    """
    check = _Check(Source.of_profile(values, model), vendor_of(release), release, own)
    check.run()
    return check.problems


def _check_states(check: "_Check", source: Source, release: Release) -> None:
    """Step 7. A retired source is only a warning: hosts must be evacuated."""
    if source.release and source.release.state is State.RETIRED:
        message = f"the source release {source.release.name} is retired"
        check.warnings.append(Caution(WarningCode.RELEASE_RETIRED, message))
    if release.state is State.RETIRED:
        check.problem(ProblemCode.RELEASE_RETIRED, f"{release.name} is retired: nothing may go there any more")
    elif release.state is State.DEPRECATED:
        check.warnings.append(Caution(WarningCode.RELEASE_DEPRECATED, f"{release.name} is deprecated"))
    profile = source.device.profile
    if source.profile_state is State.RETIRED:
        check.problem(ProblemCode.PROFILE_RETIRED, f"the profile {profile} is retired")
    elif source.profile_state is State.DEPRECATED:
        check.warnings.append(Caution(WarningCode.PROFILE_DEPRECATED, f"the profile {profile} is deprecated"))


def _check_profile_is_listed(check: "_Check", source: Source, release: Release, policy: Policy) -> None:
    """Step 8."""
    if policy is not Policy.STRICT:
        return
    profile = source.device.profile
    if profile is not None and release.profiles is not None:
        if profile not in release.profiles:
            check.problem(
                ProblemCode.PROFILE_NOT_LISTED,
                f"{release.name} does not list {profile} among the profiles that it supports",
            )
        return
    why = "the device names no profile" if profile is None else f"{release.name} says nothing about profiles"
    check.warnings.append(Caution(WarningCode.ONLY_VARIABLES_COMPARED, f"only variables were compared: {why}"))


class _Check:
    """The steps of one verdict; each adds its problems, none stops the others."""

    def __init__(self, source: Source, vendor: str, release: str, variable_set: VariableSet | None) -> None:
        self.source = source
        self.vendor = vendor
        self.release = release
        self.set = variable_set
        self.here: Mapping[str, Variable] = source.variables
        self.there: Mapping[str, Variable] = variable_set.variables if variable_set else {}
        self.uncompared = self._uncompared()
        self.problems = list(source.problems)
        self.warnings: list[Caution] = []
        self.completed: dict[str, Value] = {}
        self.carry_over: list[str] = []
        self.unchecked: list[str] = []

    def problem(
        self,
        code: ProblemCode,
        message: str,
        variable: str | None = None,
        value: Value | None = None,
        allowed: AllowedValues | None = None,
    ) -> None:
        listed = allowed.document() if allowed else None
        self.problems.append(Problem(code, message, variable, value, None if listed is None else tuple(listed)))

    def verdict(self) -> Verdict:
        self.problems.sort(key=lambda problem: (_ORDER[problem.code], problem.variable or "", problem.message))
        return Verdict(
            tuple(self.problems),
            tuple(self.warnings),
            None if self.problems else self.completed,
            tuple(sorted(self.carry_over)),
            tuple(sorted(self.unchecked)),
        )

    def run(self) -> None:
        """Steps 1 to 6."""
        source, model = self.source, self.source.model
        if model is None:
            return
        self._check_model_is_supported(model)
        if not source.is_known:
            return
        off = model.off_values(*source.vendors, self.vendor)
        if source.set:
            self._check_source(source.set, model)
            not_off = source.not_off(off)
        else:
            not_off = _without_off(self._configure_without_release(model, off), off)
        if self.set is None:
            return
        in_effect = {name: value for name, value in not_off.items() if name not in self.uncompared}
        completion = Completion.of(self.set, off)
        self._complete(in_effect, completion)
        self._check_in_effect(in_effect, off)
        self._note_unchecked(completion)
        self._check_constraints(self.set)

    def _uncompared(self) -> frozenset[str]:
        """Return the variables that every side calls backend that has them."""
        here = self.source.set.backends if self.source.set else frozenset[str]()
        there = self.set.backends if self.set else frozenset[str]()
        return frozenset(
            [name for name in here if name in there or name not in self.there]
            + [name for name in there if name not in self.here]
        )

    def _check_model_is_supported(self, model: Model) -> None:
        """Step 1, but for migration blocks."""
        if self.source.set and not self.source.set.migratable:
            message = f"{model.name} cannot be migrated from {self.source.device.release}"
            self.problem(ProblemCode.NOT_MIGRATABLE, message)
        if self.set is None:
            self.problem(ProblemCode.MODEL_NOT_SUPPORTED, f"{self.release} does not implement {model.name}")
        elif not self.set.migratable:
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{model.name} cannot be migrated to {self.release}")

    def _check_source(self, own: VariableSet, model: Model) -> None:
        """Check that the source release itself accepts what the device is said to be, and migrates it (step 1)."""
        source, release = self.source, self.source.device.release
        values, given = source.configuration, source.device.values
        for name in source.refused:
            allowed = source.variables[name].allowed
            message = (
                f"the device is said to have {name}={shown(values[name])}, "
                f"but the source release {release} allows {allowed.shown()}"
            )
            self.problem(ProblemCode.SOURCE_VALUE_INVALID, message, name, values[name], allowed)
        off = model.off_values(*source.vendors)
        for name, written in given.items():
            if written is None and name not in off:
                message = f"{name} is said to be off, but it has no off value"
                self.problem(ProblemCode.SOURCE_VALUE_INVALID, message, name)
        for name in source.strangers:
            if name not in self.uncompared:
                self._check_stranger(name, source.stated[name], off.get(name))
        self._report_broken(own, f"the source release {release}", values, ProblemCode.SOURCE_VALUE_INVALID)
        if any(matches(block.when, values) for block in own.blocks_migration):
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{release} does not migrate this configuration")

    def _check_stranger(self, name: str, written: Written | None, off: Value | None) -> None:
        """Check that a variable that the source release does not have is off."""
        if written is None:
            return
        types = self.source.model.stated_types(name) if self.source.model else ()
        value = _read_as_or_keep(types, written)
        if not same(value, off):
            release = self.source.device.release
            message = f"{name}={shown(value)} is given, but the source release {release} has no variable {name}"
            self.problem(ProblemCode.UNKNOWN_VARIABLE, message, name, value)

    def _report_broken(
        self, variable_set: VariableSet, where: str, values: Mapping[str, Value], code: ProblemCode
    ) -> None:
        for constraint in variable_set.constraints:
            for name, required in constraint.broken_by(values):
                reason = constraint.description or _shown_condition(constraint.when)
                message = f"{name} is {shown(values[name])}, but {where} requires {required.shown()} ({reason})"
                self.problem(code, message, name, values[name], required)

    def _configure_without_release(self, model: Model, off: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return the profile's values overlaid with those given."""
        values: dict[str, Value] = {}
        for name, written in self.source.stated.items():
            value: Value | None
            if written is None:
                value = off.get(name)
            else:
                statement = model.statement_for(self.vendor, name)
                value = _read_as_or_keep((statement.type,) if statement else model.stated_types(name), written)
            if value is not None:
                values[name] = value
        return values

    def _check_in_effect(self, in_effect: Mapping[str, Value], off: Mapping[str, Value]) -> None:
        """Steps 2 to 4."""
        for name, value in in_effect.items():
            here, there = self.here.get(name), self.there.get(name)
            if there is None:
                goes = f"it would have to be off ({shown(off[name])})" if name in off else "no off value is known"
                message = (
                    f"{self.source.called} has {name}={shown(value)}, but {self.release} has no variable {name}: {goes}"
                )
                self.problem(ProblemCode.VARIABLE_NOT_SUPPORTED, message, name, value)
                continue
            of_type = here.type if here else Type.of(value)
            if there.type is not of_type:
                message = f"{name} is {of_type.value} of {self.source.called} and {there.type.value} on {self.release}"
                self.problem(ProblemCode.TYPE_MISMATCH, message, name, value)
            elif value not in there.allowed:
                message = (
                    f"{self.source.called} has {name}={shown(value)}, but {self.release} allows {there.allowed.shown()}"
                )
                self.problem(ProblemCode.VALUE_NOT_ALLOWED, message, name, value, there.allowed)
            else:
                self.completed[name] = value
                continue
            self.completed.pop(name, None)

    def _complete(self, in_effect: Mapping[str, Value], completion: Completion) -> None:
        """Step 5, and what is not compared: backend variables, and instance ones that are not given.

        The source's own value has no part in it: where it is known and is not the off value it is in effect.
        """
        given = self.source.device.values
        self.completed.update(completion.off)
        for name in completion.not_off:
            if name not in in_effect:
                self._report_cannot_be_off(name, completion)
        for name in completion.instances:
            if name in given:
                self._take_off(name, in_effect, completion)
            elif name not in in_effect:
                self.carry_over.append(name)
        for name in completion.backends:
            there, written = self.there[name], given.get(name)
            if name not in self.uncompared:
                self._take_off(name, in_effect, completion)
            else:
                value = there.init_value if written is None else _read_or_keep(there.type, written)
                self.completed[name] = value if value in there.allowed else there.init_value

    def _take_off(self, name: str, in_effect: Mapping[str, Value], completion: Completion) -> None:
        if name in in_effect:
            return
        value = completion.off_values.get(name)
        if value is not None and value in self.there[name].allowed:
            self.completed[name] = value
        else:
            self._report_cannot_be_off(name, completion)

    def _report_cannot_be_off(self, name: str, completion: Completion) -> None:
        there, value = self.there[name], completion.off_values.get(name)
        if value is None:
            message = f"{self.release} has {name}, which {self.source.called} does not tell and which has no off value"
        else:
            message = (
                f"{name} is off on {self.source.called} ({shown(value)}), "
                f"but {self.release} cannot take it off: it allows {there.allowed.shown()}"
            )
        self.problem(ProblemCode.CANNOT_BE_OFF, message, name, value, there.allowed)

    def _note_unchecked(self, completion: Completion) -> None:
        """List what nothing can check: strings that may be anything, values whose meaning each host decides."""
        unchecked = {name for name in completion.free_form if name in self.completed and name not in self.uncompared}
        for name in (*completion.resolved_by_host, *self.source.resolved_by_host):
            sides = (self.source.variables.get(name), self.there.get(name))
            value = self.completed.get(name)
            is_resolved = value is not None and any(side and value in side.resolved_by_host for side in sides)
            if is_resolved and name not in self.uncompared:
                unchecked.add(name)
        self.unchecked.extend(unchecked)

    def _check_constraints(self, variable_set: VariableSet) -> None:
        """Step 6."""
        self._report_broken(variable_set, self.release, self.completed, ProblemCode.CONSTRAINT_VIOLATED)
        if any(matches(block.when, self.completed) for block in variable_set.blocks_migration):
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{self.release} does not migrate this configuration")


_ORDER = {code: place for place, code in enumerate(ProblemCode)}


def _shown_condition(condition: Condition) -> str:
    conditions = " and ".join(f"{name} {values.shown()}" for name, values in sorted(condition.items()))
    return f"with {conditions}" if conditions else "in every case"


def _without_off(values: Mapping[str, Value], off: Mapping[str, Value]) -> Mapping[str, Value]:
    return {name: value for name, value in values.items() if not same(value, off.get(name))}


def _read_or_keep(of_type: Type, written: Written) -> Value:
    """Return the value in its type, or as it is written where it is none: no set allows that."""
    try:
        return of_type.read(written)
    except InvalidValueError:
        return written


def _read_as_or_keep(types: tuple[Type, ...], written: Written) -> Value:
    try:
        return read_as(types, written) if types else written
    except InvalidValueError:
        return written
