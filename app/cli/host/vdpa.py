"""vDPA management devices: what `vdpa mgmtdev show` of iproute2 prints (vdpa-mgmtdev(8))."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.client import Registry
from app.cli.host.facts import Facts, Source, Stated, Unit
from app.cli.host.naming import Kernel
from app.cli.host.tool import Machine, NotAskedError, is_installed, json_output, objects
from app.domain.fleet.unit_rendering import feature_bits

_COMMAND = ("vdpa", "-j", "mgmtdev", "show")
_NET, _BLOCK = "net", "block"
MODELS = {_NET: "virtio-spec.org/net", _BLOCK: "virtio-spec.org/block"}
# The module that makes vDPA devices, by the driver of the parent device, or by the name of a management device.
_MODULES = {
    "mlx5_core": "mlx5_vdpa",
    "pds_core": "pds_vdpa",
    "vdpasim_net": "vdpa_sim_net",
    "vdpasim_blk": "vdpa_sim_blk",
}
_FRAMEWORK = "vdpa"
# The queues of a virtio device have numbers of 16 bits.
_MAX_QUEUES = 65536
_MTU = (68, 65535)
_MTU_DEFAULT = 1500


@dataclass(frozen=True, slots=True)
class ManagementDevice:
    """A management device. kind: net or block. features: their names in lower case, and the bits without one."""

    handle: str
    kind: str
    features: frozenset[str]
    unnamed: frozenset[int]
    queues: int

    @property
    def pairs(self) -> int:
        """How many pairs of queues its network cards can have; one more queue is for control."""
        return max(1, (self.queues - ("ctrl_vq" in self.features)) // 2)


def printed() -> Any:
    """Return what the tool prints of this host; raises NotAskedError."""
    return json_output(*_COMMAND)


def devices(document: Any) -> Iterator[ManagementDevice]:
    """Iterate over the management devices that the vdpa tool printed, one for each class.

    Raises NotAskedError for JSON of another form.
    """
    mgmtdev = document.get("mgmtdev") if isinstance(document, dict) else None
    for handle, content in objects(mgmtdev, "vdpa"):
        classes, features = content.get("supported_classes", []), content.get("dev_features", [])
        queues = content.get("max_supported_vqs", 0)
        are_lists = isinstance(classes, list) and isinstance(features, list)
        is_number = type(queues) is int and 0 <= queues <= _MAX_QUEUES
        if not are_lists or not is_number or not all(type(feature) in {int, str} for feature in features):
            message = "vdpa printed JSON of an unknown form"
            raise NotAskedError(message)
        for kind in classes:
            bits = {bit: name for name, bit in feature_bits(is_block=kind == _BLOCK).items()}
            names = {str(name).lower() for name in features if not isinstance(name, int)}
            # The tool names no feature of disks, and no recent one: it prints their bits.
            numbers = {number for number in features if isinstance(number, int)}
            known = names | {bits[number] for number in numbers if number in bits}
            yield ManagementDevice(handle, str(kind), frozenset(known), frozenset(numbers - bits.keys()), queues)


def _read(machine: Machine, kernel: Kernel) -> Facts:
    if not is_installed(_COMMAND[0]) and not machine.path("/sys/bus/vdpa").exists():
        return Facts()
    units: dict[str, Unit] = {}
    notes = []
    for device in devices(printed()):
        if device.kind not in MODELS:
            notes.append(f"{device.handle}: devices of the class {device.kind} are not known")
            continue
        module = _module(machine, device.handle)
        if module is None:
            notes.append(f"{device.handle}: its driver is not known, so its release is called {_FRAMEWORK}")
        if device.unnamed:
            bits = ", ".join(map(str, sorted(device.unnamed)))
            notes.append(
                f"{device.handle}: it offers features that have no name here (bits {bits}); they are not compared"
            )
        unit = Unit(device.handle, [kernel.releases(module or _FRAMEWORK)], restrict=_Restriction(device))
        if device.handle in units:
            notes.append(f"{device.handle}: it makes several classes of devices; only the first is reported")
        units.setdefault(device.handle, unit)
    return Facts(units=list(units.values()), notes=notes)


def _module(machine: Machine, handle: str) -> str | None:
    bus, slash, name = handle.partition("/")
    if not slash:
        return _MODULES.get(handle, handle)
    # An auxiliary device is called <driver>.<kind>.<number>.
    parent = name.partition(".")[0] if bus == "auxiliary" else None
    driver = machine.target(f"/sys/bus/{bus}/devices/{name}/driver") if bus == "pci" else parent
    return None if driver is None else _MODULES.get(driver, driver)


@dataclass(frozen=True, slots=True)
class _Restriction:
    """What a management device does not provide of the variables that the release has."""

    device: ManagementDevice

    def __call__(self, registry: Registry, releases: Sequence[str]) -> Stated:
        model = MODELS[self.device.kind]
        published = registry.find(f"/releases/{releases[0]}") if releases else None
        digests = {entry["model"]: entry["digest"] for entry in (published or {}).get("models", ())}
        if published is None:
            return {model: _restrictions(self.device, [*_features(self.device), "max_vqp"])}
        stated = {}
        for name, digest in digests.items():
            variables = registry.get(f"/variable-sets/{digest}")["variables"]
            if model == name or any(variable.startswith("f.") for variable in variables):
                stated[name] = _restrictions(self.device, variables)
        return {name: variables for name, variables in stated.items() if variables}


def _restrictions(device: ManagementDevice, variables: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    known = feature_bits(is_block=device.kind == _BLOCK)
    restricted: dict[str, Any] = {
        name: [False]
        for name in sorted(variables)
        if (feature := name.removeprefix("f.")) in known and feature not in device.features
    }
    if "max_vqp" in variables and device.kind == _NET:
        restricted["max_vqp"] = [f"1-{device.pairs}"] if device.pairs > 1 else [1]
    return restricted


def _features(device: ManagementDevice) -> list[str]:
    return [f"f.{name}" for name in feature_bits(is_block=device.kind == _BLOCK)]


def models(device: ManagementDevice, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a management device: the models of a release, as `PUT /releases` has them.

    A feature that the device lacks allows only off, so that a verdict names it. Whether the device keeps a state that a
    migration loses, the tool does not say: `migratable` is unknown.
    """
    variables: dict[str, Any] = {}
    for name in _features(device):
        is_offered = name.removeprefix("f.") in device.features
        variables[name] = {"type": "bool", "init_value": is_offered, "off_value": False}
        if not is_offered:
            variables[name]["allowed_values"] = [False]
    document: dict[str, Any] = {"variables": variables, "migratable": "unknown"}
    if device.kind == _NET:
        pairs = device.pairs
        variables["max_vqp"] = {
            "type": "int", "init_value": 1, "off_value": 1, "allowed_values": [f"1-{pairs}" if pairs > 1 else 1],
            "description": "pairs of queues",
        }  # fmt: skip
        variables["mtu"] = {
            "type": "int", "init_value": _MTU_DEFAULT, "off_value": _MTU_DEFAULT,
            "allowed_values": ["{}-{}".format(*_MTU)] if "mtu" in device.features else [_MTU_DEFAULT],
        }  # fmt: skip
        variables["mac"] = {"type": "str", "init_value": "", "scope": "instance"}
        if pairs > 1:
            document["constraints"] = [
                {"when": {"max_vqp": [f"2-{pairs}"]}, "require": {"f.mq": [True]}, "description": "VIRTIO_NET_F_MQ"}
            ]
    return {model: document}


def _owns(unit: str) -> bool:
    return unit.startswith(("pci/", "auxiliary/", "vdpasim")) or unit == "vduse"


SOURCE = Source("vDPA", _read, _owns)
