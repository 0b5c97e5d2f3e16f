"""Publishes a QEMU release: reads what the registry has, sends the document, and sums up the result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.cpu import CpuModels, cpu_document
from app.cli.qemu.errata import errata_of, post_errata, vendorless
from app.cli.qemu.live import Progress
from app.cli.qemu.properties import Value
from app.cli.qemu.release import VENDOR, Difference, Known, QemuRelease, qualified
from app.domain.values.name import numeric, vendor_of
from app.domain.values.state import State
from app.hypervisor.facts import missing_modules
from app.hypervisor.naming import product_of, profile_of, release_name


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a QEMU: the registry's answer, and what is published differently from this QEMU.

    left_out: device types that were not published, and why. not_asked: the device models for which
    nobody stated whether they can be migrated. renamed: device types with a name that the registry cannot have, and
    what they are called there. errata: of migrations that are known to fail, published with it. not_started: device
    types that started on no board, and why: of them only the defaults are known. deprecated: the profiles of machine
    types that QEMU says are deprecated. modules: those that this QEMU lacks, with their device types. is_live: whether
    the QEMU itself was asked.
    """

    release: str
    models: int
    variables: int
    profiles: int
    added: Mapping[str, int]
    not_accepted: Sequence[Mapping[str, Any]]
    overridden: Sequence[Mapping[str, Any]]
    differences: Sequence[Difference]
    answer: Mapping[str, Any]
    left_out: Mapping[str, str]
    not_asked: Sequence[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    errata: Sequence[Mapping[str, Any]] = ()
    not_started: Mapping[str, str] = field(default_factory=dict)
    deprecated: Sequence[str] = ()
    modules: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_live: bool = False


def default_name(capture: Capture, vendor: str = VENDOR) -> str:
    """Return the default release name of a capture."""
    return release_name(vendor, product_of(capture.target, capture.build), capture.version, capture.package)


def publish(  # noqa: PLR0913 (each is an option of the command)
    registry: Registry,
    capture: Capture,
    release: str,
    progress: Progress,
    *,
    dry_run: bool = False,
    override: str | None = None,
    cpus: CpuModels | None = None,
) -> Published:
    """Publish a capture as a release; override: the reason to publish it if it breaks earlier ones.

    cpus: the CPU models of the same QEMU, published with it. progress: called with (description, completed, total).
    Raises RegistryError.
    """
    vendor = vendor_of(release)
    if vendor == VENDOR and registry.find(f"/vendors/{VENDOR}") is None and not dry_run:
        registry.put(f"/vendors/{VENDOR}", {"name": "QEMU", "url": "https://www.qemu.org"})
    known = _read_known(registry, capture, release, progress)
    qemu = QemuRelease(capture, known, vendor)
    document = qemu.document()
    left_out = {**capture.skipped, **qemu.left_out}
    if cpus is not None:
        cpu_part = cpu_document(registry, cpus, release)
        document["models"].update(cpu_part["models"])
        document["profiles"] = [*document.get("profiles", ()), *cpu_part["profiles"]]
        document["own_values"].update(cpu_part["own_values"])
        document["aliases"] = {**document["aliases"], **cpu_part["aliases"]}
    progress("publishing", 0, 1)
    answer = registry.publish_release(release, document, dry_run=dry_run, override=override)
    lineages = {device: qemu.lineage(device) for device in qemu.migrated}
    if cpus is not None:
        lineages[vendorless(cpus.device_model)] = [vendorless(cpus.device_model)]
    errata = errata_of(release, lineages)
    if not dry_run:
        post_errata(registry, errata)
        _deprecate(registry, qemu.deprecated)
    progress("publishing", 1, 1)
    return Published(
        release,
        len(qemu.devices),
        sum(map(len, qemu.variables.values())),
        len(document.get("profiles", ())),
        answer["added"],
        answer["not_accepted"],
        answer["overridden"],
        qemu.differences,
        answer,
        left_out,
        qemu.not_asked,
        qemu.renamed,
        errata,
        capture.not_started,
        qemu.deprecated,
        missing_modules(capture.types, capture.target) if capture.asked else {},
        bool(capture.asked),
    )


def _deprecate(registry: Registry, profiles: Sequence[str]) -> None:
    """Deprecate the profiles of machine types that this QEMU deprecates."""
    for name in profiles:
        if registry.get(f"/profiles/{name}")["state"] == State.PUBLISHED:
            registry.patch(f"/profiles/{name}", {"state": State.DEPRECATED})


def _read_known(registry: Registry, capture: Capture, release: str, progress: Progress) -> Known:
    implementation, _, version = release.partition("@")
    versions = {release["version"] for release in registry.items("/releases", implementation=implementation)}
    lower = [other for other in versions if numeric(other) < numeric(version)]
    earlier_version = max(lower, key=numeric) if lower else ""
    earlier = _read_sets(registry, implementation, earlier_version) if lower else {}
    own = _read_sets(registry, implementation, version) if version in versions else {}
    published_models = {model["model"] for model in registry.items("/models", vendor=VENDOR)}
    models = [name for device in capture.device_types if (name := qualified(device)) in published_models]
    statements = {}
    for index, name in enumerate(models):
        progress("reading models", index, len(models))
        statements[name] = registry.get(f"/models/{name}")["variables"]
    vendors = dict.fromkeys((VENDOR, vendor_of(release)))
    published_profiles = {
        profile["name"] for vendor in vendors for profile in registry.items("/profiles", vendor=vendor)
    }
    machines = [
        name
        for machine in capture.machines
        for vendor in vendors
        if (name := profile_of(capture.target, machine.name, vendor)) in published_profiles
    ]
    profiles = {}
    for index, name in enumerate(machines):
        progress("reading profiles", index, len(machines))
        profiles[name] = registry.get(f"/profiles/{name}", resolved=True)["values"]
    return Known(statements, earlier, own, profiles, earlier_version)


def _read_sets(registry: Registry, implementation: str, version: str) -> Mapping[str, Mapping[str, Any]]:
    variable_sets = registry.items("/variable-sets", implementation=implementation, version=version)
    return {variable_set["model"]: variable_set for variable_set in variable_sets}


def grouped(differences: Sequence[Difference]) -> Sequence[tuple[str, str, str, int, int]]:
    """Return groups of equal differences: variable, published and captured value, numbers of device types and cases."""
    counts: Counter[tuple[str, str, str]] = Counter()
    devices: dict[tuple[str, str, str], set[str]] = {}
    for difference in differences:
        key = (difference.variable, _text(difference.published), _text(difference.captured))
        counts[key] += 1
        devices.setdefault(key, set()).add(difference.device)
    return [
        (*key, len(devices[key]), count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _text(value: Value | None) -> str:
    if value is None:
        return "—"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
