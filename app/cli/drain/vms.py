"""The VMs that have to leave: from files, or those that run on a libvirt host."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from app.cli import asking, json_text
from app.cli.client import Registry
from app.cli.host.behind import Known
from app.cli.output import fail, named, warn
from app.cli.qemu.live import Progress
from app.cli.qemu.monitor import Libvirt, MonitorError, VirshMonitor
from app.cli.running import RunningVm, read
from app.domain.values.name import is_host_name
from app.hypervisor import reading
from app.hypervisor.domain import Domain, DomainError, DomainOptions
from app.hypervisor.naming import is_emulator
from app.hypervisor.question import Asked, domain_question_of, without_cpus

_NOTHING_TO_ASK = "no device of it can be checked"


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM that has to leave. document: as a question has it, without its name; None if nothing can be asked.

    origin: where it was read. unasked: what of it the question leaves out, by device or setting, with the reason.
    blocked: why QEMU does not migrate it now. unread: why nothing can be asked. is_question: it was read from a
    question in JSON. is_running: from QEMU itself, with every value.
    """

    name: str
    origin: str
    document: Mapping[str, Any] | None
    unasked: Mapping[str, str] = field(default_factory=dict)
    blocked: Sequence[str] = ()
    unread: str | None = None
    is_question: bool = False
    is_running: bool = False

    @property
    def can_be_asked(self) -> bool:
        """Whether the registry can say where it goes; nothing can where QEMU itself does not migrate it."""
        return self.document is not None and not self.blocked

    def asked(self) -> dict[str, Any]:
        """Return the VM as a question has it."""
        return {**(self.document or {}), "id": self.name}


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user states of VMs. release, profile: of QEMU. host: the registered one that they run on."""

    options: DomainOptions
    release: str | None
    profile: str | None
    host: Known | None

    @property
    def emulator(self) -> str | None:
        """QEMU's release that they run on."""
        of_host = () if self.host is None else self.host.document["releases"]
        return self.release or next(filter(is_emulator, of_host), None)


def known_host(name: str, registry: Registry) -> Known:
    """Return a registered host; exits with an error if it is not registered. Raises RegistryError."""
    host = Known.of(registry, [name], None)
    if host is None:
        fail(f"no host {name} is registered; profile-registry host list names those that are")
    return host


def in_files(files: Sequence[str], stated: Stated) -> Sequence[Vm]:
    """Return the VMs of files, each with libvirt domains or with a question in JSON; exits with an error for faults."""
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        fail(f"{twice[0]} is given {files.count(twice[0])} times: name each file once")
    vms: list[Vm] = []
    domains: dict[str, Domain] = {}
    faults: list[str] = []
    for file in files:
        try:
            text = json_text.read(file)
        except OSError as error:
            fail(f"{file} cannot be read: {error.strerror}")
        if reading.is_json(text):
            vms += _in_json(text, file, stated)
            continue
        for origin, domain in _in_xml(text, file, stated):
            if isinstance(domain, DomainError):
                faults.append(str(domain))
            else:
                domains[origin] = domain
                vms.append(_of_domain(domain, origin, stated))
    if faults:
        fail("\n".join(faults))
    if domains:
        asking.check_stated(list(domains), list(domains.values()), stated.options)
    elif stated.options.names:
        fail("--device, --value and --without have no effect: there is no libvirt domain")
    return _with_names_of_their_own(vms)


def _in_xml(text: bytes, file: str, stated: Stated) -> Iterator[tuple[str, Domain | DomainError]]:
    """Iterate over the domains of a text, each with where it is."""
    roots = list(reading.domains(text, file))
    for number, root in enumerate(roots, 1):
        origin = file if len(roots) == 1 else f"{file}, domain {number}"
        try:
            if isinstance(root, DomainError):
                raise root
            yield origin, Domain.of(root, origin, stated.options, stated.emulator, stated.profile)
        except DomainError as error:
            yield origin, error


def _of_domain(domain: Domain, origin: str, stated: Stated) -> Vm:
    host = {} if stated.host is None else {"host": stated.host.name}
    asked = domain_question_of([domain], [origin]).document["vms"]
    document = {**asked[0], **host} if asked else None
    return Vm(domain.name, origin, document, domain.unasked, unread=None if asked else _NOTHING_TO_ASK)


def _in_json(text: bytes, file: str, stated: Stated) -> Iterator[Vm]:
    try:
        vms, aside = reading.vms_in(json_text.parsed(text))
    except ValueError as error:
        fail(f"{file} is not valid JSON: {error}")
    if not isinstance(vms, list) or not all(isinstance(vm, dict) for vm in vms):
        fail(f"{file}: must be a question with devices or vms, or a list of VMs")
    if not vms:
        fail(f"{file} has no VM; was its export complete?")
    if aside:
        warn(f"{file}: of the question, only the VMs are used, not {', '.join(aside)}")
    for number, document in enumerate(vms, 1):
        origin = file if len(vms) == 1 else f"{file}, VM {number}"
        yield Vm(str(document.get("id") or origin), origin, _from(document, stated), is_question=True)


def _from(document: Mapping[str, Any], stated: Stated) -> Mapping[str, Any]:
    """Return a VM with the host that the user states, if it says nothing itself of where it runs."""
    places = (document, *(device for device in document.get("devices") or () if isinstance(device, dict)))
    if stated.host is None or any({"host", "release"} & place.keys() for place in places):
        return document
    return {**document, "host": stated.host.name}


def _with_names_of_their_own(vms: Sequence[Vm]) -> Sequence[Vm]:
    counts = Counter(vm.name for vm in vms)
    return [vm if counts[vm.name] == 1 else replace(vm, name=f"{vm.name} ({vm.origin})") for vm in vms]


def libvirt_at(host: str) -> Libvirt:
    """Return the libvirt of a host, by its address or by the host's name; exits with an error for another text.

    The host that virsh asks by default is asked so; others over SSH, which must not have to ask for a password.
    """
    if "://" in host:
        return Libvirt(host)
    if not is_host_name(host) or not host[0].isalnum():
        fail(f"--live-host must be the name of a host or an address such as qemu+ssh://host/system, not {host}")
    default = Libvirt()
    return default if host in _names(default.host) else Libvirt(f"qemu+ssh://{host}/system?no_tty=1")


def _names(host: str | None) -> Sequence[str]:
    """Return the names of a host as libvirt says it: the whole one, and the one that it has for itself."""
    return [] if host is None else [host, host.partition(".")[0]]


def running_on(
    libvirt: Libvirt,
    registry: Registry,
    release: str | None,
    host: Known | None,
    without: Sequence[str],
    progress: Progress,
) -> Sequence[Vm]:
    """Return the VMs that run on a libvirt host; one that cannot be read is named. Exits with an error for others.

    release: QEMU's, None: what QEMU says. host: as it is registered. Raises RegistryError.
    """
    try:
        names = libvirt.domains()
    except MonitorError as error:
        fail(str(error))
    running: dict[str, RunningVm] = {}
    unread: dict[str, Vm] = {}
    for done, (uuid, name) in enumerate(names.items()):
        progress(f"VM {name}", done, len(names))
        try:
            with VirshMonitor(uuid, libvirt) as monitor:
                running[uuid] = read(monitor, registry, release, None if host is None else host.name, lambda *_: None)
        except MonitorError as error:
            unread[uuid] = Vm(name, libvirt.host or "libvirt", None, unread=str(error).replace(uuid, name))
    asking.check_without(without, list(running.values()))
    asking.warn_of_packages(list(running.values()), release)
    return [unread[uuid] if uuid in unread else _of_running(running[uuid], without) for uuid in names]


def _of_running(vm: RunningVm, without: Sequence[str]) -> Vm:
    document, unasked = asking.question_of_running(vm, without)
    unread = _NOTHING_TO_ASK if document is None else None
    return Vm(vm.name, vm.host or "", document, unasked, vm.blocked, unread, is_running=True)


def registered(libvirt: Libvirt, name: str, registry: Registry) -> Known | None:
    """Return a libvirt host as it is registered, under the name that the user gives it, or that libvirt says."""
    return Known.of(registry, [name, *_names(libvirt.host)], None)


def without_cpu_models(
    vms: Sequence[Vm], destinations: Sequence[Mapping[str, Any]], registry: Registry
) -> Sequence[Vm]:
    """Return VMs without the CPUs for which the registry has no CPU models to compare: these are not asked.

    A question in JSON stays as it is. Raises RegistryError.
    """
    has_models = cache(partial(asking.has_cpu_models, registry=registry))
    at_destinations = cache(partial(asking.releases_at, destinations, registry))
    left: list[Vm] = []
    notes: dict[str, list[str]] = {}
    for vm in vms:
        if vm.document is None or vm.is_question:
            left.append(vm)
            continue
        asked = Asked({"vms": [vm.asked()]})
        unasked, defaults = without_cpus(asked, has_models, at_destinations)
        for note in defaults:
            notes.setdefault(note.removeprefix(f"{vm.name}: "), []).append(vm.name)
        document = next(iter(asked.document["vms"]), None)
        unread = vm.unread if document is not None else _NOTHING_TO_ASK
        left.append(replace(vm, document=document, unasked={**vm.unasked, **unasked}, unread=unread))
    for note, names in notes.items():
        warn(f"{named(names)}: {note}")
    return left
