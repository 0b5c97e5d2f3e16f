"""Questions about devices and VMs: from options, domains and running VMs to the body of POST /compatibility."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app.cli import client
from app.cli import running as running_vm
from app.cli.output import fail, named, progress_bar, refuse, warn
from app.cli.qemu import monitor as qemu_monitor
from app.domain.fleet import rendering
from app.domain.fleet.form import Form
from app.domain.verdict import problem
from app.domain.verdict.policy import Policy
from app.hypervisor import domain as hypervisor_domain
from app.hypervisor import facts, naming
from app.hypervisor import question as vm_question
from app.wire import compatibility
from app.wire.detail import Detail

# Exit statuses.
INCOMPATIBLE = 1
NOT_ASKED = 2


PolicyOption = Annotated[
    Policy,
    typer.Option(
        "--policy", help="strict: the destination must list the profile; permissive: only variables are compared."
    ),
]


def warn_of(asked: "vm_question.Asked") -> None:
    """Print why VMs are blocked, and what of them is not asked."""
    for vm, blockers in asked.blocked.items():
        for blocker in blockers:
            warn(f"{vm}: QEMU does not migrate it now: {blocker}")
    _warn_unasked(asked.unasked or {})


def ask(registry: "client.Registry", document: Any, render: Sequence[Form] | None) -> Any:
    """Return the answer to a question; VMs that are too many for one are asked about in several."""
    several = answers(registry, document, render)
    results = [result for answer in several for result in answer["results"]]
    # The first one is the oldest: all are at least as recent.
    return {**several[0], "results": results}


def answers(registry: "client.Registry", document: Any, render: Sequence[Form] | None = None) -> Sequence[Any]:
    """Return the answers to a question: one, or several where the limits of a question make it necessary."""
    parameters = {"render": list(render)} if render else {}
    vms = document.get("vms") if isinstance(document, dict) else None
    if not isinstance(vms, list):
        return [registry.post("/compatibility", document, **parameters)]
    asked: list[Any] = []
    waiting = list(_batches(vms))[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            asked.append(registry.post("/compatibility", {**document, "vms": batch}, **parameters))
        except client.RegistryError as error:
            if len(batch) <= 1 or not is_too_much(error):
                raise
            half = len(batch) // 2
            waiting += [batch[half:], batch[:half]]
    return asked


def is_too_much(error: "client.RegistryError") -> bool:
    """Return whether the registry refused a question because it asks too much at once."""
    problem = error.problem or {}
    codes = {problem.get("code"), *(fault.get("code") for fault in problem.get("faults", ()))}
    return not codes.isdisjoint({"over-budget", "too-large", "limit-exceeded"})


def has_cpu_models(release: str | None, registry: "client.Registry") -> bool:
    """Return whether the registry has the CPU models of a release; None: of any."""
    if release is None:
        return registry.find(f"/models/{rendering.CPU_MODEL}") is not None
    published = registry.find(f"/releases/{release}")
    return published is not None and any(entry["model"] == rendering.CPU_MODEL for entry in published["models"])


def _batches(vms: Sequence[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    count = 0
    for vm in vms:
        devices = len(vm.get("devices") or ()) if isinstance(vm, dict) else 0
        if batch and count + devices > compatibility.MAX_DEVICES:
            yield batch
            batch, count = [], 0
        batch.append(vm)
        count += devices
    yield batch


def completed(answer: Any, asked: "vm_question.Asked") -> Any:
    """Return an answer with what else is known of the VMs."""
    answer = _with_blocked(answer, asked.blocked)
    models = {
        (vm["id"], device["id"]): device
        for vm in (asked.document["vms"] if asked.is_ordered else ())
        for device in vm["devices"]
    }
    for result in answer["results"]:
        for device in result.get("devices", ()):
            if (stated := models.get((result.get("vm"), device["id"]))) is not None:
                _without_computed(
                    device,
                    facts.computed(stated["model"].removeprefix(f"{hypervisor_domain.VENDOR}/"))
                    - stated["values"].keys(),
                )
            used = asked.negotiated.get(result.get("vm"), {}).get(device["id"], ())
            if guest_uses := [name for name in device["unchecked"] if name in used]:
                device["guest_uses"] = guest_uses
    return answer


def _without_computed(device: Any, names: AbstractSet[str]) -> None:
    """Take out of an answer what QEMU computes for each VM: what the profile has of it is that of another VM."""
    if not device["compatible"] or not names:
        return
    device["unchecked"] = [*device["unchecked"], *sorted(names - set(device["unchecked"]))]
    device["not_known"] = sorted(names)
    for name in names:
        (device.get("configuration") or {}).pop(name, None)
    for warning in device["warnings"]:
        if warning["code"] == problem.WarningCode.MUST_BE_SET.value and warning.get("values"):
            warning["values"] = {name: value for name, value in warning["values"].items() if name not in names}
    device["warnings"] = [
        warning
        for warning in device["warnings"]
        if warning["code"] != problem.WarningCode.MUST_BE_SET.value or warning.get("values") != {}
    ]


def _with_blocked(answer: Any, blocked: Mapping[str, Sequence[str]]) -> Any:
    """Return an answer in which no VM that is blocked can move anywhere."""
    for result in answer["results"]:
        if result.get("vm") in blocked:
            result["compatible"] = False
            if "possible" in result:
                result["impossible_count"] += result["possible_count"]
                result["impossible"] = result["impossible_count"]
                result["possible_count"], result["possible"] = 0, []
                for kind in result["kinds"]:
                    kind["compatible"] = False
    return answer


def without_cpus(asked: "vm_question.Asked", registry: "client.Registry") -> Mapping[str, str]:
    """Take CPUs out of a question where the registry has no CPU models to compare; return them with the reason."""
    unasked, defaults = vm_question.without_cpus(
        asked,
        partial(has_cpu_models, registry=registry),
        partial(releases_at, asked.document.get("destinations"), registry),
    )
    for sentence in defaults:
        warn(sentence)
    return unasked


def check_left(asked: "vm_question.Asked") -> None:
    """Exit if nothing is left of a question about VMs."""
    if asked.document["vms"]:
        return
    if asked.blocked:
        warn_of(asked)
        raise typer.Exit(INCOMPATIBLE)
    _fail_unasked("nothing is left to check", asked.unasked or {})


def releases_at(destinations: Sequence[Mapping[str, Any]] | None, registry: "client.Registry") -> list[str]:
    """Return QEMU's releases that the destinations of a question run; without destinations, all that are in use."""
    running: list[str] = []
    if destinations is None:
        running += [entry["release"] for entry in registry.items("/releases") if entry["state"] != "retired"]
    for destination in destinations or ():
        if "labels" in destination or "all_hosts" in destination:
            hosts: Iterable[Any] = _kinds_of(destination, registry)
        elif "host" in destination:
            hosts = [registry.find(f"/hosts/{destination['host']}") or {}]
        else:
            hosts = [destination]
        running += [release for host in hosts for release in host.get("releases", ())]
    return [release for release in dict.fromkeys(running) if naming.is_emulator(release)]


def _kinds_of(destination: Mapping[str, Any], registry: "client.Registry") -> Iterable[Any]:
    """Return the kinds of the hosts that a destination selects; there can be very many hosts."""
    question = {
        "devices": [{"model": rendering.CPU_MODEL}],
        "destinations": [destination],
        "detail": Detail.SUMMARY.value,
    }
    (result,) = registry.post("/compatibility", question)["results"]
    kinds: Iterable[Any] = result["kinds"]
    return kinds


def device_question(model: str | None, source: list[str], profile: list[str], values: list[str]) -> dict[str, Any]:
    """Return the question about one device, as options state it; exits with an error if they are wrong."""
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


def domain_options(
    models: list[str], releases: list[str], profiles: list[str], values: list[str], without: list[str]
) -> "tuple[hypervisor_domain.DomainOptions, str | None, str | None]":
    """Return what the user states of devices, and the release and the profile of the VMs."""
    vm_release, device_releases = _vm_and_devices("--source", releases)
    vm_profile, device_profiles = _vm_and_devices("--profile", profiles)
    device_values: dict[str, dict[str, str]] = {}
    for key, value in _pairs(values, "with --domain, --value must be <id>/name=value", may_be_empty=True):
        device_id, _, name = key.partition("/")
        if not (device_id and name):
            fail(f"with --domain, --value must be <id>/name=value, not {key}={value}")
        device_values.setdefault(device_id, {})[name] = value
    options = hypervisor_domain.DomainOptions(
        models=dict(_pairs(models, "--device must be <id>=<device model>")),
        releases=device_releases,
        profiles=device_profiles,
        values=device_values,
        without=without,
    )
    return options, vm_release, vm_profile


def domain_question(
    paths: Sequence[Path], options: "hypervisor_domain.DomainOptions", release: str | None, profile: str | None
) -> "vm_question.Asked":
    """Return the question about all devices of libvirt domains; exits with an error if they cannot be read."""
    for path, count in Counter(paths).items():
        if count > 1:
            fail(f"--domain {path} is given {count} times: {_TWICE.get(str(path), 'name each VM once')}")
    try:
        domains = [hypervisor_domain.Domain.read(path, options, release, profile) for path in paths]
    except hypervisor_domain.DomainError as error:
        fail(str(error))
    check_stated(paths, domains, options)
    _warn_of_shared(domains, options)
    asked = vm_question.domain_question_of(domains, list(map(str, paths)))
    if not asked.document["vms"]:
        names = ", ".join(map(str, paths))
        _fail_unasked(f"{names}: there is no device that can be checked", asked.unasked or {})
    return asked


_TWICE = {"-": "standard input has one VM"}


def _names(domains: "Sequence[hypervisor_domain.Domain]") -> str:
    return ", ".join(domain.name for domain in domains)


def check_stated(
    paths: Sequence[object], domains: "Sequence[hypervisor_domain.Domain]", options: "hypervisor_domain.DomainOptions"
) -> None:
    """Exit if something is stated of what no VM has; paths: where the domains come from."""
    of_vms = {
        name: [domain for domain in domains if hypervisor_domain.id_of_vm(name, domain.name)] for name in options.names
    }
    unknown = set()
    for name, owners in of_vms.items():
        if hypervisor_domain.is_general(name) and all(name in domain.unknown for domain in domains):
            unknown.add(name)
        elif not hypervisor_domain.is_general(name) and not owners:
            fail(f"None of the domains is called as {name} says: <vm>:<id>; there are {_names(domains)}")
        elif any(hypervisor_domain.id_of_vm(name, domain.name) in domain.unknown for domain in owners):
            unknown.add(name)
    if unknown:
        names = ", ".join(sorted(set.union(*(domain.names for domain in domains))))
        none_has = f"{paths[0]} has no device" if len(paths) == 1 else "None of the domains has a device"
        fail(f"{none_has} {', '.join(sorted(unknown))}; there are {names}")


def _warn_of_shared(domains: "Sequence[hypervisor_domain.Domain]", options: "hypervisor_domain.DomainOptions") -> None:
    """Print what is stated of several VMs at once."""
    for name in sorted(filter(hypervisor_domain.is_general, options.stated)):
        with_own = {
            domain.name
            for domain in domains
            for other in options.stated
            if hypervisor_domain.id_of_vm(other, domain.name) == name
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


def running_question(
    domains: Sequence[str], sockets: Sequence[Path], sources: list[str], host: str | None, without: Sequence[str]
) -> "vm_question.Asked":
    """Return the question about running VMs; exits with an error if they cannot be read.

    host: the registered one that they run on, None: the one of the name that the monitor says.
    """
    release = release_of_running(sources)
    vms: list[running_vm.RunningVm] = []
    try:
        monitors: list[qemu_monitor.VirshMonitor | qemu_monitor.SocketMonitor] = [
            *map(qemu_monitor.VirshMonitor, domains),
            *map(qemu_monitor.SocketMonitor, sockets),
        ]
        with progress_bar() as progress, client.Registry() as registry:
            for monitor in monitors:
                with monitor:
                    vms.append(running_vm.read(monitor, registry, release, host, progress))
    except qemu_monitor.MonitorError as error:
        fail(str(error))
    except client.RegistryError as error:
        refuse(error)
    if twice := [name for name, count in Counter(vm.name for vm in vms).items() if count > 1]:
        fail(f"several VMs are called {', '.join(twice)}; ask about one at a time")
    check_without(without, vms)
    warn_of_packages(vms, release)
    question = []
    unasked: dict[str, str] = {}
    for vm in vms:
        document, left = question_of_running(vm, without)
        unasked |= {name if len(vms) == 1 else f"{vm.name}: {name}": why for name, why in left.items()}
        if document is None:
            unasked[vm.name] = "the VM has no device that can be checked"
        else:
            question.append({"id": vm.name, **document})
    blocked = {vm.name: list(vm.blocked) for vm in vms if vm.blocked}
    if not question and not blocked:
        _fail_unasked("there is no device that can be checked", unasked)
    return vm_question.Asked({"vms": question}, unasked, blocked, {vm.name: vm.negotiated for vm in vms})


def release_of_running(sources: list[str]) -> str | None:
    """Return QEMU's release as --source states it for running VMs; exits with an error if it is about a device."""
    release, of_devices = _vm_and_devices("--source", sources)
    if of_devices:
        fail("of a running VM, --source names QEMU's release, not that of a device")
    return release


def warn_of_packages(vms: "Sequence[running_vm.RunningVm]", release: str | None) -> None:
    """Print which VMs are asked about as another release than the package that they run; release: the one stated."""
    running: dict[tuple[str, str], list[str]] = {}
    for vm in vms:
        if vm.package and release is None and vm.release.startswith("qemu.org/"):
            running.setdefault((vm.package, vm.release), []).append(vm.name)
    for (package, name), names in running.items():
        verbs = ("runs", "it is") if len(names) == 1 else ("run", "they are")
        warn(
            f"{named(names)} {verbs[0]} {package}, which is not published; {verbs[1]} asked about as {name} (--source)"
        )


def question_of_running(
    vm: "running_vm.RunningVm", without: Sequence[str]
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Return a running VM as a question has it, without its name, and what is not asked of it, with the reason.

    None: nothing can be asked. without: devices and settings that the user leaves out.
    """
    left_out = {_id_in(name, vm.name) for name in without}
    devices = [device for device in vm.devices if device["id"] not in left_out]
    unasked = {name: why for name, why in vm.unasked.items() if name not in left_out}
    host = {"host": vm.host} if vm.host else {}
    return ({"devices": devices, **host} if devices else None), unasked


def _id_in(name: str, vm: str) -> str | None:
    """Return the device or setting that a user names, None if it is one of another VM."""
    return name if hypervisor_domain.is_general(name) else hypervisor_domain.id_of_vm(name, vm)


def check_without(without: Sequence[str], vms: "Sequence[running_vm.RunningVm]") -> None:
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
