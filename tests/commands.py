"""The tree of commands, for tests that walk through all of it."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from app.cli.command import command, load

Words = tuple[str, ...]


def commands() -> Iterator[tuple[Words, Any]]:
    """Iterate over the commands that do something, with their words."""
    for words, node in _nodes():
        if not hasattr(node, "commands"):
            yield words, node


def groups() -> Iterator[Words]:
    """Iterate over the words of the groups of commands, the command itself included."""
    yield ()
    for words, node in _nodes():
        if hasattr(node, "commands"):
            yield words


def _nodes() -> Iterator[tuple[Words, Any]]:
    root: Any = get_command(command())
    for name in root.commands:
        yield from _below((name,), load(name))


def _below(words: Words, node: Any) -> Iterator[tuple[Words, Any]]:
    yield words, node
    for name, child in getattr(node, "commands", {}).items():
        yield from _below((*words, name), child)
