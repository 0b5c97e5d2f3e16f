"""Questions about whole VMs, put together from libvirt domains: what is asked, and what is left out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.domain import Domain
from app.hypervisor.virtual_machine import CPU


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. unasked: what of the VMs it leaves out, with the reason; None: it is not about whole VMs.

    blocked: by VM, why QEMU does not migrate it now. negotiated: by VM and device, the features of virtio that its
    guest uses. is_ordered: it is about what was ordered, not about what QEMU has made of it.
    """

    document: Any
    unasked: Mapping[str, str] | None = None
    blocked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    negotiated: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    is_ordered: bool = False


def domain_question_of(domains: Sequence[Domain], sources: Sequence[str]) -> Asked:
    """Return the question about domains, empty if nothing can be asked; sources: where they come from."""
    counts = Counter(domain.name for domain in domains)
    vms = []
    unasked: dict[str, str] = {}
    for path, domain in zip(sources, domains, strict=True):
        vm = domain.name if counts[domain.name] == 1 else f"{domain.name} ({path})"
        unasked |= {name if len(domains) == 1 else f"{vm}: {name}": why for name, why in domain.unasked.items()}
        if domain.devices:
            default = [{**device, "is_default": True} for device in domain.default_cpu]
            vms.append({"id": vm, "devices": [*domain.devices, *default]})
        else:
            unasked[vm] = "the VM has no device that can be checked"
    return Asked({"vms": vms}, unasked, is_ordered=True)


def without_cpus(
    asked: Asked, has_cpu_models: Callable[[str | None], bool], at_destinations: Callable[[], Sequence[str]]
) -> tuple[Mapping[str, str], Sequence[str]]:
    """Take CPUs out of a question where the registry has no CPU models to compare.

    Return those that the VMs state, by name, each with the reason, and a sentence about each that is QEMU's default:
    any x86-64 host has its features, so that nothing is left to ask a host. has_cpu_models: whether the registry has
    the CPU models of a release, None: of any. at_destinations: the releases of QEMU that the destinations run.
    """
    document = asked.document
    unasked: dict[str, str] = {}
    defaults: list[str] = []
    has_cpu_models = cache(has_cpu_models)
    destinations = cache(at_destinations)
    cpus = [
        (vm, device)
        for vm in document["vms"]
        for device in vm["devices"]
        if device["id"] == CPU and device["model"] == CPU_MODEL
    ]
    for vm, device in cpus:
        is_default = device.pop("is_default", False)
        source = device.get("release")
        releases = [source, *destinations()] if has_cpu_models(source) else [source]
        lacking = ", ".join(release or "any release" for release in releases if not has_cpu_models(release))
        why = f"the registry has no CPU models of {lacking}"
        if is_default and source is None:
            why = "the source release is not named"
        elif not lacking:
            continue
        vm["devices"].remove(device)
        if is_default:
            defaults.append(f"{vm['id']}: the XML names no CPU, so it is QEMU's default, which was not compared: {why}")
        else:
            name = CPU if len(document["vms"]) == 1 else f"{vm['id']}: {CPU}"
            cure = "add them with profile-registry import cpu-models"
            unasked[name] = f"{why}; {cure}, or leave the CPU out with --without {CPU}"
    document["vms"] = [vm for vm in document["vms"] if vm["devices"]]
    return unasked, defaults
