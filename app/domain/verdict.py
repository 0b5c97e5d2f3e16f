"""The verdict: whether a device, as it is on the source, can be re-created on a destination release."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from app.domain.allowed import AllowedValues
from app.domain.model import Model
from app.domain.name import vendor_of
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.profile import Profile, Values, Written, read_as
from app.domain.release import Release
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
class Verdict:
    """Whether a device can be re-created on a release; every problem, and what to apply where there is none."""

    problems: tuple[Problem, ...]
    warnings: tuple[Caution, ...]
    configuration: Values | None
    carry_over: tuple[str, ...]
    unchecked: tuple[str, ...]

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
        return cls(device, model, release, values, tuple(problems), is_known=not problems)

    @classmethod
    def of_profile(cls, profile: str, values: Values, model: Model) -> "Source":
        """Return the source that is known by a profile's values alone."""
        return cls(Device(id="", model=model.name, profile=profile), model, None, values, (), is_known=True)

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


@dataclass(frozen=True, slots=True)
class _Configuration:
    """The source configuration, and what the source itself does not accept of it."""

    values: Mapping[str, Value]
    off: Mapping[str, Value]
    problems: tuple[Problem, ...]


def judge(source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> Verdict:
    """Return the verdict on one device and one destination release (all steps).

    variable_set: the release's set of the device's model, narrowed by what the host restricts; None if it has none.
    """
    check = _Check(source, release.name.vendor, str(release.name), variable_set)
    check.run()
    _check_profile_is_listed(check, source, release, policy)
    return check.verdict()


def problems_accepting(
    profile: str, values: Values, model: Model, release: str, own: VariableSet | None
) -> list[Problem]:
    """Return why a release does not accept a profile's resolved values for a model: steps 1 to 6 without a source.

    own: the release's variable set of the model, None if it does not implement it.
    """
    check = _Check(Source.of_profile(profile, values, model), vendor_of(release), release, own)
    check.run()
    return check.problems


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
        self.there: Mapping[str, Variable] = variable_set.variables if variable_set else {}
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
            # What the device is on its source does not depend on where it is asked to go.
            values = self._configure_from_release(model.off_values(*source.vendors))
        else:
            values = self._configure_without_release(model, off)
        if source.set and any(matches(block.when, values) for block in source.set.blocks_migration):
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{source.device.release} does not migrate this configuration")
        if self.set is None:
            return
        in_effect = {
            name: value for name, value in values.items() if not same(value, off.get(name)) and self._is_compared(name)
        }
        self._check_in_effect(in_effect, off)
        self._complete(in_effect, off)
        self._check_constraints(self.set)

    def _is_compared(self, name: str) -> bool:
        here, there = self.source.variables.get(name), self.there.get(name)
        if here is None and there is None:
            return True
        return not ((here is None or here.is_backend) and (there is None or there.is_backend))

    def _check_model_is_supported(self, model: Model) -> None:
        """Step 1, but for migration blocks."""
        if self.source.set and not self.source.set.migratable:
            message = f"{model.name} cannot be migrated from {self.source.device.release}"
            self.problem(ProblemCode.NOT_MIGRATABLE, message)
        if self.set is None:
            self.problem(ProblemCode.MODEL_NOT_SUPPORTED, f"{self.release} does not implement {model.name}")
        elif not self.set.migratable:
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{model.name} cannot be migrated to {self.release}")

    def _configure_from_release(self, off: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return the configuration on the source release, which must itself accept it."""
        given, profile = self.source.device.values, self.source.profile
        values: dict[str, Value] = {}
        for name, variable in self.source.variables.items():
            value: Value | None
            if name in given:
                written = given[name]
                value = off.get(name) if written is None else _read_or_keep(variable.type, written)
                if value is None:
                    self._report_no_off_value(name)
                    continue
            elif variable.is_instance:
                continue
            elif profile is None or (value := profile.get(name, off.get(name))) is None:
                value = variable.init_value
            values[name] = value
            if value not in variable.allowed and (name in given or self._is_compared(name)):
                self._report_source_value(name, value, variable)
        self._report_unknown_variables(off)
        if self.source.set:
            where = f"the source release {self.source.device.release}"
            self._report_broken(self.source.set, where, values, ProblemCode.SOURCE_VALUE_INVALID)
        return values

    def _report_broken(
        self, variable_set: VariableSet, where: str, values: Mapping[str, Value], code: ProblemCode
    ) -> None:
        for constraint in variable_set.constraints:
            for name, required in constraint.broken_by(values):
                reason = constraint.description or _shown_condition(constraint.when)
                message = f"{name} is {shown(values[name])}, but {where} requires {required.shown()} ({reason})"
                self.problem(code, message, name, values[name], required)

    def _report_no_off_value(self, name: str) -> None:
        message = f"{name} is said to be off, but it has no off value"
        self.problem(ProblemCode.SOURCE_VALUE_INVALID, message, name)

    def _report_source_value(self, name: str, value: Value, variable: Variable) -> None:
        message = (
            f"the device is said to have {name}={shown(value)}, "
            f"but the source release {self.source.device.release} allows {variable.allowed.shown()}"
        )
        self.problem(ProblemCode.SOURCE_VALUE_INVALID, message, name, value, variable.allowed)

    def _report_unknown_variables(self, off: Mapping[str, Value]) -> None:
        given, profile, model = self.source.device.values, self.source.profile, self.source.model
        for name in (given.keys() | (profile or {}).keys()) - self.source.variables.keys():
            if not self._is_compared(name):
                continue
            written = given[name] if name in given else (profile or {})[name]
            if written is None:
                if name not in off:
                    self._report_no_off_value(name)
                continue
            value = _read_as_or_keep(model.stated_types(name) if model else (), written)
            if not same(value, off.get(name)):
                release = self.source.device.release
                message = f"{name}={shown(value)} is given, but the source release {release} has no variable {name}"
                self.problem(ProblemCode.UNKNOWN_VARIABLE, message, name, value)

    def _configure_without_release(self, model: Model, off: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return the profile's values overlaid with those given."""
        values: dict[str, Value] = {}
        for name, written in {**(self.source.profile or {}), **self.source.device.values}.items():
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
            there = self.there.get(name)
            if there is None:
                goes = f"only its off value, {shown(off[name])}, can" if name in off else "it has no off value"
                message = f"the source has {name}={shown(value)}, but {self.release} has no variable {name}: {goes}"
                self.problem(ProblemCode.VARIABLE_NOT_SUPPORTED, message, name, value)
                continue
            here = self.source.variables.get(name)
            of_type = here.type if here else Type.of(value)
            if there.type is not of_type:
                message = f"{name} is {of_type.value} on the source and {there.type.value} on {self.release}"
                self.problem(ProblemCode.TYPE_MISMATCH, message, name, value)
            elif value not in there.allowed:
                message = f"the source has {name}={shown(value)}, but {self.release} allows {there.allowed.shown()}"
                self.problem(ProblemCode.VALUE_NOT_ALLOWED, message, name, value, there.allowed)
            else:
                self._take(name, value, there)

    def _complete(self, in_effect: Mapping[str, Value], off: Mapping[str, Value]) -> None:
        """Step 5, and what is not compared: backend variables, and instance ones that are not given.

        The source's own value has no part in it: where it is known and is not the off value it is in effect.
        """
        given = self.source.device.values
        for name, there in self.there.items():
            if name in in_effect:
                continue
            if there.is_backend and not self._is_compared(name):
                written = given.get(name)
                value = there.init_value if written is None else _read_or_keep(there.type, written)
                self.completed[name] = value if value in there.allowed else there.init_value
            elif there.is_instance and name not in given:
                self.carry_over.append(name)
            elif (value_off := off.get(name)) is not None and value_off in there.allowed:
                self._take(name, value_off, there)
            else:
                self._report_cannot_be_off(name, there, value_off)

    def _take(self, name: str, value: Value, there: Variable) -> None:
        self.completed[name] = value
        sides = (self.source.variables.get(name), there)
        if there.allowed.is_free_form or any(side is not None and value in side.resolved_by_host for side in sides):
            self.unchecked.append(name)

    def _report_cannot_be_off(self, name: str, there: Variable, value_off: Value | None) -> None:
        if value_off is None:
            message = f"{self.release} has {name}, which the source does not tell and which has no off value"
        else:
            message = (
                f"{name} is off on the source ({shown(value_off)}), "
                f"but {self.release} cannot take it off: it allows {there.allowed.shown()}"
            )
        self.problem(ProblemCode.CANNOT_BE_OFF, message, name, value_off, there.allowed)

    def _check_constraints(self, variable_set: VariableSet) -> None:
        """Step 6."""
        self._report_broken(variable_set, self.release, self.completed, ProblemCode.CONSTRAINT_VIOLATED)
        if any(matches(block.when, self.completed) for block in variable_set.blocks_migration):
            self.problem(ProblemCode.NOT_MIGRATABLE, f"{self.release} does not migrate this configuration")


_ORDER = {code: place for place, code in enumerate(ProblemCode)}


def _shown_condition(condition: Condition) -> str:
    conditions = " and ".join(f"{name} {values.shown()}" for name, values in sorted(condition.items()))
    return f"with {conditions}" if conditions else "in every case"


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
