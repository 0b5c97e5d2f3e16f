"""The QEMU binaries of a host: their releases, and the CPU features that they can give their guests here."""

import os
import platform
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.client import Registry
from app.cli.host.tool import Machine, NotAskedError, output
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.cpu import CpuModels, features_of, restriction, take_cpu_models
from app.cli.qemu.live import Progress
from app.domain.fleet.rendering import CPU_MODEL
from app.domain.values.name import numeric
from app.hypervisor.naming import build_of, cpu_of, product_of

_VERSION = re.compile(r"QEMU emulator version (\d+\.\d+\.\d+)(?: \(([^)]*)\))?")
_BINARY = re.compile(r"qemu-system-([a-z0-9_]+)|qemu-kvm")
_ANY_BINARY = re.compile(r"qemu-system-([a-z0-9_]+?)(?:-.+)?")
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/libexec")


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU binary, as it states itself. product: as `product_of` names it, by the architecture that it emulates.

    package: the distribution and the version of its package; empty for upstream's own build.
    """

    product: str
    version: str
    package: str = ""

    @classmethod
    def of(cls, binary: Path) -> "Emulator":
        """Ask a binary; raises NotAskedError."""
        stated = _VERSION.search(output(str(binary), "--version"))
        if stated is None:
            message = f"{binary} --version does not print a QEMU version"
            raise NotAskedError(message)
        return cls(product_of(_target(binary), build_of(binary.name)), stated[1], stated[2] or "")


def binaries(machine: Machine) -> Sequence[Path]:
    """Return the QEMU binaries of a machine, those for its own architecture first."""
    paths: dict[Path, Path] = {}
    for folder in map(machine.path, _FOLDERS):
        for path in [*folder.glob("qemu-system-*"), *folder.glob("qemu-kvm")]:
            # fullmatch skips special builds of the same release, such as qemu-system-x86_64-microvm.
            if _BINARY.fullmatch(path.name) and path.is_file() and os.access(path, os.X_OK):
                paths.setdefault(path.resolve(), path)
    return sorted(paths.values(), key=lambda path: (_target(path) != platform.machine(), path.name))


def installed_binaries(machine: Machine) -> Sequence[Path]:
    """Return one QEMU binary of a machine for each release that it has, special builds included, the oldest first."""
    emulators: dict[tuple[str, str], Path] = {}
    for folder in map(machine.path, _FOLDERS):
        for path in sorted([*folder.glob("qemu-system-*"), *folder.glob("qemu-kvm")]):
            if path.is_file() and os.access(path, os.X_OK):
                with suppress(NotAskedError):
                    stated = Emulator.of(path)
                    emulators.setdefault((stated.product, stated.version), path)
    return [path for (_, _), path in sorted(emulators.items(), key=lambda entry: (numeric(entry[0][1]), entry[0][0]))]


def _target(binary: Path) -> str:
    match = _ANY_BINARY.fullmatch(binary.name)
    # qemu-kvm, and what a user calls it otherwise, runs guests of this machine.
    return match[1] if match else platform.machine()


def owns_release(release: str) -> bool:
    """Return whether a report says all about the releases of an implementation: it is a QEMU."""
    return "/qemu-system-" in release.partition("@")[0]


def restrict(
    registry: Registry, paths: Sequence[Path], progress: Progress, *, emulated: bool
) -> dict[str, dict[str, Any]]:
    """Return the CPU features that this host cannot provide, by the CPU models; empty if the registry has none.

    emulated: VMs run without KVM. Raises NotAskedError if the features are not known, and RegistryError.
    """
    names = dict.fromkeys((CPU_MODEL, cpu_of("x86_64", is_kvm=not emulated)))
    models = {name: model for name in names if (model := registry.find(f"/models/{name}")) is not None}
    binary = next((path for path in paths if _target(path) == "x86_64"), None)
    if not models or binary is None:
        return {}
    try:
        cpus = _cpu_models(binary, progress, emulated=emulated)
    except (CaptureError, OSError) as error:
        raise NotAskedError(str(error)) from error
    if not cpus.is_kvm and not emulated:
        message = "KVM cannot be used (if VMs run without KVM, add --emulated)"
        raise NotAskedError(message)
    # What asks about a domain does not know whether it runs with KVM, so that both models are restricted.
    return {name: restriction(cpus, features_of(model)) for name, model in models.items()}


# By the binary, when it was changed, and the hour: a command that reports again and again does not start it each time,
# and notices a change of the kernel's settings.
_asked: dict[tuple[object, ...], CpuModels] = {}
_HOUR = 3600


def _cpu_models(binary: Path, progress: Progress, *, emulated: bool) -> CpuModels:
    key = (binary, binary.stat().st_mtime_ns, emulated, time.monotonic() // _HOUR)
    if key not in _asked:
        _asked.clear()
        _asked[key] = take_cpu_models(binary, progress, host_only=True, emulated=emulated)
    return _asked[key]
