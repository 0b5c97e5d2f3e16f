"""Rendering: a verdict's configuration as the arguments of the destination's program."""

import re
from collections.abc import Iterator, Mapping

from app.domain.fleet.form import Form
from app.domain.fleet.unit_rendering import Made, UnrenderableError, mdevctl, vdpa
from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.release import Release
from app.domain.values.value import Value, same

# QEMU makes devices of this model with -cpu, not -device; its profiles are named by CPU models (…/EPYC-v4).
CPU_MODEL = "qemu.org/x86-cpu"
# The CPUs of QEMU's targets, those that it emulates (-tcg) apart, and its boards; other models are devices.
_CPUS = re.compile(r"qemu\.org/[a-z0-9_]+-cpu(-tcg)?")
_BOARDS = re.compile(r"qemu\.org/.+-board")
# -device gives these names a meaning of their own: a variable of that name would select another device.
_RESERVED = frozenset({"driver", "id", "bus", "help", "?"})
_HELP = frozenset({"help", "?"})
# -cpu reads a leading sign as on or off, an old spelling.
_SIGNS = frozenset("+-")


_WHOLE = Made("")


def rendered(
    form: Form,
    configuration: Values,
    release: Release,
    model: Model,
    profile: Profile | None = None,
    made: Made = _WHOLE,
) -> list[str]:
    """Return the arguments, each as the program receives it, without shell quoting.

    profile: the device's. It decides what else is on the destination's command line: QEMU is started with the machine
    type that the profile is named after, a CPU with the CPU model. made: which device it is, and the unit that was
    answered. Raises UnrenderableError.
    """
    if form is Form.VDPA:
        return vdpa(configuration, release.sets[model.name], made)
    if form is Form.MDEVCTL:
        return mdevctl(configuration, release.sets[model.name], release.name.implementation, made)
    if form is Form.QEMU and (made.is_part or made.unit is not None):
        message = f"QEMU has no option for {model.name}: it is made on the host, behind another device."
        raise UnrenderableError(message)
    variables = release.sets[model.name].stated
    settable = {name: value for name, value in configuration.items() if variables[name].settable}
    if form is Form.VFIO_USER:
        compared = {name: value for name, value in settable.items() if not variables[name].is_backend}
        return [f"--m-{name}={_written(value)}" for name, value in sorted(compared.items())]
    is_listed = profile is not None and release.profiles is not None and profile.name in release.profiles
    # What a release makes of a profile that it does not list is not known.
    own = _own_values(release, model, profile) if profile is None or is_listed else {}
    differing = {name: value for name, value in settable.items() if not same(value, own.get(name))}
    own_profile = profile if is_listed else None
    if is_cpu_model(model.name):
        return ["-cpu", ",".join(_features(_cpu(model.name, own_profile), differing))]
    if _BOARDS.fullmatch(model.name):
        return ["-machine", ",".join(_options(_machine(model.name, own_profile), differing))]
    return ["-device", ",".join(_options(_driver(model.name), differing))]


def _own_values(release: Release, model: Model, profile: Profile | None) -> Mapping[str, Value]:
    """Return the values that a release gives a model's variables by itself: under a profile on its list, or without.

    Under a profile: the release's own values, or else the profile's. A variable that the profile does not name is off;
    one without an off value is not known and left out.
    """
    variables = release.sets[model.name].variables
    if profile is None:
        return {name: variable.init_value for name, variable in release.sets[model.name].stated.items()}
    off = model.off_values(release.name.vendor)
    stated = {**profile.values[model.name], **release.made_of(profile.name, model.name)}
    values = {}
    for name, variable in variables.items():
        by_default = variable.init_value if variable.is_instance or variable.is_backend else off.get(name)
        value = stated.get(name, by_default)
        if value is not None:
            values[name] = value
    return release.sets[model.name].under_own_names(values)


def is_cpu_model(model: str) -> bool:
    """Return whether a device model is that of a QEMU's CPUs."""
    return _CPUS.fullmatch(model) is not None


def _cpu(model: str, profile: Profile | None) -> str:
    """Return the CPU model that a profile is named after: it also sets what no variable does, such as the family."""
    # A distributor's own CPU models are in its namespace, below the same component.
    kind = f"/{model.partition('/')[2]}/"
    if profile is None or kind not in profile.name:
        message = f"-cpu needs a CPU model: name a profile {model}/<CPU model> that the release lists."
        raise UnrenderableError(message)
    return _named(profile.name.partition(kind)[2], "-cpu", "a CPU model")


def _machine(model: str, profile: Profile | None) -> str:
    """Return the machine type that a profile is named after: one of the board's family."""
    family = model.partition("/")[2].removesuffix("-board")
    # The target is a component of the profile's name, and a part of the board's.
    if profile is None or not "-".join(profile.name.split("/")[1:]).startswith(family):
        message = f"-machine needs a machine type: name a profile of one of {model} that the release lists."
        raise UnrenderableError(message)
    return _named(profile.name.rpartition("/")[2], "-machine", "a machine type")


def _named(name: str, option: str, what: str) -> str:
    if "," in name or name in _HELP:
        message = f"{option} cannot take {name} as {what}."
        raise UnrenderableError(message)
    return name


def _driver(model: str) -> str:
    driver = model.partition("/")[2]
    if driver in _HELP or driver.startswith("{"):
        message = f"-device cannot take {driver} as a device type."
        raise UnrenderableError(message)
    return driver


def _options(first: str, values: Mapping[str, Value]) -> Iterator[str]:
    """Write QEMU's option syntax (qemu_opts_parse): a comma in a value is doubled, a name ends at = or a comma."""
    yield first.replace(",", ",,")
    for name, value in sorted(values.items()):
        if "," in name or name in _RESERVED:
            message = f"-device cannot set a property named {name}."
            raise UnrenderableError(message)
        yield f"{name}={_written(value).replace(',', ',,')}"


def _features(cpu: str, values: Mapping[str, Value]) -> Iterator[str]:
    """Write QEMU's syntax of -cpu (x86_cpu_parse_featurestr): a comma always ends a feature."""
    yield cpu
    for name, value in sorted(values.items()):
        written = _written(value)
        if "," in name + written or name[:1] in _SIGNS or name in _HELP:
            message = f"-cpu cannot set {name} to {written}."
            raise UnrenderableError(message)
        yield f"{name}={written}"


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
