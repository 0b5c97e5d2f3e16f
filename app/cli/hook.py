"""profile-registry hook: lets a hypervisor's manager ask the registry before it takes a VM in."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from xml.etree.ElementTree import Element  # only the type; defusedxml parses
from xml.sax.saxutils import quoteattr  # it only writes

import typer

from app.cli.asking import INCOMPATIBLE, NOT_ASKED, Asked, ask, domain_question_of, without_cpus
from app.cli.client import Registry
from app.cli.host.emulator import Emulator
from app.cli.host.tool import NotAskedError
from app.cli.libvirt import Domain, DomainError, DomainOptions, parsed
from app.cli.output import fail, named, refuse, warn
from app.cli.qemu.naming import releases_of
from app.client import RegistryError
from app.domain.verdict.steps import Policy
from app.settings import ClientSettings
from app.wire.compatibility import Detail

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
# The VM waits meanwhile.
_RETRY_SECONDS = 5.0
# Inside the hook, libvirt holds the domain: what asks for it waits for ever. So a process that outlives the hook writes
# it, and tries again while an incoming migration keeps the domain locked.
_WRITER = """
tries=0
while [ $tries -lt 240 ]; do
  virsh --quiet metadata "$1" --uri "$2" --key "$3" --set "$4" --live && exit 0
  virsh --quiet domstate "$1" || exit 1
  tries=$((tries + 1))
  sleep 5
done
"""


class Unasked(StrEnum):
    """What becomes of a VM of which something cannot be asked."""

    ALLOW = "allow"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a VM was started with: the host, and the QEMU that runs it, as the binary states it."""

    host: str
    emulator: Emulator

    @classmethod
    def of(cls, root: Element) -> "Stamp | None":
        """Return the stamp in a domain's metadata; None if there is none."""
        stated = root.find(f"metadata/{{{NAMESPACE}}}source")
        if stated is None:
            return None
        fields = [stated.get(name, "") for name in ("host", "target", "version", "package")]
        return cls(fields[0], Emulator(*fields[1:])) if all(fields[:3]) else None

    def element(self) -> str:
        """Return the element that virsh puts into the metadata."""
        emulator = self.emulator
        fields = {
            "host": self.host, "target": emulator.target, "version": emulator.version, "package": emulator.package
        }  # fmt: skip
        return f"<source {' '.join(f'{name}={quoteattr(value)}' for name, value in fields.items())}/>"


@commands.command("libvirt", context_settings={"allow_interspersed_args": True})
def libvirt(  # noqa: PLR0913, PLR0917 (libvirt's own arguments, and each is an option of the command)
    domain: Annotated[str, typer.Argument(help="The VM's name, as libvirt gives it.")],
    operation: Annotated[str, typer.Argument(help="What libvirt does: only migrate and started matter.")],
    phase: Annotated[str, typer.Argument(help="begin or end.")],
    extra: Annotated[str, typer.Argument(help="libvirt gives - here.")] = "-",
    host: Annotated[
        str | None, typer.Option(help="The registered name of this host. Default: the name of this machine.")
    ] = None,
    unasked: Annotated[
        Unasked, typer.Option(help="What becomes of a VM of which something cannot be asked.")
    ] = Unasked.REFUSE,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A device <id>, or a setting <id>/<setting>, of any VM to leave out. Repeatable."),
    ] = None,
    policy: Annotated[
        Policy,
        typer.Option(help="strict: the destination must list the profile; permissive: only variables are compared."),
    ] = Policy.STRICT,
    *,
    stamp: Annotated[
        bool,
        typer.Option("--stamp", help="At started, write this host and its QEMU into the VM's metadata."),
    ] = False,
) -> None:
    """Be libvirt's hook for QEMU: refuse a VM that this host cannot re-create.

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
    """Have the metadata of the domain on standard input written; what fails is told, and the VM starts anyway."""
    try:
        root = parsed(sys.stdin.buffer.read(), "standard input")
        binary = (root.findtext("devices/emulator") or "").strip()
        stamp = Stamp(host, Emulator.of(Path(binary)))
        arguments = [root.findtext("uuid") or "", NAMESPACE, _KEY, stamp.element()]
        subprocess.Popen(
            ["/bin/sh", "-c", _WRITER, "stamp", *arguments],
            stdin=subprocess.DEVNULL,
            # libvirt waits until nobody has these open any more.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (DomainError, NotAskedError, OSError) as error:
        warn(f"the VM is not stamped: {error}")


def _check(vm: str, host: str, policy: Policy, unasked: Unasked, without: Sequence[str]) -> None:
    """Exit with a reason if a host cannot take the domain on standard input."""
    try:
        root = parsed(sys.stdin.buffer.read(), "standard input")
        with Registry(ClientSettings(), retry_seconds=_RETRY_SECONDS) as registry:
            stamp = Stamp.of(root)
            release = None if stamp is None else _release(registry, stamp.emulator)
            domain = Domain.of(root, "standard input", DomainOptions(without=without), release)
            asked = domain_question_of([domain], [domain.name])
            document = asked.document
            document.update(policy=policy, detail=Detail.PROBLEMS, destinations=[{"host": host}])
            if stamp is not None and release is not None and _runs(registry, stamp.host, release):
                document["vms"][0]["host"] = stamp.host
            asked = replace(asked, unasked={**(asked.unasked or {}), **without_cpus(asked, registry)})
            answer = ask(registry, document, None)
    except DomainError as error:
        fail(str(error))
    except RegistryError as error:
        refuse(error)
    _end(vm, host, answer, asked, unasked)


def _release(registry: Registry, emulator: Emulator) -> str:
    return next(releases_of(registry, emulator.target, emulator.version, emulator.package))


def _runs(registry: Registry, host: str, release: str) -> bool:
    """Return whether a host is registered, and runs a release."""
    registered = registry.find(f"/hosts/{host}")
    return registered is not None and release in registered["releases"]


def _end(vm: str, host: str, answer: Any, asked: Asked, unasked: Unasked) -> None:
    """Exit with the reasons against a migration; return if there are none."""
    reasons = list(_reasons(answer["results"]))
    if reasons or not all(result["compatible"] for result in answer["results"]):
        _refuse(f"the device-profile registry refuses to move {vm} to {host}:", reasons, INCOMPATIBLE)
    not_checked = [f"{name}: {why}" for name, why in (asked.unasked or {}).items()]
    if not_checked and unasked is Unasked.REFUSE:
        message = f"the device-profile registry cannot check all of {vm}, so it does not move to {host}"
        _refuse(f"{message} (--unasked allow lets it):", not_checked, NOT_ASKED)
    for line in not_checked:
        warn(f"not checked: {line}")


def _reasons(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Iterate over the reasons against a migration, each once with the devices that have it."""
    devices: dict[str, list[str]] = {}
    for result in results:
        for device in result["devices"]:
            for problem in device["problems"]:
                devices.setdefault(f"{problem['message']} ({problem['code']})", []).append(device["id"])
    for reason, ids in devices.items():
        yield f"{named(ids)}: {reason}"


def _refuse(message: str, reasons: list[str], status: int) -> None:
    fail("\n  ".join([message, *reasons]), status=status)
