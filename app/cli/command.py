"""The command profile-registry and its subcommands."""

import sys
from importlib import import_module

import typer

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


def command(asked: str | None = None) -> typer.Typer:
    """Return the command with its subcommands; asked: with that alone if there is such a one, for it starts sooner."""
    app = typer.Typer(
        name="profile-registry",
        help="The registry of device profiles for VM live migration. "
        "REGISTRY_URL and REGISTRY_TOKEN say which registry the client commands talk to.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    # One subcommand alone would be taken for the command.
    app.callback()(lambda: None)
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"app.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main() -> None:
    """Run the command."""
    command(sys.argv[1] if len(sys.argv) > 1 else None)()
