"""profile-registry host: what hosts run, registered by the hosts themselves or by the operator."""

import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Registry
from app.cli.output import AsJson, fail, print_json, print_line, print_table, progress_bar, refuse, warn
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.cpu import restriction, take_cpu_models
from app.cli.qemu.live import Progress
from app.client import RegistryError
from app.domain.name import InvalidNameError, ReleaseName
from app.domain.rendering import CPU_MODEL
from app.settings import ClientSettings

commands = typer.Typer(
    help="""Register what hosts run, and list them.

    Example:

        profile-registry host report --label rack=r1
    """,
    no_args_is_help=True,
)

_VERSION = re.compile(r"QEMU emulator version (\d+\.\d+\.\d+)(?: \(([^)]*)\))?")
_BINARY = re.compile(r"qemu-system-([a-z0-9_]+)|qemu-kvm")
_KERNEL = "kernel.org/linux"
_PLACES = ("/usr/bin", "/usr/local/bin", "/usr/libexec")
_DISTRIBUTIONS = {"Debian": "debian.org", "Ubuntu": "ubuntu.com"}
_ASKED_SECONDS = 30
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be registered, and store nothing.")]


@commands.command("report")
def report(  # noqa: PLR0913 (each is an option of the command)
    name: Annotated[str | None, typer.Option(help="The host's name; else this machine's.")] = None,
    binary: Annotated[
        list[Path] | None, typer.Option(help="A QEMU binary, instead of those found; may be repeated.")
    ] = None,
    release: Annotated[
        list[str] | None, typer.Option(help="A release that runs here, too (a driver, a firmware); may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="name=value, to choose hosts by; may be repeated. None: those it has.")
    ] = None,
    *,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="Its VMs run without KVM: their CPU features are those QEMU emulates.")
    ] = False,
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the QEMU binaries and the kernel of this host, and register them; run it on the host, again at any time.

    Where the registry knows CPU models (import cpu-models), the features that this host lacks are registered, too.
    What was registered beside stays: labels, restrictions of other models, releases of other products.

    Example:

        profile-registry host report --label rack=r1 --label gen=icelake
    """
    # What the operator names has to be there; of what is found, one that cannot be asked is no reason to tell nothing.
    complain = fail if binary else warn
    binaries = binary or list(_binaries())
    host = name or socket.gethostname()
    labels = dict(_label(each) for each in label or [])
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            runs = [*(release or []), *_releases(registry, binaries, complain), f"{_KERNEL}@{platform.release()}"]
            before = registry.find(f"/hosts/{host}")
            before = before or {"releases": [], "restrict": {}, "labels": {}}
            document = {
                "releases": [*dict.fromkeys(runs), *_others(before["releases"], runs)],
                "restrict": {**before["restrict"], **_restrict(registry, binaries, progress, emulated=emulated)},
                "labels": labels or before["labels"],
            }
            answer = registry.put(f"/hosts/{host}", document, dry_run=dry_run)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({**answer, **document})
        return
    _print_report(host, document, answer["unknown_releases"], dry_run=dry_run)
    if gone := [each for each in before["releases"] if each not in document["releases"]]:
        print_line(f"was registered, and is not found any more: {', '.join(gone)}")


def _print_report(host: str, document: dict[str, Any], unknown: Sequence[str], *, dry_run: bool) -> None:
    rows = [(each, "not in the registry (yet)" if each in unknown else "yes") for each in document["releases"]]
    print_table(("runs", "known"), rows, f"{host}, {'as it would be registered' if dry_run else 'registered'}")
    for model, variables in document["restrict"].items():
        print_line(f"{model}: restricted here: {len(variables)} variable{'' if len(variables) == 1 else 's'}")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        fail(f"--label is name=value, not {text}")
    return name, value


def _others(before: Sequence[str], runs: Sequence[str]) -> Iterator[str]:
    """Iterate over what is registered of products that no report looks for, and that is not told anew."""
    told = {each.partition("@")[0] for each in runs}
    for release in before:
        implementation = release.partition("@")[0]
        is_found = "/qemu-system-" in implementation or implementation == _KERNEL
        if not is_found and implementation not in told:
            yield release


def _binaries() -> Iterator[Path]:
    """Iterate over the QEMU binaries of this machine, those of its own architecture first."""
    found: dict[Path, Path] = {}
    for place in _PLACES:
        for path in [*Path(place).glob("qemu-system-*"), *Path(place).glob("qemu-kvm")]:
            # Others are builds of the same for special uses: qemu-system-x86_64-microvm.
            if _BINARY.fullmatch(path.name) and shutil.which(path) and path.is_file():
                found.setdefault(path.resolve(), path)
    yield from sorted(found.values(), key=lambda path: (_target(path) != platform.machine(), path.name))


def _target(binary: Path) -> str:
    named = _BINARY.fullmatch(binary.name)
    return (named and named[1]) or platform.machine()


def _releases(registry: Registry, binaries: Sequence[Path], complain: Callable[[str], None]) -> Iterator[str]:
    """Iterate over the releases that the binaries are: the distribution's where it is known, then upstream's."""
    for binary in binaries:
        told = _VERSION.search(_said(binary, complain))
        if told is None:
            complain(f"{binary} does not tell a version of QEMU, and is left out")
            continue
        product = f"qemu-system-{_target(binary)}"
        distribution, _, package = (told[2] or "").partition(" ")
        if distribution in _DISTRIBUTIONS:
            with suppress(InvalidNameError):
                packaged = ReleaseName.parse(f"{_DISTRIBUTIONS[distribution]}/{product}@{package}")
                if registry.find(f"/releases/{packaged}") is not None:
                    yield str(packaged)
        yield f"qemu.org/{product}@{told[1]}"


def _said(binary: Path, complain: Callable[[str], None]) -> str:
    try:
        ended = subprocess.run(
            [str(binary), "--version"], capture_output=True, timeout=_ASKED_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        complain(f"{binary} cannot be asked: {error}")
        return ""
    return ended.stdout


def _restrict(registry: Registry, binaries: Sequence[Path], progress: Progress, *, emulated: bool) -> dict[str, Any]:
    """Return what this host's CPU cannot give a guest, where the registry knows CPU models; nothing if unknown."""
    known = registry.find(f"/models/{CPU_MODEL}")
    asked = next((binary for binary in binaries if _target(binary) == "x86_64"), None)
    if known is None or asked is None:
        return {}
    try:
        cpus = take_cpu_models(asked, progress, host_only=True)
    except CaptureError as error:
        warn(f"nothing is told of this host's CPU; what was registered of it stays: {error}")
        return {}
    if not cpus.is_kvm and not emulated:
        warn(
            "KVM cannot be used here, so nothing is told of this host's CPU; what was registered of it stays "
            "(--emulated: VMs run without KVM)"
        )
        return {}
    return {CPU_MODEL: restriction(cpus, list(known["variables"]))}


@commands.command("list")
def list_hosts(
    label: Annotated[str | None, typer.Option(help="Only hosts with this label, name or name=value.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the registered hosts with what they run.

    Example:

        profile-registry host list --label rack=r1
    """
    try:
        with Registry(ClientSettings()) as registry:
            hosts = list(registry.items("/hosts", **({"label": label} if label is not None else {})))
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(hosts)
        return
    rows = [
        (
            host["host"],
            "\n".join(host["releases"]),
            ", ".join(f"{name}={value}" for name, value in sorted(host["labels"].items())),
            ", ".join(f"{model}: {len(variables)} variables" for model, variables in host["restrict"].items()),
        )
        for host in hosts
    ]
    print_table(("host", "runs", "labels", "restricts"), rows)


@commands.command("forget")
def forget(name: Annotated[str, typer.Argument(help="The host.")], *, as_json: AsJson = False) -> None:
    """Forget a host.

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
    print_line(f"{name} is forgotten")
