"""What a running QEMU has that a question about its devices cannot say: it is named, for it is not compared."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.cli.qemu.monitor import Call, Monitor, Refused

# `info network` has a line for each back end below the device that it serves.
_BACK_END = re.compile(r"\\ (\S+): index=\d+,type=([\w-]+)")
_OF_OTHER_PROGRAMS = {
    "vhost-user": "a vhost-user server on the host does the work",
    "vhost-vdpa": "a vDPA device of the host does the work",
    "passt": "passt on the host does the work",
    "stream": "a program at a socket of the host, such as passt, does the work",
    "dgram": "a program at a socket of the host does the work",
    "socket": "a program at a socket of the host does the work",
}
_BLOCK_DRIVERS = {
    "virtio-blk-vhost-vdpa": "a vDPA device of the host does the work",
    "virtio-blk-vhost-user": "a vhost-user server on the host does the work",
}
_TPMS = {
    "emulator": "the TPM's state is written by swtpm, which has releases of its own",
    "passthrough": "the TPM of the host does not move",
}
_CPU_SUFFIX = re.compile(r"-(x86_64|i386)-cpu$")
_DEFAULT_FIRMWARE = re.compile(r"bios(-256k)?\.bin|")
# The number of spins that means never (hyperv-proto.h).
_NEVER_NOTIFY = 0xFFFFFFFF
_OF_CPU = {
    "host-phys-bits": "the host decides how many bits its addresses have",
    "host-cache-info": "the guest sees the host's caches",
    "pmu": "the guest sees the host's performance counters",
}
# CPU types that are what their host has.
_OF_HOST = re.compile(r"(host|max)-")
# Properties of a CPU that are no variables; a CPU model decides them unless somebody else did.
_OF_MODEL = ("vendor", "family", "model", "stepping", "model-id", "l3-cache", "kvm")
_DEFAULT_BITS = frozenset({0, 40})


def unread(monitor: Monitor, cpu: str | None) -> Mapping[str, str]:
    """Return what cannot be asked about, with the reason. cpu: the path of a CPU; raises MonitorError."""
    calls = {
        "network": Call("human-monitor-command", {"command-line": "info network"}),
        "tpms": Call("query-tpm"),
        "blocks": Call("query-named-block-nodes", {"flat": True}),
        **{
            name: Call("qom-get", {"path": "/machine", "property": name})
            for name in ("pflash0", "firmware", "kernel", "confidential-guest-support")
        },
    }
    answers = dict(zip(calls, monitor.ask(list(calls.values())), strict=True))
    given = {name: answer for name, answer in answers.items() if not isinstance(answer, Refused)}
    found = dict(_back_ends(given))
    if given.get("pflash0") or not _DEFAULT_FIRMWARE.fullmatch(given.get("firmware", "")):
        found["firmware"] = "the image of the firmware is a file of the host"
    if given.get("kernel"):
        found["kernel"] = "the kernel that it was started with is a file of the host"
    if given.get("confidential-guest-support"):
        found["launchSecurity"] = "whether a protected guest can move, its host's firmware decides"
    if cpu is not None:
        found.update(_of_cpu(monitor, cpu))
    return {name: f"{why}; leave it out with --without {name}" for name, why in found.items()}


def _back_ends(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, kind in _BACK_END.findall(given.get("network", "")):
        if kind in _OF_OTHER_PROGRAMS:
            yield f"{name}-backend", _OF_OTHER_PROGRAMS[kind]
    for tpm in given.get("tpms", ()):
        kind = tpm["options"]["type"]
        yield f"{tpm['id']}-backend", _TPMS.get(kind, f"a TPM of the kind {kind} is not known")
    for node in given.get("blocks", ()):
        if node["drv"] in _BLOCK_DRIVERS:
            yield f"{node['node-name']}-backend", _BLOCK_DRIVERS[node["drv"]]


def _of_cpu(monitor: Monitor, cpu: str) -> Iterator[tuple[str, str]]:
    (properties,) = monitor.ask([Call("qom-list", {"path": cpu})])
    names = [] if isinstance(properties, Refused) else [entry["name"] for entry in properties]
    asked = [name for name in names if name in _OF_CPU or name.startswith("hv-")]
    values = monitor.ask([Call("qom-get", {"path": cpu, "property": name}) for name in asked])
    stated = dict(zip(asked, values, strict=True))
    hyper_v = sorted(name for name, value in stated.items() if name.startswith("hv-") and value is True)
    if stated.get("hv-spinlocks", _NEVER_NOTIFY) != _NEVER_NOTIFY:
        hyper_v.append("hv-spinlocks")
    if hyper_v:
        yield "cpu/hyperv", f"not compared: the settings for Hyper-V guests ({', '.join(hyper_v)})"
    for name, why in _OF_CPU.items():
        if stated.get(name) is True:
            yield f"cpu/{name}", why
    yield from _of_cpu_model(monitor, cpu)


def _of_cpu_model(monitor: Monitor, cpu: str) -> Iterator[tuple[str, str]]:
    """Iterate over what differs from the CPU model that the CPU is of."""
    names = ("type", "phys-bits", *_OF_MODEL)
    answers = monitor.ask([Call("qom-get", {"path": cpu, "property": name}) for name in names])
    stated = {name: value for name, value in zip(names, answers, strict=True) if not isinstance(value, Refused)}
    kind = _CPU_SUFFIX.sub("", str(stated.get("type", "")))
    if _OF_HOST.match(f"{kind}-"):
        yield "cpu/model", f"the CPU ({kind}) is what its host has"
        return
    if stated.get("phys-bits", 0) not in _DEFAULT_BITS:
        yield "cpu/phys-bits", f"not compared: addresses of {stated['phys-bits']} bits"
    (expansion,) = monitor.ask([Call("query-cpu-model-expansion", {"type": "full", "model": {"name": kind}})])
    own = {} if isinstance(expansion, Refused) else expansion["model"]["props"]
    for name in _OF_MODEL:
        if name in stated and name in own and stated[name] != own[name]:
            yield f"cpu/{name}", f"not compared: {name} is {stated[name]}, not {own[name]} as {kind} has it"
