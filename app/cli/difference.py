"""profile-registry diff: shows the differences between two releases or two profiles."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client import Registry
from app.cli.output import AsJson, named, print_json, print_line, print_made_otherwise, print_table, refuse
from app.client import RegistryError
from app.settings import ClientSettings

_ARROWS = {"forward": "→", "backward": "←"}
_MAX_MODELS = 3
# What a message calls a variable's value where variables that differ in it alone share a row.
_VALUE = "the value in parentheses"


@dataclass(slots=True)
class _Group:
    """A difference that several models share; variables: each with its value in parentheses; empty for whole models."""

    message: str
    closes: Mapping[str, str]
    models: tuple[str, ...]
    variables: list[str] = field(default_factory=list)

    @property
    def weight(self) -> tuple[int, int, bool, Sequence[str]]:
        extents = list(self.closes.values())
        return (-extents.count("always"), -extents.count("in-part"), bool(self.variables), self.variables)


def diff(
    before: Annotated[str, typer.Argument(metavar="FROM", help="A release, or a profile.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="TO", help="Another release or profile.", show_default=False)],
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
        with Registry(ClientSettings()) as registry:
            answer = registry.get("/diff", **parameters)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
    elif not _differs(answer):
        print_line(f"{before} and {after} do not differ" + (f" in {model}" if model is not None else ""))
    else:
        _print(answer["models"], before, after, everything=everything)
        _print_profiles(answer, after)
    raise typer.Exit(1 if _differs(answer) else 0)


def _differs(answer: Mapping[str, Any]) -> bool:
    return bool(answer["models"] or answer["no_longer_listed"] or answer["makes_otherwise"])


def _print_profiles(answer: Mapping[str, Any], after: str) -> None:
    """Print what the second release no longer lists, and makes otherwise."""
    if answer["no_longer_listed"]:
        print_line(f"No longer listed by {after}: {named(answer['no_longer_listed'])}")
    print_made_otherwise(answer["makes_otherwise"], f"{after} makes something else of profiles by itself")


def _print(models: Mapping[str, Sequence[Mapping[str, Any]]], before: str, after: str, *, everything: bool) -> None:
    print_line(f"→ {after}\n← {before}")
    groups = sorted(_grouped(models), key=lambda group: group.weight)
    print_line(f"{_counted(models)}.\n")
    always = [group for group in groups if "always" in group.closes.values()]
    in_part = [group for group in groups if group.closes and group not in always]
    rest = [group for group in groups if not group.closes]
    if always:
        _print_groups(always, "Closed: no such device can migrate in that direction")
    if in_part:
        _print_groups(in_part, "Closed for some values: a device with these values cannot migrate in that direction")
    if rest and everything:
        _print_groups(rest, "Closes no direction")
    elif rest:
        print_line(
            f"{_number(len(rest), 'other difference')} without effect on migration: "
            "--all shows them, --json lists every model separately"
        )


def _grouped(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[_Group]:
    """Iterate over groups: equal differences of a variable in several models, then of several variables."""
    equal: dict[tuple[Any, ...], list[str]] = {}
    for model, differences in models.items():
        for difference in differences:
            # The message begins with the name of the variable or model.
            subject = f"{difference['variable'] or model} "
            message = difference["message"].removeprefix(subject).replace(f"about {model}", "about it")
            key = (difference["variable"], message, tuple(sorted(difference["closes"].items())))
            equal.setdefault(key, []).append(model)
    groups: dict[tuple[Any, ...], _Group] = {}
    for (variable, message, closes), names in equal.items():
        value = _value_in(message, variable)
        common = message if value is None else message.replace(f"{variable}={value}", _VALUE)
        group = groups.setdefault((common, closes, tuple(names)), _Group(common, dict(closes), tuple(names)))
        if variable is not None:
            group.variables.append(variable if value is None else f"{variable} ({value})")
    yield from groups.values()


def _value_in(message: str, variable: str | None) -> str | None:
    """Return the value that a message states of a variable as name=value, None if it states none."""
    match = None if variable is None else re.search(rf"\b{re.escape(variable)}=(.*?)(?:\.$|, which )", message)
    return None if match is None else match[1]


def _counted(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    all_differences = [difference for differences in models.values() for difference in differences]
    whole = Counter(difference["change"] for difference in all_differences if difference["variable"] is None)
    variables = Counter(difference["change"] for difference in all_differences if difference["variable"] is not None)
    parts = [_number(len(models), "model") + (" differs" if len(models) == 1 else " differ")]
    words = (("removed", "gone"), ("added", "new"))
    parts += [f"{_number(whole[change], 'model')} {word}" for change, word in words if whole[change]]
    changes = ("removed", "added", "changed")
    parts += [f"{_number(variables[change], 'variable')} {change}" for change in changes if variables[change]]
    return ", ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _print_groups(groups: Sequence[_Group], title: str) -> None:
    rows = [
        (_closed(group.closes), ", ".join(group.variables) or "whole model", group.message, _models(group))
        for group in groups
    ]
    print_table(("closes", "variables", "what", "models"), rows, title)


def _closed(closes: Mapping[str, str]) -> Text:
    text = Text()
    for direction, arrow in _ARROWS.items():
        if direction in closes:
            text.append(arrow, style="bold red" if closes[direction] == "always" else "yellow")
    return text


def _models(group: _Group) -> str:
    names = [model.partition("/")[2] for model in group.models]
    count = _MAX_MODELS if group.variables else len(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
