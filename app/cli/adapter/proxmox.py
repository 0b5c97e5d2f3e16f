"""profile-registry adapter proxmox: a hookscript of Proxmox VE."""

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from app.adapters import proxmox as adapter
from app.cli.adapter import explaining
from app.cli.output import fail, print_line


def proxmox(
    vm: Annotated[str, typer.Argument(help="The id of the VM, as Proxmox gives it.", metavar="VMID")],
    phase: Annotated[str, typer.Argument(help="The phase: only pre-start matters.")],
    host: Annotated[
        str | None, typer.Option(help="The registered name of this node. Default: the name of this machine.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A setting, such as hostpci1, that the notes need not describe. Repeatable."),
    ] = None,
    configuration: Annotated[
        Path, typer.Option(help="The folder with the configuration of all nodes.", metavar="FOLDER")
    ] = Path("/etc/pve"),
    *,
    every_start: Annotated[
        bool, typer.Option("--every-start", help="Ask before every start of the VM, not only before a migration.")
    ] = False,
) -> None:
    """Act as a hookscript of Proxmox VE: refuse an incoming migration that this node cannot take.

    Proxmox calls a VM's hookscript as `hookscript VMID PHASE`, on the node that the VM moves to at the phase pre-start,
    with PVE_MIGRATED_FROM in the environment. The notes of the VM describe its devices, in lines such as
    dpr:hostpci0.model=vendor-a.com/nic. If the registry does not say that this node can re-create all of them, or
    cannot be asked, the migration fails, with the reason in the log of the task, and the VM stays where it runs.

    A setting hostpciN that the notes do not describe is refused. Other calls do nothing.

    Exit status 0 allowed, 1 refused.

    Example:

        PVE_MIGRATED_FROM=pve1 profile-registry adapter proxmox 100 pre-start
    """
    decision = adapter.decide(
        vm,
        phase,
        os.environ.get(adapter.MIGRATED_FROM),
        explaining.read_settings().asker(),
        host or socket.gethostname(),
        every_start=every_start,
        without=without or (),
        folder=configuration,
    )
    if not decision.is_allowed:
        fail("\n".join(f"device-profile registry: {line}" for line in decision.lines), status=explaining.NOT_ALLOWED)
    for line in decision.lines:
        print_line(f"device-profile registry: {line}")
