"""The source: what a device is where it runs, as far as the registry knows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.domain.allowed import AllowedValues
from app.domain.lazy import lazy
from app.domain.model import Model
from app.domain.problem import Problem, ProblemCode
from app.domain.profile import Profile, Values, Written, read_as
from app.domain.release import Release
from app.domain.state import State
from app.domain.value import InvalidValueError, Type, Value, shown
from app.domain.variable import Variable
from app.domain.variable_set import Condition, VariableSet, matches


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


@dataclass(frozen=True)
class Origin:
    """What devices are made from: a release's variable set of their model, or none, and a profile's values, or none.

    vendors: the vendor of the release, if there is one.
    """

    model: Model
    set: VariableSet | None
    profile: Values | None
    vendors: tuple[str, ...]

    @lazy
    def variables(self) -> Mapping[str, Variable]:
        """The variables that the release has."""
        return self.set.variables if self.set else {}

    @lazy
    def off(self) -> Mapping[str, Value]:
        """The off values that count for the release; without one, the destination decides."""
        return self.model.off_values(*self.vendors) if self.vendors else {}

    @lazy
    def configuration(self) -> Mapping[str, Value]:
        """What a device is there of which nothing else is told: per variable the profile's value, off or init value."""
        values: dict[str, Value] = {}
        for name, variable in self.variables.items():
            if variable.is_instance:
                continue
            value = None if self.profile is None else self.profile.get(name, self.off.get(name))
            values[name] = variable.init_value if value is None else value
        return values

    @lazy
    def refused(self) -> Sequence[str]:
        """The variables whose values in that configuration the release's own set does not allow."""
        return [name for name, value in self.configuration.items() if value not in self.variables[name].allowed]

    @lazy
    def runtime(self) -> Sequence[str]:
        """The variables that may be changed while the device runs."""
        return [name for name, variable in self.variables.items() if variable.runtime and not variable.is_backend]


@dataclass(frozen=True)
class Source:
    """A device with what the registry knows of where it is.

    problems: what it names that is not there. origin: what it is made from, None where that is not known.
    """

    device: Device
    model: Model | None
    release: Release | None
    origin: Origin | None
    problems: tuple[Problem, ...] = ()
    profile_state: State | None = None
    called: str = "the source"

    @classmethod
    def of(cls, device: Device, registry: Registry, origin_of: Callable[..., Origin] = Origin) -> "Source":
        """Look up the names that a device gives; what is not there is a problem of the device.

        origin_of: makes an origin, or knows it already.
        """
        model = registry.model(device.model)
        release = registry.release(device.release) if device.release is not None else None
        profile = registry.profile(device.profile) if device.profile is not None else None
        problems = tuple(_unknown(device, model, release, profile))
        origin = None
        if model is not None and not problems:
            own = release.sets[device.model] if release else None
            values = profile.values[device.model] if profile else None
            origin = origin_of(model, own, values, (release.name.vendor,) if release else ())
        return cls(device, model, release, origin, problems, profile.state if profile else None)

    @classmethod
    def of_origin(cls, origin: Origin) -> "Source":
        """Return a device of which nothing is told but what it is made from."""
        called = "the source" if origin.set else "the profile"
        return cls(Device(id="", model=origin.model.name), origin.model, None, origin, called=called)

    @lazy
    def set(self) -> VariableSet | None:
        """The variable set of the source release."""
        return self.release.sets.get(self.device.model) if self.release else None

    @lazy
    def given(self) -> Mapping[str, Value | None]:
        """What is told of variables that the source release has, in their types; None: off, by no known value.

        What is no value of its type stays as it is written: no set allows that.
        """
        if self.origin is None:
            return {}
        variables, off = self.origin.variables, self.origin.off
        return {
            name: off.get(name) if written is None else read_or_keep((variables[name].type,), written)
            for name, written in self.device.values.items()
            if name in variables
        }

    @lazy
    def accepted(self) -> Mapping[str, Value]:
        """What is told of it that the source release allows."""
        variables = self.origin.variables if self.origin else {}
        return {
            name: value for name, value in self.given.items() if value is not None and value in variables[name].allowed
        }

    @lazy
    def configuration(self) -> Mapping[str, Value]:
        """What the device is on the source release: what is given, over what it is made from."""
        merged = {**(self.origin.configuration if self.origin else {}), **self.given}
        return {name: value for name, value in merged.items() if value is not None}

    @lazy
    def contradictions(self) -> Sequence[Problem]:
        """Why the source release itself does not accept what the device is said to be, or does not migrate it."""
        own = self.set
        found: list[Problem] = []
        if own is not None and not own.migratable:
            message = f"{own.model} cannot be migrated from {self.device.release}"
            found.append(Problem(ProblemCode.NOT_MIGRATABLE, message))
        if own is None or self.origin is None:
            return found
        refused = [name for name in self.origin.refused if name not in self.given]
        refused += [name for name, value in self.given.items() if value is not None and name not in self.accepted]
        found += (self._refused(name, own.variables[name].allowed) for name in refused)
        for name, written in self.device.values.items():
            if written is None and name not in self.origin.off:
                message = f"{name} is said to be off, but it has no off value"
                found.append(Problem(ProblemCode.SOURCE_VALUE_INVALID, message, name))
        if own.constraints:
            where = f"the source release {self.device.release}"
            found += broken(own, self.configuration, where, ProblemCode.SOURCE_VALUE_INVALID)
        if any(matches(block.when, self.configuration) for block in own.blocks_migration):
            message = f"{self.device.release} does not migrate this configuration"
            found.append(Problem(ProblemCode.NOT_MIGRATABLE, message))
        return found

    def _refused(self, name: str, allowed: AllowedValues) -> Problem:
        value = self.configuration[name]
        message = (
            f"the device is said to have {name}={shown(value)}, "
            f"but the source release {self.device.release} allows {allowed.shown()}"
        )
        return Problem.about(ProblemCode.SOURCE_VALUE_INVALID, message, name, value, allowed)


def _unknown(
    device: Device, model: Model | None, release: Release | None, profile: Profile | None
) -> Iterator[Problem]:
    """Iterate over what a device names that is not in the registry, or says nothing of its model."""
    if model is None:
        yield Problem(ProblemCode.UNKNOWN_MODEL, f"the registry has no device model {device.model}")
    if device.release is not None and release is None:
        message = f"the registry has no release {device.release}, which the device is said to be on"
        yield Problem(ProblemCode.UNKNOWN_RELEASE, message)
    if model and release and device.model not in release.sets:
        message = f"the source release {device.release} does not implement {device.model}"
        yield Problem(ProblemCode.MODEL_NOT_SUPPORTED, message)
    if device.profile is not None and profile is None:
        yield Problem(ProblemCode.UNKNOWN_PROFILE, f"the registry has no profile {device.profile}")
    if model and profile and device.model not in profile.values:
        message = f"the profile {device.profile} says nothing about {device.model}"
        yield Problem(ProblemCode.PROFILE_NOT_FOR_MODEL, message)
    if device.release is None and device.profile is None and not device.complete:
        message = "the device names neither a release nor a profile, and does not say that its values are complete"
        yield Problem(ProblemCode.SOURCE_UNKNOWN, message)


def broken(own: VariableSet, values: Mapping[str, Value], where: str, code: ProblemCode) -> Iterator[Problem]:
    """Iterate over the constraints of a set that a configuration breaks; where: whose set it is."""
    for constraint in own.constraints:
        for name, required in constraint.broken_by(values):
            reason = constraint.description or _shown_condition(constraint.when)
            message = f"{name} is {shown(values[name])}, but {where} requires {required.shown()} ({reason})"
            yield Problem.about(code, message, name, values[name], required)


def _shown_condition(condition: Condition) -> str:
    conditions = " and ".join(f"{name} {values.shown()}" for name, values in sorted(condition.items()))
    return f"with {conditions}" if conditions else "in every case"


def read_or_keep(types: tuple[Type, ...], written: Written) -> Value:
    """Return the value in the first of the types that it can be of, or as it is written: no set allows that."""
    try:
        return read_as(types, written) if types else written
    except InvalidValueError:
        return written
