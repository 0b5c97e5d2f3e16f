"""NVIDIA's virtual GPUs: what `nvidia-smi vgpu -s` prints, and the log of the vGPU manager."""

import re
from collections.abc import Iterator, Mapping, Sequence

from app.cli.host.facts import Facts, Source, Stated, Unit
from app.cli.host.naming import Kernel, Names
from app.cli.host.tool import Machine, NotAskedError, is_installed, output

_TYPES = ("nvidia-smi", "vgpu", "-s")
_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
_LOG = ("journalctl", "--quiet", "--output", "cat", "--identifier", "nvidia-vgpu-mgr", "--lines", "5000")
_MODEL = "nvidia.com/vgpu"
_MANAGER = "nvidia.com/vgpu-manager"
_OF_UNIT = "nvidia/"
_MAX_TYPES = 256
_GPU = re.compile(r"GPU (?:[0-9A-Fa-f]{4})?(?P<address>[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])")
_RANGE = re.compile(r"vGPU supported range: \((0x[0-9a-fA-F]+), (0x[0-9a-fA-F]+)\)")
_DRIVER_VERSION = re.compile(r"\d+(\.\d+)+\S*")
_MODULE = "/sys/module/nvidia"


def types_by_gpu(text: str) -> Mapping[str, Sequence[str]]:
    """Return the names of the types of each GPU, by PCI address; raises NotAskedError for other text."""
    types: dict[str, list[str]] = {}
    address = None
    for line in text.splitlines():
        if (gpu := _GPU.fullmatch(line.strip())) is not None:
            address = gpu["address"].lower()
            types[address] = []
        elif line.strip() and address is not None:
            types[address].append(line.strip())
            if len(types[address]) > _MAX_TYPES:
                message = f"{' '.join(_TYPES)} lists more than {_MAX_TYPES} types of a GPU"
                raise NotAskedError(message)
    if not types and "No supported devices" not in text:
        message = f"{' '.join(_TYPES)} printed text of an unknown form"
        raise NotAskedError(message)
    return types


def supported_range(log: str) -> tuple[int, int] | None:
    """Return the lowest and the highest version of vGPUs that the manager takes; None if its log does not say."""
    ranges = _RANGE.findall(log)
    return (int(ranges[-1][0], 16), int(ranges[-1][1], 16)) if ranges else None


def driver_version(machine: Machine) -> str:
    """Return the version of the driver; raises NotAskedError."""
    version = machine.text(f"{_MODULE}/version") or output(*_DRIVER).strip().partition("\n")[0]
    if not _DRIVER_VERSION.fullmatch(version):
        message = f"{' '.join(_DRIVER)} printed no version"
        raise NotAskedError(message)
    return version


def _read(machine: Machine, _kernel: Kernel | None) -> Facts:
    if not is_installed(_TYPES[0]) and machine.path("/sys").is_dir() and not machine.path(_MODULE).exists():
        return Facts()
    types = types_by_gpu(output(*_TYPES))
    version = driver_version(machine)
    notes = []
    versions = None
    try:
        versions = supported_range(output(*_LOG))
    except NotAskedError as error:
        notes.append(f"which versions of vGPUs the manager takes is not known: {error}")
    else:
        if versions is None:
            notes.append("which versions of vGPUs the manager takes is not known: its log names no supported range")
    units = [
        Unit(f"{_OF_UNIT}{address}", [[f"{_MANAGER}@{version}"]], restrict=_Restriction(names, versions))
        for address, names in types.items()
        if names
    ]
    return Facts(units=units, notes=notes)


class _Restriction:
    """The types that a GPU offers and the versions that the manager takes, where the release has variables for them."""

    def __init__(self, types: Sequence[str], versions: tuple[int, int] | None) -> None:
        self._types = types
        self._versions = versions

    def __call__(self, names: Names, releases: Sequence[str]) -> Stated:
        sets = {model: variables for release in releases for model, variables in names.sets(release)}
        if not sets:
            return {_MODEL: dict(self._restrictions())}
        return {
            model: {name: values for name, values in self._restrictions() if name in variables}
            for model, variables in sets.items()
        }

    def _restrictions(self) -> Iterator[tuple[str, Sequence[object]]]:
        yield "vgpu-type", list(dict.fromkeys(self._types))
        # Where the log does not state them, those that are registered stay.
        if self._versions is not None:
            low, high = self._versions
            yield "vgpu-version", [f"{low}-{high}"] if low < high else [low]


def _owns(unit: str, releases: Sequence[str]) -> bool:
    return unit.startswith(_OF_UNIT) and all(release.startswith(f"{_MANAGER}@") for release in releases)


SOURCE = Source("NVIDIA vGPU", _read, _owns)
