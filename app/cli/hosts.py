"""profile-registry host: registers the releases that hosts run, lists hosts and removes them."""

import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Annotated, Any

import typer

from app.cli import client, json_text, naming
from app.cli.host import report as host_report
from app.cli.host import tool
from app.cli.output import AsJson, fail, print_json, print_line, print_table, progress_bar, refuse, warn
from app.domain.values.name import InvalidNameError, host_name

commands = typer.Typer(
    help="""Register the releases that hosts run, and list hosts.

    Example:

        profile-registry host report --label rack=r1
    """,
    no_args_is_help=True,
)

_EVERY_SECONDS = 300
# What the registry says of a host in addition to what the host states.
_SHOWN = frozenset({"host", "kind", "reported_at", "stale"})
_SPREAD = 0.1
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be registered; store nothing.")]


@commands.command("report", short_help="Register what this host runs.")
def report(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    name: Annotated[str | None, typer.Option(help="The host's name. Default: the name of this machine.")] = None,
    binary: Annotated[
        list[Path] | None,
        typer.Option(help="A QEMU binary. Repeatable. Default: all QEMU binaries in the usual folders."),
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option(help="Another release that this host runs, which no tool states. Repeatable."),
    ] = None,
    unit_release: Annotated[
        list[str] | None,
        typer.Option(
            help="The release of a unit, <id>=<release>, in place of the one that the report finds. Repeatable.",
            metavar="ID=RELEASE",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label to select hosts by, name=value. Repeatable. Default: keep the registered labels."),
    ] = None,
    root: Annotated[
        Path,
        typer.Option(help="Where the host's file system is, for a report from within a container.", metavar="FOLDER"),
    ] = Path("/"),
    every: Annotated[
        int | None,
        typer.Option(min=10, help=f"With --watch: the seconds between reports. Default: {_EVERY_SECONDS}."),
    ] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Report again and again, as a service; prints what changes.")
    ] = False,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="VMs run without KVM: report the CPU features that QEMU emulates.")
    ] = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register what this host runs, what its devices are made from, and what its kernel makes of values.

    Run it on the host, as root; it can be repeated at any time. It asks the QEMU binaries, the kernel, vdpa, mdevctl,
    devlink, nvidia-smi, and the folders of vhost-user programs. What cannot be asked is named, and what is registered
    of it stays. If the registry has CPU models (import cpu-models), the features that this host lacks are registered,
    too. Labels, restrictions of other models, other releases and units, and what the host resolves otherwise stay.

    Exit status 0 registered, 2 not registered.

    Examples:

        profile-registry host report --label rack=r1 --label gen=icelake

        profile-registry host report --watch --every 600

        profile-registry host report --unit-release pci/0000:3b:00.2=vendor-a.com/dpu@2.0
    """
    if not root.is_dir():
        fail(f"--root {root} is no folder")
    if every is not None and not watch:
        fail("--every has no effect without --watch")
    machine = tool.Machine(root)
    # A container has a name of its own.
    own_name = socket.gethostname() if root == Path("/") else machine.text("/etc/hostname") or socket.gethostname()
    host = own_name if name is None else name
    _check_name(host)
    wanted = host_report.Wanted(
        binary or [],
        release or [],
        dict(_pair(text, "--unit-release", "<id>=<release>") for text in unit_release or []),
        dict(_pair(text, "--label", "name=value") for text in label or []),
        emulated,
    )
    reporting = _Reporting(host, wanted, machine, dry_run=dry_run, watch=watch)
    if not watch:
        try:
            reporting.once(as_json=as_json)
        except client.RegistryError as error:
            refuse(error)
        return
    while True:
        reporting.try_once(as_json=as_json)
        # The hosts of a fleet that start together do not report together for ever.
        sleep((every or _EVERY_SECONDS) * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 (no secret)


def _check_name(host: str) -> None:
    """Exit with an error if no host can be called so."""
    try:
        host_name(host)
    except InvalidNameError as error:
        fail(f"--name {host!r}: {error}")


@dataclass(slots=True)
class _Reporting:
    """Reports a host, and prints what has changed since the last report."""

    host: str
    wanted: "host_report.Wanted"
    machine: "tool.Machine"
    dry_run: bool = field(kw_only=True)
    watch: bool = field(kw_only=True)
    _last: Mapping[str, Any] | None = None

    def once(self, *, as_json: bool) -> None:
        """Report once; raises RegistryError."""
        with progress_bar() as progress, client.Registry() as registry:
            taken = host_report.take(registry, self.host, self.wanted, self.machine, progress)
            if self.wanted.binaries and host_report.QEMU in taken.not_asked and not self.watch:
                # A binary that the operator names must work.
                fail(f"nothing is registered: {taken.not_asked[host_report.QEMU]}")
            answer = registry.put(f"/hosts/{self.host}", taken.document, dry_run=self.dry_run)
        result = {**answer, **taken.document, "not_asked": taken.not_asked, "notes": taken.notes}
        if result == self._last:
            return
        self._last = result
        if as_json:
            print_json(result)
        else:
            self._print(taken, answer)

    def try_once(self, *, as_json: bool) -> None:
        """Report once; what goes wrong is a warning, for a service goes on: the host is stale meanwhile."""
        try:
            self.once(as_json=as_json)
        except client.RegistryError as error:
            warn(f"not reported: {error}")
        except Exception as error:  # noqa: BLE001 (whatever answers in place of the registry)
            warn(f"not reported: {error!r}")

    def _print(self, taken: "host_report.Report", answer: Mapping[str, Any]) -> None:
        unknown, document = answer["unknown_releases"], taken.document
        rows = [("(host)", release, "not yet" if release in unknown else "yes", "") for release in document["releases"]]
        for unit in document["units"]:
            room = "" if unit.get("available") is None else f"{unit['available']:,}"
            rows += [
                (unit["id"], release, "not yet" if release in unknown else "yes", room) for release in unit["releases"]
            ]
        title = f"{self.host}: {'would be registered' if self.dry_run else 'registered'}"
        print_table(("unit", "release", "published", "room for"), rows, title)
        for line in _stated(document):
            print_line(line)
        for note in taken.notes:
            print_line(note)
        if answer["unknown_models"]:
            print_line(
                f"not published yet, so what is stated of it has no effect: {', '.join(answer['unknown_models'])}"
            )
        if taken.removed:
            warn(f"removed because it was not found on this host: {', '.join(taken.removed)}")
        for source, why in taken.not_asked.items():
            warn(f"not asked: {source}, so what is registered of it stays: {why}")


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        fail(f"{option} must be {form}, not {text}")
    return name, value


@commands.command("load", short_help="Register a whole inventory.")
def load(
    file: Annotated[
        str,
        typer.Argument(
            help="The inventory: a JSON object with the document of each host under its name, or what host list --json "
            "prints; - for standard input.",
            metavar="FILE",
        ),
    ],
    *,
    forget_others: Annotated[
        bool, typer.Option("--forget-others", help="Forget all registered hosts that the inventory does not name.")
    ] = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    r"""Register up to 100,000 hosts in one transaction: all of them, or none if there is a fault.

    Hosts that state the same as before cost no write.

    Example:

        echo '{"host-1": {"releases": ["qemu.org/qemu-system-x86_64@10.0.13"], "labels": {"rack": "r1"}}}' \
          | profile-registry host load - --dry-run
    """
    try:
        hosts = json_text.parsed(json_text.read(file))
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read as JSON: {error}")
    if isinstance(hosts, list):
        hosts = {host["host"]: {field: host[field] for field in host.keys() - _SHOWN} for host in hosts}
    if not isinstance(hosts, dict):
        fail(f"{file}: must be an object with the documents of hosts by their names")
    parameters = {"dry_run": "true"} if dry_run else {}
    try:
        with client.Registry() as registry:
            answer = registry.post("/hosts", {"hosts": hosts, "forget_others": forget_others}, **parameters)
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
        return
    title = "would be registered" if dry_run else "registered"
    counts = [(field, f"{answer[field]:,}") for field in ("added", "changed", "unchanged", "forgotten")]
    print_table(("hosts", "number"), counts, title)
    if answer["unknown_releases"]:
        warn(f"not published yet: {', '.join(answer['unknown_releases'])}")
    if answer["unknown_models"]:
        warn(f"not published yet, so what is stated of it has no effect: {', '.join(answer['unknown_models'])}")


@commands.command("list", short_help="List the registered hosts.")
def list_hosts(
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Only hosts with this label: name=value, name!=value, name or !name. Repeatable: all must hold."
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the registered hosts with releases, units, labels, last report, and how much they restrict or resolve.

    Example:

        profile-registry host list --label rack=r1
    """
    try:
        with client.Registry() as registry:
            hosts = list(registry.items("/hosts", **({"label": label} if label else {})))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(hosts)
        return
    rows = [
        (
            host["host"],
            "\n".join(host["releases"]),
            "\n".join(f"{unit['id']}: {', '.join(unit['releases'])}" for unit in host["units"]),
            ", ".join(f"{name}={value}" for name, value in sorted(host["labels"].items())),
            f"{(host['reported_at'] or 'not known')[:16].replace('T', ' ')}{', stale' if host['stale'] else ''}",
            "\n".join(_stated(host)),
        )
        for host in hosts
    ]
    print_table(("host", "releases", "units", "labels", "last report (UTC)", "restricts, resolves"), rows)


def _stated(host: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the models of which a host or a unit states something, with how many variables."""
    for place in (host, *host["units"]):
        of_unit = f" ({place['id']})" if "id" in place else ""
        for statement in ("restrict", "resolves"):
            for model, variables in place.get(statement, {}).items():
                yield f"{statement} {model}{of_unit}: {len(variables)} variable{'' if len(variables) == 1 else 's'}"


@commands.command("forget")
def forget(
    name: Annotated[str, typer.Argument(help="The host.", autocompletion=naming.hosts)], *, as_json: AsJson = False
) -> None:
    """Remove a host from the registry.

    Example:

        profile-registry host forget host-17
    """
    _check_name(name)
    try:
        with client.Registry() as registry:
            registry.delete(f"/hosts/{name}")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"forgotten": name})
        return
    print_line(f"host {name} removed")
