"""profile-registry hook: lets a hypervisor's manager ask the registry before it takes a VM in."""

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.cli.asking import PolicyOption
from app.cli.host import emulator as host_emulator
from app.cli.host import tool
from app.cli.incoming import NAMESPACE, Move, Stamp, Unasked, UnaskedOption, WithoutOption, decide
from app.cli.output import fail, warn
from app.domain.verdict.policy import Policy
from app.hypervisor import domain as hypervisor_domain

commands = typer.Typer(
    help="""Let a manager of VMs ask the registry before a migration.

    Example:

        profile-registry hook libvirt vm1 migrate begin - < vm1.xml
    """,
    no_args_is_help=True,
)
_KEY = "profile-registry"
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
    unasked: UnaskedOption = Unasked.REFUSE,
    without: WithoutOption = None,
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
    move = Move({"host": host}, host, policy, unasked, without)
    decision = decide(sys.stdin.buffer.read(), "standard input", vm, move)
    if decision.message:
        fail(decision.message, status=decision.status)
    for line in decision.notes:
        warn(line)
