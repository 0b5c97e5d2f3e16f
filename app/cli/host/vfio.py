"""Devices that are bound to VFIO drivers, and the drivers that can migrate them (drivers/vfio of Linux)."""

import re

from app.cli.host.facts import Facts, Source, known
from app.cli.host.naming import Kernel, is_of_kernel
from app.cli.host.tool import Machine, NotAskedError
from app.cli.output import named

_DRIVERS = "/sys/bus/pci/drivers"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# It passes a device through as it is, and never migrates it.
_PLAIN = "vfio_pci"


def _read(machine: Machine, kernel: Kernel | None) -> Facts:
    if not machine.path(_DRIVERS).is_dir():
        message = f"{_DRIVERS} cannot be read"
        raise NotAskedError(message)
    releases, notes = [], []
    for driver in machine.names(_DRIVERS):
        module = driver.replace("-", "_")
        if "vfio" not in module:
            continue
        if bound := [name for name in machine.names(f"{_DRIVERS}/{driver}") if _ADDRESS.fullmatch(name)]:
            notes.append(f"{driver} drives {named(bound)}")
        # Devices are bound to it when a VM starts, so that it counts as soon as it is loaded.
        if module != _PLAIN:
            releases.append(known(kernel).releases(module))
    return Facts(releases=releases, notes=notes)


def _owns(release: str) -> bool:
    name = release.partition("@")[0].rpartition("/")[2].replace("-", "_")
    return is_of_kernel(release) and "vfio" in name and name.endswith("_pci")


SOURCE = Source("VFIO drivers", _read, owns_release=_owns)
