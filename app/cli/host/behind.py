"""What lies behind the devices of a running VM, where its host reports it: parts of a question (DESIGN 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.cli.client import Registry
from app.cli.host.naming import Names
from app.cli.host.tool import Machine, NotAskedError, json_output, objects
from app.domain.values.name import is_host_name
from app.hypervisor.facts import BACKEND, HOST_DEVICE

_PCI, _MDEV, _VDPA = "/sys/bus/pci/devices", "/sys/bus/mdev/devices", "/sys/bus/vdpa/devices"
_FIRMWARE = "firmware"
# What the vdpa tool prints of a device, by the variable of its model.
_SETTINGS = {"max_vqp": "max_vq_pairs", "mtu": "mtu"}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the host that a VM runs on. document: as it is registered.

    machine: None if the VM runs on another machine than this.
    """

    name: str
    document: Mapping[str, Any]
    machine: Machine | None = None

    @classmethod
    def of(cls, registry: Registry, names: Sequence[str], machine: Machine | None) -> "Known | None":
        """Return what is registered under the first known name of a host; None if nothing is. Raises RegistryError."""
        for name in names:
            if is_host_name(name) and (registered := registry.find(f"/hosts/{name}")) is not None:
                return cls(name, registered, machine)
        return None


class _Model(NamedTuple):
    """A model that a release of the host implements."""

    name: str
    release: str


@dataclass(slots=True)
class Behind:
    """The parts behind the devices of one VM.

    replaced: what need not be named as unasked. unasked: what cannot be a part, with the reason.
    """

    names: Names
    host: Known
    parts: list[dict[str, Any]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    unasked: dict[str, str] = field(default_factory=dict)

    def add_passed_through(self, device: str, address: str) -> None:
        """Add what is behind a vfio device; address: of the device that is passed through, or its path in sysfs."""
        machine, name = self.host.machine, address.rpartition("/")[2]
        if machine is None or not name:
            return
        part = f"{device}-device"
        if (kind := machine.target(f"{_MDEV}/{name}/mdev_type")) is not None:
            parent = machine.path(f"{_MDEV}/{name}").resolve().parent.name
            self._add_unit(part, f"{parent}/{kind}", device, HOST_DEVICE)
            return
        driver = machine.target(f"{_PCI}/{name}/driver") or "an unknown driver"
        owner = machine.target(f"{_PCI}/{name}/physfn") or name
        # A part without its driver would say nothing of the format in which the driver writes the state.
        if self._add_driver(part, driver, device):
            self._add_unit(f"{device}-firmware", f"{_FIRMWARE}/{owner}", part, _FIRMWARE)
        else:
            self.unasked[part] = f"{driver} passes it through, and {self.host.name} has no release with one model of it"

    def add_vdpa(self, device: str, node: str) -> None:
        """Add the vDPA device behind a network card; node: as in /dev/vhost-vdpa-0."""
        machine = self.host.machine
        name = None if machine is None else _vdpa_device(machine, node.rpartition("/")[2])
        if name is None:
            return
        try:
            stated = dict(objects(json_output("vdpa", "-j", "dev", "show", name).get("dev"), "vdpa"))
            printed = dict(objects(json_output("vdpa", "-j", "dev", "config", "show", name).get("config"), "vdpa"))
        except (NotAskedError, AttributeError):
            return
        unit = str(stated.get(name, {}).get("mgmtdev", ""))
        given = {variable: printed.get(name, {}).get(key) for variable, key in _SETTINGS.items()}
        if self._add_unit(f"{device}-backend", unit, device, BACKEND, given):
            # libvirt calls the back end of a network card so.
            self.replaced |= {f"{device}-backend", f"host{device}-backend"}

    def _add_driver(self, part: str, driver: str, device: str) -> bool:
        """Add the kernel driver that passes a device through, if a release of the host has a model for it."""
        module = driver.replace("-", "_")
        names = [name for name in self.host.document["releases"] if name.partition("@")[0].endswith(f"/{module}")]
        models = [model for name in names for model in self._models(name)]
        if len(models) != 1:
            return False
        self.parts.append(self._part(part, models[0], device, HOST_DEVICE))
        return True

    def _add_unit(self, part: str, unit: str, device: str, role: str, given: Mapping[str, Any] | None = None) -> bool:
        """Add what a unit of the host makes, if its releases have one model; given: values of the variables it has."""
        units = [stated for stated in self.host.document["units"] if stated["id"] == unit]
        models = [model for stated in units for name in stated["releases"] for model in self._models(name)]
        if len(models) != 1:
            return False
        variables = self.names.variables(models[0].release, models[0].name) if given else {}
        values = {name: value for name, value in (given or {}).items() if value is not None and name in variables}
        self.parts.append({**self._part(part, models[0], device, role), "unit": unit, "values": values})
        return True

    def _part(self, part: str, model: "_Model", device: str, role: str) -> dict[str, Any]:
        named = {"id": part, "model": model.name, "release": model.release, "host": self.host.name}
        return {**named, "part_of": device, "role": role, "values": {}}

    def _models(self, release: str) -> Sequence["_Model"]:
        return [_Model(name, release) for name in self.names.models(release)]


def _vdpa_device(machine: Machine, node: str) -> str | None:
    """Return the vDPA device that a character device belongs to; None if there is none."""
    names = machine.names(_VDPA)
    return next((name for name in names if node and machine.path(f"{_VDPA}/{name}/{node}").exists()), None)
