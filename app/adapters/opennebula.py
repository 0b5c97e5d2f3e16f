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
from dataclasses import dataclass, field
from logging import getLogger
from time import monotonic
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
# OpenNebula waits, with all VMs.
ANSWER_SECONDS = 30.0
# The state of a VM that a host runs (or migrates).
_ACTIVE = "3"
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
    """A VM to place. hosts: the ids of those that it could run on. source: the one that it runs on, if it runs.

    fault: why `described` does not say what its devices are. is_running: it runs, although no source may be known.
    """

    id: int
    described: str
    hosts: Sequence[int]
    source: int | None = None
    fault: str = ""
    is_running: bool = False


@dataclass(slots=True)
class _Questions:
    """The questions about the VMs of one request or document, which have to be answered by a deadline together.

    names: of the hosts, by id. lacking: why a host has no name. deadline: as monotonic() says it.
    """

    asker: Asker
    names: Mapping[int, str]
    lacking: str
    deadline: float
    _answers: dict[object, Mapping[int, Verdict] | None] = field(default_factory=dict)

    def verdicts(self, vm: _Vm) -> Mapping[int, Verdict] | None:
        """Return whether each host takes a VM, by id; None if nothing describes its devices."""
        # VMs of one template share their question.
        key = vm.described, vm.fault, vm.source, vm.is_running, tuple(vm.hosts)
        if key not in self._answers:
            verdicts = self._about(vm, [self.names[host] for host in vm.hosts if host in self.names])
            self._answers[key] = None if verdicts is None else self._by_id(vm, verdicts)
        return self._answers[key]

    def _by_id(self, vm: _Vm, verdicts: Verdicts) -> Mapping[int, Verdict]:
        lacking = Verdict(is_allowed=False, reason=self.lacking)
        return {host: verdicts[self.names[host]] if host in self.names else lacking for host in vm.hosts}

    def _about(self, vm: _Vm, known: Sequence[str]) -> Verdicts | None:
        try:
            devices = read_devices(read_words(vm.described))
        except DevicesError as error:
            return refused(known, f"the VM's devices cannot be read: {error}")
        if not (devices or vm.fault):
            return None
        if reason := self._refusal(vm):
            return refused(known, reason)
        if vm.source is None:
            return self.asker.about({"devices": devices}, known)
        return self.asker.about({"host": self.names[vm.source], "devices": devices}, known)

    def _refusal(self, vm: _Vm) -> str:
        """Return why the registry is not asked about a VM; empty: it is."""
        if vm.fault:
            return f"the VM's devices cannot be read: {vm.fault}"
        if monotonic() > self.deadline:
            return "no time was left to ask the registry"
        if vm.source is None and vm.is_running:
            return "the VM runs, and no host in HOST_POOL has it"
        if vm.source is not None and vm.source not in self.names:
            return f"the VM runs on host {vm.source}: {self.lacking}"
        return ""


def _lines(verdicts: Mapping[int, Verdict], names: Mapping[int, str]) -> Iterator[str]:
    """Iterate over what a log says of hosts that a VM cannot use."""
    shown = {f"{host} ({names[host]})" if host in names else str(host): verdict for host, verdict in verdicts.items()}
    yield from by_reason(shown)


# The external scheduler, up to 6.10.


class ExternalScheduler:
    """Chooses hosts for the VMs of a request: the first one that takes it, of those with the fewest VMs so far."""

    def __init__(
        self,
        asker: Asker,
        names: Callable[[], Mapping[int, str]],
        label: str = LABEL,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """names: returns the names of hosts by their ids; raises RegistryError. label: what states the ids.

        seconds: how long the questions of a request can take; VMs that are left then get no host.
        """
        self._asker = asker
        self._names = names
        self._label = label
        self._seconds = seconds

    def answer(self, request: object) -> Mapping[str, Any]:
        """Return the answer to a request; a VM that no host takes is not in it. Raises DocumentError."""
        vms = _vms_of(request)
        deadline = monotonic() + self._seconds
        names, lacking = self._known(vms)
        questions = _Questions(self._asker, names, lacking, deadline)
        placed: Counter[int] = Counter()
        answers = []
        for vm in vms:
            verdicts = questions.verdicts(vm)
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


def narrowed(document: bytes, asker: Asker, log: Callable[[str], None], seconds: float = ANSWER_SECONDS) -> bytes:
    """Return a SCHEDULER_DRIVER_ACTION document without the hosts that VMs cannot use.

    The host that a VM runs on stays: to stay is no migration. It is base64 if the document was, as oned sends it. log:
    takes lines for the VMs' logs, in the driver's form. seconds: how long the questions can take; VMs that are left
    then get no other host. Raises DocumentError for a document that cannot be read.
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
    vms = {_id(vm): vm for vm in root.findall("VM_POOL/VM")}
    questions = _Questions(asker, names, "HOST_POOL does not have the host", monotonic() + seconds)
    for required in root.findall("REQUIREMENTS/VM"):
        vm = _id(required)
        if vm not in vms:
            message = f"REQUIREMENTS has VM {vm}, which VM_POOL has not"
            raise DocumentError(message)
        _narrow(required, vms[vm], sources.get(vm), questions, log)
    narrow = tostring(root)
    return narrow if is_plain else base64.b64encode(narrow)


def _narrow(
    required: Element, pooled: Element, source: int | None, questions: _Questions, log: Callable[[str], None]
) -> None:
    """Take the hosts out of a VM's requirements that it cannot use.

    pooled: the VM in VM_POOL. source: the host that it runs on.
    """
    hosts = required.find("HOSTS")
    if hosts is None:
        return
    elements: dict[int, list[Element]] = {}
    for element in hosts.findall("ID"):
        elements.setdefault(_number(element), []).append(element)
    described, fault = _described(pooled)
    is_running = (pooled.findtext("STATE") or "").strip() == _ACTIVE
    others = [host for host in elements if host != source]
    vm = _Vm(_id(required), described, others, source, fault, is_running)
    verdicts = questions.verdicts(vm) or {}
    for line in _lines(verdicts, questions.names):
        # The driver's log has the VM's id after the level.
        log(f"WARNING: {vm.id} not on host {line}")
    for host, verdict in verdicts.items():
        if not verdict.is_allowed:
            for element in elements[host]:
                hosts.remove(element)


def _described(vm: Element) -> tuple[str, str]:
    """Return what describes the devices of a VM in VM_POOL, and why it cannot be read; empty: it can."""
    found = vm.findall(f"USER_TEMPLATE/{ATTRIBUTE}")
    if len(found) > 1 or any(len(attribute) for attribute in found):
        # Neither attributes that are repeated nor vectors have a meaning here; they are not "no devices" either.
        return "", f"USER_TEMPLATE must have one {ATTRIBUTE}, with a text"
    return (found[0].text or "" if found else ""), ""


def _id(element: Element) -> int:
    return _number(element.find("ID"))


def _number(element: Element | None) -> int:
    text = "" if element is None else (element.text or "").strip()
    if not text.isdecimal():
        message = f"an ID must be a number, not {text or 'empty'}"
        raise DocumentError(message)
    return int(text)
