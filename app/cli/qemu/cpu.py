"""CPU models: reads them from a QEMU binary, as profiles of one device model with a bool variable per feature."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError, QMPClient, QMPError

from app.cli.client import Registry
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.errata import errata_of, post_errata, vendorless
from app.cli.qemu.live import Progress
from app.cli.qemu.process import start_qemu
from app.domain.fleet.rendering import CPU_MODEL
from app.domain.values.name import vendor_of
from app.hypervisor.naming import component, cpu_of

# The targets whose CPU models have versions, and differ in nothing but features.
VERSIONED = frozenset({"x86_64", "i386"})
_NAME = "model"
# The accelerator determines the features that a host can give a guest, not those of the CPU models.
_EMULATION = ("-accel", "tcg")
_ACCELERATORS = ("-accel", "kvm", *_EMULATION)
# QEMU migrates an invariant TSC only if its frequency is given; below 1 kHz it counts as none (kvm_arch_init_vcpu).
_INVARIANT, _FREQUENCY = "invtsc", "tsc-frequency"
_UNSET_HZ = "0-999"
_BLOCKS = [
    {
        "when": {_INVARIANT: [True], _FREQUENCY: [_UNSET_HZ]},
        "description": "an invariant TSC needs the same tsc-frequency elsewhere; none is given",
    }
]
_FREQUENCY_VARIABLE = {
    "type": "int",
    "init_value": 0,
    "off_value": 0,
    "allowed_values": [f"0-{2**63 - 1}"],
    "description": "of the time-stamp counter in Hz; 0: that of the host",
}


@dataclass(frozen=True, slots=True)
class CpuModels:
    """The CPU features and CPU models of a QEMU binary.

    features: feature → whether this host can give it to a guest: with KVM (is_kvm) what the CPU has, without KVM what
    QEMU emulates. models: name → features, of the models with the same features under every machine type (on x86, their
    names end in a version). aliases: other names of these models, as they are meant under the newest machine type.
    package: of the distribution, as QEMU states it.
    """

    version: str
    target: str
    is_kvm: bool
    features: Mapping[str, bool]
    models: Mapping[str, frozenset[str]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    package: str = ""

    @property
    def device_model(self) -> str:
        """The device model that the CPU models are profiles of."""
        return cpu_of(self.target, is_kvm=self.is_kvm)

    @property
    def is_versioned(self) -> bool:
        """Whether the models are told by their features alone: elsewhere a name stands for more than QEMU tells."""
        return self.target in VERSIONED

    def profile(self, name: str) -> str:
        """Return the name of a CPU model's profile."""
        return profile_name(name, self.device_model)


@dataclass(frozen=True, slots=True)
class Difference:
    """A feature in which a published CPU model differs from this QEMU's; what is published does not change."""

    profile: str
    feature: str
    published: bool


def take_cpu_models(binary: Path, progress: Progress, *, host_only: bool = False, emulated: bool = False) -> CpuModels:
    """Start a QEMU binary and return its CPU models. Raises CaptureError.

    host_only: only the features. emulated: those that QEMU emulates, also where KVM could be used.
    """
    try:
        return asyncio.run(_take(binary, progress, host_only=host_only, emulated=emulated))
    except (QMPError, OSError, TimeoutError) as error:
        message = f"{binary} cannot be queried: {error}"
        raise CaptureError(message) from error


async def _take(binary: Path, progress: Progress, *, host_only: bool, emulated: bool) -> CpuModels:
    accelerators = _EMULATION if emulated else _ACCELERATORS
    async with start_qemu(binary, "-M", "none", *accelerators) as qmp:
        version: Any = await qmp.execute("query-version")
        target: Any = await qmp.execute("query-target")
        kvm: Any = await qmp.execute("query-kvm")
        try:
            features = await _features(qmp, "max")
            definitions: Any = [] if host_only else await qmp.execute("query-cpu-definitions")
        except ExecuteError as error:
            message = f"{binary} does not report CPU models: {error}"
            raise CaptureError(message) from error
        is_same = _is_versioned if target["arch"] in VERSIONED else _is_own
        names = sorted(definition["name"] for definition in definitions if is_same(definition))
        models = {}
        for index, name in enumerate(names):
            progress("reading CPU models", index, len(names))
            with suppress(ExecuteError):
                # Some cannot be expanded, such as those that this accelerator cannot give.
                own = await _features(qmp, name)
                models[name] = frozenset(feature for feature, is_on in own.items() if is_on)
                features = {**dict.fromkeys(own, False), **features}
        machines: Any = [] if host_only else await qmp.execute("query-machines")
    number = ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro"))
    board = next((machine["name"] for machine in machines if machine.get("alias")), None)
    aliases = {**_aliases(definitions), **(await _aliases_on(binary, board) if board else {})}
    known = {alias: name for alias, name in aliases.items() if name in models and alias not in models}
    package = str(version.get("package", ""))
    return CpuModels(number, target["arch"], kvm["enabled"], features, models, known, package)


def _aliases(definitions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {definition["name"]: definition["alias-of"] for definition in definitions if "alias-of" in definition}


async def _aliases_on(binary: Path, machine: str) -> dict[str, str]:
    """Return the aliases on a board: a name without a version means another version on each."""
    with suppress(QMPError):
        async with start_qemu(binary, "-M", machine, *_ACCELERATORS) as qmp:
            definitions: Any = await qmp.execute("query-cpu-definitions")
            return _aliases(definitions)
    return {}


async def _features(qmp: QMPClient, model: str) -> dict[str, bool]:
    """Return all features and whether a model has them: the bool properties of its expansion.

    It is the static one where QEMU has it (x86, s390x), otherwise the full one.
    """
    command, arguments = "query-cpu-model-expansion", {"model": {"name": model}}
    try:
        expansion: Any = await qmp.execute(command, {"type": "static", **arguments})
        if "-base" in expansion["model"].get("name", ""):
            # On s390x these are the features beyond another model's.
            expansion = await qmp.execute(command, {"type": "full", **arguments})
    except ExecuteError:
        expansion = await qmp.execute(command, {"type": "full", **arguments})
    return {name: value for name, value in expansion["model"].get("props", {}).items() if isinstance(value, bool)}


def _is_versioned(definition: Mapping[str, Any]) -> bool:
    """Return whether a CPU model is the same under every machine type; a name without a version is an alias."""
    return bool(definition.get("migration-safe")) and _version(definition["name"]) is not None


def _is_own(definition: Mapping[str, Any]) -> bool:
    """Return whether a CPU model of a target without versions is one of its own: no alias, not what the host has."""
    return (
        "alias-of" not in definition
        and definition.get("migration-safe", True)
        and definition["name"] not in {"host", "max", "qemu", "base"}
    )


def _version(name: str) -> tuple[str, int] | None:
    family, dash, number = name.rpartition("-v")
    return (family, int(number)) if dash and number.isdigit() else None


def profile_name(model: str, device_model: str = CPU_MODEL) -> str:
    """Return the name of a CPU model's profile."""
    return f"{device_model}/{component(model)}"


def publish_cpu_models(
    registry: Registry, cpus: CpuModels, release: str, *, dry_run: bool = False, override: str | None = None
) -> tuple[Mapping[str, Any], list[Difference]]:
    """Add the CPU device model to a release, with a profile for each CPU model; raises RegistryError.

    Returns the registry's answer, and the differences from the published CPU models.
    """
    published = _published(registry, cpus.device_model)
    is_published = _has_cpus(registry, release, cpus.device_model)
    document = _document(cpus, published, vendor_of(release), is_published=is_published)
    answer = registry.publish_release(release, document, dry_run=dry_run, override=override)
    if not dry_run:
        name = vendorless(cpus.device_model)
        post_errata(registry, errata_of(release, {name: [name]}))
    names = _names(cpus, published, vendor_of(release))
    return answer, list(_differences(cpus, published, names))


def cpu_document(registry: Registry, cpus: CpuModels, release: str) -> dict[str, Any]:
    """Return the CPU part of a release's document: models, profiles, own values and aliases."""
    is_published = _has_cpus(registry, release, cpus.device_model)
    published = _published(registry, cpus.device_model)
    return _document(cpus, published, vendor_of(release), is_published=is_published)


def not_migratable(cpus: CpuModels) -> Mapping[str, str]:
    """Return the CPU models that cannot be migrated as they are, and why: verdicts on their profiles refuse them."""
    reason = f"it has {_INVARIANT}, which needs a {_FREQUENCY} of its own"
    return {name: reason for name, features in cpus.models.items() if _INVARIANT in features}


def _has_cpus(registry: Registry, release: str, device_model: str) -> bool:
    """Return whether the CPU model of a release is published: it never changes."""
    published = registry.find(f"/releases/{release}")
    return published is not None and any(entry["model"] == device_model for entry in published["models"])


def _document(
    cpus: CpuModels, published: Mapping[str, frozenset[str]], vendor: str, *, is_published: bool
) -> dict[str, Any]:
    """Return the document of the CPU models; upstream's profiles are listed by name, others are the publisher's."""
    names = _names(cpus, published, vendor)
    own: dict[str, dict[str, dict[str, bool]]] = {}
    for difference in _differences(cpus, published, names):
        if difference.feature in cpus.features:
            models = own.setdefault(difference.profile, {cpus.device_model: {}})
            models[cpus.device_model][difference.feature] = not difference.published
    return {
        "models": {} if is_published else {cpus.device_model: _variable_set(cpus)},
        "profiles": list(_profiles(cpus, published, names)),
        "own_values": own,
        "aliases": {cpus.profile(alias): names[name] for alias, name in sorted(cpus.aliases.items())},
    }


def _names(cpus: CpuModels, published: Mapping[str, frozenset[str]], vendor: str) -> Mapping[str, str]:
    """Return the names of the CPU models' profiles: upstream's if upstream has it, else the publisher's."""
    names = {}
    for name in cpus.models:
        upstream = cpus.profile(name)
        is_upstreams = vendor == vendor_of(upstream) or upstream in published
        names[name] = upstream if is_upstreams else f"{vendor}/{vendorless(upstream)}"
    return names


def _published(registry: Registry, device_model: str) -> Mapping[str, frozenset[str]]:
    """Return the features of the published CPU models, by profile name."""
    return {
        profile["name"]: _features_of(
            registry.get(f"/profiles/{profile['name']}", resolved=True)["values"][device_model]
        )
        for profile in registry.items("/profiles", model=device_model)
    }


def _features_of(values: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, value in values.items() if isinstance(value, bool))


def _name_variable(cpus: CpuModels) -> dict[str, Any]:
    names = sorted(cpus.models) or [""]
    return {
        "type": "str",
        "init_value": names[0],
        "allowed_values": names,
        "description": "the CPU model: it stands for more than the features that QEMU tells",
    }


def _variable_set(cpus: CpuModels) -> dict[str, Any]:
    """Return the CPU variable set of a release: every feature is allowed; hosts `restrict` what they cannot provide.

    The init values are those of -cpu host: without a profile, all features are on.
    """
    feature = {"type": "bool", "init_value": True, "off_value": False}
    has_invariant = _INVARIANT in cpus.features
    return {
        "variables": {
            **dict.fromkeys(sorted(cpus.features), feature),
            **({} if cpus.is_versioned else {_NAME: _name_variable(cpus)}),
            **({_FREQUENCY: _FREQUENCY_VARIABLE} if has_invariant else {}),
        },
        "blocks_migration": _BLOCKS if has_invariant else [],
    }


def _profiles(
    cpus: CpuModels, published: Mapping[str, frozenset[str]], names: Mapping[str, str]
) -> Iterator[str | dict[str, Any]]:
    """Iterate over the profiles of the CPU models; each version extends the one before. names: of the profiles."""
    previous: dict[str, str] = {}
    for name in sorted(cpus.models, key=lambda model: _version(model) or (model, 0)):
        family, _ = _version(name) or (name, 0)
        parent = previous.get(family)
        previous[family] = name
        if names[name] in published:
            yield names[name]
            continue
        inherited = published.get(names[parent], cpus.models[parent]) if parent else frozenset()
        added = dict.fromkeys(sorted(cpus.models[name] - inherited), True)
        removed = dict.fromkeys(sorted(inherited - cpus.models[name]))
        own = {} if cpus.is_versioned else {_NAME: name}
        extends = {"extends": names[parent]} if parent else {}
        yield {"name": names[name], **extends, "values": {cpus.device_model: {**own, **added, **removed}}}


def _differences(
    cpus: CpuModels, published: Mapping[str, frozenset[str]], names: Mapping[str, str]
) -> Iterator[Difference]:
    for name, features in cpus.models.items():
        existing = published.get(names[name], features)
        for feature in sorted(existing ^ features):
            yield Difference(names[name], feature, feature in existing)


def features_of(model: Mapping[str, Any]) -> list[str]:
    """Return the CPU features among the variables of the registry's CPU model, as GET /models answers it."""
    return [name for name, variable in model["variables"].items() if variable["type"] == "bool"]


def restriction(cpus: CpuModels, variables: Sequence[str]) -> dict[str, list[bool]]:
    """Return the `restrict` of a host: the registry's features that it cannot give a guest."""
    return {name: [False] for name in sorted(variables) if not cpus.features.get(name, False)}
