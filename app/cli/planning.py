"""profile-registry baseline, matrix, impact: what an operator plans a fleet with."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from app.cli.client import Registry
from app.cli.output import AsJson, fail, print_json, print_line, print_matrix, print_table, refuse
from app.client import RegistryError
from app.settings import ClientSettings

_NO_BASELINE = 1
_WIDEST = 6
_SWITCHES = 50
_RETIRED = {"release-retired", "profile-retired"}
# The release implements none of the models that the profile speaks of.
_NONE = "-"
_SAID = {"release-retired": "retired", "profile-retired": "retired", "profile-not-listed": "unlisted"}


def baseline(
    model: Annotated[list[str], typer.Option(help="A device model of the new VM; may be repeated.")],
    release: Annotated[list[str] | None, typer.Option(help="A release that it may run on; may be repeated.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="A registered host; may be repeated.")] = None,
    label: Annotated[str | None, typer.Option(help="All registered hosts with this label, name or name=value.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Say which settings a new VM should get, so that it can move anywhere among releases and hosts.

    Exit status 0 if every model has settings that all accept, 1 if one has none, 2 could not ask.

    Example:

        profile-registry baseline --model qemu.org/virtio-net-pci \
          --release qemu.org/qemu-system-x86_64@7.2.22 \
          --release qemu.org/qemu-system-x86_64@10.0.13
    """
    question: dict[str, Any] = {"models": model, "releases": release or [], "hosts": host or []}
    if label is not None:
        question["label"] = label
    try:
        with Registry(ClientSettings()) as registry:
            models = registry.post("/baseline", question)["models"]
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"models": models})
    else:
        for name, found in models.items():
            _print_baseline(name, found)
    raise typer.Exit(_NO_BASELINE if any(found["values"] is None for found in models.values()) else 0)


def _print_baseline(model: str, found: Mapping[str, Any]) -> None:
    for problem in found["problems"]:
        print_line(f"{model}: {problem['code']}: {problem['message']}")
    if found["values"] is not None:
        _print_values(model, found["values"], found["domains"])
    if found["profiles"]:
        more = f" and {len(found['profiles']) - _WIDEST} more" if len(found["profiles"]) > _WIDEST else ""
        print_line(f"profiles that all accept, newest first: {', '.join(found['profiles'][:_WIDEST])}{more}")


def _print_values(model: str, values: Mapping[str, Any], domains: Mapping[str, Any]) -> None:
    """Print a line for each variable; of very many switches, such as a CPU's, only which are on."""
    switches = [name for name, value in values.items() if isinstance(value, bool)]
    summed_up = switches if len(switches) > _SWITCHES else []
    rows = [(name, _shown(value), _domain(domains[name])) for name, value in values.items() if name not in summed_up]
    if rows:
        print_table(("variable", "best", "all allow"), rows, model)
    if summed_up:
        on = [name for name in summed_up if values[name]]
        print_line(f"{model}: {len(on)} of {len(summed_up)} switches are on: {', '.join(on)}")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return '""' if value == "" else str(value)


def _domain(allowed: Sequence[Any] | None) -> str:
    return "any" if allowed is None else ", ".join(map(_shown, allowed))


def matrix(
    profile: Annotated[list[str] | None, typer.Option(help="Only this profile; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only what is said of this model; may be repeated.")] = None,
    implementation: Annotated[list[str] | None, typer.Option(help="Only its releases; may be repeated.")] = None,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with the reasons, for a spreadsheet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which release supports which profile: yes (for how many of its models, if not all), or no.

    Example:

        profile-registry matrix --csv > support.csv
        profile-registry matrix --implementation qemu.org/qemu-system-x86_64
    """
    if as_csv and as_json:
        fail("--csv or --json, not both")
    asked = {"profile": profile or [], "model": model or [], "implementation": implementation or []}
    try:
        with Registry(ClientSettings()) as registry:
            if as_csv:
                sys.stdout.write(registry.text("/support-matrix", "text/csv", **asked))
                return
            found = registry.get("/support-matrix", **asked)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(found)
        return
    if not found["rows"] or not found["releases"]:
        fail("the registry has no such profiles and releases")
    # Releases are numbered, so that many fit the terminal.
    for number, release in enumerate(found["releases"], 1):
        print_line(f"{number}: {release}")
    numbers = [str(number) for number in range(1, len(found["releases"]) + 1)]
    rows = [(row["profile"], list(map(_cell, row["cells"]))) for row in found["rows"]]
    print_matrix("profile", numbers, rows)
    said = {cell.plain for _, cells in rows for cell in cells}
    if any("/" in each for each in said):
        print_line("17/20: for so many of the profile's models; the reasons: --json or --csv")
    if _NONE in said:
        print_line(f"{_NONE}: the release has none of the profile's models")


def _cell(cell: Mapping[str, Any]) -> Text:
    how_far = f" {cell['accepted_models']}/{cell['model_count']}"
    if cell["compatible"]:
        return Text(f"yes{'' if cell['accepted_models'] == cell['model_count'] else how_far}", style="green")
    codes = {problem["code"] for problem in cell["problems"]}
    if not cell["accepted_models"] + cell["refused_models"] and codes.isdisjoint(_RETIRED):
        return Text(_NONE)
    for code, said in _SAID.items():
        if code in codes:
            return Text(said, style="yellow")
    return Text(f"no{how_far if cell['accepted_models'] else ''}", style="red")


def impact(
    name: Annotated[str, typer.Argument(help="A release or a profile.")],
    state: Annotated[
        Literal["published", "deprecated", "retired"], typer.Option(help="The state that it would take.")
    ] = "retired",
    *,
    as_json: AsJson = False,
) -> None:
    """Say before a change of state whose verdicts it would flip: profiles, releases, hosts and listed pairs.

    Example:

        profile-registry impact qemu.org/qemu-system-x86_64@7.2.22 --state retired
    """
    try:
        with Registry(ClientSettings()) as registry:
            found = registry.get("/impact", name=name, state=state)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(found)
        return
    rows = [
        (kind, str(len(found[kind])), ", ".join(found[kind][:_WIDEST]) + (" …" if len(found[kind]) > _WIDEST else ""))
        for kind in ("profiles", "releases", "hosts")
    ]
    pairs = [f"{pair['profile']} at {pair['release']}" for pair in found["listed"]]
    rows.append(("listed pairs", str(len(pairs)), ", ".join(pairs[:2]) + (" …" if len(pairs) > 2 else "")))  # noqa: PLR2004 (a line's worth)
    print_table(("would flip", "number", "which"), rows, f"{name} → {state}")
