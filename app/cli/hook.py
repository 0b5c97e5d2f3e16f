"""profile-registry hook: lets a hypervisor's manager ask the registry before it takes a VM in."""

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from xml.etree.ElementTree import Element  # only the type; defusedxml parses
from xml.sax.saxutils import quoteattr  # it only writes

import typer

from app.cli import client
from app.cli.asking import INCOMPATIBLE, NOT_ASKED, PolicyOption, ask, completed, without_cpus
from app.cli.host import emulator as host_emulator
from app.cli.host import tool
from app.cli.output import fail, named, refuse, warn
from app.domain.values.name import is_host_name
from app.domain.verdict import problem
from app.domain.verdict.policy import Policy
from app.hypervisor import domain as hypervisor_domain
from app.hypervisor import naming, question
from app.wire.detail import Detail

commands = typer.Typer(
    help="""Let a manager of VMs ask the registry before a migration.

    Example:

        profile-registry hook libvirt vm1 migrate begin - < vm1.xml
    """,
    no_args_is_help=True,
)
# The metadata of a domain (https://libvirt.org/formatdomain.html, "General metadata") is kept by its namespace.
NAMESPACE = "urn:device-profile-registry:libvirt:1"
_KEY = "profile-registry"
_FIELDS = ("domain", "host", "product", "version", "package")
# The migration waits meanwhile.
_RETRY_SECONDS = 5.0
_WARNINGS = frozenset({code.value for code in problem.WarningCode} - {problem.WarningCode.MUST_BE_SET.value})
# Inside the hook, libvirt holds the domain: what asks for it waits for ever. So a process that outlives the hook writes
# it, and tries again while an incoming migration keeps the domain locked.
_WRITER = """
tries=0
while [ $tries -lt 120 ]; do
  virsh --quiet metadata "$1" --uri "$2" --key "$3" --set "$4" --live && exit 0
  virsh --quiet domstate "$1" 2>&1 | grep -qi 'no domain\\|domain not found\\|shut off' && exit 0
  tries=$((tries + 1))
  sleep 5
done
logger -t profile-registry "the metadata of $1 still names the host before: virsh could not write it"
"""


class Unasked(StrEnum):
    """What to do if part of a VM cannot be checked."""

    ALLOW = "allow"
    REFUSE = "refuse"


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
        domain, host, *emulator = (stated.get(name, "") for name in _FIELDS)
        if not (is_host_name(host) and all(emulator[:2]) and domain == root.findtext("uuid", "")):
            return None
        return cls(domain, host, host_emulator.Emulator(*emulator))

    def element(self) -> str:
        """Return the element that virsh puts into the metadata."""
        emulator = self.emulator
        values = (self.domain, self.host, emulator.product, emulator.version, emulator.package)
        attributes = (f"{name}={quoteattr(value)}" for name, value in zip(_FIELDS, values, strict=True))
        return f"<source {' '.join(attributes)}/>"


@commands.command(
    "libvirt", short_help="Act as libvirt's hook for QEMU.", context_settings={"allow_interspersed_args": True}
)
def libvirt(  # noqa: PLR0913, PLR0917 (libvirt's own arguments, and each is an option of the command)
    domain: Annotated[str, typer.Argument(help="The VM's name, as libvirt gives it.")],
    operation: Annotated[str, typer.Argument(help="What libvirt does: only migrate and started matter.")],
    phase: Annotated[str, typer.Argument(help="begin or end.")],
    extra: Annotated[str, typer.Argument(help="libvirt gives - here.")] = "-",
    host: Annotated[
        str | None, typer.Option(help="The registered name of this host. Default: the name of this machine.")
    ] = None,
    unasked: Annotated[
        Unasked,
        typer.Option(
            help="What to do if part of a VM cannot be checked. If the registry cannot be asked, it is always refused."
        ),
    ] = Unasked.REFUSE,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A device <id>, or a setting <id>/<setting>, of any VM to leave out. Repeatable."),
    ] = None,
    policy: PolicyOption = Policy.STRICT,
    *,
    stamp: Annotated[
        bool,
        typer.Option("--stamp", help="At started, write this host and its QEMU into the VM's metadata."),
    ] = False,
) -> None:
    """Act as libvirt's hook for QEMU: refuse a VM that this host cannot re-create.

    libvirt calls /etc/libvirt/hooks/qemu on the host that a VM moves to, as `qemu NAME migrate begin -`, with the
    domain on standard input. The command asks whether this host takes all of its devices. If not, the reason is on
    standard error, and the migration fails with it; the VM stays where it is. It also fails if the registry cannot be
    asked. Nothing is on standard output, because libvirt would take it for the domain.

    With --stamp, the hook of the host where a VM starts writes what runs it into the VM's metadata. Without that, the
    question names no source, and only the machine type and the domain are compared. Other calls do nothing.

    Exit status 0 allowed, 1 refused, 2 could not ask.

    Example:

        profile-registry hook libvirt vm1 migrate begin - < vm1.xml
    """
    del extra
    this_host = host or socket.gethostname()
    if (operation, phase) == ("started", "begin") and stamp:
        _stamp(this_host)
    elif (operation, phase) == ("migrate", "begin"):
        _check(domain, this_host, policy, unasked, without or [])


def _stamp(host: str) -> None:
    """Have the metadata of the domain on standard input written; a failure is a warning, and the VM starts anyway."""
    try:
        root = hypervisor_domain.parsed(sys.stdin.buffer.read(), "standard input")
        binary = Path((root.findtext("devices/emulator") or "").strip())
        # libvirt runs it as a user of its own, and the hook as root.
        binary = tool.check_trusted(binary)
        domain = root.findtext("uuid") or ""
        arguments = [domain, NAMESPACE, _KEY, Stamp(domain, host, host_emulator.Emulator.of(binary)).element()]
        subprocess.Popen(
            ["/bin/sh", "-c", _WRITER, "stamp", *arguments],
            stdin=subprocess.DEVNULL,
            # libvirt waits until nobody has these open any more.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (hypervisor_domain.DomainError, tool.NotAskedError, OSError) as error:
        warn(f"the VM is not stamped: {error}")


def _check(vm: str, host: str, policy: Policy, unasked: Unasked, without: Sequence[str]) -> None:
    """Exit with a reason if a host cannot take the domain on standard input."""
    try:
        root = hypervisor_domain.parsed(sys.stdin.buffer.read(), "standard input")
        with client.Registry(retry_seconds=_RETRY_SECONDS) as registry:
            asked = _question(root, registry, without)
            asked.document.update(policy=policy, detail=Detail.PROBLEMS, destinations=[{"host": host}])
            asked = replace(asked, unasked={**(asked.unasked or {}), **without_cpus(asked, registry)})
            results = completed(ask(registry, asked.document, None), asked)["results"] if asked.document["vms"] else []
    except hypervisor_domain.DomainError as error:
        fail(str(error))
    except client.RegistryError as error:
        refuse(error)
    reasons = _by_device(results, "problems")
    if reasons or not all(result["compatible"] for result in results):
        _refuse(f"the device-profile registry refuses to move {vm} to {host}:", reasons, INCOMPATIBLE)
    # libvirt starts the VM from its XML alone, so that nobody sets what has to be set explicitly.
    not_checked = [
        *_by_device(results, "warnings", {problem.WarningCode.MUST_BE_SET.value}),
        *(f"{name}: {why}" for name, why in (asked.unasked or {}).items()),
    ]
    if not_checked and unasked is Unasked.REFUSE:
        message = f"the device-profile registry cannot vouch for all of {vm}, so it does not move to {host}"
        _refuse(f"{message} (--unasked allow lets it):", not_checked, NOT_ASKED)
    for line in [*(f"not checked: {line}" for line in not_checked), *_by_device(results, "warnings", _WARNINGS)]:
        warn(line)


def _question(root: Element, registry: "client.Registry", without: Sequence[str]) -> "question.Asked":
    """Return the question about a domain, with the source that its metadata names; raises RegistryError."""
    stamp = Stamp.of(root)
    if stamp is None:
        domain = hypervisor_domain.Domain.of(root, "standard input", hypervisor_domain.DomainOptions(without=without))
        return question.domain_question_of([domain], [domain.name])
    emulator = stamp.emulator
    release = next(naming.releases_of(registry.is_published, emulator.product, emulator.version, emulator.package))
    domain = hypervisor_domain.Domain.of(
        root, "standard input", hypervisor_domain.DomainOptions(without=without), release
    )
    asked = question.domain_question_of([domain], [domain.name])
    registered = registry.find(f"/hosts/{stamp.host}")
    if registered is not None and release in registered["releases"]:
        for vm in asked.document["vms"]:
            vm["host"] = stamp.host
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
    return [f"{named(ids)}: {reason}" for reason, ids in devices.items()]


def _refuse(message: str, reasons: Sequence[str], status: int) -> None:
    fail("\n  ".join([message, *reasons]), status=status)
