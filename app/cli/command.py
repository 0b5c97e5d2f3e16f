"""The command profile-registry and its subcommands."""

import sys
from importlib import import_module
from inspect import cleandoc
from io import TextIOWrapper
from typing import Annotated

import typer

from app import VERSION

_COMMANDS = {
    "serve": "service:serve",
    "migrate": "service:migrate",
    "check": "checking:check",
    "baseline": "planning:baseline",
    "diff": "difference:diff",
    "matrix": "planning:matrix",
    "impact": "planning:impact",
    "mirror": "mirroring:mirror",
    "export": "mirroring:export",
    "demo": "demonstration:demo",
    "import": "importing:commands",
    "host": "hosts:commands",
    "token": "tokens:commands",
}


_HELP = """The registry of device profiles for VM live migration.

REGISTRY_URL and REGISTRY_TOKEN say which registry the client commands talk to, and with which token.

Example:

    profile-registry demo
    profile-registry check --model qemu.org/virtio-net-pci --profile qemu.org/pc-q35-7.2
"""


def command(asked: str | None = None) -> typer.Typer:
    """Return the command with its subcommands; asked: with that alone if there is such a one, for it starts sooner."""
    app = typer.Typer(
        name="profile-registry",
        help=_kept(_HELP),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Help is plain, whether it is piped or not.
        rich_markup_mode=None,
    )
    # One subcommand alone would be taken for the command.
    app.callback()(_begin)
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"app.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            for each in found.registered_commands:
                each.help = _kept(each.callback.__doc__ if each.callback else None)
            app.add_typer(found, name=name, help=_kept(found.info.help))
        else:
            app.command(name, help=_kept(found.__doc__))(found)
    return app


def _print_version(*, is_asked: bool) -> None:
    if is_asked:
        typer.echo(VERSION)
        raise typer.Exit


def _begin(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _kept(text: str | None) -> str:
    """Return a help text whose indented examples keep their lines: all else fits the terminal."""
    paragraphs = cleandoc(text or "").split("\n\n")
    return "\n\n".join(f"\b\n{each}" if each.startswith("    ") else each for each in paragraphs)


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that lacks a character shows another one.
            stream.reconfigure(errors="replace")
    command(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="profile-registry")
