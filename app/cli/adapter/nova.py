"""profile-registry adapter nova: the lines for nova.conf, and what Nova's filter decides."""

from typing import Annotated

import typer

from app.cli import client
from app.cli.adapter import explaining
from app.cli.output import AsJson, fail, print_json, print_line


def nova(
    host: Annotated[list[str] | None, typer.Option(help="A host to ask about, as Nova calls it. Repeatable.")] = None,
    extra_spec: Annotated[
        list[str] | None,
        typer.Option(help="An extra spec of the flavor, such as dpr:nic0.model=vendor-a.com/nic. Repeatable."),
    ] = None,
    source_host: Annotated[
        str | None, typer.Option(help="The host that the VM runs on. Default: none; it is a new one.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the lines for nova.conf; with --host, show what the filter decides about hosts.

    Exit status 0 printed, or at least one host is allowed; 1 no host is allowed; 2 wrong options.

    Examples:

        profile-registry adapter nova

        profile-registry adapter nova --host host-17 --extra-spec dpr:nic0.model=vendor-a.com/nic \
          --extra-spec dpr:nic0.profile=vendor-a.com/nic-2024
    """
    properties = explaining.pairs(extra_spec or [], "--extra-spec")
    if not host:
        if properties or source_host:
            fail("--extra-spec and --source-host have no effect without --host")
        url = client.ClientSettings().url
        if as_json:
            print_json({"url": url})
        else:
            print_line(url)
        return
    verdicts = explaining.read_settings().asker().about_properties(properties, host, source=source_host)
    if verdicts is None:
        fail("no --extra-spec begins with dpr:, so the filter lets the VM pass to every host")
    explaining.print_verdicts(verdicts, as_json=as_json)
    if not any(verdict.is_allowed for verdict in verdicts.values()):
        raise typer.Exit(explaining.NOT_ALLOWED)
