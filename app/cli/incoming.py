"""Whether a host takes the VM of a libvirt domain: what the hooks of libvirt and of VDSM ask before a migration."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any
from xml.etree.ElementTree import Element  # only the type; defusedxml parses
from xml.sax.saxutils import quoteattr  # it only writes

import typer

from app.adapters.limit import LateError, within
from app.cli import asking, client
from app.cli.host import emulator as host_emulator
from app.cli.output import COULD_NOT_ASK, REFUSED, named
from app.domain.values import name as names
from app.domain.verdict import problem
from app.hypervisor import domain as hypervisor_domain
from app.hypervisor import naming, question
from app.wire import detail

# The metadata of a domain (https://libvirt.org/formatdomain.html, "General metadata") is kept by its namespace.
NAMESPACE = "urn:device-profile-registry:libvirt:1"
_FIELDS = ("domain", "host", "product", "version", "package")
# The migration waits meanwhile, in all.
_LIMIT_SECONDS = 30.0
_RETRY_SECONDS = 5.0
# The connection of a question that was given up waits longer, so that it is given up for one reason.
_LATER_SECONDS = 1.0


class Unasked(StrEnum):
    """What to do if part of a VM cannot be checked."""

    ALLOW = "allow"
    REFUSE = "refuse"


UnaskedOption = Annotated[
    Unasked,
    typer.Option(
        help="What to do if part of a VM cannot be checked. If the registry cannot be asked, it is always refused."
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(help="A device <id>, or a setting <id>/<setting>, of any VM to leave out. Repeatable."),
]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a VM was started with: the host, and the QEMU that runs it, as the binary states it. domain: its UUID."""

    domain: str
    host: str
    emulator: "host_emulator.Emulator"

    @classmethod
    def of(cls, root: Element) -> "Stamp | None":
        """Return the stamp in a domain's metadata; None if there is none, or if it is the stamp of another VM."""
        stated = root.find(f"metadata/{{{NAMESPACE}}}source")
        if stated is None:
            return None
        domain, host, *emulator = (stated.get(field, "") for field in _FIELDS)
        if not (names.is_host_name(host) and all(emulator[:2]) and domain == root.findtext("uuid", "")):
            return None
        return cls(domain, host, host_emulator.Emulator(*emulator))

    def element(self) -> str:
        """Return the element that virsh puts into the metadata."""
        emulator = self.emulator
        values = (self.domain, self.host, emulator.product, emulator.version, emulator.package)
        attributes = (f"{field}={quoteattr(value)}" for field, value in zip(_FIELDS, values, strict=True))
        return f"<source {' '.join(attributes)}/>"


@dataclass(frozen=True, slots=True)
class Move:
    """What is asked of a VM. destination: one of POST /compatibility; of several hosts, one that takes it is enough.

    where: the destination, in words. source: the registered host that the VM runs on, None: the one of its stamp.
    without: devices and settings that are left out.
    """

    destination: Mapping[str, Any]
    where: str
    policy: str
    unasked: Unasked
    without: Sequence[str] = ()
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a VM can move: status is 0, or an exit status and message says why not, each reason on a line.

    notes: what is worth a line in a log although the VM can move.
    """

    status: int = 0
    message: str = ""
    notes: Sequence[str] = ()


def decide(text: bytes, given_by: str, vm: str | None, move: Move) -> Decision:
    """Return whether the VM of a domain can move, within a limit: the registry may answer a byte at a time.

    text: the domain's XML. given_by: where it comes from. vm: its name; None: the one in the XML.
    """
    try:
        return within(_LIMIT_SECONDS, lambda: _decide(text, given_by, vm, move))
    except LateError as error:
        return Decision(COULD_NOT_ASK, f"the device-profile registry gave {error} (REGISTRY_URL sets its address)")


def _decide(text: bytes, given_by: str, vm: str | None, move: Move) -> Decision:
    seconds = _LIMIT_SECONDS + _LATER_SECONDS
    try:
        root = hypervisor_domain.parsed(text, given_by)
        with client.Registry(retry_seconds=_RETRY_SECONDS, timeout_seconds=seconds) as registry:
            asked = _question(root, given_by, registry, move)
            asked.document.update(policy=move.policy, detail=detail.Detail.PROBLEMS, destinations=[move.destination])
            asked = replace(asked, unasked={**(asked.unasked or {}), **asking.without_cpus(asked, registry)})
            answer = asking.ask(registry, asked.document, None) if asked.document["vms"] else {"results": []}
            results = asking.completed(answer, asked)["results"]
    except (hypervisor_domain.DomainError, client.RegistryError) as error:
        return Decision(COULD_NOT_ASK, str(error))
    vm = vm or root.findtext("name") or "the VM"
    hosts: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        # Labels can select the host that the VM leaves, too.
        if result["destination"] != move.source:
            hosts.setdefault(result["destination"], []).append(result)
    if results and not hosts:
        return Decision(REFUSED, f"the device-profile registry knows no other host for {vm} than {move.source}")
    return _judged(vm, move, list(hosts.values()), asked.unasked or {})


def _judged(vm: str, move: Move, hosts: Sequence[Sequence[Mapping[str, Any]]], unasked: Mapping[str, str]) -> Decision:
    """Return the decision that the results of each host lead to; none: there was nothing to ask."""
    able = [results for results in hosts if _is_able(results)]
    if hosts and not able:
        reasons = _by_device([result for results in hosts for result in results], "problems")
        message = f"the device-profile registry refuses to move {vm} to {move.where}:"
        return Decision(REFUSED, _lines(message, reasons))
    must_be_set = frozenset({problem.WarningCode.MUST_BE_SET.value})
    # libvirt starts the VM from its XML alone, so that nobody sets what has to be set explicitly.
    best = min(able, key=lambda results: len(_by_device(results, "warnings", must_be_set)), default=())
    not_checked = [
        *_by_device(best, "warnings", must_be_set),
        *(f"{part}: {why}" for part, why in unasked.items()),
    ]
    if not_checked and move.unasked is Unasked.REFUSE:
        message = f"the device-profile registry cannot vouch for all of {vm}, so it does not move to {move.where}"
        return Decision(COULD_NOT_ASK, _lines(f"{message} (--unasked allow lets it):", not_checked))
    others = frozenset(code.value for code in problem.WarningCode) - must_be_set
    return Decision(notes=[*(f"not checked: {line}" for line in not_checked), *_by_device(best, "warnings", others)])


def _is_able(results: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a host takes all of a VM."""
    return all(result["compatible"] for result in results) and not _by_device(results, "problems")


def _question(root: Element, given_by: str, registry: "client.Registry", move: Move) -> "question.Asked":
    """Return the question about a domain, with its source; raises RegistryError.

    The source is what the VM was started with, as its metadata says, otherwise the host that it runs on.
    """
    stamp = Stamp.of(root)
    host, release = move.source, None
    registered = registry.find(f"/hosts/{stamp.host if stamp else host}") if stamp or host else None
    running = [] if registered is None else registered["releases"]
    if stamp is not None:
        emulator = stamp.emulator
        release = next(naming.releases_of(registry.is_published, emulator.product, emulator.version, emulator.package))
        host = stamp.host if release in running else None
    elif len(emulators := [name for name in running if naming.is_emulator(name)]) == 1:
        (release,) = emulators
    options = hypervisor_domain.DomainOptions(without=move.without)
    domain = hypervisor_domain.Domain.of(root, given_by, options, release)
    asked = question.domain_question_of([domain], [domain.name])
    if host is not None:
        for vm in asked.document["vms"]:
            vm["host"] = host
    return asked


def _by_device(
    results: Sequence[Mapping[str, Any]], field: str, codes: AbstractSet[str] | None = None
) -> Sequence[str]:
    """Return problems or warnings, each once with the devices that have it; codes: None: all."""
    devices: dict[str, list[str]] = {}
    for result in results:
        for device in result["devices"]:
            for entry in device[field]:
                if codes is None or entry["code"] in codes:
                    devices.setdefault(f"{entry['message']} ({entry['code']})", []).append(device["id"])
    return [f"{named(list(dict.fromkeys(ids)))}: {reason}" for reason, ids in devices.items()]


def _lines(message: str, reasons: Sequence[str]) -> str:
    return "\n  ".join([message, *reasons])
