"""What all commands share: names in capitals in their help, suggestions for what is misspelt, completion of names."""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo, OptionInfo

from app.cli import naming
from app.cli.naming import Complete

# How parameters are called in the help, and what completes them; other parameters are called by their own names.
_NAMES: Mapping[str, Complete | None] = {
    "release": naming.releases,
    "source": naming.releases,
    "destination": naming.releases,
    "model": naming.models,
    "profile": naming.profiles,
    "host": naming.hosts,
    "source_host": naming.hosts,
    "implementation": naming.implementations,
    "vendor": naming.vendors,
    "name": None,
}
_INVALID_CHOICE = re.compile(r"'([^']*)' is not one of ")


class Command(TyperCommand):
    """A command whose errors suggest what may be meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raises a usage error with suggestions."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            _suggest(error)
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the arguments as the first line of the help has them: FILE, or [FILE] if it can be left out."""
        return [re.sub(r"^\{(.*)\}$", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """Commands under a name; an unknown option is answered with a suggestion."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raises a usage error with suggestions."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            _suggest(error)
            raise


def _suggest(error: Any) -> None:
    """Add to an error of the command line what may be meant."""
    if possibilities := getattr(error, "possibilities", None):
        error.message += f". Did you mean {' or '.join(sorted(possibilities))}?"
        error.possibilities = None
    choices = getattr(getattr(getattr(error, "param", None), "type", None), "choices", ())
    invalid = _INVALID_CHOICE.match(error.message)
    if choices and invalid:
        near = get_close_matches(invalid[1], map(_written, choices))
        error.message += f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def describe(callback: Callable[..., Any]) -> None:
    """Give each parameter of a command that has no metavar one, and names of the registry their completion."""
    for name, hint in get_type_hints(callback, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ArgumentInfo | OptionInfo) and info.metavar is None:
                info.metavar = _metavar(name, info, list(_kinds(hint.__origin__)))
                if isinstance(info, OptionInfo) and info.metavar is not None and not _declared(info):
                    # Typer would call the option like its metavar.
                    info.param_decls = (f"--{name.replace('_', '-')}",)
                info.autocompletion = info.autocompletion or _NAMES.get(name)


def _metavar(name: str, info: ArgumentInfo | OptionInfo, kinds: list[Any]) -> str | None:
    """Return how the help calls the value of a parameter, None of a flag."""
    choices = [choice for kind in kinds for choice in _choices(kind)]
    if choices:
        return "|".join(map(_written, choices))
    if bool in kinds:
        return None
    if Path in kinds:
        return "FILE"
    if name in _NAMES and isinstance(info, OptionInfo):
        return "NAME"
    if int in kinds:
        return "NUMBER"
    return next(iter(_declared(info)), name).removeprefix("--").replace("_", "-").upper()


def _declared(info: ArgumentInfo | OptionInfo) -> list[str]:
    """Return how an option is called on the command line, if its declaration says so."""
    # In Annotated the first name is where Typer has the default otherwise.
    return [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str) and text[:2] == "--"]


def _kinds(hint: Any) -> Iterator[Any]:
    """Iterate over the types that the values of a parameter have."""
    if get_origin(hint) in {Union, UnionType, list}:
        for part in get_args(hint):
            yield from _kinds(part)
    else:
        yield hint


def _choices(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from kind


def _written(choice: Any) -> str:
    return str(choice.value if isinstance(choice, Enum) else choice)
