"""CPU models: what a QEMU says of them, as one device model with a bool variable for each feature."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.client import Registry
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.live import Progress, started
from app.domain.rendering import CPU_MODEL

# What CPU models have does not depend on it; what a host can give a guest does.
_ACCELERATORS = ("-accel", "kvm", "-accel", "tcg")
# An invariant TSC cannot go on with the same frequency elsewhere: QEMU calls such a CPU not migratable.
_BLOCKS = [{"when": {"invtsc": [True]}, "description": "an invariant TSC does not go on elsewhere"}]


@dataclass(frozen=True, slots=True)
class CpuModels:
    """What a QEMU binary says of CPUs.

    features: of each feature it knows, whether this host can give it to a guest: with KVM (is_kvm) what its CPU has,
    without it what QEMU emulates. models: name → the features it has,
    of the models that mean the same everywhere (their names end in a version).
    """

    version: str
    target: str
    is_kvm: bool
    features: Mapping[str, bool]
    models: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Find:
    """A CPU model that is published with other features than this QEMU gives it; the published ones stand."""

    profile: str
    feature: str
    published: bool


def take_cpu_models(binary: Path, progress: Progress, *, host_only: bool = False) -> CpuModels:
    """Start a QEMU binary and return what it says of CPUs; host_only: without the models. Raises CaptureError."""
    try:
        return asyncio.run(_take(binary, progress, host_only=host_only))
    except (QMPError, OSError, TimeoutError) as error:
        message = f"{binary} cannot be asked: {error}"
        raise CaptureError(message) from error


async def _take(binary: Path, progress: Progress, *, host_only: bool) -> CpuModels:
    async with started(binary, "-M", "none", *_ACCELERATORS) as qmp:
        version: Any = await qmp.execute("query-version")
        target: Any = await qmp.execute("query-target")
        kvm: Any = await qmp.execute("query-kvm")
        try:
            features = await _features(qmp, "max")
            definitions: Any = [] if host_only else await qmp.execute("query-cpu-definitions")
        except ExecuteError as error:
            message = f"{binary} tells nothing of CPU models: {error}"
            raise CaptureError(message) from error
        names = sorted(each["name"] for each in definitions if _is_versioned(each))
        models = {}
        for place, name in enumerate(names):
            progress("reading CPU models", place, len(names))
            models[name] = frozenset(feature for feature, has in (await _features(qmp, name)).items() if has)
    number = ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro"))
    return CpuModels(number, target["arch"], kvm["enabled"], features, models)


async def _features(qmp: QMPClient, model: str) -> dict[str, bool]:
    """Return all features with whether a model has them: of a static expansion, the properties that are bools."""
    expansion: Any = await qmp.execute("query-cpu-model-expansion", {"type": "static", "model": {"name": model}})
    return {name: value for name, value in expansion["model"]["props"].items() if isinstance(value, bool)}


def _is_versioned(definition: Mapping[str, Any]) -> bool:
    """Return whether a CPU model means the same under every machine type: a name without a version is an alias."""
    return bool(definition.get("migration-safe")) and _version(definition["name"]) is not None


def _version(name: str) -> tuple[str, int] | None:
    family, dash, number = name.rpartition("-v")
    return (family, int(number)) if dash and number.isdigit() else None


def profile_name(model: str) -> str:
    """Return the name of the profile that a CPU model becomes."""
    return f"{CPU_MODEL}/{model}"


def publish_cpu_models(
    registry: Registry, cpus: CpuModels, release: str, *, dry_run: bool = False, override: str | None = None
) -> tuple[Mapping[str, Any], list[Find]]:
    """Add the CPU model to a release, with a profile for each CPU model that QEMU names; raises RegistryError.

    Returns what the registry answered, and the CPU models that are published with other features.
    """
    published = _published(registry)
    document = _document(cpus, published)
    answer = registry.put(f"/releases/{release}", document, dry_run=dry_run, override=override)
    return answer, list(_finds(cpus, published))


def cpu_document(registry: Registry, cpus: CpuModels) -> dict[str, Any]:
    """Return what a release states of CPUs, to be published with all else of it: models and profiles."""
    return _document(cpus, _published(registry))


def _document(cpus: CpuModels, published: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    own: dict[str, dict[str, dict[str, bool]]] = {}
    for find in _finds(cpus, published):
        if find.feature in cpus.features:
            own.setdefault(find.profile, {CPU_MODEL: {}})[CPU_MODEL][find.feature] = not find.published
    return {
        "models": {CPU_MODEL: _variable_set(cpus)},
        "profiles": list(_profiles(cpus, published)),
        "own_values": own,
    }


def _published(registry: Registry) -> Mapping[str, frozenset[str]]:
    """Return the CPU models that are published, with the features that they have."""
    return {
        profile["name"]: frozenset(registry.get(f"/profiles/{profile['name']}", resolved=True)["values"][CPU_MODEL])
        for profile in registry.items("/profiles", model=CPU_MODEL)
    }


def _variable_set(cpus: CpuModels) -> dict[str, Any]:
    """Return what a QEMU release says of CPUs: it can give any feature; what its host cannot is the host's `restrict`.

    A CPU without a profile is all that the host has, as -cpu host is.
    """
    feature = {"type": "bool", "init_value": True, "off_value": False}
    return {
        "variables": dict.fromkeys(sorted(cpus.features), feature),
        "blocks_migration": _BLOCKS if "invtsc" in cpus.features else [],
    }


def _profiles(cpus: CpuModels, published: Mapping[str, frozenset[str]]) -> Iterator[str | dict[str, Any]]:
    """Iterate over the CPU models as profiles, each version extending the one before."""
    before: dict[str, str] = {}
    for name in sorted(cpus.models, key=lambda each: _version(each) or (each, 0)):
        family, _ = _version(name) or (name, 0)
        parent = before.get(family)
        before[family] = name
        if profile_name(name) in published:
            yield profile_name(name)
            continue
        inherited = _standing(parent, cpus, published) if parent else frozenset()
        gained = dict.fromkeys(sorted(cpus.models[name] - inherited), True)
        lost = dict.fromkeys(sorted(inherited - cpus.models[name]))
        extends = {"extends": profile_name(parent)} if parent else {}
        yield {"name": profile_name(name), **extends, "values": {CPU_MODEL: {**gained, **lost}}}


def _standing(name: str, cpus: CpuModels, published: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return published.get(profile_name(name), cpus.models[name])


def _finds(cpus: CpuModels, published: Mapping[str, frozenset[str]]) -> Iterator[Find]:
    for name, features in cpus.models.items():
        standing = published.get(profile_name(name), features)
        for feature in sorted(standing ^ features):
            yield Find(profile_name(name), feature, feature in standing)


def restriction(cpus: CpuModels, variables: Sequence[str]) -> dict[str, list[bool]]:
    """Return what a host cannot give a guest, of the features that the registry knows, as its `restrict`."""
    return {name: [False] for name in sorted(variables) if not cpus.features.get(name, False)}
