"""OpenNebula: its schedulers place VMs only on hosts that can re-create their devices.

Two protocols. Up to 6.10, mm_sched sends pending VMs and their hosts to an external scheduler (6.10, "External
Schedulers"): POST {"VMS": [{"ID", "HOST_IDS", "HOST_ID"?, "VM_ATTRIBUTES", ...}]}, answered with
{"VMS": [{"ID", "HOST_ID"}]}. From 7.0 on, oned runs a scheduler driver (7.0, "Scheduler Driver"): `place` and
`optimize` read a SCHEDULER_DRIVER_ACTION document and print a PLAN. This driver takes hosts out of the document, and
runs the next one.

In both, the VM template's attribute DPR describes the devices, as app.adapters.devices.read_words reads them.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any
from xml.etree.ElementTree import Element, ParseError, tostring  # the parser is defusedxml's

import defusedxml
import defusedxml.ElementTree

from app.adapters.asking import Asker, Verdict, Verdicts, by_reason, refused
from app.adapters.devices import DevicesError, read_devices, read_words
from app.client import Registry, RegistryError

ATTRIBUTE = "DPR"
# The label of a registered host that says its id in OpenNebula: the external scheduler's protocol has no names.
LABEL = "opennebula"
_LOG = getLogger(__name__)


class DocumentError(ValueError):
    """A document of OpenNebula is not what its documentation says; the message says where."""


def host_names(registry: Registry, label: str = LABEL) -> Mapping[int, str]:
    """Return the names of the registered hosts with a label that says their ids, by id; raises RegistryError.

    An id that several hosts state names none of them.
    """
    names: dict[int, list[str]] = {}
    for host in registry.items("/hosts", label=label):
        identifier = host["labels"].get(label, "")
        if identifier.isdecimal():
            names.setdefault(int(identifier), []).append(host["host"])
    return {identifier: found[0] for identifier, found in names.items() if len(found) == 1}


@dataclass(frozen=True, slots=True)
class _Vm:
    """A VM to place. hosts: the ids of those that it could run on. source: the one that it runs on, if it runs."""

    id: int
    described: str
    hosts: Sequence[int]
    source: int | None = None


def _verdicts(vm: _Vm, names: Mapping[int, str], lacking: str, asker: Asker) -> Mapping[int, Verdict] | None:
    """Return whether each host takes a VM, by id; None if nothing describes its devices. lacking: why a name is."""
    verdicts = _about(vm, names, lacking, asker)
    if verdicts is None:
        return None
    return {
        host: verdicts[names[host]] if host in names else Verdict(is_allowed=False, reason=lacking) for host in vm.hosts
    }


def _about(vm: _Vm, names: Mapping[int, str], lacking: str, asker: Asker) -> Verdicts | None:
    known = [names[host] for host in vm.hosts if host in names]
    try:
        devices = read_devices(read_words(vm.described))
    except DevicesError as error:
        return refused(known, f"the VM's devices cannot be read: {error}")
    if not devices:
        return None
    if vm.source is None:
        return asker.about({"devices": devices}, known)
    if vm.source not in names:
        return refused(known, f"the VM runs on host {vm.source}: {lacking}")
    return asker.about({"host": names[vm.source], "devices": devices}, known)


def _lines(verdicts: Mapping[int, Verdict], names: Mapping[int, str]) -> Iterator[str]:
    """Iterate over what a log says of hosts that a VM cannot use."""
    shown = {f"{host} ({names[host]})" if host in names else str(host): verdict for host, verdict in verdicts.items()}
    yield from by_reason(shown)


# The external scheduler, up to 6.10.


class ExternalScheduler:
    """Chooses hosts for the VMs of a request: the first one that takes it, of those with the fewest VMs so far."""

    def __init__(self, asker: Asker, names: Callable[[], Mapping[int, str]], label: str = LABEL) -> None:
        """names: returns the names of hosts by their ids; raises RegistryError. label: what states the ids."""
        self._asker = asker
        self._names = names
        self._label = label

    def answer(self, request: object) -> Mapping[str, Any]:
        """Return the answer to a request; a VM that no host takes is not in it. Raises DocumentError."""
        vms = _vms_of(request)
        names, lacking = self._known(vms)
        placed: Counter[int] = Counter()
        answers = []
        for vm in vms:
            verdicts = _verdicts(vm, names, lacking, self._asker)
            for line in _lines(verdicts or {}, names):
                _LOG.warning("VM %d: not on host %s", vm.id, line)
            hosts = [host for host in vm.hosts if verdicts is None or verdicts[host].is_allowed]
            if not hosts:
                _LOG.warning("VM %d: no host", vm.id)
                continue
            host = min(hosts, key=lambda candidate: placed[candidate])
            placed[host] += 1
            answers.append({"ID": vm.id, "HOST_ID": host})
        return {"VMS": answers}

    def _known(self, vms: Sequence[_Vm]) -> tuple[Mapping[int, str], str]:
        """Return the names of hosts, and why another one has none."""
        if not any(vm.described for vm in vms):
            return {}, ""
        try:
            return self._names(), f"no registered host, or more than one, has the label {self._label} with its id"
        except RegistryError as error:
            return {}, f"the registry gave no answer: {error}"


def _vms_of(request: object) -> Sequence[_Vm]:
    vms = request.get("VMS") if isinstance(request, dict) else None
    if not isinstance(vms, list):
        message = "VMS must be a list of VMs"
        raise DocumentError(message)
    return [_vm_of(vm, f"VMS/{position}") for position, vm in enumerate(vms)]


def _vm_of(vm: object, place: str) -> _Vm:
    if not (isinstance(vm, dict) and type(vm.get("ID")) is int):
        message = f"{place}/ID must be an integer"
        raise DocumentError(message)
    hosts = vm.get("HOST_IDS") or []
    source = vm.get("HOST_ID")
    if not (isinstance(hosts, list) and all(type(host) is int for host in hosts)):
        message = f"{place}/HOST_IDS must be a list of integers"
        raise DocumentError(message)
    if not (source is None or type(source) is int):
        message = f"{place}/HOST_ID must be an integer"
        raise DocumentError(message)
    # The documentation's text and its example give the attributes different names.
    attributes = vm.get("VM_ATTRIBUTES") or vm.get("ATTRIBUTES") or {}
    described = attributes.get(ATTRIBUTE, "") if isinstance(attributes, dict) else attributes
    if not isinstance(described, str):
        message = f"{place}/VM_ATTRIBUTES/{ATTRIBUTE} must be a string"
        raise DocumentError(message)
    # A negative id is OpenNebula's way to say that there is none.
    return _Vm(vm["ID"], described, hosts, source if source is not None and source >= 0 else None)


# The scheduler driver, from 7.0 on.


def narrowed(document: bytes, asker: Asker, log: Callable[[str], None]) -> bytes:
    """Return a SCHEDULER_DRIVER_ACTION document without the hosts that VMs cannot use.

    The host that a VM runs on stays: to stay is no migration. It is base64 if the document was, as oned sends it. log:
    takes lines for the VMs' logs, in the driver's form. Raises DocumentError for a document that cannot be read.
    """
    is_plain = document.lstrip().startswith(b"<")
    try:
        root = defusedxml.ElementTree.fromstring(document if is_plain else base64.b64decode(document, validate=False))
    except (ParseError, defusedxml.DefusedXmlException, binascii.Error, ValueError) as error:
        message = f"the document cannot be read: {error}"
        raise DocumentError(message) from error
    if root.tag != "SCHEDULER_DRIVER_ACTION":
        message = f"the document must be a SCHEDULER_DRIVER_ACTION, not {root.tag}"
        raise DocumentError(message)
    names = {_id(host): host.findtext("NAME") or "" for host in root.findall("HOST_POOL/HOST")}
    sources = {_number(vm): _id(host) for host in root.findall("HOST_POOL/HOST") for vm in host.findall("VMS/ID")}
    described = {_id(vm): vm.findtext(f"USER_TEMPLATE/{ATTRIBUTE}") or "" for vm in root.findall("VM_POOL/VM")}
    for required in root.findall("REQUIREMENTS/VM"):
        _narrow(required, described, names, sources, asker, log)
    narrow = tostring(root)
    return narrow if is_plain else base64.b64encode(narrow)


def _narrow(
    required: Element,
    described: Mapping[int, str],
    names: Mapping[int, str],
    sources: Mapping[int, int],
    asker: Asker,
    log: Callable[[str], None],
) -> None:
    """Take the hosts out of a VM's requirements that it cannot use."""
    vm, hosts = _id(required), required.find("HOSTS")
    if hosts is None:
        return
    if vm not in described:
        message = f"REQUIREMENTS has VM {vm}, which VM_POOL has not"
        raise DocumentError(message)
    ids = {_number(host): host for host in hosts.findall("ID")}
    source = sources.get(vm)
    candidates = [host for host in ids if host != source]
    lacking = "HOST_POOL does not have the host"
    verdicts = _verdicts(_Vm(vm, described[vm], candidates, source), names, lacking, asker) or {}
    for line in _lines(verdicts, names):
        # The driver's log has the VM's id after the level.
        log(f"WARNING: {vm} not on host {line}")
    for host, verdict in verdicts.items():
        if not verdict.is_allowed:
            hosts.remove(ids[host])


def _id(element: Element) -> int:
    return _number(element.find("ID"))


def _number(element: Element | None) -> int:
    text = "" if element is None else (element.text or "").strip()
    if not text.isdecimal():
        message = f"an ID must be a number, not {text or 'empty'}"
        raise DocumentError(message)
    return int(text)
