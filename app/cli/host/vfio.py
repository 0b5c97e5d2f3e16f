"""Devices that are bound to VFIO drivers, and the drivers that can migrate them (drivers/vfio of Linux)."""

import re

from app.cli.host.facts import Facts, Source
from app.cli.host.naming import Kernel
from app.cli.host.tool import Machine, NotAskedError
from app.cli.output import named

_DRIVERS = "/sys/bus/pci/drivers"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# It passes a device through as it is, and never migrates it.
_PLAIN = "vfio_pci"


def _read(machine: Machine, kernel: Kernel) -> Facts:
    if not machine.path("/sys/bus/pci").is_dir():
        message = "/sys/bus/pci cannot be read"
        raise NotAskedError(message)
    releases, notes = [], []
    for driver in machine.names(_DRIVERS):
        module = driver.replace("-", "_")
        bound = [name for name in machine.names(f"{_DRIVERS}/{driver}") if _ADDRESS.fullmatch(name)]
        if not bound or "vfio" not in module:
            continue
        notes.append(f"{driver} drives {named(bound)}")
        if module != _PLAIN:
            releases.append(kernel.releases(module))
    return Facts(releases=releases, notes=notes)


def _owns(implementation: str) -> bool:
    name = implementation.rpartition("/")[2]
    return "vfio" in name and name.replace("-", "_").endswith("_pci")


SOURCE = Source("VFIO drivers", _read, owns_implementation=_owns)
