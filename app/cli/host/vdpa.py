"""vDPA management devices: what `vdpa mgmtdev show` of iproute2 prints (vdpa-mgmtdev(8))."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.host.facts import Facts, Source, Stated, Unit, known
from app.cli.host.naming import Kernel, Names, is_of_kernel
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
    """A management device. kind: net or block. features: their names in lower case, None if the tool prints none.

    unnamed: the bits of features that have no name. queues: the most that a device can have, None if it is not printed.
    """

    handle: str
    kind: str
    features: frozenset[str] | None
    unnamed: frozenset[int]
    queues: int | None

    @property
    def pairs(self) -> int | None:
        """How many pairs of queues a network card can have; one more queue is for control. None: not known.

        Without MQ, the kernel makes no card with several (EINVAL).
        """
        if self.queues is None or self.features is None:
            return None
        return max(1, (self.queues - ("ctrl_vq" in self.features)) // 2) if "mq" in self.features else 1


def printed() -> Any:
    """Return what the tool prints of this host; raises NotAskedError."""
    return json_output(*_COMMAND)


def devices(document: Any) -> Iterator[ManagementDevice]:
    """Iterate over the management devices that the vdpa tool printed, one for each class.

    Raises NotAskedError for JSON of another form.
    """
    mgmtdev = document.get("mgmtdev") if isinstance(document, dict) else None
    for handle, content in objects(mgmtdev, "vdpa"):
        classes, features = content.get("supported_classes", []), content.get("dev_features")
        queues = content.get("max_supported_vqs")
        # Older tools and kernels state the classes alone.
        are_lists = isinstance(classes, list) and (features is None or isinstance(features, list))
        is_number = queues is None or (type(queues) is int and 0 <= queues <= _MAX_QUEUES)
        if not are_lists or not is_number or not all(type(feature) in {int, str} for feature in features or ()):
            message = "vdpa printed JSON of an unknown form"
            raise NotAskedError(message)
        for kind in classes:
            if features is None:
                yield ManagementDevice(handle, str(kind), None, frozenset(), queues)
                continue
            bits = {bit: name for name, bit in feature_bits(is_block=kind == _BLOCK).items()}
            names = {name.lower() for name in features if isinstance(name, str)}
            # The tool names no feature of disks, and no recent one: it prints their bits.
            numbers = {number for number in features if isinstance(number, int)}
            named = names | {bits[number] for number in numbers if number in bits}
            yield ManagementDevice(handle, str(kind), frozenset(named), frozenset(numbers - bits.keys()), queues)


def _read(machine: Machine, kernel: Kernel | None) -> Facts:
    buses = machine.names("/sys/bus")
    if not is_installed(_COMMAND[0]) and buses and "vdpa" not in buses:
        return Facts()
    units: dict[str, Unit] = {}
    notes = []
    document = printed()
    listed = list(devices(document))
    kept = frozenset(handle for handle, _ in objects(document["mgmtdev"], "vdpa"))
    for device in listed:
        if device.kind not in MODELS:
            notes.append(f"{device.handle}: devices of the class {device.kind} are not known")
            continue
        module = _module(machine, device.handle)
        if module is None:
            notes.append(f"{device.handle}: its driver is not known, so its release is called {_FRAMEWORK}")
        if device.features is None:
            notes.append(f"{device.handle}: vdpa does not state its features, so nothing is restricted")
        if device.unnamed:
            bits = ", ".join(map(str, sorted(device.unnamed)))
            notes.append(f"{device.handle}: features without a name here (bits {bits}) are not compared")
        releases = [known(kernel).releases(module or _FRAMEWORK)]
        if device.handle in units:
            notes.append(f"{device.handle}: it makes several classes of devices; only the first is reported")
        units.setdefault(device.handle, Unit(device.handle, releases, restrict=_Restriction(device)))
    return Facts(units=list(units.values()), notes=notes, kept=kept)


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

    def __call__(self, names: Names, releases: Sequence[str]) -> Stated:
        model = MODELS[self.device.kind]
        sets: dict[str, Sequence[str]] = {
            name: list(variables)
            for release in releases
            for name, variables in names.sets(release)
            if name == model or any(variable.startswith("f.") for variable in variables)
        }
        # Until it is published, it is the specification's model: what is published later is restricted at once.
        sets = sets or {model: [*_features(self.device), "max_vqp"]}
        return {name: dict(self._restrictions(variables)) for name, variables in sets.items()}

    def _restrictions(self, variables: Sequence[str]) -> Iterator[tuple[str, Any]]:
        features = feature_bits(is_block=self.device.kind == _BLOCK)
        for name in sorted(variables):
            feature = name.removeprefix("f.")
            if self.device.features is not None and feature in features:
                yield name, None if feature in self.device.features else [False]
        if "max_vqp" in variables and self.device.kind == _NET and (pairs := self.device.pairs) is not None:
            yield "max_vqp", [f"1-{pairs}"] if pairs > 1 else [1]


def _features(device: ManagementDevice) -> list[str]:
    return [f"f.{name}" for name in feature_bits(is_block=device.kind == _BLOCK)]


def models(device: ManagementDevice, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a management device: the models of a release, as `PUT /releases` has them.

    A feature that the device lacks allows only off, so that a verdict names it. Whether the device keeps a state that a
    migration loses, the tool does not say: `migratable` is unknown. Raises NotAskedError where the tool states no
    features or no queues.
    """
    if device.features is None or device.queues is None:
        message = f"{device.handle}: vdpa does not state its features and queues; a newer kernel does"
        raise NotAskedError(message)
    variables: dict[str, Any] = {}
    for name in _features(device):
        is_offered = name.removeprefix("f.") in device.features
        variables[name] = {"type": "bool", "init_value": is_offered, "off_value": False}
        if not is_offered:
            variables[name]["allowed_values"] = [False]
    document: dict[str, Any] = {"variables": variables, "migratable": "unknown"}
    if device.kind == _NET:
        pairs = device.pairs or 1
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


def _owns(unit: str, releases: Sequence[str]) -> bool:
    is_handle = unit.startswith(("pci/", "auxiliary/", "vdpasim")) or unit == "vduse"
    return is_handle and all(map(is_of_kernel, releases))


SOURCE = Source("vDPA", _read, _owns)
