"""profile-registry check: asks whether devices may go elsewhere."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.text import Text

from app.api.wire.compatibility import Detail
from app.cli.client import Registry
from app.cli.libvirt import Domain, DomainError, Told
from app.cli.output import AsJson, fail, print_json, print_line, print_table, reasons, refuse, verdict, warn
from app.client import RegistryError
from app.domain.problem import CURES, ProblemCode
from app.domain.rendering import Form
from app.domain.verdict import Policy
from app.settings import ClientSettings

_INCOMPATIBLE = 1
_NOT_ASKED = 2
_NAMED = 3
_REASONS = 5
# The options that are heard, by what is asked of.
_HEARD = {
    "a question in a file": (),
    "--model": ("--source", "--profile", "--value", "--policy", "--detail"),
    "--domain": ("--source", "--profile", "--value", "--device", "--without", "--policy", "--detail"),
}


def check(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    question: Annotated[
        str | None,
        typer.Argument(help="A file with the body of POST /compatibility, - for standard input.", show_default=False),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The device model.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="The release that it runs on; with --domain that of QEMU, and <id>=<release> for a device."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="The profile that it was created with; with --domain also <id>=<profile> for a device."),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(help="name=value, as a command line writes it, with --domain <id>/name=value; may be repeated."),
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
        typer.Option(
            help="A libvirt domain (virsh dumpxml): all its devices, the machine type as the profile of QEMU's own. "
            "Not its CPU, memory and machine settings."
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="With --domain: <id>=<device model> for what the XML does not tell; may be repeated."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="With --domain: a device, or a setting <id>/<setting>, that is not to be asked about."),
    ] = None,
    detail: Annotated[
        Detail | None,
        typer.Option(help="What is asked: summary says where each VM may go, and sums up why not elsewhere."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Ask whether devices can be re-created elsewhere: exit status 0 compatible, 1 incompatible, 2 could not ask.

    With several destinations, 0 means that every one of them is compatible. Of a question with "detail": "summary", 0
    means that every VM has somewhere to go; it shows for each VM where, and the reasons for the other hosts summed up.

    What a domain says that is not known here is not asked about: then the exit status is 2 at best, and the command
    says how to tell it.

    Examples:

        profile-registry check --model qemu.org/virtio-net-pci \
          --profile qemu.org/pc-q35-7.2 \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --destination qemu.org/qemu-system-x86_64@10.0.13

        profile-registry check drain.json

        profile-registry check --domain vm.xml --label rack=r1 \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --detail summary

        profile-registry check --domain vm.xml --label rack=r1 \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --device hostdev0=vendor-a.com/gfx \
          --source hostdev0=vendor-a.com/gfx/gfx-4GB@1
    """
    if sum(each is not None for each in (question, model, domain)) != 1:
        fail(
            "check asks of one device, --model …, of a VM, --domain …, or of a question in a file: "
            "profile-registry check --help"
        )
    told = {"--source": source, "--profile": profile, "--value": value, "--device": device, "--without": without}
    told["--detail"] = [detail] if detail else None
    told["--policy"] = None if policy is Policy.STRICT else [policy]
    _check_heard("a question in a file" if question else "--domain" if domain else "--model", told)
    if render is not None and detail not in {None, Detail.FULL}:
        fail("--render asks for everything: --detail would say otherwise")
    unasked: Mapping[str, str] = {}
    if question is not None:
        document = _read(question)
    elif domain is not None:
        document, unasked = _of_domain(domain, device or [], source or [], profile or [], value or [], without or [])
    else:
        document = _short(model, source or [], profile or [], value or [])
    if question is None:
        document["policy"] = policy
        # The configurations are for programs: a table does not show them, and of many hosts they are too many.
        document["detail"] = detail or (Detail.FULL if as_json or render is not None else Detail.PROBLEMS)
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
        print_json({**answer, "unasked": unasked} if domain is not None else answer)
    else:
        if answer["results"]:
            _print(answer)
        _warn_of(unasked)
    _end(answer, unasked)


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


def _short(model: str | None, source: list[str], profile: list[str], values: list[str]) -> dict[str, Any]:
    for option, told in (("--source", source), ("--profile", profile)):
        if len(told) > 1:
            fail(f"{option} is said once of one device")
    device = {
        "model": model,
        "release": next(iter(source), None),
        "profile": next(iter(profile), None),
        "values": dict(_pairs(values, "--value is name=value", may_be_empty=True)),
    }
    return {"devices": [device]}


def _pairs(written: list[str], form: str, *, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Iterate over what is written name=value; form: what is said of it where it is not.

    may_be_empty: the value, not the name.
    """
    names = set()
    for each in written:
        name, equals, value = each.partition("=")
        if not (equals and name and (value or may_be_empty)):
            fail(f"{form}, not {each}")
        if name in names:
            fail(f"{name} is given twice: {form}")
        names.add(name)
        yield name, value


def _of_domain(
    path: Path, models: list[str], releases: list[str], profiles: list[str], values: list[str], without: list[str]
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Return the question about all devices of a libvirt domain, and what of it cannot be asked."""
    release, release_of = _of_vm("--source", releases)
    profile, profile_of = _of_vm("--profile", profiles)
    values_of: dict[str, dict[str, str]] = {}
    for written, value in _pairs(values, "with --domain, --value is <id>/name=value", may_be_empty=True):
        own_id, _, name = written.partition("/")
        if not (own_id and name):
            fail(f"with --domain, --value is <id>/name=value, not {written}={value}")
        values_of.setdefault(own_id, {})[name] = value
    told = Told(
        models=dict(_pairs(models, "--device is <id>=<device model>")),
        releases=release_of,
        profiles=profile_of,
        values=values_of,
        without=without,
    )
    try:
        found = Domain.read(path, told, release, profile)
    except DomainError as error:
        fail(str(error))
    if not found.devices:
        _warn_of(found.unasked)
        fail(f"{path} has no device that could be asked about")
    return {"vms": [{"id": found.name, "devices": found.devices}]}, found.unasked


def _warn_of(unasked: Mapping[str, str]) -> None:
    for name, why in unasked.items():
        warn(f"not asked: {name}: {why}")


def _of_vm(option: str, written: list[str]) -> tuple[str | None, Mapping[str, str]]:
    """Return what is said of the VM, and what of each device."""
    of_devices = dict(_pairs([each for each in written if "=" in each], f"{option} of a device is <id>=<name>"))
    of_vm = [each for each in written if "=" not in each]
    if len(of_vm) > 1 or "" in of_vm:
        fail(f"{option} is said once of the VM, and <id>=… of a device")
    return (of_vm[0] if of_vm else None), of_devices


def _print(answer: Any) -> None:
    if any("possible" in result for result in answer["results"]):
        _print_summary(answer)
        return
    rows = []
    arguments = []
    for where, result in _grouped(answer["results"]):
        devices = result.get("devices", [])
        if not devices:
            rows.append((where, "", verdict(is_compatible=result["compatible"]), ""))
        for place, device in enumerate(devices):
            said = [reasons(device["problems"])]
            said += [f"remedy: set {each['variable']} to {each['to']}" for each in device["remedies"]]
            said += [f"warning: {each['message']}" for each in device["warnings"]]
            if device["unchecked"]:
                said.append(f"unchecked: {', '.join(device['unchecked'])}")
            why = "\n".join(filter(None, said))
            rows.append(("" if place else where, device["id"], verdict(is_compatible=device["compatible"]), why))
            if device.get("arguments"):
                arguments.append(shlex.join(device["arguments"]))
    print_table(("destination", "device", "verdict", "why"), rows)
    _print_cures(answer["results"])
    # Lines to be copied: a table would break them.
    for line in arguments:
        print_line(line)


def _print_cures(results: Sequence[Any]) -> None:
    """Print what helps, once for each kind of problem."""
    devices = (device for result in results for device in result.get("devices", ()) if not device["remedies"])
    codes = dict.fromkeys(problem["code"] for device in devices for problem in device["problems"])
    for code in codes:
        if code in CURES:
            print_line(f"{code}: {CURES[ProblemCode(code)]}")


def _grouped(results: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Iterate over what destinations are answered, those that are answered the same together."""
    groups: dict[bytes, list[Any]] = {}
    for each in results:
        said = {name: value for name, value in each.items() if name != "destination"}
        groups.setdefault(orjson.dumps(said), []).append(each)
    for group in groups.values():
        names = [each["destination"] for each in group]
        where = ", ".join(names[:_NAMED])
        if len(names) > _NAMED:
            where += f" … and {len(names) - _NAMED:,} more"
        yield (f"{group[0]['vm']} → {where}" if "vm" in group[0] else where), group[0]


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


def _end(answer: Any, unasked: Mapping[str, str]) -> NoReturn:
    results = answer["results"]
    if not results:
        fail(
            "there is no destination to ask about: no host is registered, or, where none was named, no release that is "
            "in use implements the model (GET /models shows the models that there are)"
        )
    if not all(result["compatible"] for result in results):
        raise typer.Exit(_INCOMPATIBLE)
    if unasked:
        warn("what was asked about is compatible; what was not may be otherwise")
        raise typer.Exit(_NOT_ASKED)
    raise typer.Exit
