"""The command profile-registry and its subcommands."""

import os
import sys
from importlib import import_module
from inspect import cleandoc
from io import TextIOWrapper
from typing import Annotated, Any, NamedTuple

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]
from typer.main import get_group

from app import VERSION
from app.cli.lazy import load_lazily
from app.cli.usage import Command, Group, describe


class _Entry(NamedTuple):
    """A command: the module and attribute that it is in, and the line about it in the list of commands."""

    target: str
    summary: str


# The summaries fit into a list on a terminal with 80 columns.
_COMMANDS = {
    "serve": _Entry("service:serve", "Serve the registry."),
    "migrate": _Entry("service:migrate", "Migrate the schema of the database."),
    "demo": _Entry("demonstration:demo", "Serve the registry with sample data."),
    "publish": _Entry("publishing:publish", "Publish a release document."),
    # With the commands of importing.
    "import": _Entry("laboratory:commands", "Publish a QEMU, a card, an archive."),
    "release": _Entry("states:releases", "List, deprecate and retire releases."),
    "profile": _Entry("states:profiles", "List, deprecate and retire profiles."),
    "erratum": _Entry("errata:commands", "Say what a release turned out to do wrong."),
    "check": _Entry("checking:check", "Check whether devices can move elsewhere."),
    "drain": _Entry("draining:drain", "Plan where the VMs of a host move."),
    "baseline": _Entry("planning:baseline", "Show settings that a whole fleet accepts."),
    "diff": _Entry("difference:diff", "Compare two releases or two profiles."),
    "matrix": _Entry("planning:matrix", "Show which release or host supports which profile."),
    "impact": _Entry("planning:impact", "Show what a change of state would flip."),
    "changes": _Entry("changes:changes", "Print and follow the feed of changes."),
    "host": _Entry("hosts:commands", "Register what hosts run, and list hosts."),
    "hook": _Entry("hook:commands", "Let libvirt ask before a migration."),
    "adapter": _Entry("adapters:commands", "Let schedulers such as Nova's ask."),
    "try-migration": _Entry("trying:try_migration", "Migrate devices between two QEMUs for real."),
    "mirror": _Entry("mirroring:mirror", "Copy another registry into this one."),
    "export": _Entry("mirroring:export", "Write what is published to an archive."),
    "vendor": _Entry("vendors:commands", "Create and list vendors."),
    "token": _Entry("tokens:commands", "Create, list, revoke and explain tokens."),
    "trusted-publisher": _Entry("trusted_publishers:commands", "Let pipelines publish without a stored token."),
    "key": _Entry("keys:commands", "Make, register and verify keys to sign with."),
    "completion": _Entry("completing:completion", "Print the completion script for a shell."),
}
# These run the service in this process, with threads, which modules that are loaded lazily are not for.
_SERVICE = frozenset({"serve", "migrate", "demo"})
_COMPLETION = "_PROFILE_REGISTRY_COMPLETE"


class _Root(Group):
    """The command itself: lists its commands without importing them, and imports the one that is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: Command(name, short_help=entry.summary) for name, entry in _COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the arguments begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(name or ""), rest


_HELP = """The registry of device profiles for VM live migration.

REGISTRY_URL and REGISTRY_TOKEN set the address and the token of the registry that the client commands use.

Example:

    profile-registry demo
    profile-registry check --model qemu.org/virtio-net-pci --profile qemu.org/pc-q35-7.2
"""


def command() -> typer.Typer:
    """Return the command with its subcommands, which are imported when they are used."""
    app = typer.Typer(
        name="profile-registry",
        cls=_Root,
        help=_with_examples(_HELP),
        no_args_is_help=True,
        # The command completion prints the scripts.
        add_completion=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        pretty_exceptions_enable=False,
        # Help is plain text on a terminal and in a pipe.
        rich_markup_mode=None,
    )
    app.callback()(_begin)
    return app


def load(name: str) -> Any:
    """Import a command, or the commands under a name."""
    entry = _COMMANDS[name]
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(f"app.cli.{module}"), attribute)
    # Of a group with a callback; Typer would turn a single command into the group itself.
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(_begin)
    if not isinstance(target, typer.Typer):
        describe(target)
        app.command(name, cls=Command, help=_with_examples(target.__doc__), short_help=entry.summary)(target)
        return get_group(app).commands[name]
    for child in target.registered_commands:
        if child.callback is not None:
            describe(child.callback)
            child.cls = Command
            child.help = _with_examples(child.callback.__doc__)
    app.add_typer(target, name=name, cls=Group, help=_with_examples(target.info.help), short_help=entry.summary)
    return get_group(app).commands[name]


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
    if _COMPLETION in os.environ:
        completion_init()
    if _SERVICE.isdisjoint(sys.argv[1:2]):
        load_lazily()
    command()(prog_name="profile-registry", complete_var=_COMPLETION)
