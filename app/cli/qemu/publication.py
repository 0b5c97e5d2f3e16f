"""Publishing a QEMU: asks the registry what it has, sends the release, and sums up what came of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.cpu import CpuModels, cpu_document
from app.cli.qemu.properties import Value
from app.cli.qemu.release import VENDOR, Find, Known, QemuRelease, qualified
from app.domain.evolution import numeric

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Published:
    """What came of publishing a QEMU: what the registry answered, and what it has otherwise than this QEMU."""

    release: str
    models: int
    variables: int
    profiles: int
    added: Mapping[str, int]
    not_accepted: Sequence[Mapping[str, Any]]
    overridden: Sequence[Mapping[str, Any]]
    finds: Sequence[Find]


def default_name(capture: Capture) -> str:
    """Return the release that a capture is published as where no other is named."""
    return f"{VENDOR}/qemu-system-{capture.target}@{capture.version}"


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
    """Publish a capture as a release; override: why it may break earlier ones. Raises RegistryError.

    cpus: the CPU models of the same QEMU, to be published with it.

    progress is told (what is done, how much of it, of how much).
    """
    if registry.find(f"/vendors/{VENDOR}") is None and not dry_run:
        registry.put(f"/vendors/{VENDOR}", {"name": "QEMU", "url": "https://www.qemu.org"})
    known = _read_known(registry, capture, release, progress)
    qemu = QemuRelease(capture, known)
    document = qemu.document()
    if cpus is not None:
        of_cpus = cpu_document(registry, cpus)
        document["models"].update(of_cpus["models"])
        document["profiles"] += of_cpus["profiles"]
        document["own_values"].update(of_cpus["own_values"])
    progress("publishing", 0, 1)
    answer = registry.put(f"/releases/{release}", document, dry_run=dry_run, override=override)
    progress("publishing", 1, 1)
    return Published(
        release,
        len(capture.device_types),
        sum(map(len, qemu.variables.values())),
        len(document["profiles"]),
        answer["added"],
        answer["not_accepted"],
        answer["overridden"],
        qemu.finds,
    )


def _read_known(registry: Registry, capture: Capture, release: str, progress: Progress) -> Known:
    implementation, _, version = release.partition("@")
    releases = {each["version"] for each in registry.items("/releases", implementation=implementation)}
    lower = [each for each in releases if numeric(each) < numeric(version)]
    earlier = _read_sets(registry, implementation, max(lower, key=numeric)) if lower else {}
    own = _read_sets(registry, implementation, version) if version in releases else {}
    statements, profiles = {}, {}
    models = [qualified(device) for device in capture.device_types]
    for place, model in enumerate(models):
        progress("reading models", place, len(models))
        if (found := registry.find(f"/models/{model}")) is not None:
            statements[model] = found["variables"]
    for place, machine in enumerate(capture.machines):
        progress("reading profiles", place, len(capture.machines))
        name = qualified(machine.name)
        if (found := registry.find(f"/profiles/{name}", resolved=True)) is not None:
            profiles[name] = found["values"]
    return Known(statements, earlier, own, profiles)


def _read_sets(registry: Registry, implementation: str, version: str) -> Mapping[str, Mapping[str, Any]]:
    found = registry.items("/variable-sets", implementation=implementation, version=version)
    return {each["model"]: each for each in found}


def grouped(finds: Sequence[Find]) -> Sequence[tuple[str, str, str, int, int]]:
    """Return finds summed up: variable, what is published, what was found, in how many types and places."""
    counts: Counter[tuple[str, str, str]] = Counter()
    devices: dict[tuple[str, str, str], set[str]] = {}
    for find in finds:
        key = (find.variable, _shown(find.published), _shown(find.found))
        counts[key] += 1
        devices.setdefault(key, set()).add(find.device)
    return [
        (*key, len(devices[key]), count) for key, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    ]


def _shown(value: Value | None) -> str:
    if value is None:
        return "—"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
