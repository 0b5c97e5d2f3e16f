"""profile-registry check: asks whether devices may go elsewhere."""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer

from app.cli.client import Registry, RegistryError
from app.cli.output import AsJson, fail, print_json, print_table, reasons, verdict
from app.settings import ClientSettings

_INCOMPATIBLE = 1


def check(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    question: Annotated[
        str | None,
        typer.Argument(help="A file with the body of POST /compatibility, - for standard input.", show_default=False),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The device model.")] = None,
    source: Annotated[str | None, typer.Option(help="The release that the device runs on.")] = None,
    profile: Annotated[str | None, typer.Option(help="The profile that it was created with.")] = None,
    value: Annotated[
        list[str] | None, typer.Option(help="name=value, as a command line writes it; may be repeated.")
    ] = None,
    destination: Annotated[
        list[str] | None,
        typer.Option(help="A release that it may go to; may be repeated. None: all that implement the model."),
    ] = None,
    policy: Annotated[str, typer.Option(help="strict or permissive.")] = "strict",
    *,
    as_json: AsJson = False,
) -> None:
    """Ask whether devices can be re-created elsewhere: exit status 0 compatible, 1 incompatible, 2 could not ask.

    With several destinations, 0 means that every one of them is compatible.

    Example:

        profile-registry check --model qemu.org/virtio-net-pci --profile qemu.org/pc-q35-7.2
        --source qemu.org/qemu-system-x86_64@7.2.22 --destination qemu.org/qemu-system-x86_64@10.0.13
    """
    if (question is None) == (model is None):
        fail("check asks of one device, --model …, or of a question in a file: profile-registry check --help")
    document = (
        _read(question) if question is not None else _short(model, source, profile, value or [], destination, policy)
    )
    try:
        with Registry(ClientSettings()) as registry:
            answer = registry.post("/compatibility", document)
    except RegistryError as error:
        fail(str(error))
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    _end(answer)


def _read(question: str) -> Any:
    try:
        return orjson.loads(sys.stdin.buffer.read() if question == "-" else Path(question).read_bytes())
    except (OSError, ValueError) as error:
        fail(f"{question} cannot be read as a question: {error}")


def _short(
    model: str | None,
    source: str | None,
    profile: str | None,
    values: list[str],
    destinations: list[str] | None,
    policy: str,
) -> dict[str, Any]:
    device: dict[str, Any] = {"model": model, "release": source, "profile": profile, "values": {}}
    for each in values:
        name, equals, written = each.partition("=")
        if not equals:
            fail(f"--value is name=value, not {each}")
        device["values"][name] = written
    question: dict[str, Any] = {"devices": [device], "policy": policy, "detail": "full"}
    if destinations:
        question["destinations"] = [{"id": release, "releases": [release]} for release in destinations]
    return question


def _print(answer: Any) -> None:
    rows = []
    for result in answer["results"]:
        where = f"{result['vm']} → {result['destination']}" if "vm" in result else result["destination"]
        devices = result.get("devices", [])
        if not devices:
            rows.append((where, "", verdict(is_compatible=result["compatible"]), ""))
        for device in devices:
            warnings = "\n".join(f"warning: {each['message']}" for each in device["warnings"])
            why = "\n".join(filter(None, (reasons(device["problems"]), warnings)))
            rows.append((where, device["id"], verdict(is_compatible=device["compatible"]), why))
            where = ""
    print_table(("destination", "device", "verdict", "why"), rows)


def _end(answer: Any) -> NoReturn:
    results = answer["results"]
    if not results:
        fail("the registry has no release that implements the model: there is no destination to ask about")
    raise typer.Exit(0 if all(result["compatible"] for result in results) else _INCOMPATIBLE)
