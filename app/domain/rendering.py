"""What an orchestrator applies: a verdict's configuration as the arguments that the destination takes."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from app.domain.profile import Values
from app.domain.value import Value, same
from app.domain.variable_set import VariableSet

# What QEMU's -device itself makes of these names: a variable so called would name another device.
_TAKEN = frozenset({"driver", "id", "bus", "help", "?"})
_HELP = frozenset({"help", "?"})


class Form(StrEnum):
    """Whose arguments are wanted: `qemu` -device options, `vfio-user` the RFC's --m-<param>=<value>."""

    QEMU = "qemu"
    VFIO_USER = "vfio-user"


class UnrenderableError(ValueError):
    """A configuration that no arguments can express; the message says what of it."""


def rendered(
    form: Form, configuration: Values, variable_set: VariableSet, own_values: Mapping[str, Value]
) -> list[str]:
    """Return the arguments, each as the program receives it: no shell has a part in that.

    own_values: what the destination makes of the variables by itself, under the machine type where there is one.
    Raises UnrenderableError.
    """
    variables = variable_set.variables
    settable = {name: value for name, value in configuration.items() if variables[name].settable}
    if form is Form.VFIO_USER:
        compared = {name: value for name, value in settable.items() if not variables[name].is_backend}
        return [f"--m-{name}={_written(value)}" for name, value in sorted(compared.items())]
    differing = {name: value for name, value in settable.items() if not same(value, own_values.get(name))}
    return ["-device", ",".join(_options(variable_set.model, differing))]


def own_values(variable_set: VariableSet, off: Mapping[str, Value], profile: Values | None) -> Mapping[str, Value]:
    """Return what a release makes of the variables by itself: under a machine type (profile) that it has, or without.

    Under one, a variable that the profile does not name is off; one without an off value is not known, and is left out.
    """
    values: dict[str, Value] = {}
    for name, variable in variable_set.variables.items():
        if profile is None or variable.is_instance or variable.is_backend:
            values[name] = variable.init_value
        elif (value := profile.get(name, off.get(name))) is not None:
            values[name] = value
    return values


def _options(model: str, values: Mapping[str, Value]) -> Iterator[str]:
    """QEMU's own syntax (qemu_opts_parse): a comma in a value is doubled, a name ends at the first = or comma."""
    driver = model.partition("/")[2]
    if driver in _HELP or driver.startswith("{"):
        message = f"-device takes {driver} for no device type"
        raise UnrenderableError(message)
    yield driver.replace(",", ",,")
    for name, value in sorted(values.items()):
        if "," in name or name in _TAKEN:
            message = f"-device cannot set a property called {name}"
            raise UnrenderableError(message)
        yield f"{name}={_written(value).replace(',', ',,')}"


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
