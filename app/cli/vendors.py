"""profile-registry vendor: creates and lists vendors, the namespaces of names."""

from typing import Annotated

import typer

from app.cli import client
from app.cli.output import AsJson, DryRun, print_json, print_line, print_table, refuse

commands = typer.Typer(
    help="""Create and list vendors: a vendor owns all names that begin with its DNS domain.

    Example:

        profile-registry vendor create vendor-a.com --name "Vendor A"
    """,
    no_args_is_help=True,
)


@commands.command("create", short_help="Register a vendor.")
def create(
    # No vendor that exists is completed here.
    vendor: Annotated[str, typer.Argument(help="The vendor, a DNS domain in lower case.", metavar="VENDOR")],
    name: Annotated[str | None, typer.Option(help="Its name for people. It never changes.", metavar="TEXT")] = None,
    url: Annotated[str | None, typer.Option(help="Its web site. It never changes.")] = None,
    *,
    signed: Annotated[
        bool, typer.Option("--signed", help="Its releases and profiles must be signed from now on (key register).")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register a vendor, or complete one that has no name or URL yet; it needs an admin's REGISTRY_TOKEN.

    Exit status 0 registered, or it was already; 1 refused, 2 could not ask.

    Example:

        profile-registry vendor create vendor-a.com --name "Vendor A" --url https://vendor-a.com
    """
    stated = {"name": name, "url": url, "signed": signed or None}
    document = {field: value for field, value in stated.items() if value is not None}
    try:
        with client.Registry() as registry:
            answer = registry.put(f"/vendors/{vendor}", document, dry_run=dry_run)
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    if as_json:
        print_json(answer)
    elif not answer["added"]["vendors"]:
        print_line(f"{vendor}: nothing to add; it is registered like this")
    else:
        print_line(f"{vendor}: {'would be registered' if dry_run else 'registered'}")


@commands.command("list")
def list_vendors(*, as_json: AsJson = False) -> None:
    """List the vendors by name.

    Example:

        profile-registry vendor list
    """
    try:
        with client.Registry() as registry:
            vendors = list(registry.items("/vendors"))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(vendors)
        return
    rows = [
        (
            vendor["vendor"],
            vendor["name"] or "",
            vendor["url"] or "",
            "must be signed" if vendor["signed"] else "",
        )
        for vendor in vendors
    ]
    print_table(("vendor", "name", "url", "publications"), rows)
