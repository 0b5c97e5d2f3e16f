"""The source: what a device is where it runs (DESIGN 5, "Source configuration")."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values, Written, read_as
from app.domain.things.release import Release
from app.domain.things.variable import Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values.value import InvalidValueError, Type, Value
from app.domain.verdict.problem import Problem, ProblemCode


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

    release, profile: what it was made from, where that is known.
    values: the explicit values; None: the variable is off.
    complete: with neither release nor profile, the values are all the variables in effect.
    """

    id: str
    model: str
    release: str | None = None
    profile: str | None = None
    values: Mapping[str, Written | None] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A device with what the registry has under the names that it gives; None where it has nothing.

    of_profile: it stands for a profile that is checked against a release, not for a device.
    """

    device: Device
    model: Model | None
    release: Release | None
    profile: Profile | None
    of_profile: bool = False

    @classmethod
    def of(cls, device: Device, registry: Registry) -> "Source":
        """Look up the names that a device gives."""
        return cls(
            device,
            registry.model(device.model),
            None if device.release is None else registry.release(device.release),
            None if device.profile is None else registry.profile(device.profile),
        )

    @property
    def set(self) -> VariableSet | None:
        """The variable set of the source release; None without a release, or if it does not implement the model."""
        return self.release.sets.get(self.device.model) if self.release else None

    @property
    def profile_values(self) -> Values | None:
        """The values of the device's profile for its model; None if there is none."""
        return self.profile.values.get(self.device.model) if self.profile else None

    @property
    def vendors(self) -> tuple[str, ...]:
        """The vendor of the source release, if there is one."""
        return (self.release.name.vendor,) if self.release else ()


def unknown_names(source: Source) -> Iterator[Problem]:
    """Report what the device names but the registry lacks, and a source about which nothing is stated."""
    device, model = source.device, source.model
    if model is None:
        yield Problem(ProblemCode.UNKNOWN_MODEL, f"The registry has no device model {device.model}.")
    if device.release is not None and source.release is None:
        yield Problem(ProblemCode.UNKNOWN_RELEASE, f"The registry has no release {device.release} (the source).")
    if model and source.release and source.set is None:
        message = f"The source release {device.release} does not implement {device.model}."
        yield Problem(ProblemCode.MODEL_NOT_SUPPORTED, message)
    if device.profile is not None and source.profile is None:
        yield Problem(ProblemCode.UNKNOWN_PROFILE, f"The registry has no profile {device.profile}.")
    if model and source.profile and source.profile_values is None:
        message = f"The profile {device.profile} has no values for {device.model}."
        yield Problem(ProblemCode.PROFILE_NOT_FOR_MODEL, message)
    if device.release is None and device.profile is None and not device.complete:
        message = "The device names neither a release nor a profile, and does not state that its values are complete."
        yield Problem(ProblemCode.SOURCE_UNKNOWN, message)


def made_value(name: str, variable: Variable, profile: Values | None, off: Value | None) -> Value | None:
    """Return the value of a variable in a device of which nothing is given, where its release has the variable.

    profile: the profile's values, None without a profile. off: the off value that counts for the source release.
    The profile's value, or else the off value, or else the init value; without a profile the init value. None: an
    instance variable, which has a value only where one is given.
    """
    if variable.is_instance:
        return None
    value = None if profile is None else profile.get(name, off)
    return variable.init_value if value is None else value


def given_value(variable: Variable, written: Written | None, off: Value | None) -> Value | None:
    """Return an explicit value in the type of the source's variable; None (written) stands for the off value."""
    return off if written is None else read_or_keep((variable.type,), written)


def value_without_set(
    name: str, model: Model, written: Written | None, *, vendor: str, has_release: bool
) -> Value | None:
    """Return the value that is given, or set by the profile, for a variable that the source release does not have.

    vendor: of the destination. Without a source release, the type is the one that counts for the destination.
    """
    if written is None:
        return None
    statement = None if has_release else model.statement_for(vendor, name)
    return read_or_keep((statement.type,) if statement else model.stated_types(name), written)


def read_or_keep(types: tuple[Type, ...], written: Written) -> Value:
    """Return the value in the first of the types that it can have, or as it is written: no set allows that."""
    try:
        return read_as(types, written) if types else written
    except InvalidValueError:
        return written
