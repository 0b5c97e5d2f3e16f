"""profile-registry host: what hosts run, registered by the hosts themselves or by the operator."""

import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.client import Registry, RegistryError
from app.cli.output import AsJson, fail, print_json, print_line, print_table, progress_bar, refuse
from app.cli.qemu.capture import CaptureError
from app.cli.qemu.cpu import MODEL, restriction, take_cpu_models
from app.cli.qemu.live import Progress
from app.domain.name import InvalidNameError, ReleaseName
from app.settings import ClientSettings

commands = typer.Typer(help="Register what hosts run, and list them.", no_args_is_help=True)

_VERSION = re.compile(r"QEMU emulator version (\d+\.\d+\.\d+)(?: \(([^)]*)\))?")
_PLACES = ("/usr/bin", "/usr/local/bin", "/usr/libexec")
_DISTRIBUTIONS = {"Debian": "debian.org", "Ubuntu": "ubuntu.com"}
_ASKED_SECONDS = 30
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be registered, and store nothing.")]


@commands.command("report")
def report(
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
    dry_run: _DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the QEMU binaries and the kernel of this host, and register them; run it on the host, again at any time.

    Where the registry knows CPU models (import cpu-models), the features that this host lacks are registered, too.

    Example:

        profile-registry host report --label rack=r1 --label gen=icelake
    """
    binaries = binary or list(_binaries())
    host = name or socket.gethostname()
    labels = dict(_label(each) for each in label or [])
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            runs = [*(release or []), *_releases(registry, binaries), f"kernel.org/linux@{platform.release()}"]
            before = registry.find(f"/hosts/{host}")
            document = {
                "releases": list(dict.fromkeys(runs)),
                "restrict": _restrict(registry, binaries, progress),
                "labels": labels or (before["labels"] if before else {}),
            }
            answer = registry.put(f"/hosts/{host}", document, dry_run=dry_run)
    except RegistryError as error:
        refuse(error, as_json=as_json)
    except CaptureError as error:
        fail(str(error))
    if as_json:
        print_json({**answer, **document})
        return
    _print_report(host, document, answer["unknown_releases"], dry_run=dry_run)


def _print_report(host: str, document: dict[str, Any], unknown: Sequence[str], *, dry_run: bool) -> None:
    rows = [(each, "not in the registry (yet)" if each in unknown else "known") for each in document["releases"]]
    print_table(("runs", ""), rows, f"{host}, {'as it would be registered' if dry_run else 'registered'}")
    for model, variables in document["restrict"].items():
        print_line(f"{model}: {len(variables)} features are not to be had here")


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        fail(f"--label is name=value, not {text}")
    return name, value


def _binaries() -> Iterator[Path]:
    """Iterate over the QEMU binaries of this machine."""
    found: dict[Path, Path] = {}
    for place in _PLACES:
        for path in sorted(Path(place).glob("qemu-system-*")) + sorted(Path(place).glob("qemu-kvm")):
            if shutil.which(path) and path.is_file():
                found.setdefault(path.resolve(), path)
    yield from found.values()


def _releases(registry: Registry, binaries: Sequence[Path]) -> Iterator[str]:
    """Iterate over the releases that the binaries are: the distribution's where it is known, then upstream's."""
    for binary in binaries:
        told = _VERSION.search(_said(binary))
        if told is None:
            fail(f"{binary} does not tell a version of QEMU")
        target = binary.name.removeprefix("qemu-system-") if "qemu-system-" in binary.name else platform.machine()
        product = f"qemu-system-{target}"
        distribution, _, package = (told[2] or "").partition(" ")
        if distribution in _DISTRIBUTIONS:
            with suppress(InvalidNameError):
                packaged = ReleaseName.parse(f"{_DISTRIBUTIONS[distribution]}/{product}@{package}")
                if registry.find(f"/releases/{packaged}") is not None:
                    yield str(packaged)
        yield f"qemu.org/{product}@{told[1]}"


def _said(binary: Path) -> str:
    try:
        ended = subprocess.run(
            [str(binary), "--version"], capture_output=True, timeout=_ASKED_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        fail(f"{binary} cannot be asked: {error}")
    return ended.stdout


def _restrict(registry: Registry, binaries: Sequence[Path], progress: Progress) -> dict[str, Any]:
    """Return what this host's CPU cannot give a guest, where the registry knows CPU models."""
    known = registry.find(f"/models/{MODEL}")
    asked = next((binary for binary in binaries if binary.name in {"qemu-system-x86_64", "qemu-kvm"}), None)
    if known is None or asked is None:
        return {}
    return {MODEL: restriction(take_cpu_models(asked, progress, host_only=True), list(known["variables"]))}


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
        refuse(error, as_json=as_json)
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
def forget(name: Annotated[str, typer.Argument(help="The host.")]) -> None:
    """Forget a host.

    Example:

        profile-registry host forget host-17
    """
    try:
        with Registry(ClientSettings()) as registry:
            registry.delete(f"/hosts/{name}")
    except RegistryError as error:
        fail(str(error))
    print_line(f"{name} is forgotten")
