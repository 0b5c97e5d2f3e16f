"""profile-registry erratum: publishes, lists and withdraws what releases turned out to do wrong."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import client, naming
from app.cli.output import AsJson, DryRun, fail, print_json, print_line, print_table, refuse
from app.domain.things.erratum import Way
from app.domain.values.allowed import shown_item

commands = typer.Typer(
    help="""Say that a published release cannot migrate a device after all: verdicts then refuse it (known-broken).

    Example:

        profile-registry erratum list --release qemu.org/qemu-system-x86_64@10.0.13
    """,
    no_args_is_help=True,
)

_DIRECTIONS = {"to": "to", "from": "from", "both": "to and from"}


@commands.command("add", short_help="Publish an erratum.")
def add(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    release: Annotated[str, typer.Argument(help="The release, <implementation>@<version>.")],
    model: Annotated[str, typer.Argument(help="The device model.")],
    description: Annotated[str, typer.Option(help="What is wrong, for people.")],
    when: Annotated[
        list[str] | None,
        typer.Option(
            help="Only devices with this value at the release, name=value. Repeatable: several values of a variable, "
            "and several variables, which must all match."
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="The release at the other end, or a range such as qemu.org/qemu-system-x86_64@<8.1. Repeatable. "
            "Default: any, so that the device cannot be migrated at all.",
            metavar="RELEASE",
            autocompletion=naming.releases,
        ),
    ] = None,
    direction: Annotated[
        Way,
        typer.Option(help="to: migrations from the release to the others; from: those from the others to it; both."),
    ] = Way.BOTH,
    url: Annotated[str | None, typer.Option(help="Where to read more.")] = None,
    *,
    local: Annotated[bool, typer.Option("--local", help="Of this registry alone: mirrors do not take it.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    r"""Publish an erratum, with the token of the release's or the model's vendor, or an admin's.

    Exit status 0 published or known already, 1 refused, 2 could not ask.

    Example:

        profile-registry erratum add vendor-a.com/my-nic-firmware@2024.1 vendor-a.com/my-nic \
          --with 'vendor-a.com/my-nic-firmware@<2024.1' --direction to --when new-feature=on \
          --description "older firmware loses packets that are in flight"
    """
    document: dict[str, Any] = {
        "release": release,
        "model": model,
        "description": description,
        "when": _conditions(when or []),
        "direction": direction.value,
        "local": local,
    }
    document |= {"with": others} if others else {}
    document |= {} if url is None else {"url": url}
    try:
        with client.Registry() as registry:
            answer = registry.post("/errata", document, **({"dry_run": "true"} if dry_run else {}))
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    if as_json:
        print_json(answer)
        return
    print_line(f"erratum {answer['id']} of {release}: {'would be published' if dry_run else answer['state']}")
    if answer["unknown_releases"]:
        print_line(f"not published here (yet): {', '.join(answer['unknown_releases'])}")


def _conditions(pairs: Sequence[str]) -> Mapping[str, list[str]]:
    conditions: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            fail(f"--when must be name=value, not {pair}")
        conditions.setdefault(name, []).append(value)
    return conditions


@commands.command("list")
def list_errata(
    release: Annotated[str | None, typer.Option(help="Only errata of this release.")] = None,
    model: Annotated[str | None, typer.Option(help="Only errata about this device model.")] = None,
    *,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Also those that were withdrawn.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the errata, the oldest first.

    Example:

        profile-registry erratum list --model qemu.org/virtio-net-pci
    """
    filters = {"release": release, "model": model, "state": None if withdrawn else "published"}
    try:
        with client.Registry() as registry:
            given = {name: value for name, value in filters.items() if value is not None}
            errata = list(registry.items("/errata", **given))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(errata)
        return
    rows = [
        (
            erratum["id"],
            erratum["release"],
            erratum["model"],
            _shown_when(erratum["when"]),
            f"{_DIRECTIONS[erratum['direction']]} {', '.join(erratum['with'] or ['any release'])}",
            erratum["description"] + (f" ({erratum['url']})" if erratum["url"] else ""),
            erratum["state"] + (", local" if erratum["local"] else ""),
        )
        for erratum in errata
    ]
    print_table(("id", "release", "device model", "when", "other releases", "description", "state"), rows)


def _shown_when(when: Mapping[str, Sequence[Any]]) -> str:
    return "\n".join(f"{name}={', '.join(map(shown_item, values))}" for name, values in when.items()) or "always"


@commands.command("withdraw")
def withdraw(
    erratum: Annotated[str, typer.Argument(help="The id of the erratum.", metavar="ID")],
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw an erratum: verdicts no longer look at it. It stays in the registry.

    Example:

        profile-registry erratum withdraw d7e96fa1147312d9
    """
    try:
        with client.Registry() as registry:
            parameters = {"dry_run": "true"} if dry_run else {}
            answer = registry.patch(f"/errata/{quote(erratum, safe='')}", {"state": "withdrawn"}, **parameters)
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    if as_json:
        print_json(answer)
        return
    print_line(f"erratum {erratum} of {answer['release']}: {'would be withdrawn' if dry_run else answer['state']}")
