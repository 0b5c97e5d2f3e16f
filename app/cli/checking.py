"""profile-registry check: asks whether devices can move to other hosts."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import rich.text
import typer

from app.cli import client, json_text
from app.cli import near as near_names
from app.cli.asking import (
    INCOMPATIBLE,
    NOT_ASKED,
    PolicyOption,
    ask,
    check_left,
    completed,
    device_question,
    domain_options,
    domain_question,
    running_question,
    warn_of,
    without_cpus,
)
from app.cli.output import AsJson, fail, named, print_json, print_line, print_table, reasons, refuse, verdict, warn
from app.domain.fleet.form import Form
from app.domain.verdict import problem as verdict_problem
from app.domain.verdict.policy import Policy
from app.hypervisor import question as vm_question
from app.wire.detail import Detail

_MAX_NAMES = 3
_MAX_REASONS = 5
# The options that have an effect, by the subject of the question.
_ALLOWED_OPTIONS = {
    "a question file": (),
    "--model": ("--source", "--profile", "--value", "--policy", "--detail"),
    "--domain": ("--source", "--profile", "--value", "--device", "--without", "--policy", "--detail"),
    "a running VM": ("--source", "--source-host", "--without", "--policy", "--detail"),
}


def check(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    question: Annotated[
        str | None,
        typer.Argument(
            help="A file with the body of POST /compatibility; - for standard input.",
            show_default=False,
            metavar="FILE",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The device model.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="The release that the device runs on. With --domain: the QEMU release, or <id>=<release> for a "
            "device. With --live and --qmp: the QEMU release, if it is not the one that QEMU names."
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="The profile that the device was created with. With --domain also <id>=<profile> for a device."
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(help="A variable, name=value. With --domain: <id>/name=value. Repeatable."),
    ] = None,
    destination: Annotated[
        list[str] | None,
        typer.Option(help="A release to move to. Repeatable. Default: all releases that implement the model."),
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="A registered host to move to. Repeatable.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="All registered hosts with this label: name=value, name!=value, name or !name. Repeatable: all must "
            "hold."
        ),
    ] = None,
    policy: PolicyOption = Policy.STRICT,
    render: Annotated[
        list[Form] | None,
        typer.Option(
            help="Also print the arguments for a program at the destination. Repeatable: for each device the first one "
            "that can make it."
        ),
    ] = None,
    domain: Annotated[
        list[Path] | None,
        typer.Option(
            help="A libvirt domain (virsh dumpxml); - for standard input. Repeatable: each VM is answered. Checks the "
            "CPU and all devices; the machine type is the profile of QEMU's devices. Names what it does not check."
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="With --domain: <id>=<device model> for a device that check does not know, or for what is behind one: "
            "<id>-backend, and <id>-device of a device that QEMU passes through; <vm>:<id>=<device model> for one of "
            "several VMs. Repeatable."
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="With --domain, --live, --qmp: a device <id>, or a setting <id>/<setting>, to leave out. Repeatable."
        ),
    ] = None,
    live: Annotated[
        list[str] | None,
        typer.Option(
            help="A running libvirt domain, asked through virsh (LIBVIRT_DEFAULT_URI): its devices and its CPU with "
            "the values that they really have, and what blocks its migration. Repeatable.",
            metavar="DOMAIN",
        ),
    ] = None,
    qmp: Annotated[
        list[Path] | None,
        typer.Option(
            help="The QMP socket of a running QEMU that nobody else uses; asked as with --live. Repeatable.",
            metavar="SOCKET",
        ),
    ] = None,
    source_host: Annotated[
        str | None,
        typer.Option(
            help="With --live and --qmp: the registered host that the VM runs on. Its report knows what is behind its "
            "devices. Default: the one with the host's own name."
        ),
    ] = None,
    detail: Annotated[
        Detail | None,
        typer.Option(help="The detail of the answer. summary: where each VM can move, and the reasons elsewhere."),
    ] = None,
    *,
    show_question: Annotated[
        bool, typer.Option("--show-question", help="Print what would be asked (POST /compatibility), and no answer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Check whether devices can be re-created elsewhere: exit status 0 compatible, 1 incompatible, 2 could not ask.

    With several destinations, 0 means that all of them are compatible. With detail summary, 0 means that every VM has
    at least one destination; the table shows the destinations of each VM and sums up the reasons for the other hosts.

    With --domain, a device or setting that the command does not know is not checked. Then the exit status is never 0,
    and a message names the option that supplies what is missing. With --live and --qmp, QEMU itself is asked; what it
    says blocks the migration makes the VM incompatible.

    Examples:

        profile-registry check --model qemu.org/virtio-net-pci \
          --profile qemu.org/pc-q35-7.2 \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --destination qemu.org/qemu-system-x86_64@10.0.13

        profile-registry check drain.json

        profile-registry check --domain vm1.xml --domain vm2.xml \
          --label rack=r1 --label '!draining' \
          --source qemu.org/qemu-system-x86_64@7.2.22 \
          --detail summary

        virsh dumpxml vm | profile-registry check --domain - --host host-17

        profile-registry check --live vm --host host-17

        profile-registry check --domain vm.xml --label rack=r1 \
          --source qemu.org/qemu-system-x86_64@10.0.13 \
          --device hostdev0=qemu.org/vfio-pci \
          --device hostdev0-device=pixel.example/vgpu \
          --source hostdev0-device=pixel.example/gfx/gfx-4g@535.1
    """
    subject = _subject(question, model, domain, live or qmp)
    given = {"--source": source, "--profile": profile, "--value": value, "--device": device, "--without": without}
    given["--detail"] = [detail] if detail else None
    given["--source-host"] = [source_host] if source_host else None
    given["--policy"] = None if policy is Policy.STRICT else [policy]
    _check_options(subject, given)
    if render and detail not in {None, Detail.FULL}:
        fail(f"--render needs --detail full, not {detail}; leave --detail out")
    if question is not None:
        asked = vm_question.Asked(_read(question))
    elif domain:
        options = domain_options(device or [], source or [], profile or [], value or [], without or [])
        asked = domain_question(domain, *options)
    elif model is not None:
        asked = vm_question.Asked(device_question(model, source or [], profile or [], value or []))
    else:
        asked = running_question(live or [], qmp or [], source or [], source_host, without or [])
    document = asked.document
    if question is None:
        document["policy"] = policy
        # Only programs need the configurations: the table does not show them, and for many hosts they are large.
        document["detail"] = detail or (Detail.FULL if as_json or render else Detail.PROBLEMS)
    if destinations := _destinations(destination or [], host or [], label or []):
        document["destinations"] = destinations
    if show_question:
        _show_question(asked)
        return
    asked, answer, near = _answered(asked, render)
    _show(answer, asked, as_json=as_json)
    for line in near:
        warn(line)
    _end(answer, asked)


def _answered(
    asked: "vm_question.Asked", render: Sequence[Form] | None
) -> "tuple[vm_question.Asked, Any, Sequence[str]]":
    """Ask the registry; return what was asked, the answer, and lines about names that it does not know."""
    try:
        with client.Registry() as registry:
            if asked.unasked is not None:
                asked = replace(asked, unasked={**asked.unasked, **without_cpus(asked, registry)})
                check_left(asked)
            answer = completed(ask(registry, asked.document, render), asked)
            return asked, answer, list(near_names.suggestions(registry, asked.document, _codes(answer)))
    except client.RegistryError as error:
        refuse(error)


def _codes(answer: Any) -> set[str]:
    """Return the codes of the problems of an answer; without any result the model can be unknown."""
    results = answer["results"]
    codes = {
        problem["code"]
        for result in results
        for entry in (*result.get("devices", ()), {"problems": result.get("reasons", ())})
        for problem in entry.get("problems", ())
    }
    return codes if results else {verdict_problem.ProblemCode.UNKNOWN_MODEL}


def _subject(question: str | None, model: str | None, domain: object, running: object) -> str:
    """Return what is asked about; exits with an error unless it is exactly one thing."""
    subjects = {
        "a question file": question is not None,
        "--model": model is not None,
        "--domain": bool(domain),
        "a running VM": bool(running),
    }
    if sum(subjects.values()) != 1:
        fail(
            "check takes exactly one of --model (a device), --domain (a VM), --live or --qmp (a running VM) and a "
            "question file; see profile-registry check --help"
        )
    return next(subject for subject, is_given in subjects.items() if is_given)


def _show_question(asked: "vm_question.Asked") -> None:
    """Print a question, with CPUs: those are left out later where the registry has no CPU models."""
    # A question of a file is shown as it is.
    for vm in asked.document["vms"] if asked.unasked is not None else ():
        for device in vm["devices"]:
            device.pop("is_default", None)
    print_json(asked.document)
    warn_of(asked)


def _show(answer: Any, asked: "vm_question.Asked", *, as_json: bool) -> None:
    """Print the answer, and what was not asked."""
    if as_json:
        unasked = {} if asked.unasked is None else {"unasked": asked.unasked}
        print_json({**answer, **unasked, **({"blocked": asked.blocked} if asked.blocked else {})})
        return
    if answer["results"]:
        _print(answer)
    warn_of(asked)


def _destinations(releases: list[str], hosts: list[str], labels: list[str]) -> list[dict[str, Any]]:
    """Return the destinations of a question; all labels together select hosts."""
    destinations: list[dict[str, Any]] = [{"id": release, "releases": [release]} for release in releases]
    return [*destinations, *({"host": name} for name in hosts), *([{"labels": labels}] if labels else [])]


def _check_options(subject: str, given: Mapping[str, object]) -> None:
    """Exit with an error for options that have no effect on the question."""
    ignored = [name for name, value in given.items() if value and name not in _ALLOWED_OPTIONS[subject]]
    if ignored:
        verb = "has" if len(ignored) == 1 else "have"
        fail(f"{', '.join(ignored)} {verb} no effect together with {subject}; see profile-registry check --help")


def _read(question: str) -> Any:
    try:
        return json_text.parsed(json_text.read(question))
    except OSError as error:
        fail(f"{question} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(f"{question} is not valid JSON: {error}")


def _print(answer: Any) -> None:
    if any("possible" in result for result in answer["results"]):
        _print_summary(answer)
        return
    rows = []
    arguments = []
    for destination, result in _grouped(answer["results"]):
        devices = result.get("devices", [])
        if not devices:
            rows.append((destination, "", verdict(is_compatible=result["compatible"]), ""))
        elif not result["compatible"] and all(device["compatible"] for device in devices):
            # Something that lies in none of the devices.
            why = "QEMU does not migrate the VM now: see below"
            rows.append((f"{destination}, as a whole", "", verdict(is_compatible=False), why))
        for index, device in enumerate(devices):
            lines = [f"unit: {device['unit']}" if "unit" in device else "", reasons(device["problems"])]
            lines += [f"remedy: set {remedy['variable']} to {remedy['to']}" for remedy in device["remedies"]]
            lines += [f"warning: {warning['message']}" for warning in device["warnings"]]
            lines += _unchecked(device)
            why = "\n".join(filter(None, lines))
            rows.append(("" if index else destination, device["id"], verdict(is_compatible=device["compatible"]), why))
            if device.get("arguments"):
                # QEMU and vfio-user servers take them among others; these two are whole commands.
                program = [of] if (of := device["arguments_of"]) in {Form.VDPA, Form.MDEVCTL} else []
                arguments.append(shlex.join([*program, *device["arguments"]]))
    print_table(("destination", "device", "verdict", "why"), rows)
    _print_cures(answer["results"])
    # Print the arguments outside the table, which would wrap them: people copy these lines.
    for line in arguments:
        print_line(line)


def _unchecked(device: Any) -> Iterator[str]:
    """Iterate over the lines that say what of a device is not checked, and what that means for this VM."""
    not_known, guest_uses = device.get("not_known", ()), device.get("guest_uses", ())
    if names := [name for name in device["unchecked"] if name not in not_known]:
        yield f"unchecked: {', '.join(names)}"
    if guest_uses:
        yield f"the guest uses of these, so that the other host has to have them: {', '.join(guest_uses)}"
    if not_known:
        yield f"not known, because QEMU computes it when it starts the VM (check --live): {', '.join(not_known)}"


def _print_cures(results: Sequence[Any]) -> None:
    """Print the cure for each problem code, once."""
    devices = (device for result in results for device in result.get("devices", ()) if not device["remedies"])
    codes = dict.fromkeys(problem["code"] for device in devices for problem in device["problems"])
    for code in codes:
        if code in verdict_problem.RULES:
            print_line(f"{code}: {verdict_problem.RULES[verdict_problem.ProblemCode(code)].cure}")


def _grouped(results: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Iterate over (destinations, result); destinations with the same result are grouped."""
    groups: dict[str, list[Any]] = {}
    for result in results:
        content = {name: value for name, value in result.items() if name != "destination"}
        groups.setdefault(json_text.line(content), []).append(result)
    for group in groups.values():
        names = [result["destination"] for result in group]
        destinations = ", ".join(names[:_MAX_NAMES])
        if len(names) > _MAX_NAMES:
            destinations += f" … and {len(names) - _MAX_NAMES:,} more"
        yield (f"{group[0]['vm']} → {destinations}" if "vm" in group[0] else destinations), group[0]


def _print_summary(answer: Any) -> None:
    rows = []
    for result in answer["results"]:
        count = result["possible_count"]
        names = result["possible"]
        if names is None:
            names = [name for kind in result["kinds"] if kind["compatible"] for name in kind["examples"]]
        possible = f"{count:,} of {count + result['impossible_count']:,}: {', '.join(names[:_MAX_NAMES])}"
        possible += " …" if count > _MAX_NAMES else ""
        lines = [
            f"{reason['count']:,}: {reason['message']} ({', '.join(reason['devices'][:_MAX_NAMES])})"
            for reason in result["reasons"][:_MAX_REASONS]
        ]
        more = len(result["reasons"]) - _MAX_REASONS
        lines += [f"… and {more} more reasons"] if more > 0 else []
        lines += _warnings(result.get("warnings", ()))
        is_compatible = result["compatible"]
        rows.append(
            (
                result.get("vm", ""),
                rich.text.Text(possible, style="green" if is_compatible else "red"),
                "\n".join(lines),
            )
        )
    print_table(("vm", "can move to", "other hosts: number, reason, devices"), rows)


def _warnings(warnings: Sequence[Any]) -> Iterator[str]:
    """Iterate over the warnings about the possible destinations; many warnings of a kind are one line."""
    by_code: dict[str, list[Any]] = {}
    for warning in warnings:
        by_code.setdefault(warning["code"], []).append(warning)
    for code, of_code in by_code.items():
        if len(of_code) <= _MAX_NAMES:
            yield from (f"warning for {warning['count']:,} possible: {warning['message']}" for warning in of_code)
        else:
            yield f"warning {code}: {named({device for warning in of_code for device in warning['devices']})}"


def _end(answer: Any, asked: "vm_question.Asked") -> NoReturn:
    results = answer["results"]
    if not results:
        warn(
            "there is no destination to check: no host is registered or, if none was named, no release in use "
            "implements the model (GET /models lists the models)"
        )
        raise typer.Exit(NOT_ASKED)
    if asked.blocked or not all(result["compatible"] for result in results):
        raise typer.Exit(INCOMPATIBLE)
    if asked.unasked:
        warn(f"Everything checked is compatible; {_count_unasked(asked.unasked)} not checked.")
        raise typer.Exit(NOT_ASKED)
    raise typer.Exit


def _count_unasked(unasked: Mapping[str, str]) -> str:
    """Return how many devices and settings are unasked, with the verb: `1 device and 2 settings were`."""
    # What applies to the VM as a whole, such as qemu:commandline, is a setting, too.
    names = [name.rpartition(": ")[2] for name in unasked]
    settings = sum("/" in name or ":" in name or name == "launchSecurity" for name in names)
    counts = ((len(unasked) - settings, "device"), (settings, "setting"))
    parts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return f"{' and '.join(parts)} {'was' if len(unasked) == 1 else 'were'}"
