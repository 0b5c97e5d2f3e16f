"""Types of mediated devices: what `mdevctl types` prints, or the kernel's tree in sysfs where mdevctl is missing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from app.cli.host import nvidia
from app.cli.host.facts import Facts, Source, Unit, known
from app.cli.host.naming import KERNEL_VENDORS, Kernel, vendor_of_driver
from app.cli.host.tool import Machine, NotAskedError, is_installed, json_output
from app.hypervisor.naming import component

_COMMAND = ("mdevctl", "types", "--dumpjson")
_CLASS = "/sys/class/mdev_bus"
# A larger number is a mistake of the tool.
_MAX_AVAILABLE = 1_000_000
_MAX_DIGITS = 10
_TYPES = "mdev_supported_types"


@dataclass(frozen=True, slots=True)
class MdevType:
    """A type of mediated devices that a parent offers. type: its name in sysfs; the number in it can differ by host.

    name: what its driver calls it, which is the same on all hosts; empty if the driver says nothing.
    """

    parent: str
    type: str
    name: str = ""
    available: int | None = None
    api: str = ""
    description: str = ""

    @property
    def driver(self) -> str:
        """The driver of the parent, with which the kernel begins the name of a type."""
        return self.type.partition("-")[0]

    @property
    def title(self) -> str:
        """What the type is called on every host."""
        return self.name or self.type


def types(document: Any) -> Iterator[MdevType]:
    """Iterate over the types that mdevctl printed; raises NotAskedError for JSON of another form."""
    message = "mdevctl printed JSON of an unknown form"
    if not isinstance(document, list):
        raise NotAskedError(message)
    try:
        for parents in document:
            for parent, of_parent in parents.items():
                for named in of_parent:
                    for name, content in named.items():
                        yield _type(parent, name, content)
    except (AttributeError, TypeError, KeyError) as error:
        raise NotAskedError(message) from error


def _type(parent: str, name: str, content: Mapping[str, Any]) -> MdevType:
    return MdevType(
        parent,
        name,
        str(content.get("name") or ""),
        _available(content.get("available_instances")),
        # Each type has one; what else mdevctl lists, such as the devices, has none.
        str(content["device_api"]),
        str(content.get("description") or ""),
    )


def _available(number: object) -> int | None:
    return number if type(number) is int and 0 <= number <= _MAX_AVAILABLE else None


def types_in_sysfs(machine: Machine) -> Iterator[MdevType]:
    """Iterate over the types in sysfs (Documentation/ABI/testing/sysfs-bus-vfio-mdev); raises NotAskedError."""
    for parent in machine.names(_CLASS):
        if not os.access(machine.path(f"{_CLASS}/{parent}/{_TYPES}"), os.R_OK | os.X_OK):
            message = f"{_CLASS}/{parent}/{_TYPES} cannot be read"
            raise NotAskedError(message)
        for name in machine.names(f"{_CLASS}/{parent}/{_TYPES}"):
            folder = f"{_CLASS}/{parent}/{_TYPES}/{name}"
            available = machine.text(f"{folder}/available_instances") or ""
            number = int(available) if available.isdecimal() and len(available) < _MAX_DIGITS else None
            yield MdevType(
                parent,
                name,
                machine.text(f"{folder}/name") or "",
                _available(number),
                machine.text(f"{folder}/device_api") or "",
                " ".join((machine.text(f"{folder}/description") or "").split()),
            )


def all_types(machine: Machine, notes: list[str]) -> list[MdevType]:
    """Return the types that the parents of this host offer; raises NotAskedError. notes: to add what went wrong to."""
    if is_installed(_COMMAND[0]):
        try:
            return list(types(json_output(*_COMMAND)))
        except NotAskedError as error:
            if not machine.path(_CLASS).is_dir():
                raise
            notes.append(f"{error}; sysfs was read instead")
    if not machine.path("/sys/class").is_dir():
        message = "/sys/class cannot be read"
        raise NotAskedError(message)
    return list(types_in_sysfs(machine))


def _read(machine: Machine, kernel: Kernel | None) -> Facts:
    units: list[Unit] = []
    notes: list[str] = []
    kept = set()
    # A tool that hangs is asked once, not for each type.
    version_of = cache(partial(_version, machine))
    for mdev in all_types(machine, notes):
        driver = machine.target(f"{_CLASS}/{mdev.parent}/driver") or mdev.driver
        names = dict.fromkeys(f"{driver}/{component(title)}" for title in (mdev.type, mdev.title))
        vendor = vendor_of_driver(driver)
        if vendor is None:
            releases = [release for name in names for release in known(kernel).releases(name)]
        else:
            # A driver that is not part of the kernel has versions of its own.
            version = version_of(driver)
            if isinstance(version, NotAskedError):
                notes.append(f"{mdev.parent}/{mdev.type} is left out: the version of {driver} is not known: {version}")
                kept.add(f"{mdev.parent}/{mdev.type}")
                continue
            releases = [f"{vendor}/{name}@{version}" for name in names]
        units.append(Unit(f"{mdev.parent}/{mdev.type}", [releases], available=mdev.available))
    return Facts(units=units, notes=notes, kept=frozenset(kept))


def _version(machine: Machine, driver: str) -> str | NotAskedError:
    """Return the version of a driver, or why it is not known."""
    if version := machine.text(f"/sys/module/{driver}/version"):
        return version
    if driver == "nvidia":
        try:
            return nvidia.driver_version(machine)
        except NotAskedError as error:
            return error
    return NotAskedError(f"/sys/module/{driver}/version cannot be read")


def models(mdev: MdevType, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a type: the models of a release, as `PUT /releases` has them.

    What tells types apart is a variable that cannot be set, so that no device moves to another type. Whether the driver
    can migrate the device, the tool does not say: `migratable` is unknown.
    """
    variables = {
        name: {"type": "str", "init_value": value, "settable": False, "description": description}
        for name, value, description in (
            ("type-name", mdev.title, "what the driver calls the type of mediated devices"),
            ("device-api", mdev.api, "the interface of the device"),
            ("type-description", mdev.description, "what the driver says of the type"),
        )
        if value
    }
    return {model: {"variables": variables, "migratable": "unknown"}}


def _owns(unit: str, releases: Sequence[str]) -> bool:
    _, slash, kind = unit.partition("/")
    driver = kind.partition("-")[0]
    owners = {*KERNEL_VENDORS, vendor_of_driver(driver)}
    names = [release.split("/") for release in releases]
    return bool(slash and driver) and all(name[0] in owners and name[1] == driver for name in names)


SOURCE = Source("mediated devices", _read, _owns)
