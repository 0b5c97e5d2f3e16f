"""profile-registry drain: plans where the VMs of a host move, in which order, and what would help those that cannot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import rich.text
import typer

from app.cli import asking, client, naming
from app.cli import near as near_names
from app.cli.asking import INCOMPATIBLE, NOT_ASKED, PolicyOption
from app.cli.drain import planned as drain_planned
from app.cli.drain import question as drain_question
from app.cli.drain import vms as drain_vms
from app.cli.output import AsJson, fail, named, print_json, print_line, print_table, progress_bar, refuse, warn
from app.domain.fleet import drain as fleet_drain
from app.domain.verdict import problem
from app.domain.verdict.policy import Policy
from app.hypervisor import reading
from app.wire import compatibility

_MAX_HOSTS = 3
_MAX_REASONS = 4
_MAX_KINDS = 40


def drain(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files with VMs: libvirt domains (virsh dumpxml), or questions in JSON; - for standard input.",
            show_default=False,
            metavar="FILES",
        ),
    ] = None,
    live_host: Annotated[
        str | None,
        typer.Option(
            help="All VMs that run on a libvirt host: its name, or its address such as qemu+ssh://host/system. They "
            "are asked through virsh, with the values that they really have.",
            metavar="HOST",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Only hosts with this label can take VMs: name=value, name!=value, name or !name. Repeatable: all "
            "must hold. Default: all registered hosts."
        ),
    ] = None,
    source_host: Annotated[
        str | None,
        typer.Option(
            help="The registered host that the VMs run on: it takes none of them, and its report says what they run "
            "on. With --live-host: if it is registered under another name.",
            autocompletion=naming.hosts,
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="The QEMU release that the VMs run on, or <id>=<release> for a device of libvirt's XML."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="For libvirt's XML: the profile in place of the machine type; <id>=<profile> for a device."),
    ] = None,
    value: Annotated[
        list[str] | None, typer.Option(help="For libvirt's XML: a variable, <id>/name=value. Repeatable.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="For libvirt's XML: <id>=<device model>, <id>-backend and <id>-device, as check takes it; "
            "<vm>:<id>=<device model> for one of several VMs. Repeatable."
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A device <id>, or a setting <id>/<setting>, to leave out; <vm>:<id> of one VM. Repeatable."),
    ] = None,
    policy: PolicyOption = Policy.STRICT,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Plan a drain: where each VM can go, in which order they leave, and what would help those that can go nowhere.

    Move the VMs from top to bottom, each to the host named: then each finds a place, if the units of the hosts have as
    much room as the hosts report, and as many VMs leave as can. VMs with the least choice go first. Where a VM can also
    go elsewhere, no other VM of the plan needs a place there; if one went elsewhere, plan again. The room of units is a
    hint, and decides no verdict; units that report none count as not limited. Free memory and CPUs are not compared.

    Exit status 0 every VM can go to some host, 1 one can go nowhere, 2 could not ask, or something was not checked. A
    VM for which no unit has room left is named, but is no failure.

    Examples:

        profile-registry drain --live-host host-17 --label rack=r1 --label '!draining'

        profile-registry drain vm*.xml --source-host host-17 --label rack=r1

        profile-registry drain vms.json --json
    """
    if bool(files) is (live_host is not None):
        fail("drain takes either files with VMs or --live-host; see profile-registry drain --help")
    given = {"--profile": profile, "--value": value, "--device": device}
    if live_host is not None and (ignored := [name for name, stated in given.items() if stated]):
        fail(f"{', '.join(ignored)} cannot be used with --live-host: QEMU itself is asked")
    try:
        with progress_bar() as progress, client.Registry() as registry:
            if live_host is not None:
                vms, sources = _on_host(live_host, registry, source or [], source_host, without or [], progress)
            else:
                host = None if source_host is None else drain_vms.known_host(source_host, registry)
                stated = drain_vms.Stated(
                    *asking.domain_options(device or [], source or [], profile or [], value or [], without or []), host
                )
                vms = drain_vms.in_files(files or [], stated)
                sources = set() if source_host is None else {source_host}
            leave_out = sorted(sources.union(*(reading.hosts_of(vm.document) for vm in vms)))
            if len(leave_out) > compatibility.MAX_LEFT_OUT:
                fail(
                    f"the VMs run on {len(leave_out):,} hosts, and a question can leave out at most "
                    f"{compatibility.MAX_LEFT_OUT:,}: plan fewer VMs at a time"
                )
            question = drain_question.Question(label or [], leave_out, policy)
            plan = drain_planned.planned(vms, question, registry, progress)
            near = list(near_names.suggestions(registry, *plan.unknown()))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(plan.document())
    else:
        _print(plan)
    _warn(plan)
    for line in near:
        warn(line)
    _end(plan)


def _on_host(
    name: str,
    registry: "client.Registry",
    sources: list[str],
    source_host: str | None,
    without: Sequence[str],
    progress: Any,
) -> "tuple[Sequence[drain_vms.Vm], set[str]]":
    """Return the VMs that run on a libvirt host, and the name under which it is registered."""
    libvirt = drain_vms.libvirt_at(name)
    host = (
        drain_vms.known_host(source_host, registry)
        if source_host is not None
        else drain_vms.registered(libvirt, name, registry)
    )
    release = asking.release_of_running(sources)
    vms = drain_vms.running_on(libvirt, registry, release, host, without, progress)
    if host is None:
        warn(f"{name} is not registered, so it is not left out where VMs can go; --source-host names it")
    return vms, set() if host is None else {host.name}


def _print(plan: "drain_planned.Planned") -> None:
    """Print the plan; why VMs do not leave follows the table, which would wrap it."""
    if not plan.vms:
        print_line("There is no VM to move.")
        return
    print_line(_headline(plan))
    numbers = {kind["kind"]: number for number, kind in enumerate(plan.kinds)}
    moves = plan.moves()
    vms = {vm.name: vm for vm in plan.vms}
    rows = []
    for name in plan.in_order:
        turn, move = moves.get(name, (None, None))
        where = _nowhere(plan, vms[name]) if move is None else _where(plan, move)
        rows.append(("-" if turn is None else f"{turn:,}", name, _possible(plan, vms[name], numbers), where))
    print_table(("turn", "VM", "can go to", "move to"), rows)
    for number, kind in enumerate(plan.kinds[:_MAX_KINDS], 1):
        print_line(f"kind {number}: {_hosts(kind['count'], kind['examples'])}: {', '.join(kind['releases'])}")
    if (more := len(plan.kinds) - _MAX_KINDS) > 0:
        print_line(f"and {more:,} more kinds; --json lists all")
    stays = {name: tuple(_why_not(plan, vms[name])) for name in plan.in_order if name not in moves}
    for lines, names in _alike(stays):
        for line in lines:
            print_line(f"{named(names)}: {line}")


def _alike(lines: Mapping[str, Sequence[str]]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Iterate over lines about VMs, each with the VMs that have the same."""
    names: dict[Sequence[str], list[str]] = {}
    for name, of_vm in lines.items():
        names.setdefault(of_vm, []).append(name)
    yield from names.items()


def _headline(plan: "drain_planned.Planned") -> str:
    parts = [f"{len(plan.plan.moves):,} of {len(plan.vms):,} VMs can leave, in this order"]
    leaving = plan.moves()
    for count, words in (
        (sum(bool(vm.unasked) for vm in plan.vms if vm.name in leaving), "of these not checked completely"),
        (len(plan.stuck), "can go nowhere"),
        (len(plan.plan.placeless), "find no room"),
        (len(plan.unread), "could not be asked about"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    return f"{'; '.join(parts)}."


def _hosts(count: int, examples: Sequence[str]) -> str:
    """Return hosts in words: their names if they are few, otherwise their number and some names."""
    names = ", ".join(examples[:_MAX_HOSTS])
    return names if count <= min(len(examples), _MAX_HOSTS) else f"{count:,} hosts such as {names}"


def _hosts_of(kinds: Sequence[Mapping[str, Any]]) -> str:
    return _hosts(sum(kind["count"] for kind in kinds), sorted(name for kind in kinds for name in kind["examples"]))


def _possible(plan: "drain_planned.Planned", vm: "drain_vms.Vm", numbers: Mapping[str, int]) -> "rich.text.Text":
    """Return to how many hosts a VM can go, and of which kinds these are; numbers: of the kinds, from 0."""
    answer = plan.answers.get(vm.name)
    if answer is None:
        return rich.text.Text("?", style="yellow")
    count = answer["possible_count"]
    kinds = sorted(numbers[kind["kind"]] for kind in answer["kinds"] if kind["compatible"])
    of_kinds = f" (kind{'' if len(kinds) == 1 else 's'} {fleet_drain.ranges(kinds)})" if kinds else ""
    text = f"{count:,} of {count + answer['impossible_count']:,} hosts{of_kinds}"
    if count and vm.unasked:
        return rich.text.Text(f"{text}, in what was checked", style="yellow")
    return rich.text.Text(text, style="green" if count else "red")


def _where(plan: "drain_planned.Planned", move: "fleet_drain.Move") -> str:
    """Return where a VM moves, and where else it could."""
    if move.host is None:
        return f"any of {_hosts_of([kind for kind in plan.answers[move.vm]['kinds'] if kind['kind'] in move.kinds])}"
    words = ", ".join([move.host, *plan.units(move)])
    if move.is_unstated:
        words += " (room not stated)"
    if move.others:
        words += f"\nor {_hosts(len(move.others), move.others)}"
        words += "" if plan.rooms.partial.isdisjoint(move.kinds) else ", and others"
    return words


def _nowhere(plan: "drain_planned.Planned", vm: "drain_vms.Vm") -> "rich.text.Text":
    if vm.unread is not None and not vm.blocked:
        return rich.text.Text("not known", style="yellow")
    if plan.answers.get(vm.name, {}).get("compatible"):
        return rich.text.Text("no room left", style="yellow")
    return rich.text.Text("nowhere", style="red")


def _why_not(plan: "drain_planned.Planned", vm: "drain_vms.Vm") -> Iterator[str]:
    """Iterate over lines that say why a VM does not leave, and what would help."""
    if vm.blocked or vm.unread is not None:
        yield from (f"QEMU does not migrate it now: {blocker}" for blocker in vm.blocked)
        yield from () if vm.unread is None else (vm.unread,)
        return
    answer = plan.answers[vm.name]
    if answer["compatible"]:
        hosts = _hosts_of([kind for kind in answer["kinds"] if kind["compatible"]])
        yield f"can go to {hosts}, but by what the hosts report, their units have no room left for it"
        return
    for reason in answer["reasons"][:_MAX_REASONS]:
        yield f"{reason['message']} ({named(reason['devices'])}; {_hosts(reason['count'], reason['examples'])})"
    more = len(answer["reasons"]) - _MAX_REASONS
    if more > 0:
        yield f"and {more:,} more reason{'' if more == 1 else 's'}"
    cures = plan.cures.get(vm.name, ())
    for cure in cures:
        yield f"what would help: {cure.words}, it can go to {_hosts(cure.possible_count, cure.examples)}"
    if not cures:
        rules = {rule.code.value: rule.cure for rule in problem.RULES.values()}
        for code in dict.fromkeys(reason["code"] for reason in answer["reasons"]):
            yield f"{code}: {rules[code]}" if code in rules else code


def _warn(plan: "drain_planned.Planned") -> None:
    """Print what a reader of the plan has to know: what was left out, split, not checked or not stated."""
    if plan.question.leave_out:
        warn(f"not among the hosts to go to, because VMs run there: {named(plan.question.leave_out)}")
    if plan.question_count > 1:
        warn(f"asked in {plan.question_count:,} questions, because one would exceed the registry's limits")
    if not plan.plan.is_best:
        warn("another plan could move more VMs: the search for the best one was ended")
    codes: dict[str, list[str]] = {}
    for name, answer in plan.answers.items():
        for code in dict.fromkeys(warning["code"] for warning in answer.get("warnings", ())):
            codes.setdefault(code, []).append(name)
    for code, names in codes.items():
        warn(f"warning {code}: {named(names)}; check --detail summary says more")
    unasked: dict[tuple[str, str], list[str]] = {}
    for vm in plan.vms:
        for name, why in vm.unasked.items():
            unasked.setdefault((name, why), []).append(vm.name)
    for (name, why), names in unasked.items():
        warn(f"not checked: {name} of {named(names)}: {why}")


def _end(plan: "drain_planned.Planned") -> NoReturn:
    if plan.stuck:
        raise typer.Exit(INCOMPATIBLE)
    unasked = [vm.name for vm in plan.vms if vm.unasked or vm.unread is not None]
    if unasked:
        warn(f"Every VM that was checked can go somewhere, but not all was checked of {named(unasked)}.")
        raise typer.Exit(NOT_ASKED)
    raise typer.Exit
