"""What a libvirt domain states outside <devices>: its CPU, firmware, features and clock, for `check --domain`.

Unknown never means compatible: what is not asked here is named. What the manager of a VM passes on with the XML, and no
host decides (memory, topology, boot order, power management), is left to it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from app.domain.fleet.rendering import CPU_MODEL
from app.domain.values.name import vendor_of

CPU = "cpu"
_FIRMWARE = "firmware"
_QEMU = vendor_of(CPU_MODEL)
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
_BOARD_FEATURES = frozenset({"acpi", "apic", "pae", "hap", "privnet", "smm", "vmport", "ioapic", "ps2", "tseg"})
# What <os> says of the board, of the order in which devices are tried, and of containers.
_PASSED_ON_OF_OS = frozenset(
    {"type", "boot", "bootmenu", "bios", "cmdline", "init", "initarg", "initenv", "initdir", "inituser", "initgroup"}
)
# Timers of the board; what kvmclock, tsc and hypervclock mean is the CPU's or the host's.
_BOARD_TIMERS = frozenset({"hpet", "pit", "rtc", "platform", "armvtimer"})
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
    "vmx-invvpid-single-context-noglobals": "vmx-invept-single-context-noglobals",
}
# Features that libvirt keeps in the XML and never gives to QEMU (virQEMUCapsCPUFilterFeatures).
_NEVER_GIVEN = frozenset({"cmt", "mbm_total", "mbm_local", "osxsave", "ospke"})
# The names of the emulators that run guests of an architecture, where they differ.
_EMULATORS = {"i686": ("i386", "x86_64"), "armv7l": ("arm", "aarch64"), "ppc64le": ("ppc64",)}
# QEMU's CPU where the XML names none, by the architecture of the guest.
_DEFAULT_CPUS = {"x86_64": "qemu64", "i686": "qemu32", "": "qemu64"}
_POLICIES = {"require": "on", "force": "on", "disable": "off", "forbid": "off"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the VM has outside its <devices>: devices to ask about, and what is not asked, with the reason.

    default: the CPU that QEMU makes where the XML states nothing of it, if it is that.
    """

    devices: list[dict[str, Any]] = field(default_factory=list)
    unasked: dict[str, str] = field(default_factory=dict)
    default: list[dict[str, Any]] = field(default_factory=list)


def parts_of(root: Element) -> Parts:
    """Return what a domain states outside <devices>."""
    parts = Parts()
    parts.unasked.update(_system(root))
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


def other_architecture(root: Element, release: str | None) -> Iterator[tuple[str, str]]:
    """Yield the architecture of a domain if the source release emulates a different one, by its name."""
    guest = root.find("os/type")
    architecture = (guest.get("arch") or "") if guest is not None else ""
    emulated = re.search(r"/qemu-system-([^@/]+)@", release or "")
    if architecture and emulated and emulated[1] not in _EMULATORS.get(architecture, (architecture,)):
        yield "os/type", f"the domain is of {architecture}, but {release} emulates {emulated[1]}: name its own release"


def _device(device_id: str, model: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {"id": device_id, "model": f"{_QEMU}/{model}", "values": dict(values)}


def backends_of(element: Element, device_id: str) -> Iterator[tuple[str, str]]:
    """Iterate over what of a device lies in a program or driver of the host: its id in the question, and why.

    It has releases and a saved state of its own, which the emulator's device says nothing of.
    """
    kind, type_of = element.tag, _type_of(element)
    does_the_work = {
        "tpm": _type_of(element.find("backend")) in {"emulator", "external"} and "the TPM's state is written by swtpm",
        "interface": {
            "vdpa": "a vDPA device of the host does the work",
            "vhostuser": "a vhost-user server on the host does the work",
        }.get(type_of)
        or (_type_of(element.find("backend")) == "passt" and "passt on the host does the work"),
        "disk": type_of == "vhostvdpa" and "a vDPA device of the host does the work",
        "filesystem": _type_of(element.find("driver")) == "virtiofs" and "virtiofsd on the host does the work",
    }.get(kind)
    blocks = {
        "tpm": _type_of(element.find("backend")) == "passthrough" and "the TPM of the host does not move",
        "disk": _type_of(element.find("driver")) == "vdi"
        and "QEMU does not migrate a VM with an image in the format vdi",
        "filesystem": "QEMU does not migrate a VM while the guest has the share mounted",
        "channel": type_of == "qemu-vdagent" and "QEMU does not migrate a VM with its own clipboard agent",
    }.get(kind)
    name = f"{device_id}-backend"
    if does_the_work:
        own = f"{does_the_work}, and has releases of its own"
        yield name, f"{own}; {name_it_or_leave_it_out(name)} (and its release with --source {name}=<release>)"
    elif blocks:
        yield name, f"{blocks}; if that is no hindrance, leave it out with --without {name}"


def passed_through(device_id: str) -> Iterator[tuple[str, str]]:
    """Yield what lies behind a device that QEMU passes through: its id in the question, and why it has to be there."""
    name = f"{device_id}-device"
    yield name, f"the device that is passed through has releases of its own; {name_it_or_leave_it_out(name)}"


def name_it_or_leave_it_out(name: str) -> str:
    """Return what a user can do about something that is not asked."""
    return f"name its model with --device {name}=<device model>, or leave it out with --without {name}"


def _type_of(element: Element | None) -> str:
    return (element.get("type") or "") if element is not None else ""


def _system(root: Element) -> Iterator[tuple[str, str]]:
    """Iterate over what <os> takes from files of the host."""
    system = root.find("os")
    if system is None:
        return
    if system.get("firmware") or system.find("loader") is not None or system.find("nvram") is not None:
        yield _FIRMWARE, f"the image of the firmware is a file of the host; {name_it_or_leave_it_out(_FIRMWARE)}"
    for element in system:
        if element.tag in _PASSED_ON_OF_OS | {"loader", "nvram", "firmware"}:
            continue
        if element.tag == "smbios" and element.get("mode") in {"emulate", "sysinfo"}:
            continue
        name = f"os/{element.tag}"
        yield name, f"it is what a file or the firmware of the host says; leave it out with --without {name}"


def _features(root: Element) -> Iterator[tuple[str, str]]:
    for feature in root.findall("features/*"):
        name = f"features/{feature.tag}"
        if feature.tag in _BOARD_FEATURES | {"vmcoreinfo", "pvspinlock"} or feature.get("state") == "off":
            continue
        if list(feature) and all(child.get("state") == "off" for child in feature):
            continue
        needs = ", ".join(child.tag for child in feature if child.get("state") != "off")
        what = f"settings of {feature.tag} ({needs})" if needs else f"setting {feature.tag}"
        yield name, f"not compared: the {what}; the other host has to have it; leave it out with --without {name}"


def _clock(root: Element) -> Iterator[tuple[str, str]]:
    for timer in root.findall("clock/timer"):
        name = f"clock/{timer.get('name')}"
        if timer.get("name") == "hypervclock" and timer.get("present") != "no":
            yield name, f"a Hyper-V setting that needs a host that has it; leave it out with --without {name}"
        elif timer.get("name") not in _BOARD_TIMERS | {"hypervclock", "kvmclock", "tsc"}:
            yield name, f"an unknown timer; if no host decides what it means, leave it out with --without {name}"


def _unknown_elements(root: Element) -> Iterator[tuple[str, str]]:
    for element in root:
        is_plain = not element.tag.startswith("{")
        if is_plain and element.tag not in _PASSED_ON | {"os", "features", "clock", "cpu", "genid"}:
            yield (
                element.tag,
                f"unknown element; if no host decides what it means, leave it out with --without {element.tag}",
            )


def _add_cpu(root: Element, parts: Parts) -> None:
    """Add the CPU: its model is a profile of the CPU device, its features are values.

    Where the XML names no model, QEMU makes its default, of features that any x86-64 host has.
    """
    cpu, guest = root.find("cpu"), root.find("os/type")
    architecture = (guest.get("arch") or "") if guest is not None else ""
    mode = (cpu.get("mode") or "custom") if cpu is not None else "custom"
    if cpu is not None and mode == "custom" and cpu.get("match") == "minimum":
        # The guest has every further feature of its host.
        mode = "match minimum"
    if architecture not in _DEFAULT_CPUS:
        parts.unasked[CPU] = f"only CPUs of x86 are known, not of {architecture}; leave it out with --without {CPU}"
        return
    if mode != "custom":
        parts.unasked[CPU] = (
            f"the CPU ({mode}) is what its host has; check the XML of the running VM (virsh dumpxml), or leave it "
            f"out with --without {CPU}"
        )
        return
    name = (cpu.findtext("model") or "").strip() if cpu is not None else ""
    parts.unasked.update({} if cpu is None else _unasked_of_cpu(cpu))
    values = _switches_of_cpu(root)
    for feature in [] if cpu is None else cpu.findall("feature"):
        feature_name = _FEATURES.get(feature.get("name") or "", feature.get("name") or "")
        policy = feature.get("policy") or "require"
        if feature_name in _NEVER_GIVEN:
            continue
        if policy in _POLICIES:
            values[feature_name] = _POLICIES[policy]
        else:
            parts.unasked[f"{CPU}/{feature_name}"] = (
                f"{policy}: the host decides; give it with --value {CPU}/{feature_name}=on or off, and leave it out "
                f"with --without {CPU}/{feature_name}"
            )
    is_stated = name or values or any(part.startswith(f"{CPU}/") for part in parts.unasked)
    profile = f"{CPU_MODEL}/{name or _DEFAULT_CPUS[architecture]}"
    device = {"id": CPU, "model": CPU_MODEL, "values": values, "profile": profile}
    (parts.devices if is_stated else parts.default).append(device)


def _switches_of_cpu(root: Element) -> dict[str, str]:
    """Return the values of the CPU that a domain states elsewhere, as libvirt gives them to QEMU."""
    values = {}
    for path, attribute, feature in (
        ("clock/timer[@name='kvmclock']", "present", "kvmclock"),
        ("features/apic", "eoi", "kvm-pv-eoi"),
        ("features/pvspinlock", "state", "kvm-pv-unhalt"),
    ):
        if (element := root.find(path)) is not None and (stated := element.get(attribute)):
            values[feature] = "off" if stated in {"no", "off"} else "on"
    frequency = next((timer.get("frequency") for timer in root.findall("clock/timer[@name='tsc']")), None)
    return {**values, **({"tsc-frequency": frequency} if frequency else {})}


def _unasked_of_cpu(cpu: Element) -> Iterator[tuple[str, str]]:
    """Iterate over what <cpu> states other than its model and features: properties that are not variables."""
    model = cpu.find("model")
    if model is not None and model.get("vendor_id"):
        name = f"{CPU}/vendor_id"
        yield name, f"the vendor that the CPU names is no variable here; leave it out with --without {name}"
    for child in cpu:
        if child.tag not in {"model", "feature", "topology", "numa"}:
            name = f"{CPU}/{child.tag}"
            decides = "the host decides it (passthrough)" if child.get("mode") == "passthrough" else "it is no variable"
            yield name, f"{decides}; leave it out with --without {name}"
