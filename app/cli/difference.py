"""profile-registry diff: what two releases or two profiles say otherwise, told so that people can read it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.client import Registry
from app.cli.output import AsJson, print_json, print_line, print_table, refuse
from app.client import RegistryError
from app.settings import ClientSettings

_ARROWS = {"forward": "→", "backward": "←"}
_MODELS_NAMED = 3
# What a message says of one variable in particular, at its end.
_DETAIL = re.compile(r" \(([^()]*)\)$")


@dataclass(slots=True)
class _Group:
    """What several models have alike; variables: each with a detail of its own, its off value; none: whole models."""

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
    after: Annotated[str, typer.Argument(metavar="TO", help="Another one.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Only this device model.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also what closes no direction of migration.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was added, removed and changed, per device model, and which direction of migration that closes.

    Exit status 0 if nothing differs, 1 if something does, 2 could not ask.

    Example:

        profile-registry diff qemu.org/qemu-system-x86_64@7.2.22 qemu.org/qemu-system-x86_64@10.0.13
    """
    parameters = {"from": before, "to": after, **({"model": model} if model is not None else {})}
    try:
        with Registry(ClientSettings()) as registry:
            found = registry.get("/diff", **parameters)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(found)
    elif not found["models"]:
        print_line(f"{before} and {after} differ in nothing" + (f" of {model}" if model is not None else ""))
    else:
        _print(found["models"], before, after, everything=everything)
    raise typer.Exit(1 if found["models"] else 0)


def _print(models: Mapping[str, Sequence[Mapping[str, Any]]], before: str, after: str, *, everything: bool) -> None:
    print_line(f"→ {after}\n← {before}")
    groups = sorted(_grouped(models), key=lambda group: group.weight)
    print_line(f"{_counted(models)}.\n")
    always = [group for group in groups if "always" in group.closes.values()]
    in_part = [group for group in groups if group.closes and group not in always]
    rest = [group for group in groups if not group.closes]
    if always:
        _print_groups(always, "Closed: no such device goes that way")
    if in_part:
        _print_groups(in_part, "Closed to some values: a device that has them does not go that way")
    if rest and everything:
        _print_groups(rest, "Closes nothing")
    elif rest:
        print_line(f"{len(rest)} other differences close nothing: --all shows them, --json every model by itself")


def _grouped(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[_Group]:
    """Iterate over the differences summed up: of one variable over its models, then of variables alike."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for model, differences in models.items():
        for each in differences:
            # The message begins with what it is about.
            message = (
                each["message"].removeprefix(f"{each['variable'] or model} ").replace(f"about {model}", "about it")
            )
            key = (each["variable"], message, tuple(sorted(each["closes"].items())))
            alike.setdefault(key, []).append(model)
    groups: dict[tuple[Any, ...], _Group] = {}
    for (variable, message, closes), names in alike.items():
        detail = _DETAIL.search(message) if variable is not None else None
        said = message if detail is None else message[: detail.start()]
        group = groups.setdefault((said, closes, tuple(names)), _Group(said, dict(closes), tuple(names)))
        if variable is not None:
            group.variables.append(variable if detail is None else f"{variable} ({detail[1]})")
    yield from groups.values()


def _counted(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    whole = Counter(each["change"] for found in models.values() for each in found if each["variable"] is None)
    variables = Counter(each["change"] for found in models.values() for each in found if each["variable"] is not None)
    said = [_number(len(models), "model") + (" differs" if len(models) == 1 else " differ")]
    gone = (("removed", "gone"), ("added", "new"))
    said += [f"{_number(whole[change], 'model')} {word}" for change, word in gone if whole[change]]
    changes = ("removed", "added", "changed")
    said += [f"{_number(variables[change], 'variable')} {change}" for change in changes if variables[change]]
    return ", ".join(said)


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
    named = _MODELS_NAMED if group.variables else len(names)
    more = f" and {len(names) - named} more" if len(names) > named else ""
    return ", ".join(names[:named]) + more
