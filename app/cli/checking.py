"""profile-registry check: asks whether devices may go elsewhere."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.text import Text

from app.cli.client import Registry
from app.cli.libvirt import VENDOR, Domain, DomainError
from app.cli.output import AsJson, fail, print_json, print_table, reasons, refuse, verdict, warn
from app.client import RegistryError
from app.domain.rendering import Form
from app.domain.verdict import Policy
from app.settings import ClientSettings

_INCOMPATIBLE = 1
_NAMED = 3
_REASONS = 5
# The options that are heard, by what is asked of.
_HEARD = {
    "a question in a file": (),
    "--model": ("--source", "--profile", "--value", "--policy"),
    "--domain": ("--source", "--profile", "--device", "--policy"),
}


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
    host: Annotated[
        list[str] | None, typer.Option(help="A registered host that it may go to; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="All registered hosts with this label, name or name=value.")
    ] = None,
    policy: Annotated[
        Policy, typer.Option(help="strict: the destination lists the profile; permissive: it need not.")
    ] = Policy.STRICT,
    render: Annotated[Form | None, typer.Option(help="Also what the destination's program is started with.")] = None,
    domain: Annotated[
        Path | None,
        typer.Option(help="A libvirt domain (virsh dumpxml): all its devices, the machine type as profile."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="With --domain: <id>=<device model> for what the XML does not tell; may be repeated."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Ask whether devices can be re-created elsewhere: exit status 0 compatible, 1 incompatible, 2 could not ask.

    With several destinations, 0 means that every one of them is compatible. Of a question with "detail": "summary", 0
    means that every VM has somewhere to go; it shows for each VM where, and the reasons for the other hosts summed up.

    Examples:

        profile-registry check --model qemu.org/virtio-net-pci \
          --profile qemu.org/pc-q35-7.2 \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --destination qemu.org/qemu-system-x86_64@10.0.13

        profile-registry check drain.json

        profile-registry check --domain vm.xml --label rack=r1 \
          --source qemu.org/qemu-system-x86_64@7.2.22
    """
    if sum(each is not None for each in (question, model, domain)) != 1:
        fail(
            "check asks of one device, --model …, of a VM, --domain …, or of a question in a file: "
            "profile-registry check --help"
        )
    told = {"--source": source, "--profile": profile, "--value": value, "--device": device}
    told["--policy"] = None if policy is Policy.STRICT else [policy]
    _check_heard("a question in a file" if question else "--domain" if domain else "--model", told)
    if question is not None:
        document = _read(question)
    elif domain is not None:
        document = _of_domain(domain, device or [], source, profile, policy)
    else:
        document = _short(model, source, profile, value or [], policy)
    destinations: list[dict[str, Any]] = [{"id": release, "releases": [release]} for release in destination or []]
    destinations += [{"host": each} for each in host or []] + [{"label": each} for each in label or []]
    if destinations:
        document["destinations"] = destinations
    try:
        with Registry(ClientSettings()) as registry:
            answer = registry.post("/compatibility", document, **({} if render is None else {"render": render}))
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
    elif answer["results"]:
        _print(answer)
    _end(answer)


def _check_heard(asks_of: str, told: Mapping[str, object]) -> None:
    """End with an error for options that would have no part in the question."""
    unheard = [name for name, value in told.items() if value and name not in _HEARD[asks_of]]
    if unheard:
        fail(f"{', '.join(unheard)} would say nothing beside {asks_of}: profile-registry check --help")


def _read(question: str) -> Any:
    try:
        return orjson.loads(sys.stdin.buffer.read() if question == "-" else Path(question).read_bytes())
    except OSError as error:
        fail(f"{question} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(f"{question} is no question in JSON: {error}")


def _short(
    model: str | None,
    source: str | None,
    profile: str | None,
    values: list[str],
    policy: str,
) -> dict[str, Any]:
    device: dict[str, Any] = {"model": model, "release": source, "profile": profile, "values": {}}
    device["values"].update(_pairs(values, "--value is name=value"))
    return {"devices": [device], "policy": policy, "detail": "full"}


def _pairs(written: list[str], form: str) -> Iterator[tuple[str, str]]:
    """Iterate over what is written name=value; form: what is said of it where it is not."""
    for each in written:
        name, equals, value = each.partition("=")
        if not equals:
            fail(f"{form}, not {each}")
        yield name, value


def _of_domain(path: Path, named: list[str], source: str | None, profile: str | None, policy: str) -> dict[str, Any]:
    """Return the question about all devices of a libvirt domain; what cannot be asked is a warning."""
    models = dict(_pairs(named, "--device is <id>=<device model>"))
    try:
        found = Domain.read(path, models)
    except DomainError as error:
        fail(str(error))
    for each in found.unasked:
        warn(f"not asked: {each}")
    if not found.devices:
        fail(f"{path} has no device that could be asked about")
    vm = {"id": found.name, "profile": profile or f"{VENDOR}/{found.machine}", "devices": found.devices}
    if source is not None:
        vm["release"] = source
    return {"vms": [vm], "policy": policy, "detail": "full"}


def _print(answer: Any) -> None:
    if any("possible" in result for result in answer["results"]):
        _print_summary(answer)
        return
    rows = []
    for result in answer["results"]:
        where = f"{result['vm']} → {result['destination']}" if "vm" in result else result["destination"]
        devices = result.get("devices", [])
        if not devices:
            rows.append((where, "", verdict(is_compatible=result["compatible"]), ""))
        for device in devices:
            said = [reasons(device["problems"])]
            said += [f"remedy: set {each['variable']} to {each['to']}" for each in device["remedies"]]
            said += [f"warning: {each['message']}" for each in device["warnings"]]
            if device.get("arguments"):
                said.append(shlex.join(device["arguments"]))
            why = "\n".join(filter(None, said))
            rows.append((where, device["id"], verdict(is_compatible=device["compatible"]), why))
            where = ""
    print_table(("destination", "device", "verdict", "why"), rows)


def _print_summary(answer: Any) -> None:
    rows = []
    for result in answer["results"]:
        hosts = len(result["possible"]) + result["impossible"]
        where = f"{len(result['possible']):,} of {hosts:,}: {', '.join(result['possible'][:_NAMED])}"
        where += " …" if len(result["possible"]) > _NAMED else ""
        told = [
            f"{each['count']:,}: {each['message']} ({', '.join(each['devices'][:_NAMED])})"
            for each in result["reasons"][:_REASONS]
        ]
        more = len(result["reasons"]) - _REASONS
        told += [f"… and {more} more reasons"] if more > 0 else []
        is_compatible = result["compatible"]
        rows.append((result.get("vm", ""), Text(where, style="green" if is_compatible else "red"), "\n".join(told)))
    print_table(("vm", "may go to", "not to the others: hosts, reason, devices"), rows)


def _end(answer: Any) -> NoReturn:
    results = answer["results"]
    if not results:
        fail(
            "the registry has no release that implements the model: there is no destination to ask about: "
            "GET /models shows the models that there are"
        )
    raise typer.Exit(0 if all(result["compatible"] for result in results) else _INCOMPATIBLE)
