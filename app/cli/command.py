"""The command profile-registry and its subcommands."""

import typer

from app.cli import hosts, importing, tokens
from app.cli.checking import check
from app.cli.demonstration import demo
from app.cli.difference import diff
from app.cli.mirroring import export, mirror
from app.cli.planning import baseline, impact, matrix
from app.cli.service import migrate, serve

app = typer.Typer(
    name="profile-registry",
    help="The registry of device profiles for VM live migration. "
    "REGISTRY_URL and REGISTRY_TOKEN say which registry the client commands talk to.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(migrate)
app.command()(check)
app.command()(baseline)
app.command()(diff)
app.command()(matrix)
app.command()(impact)
app.command()(mirror)
app.command()(export)
app.command()(demo)
app.add_typer(importing.commands, name="import")
app.add_typer(hosts.commands, name="host")
app.add_typer(tokens.commands, name="token")


def main() -> None:
    """Run the command."""
    app()
