"""The output of the commands: tables for people, JSON for programs, progress on standard error."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import rich.console
import rich.progress
import rich.table
import rich.text
import typer

from app.cli import json_text
from app.domain.values.value import shown
from app.domain.verdict import joining

if TYPE_CHECKING:
    from app.client import RegistryError  # serve prints through this module and needs no client

REFUSED = 1
COULD_NOT_ASK = 2
# The status that a shell reports for an interrupted program.
INTERRUPTED = 130
# What the registry answers a publication that it refuses: no right to it, unknown names, changed entries and the gate,
# its size, faults. It refuses the same again, whenever it is asked.
_REFUSALS = {
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_MATRIX_CELL = 3
_MAX_NAMED = 8
_PADDING = 3

# Control characters apart from line breaks and tabs, and those that change the direction of writing.
_COMMANDS = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "\N{REPLACEMENT CHARACTER}",
)


@cache
def _console() -> "rich.console.Console":
    return rich.console.Console()


@cache
def _errors() -> "rich.console.Console":
    return rich.console.Console(stderr=True)


_is_json_requested = ContextVar("is_json_requested", default=False)


def _note_json(is_requested: bool) -> bool:  # noqa: FBT001 (as Typer calls it)
    _is_json_requested.set(is_requested)
    return is_requested


def is_json_requested() -> bool:
    """Return whether the command was asked for JSON."""
    return _is_json_requested.get()


DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; store nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.", callback=_note_json)]


def _visible(text: str) -> str:
    """Return a text in which nothing commands a terminal: what is published can contain anything."""
    return text.translate(_COMMANDS)


def print_json(document: object) -> None:
    """Print a document as JSON."""
    sys.stdout.write(f"{json_text.indented(document)}\n")


def print_record(record: object) -> None:
    """Print a document as JSON on one line, at once: programs read a stream line by line."""
    sys.stdout.write(f"{json_text.line(record)}\n")
    sys.stdout.flush()


def print_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """Print a line of a stream, at once: on a terminal in columns of these widths, in a pipe with tabs between cells.

    A terminal leaves out what is empty; a number is on the right of its column.
    """
    cells = [_visible(cell).replace("\t", " ").replace("\n", " ") for cell in cells]
    if _console().is_terminal:
        columns = [(cell, width) for cell, width in zip(cells, widths, strict=True) if cell]
        padded = (cell.rjust(width) if cell.isdecimal() else cell.ljust(width) for cell, width in columns)
        print_line("  ".join(padded).rstrip())
        return
    sys.stdout.write("\t".join(cells) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print a line verbatim, without markup or wrapping."""
    _console().print(rich.text.Text(_visible(text)), soft_wrap=True)


def print_table(
    columns: Sequence[str], rows: "Sequence[Sequence[str | rich.text.Text]]", title: str | None = None
) -> None:
    """Print a table that fits the terminal; names from the registry are never interpreted as markup.

    In a pipe the output is plain text: one line per row, cells separated by tabs.
    """
    if not _console().is_terminal:
        if title is not None:
            print_line(title)
        for row in (columns, *rows):
            sys.stdout.write("\t".join(_visible(str(cell)).replace("\n", "; ") for cell in row) + "\n")
        return
    table = rich.table.Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(rich.text.Text(_visible(cell)) if isinstance(cell, str) else cell for cell in row))
    _console().print(table)


def print_made_otherwise(entries: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print what a release makes otherwise of profiles, by variable."""
    changes: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        for variable, values in entry["values"].items():
            before, after = ("—" if value is None else shown(value) for value in (values["from"], values["to"]))
            changes.setdefault((variable, before, after), []).append(entry)
    rows = [
        (*change, named({entry["model"] for entry in entries}), f"{len({entry['profile'] for entry in entries}):,}")
        for change, entries in sorted(changes.items())
    ]
    if rows:
        print_table(("variable", "before", "now", "device models", "profiles"), rows, title)


def named(names: Collection[str]) -> str:
    """Return names in one line, the first ones of many."""
    more = len(names) - _MAX_NAMED
    return ", ".join(sorted(names)[:_MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def print_matrix(column: str, names: Sequence[str], rows: "Sequence[tuple[str, Sequence[rich.text.Text]]]") -> None:
    """Print a table with many columns; on a terminal, split it into tables that fit its width."""
    cell_width = max([_MATRIX_CELL, *(cell.cell_len for _, row in rows for cell in row), *map(len, names)]) + _PADDING
    width = _console().width - max(len(column), *(len(name) for name, _ in rows)) - _PADDING - 1
    count = max(1, width // cell_width) if _console().is_terminal else max(1, len(names))
    for start in range(0, len(names), count):
        columns = slice(start, start + count)
        print_table((column, *names[columns]), [(name, *row[columns]) for name, row in rows])


def refuse(error: "RegistryError", *, is_publication: bool = False) -> NoReturn:
    """Print the registry's error (with --json also its problem document), and exit.

    The status is 2, could not ask; of a publication that the registry refused for what it says, 1.
    """
    is_refused = is_publication and error.status in _REFUSALS
    fail(str(error), error.problem, REFUSED if is_refused else COULD_NOT_ASK)


def fail(message: str, problem: object = None, status: int = COULD_NOT_ASK, lines: Sequence[str] = ()) -> NoReturn:
    """Print an error (with --json also as JSON: the problem, or code and detail), and exit with a status.

    lines: what follows the message, in the terminal's own colour.
    """
    if _is_json_requested.get():
        print_json(problem or {"code": "cannot-ask", "detail": message})
    _errors().print(rich.text.Text(_visible(message), style="red"), soft_wrap=True)
    for line in lines:
        _errors().print(rich.text.Text(_visible(line)), soft_wrap=True)
    raise typer.Exit(status)


def warn(message: str) -> None:
    """Print a warning; the command continues."""
    _errors().print(rich.text.Text(_visible(message), style="yellow"), soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar; yields a function of (description, completed, total) that updates it."""
    bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        console=_errors(),
        transient=True,
        disable=not _errors().is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def update(description: str, completed: int, total: int) -> None:
            bar.update(task, description=description, completed=completed, total=total)

        yield update


def verdict(*, is_compatible: bool) -> "rich.text.Text":
    """Return a verdict for a table cell."""
    return rich.text.Text("compatible", style="green") if is_compatible else rich.text.Text("incompatible", style="red")


def reasons(problems: Sequence[Mapping[str, Any]]) -> str:
    """Return problems for a table cell, one per line; what is said of many variables is one line."""
    entries = (
        joining.Entry(problem["code"], problem["message"], (problem["variable"],) if "variable" in problem else ())
        for problem in problems
    )
    return "\n".join(f"{entry.code}: {entry.message}" for entry in joining.joined(entries))
