"""profile-registry import: publishes what vendors' tools and binaries say of their devices."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from app.cli.client import Registry
from app.cli.feed import Archive, ArchiveError, copied
from app.cli.output import AsJson, fail, print_json, print_line, print_table, progress_bar, refuse
from app.cli.qemu import publication
from app.cli.qemu.capture import Capture, CaptureError
from app.cli.qemu.cpu import CpuModels, publish_cpu_models, take_cpu_models
from app.cli.qemu.live import Progress, take_capture
from app.client import RegistryError
from app.domain.name import InvalidNameError, ReleaseName
from app.domain.rendering import CPU_MODEL
from app.settings import ClientSettings

commands = typer.Typer(
    help="""Publish what a vendor's tool or a QEMU says of its devices.

    Example:

        profile-registry import qemu --binary /usr/bin/qemu-system-x86_64
    """,
    no_args_is_help=True,
)

Override = Annotated[str | None, typer.Option(help="Why the release may be published although it breaks earlier ones.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and store nothing.")]
_ADDED = {
    "vendors": "vendors",
    "releases": "releases",
    "models": "device models that are new",
    "release_models": "device models of the release",
    "variables": "variables that are new",
    "off_values": "off values",
    "profiles": "profiles that are new",
    "profile_models": "models of profiles",
    "drafts": "drafts",
    "profile_lists": "lists of profiles",
    "listed_profiles": "profiles on the list",
    "own_values": "models with values of the release's own",
}


@commands.command("migration-info")
def import_migration_info(
    file: Annotated[str, typer.Argument(help="The document, - for standard input.")],
    release: Annotated[str, typer.Option(help="The release that it describes, <implementation>@<version>.")],
    override: Override = None,
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a migration information JSON document (the RFC's, or a release as the registry takes it).

    Example:

        my-device-backend --print-migration-info-json | profile-registry import migration-info -
        --release vendor-a.com/my-backend@2.1
    """
    _check_release(release)
    try:
        document = orjson.loads(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read as JSON: {error}")
    try:
        with Registry(ClientSettings()) as registry:
            answer = registry.put(f"/releases/{release}", document, dry_run=dry_run, override=override)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
        return
    _print_added(release, answer["added"], dry_run=dry_run)
    _print_not_accepted(answer["not_accepted"])
    _print_overridden(answer["overridden"])


@commands.command("qemu")
def import_qemu(  # noqa: PLR0913 (each is an option of the command)
    capture: Annotated[Path | None, typer.Option(help="A file that holds what a QEMU said of itself.")] = None,
    binary: Annotated[Path | None, typer.Option(help="A QEMU binary, to be started and asked.")] = None,
    release: Annotated[
        str | None, typer.Option(help="The release to publish; else qemu.org/qemu-system-<target>@<version>.")
    ] = None,
    machine: Annotated[
        list[str] | None, typer.Option(help="Only this machine type; may be repeated. None: all.")
    ] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only this device type; may be repeated. None: all.")] = None,
    override: Override = None,
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a QEMU: its device types as models, its machine types as profiles. Import older releases first.

    Older first, because a property keeps the off value that the oldest release knows, and one that a newer release
    lacks is kept as what it was last. Where earlier releases have CPU models (import cpu-models), a binary is asked for
    its own, too. A binary is asked for some minutes; all it needs is to be able to start.

    Example:

        profile-registry import qemu --binary /usr/bin/qemu-system-x86_64
    """
    if (capture is None) == (binary is None):
        fail("import qemu takes either --capture FILE or --binary PATH")
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            taken = (
                Capture.load(capture).selected(machine or [], device or [])
                if capture is not None
                else take_capture(binary or Path(), machine or [], device or [], progress)
            )
            name = release or publication.default_name(taken)
            _check_release(name)
            cpus = _cpus_beside(registry, name, binary, progress)
            published = publication.publish(
                registry, taken, name, progress, dry_run=dry_run, override=override, cpus=cpus
            )
    except RegistryError as error:
        refuse(error)
    except CaptureError as error:
        fail(str(error))
    if as_json:
        print_json(_document(published))
    else:
        _print_published(published, dry_run=dry_run)


def _cpus_beside(registry: Registry, release: str, binary: Path | None, progress: Progress) -> CpuModels | None:
    """Return the CPU models of a binary where another release of its implementation has some: else they would be gone.

    A capture tells nothing of them.
    """
    implementation = release.partition("@")[0]
    having = registry.items("/releases", implementation=implementation, model=CPU_MODEL)
    return take_cpu_models(binary, progress) if binary is not None and any(True for _ in having) else None


@commands.command("cpu-models")
def import_cpu_models(
    binary: Annotated[Path, typer.Option(help="A QEMU binary, to be started and asked.")],
    release: Annotated[
        str | None, typer.Option(help="The release to add them to; else qemu.org/qemu-system-<target>@<version>.")
    ] = None,
    override: Override = None,
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a QEMU's CPU models: one device model with a variable for each feature, a profile for each CPU model.

    A version of a CPU model extends the version before. Names without a version are aliases that depend on the machine
    type, and are left out. Import the QEMU itself first. What a host's CPU lacks is the host's own: host report.

    Example:

        profile-registry import cpu-models --binary qemu-system-x86_64
    """
    found = shutil.which(binary)
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            cpus = take_cpu_models(Path(found) if found else binary, progress)
            name = release or f"qemu.org/qemu-system-{cpus.target}@{cpus.version}"
            _check_release(name)
            answer, finds = publish_cpu_models(registry, cpus, name, dry_run=dry_run, override=override)
    except RegistryError as error:
        refuse(error)
    except CaptureError as error:
        fail(str(error))
    if as_json:
        print_json({**answer, "finds": [asdict(find) for find in finds]})
        return
    print_line(f"{name}: {len(cpus.features)} features, {len(cpus.models)} CPU models")
    _print_added(name, answer["added"], dry_run=dry_run)
    _print_not_accepted(answer["not_accepted"])
    _print_overridden(answer["overridden"])
    if finds:
        rows = [(find.profile, find.feature, "has it" if find.published else "lacks it") for find in finds]
        print_table(("CPU model", "feature", "published"), rows, "Published otherwise, and left as it is")


@commands.command("archive")
def import_archive(
    file: Annotated[Path, typer.Argument(help="What export wrote.")],
    *,
    with_hosts: Annotated[bool, typer.Option("--hosts", help="The hosts, too: to restore a backup.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish here what another registry published, from its archive; what is here already is left out.

    Every digest is verified. It may be interrupted and begun again; a later archive or mirror goes on where this ends.

    Example:

        profile-registry import archive registry.jsonl.gz
    """
    try:
        with progress_bar() as progress, Registry(ClientSettings()) as registry:
            done = copied(Archive(file), registry, str(file), progress, with_hosts=with_hosts)
    except (ArchiveError, RegistryError) as error:
        fail(str(error))
    if as_json:
        print_json(asdict(done))
        return
    print_line(f"{file}: {done.changes:,} changes, {done.added:,} of them new here; it ends at change {done.seq:,}")


def _check_release(release: str) -> None:
    try:
        ReleaseName.parse(release)
    except InvalidNameError as error:
        fail(f"--release {release}: {error}")


def _document(published: publication.Published) -> dict[str, Any]:
    return {
        "release": published.release,
        "models": published.models,
        "variables": published.variables,
        "profiles": published.profiles,
        "added": published.added,
        "not_accepted": published.not_accepted,
        "overridden": published.overridden,
        "finds": [
            {
                "device": find.device,
                "variable": find.variable,
                "published": find.published,
                "found": find.found,
                "where": find.where,
            }
            for find in published.finds
        ],
    }


def _print_published(published: publication.Published, *, dry_run: bool) -> None:
    print_line(
        f"{published.release}: {published.models} device models, {published.variables} variables, "
        f"{published.profiles} profiles"
    )
    _print_added(published.release, published.added, dry_run=dry_run)
    _print_not_accepted(published.not_accepted)
    _print_overridden(published.overridden)
    if published.finds:
        columns = ("variable", "published", "found here", "device types", "places")
        rows = [(*map(str, each),) for each in publication.grouped(published.finds)]
        print_table(columns, rows, "Published otherwise, and left as it is")


def _print_added(release: str, added: Mapping[str, int], *, dry_run: bool) -> None:
    rows = [(_ADDED.get(kind, kind), f"{count:,}") for kind, count in added.items() if count]
    if not rows:
        print_line(f"{release}: everything was there already, nothing was added")
        return
    print_table(("added" if not dry_run else "would be added", "number"), rows)


def _print_not_accepted(not_accepted: Sequence[Mapping[str, Any]]) -> None:
    reasons: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in not_accepted:
        for problem in each["problems"]:
            reasons.setdefault((problem["code"], problem.get("variable", "")), []).append(each)
    rows = [
        (code, variable, str(len({each["model"] for each in found})), str(len({each["profile"] for each in found})))
        for (code, variable), found in sorted(reasons.items(), key=lambda pair: -len(pair[1]))
    ]
    if rows:
        print_table(("problem", "variable", "models", "profiles"), rows, "Of its listed profiles, it does not accept")


def _print_overridden(overridden: Sequence[Mapping[str, Any]]) -> None:
    models: dict[tuple[str, str], set[str]] = {}
    for each in overridden:
        for problem in each["problems"]:
            models.setdefault((each["model"], problem["code"]), set()).add(each["profile"])
    rows = [(model, code, str(len(profiles))) for (model, code), profiles in sorted(models.items())]
    if rows:
        print_table(("model", "problem", "profiles"), rows, "Published although it breaks earlier releases")
