"""The source: what a device is where it runs (DESIGN 5, "Source configuration")."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values, Written, read_as
from app.domain.things.release import NOTHING, Release
from app.domain.things.restriction import Limits, narrowed
from app.domain.things.variable import StandsFor, Variable
from app.domain.things.variable_set import VariableSet, given_twice, renamed
from app.domain.values.value import InvalidValueError, Type, Value
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.problem import Problem, ProblemCode

# Releases of a host, each with the unit that it runs on, None for the whole host.
Choices: TypeAlias = Sequence[tuple[Unit | None, str]]


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

    release, profile: what it was made from, where that is known; model and profile can be aliases of the release.
    values: the explicit values; None: the variable is off.
    complete: with neither release nor profile, the values are all the variables in effect.
    host: the registered host that it runs on, where the question says so; unit: the unit of it that it is made from.
    part_of: the device of the VM that it is a part of, in which role.
    filled: the roles of its own parts in the question.
    """

    id: str
    model: str
    release: str | None = None
    profile: str | None = None
    values: Mapping[str, Written | None] = field(default_factory=dict)
    complete: bool = False
    host: Destination | None = None
    unit: str | None = None
    part_of: str | None = None
    role: str | None = None
    filled: frozenset[str] = frozenset()


def with_parts(devices: Iterable[Device]) -> list[Device]:
    """Return the devices of one VM, each with the roles that its parts fill."""
    listed = list(devices)
    filled: dict[str, set[str]] = {}
    for device in listed:
        if device.part_of is not None and device.role is not None:
            filled.setdefault(device.part_of, set()).add(device.role)
    if not filled:
        return listed
    return [replace(device, filled=frozenset(filled.get(device.id, ()))) for device in listed]


@dataclass(frozen=True, slots=True)
class Source:
    """A device with what the registry has under the names that it gives; None where it has nothing.

    device: its aliases are resolved, and its values are under the names that verdicts compare.
    set: of the release, with what the host restricts and resolves; None without a release, or if it does not implement
    the model.
    of_profile: it stands for a profile that is checked against a release, not for a device.
    problems: why it is not known what the device is. without_effect: messages about restrictions of its host.
    """

    device: Device
    model: Model | None
    release: Release | None
    profile: Profile | None
    set: VariableSet | None = None
    of_profile: bool = False
    problems: tuple[Problem, ...] = ()
    without_effect: tuple[str, ...] = ()

    @classmethod
    def of(cls, device: Device, registry: Registry) -> "Source":
        """Look up the names that a device gives."""
        problems: list[Problem] = []
        limits: Sequence[Limits] = ()
        if device.host is not None:
            device, limits = at_host(device, device.host, registry, problems)
        release = None if device.release is None else registry.release(device.release)
        # The device's own release is asked first what a name means (DESIGN 3, aliases).
        aliases = release.aliases if release else {}
        model_name = aliases.get(device.model, device.model)
        profile = None if device.profile is None else aliases.get(device.profile, device.profile)
        model = registry.model(model_name)
        variable_set = release.sets.get(model_name) if release else None
        without_effect: Sequence[str] = ()
        if variable_set is not None:
            variable_set, without_effect = narrowed(variable_set, limits, "The source host", is_source=True)
        renames = _renames(device, model, release, variable_set)
        problems += _given_twice(device, renames)
        values = renamed(device.values, renames)
        if (model_name, profile) != (device.model, device.profile) or values is not device.values:
            device = replace(device, model=model_name, profile=profile, values=values)
        return cls(
            device,
            model,
            release,
            None if profile is None else registry.profile(profile),
            variable_set,
            problems=tuple(problems),
            without_effect=tuple(without_effect),
        )

    @property
    def profile_values(self) -> Values | None:
        """The values of the device's profile for its model; None if there is none."""
        return self.profile.values.get(self.device.model) if self.profile else None

    @property
    def own_values(self) -> Values:
        """What the source release says that it makes of the device's profile itself; empty if it says nothing."""
        return self.release.made_of(self.device.profile, self.device.model) if self.release else NOTHING

    @property
    def vendors(self) -> tuple[str, ...]:
        """The vendor of the source release, if there is one."""
        return (self.release.name.vendor,) if self.release else ()


def _renames(
    device: Device, model: Model | None, release: Release | None, variable_set: VariableSet | None
) -> Mapping[str, StandsFor]:
    """Return what the names of explicit values stand for: those that the release has as they are, as it says.

    Without a release, the model's own vendor says it; a destination can know more (`at_destination`).
    """
    if model is None:
        return {}
    stated = model.renames_for(release.name.vendor if release else model.vendor)
    own = variable_set.variables if variable_set else {}
    others = {name: stands_for for name, stands_for in stated.items() if name not in own and name in device.values}
    return {**others, **(variable_set.renames if variable_set else {})}


def _given_twice(device: Device, renames: Mapping[str, StandsFor]) -> list[Problem]:
    messages = {
        other: f"The device gives a value of both {name} and {other}, which are one variable; leave one out."
        for name, other in given_twice(device.values, renames)
    }
    return [Problem(ProblemCode.SOURCE_UNKNOWN, message, other) for other, message in messages.items()]


def at_destination(source: Source, variable_set: VariableSet | None) -> Source:
    """Return a source without a release with its explicit values under the names that a destination's set compares."""
    device = source.device
    if device.release is not None or variable_set is None or variable_set.renames.keys().isdisjoint(device.values):
        return source
    return replace(
        source,
        device=replace(device, values=renamed(device.values, variable_set.renames)),
        problems=(*source.problems, *_given_twice(device, variable_set.renames)),
    )


def at_host(
    device: Device, host: Destination, registry: Registry, problems: list[Problem]
) -> tuple[Device, Sequence[Limits]]:
    """Return the device with the release that its host runs of its model, and what the host states of the variables.

    DESIGN 5, "The source host": a release of the whole host counts before one of a unit. Where several releases there
    implement the model, or several units differ, the device has to say which.
    """
    if host.problem is not None:
        problems.append(host.problem)
        return device, ()
    places: list[Unit | None] = [None, *host.units]
    if device.unit is not None:
        places = [unit for unit in host.units if unit.id == device.unit]
        if not places:
            units = ", ".join(unit.id for unit in host.units) or "none"
            problems.append(_source_unknown(f"The host {host.id} has no unit {device.unit}. Its units: {units}."))
            return device, ()
    running = [(place, name) for place in places for name in (host if place is None else place).releases]
    if device.release is not None:
        named = [place for place, name in running if name == device.release]
        if not named:
            runs = ", ".join(dict.fromkeys(name for _, name in running))
            where = f"its host {host.id}" if device.unit is None else f"the unit {device.unit} of its host {host.id}"
            message = f"The device names the source release {device.release}, but {where} runs {runs}."
            problems.append(_source_unknown(message))
            return device, ()
        choices: Choices = [(place, device.release) for place in ([None] if None in named else named)]
    else:
        choices = _implementing(device, host, running, registry, problems)
    if not choices:
        return device, ()
    release = registry.release(choices[0][1])
    model = release.aliases.get(device.model, device.model) if release else device.model
    stated = [host.limits(model, place) for place, _ in choices]
    if any(other != stated[0] for other in stated):
        units = ", ".join(place.id for place, _ in choices if place is not None)
        message = f"Units of the host {host.id} make {device.model} differently: {units}. Name the device's unit."
        problems.append(_source_unknown(message))
        return device, ()
    return replace(device, release=choices[0][1]), stated[0]


def _source_unknown(message: str) -> Problem:
    return Problem(ProblemCode.SOURCE_UNKNOWN, message)


def _implementing(
    device: Device,
    host: Destination,
    running: Choices,
    registry: Registry,
    problems: list[Problem],
) -> Choices:
    """Return where a host can have made a device: the one release that implements its model, and the units with it.

    Report a problem and return nothing where the release is not known.
    """
    known = {name: release for _, name in running if (release := registry.release(name)) is not None}
    implementing = [
        (place, name)
        for place, name in running
        if name in known and known[name].aliases.get(device.model, device.model) in known[name].sets
    ]
    whole = [(place, name) for place, name in implementing if place is None]
    choices = whole or implementing
    names = list(dict.fromkeys(name for _, name in choices))
    implementations = {known[name].name.implementation for name in names}
    order = [name for place, name in running if not whole or place is None]
    first = order.index(names[0]) if names else len(order)
    # An unknown release can have made it if it is of the same implementation, or comes first in the host's order; one
    # of a unit, wherever it comes: a device can be on any of them.
    is_of_unit = bool(choices) and not whole
    unknown = [
        name
        for position, name in enumerate(order)
        if name not in known and (position < first or is_of_unit or name.partition("@")[0] in implementations)
    ]
    if len(names) == 1 and not unknown:
        return choices
    if unknown:
        unknown = list(dict.fromkeys(unknown))
        message = f"The registry has no release {', '.join(unknown)}, which the host {host.id} runs."
        if names:
            message = f"{message[:-1]} beside {', '.join(names)}: name the release that made the device."
    elif names:
        message = f"Several releases of the host {host.id} implement {device.model}: {', '.join(names)}. Name one."
    else:
        runs = ", ".join(dict.fromkeys(name for _, name in running))
        message = f"No release that the host {host.id} runs implements {device.model}: {runs}."
    problems.append(_source_unknown(message))
    return ()


def unknown_names(source: Source) -> Iterator[Problem]:
    """Report what the device names but the registry lacks, and a source about which nothing is stated."""
    device, model = source.device, source.model
    alias = "" if device.release else " If it is an alias, name the source release, which says what it stands for."
    if model is None:
        yield Problem(ProblemCode.UNKNOWN_MODEL, f"The registry has no device model {device.model}.{alias}")
    if device.release is not None and source.release is None:
        yield Problem(ProblemCode.UNKNOWN_RELEASE, f"The registry has no release {device.release} (the source).")
    if model and source.release and source.set is None:
        message = f"The source release {device.release} does not implement {device.model}."
        yield Problem(ProblemCode.MODEL_NOT_SUPPORTED, message)
    if device.profile is not None and source.profile is None:
        yield Problem(ProblemCode.UNKNOWN_PROFILE, f"The registry has no profile {device.profile}.{alias}")
    if model and source.profile and source.profile_values is None:
        message = f"The profile {device.profile} has no values for {device.model}."
        yield Problem(ProblemCode.PROFILE_NOT_FOR_MODEL, message)
    yield from source.problems
    if device.release is None and device.profile is None and not device.complete and not source.problems:
        message = "The device names neither a release nor a profile, and does not state that its values are complete."
        yield Problem(ProblemCode.SOURCE_UNKNOWN, message)


def stated_values(profile: Values | None, own_values: Values) -> Values | None:
    """Return what a release makes of a profile: its own values count before the profile's (DESIGN 5)."""
    return {**profile, **own_values} if profile is not None and own_values else profile


def own_value(name: str, variable: Variable, stated: Values | None, off: Value | None) -> Value | None:
    """Return the value that a release gives a variable by itself, where it has the variable and nothing is given.

    stated: what the release makes of the profile, None without a profile. off: the off value that counts for the
    release. The stated value, or else the off value, or else the init value; without a profile the init value. None: an
    instance variable, which has a value only where one is given.
    """
    if variable.is_instance:
        return None
    value = None if stated is None else stated.get(name, off)
    return variable.init_value if value is None else value


def made_value(name: str, variable: Variable, stated: Values | None, off: Value | None) -> Value | None:
    """Return the value of a variable in a device of which nothing is given: `own_value`, as far as its host has it.

    A value that the host resolves is what the host makes of it. A switch that the host allows in one position alone was
    in that one: the guest never got what the host does not have (DESIGN 5). Of any other value nobody knows what became
    of it: it is refused.
    """
    value = _as_made(variable, own_value(name, variable, stated, off))
    is_lacking = variable.unrestricted is not None and value not in variable.allowed and value in variable.unrestricted
    return not value if is_lacking and isinstance(value, bool) and (not value) in variable.allowed else value


def given_value(variable: Variable, written: Written | None, off: Value | None) -> Value | None:
    """Return an explicit value in the type of the source's variable, as its host makes it; None stands for off."""
    return _as_made(variable, off if written is None else read_or_keep((variable.type,), written))


def _as_made(variable: Variable, value: Value | None) -> Value | None:
    """Return what the source's host makes of a value: the same where nobody says (DESIGN 5)."""
    if value is None or not variable.made or Type.of(value) is not variable.type:
        return value
    return variable.made.get(value, value)


def explicit_values(source: Source) -> Mapping[str, Value]:
    """Return the explicit values of variables of the source release, where nothing else is known of the device."""
    if source.set is None or source.model is None:
        return {}
    variables, off = source.set.variables, source.model.off_values(*source.vendors)
    values = {
        name: given_value(variables[name], written, off.get(name))
        for name, written in source.device.values.items()
        if name in variables
    }
    return {name: value for name, value in values.items() if value is not None}


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
