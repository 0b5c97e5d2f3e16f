"""profile-registry diff: shows the differences between two releases or two profiles."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import rich.text
import typer

from app.cli import client, naming
from app.cli.output import AsJson, named, print_json, print_line, print_made_otherwise, print_table, refuse
from app.domain.fleet import difference, difference_summary

_ARROWS = {difference.Direction.FORWARD: "→", difference.Direction.BACKWARD: "←"}
_MAX_MODELS = 3
_MORE = "--all shows them, --json lists every model separately"


def diff(
    before: Annotated[
        str, typer.Argument(metavar="FROM", help="A release, or a profile.", autocompletion=naming.published)
    ],
    after: Annotated[
        str, typer.Argument(metavar="TO", help="Another release or profile.", autocompletion=naming.published)
    ],
    model: Annotated[str | None, typer.Option(help="Only this device model.")] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also differences that close no direction of migration.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was added, removed and changed in each device model, and which migration directions this closes.

    Exit status 0 no differences, 1 differences, 2 could not ask.

    Example:

        profile-registry diff qemu.org/qemu-system-x86_64@7.2.22 qemu.org/qemu-system-x86_64@10.0.13
    """
    parameters = {"from": before, "to": after, **({"model": model} if model is not None else {})}
    try:
        with client.Registry() as registry:
            answer = registry.get("/diff", **parameters)
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
    elif not _differs(answer):
        print_line(f"{before} and {after} do not differ" + (f" in {model}" if model is not None else ""))
    else:
        print_differences(answer["models"], before, after, everything=everything, more=_MORE)
        _print_profiles(answer, after)
    raise typer.Exit(1 if _differs(answer) else 0)


def _differs(answer: Mapping[str, Any]) -> bool:
    return bool(answer["models"] or answer["no_longer_listed"] or answer["makes_otherwise"])


def _print_profiles(answer: Mapping[str, Any], after: str) -> None:
    """Print what the second release no longer lists, and makes otherwise."""
    if answer["no_longer_listed"]:
        print_line(f"No longer listed by {after}: {named(answer['no_longer_listed'])}")
    print_made_otherwise(answer["makes_otherwise"], f"{after} makes something else of profiles by itself")


def print_differences(
    models: Mapping[str, Sequence[Mapping[str, Any]]], before: str, after: str, *, everything: bool = False, more: str
) -> None:
    """Print the differences that close a direction of migration, and the number of the others.

    everything: print these, too. more: how to see them otherwise.
    """
    print_line(f"→ {after}\n← {before}")
    differences = {model: [_read(entry) for entry in entries] for model, entries in models.items()}
    counts = difference_summary.summary(differences)
    print_line(f"{counts.sentence}\n{counts.closed_sentence}\n")
    shared = sorted(difference_summary.shared_differences(differences), key=lambda entry: entry.weight)
    always = [entry for entry in shared if difference.Extent.ALWAYS in entry.closes.values()]
    in_part = [entry for entry in shared if entry.closes and entry not in always]
    rest = [entry for entry in shared if not entry.closes]
    if always:
        _print_shared(always, "Closed: no such device can migrate in that direction")
    if in_part:
        _print_shared(in_part, "Closed for some values: a device with these values cannot migrate in that direction")
    if rest and everything:
        _print_shared(rest, "Closes no direction")
    elif rest:
        count = "1 other difference" if len(rest) == 1 else f"{len(rest):,} other differences"
        print_line(f"{count} without effect on migration: {more}")


def _read(document: Mapping[str, Any]) -> "difference.Difference":
    closes = {
        difference.Direction(direction): difference.Extent(extent) for direction, extent in document["closes"].items()
    }
    change = difference.DifferenceKind(document["change"])
    stated = document.get("from"), document.get("to")
    return difference.Difference(document["variable"], change, document["message"], *stated, closes)


def _print_shared(entries: "Sequence[difference_summary.SharedDifference]", title: str) -> None:
    rows = [
        (_closed(entry.closes), ", ".join(entry.variables) or "whole model", entry.message, _models(entry))
        for entry in entries
    ]
    print_table(("closes", "variables", "what", "models"), rows, title)


def _closed(closes: "difference.Closed") -> "rich.text.Text":
    text = rich.text.Text()
    for direction, arrow in _ARROWS.items():
        if direction in closes:
            text.append(arrow, style="bold red" if closes[direction] is difference.Extent.ALWAYS else "yellow")
    return text


def _models(entry: "difference_summary.SharedDifference") -> str:
    names = [model.partition("/")[2] for model in entry.models]
    count = _MAX_MODELS if entry.variables else len(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
