"""profile-registry adapter incus: keeps the scriptlet that places instances in a cluster of Incus."""

from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from app.adapters import following
from app.adapters import incus as adapter
from app.cli import lazy
from app.cli.adapter import explaining, running
from app.cli.output import fail, print_line


def incus(
    socket: Annotated[Path, typer.Option(help="The socket of Incus on this member.", envvar="INCUS_SOCKET")] = Path(
        "/var/lib/incus/unix.socket"
    ),
    lease: Annotated[
        int,
        typer.Option(
            help="How many seconds the scriptlet places instances without this command; it is renewed before.",
            min=10,
        ),
    ] = 900,
    every: Annotated[
        float, typer.Option(help="Look for new instances and profiles every this many seconds.", min=1)
    ] = 10,
    *,
    once: Annotated[bool, typer.Option("--once", help="Write the scriptlet once, and end.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the scriptlet; write nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a scriptlet that this command has not written.")
    ] = False,
) -> None:
    """Keep the scriptlet that places the instances of a cluster of Incus.

    Run it on one member. Instances, or their profiles, describe their devices by keys such as
    user.dpr:gpu0.model=vendor-a.com/gpu. The scriptlet places such an instance only on a member that can re-create all
    of them; if there is none, or the registry is away, Incus refuses with the reason, and logs it. Instances without
    such keys are placed by Incus alone. The members' names are those of registered hosts.

    Exit status 0 ended, 2 with --once or --print: could not be done.

    Examples:

        profile-registry adapter incus

        profile-registry adapter incus --print
    """
    settings = explaining.read_settings()
    placement = adapter.Placement(adapter.Incus(socket), settings.asker(), lease, replace=replace)
    if once or show:
        try:
            if show:
                print_line(placement.text(placement.table()))
            else:
                placement.renew()
        except adapter.IncusError as error:
            fail(str(error))
        return
    running.log_to_standard_error()
    lazy.load_all()
    stop = running.until_signal(placement.wake)
    follower = following.Follower(
        settings.registry(), placement.look, heard=placement.heard, look_seconds=settings.adapter_look_seconds
    )
    Thread(target=follower.run, args=(stop,), name="feed", daemon=True).start()
    placement.run(stop, every)
