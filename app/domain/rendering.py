"""What an orchestrator applies: a verdict's configuration as the arguments that the destination takes."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from app.domain.model import Model
from app.domain.profile import Profile, Values
from app.domain.release import Release
from app.domain.value import Value, same

# The model whose devices -cpu makes, not -device; its profiles are named by the CPU models, qemu.org/x86-cpu/EPYC-v4.
CPU_MODEL = "qemu.org/x86-cpu"
# What QEMU's -device itself makes of these names: a variable so called would name another device.
_TAKEN = frozenset({"driver", "id", "bus", "help", "?"})
_HELP = frozenset({"help", "?"})
# What -cpu once took for on and off.
_SIGNS = frozenset("+-")


class Form(StrEnum):
    """Whose arguments are wanted: `qemu` -device (or -cpu) options, `vfio-user` the RFC's --m-<param>=<value>."""

    QEMU = "qemu"
    VFIO_USER = "vfio-user"


class UnrenderableError(ValueError):
    """A configuration that no arguments can express; the message says what of it."""


def rendered(
    form: Form, configuration: Values, release: Release, model: Model, profile: Profile | None = None
) -> list[str]:
    """Return the arguments, each as the program receives it: no shell has a part in that.

    profile: the device's, which says what else is on the destination's command line: `qemu` is started with the machine
    type that the profile stands for, a CPU with the CPU model. Raises UnrenderableError.
    """
    variables = release.sets[model.name].variables
    settable = {name: value for name, value in configuration.items() if variables[name].settable}
    if form is Form.VFIO_USER:
        compared = {name: value for name, value in settable.items() if not variables[name].is_backend}
        return [f"--m-{name}={_written(value)}" for name, value in sorted(compared.items())]
    is_listed = profile is not None and release.profiles is not None and profile.name in release.profiles
    # Of a profile that the release does not list nobody knows what it makes.
    own = _own_values(release, model, profile) if profile is None or is_listed else {}
    differing = {name: value for name, value in settable.items() if not same(value, own.get(name))}
    if model.name == CPU_MODEL:
        return ["-cpu", ",".join(_features(_cpu(profile if is_listed else None), differing))]
    return ["-device", ",".join(_options(_driver(model.name), differing))]


def _own_values(release: Release, model: Model, profile: Profile | None) -> Mapping[str, Value]:
    """Return what a release makes of a model's variables by itself: under a profile on its list, or without.

    Under one: what the release states of itself, or else the profile's values; a variable that the profile does not
    name is off, and one without an off value is not known, and is left out.
    """
    variables = release.sets[model.name].variables
    if profile is None:
        return {name: variable.init_value for name, variable in variables.items()}
    off = model.off_values(release.name.vendor)
    stated = {**profile.values[model.name], **release.own_values.get(profile.name, {}).get(model.name, {})}
    values = {}
    for name, variable in variables.items():
        by_default = variable.init_value if variable.is_instance or variable.is_backend else off.get(name)
        value = stated.get(name, by_default)
        if value is not None:
            values[name] = value
    return values


def _cpu(profile: Profile | None) -> str:
    """Return the CPU model that a profile stands for: it has a family and a stepping, which no variable says."""
    if profile is None or not profile.name.startswith(f"{CPU_MODEL}/"):
        message = f"-cpu takes a CPU model: a profile {CPU_MODEL}/<CPU model> that the release lists"
        raise UnrenderableError(message)
    cpu = profile.name.removeprefix(f"{CPU_MODEL}/")
    if "," in cpu or cpu in _HELP:
        message = f"-cpu takes {cpu} for no CPU model"
        raise UnrenderableError(message)
    return cpu


def _driver(model: str) -> str:
    driver = model.partition("/")[2]
    if driver in _HELP or driver.startswith("{"):
        message = f"-device takes {driver} for no device type"
        raise UnrenderableError(message)
    return driver


def _options(first: str, values: Mapping[str, Value]) -> Iterator[str]:
    """QEMU's own syntax (qemu_opts_parse): a comma in a value is doubled, a name ends at the first = or comma."""
    yield first.replace(",", ",,")
    for name, value in sorted(values.items()):
        if "," in name or name in _TAKEN:
            message = f"no option of QEMU can set a property called {name}"
            raise UnrenderableError(message)
        yield f"{name}={_written(value).replace(',', ',,')}"


def _features(cpu: str, values: Mapping[str, Value]) -> Iterator[str]:
    """QEMU's own syntax of -cpu (x86_cpu_parse_featurestr): a comma ends a feature, whatever stands around it."""
    yield cpu
    for name, value in sorted(values.items()):
        written = _written(value)
        if "," in name + written or name[:1] in _SIGNS or name in _HELP:
            message = f"-cpu cannot set {name} to {written}"
            raise UnrenderableError(message)
        yield f"{name}={written}"


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
