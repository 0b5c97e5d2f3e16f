"""What the commands print: tables for people, JSON for programs, progress on standard error."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from app.client import RegistryError  # what serves the registry does not talk to one

COULD_NOT_ASK = 2
_MATRIX_CELL = 3
_PADDING = 3

_console = Console()
_errors = Console(stderr=True)

_is_json_asked = ContextVar("is_json_asked", default=False)


def _note_json(is_asked: bool) -> bool:  # noqa: FBT001 (as Typer calls it)
    _is_json_asked.set(is_asked)
    return is_asked


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.", callback=_note_json)]


def print_json(document: object) -> None:
    """Print a document as JSON."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_line(text: str) -> None:
    """Print a line as it stands."""
    _console.print(Text(text), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], title: str | None = None) -> None:
    """Print a table that fits the terminal; names from the registry are never taken for markup.

    What is piped to another program is plain: a line for each row, its cells between tabs.
    """
    if not _console.is_terminal:
        if title is not None:
            print_line(title)
        for row in (columns, *rows):
            sys.stdout.write("\t".join(str(cell).replace("\n", "; ") for cell in row) + "\n")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    _console.print(table)


def print_matrix(column: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]]) -> None:
    """Print a table of very many columns: on a terminal as many of them at a time as fit it."""
    cells = max([_MATRIX_CELL, *(cell.cell_len for _, row in rows for cell in row), *map(len, names)]) + _PADDING
    room = _console.width - max(len(column), *(len(name) for name, _ in rows)) - _PADDING - 1
    at_once = max(1, room // cells) if _console.is_terminal else max(1, len(names))
    for start in range(0, len(names), at_once):
        some = slice(start, start + at_once)
        print_table((column, *names[some]), [(name, *row[some]) for name, row in rows])


def refuse(error: "RegistryError") -> NoReturn:
    """Print what the registry refused, for programs its own answer too, and end with status 2."""
    fail(str(error), error.problem)


def fail(message: str, problem: object = None) -> NoReturn:
    """Print why the command could not do its work, and end with status 2; for programs in JSON, too, or the problem."""
    if _is_json_asked.get():
        print_json(problem or {"code": "cannot-ask", "detail": message})
    _errors.print(Text(message, style="red"), soft_wrap=True)
    raise typer.Exit(COULD_NOT_ASK)


def warn(message: str) -> None:
    """Print what is amiss, while the command goes on."""
    _errors.print(Text(message, style="yellow"), soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress while the work goes on; yields what is to be told (what is done, how much of it, of how much)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_errors,
        transient=True,
        disable=not _errors.is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell


def verdict(*, is_compatible: bool) -> Text:
    """Return a verdict as a table shows it."""
    return Text("compatible", style="green") if is_compatible else Text("incompatible", style="red")


def reasons(problems: Sequence[Mapping[str, Any]]) -> str:
    """Return problems as a table shows them, a line each."""
    return "\n".join(f"{problem['code']}: {problem['message']}" for problem in problems)
