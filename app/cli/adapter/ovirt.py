"""profile-registry adapter ovirt: a hook of VDSM, oVirt's agent on a host."""

import os
import socket
from typing import Annotated

import typer

from app.adapters import ovirt as adapter
from app.adapters.ovirt import Event
from app.cli import incoming
from app.cli.asking import PolicyOption
from app.cli.incoming import Unasked, UnaskedOption, WithoutOption
from app.cli.output import fail, warn
from app.domain.verdict.policy import Policy


def ovirt(
    event: Annotated[Event, typer.Argument(help="The event: the name of the folder that the hook is in.")],
    host: Annotated[
        str | None, typer.Option(help="The registered name of this host. Default: the name of this machine.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="At before_vm_migrate_source: the registered hosts that the VM may go to, such as cluster=c1. "
            "Repeatable: all must hold."
        ),
    ] = None,
    unasked: UnaskedOption = Unasked.REFUSE,
    without: WithoutOption = None,
    policy: PolicyOption = Policy.STRICT,
) -> None:
    """Act as a hook of VDSM: stop a migration that the registry does not allow.

    VDSM runs hooks with the path of the VM's libvirt domain in _hook_domxml. At before_vm_migrate_destination the
    command asks whether this host takes all of its devices. At before_vm_migrate_source, where VDSM does not tell the
    destination, it asks whether any other host with the labels does, with this host as the source. If not, or if the
    registry cannot be asked, the exit status is 2, which ends the migration; the reason is in vdsm.log.

    Exit status 0 allowed, 2 refused.

    Example:

        _hook_domxml=vm1.xml profile-registry adapter ovirt before_vm_migrate_destination --host host-17
    """
    this_host = host or socket.gethostname()
    if event is Event.SOURCE:
        if not label:
            fail("before_vm_migrate_source needs --label: VDSM does not tell the destination", status=adapter.STOP)
        where = f"a host with {', '.join(label)}"
        move = incoming.Move({"labels": label}, where, policy, unasked, without or (), source=this_host)
    else:
        move = incoming.Move({"host": this_host}, this_host, policy, unasked, without or ())
    try:
        decision = incoming.decide(adapter.read_domain(os.environ), "the domain", None, move)
    except adapter.HookError as error:
        fail(str(error), status=adapter.STOP)
    if decision.message:
        fail(decision.message, status=adapter.STOP)
    for line in decision.notes:
        warn(line)
