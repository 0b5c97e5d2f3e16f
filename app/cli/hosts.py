"""profile-registry host: registers the releases that hosts run, lists hosts and removes them."""

import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Registry
from app.cli.output import AsJson, fail, print_json, print_line, print_table, progress_bar, refuse, warn
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.cpu import features_of, restriction, take_cpu_models
from app.cli.qemu.live import Progress
from app.cli.qemu.naming import releases_of
from app.client import RegistryError
from app.domain.fleet.rendering import CPU_MODEL
from app.settings import ClientSettings

commands = typer.Typer(
    help="""Register the releases that hosts run, and list hosts.

    Example:

        profile-registry host report --label rack=r1
    """,
    no_args_is_help=True,
)

_VERSION = re.compile(r"QEMU emulator version (\d+\.\d+\.\d+)(?: \(([^)]*)\))?")
_BINARY = re.compile(r"qemu-system-([a-z0-9_]+)|qemu-kvm")
_KERNEL = "kernel.org/linux"
_FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/libexec")
_VERSION_SECONDS = 30
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be registered; store nothing.")]


@commands.command("report")
def report(  # noqa: PLR0913 (each is an option of the command)
    name: Annotated[str | None, typer.Option(help="The host's name. Default: the name of this machine.")] = None,
    binary: Annotated[
        list[Path] | None,
        typer.Option(help="A QEMU binary. Repeatable. Default: all QEMU binaries in the usual folders."),
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option(help="Another release that this host runs, such as a driver or firmware. Repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label to select hosts by, name=value. Repeatable. Default: keep the registered labels."),
    ] = None,
    *,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="VMs run without KVM: report the CPU features that QEMU emulates.")
    ] = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register the QEMU binaries and the kernel of this host. Run it on the host; it can be repeated at any time.

    If the registry has CPU models (import cpu-models), the features that this host lacks are registered, too. Labels,
    restrictions of other models, releases of other products, units and what the host resolves stay registered.

    Example:

        profile-registry host report --label rack=r1 --label gen=icelake
    """
    # A binary that the operator names must work; one that was only detected is skipped with a warning.
    complain = fail if binary else warn
    binaries = binary or list(_binaries())
    host = name or socket.gethostname()
    labels = dict(_label(text) for text in label or [])
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            detected = [*(release or []), *_releases(registry, binaries, complain), f"{_KERNEL}@{platform.release()}"]
            existing = registry.find(f"/hosts/{host}")
            existing = existing or {"releases": [], "restrict": {}, "resolves": {}, "units": [], "labels": {}}
            document = {
                "releases": [*dict.fromkeys(detected), *_other_products(existing["releases"], detected)],
                "restrict": {**existing["restrict"], **_restrict(registry, binaries, progress, emulated=emulated)},
                "resolves": existing["resolves"],
                "units": existing["units"],
                "labels": labels or existing["labels"],
            }
            answer = registry.put(f"/hosts/{host}", document, dry_run=dry_run)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({**answer, **document})
        return
    _print_report(host, document, answer["unknown_releases"], dry_run=dry_run)
    if removed := [name for name in existing["releases"] if name not in document["releases"]]:
        print_line(f"removed because it was not found on this host: {', '.join(removed)}")


def _print_report(host: str, document: dict[str, Any], unknown: Sequence[str], *, dry_run: bool) -> None:
    rows = [(release, "not yet" if release in unknown else "yes") for release in document["releases"]]
    print_table(("release", "published"), rows, f"{host}: {'would be registered' if dry_run else 'registered'}")
    for model, variables in document["restrict"].items():
        print_line(f"{model}: this host restricts {len(variables)} variable{'' if len(variables) == 1 else 's'}")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        fail(f"--label must be name=value, not {text}")
    return name, value


def _other_products(registered: Sequence[str], detected: Sequence[str]) -> Iterator[str]:
    """Iterate over the registered releases to keep: of implementations that a report neither detects nor is given."""
    implementations = {release.partition("@")[0] for release in detected}
    for release in registered:
        implementation = release.partition("@")[0]
        is_detectable = "/qemu-system-" in implementation or implementation == _KERNEL
        if not is_detectable and implementation not in implementations:
            yield release


def _binaries() -> Iterator[Path]:
    """Iterate over the QEMU binaries of this machine, those for its own architecture first."""
    binaries: dict[Path, Path] = {}
    for folder in _FOLDERS:
        for path in [*Path(folder).glob("qemu-system-*"), *Path(folder).glob("qemu-kvm")]:
            # fullmatch skips special builds of the same release, such as qemu-system-x86_64-microvm.
            if _BINARY.fullmatch(path.name) and shutil.which(path) and path.is_file():
                binaries.setdefault(path.resolve(), path)
    yield from sorted(binaries.values(), key=lambda path: (_target(path) != platform.machine(), path.name))


def _target(binary: Path) -> str:
    match = _BINARY.fullmatch(binary.name)
    return (match and match[1]) or platform.machine()


def _releases(registry: Registry, binaries: Sequence[Path], complain: Callable[[str], None]) -> Iterator[str]:
    """Iterate over the releases of the binaries: the distribution's if it is published, then upstream's."""
    for binary in binaries:
        version = _VERSION.search(_version_output(binary, complain))
        if version is None:
            complain(f"{binary} --version does not print a QEMU version; the binary is left out")
            continue
        yield from releases_of(registry, _target(binary), version[1], version[2] or "")


def _version_output(binary: Path, complain: Callable[[str], None]) -> str:
    try:
        finished = subprocess.run(
            [str(binary), "--version"], capture_output=True, timeout=_VERSION_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        complain(f"{binary} --version failed: {error}")
        return ""
    return finished.stdout


def _restrict(registry: Registry, binaries: Sequence[Path], progress: Progress, *, emulated: bool) -> dict[str, Any]:
    """Return the CPU features that this host cannot provide, empty if they or the registry's CPU model are unknown."""
    model = registry.find(f"/models/{CPU_MODEL}")
    binary = next((path for path in binaries if _target(path) == "x86_64"), None)
    if model is None or binary is None:
        return {}
    try:
        cpus = take_cpu_models(binary, progress, host_only=True)
    except CaptureError as error:
        warn(f"CPU features not reported; those already registered stay: {error}")
        return {}
    if not cpus.is_kvm and not emulated:
        warn(
            "CPU features not reported because KVM cannot be used; those already registered stay "
            "(if VMs run without KVM, add --emulated)"
        )
        return {}
    return {CPU_MODEL: restriction(cpus, features_of(model))}


@commands.command("list")
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
    """List the registered hosts with their releases, units, labels, and how many variables they restrict or resolve.

    Example:

        profile-registry host list --label rack=r1
    """
    try:
        with Registry(ClientSettings()) as registry:
            hosts = list(registry.items("/hosts", **({"label": label} if label else {})))
    except RegistryError as error:
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
            "\n".join(_stated(host)),
        )
        for host in hosts
    ]
    print_table(("host", "releases", "units", "labels", "restricts, resolves"), rows)


def _stated(host: dict[str, Any]) -> Iterator[str]:
    """Iterate over the models of which a host or a unit states something, with how many variables."""
    for place in (host, *host["units"]):
        of_unit = f" ({place['id']})" if "id" in place else ""
        for field in ("restrict", "resolves"):
            for model, variables in place.get(field, {}).items():
                yield f"{field} {model}{of_unit}: {len(variables)}"


@commands.command("forget")
def forget(name: Annotated[str, typer.Argument(help="The host.")], *, as_json: AsJson = False) -> None:
    """Remove a host from the registry.

    Example:

        profile-registry host forget host-17
    """
    try:
        with Registry(ClientSettings()) as registry:
            registry.delete(f"/hosts/{name}")
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"forgotten": name})
        return
    print_line(f"host {name} removed")
