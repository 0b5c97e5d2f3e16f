"""profile-registry baseline, matrix, impact: the commands for planning a fleet."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import rich.text
import typer

from app.cli import client, naming
from app.cli import near as near_names
from app.cli.output import AsJson, fail, print_json, print_line, print_matrix, print_table, refuse, warn

_NO_BASELINE = 1
_MAX_NAMES = 6
_MAX_PAIRS = 2
_MAX_SWITCHES = 50
_RETIRED = {"release-retired", "profile-retired"}
_UNKNOWN = {"unknown-host", "unknown-release"}
# The cell of a release that implements none of the profile's models.
_NONE = "-"
_CELLS = {
    "unknown-host": "unknown",
    "unknown-release": "unknown",
    "release-retired": "retired",
    "profile-retired": "retired",
    "profile-not-listed": "unlisted",
}
_Labels = Annotated[
    list[str] | None,
    typer.Option(help="All registered hosts with this label: name=value, name!=value, name or !name. Repeatable."),
]


def baseline(
    model: Annotated[list[str], typer.Option(help="A device model of the new VM. Repeatable.")],
    release: Annotated[list[str] | None, typer.Option(help="A release that it must run on. Repeatable.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="A registered host. Repeatable.")] = None,
    label: _Labels = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Show the settings with which a new VM can move between all of the given releases and hosts.

    Exit status 0 every model has settings that all of them accept, 1 a model has none, 2 could not ask.

    Example:

        profile-registry baseline --model qemu.org/virtio-net-pci \
          --release qemu.org/qemu-system-x86_64@7.2.22 \
          --release qemu.org/qemu-system-x86_64@10.0.13
    """
    question: dict[str, Any] = {"models": model, "releases": release or [], "hosts": host or []}
    if label:
        question["labels"] = label
    try:
        with client.Registry() as registry:
            models = registry.post("/baseline", question)["models"]
            codes = {problem["code"] for result in models.values() for problem in result["problems"]}
            near = list(near_names.suggestions(registry, question, codes))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"models": models})
    else:
        for name, result in models.items():
            _print_baseline(name, result)
    for line in near:
        warn(line)
    raise typer.Exit(_NO_BASELINE if any(result["values"] is None for result in models.values()) else 0)


def _print_baseline(model: str, result: Mapping[str, Any]) -> None:
    for entry in (*result["problems"], *result.get("warnings", ())):
        print_line(f"{model}: {entry['code']}: {entry['message']}")
    if result["values"] is not None:
        _print_values(model, result["values"], result["domains"])
    if result["profiles"]:
        more = f" and {len(result['profiles']) - _MAX_NAMES} more" if len(result["profiles"]) > _MAX_NAMES else ""
        print_line(
            f"profiles that all accept, the most useful first: {', '.join(result['profiles'][:_MAX_NAMES])}{more}"
        )


def _print_values(model: str, values: Mapping[str, Any], domains: Mapping[str, Any]) -> None:
    """Print a row for each variable; of many booleans, such as CPU features, only the names of those that are on."""
    switches = [name for name, value in values.items() if isinstance(value, bool)]
    summarized = switches if len(switches) > _MAX_SWITCHES else []
    rows = [(name, _text(value), _domain(domains[name])) for name, value in values.items() if name not in summarized]
    if rows:
        print_table(("variable", "best", "all allow"), rows, model)
    if summarized:
        on = [name for name in summarized if values[name]]
        print_line(f"{model}: {len(on)} of {len(summarized)} boolean variables are on: {', '.join(on)}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return '""' if value == "" else str(value)


def _domain(allowed: Sequence[Any] | None) -> str:
    return "any" if allowed is None else ", ".join(map(_text, allowed))


def matrix(  # noqa: PLR0913 (the options of the command)
    profile: Annotated[list[str] | None, typer.Option(help="Only this profile. Repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this device model. Repeatable.")] = None,
    implementation: Annotated[
        list[str] | None, typer.Option(help="Only releases of this implementation. Repeatable.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="Kinds of hosts as columns: this registered host. Repeatable.")
    ] = None,
    label: _Labels = None,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with the reasons, for a spreadsheet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which release supports which profile: yes or no, with the number of models if it supports only some.

    With --host or --label the columns are kinds of hosts, which accept a profile with what they restrict and resolve.

    Example:

        profile-registry matrix --csv > support.csv
        profile-registry matrix --implementation qemu.org/qemu-system-x86_64
        profile-registry matrix --profile qemu.org/pc-q35-7.2 --label rack=r1
    """
    if as_csv and as_json:
        fail("use either --csv or --json, not both")
    filters = {
        "profile": profile or [],
        "model": model or [],
        "implementation": implementation or [],
        "host": host or [],
        "label": label or [],
    }
    try:
        with client.Registry() as registry:
            if as_csv:
                sys.stdout.write(registry.text("/support-matrix", "text/csv", **filters))
                return
            answer = registry.get("/support-matrix", **filters)
            codes = {problem["code"] for row in answer["rows"] for cell in row["cells"] for problem in cell["problems"]}
            near = list(near_names.suggestions(registry, {"hosts": host or []}, codes & {"unknown-host"}))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
    else:
        _print_support(answer)
    for line in near:
        warn(line)


def _print_support(answer: Mapping[str, Any]) -> None:
    kinds = answer.get("kinds", [])
    what = "host" if kinds else "release"
    columns = [*answer["releases"], *map(_kind, kinds)]
    if not answer["rows"] or not columns:
        if kinds:
            fail("no profile names one of the models; GET /profiles lists what is published")
        fail("no profile or no release matches; GET /profiles and GET /releases list what is published")
    # The columns have numbers instead of names so that many releases fit the terminal.
    for number, column in enumerate(columns, 1):
        print_line(f"{number}: {column}")
    numbers = [str(number) for number in range(1, len(columns) + 1)]
    rows = [(row["profile"], list(map(_cell, row["cells"]))) for row in answer["rows"]]
    print_matrix("profile", numbers, rows)
    texts = {cell.plain for _, cells in rows for cell in cells}
    if any("/" in text for text in texts):
        print_line(f"17/20: the {what} accepts 17 of the profile's 20 models; --json or --csv shows the reasons")
    if _NONE in texts:
        print_line(f"{_NONE}: the {what} implements none of the profile's models")
    if _CELLS["unknown-host"] in texts:
        print_line("unknown: the registry does not have the host, or a release that it runs")


def _kind(kind: Mapping[str, Any]) -> str:
    """Return what a column is about: hosts of a kind."""
    hosts = ", ".join(kind["examples"]) + (", …" if kind["count"] > len(kind["examples"]) else "")
    if kind["kind"] is None:
        return f"{hosts}: no registered host"
    unknown = kind["unknown_releases"]
    releases = (f"{release} (unknown)" if release in unknown else release for release in kind["releases"])
    return f"{kind['count']:,} host{'' if kind['count'] == 1 else 's'} ({hosts}): {', '.join(releases)}"


def _cell(cell: Mapping[str, Any]) -> "rich.text.Text":
    ratio = f" {cell['accepted_models']}/{cell['model_count']}"
    if cell["compatible"]:
        return rich.text.Text(f"yes{'' if cell['accepted_models'] == cell['model_count'] else ratio}", style="green")
    codes = {problem["code"] for problem in cell["problems"]}
    if not cell["accepted_models"] + cell["refused_models"] and codes.isdisjoint(_RETIRED | _UNKNOWN):
        return rich.text.Text(_NONE)
    for code, label in _CELLS.items():
        if code in codes:
            return rich.text.Text(label, style="yellow")
    return rich.text.Text(f"no{ratio if cell['accepted_models'] else ''}", style="red")


def impact(
    name: Annotated[str, typer.Argument(help="A release or a profile.", autocompletion=naming.published)],
    state: Annotated[Literal["published", "deprecated", "retired"], typer.Option(help="The new state.")] = "retired",
    *,
    as_json: AsJson = False,
) -> None:
    """Show the verdicts that a change of state would flip: of profiles, releases, hosts and listed pairs.

    Example:

        profile-registry impact qemu.org/qemu-system-x86_64@7.2.22 --state retired
    """
    try:
        with client.Registry() as registry:
            answer = registry.get("/impact", name=name, state=state)
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
        return
    print_impact(answer, f"{name} → {state}")


def print_impact(impact: Mapping[str, Any], title: str) -> None:
    """Print the verdicts that a change of state would flip."""
    kinds = {kind: impact[kind] for kind in ("profiles", "releases", "hosts")}
    rows = [
        (kind, str(len(names)), ", ".join(names[:_MAX_NAMES]) + (" …" if len(names) > _MAX_NAMES else ""))
        for kind, names in kinds.items()
    ]
    pairs = [f"{pair['profile']} at {pair['release']}" for pair in impact["listed"]]
    more = " …" if len(pairs) > _MAX_PAIRS else ""
    rows.append(("listed pairs", str(len(pairs)), ", ".join(pairs[:_MAX_PAIRS]) + more))
    print_table(("would flip", "number", "names"), rows, title)
