"""profile-registry check: asks whether devices can move to other hosts."""

import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import orjson
import typer
from rich.text import Text

from app.cli.client import Registry
from app.cli.libvirt import Domain, DomainError, DomainOptions, id_of_vm, is_general
from app.cli.output import (
    AsJson,
    fail,
    named,
    print_json,
    print_line,
    print_table,
    progress_bar,
    reasons,
    refuse,
    verdict,
    warn,
)
from app.cli.qemu.monitor import MonitorError, SocketMonitor, VirshMonitor
from app.cli.running import RunningVm
from app.cli.running import read as read_running
from app.cli.virtual_machine import CPU
from app.client import RegistryError
from app.domain.fleet.rendering import CPU_MODEL, Form
from app.domain.verdict.problem import RULES, ProblemCode
from app.domain.verdict.steps import Policy
from app.settings import ClientSettings
from app.wire.compatibility import MAX_DEVICES, Detail

_INCOMPATIBLE = 1
_NOT_ASKED = 2
_MAX_NAMES = 3
_MAX_REASONS = 5
# The options that have an effect, by the subject of the question.
_ALLOWED_OPTIONS = {
    "a question file": (),
    "--model": ("--source", "--profile", "--value", "--policy", "--detail"),
    "--domain": ("--source", "--profile", "--value", "--device", "--without", "--policy", "--detail"),
    "a running VM": ("--source", "--without", "--policy", "--detail"),
}


def check(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    question: Annotated[
        str | None,
        typer.Argument(help="A file with the body of POST /compatibility; - for standard input.", show_default=False),
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
    policy: Annotated[
        Policy,
        typer.Option(help="strict: the destination must list the profile; permissive: only variables are compared."),
    ] = Policy.STRICT,
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
            "the values that they really have, and what blocks its migration. Repeatable."
        ),
    ] = None,
    qmp: Annotated[
        list[Path] | None,
        typer.Option(help="The QMP socket of a running QEMU that nobody else uses; asked as with --live. Repeatable."),
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
    given["--policy"] = None if policy is Policy.STRICT else [policy]
    _check_options(subject, given)
    if render and detail not in {None, Detail.FULL}:
        fail(f"--render needs --detail full, not {detail}; leave --detail out")
    if question is not None:
        asked = _Asked(_read(question))
    elif domain:
        options = _domain_options(device or [], source or [], profile or [], value or [], without or [])
        asked = _domain_question(domain, *options)
    elif model is not None:
        asked = _Asked(_device_question(model, source or [], profile or [], value or []))
    else:
        asked = _running_question(live or [], qmp or [], source or [], without or [])
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
    try:
        with Registry(ClientSettings()) as registry:
            if asked.unasked is not None:
                asked = replace(asked, unasked={**asked.unasked, **_without_cpus(asked, registry)})
            answer = _blocked(_ask(registry, document, render), asked.blocked)
    except RegistryError as error:
        refuse(error)
    _show(answer, asked, as_json=as_json)
    _end(answer, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question. unasked: what of the VMs it leaves out, with the reason; None: it is not about whole VMs.

    blocked: by VM, why QEMU does not migrate it now.
    """

    document: Any
    unasked: Mapping[str, str] | None = None
    blocked: Mapping[str, Sequence[str]] = field(default_factory=dict)


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


def _show_question(asked: _Asked) -> None:
    """Print a question, with CPUs: those are left out later where the registry has no CPU models."""
    # A question of a file is shown as it is.
    for vm in asked.document["vms"] if asked.unasked is not None else ():
        for device in vm["devices"]:
            device.pop("is_default", None)
    print_json(asked.document)
    _warn_of(asked)


def _show(answer: Any, asked: _Asked, *, as_json: bool) -> None:
    """Print the answer, and what was not asked."""
    if as_json:
        unasked = {} if asked.unasked is None else {"unasked": asked.unasked}
        print_json({**answer, **unasked, **({"blocked": asked.blocked} if asked.blocked else {})})
        return
    if answer["results"]:
        _print(answer)
    _warn_of(asked)


def _warn_of(asked: _Asked) -> None:
    for vm, blockers in asked.blocked.items():
        for blocker in blockers:
            warn(f"{vm}: QEMU does not migrate it now: {blocker}")
    _warn_unasked(asked.unasked or {})


def _destinations(releases: list[str], hosts: list[str], labels: list[str]) -> list[dict[str, Any]]:
    """Return the destinations of a question; all labels together select hosts."""
    destinations: list[dict[str, Any]] = [{"id": release, "releases": [release]} for release in releases]
    return [*destinations, *({"host": name} for name in hosts), *([{"labels": labels}] if labels else [])]


def _ask(registry: Registry, document: Any, render: Sequence[Form] | None) -> Any:
    """Return the answer to a question; VMs with too many devices for one are asked about in several."""
    parameters = {"render": list(render)} if render else {}
    vms = document.get("vms") if isinstance(document, dict) else None
    if not isinstance(vms, list):
        return registry.post("/compatibility", document, **parameters)
    answers = [registry.post("/compatibility", {**document, "vms": batch}, **parameters) for batch in _batches(vms)]
    results = [result for answer in answers for result in answer["results"]]
    # The first one is the oldest: all are at least as recent.
    return {**answers[0], "results": results}


def _has_cpu_models(release: str | None, registry: Registry) -> bool:
    """Return whether the registry has the CPU models of a release; None: of any."""
    if release is None:
        return registry.find(f"/models/{CPU_MODEL}") is not None
    published = registry.find(f"/releases/{release}")
    return published is not None and any(entry["model"] == CPU_MODEL for entry in published["models"])


def _batches(vms: Sequence[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    count = 0
    for vm in vms:
        devices = len(vm.get("devices") or ()) if isinstance(vm, dict) else 0
        if batch and count + devices > MAX_DEVICES:
            yield batch
            batch, count = [], 0
        batch.append(vm)
        count += devices
    yield batch


def _blocked(answer: Any, blocked: Mapping[str, Sequence[str]]) -> Any:
    """Return an answer in which no VM that is blocked can move anywhere."""
    for result in answer["results"]:
        if result.get("vm") in blocked:
            result["compatible"] = False
            if "possible" in result:
                result["impossible"] += len(result["possible"])
                result["possible"] = []
    return answer


def _without_cpus(asked: _Asked, registry: Registry) -> Mapping[str, str]:
    """Take CPUs out of a question where the registry has no CPU models to compare; return them with the reason."""
    document = asked.document
    unasked: dict[str, str] = {}
    has_cpu_models = cache(partial(_has_cpu_models, registry=registry))
    destinations = cache(partial(_releases_at, document.get("destinations"), registry))
    cpus = [
        (vm, device)
        for vm in document["vms"]
        for device in vm["devices"]
        if device["id"] == CPU and device["model"] == CPU_MODEL
    ]
    for vm, device in cpus:
        is_default = device.pop("is_default", False)
        source = device.get("release")
        releases = [source, *destinations()] if has_cpu_models(source) else [source]
        lacking = ", ".join(release or "any release" for release in releases if not has_cpu_models(release))
        why = f"the registry has no CPU models of {lacking}"
        if is_default and source is None:
            why = "the source release is not named"
        elif not lacking:
            continue
        vm["devices"].remove(device)
        if is_default:
            # Any x86-64 host has its features, so that nothing is left to ask a host.
            warn(f"{vm['id']}: the XML names no CPU, so it is QEMU's default, which was not compared: {why}")
        else:
            name = CPU if len(document["vms"]) == 1 else f"{vm['id']}: {CPU}"
            cure = "add them with profile-registry import cpu-models"
            unasked[name] = f"{why}; {cure}, or leave the CPU out with --without {CPU}"
    document["vms"] = [vm for vm in document["vms"] if vm["devices"]]
    if not document["vms"]:
        if asked.blocked:
            _warn_of(asked)
            raise typer.Exit(_INCOMPATIBLE)
        _fail_unasked("nothing is left to check", unasked)
    return unasked


def _releases_at(destinations: Sequence[Mapping[str, Any]] | None, registry: Registry) -> list[str]:
    """Return QEMU's releases that the destinations of a question run; without destinations, all that are in use."""
    running: list[str] = []
    if destinations is None:
        running += [entry["release"] for entry in registry.items("/releases") if entry["state"] != "retired"]
    for destination in destinations or ():
        if "labels" in destination:
            hosts: Iterable[Any] = registry.items("/hosts", label=destination["labels"])
        elif "host" in destination:
            hosts = [registry.find(f"/hosts/{quote(destination['host'], safe='')}") or {}]
        else:
            hosts = [destination]
        running += [release for host in hosts for release in host.get("releases", ())]
    return [release for release in dict.fromkeys(running) if "/qemu-" in release]


def _check_options(subject: str, given: Mapping[str, object]) -> None:
    """Exit with an error for options that have no effect on the question."""
    ignored = [name for name, value in given.items() if value and name not in _ALLOWED_OPTIONS[subject]]
    if ignored:
        verb = "has" if len(ignored) == 1 else "have"
        fail(f"{', '.join(ignored)} {verb} no effect together with {subject}; see profile-registry check --help")


def _read(question: str) -> Any:
    try:
        return orjson.loads(sys.stdin.buffer.read() if question == "-" else Path(question).read_bytes())
    except OSError as error:
        fail(f"{question} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(f"{question} is not valid JSON: {error}")


def _device_question(model: str | None, source: list[str], profile: list[str], values: list[str]) -> dict[str, Any]:
    for option, names in (("--source", source), ("--profile", profile)):
        if len(names) > 1:
            fail(f"{option} can be given only once together with --model, not {len(names)} times")
    device = {
        "model": model,
        "release": next(iter(source), None),
        "profile": next(iter(profile), None),
        "values": dict(_pairs(values, "--value must be name=value", may_be_empty=True)),
    }
    return {"devices": [device]}


def _pairs(arguments: list[str], form: str, *, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Iterate over the name=value pairs of an option; form: the rule that an error message states.

    may_be_empty: whether the value can be empty; the name never can.
    """
    names = set()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (equals and name and (value or may_be_empty)):
            fail(f"{form}, not {argument}")
        if name in names:
            fail(f"{name} is given twice; {form}")
        names.add(name)
        yield name, value


def _domain_options(
    models: list[str], releases: list[str], profiles: list[str], values: list[str], without: list[str]
) -> tuple[DomainOptions, str | None, str | None]:
    """Return what the user states of devices, and the release and the profile of the VMs."""
    vm_release, device_releases = _vm_and_devices("--source", releases)
    vm_profile, device_profiles = _vm_and_devices("--profile", profiles)
    device_values: dict[str, dict[str, str]] = {}
    for key, value in _pairs(values, "with --domain, --value must be <id>/name=value", may_be_empty=True):
        device_id, _, name = key.partition("/")
        if not (device_id and name):
            fail(f"with --domain, --value must be <id>/name=value, not {key}={value}")
        device_values.setdefault(device_id, {})[name] = value
    options = DomainOptions(
        models=dict(_pairs(models, "--device must be <id>=<device model>")),
        releases=device_releases,
        profiles=device_profiles,
        values=device_values,
        without=without,
    )
    return options, vm_release, vm_profile


def _domain_question(paths: Sequence[Path], options: DomainOptions, release: str | None, profile: str | None) -> _Asked:
    """Return the question about all devices of libvirt domains."""
    for path, count in Counter(paths).items():
        if count > 1:
            fail(f"--domain {path} is given {count} times: {_TWICE.get(str(path), 'name each VM once')}")
    try:
        domains = [Domain.read(path, options, release, profile) for path in paths]
    except DomainError as error:
        fail(str(error))
    _check_stated(paths, domains, options)
    counts = Counter(domain.name for domain in domains)
    vms = []
    unasked: dict[str, str] = {}
    for path, domain in zip(paths, domains, strict=True):
        vm = domain.name if counts[domain.name] == 1 else f"{domain.name} ({path})"
        unasked |= {name if len(domains) == 1 else f"{vm}: {name}": why for name, why in domain.unasked.items()}
        if domain.devices:
            default = [{**device, "is_default": True} for device in domain.default_cpu]
            vms.append({"id": vm, "devices": [*domain.devices, *default]})
        else:
            unasked[vm] = "the VM has no device that can be checked"
    if not vms:
        _fail_unasked(f"{', '.join(map(str, paths))}: there is no device that can be checked", unasked)
    return _Asked({"vms": vms}, unasked)


_TWICE = {"-": "standard input has one VM"}


def _names(domains: Sequence[Domain]) -> str:
    return ", ".join(domain.name for domain in domains)


def _check_stated(paths: Sequence[Path], domains: Sequence[Domain], options: DomainOptions) -> None:
    """Exit if something is stated of what no VM has, and warn of what is stated of several."""
    of_vms = {name: [domain for domain in domains if id_of_vm(name, domain.name)] for name in options.names}
    unknown = set()
    for name, owners in of_vms.items():
        if is_general(name) and all(name in domain.unknown for domain in domains):
            unknown.add(name)
        elif not is_general(name) and not owners:
            fail(f"None of the domains is called as {name} says: <vm>:<id>; there are {_names(domains)}")
        elif any(id_of_vm(name, domain.name) in domain.unknown for domain in owners):
            unknown.add(name)
    if unknown:
        names = ", ".join(sorted(set.union(*(domain.names for domain in domains))))
        none_has = f"{paths[0]} has no device" if len(paths) == 1 else "None of the domains has a device"
        fail(f"{none_has} {', '.join(sorted(unknown))}; there are {names}")
    for name in sorted(filter(is_general, options.stated)):
        with_own = {
            domain.name for domain in domains for other in options.stated if id_of_vm(other, domain.name) == name
        }
        shared = [domain.name for domain in domains if name in domain.names and domain.name not in with_own]
        if len(shared) > 1:
            warn(
                f"{name} is in several VMs, and what is stated of it counts for each: {', '.join(shared)}. Name one of "
                f"them as in {shared[0]}:{name}"
            )


def _fail_unasked(message: str, unasked: Mapping[str, str]) -> NoReturn:
    """Exit because nothing is left to ask; unasked: what was left out, with reasons."""
    _warn_unasked(unasked)
    fail(message, {"code": "cannot-ask", "detail": message, "unasked": unasked})


def _warn_unasked(unasked: Mapping[str, str]) -> None:
    for name, reason in unasked.items():
        warn(f"not checked: {name}: {reason}")


def _running_question(
    domains: Sequence[str], sockets: Sequence[Path], sources: list[str], without: Sequence[str]
) -> _Asked:
    """Return the question about running VMs."""
    release, of_devices = _vm_and_devices("--source", sources)
    if of_devices:
        fail("with --live and --qmp, --source names QEMU's release, not that of a device")
    vms: list[RunningVm] = []
    try:
        monitors: list[VirshMonitor | SocketMonitor] = [*map(VirshMonitor, domains), *map(SocketMonitor, sockets)]
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            for monitor in monitors:
                with monitor:
                    vms.append(read_running(monitor, registry, release, progress))
    except MonitorError as error:
        fail(str(error))
    except RegistryError as error:
        refuse(error)
    if twice := [name for name, count in Counter(vm.name for vm in vms).items() if count > 1]:
        fail(f"several VMs are called {', '.join(twice)}; ask about one at a time")
    _check_without(without, vms)
    question = []
    unasked: dict[str, str] = {}
    for vm in vms:
        if vm.package and release is None and vm.release.startswith("qemu.org/"):
            warn(f"{vm.name} runs {vm.package}, which is not published; it is asked about as {vm.release} (--source)")
        left_out = {_id_in(name, vm.name) for name in without}
        devices = [device for device in vm.devices if device["id"] not in left_out]
        left = {name: why for name, why in vm.unasked.items() if name not in left_out}
        unasked |= {name if len(vms) == 1 else f"{vm.name}: {name}": why for name, why in left.items()}
        if devices:
            question.append({"id": vm.name, "devices": devices})
        else:
            unasked[vm.name] = "the VM has no device that can be checked"
    blocked = {vm.name: list(vm.blocked) for vm in vms if vm.blocked}
    if not question and not blocked:
        _fail_unasked("there is no device that can be checked", unasked)
    return _Asked({"vms": question}, unasked, blocked)


def _id_in(name: str, vm: str) -> str | None:
    """Return the device or setting that a user names, None if it is one of another VM."""
    return name if is_general(name) else id_of_vm(name, vm)


def _check_without(without: Sequence[str], vms: Sequence[RunningVm]) -> None:
    """Exit with an error if something is to be left out that no VM has."""
    names = {vm.name: [*(device["id"] for device in vm.devices), *vm.unasked] for vm in vms}
    unknown = [name for name in without if not any(_id_in(name, vm) in own for vm, own in names.items())]
    if unknown:
        there = ", ".join(dict.fromkeys(name for own in names.values() for name in own))
        fail(f"no VM has {', '.join(unknown)}; there are {there}")


def _vm_and_devices(option: str, arguments: list[str]) -> tuple[str | None, Mapping[str, str]]:
    """Return the option's value for the VM, and its values by device id."""
    devices = dict(
        _pairs([argument for argument in arguments if "=" in argument], f"{option} of a device must be <id>=<name>")
    )
    vm = [argument for argument in arguments if "=" not in argument]
    if len(vm) > 1 or "" in vm:
        fail(f"give {option} at most once for the VM, and as <id>=<name> for a device")
    return (vm[0] if vm else None), devices


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
            if device["unchecked"]:
                lines.append(f"unchecked: {', '.join(device['unchecked'])}")
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


def _print_cures(results: Sequence[Any]) -> None:
    """Print the cure for each problem code, once."""
    devices = (device for result in results for device in result.get("devices", ()) if not device["remedies"])
    codes = dict.fromkeys(problem["code"] for device in devices for problem in device["problems"])
    for code in codes:
        if code in RULES:
            print_line(f"{code}: {RULES[ProblemCode(code)].cure}")


def _grouped(results: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Iterate over (destinations, result); destinations with the same result are grouped."""
    groups: dict[bytes, list[Any]] = {}
    for result in results:
        content = {name: value for name, value in result.items() if name != "destination"}
        groups.setdefault(orjson.dumps(content), []).append(result)
    for group in groups.values():
        names = [result["destination"] for result in group]
        destinations = ", ".join(names[:_MAX_NAMES])
        if len(names) > _MAX_NAMES:
            destinations += f" … and {len(names) - _MAX_NAMES:,} more"
        yield (f"{group[0]['vm']} → {destinations}" if "vm" in group[0] else destinations), group[0]


def _print_summary(answer: Any) -> None:
    rows = []
    for result in answer["results"]:
        hosts = len(result["possible"]) + result["impossible"]
        possible = f"{len(result['possible']):,} of {hosts:,}: {', '.join(result['possible'][:_MAX_NAMES])}"
        possible += " …" if len(result["possible"]) > _MAX_NAMES else ""
        lines = [
            f"{reason['count']:,}: {reason['message']} ({', '.join(reason['devices'][:_MAX_NAMES])})"
            for reason in result["reasons"][:_MAX_REASONS]
        ]
        more = len(result["reasons"]) - _MAX_REASONS
        lines += [f"… and {more} more reasons"] if more > 0 else []
        lines += _warnings(result.get("warnings", ()))
        is_compatible = result["compatible"]
        rows.append((result.get("vm", ""), Text(possible, style="green" if is_compatible else "red"), "\n".join(lines)))
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


def _end(answer: Any, asked: _Asked) -> NoReturn:
    results = answer["results"]
    if not results:
        warn(
            "there is no destination to check: no host is registered or, if none was named, no release in use "
            "implements the model (GET /models lists the models)"
        )
        raise typer.Exit(_NOT_ASKED)
    if asked.blocked or not all(result["compatible"] for result in results):
        raise typer.Exit(_INCOMPATIBLE)
    if asked.unasked:
        warn(f"Everything checked is compatible; {_count_unasked(asked.unasked)} not checked.")
        raise typer.Exit(_NOT_ASKED)
    raise typer.Exit


def _count_unasked(unasked: Mapping[str, str]) -> str:
    """Return how many devices and settings are unasked, with the verb: `1 device and 2 settings were`."""
    # What applies to the VM as a whole, such as qemu:commandline, is a setting, too.
    names = [name.rpartition(": ")[2] for name in unasked]
    settings = sum("/" in name or ":" in name or name == "launchSecurity" for name in names)
    counts = ((len(unasked) - settings, "device"), (settings, "setting"))
    parts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    return f"{' and '.join(parts)} {'was' if len(unasked) == 1 else 'were'}"
