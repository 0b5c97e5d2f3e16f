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
    "try-migration": "trying:try_migration",
    "mirror": "mirroring:mirror",
    "export": "mirroring:export",
    "demo": "demonstration:demo",
    # With the commands of importing.
    "import": "laboratory:commands",
    "host": "hosts:commands",
    "hook": "hook:commands",
    "erratum": "errata:commands",
    "key": "keys:commands",
    "token": "tokens:commands",
    "trusted-publisher": "trusted_publishers:commands",
}


_HELP = """The registry of device profiles for VM live migration.

REGISTRY_URL and REGISTRY_TOKEN set the address and the token of the registry that the client commands use.

Example:

    profile-registry demo
    profile-registry check --model qemu.org/virtio-net-pci --profile qemu.org/pc-q35-7.2
"""


def command(subcommand: str | None = None) -> typer.Typer:
    """Return the command with its subcommands, or with the named one only if it exists: importing one is faster."""
    app = typer.Typer(
        name="profile-registry",
        help=_with_examples(_HELP),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Help is plain text on a terminal and in a pipe.
        rich_markup_mode=None,
    )
    # Without a callback, Typer would turn a single subcommand into the command itself.
    app.callback()(_begin)
    for name in [subcommand] if subcommand in _COMMANDS else _COMMANDS:
        module, _, attribute = _COMMANDS[name].partition(":")
        target = getattr(import_module(f"app.cli.{module}"), attribute)
        if isinstance(target, typer.Typer):
            for child in target.registered_commands:
                child.help = _with_examples(child.callback.__doc__ if child.callback else None)
            app.add_typer(target, name=name, help=_with_examples(target.info.help))
        else:
            app.command(name, help=_with_examples(target.__doc__))(target)
    return app


def _print_version(*, is_requested: bool) -> None:
    if is_requested:
        typer.echo(VERSION)
        raise typer.Exit


def _begin(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _with_examples(text: str | None) -> str:
    r"""Return a help text in which \b keeps the lines of indented examples; other paragraphs are wrapped."""
    paragraphs = cleandoc(text or "").split("\n\n")
    return "\n\n".join(f"\b\n{paragraph}" if paragraph.startswith("    ") else paragraph for paragraph in paragraphs)


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Print a replacement for a character that the terminal cannot encode.
            stream.reconfigure(errors="replace")
    command(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="profile-registry")
