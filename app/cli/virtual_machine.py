"""What a libvirt domain states outside <devices>: its CPU, firmware, features and clock, for `check --domain`.

Unknown never means compatible: what is not asked here is named. What the manager of a VM passes on with the XML, and no
host decides (memory, topology, boot order, power management), is left to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from app.domain.fleet.rendering import CPU_MODEL
from app.domain.values.name import vendor_of

CPU = "cpu"
_FIRMWARE = "firmware"
_QEMU = vendor_of(CPU_MODEL)
_X86 = frozenset({"x86_64", "i686", ""})
# Elements without an effect on whether the VM can move: names, sizes and limits that go with the XML.
_PASSED_ON = frozenset(
    {
        "name", "uuid", "hwuuid", "title", "description", "metadata", "memory", "currentMemory", "maxMemory",
        "memoryBacking", "memtune", "numatune", "blkiotune", "cputune", "vcpu", "vcpus", "iothreads", "iothreadids",
        "defaultiothread", "resource", "sysinfo", "on_poweroff", "on_reboot", "on_crash", "on_lockfailure", "pm",
        "perf", "idmap", "devices", "seclabel", "keywrap", "bootloader", "bootloader_args", "throttlegroups",
        "fibrechannel", "launchSecurity",
    }
)  # fmt: skip
# Features of the board that the machine type and the XML decide together, on any host alike.
_BOARD_FEATURES = frozenset({"acpi", "apic", "pae", "hap", "privnet", "smm", "vmport", "ioapic", "ps2", "tseg", "pmu"})
# libvirt's names of CPU features that QEMU has under another one (qemu_capabilities.c, CPUFeatureTranslationTable).
_FEATURES = {
    "cmp_legacy": "cmp-legacy",
    "ds_cpl": "ds-cpl",
    "fxsr_opt": "fxsr-opt",
    "kvm_pv_eoi": "kvm-pv-eoi",
    "kvm_pv_unhalt": "kvm-pv-unhalt",
    "lahf_lm": "lahf-lm",
    "nodeid_msr": "nodeid-msr",
    "pclmuldq": "pclmulqdq",
    "perfctr_core": "perfctr-core",
    "perfctr_nb": "perfctr-nb",
    "tsc_adjust": "tsc-adjust",
    "vmx-invvpid-single-context": "vmx-invept-single-context",
}
_POLICIES = {"require": "on", "force": "on", "disable": "off", "forbid": "off"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the VM has beside its <devices>: devices to ask about, and what is not asked, with the reason."""

    devices: list[dict[str, Any]] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)


def parts_of(root: Element) -> Parts:
    """Return what a domain states outside <devices>."""
    parts = Parts()
    parts.unasked.update(_firmware(root))
    parts.unasked.update(_features(root))
    parts.unasked.update(_clock(root))
    parts.unasked.update(_unknown_elements(root))
    if (generation := root.find("genid")) is not None:
        guid = (generation.text or "").strip()
        parts.devices.append(_device("genid", "vmgenid", {"guid": guid} if guid else {}))
    if (core := root.find("features/vmcoreinfo")) is not None and core.get("state") != "off":
        parts.devices.append(_device("vmcoreinfo", "vmcoreinfo", {}))
    _add_cpu(root, parts)
    return parts


def _device(device_id: str, model: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {"id": device_id, "model": f"{_QEMU}/{model}", "values": dict(values)}


def backends_of(element: Element, device_id: str) -> Iterator[tuple[str, str]]:
    """Iterate over what of a device lies in a program or driver of the host: its id in the question, and why.

    It has releases and a saved state of its own, which the emulator's device says nothing of.
    """
    kind = element.tag
    backend = {
        "tpm": _type_of(element.find("backend")) in {"emulator", "external"} and "the TPM's state is written by swtpm",
        "interface": {
            "vdpa": "a vDPA device of the host does the work",
            "vhostuser": "a vhost-user server on the host does the work",
        }.get(_type_of(element)),
        "disk": {"vhostvdpa": "a vDPA device of the host does the work"}.get(_type_of(element)),
        "filesystem": _type_of(element.find("driver")) == "virtiofs" and "virtiofsd on the host does the work",
    }.get(kind)
    if kind == "tpm" and _type_of(element.find("backend")) == "passthrough":
        backend = "the TPM of the host does not move"
    if backend:
        name = f"{device_id}-backend"
        yield name, f"{backend}, and has releases of its own; {_name_it_or_leave_it_out(name)}"


def _name_it_or_leave_it_out(name: str) -> str:
    return f"name its model with --device {name}=<device model>, or leave it out with --without {name}"


def _type_of(element: Element | None) -> str:
    return (element.get("type") or "") if element is not None else ""


def _firmware(root: Element) -> Iterator[tuple[str, str]]:
    system = root.find("os")
    if system is None:
        return
    if system.get("firmware") or system.find("loader") is not None:
        yield _FIRMWARE, f"the image of the firmware is a file of the host; {_name_it_or_leave_it_out(_FIRMWARE)}"


def _features(root: Element) -> Iterator[tuple[str, str]]:
    for feature in root.findall("features/*"):
        name = f"features/{feature.tag}"
        if feature.tag in _BOARD_FEATURES or feature.tag == "vmcoreinfo" or feature.get("state") == "off":
            continue
        if list(feature) and all(child.get("state") == "off" for child in feature):
            continue
        needs = ", ".join(child.tag for child in feature if child.get("state") != "off")
        what = f"{feature.tag} settings ({needs})" if needs else f"the setting {feature.tag}"
        yield name, f"{what} are no variables here, and need a host that has them; leave them out with --without {name}"


def _clock(root: Element) -> Iterator[tuple[str, str]]:
    for timer in root.findall("clock/timer"):
        if timer.get("name") == "hypervclock" and timer.get("present") != "no":
            name = "clock/hypervclock"
            yield name, f"a Hyper-V setting that needs a host that has it; leave it out with --without {name}"


def _unknown_elements(root: Element) -> Iterator[tuple[str, str]]:
    for element in root:
        is_plain = not element.tag.startswith("{")
        if is_plain and element.tag not in _PASSED_ON | {"os", "features", "clock", "cpu", "genid"}:
            yield (
                element.tag,
                f"unknown element; if no host decides what it means, leave it out with --without {element.tag}",
            )


def _add_cpu(root: Element, parts: Parts) -> None:
    """Add the CPU: its model is a profile of the CPU device, its features are values."""
    cpu = root.find("cpu")
    if cpu is None:
        return
    mode, name = cpu.get("mode") or "custom", (cpu.findtext("model") or "").strip()
    features = cpu.findall("feature")
    if not name and mode == "custom" and not features:
        return
    guest = root.find("os/type")
    if mode != "custom" or not name or (guest is not None and (guest.get("arch") or "") not in _X86):
        described = name or mode
        parts.unasked[CPU] = (
            f"the CPU ({described}) is what its host has; check the XML of the running VM (virsh dumpxml), or leave it "
            f"out with --without {CPU}"
        )
        return
    values = {}
    for feature in features:
        feature_name = _FEATURES.get(feature.get("name") or "", feature.get("name") or "")
        policy = feature.get("policy") or "require"
        if policy in _POLICIES:
            values[feature_name] = _POLICIES[policy]
        else:
            parts.unasked[f"{CPU}/{feature_name}"] = (
                f"{policy}: the host decides; give it with --value {CPU}/{feature_name}=on or off, and leave it out "
                f"with --without {CPU}/{feature_name}"
            )
    frequency = next((timer.get("frequency") for timer in root.findall("clock/timer[@name='tsc']")), None)
    if frequency:
        values["tsc-frequency"] = frequency
    for child in cpu:
        if child.tag in {"cache", "maxphysaddr"} and child.get("mode") == "passthrough":
            parts.unasked[f"{CPU}/{child.tag}"] = (
                f"the host decides it (passthrough); leave it out with --without {CPU}/{child.tag}"
            )
    parts.devices.append({"id": CPU, "model": CPU_MODEL, "values": values, "profile": f"{CPU_MODEL}/{name}"})
