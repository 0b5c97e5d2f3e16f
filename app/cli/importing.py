"""profile-registry import: publishes releases from documents, QEMU binaries, captures and archives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import client, feed, json_text
from app.cli.host import emulator, tool
from app.cli.keys import signing_keys
from app.cli.mirroring import Trust, trusted_keys
from app.cli.output import (
    COULD_NOT_ASK,
    REFUSED,
    AsJson,
    fail,
    named,
    print_json,
    print_line,
    print_made_otherwise,
    print_table,
    progress_bar,
    refuse,
    warn,
)
from app.cli.qemu import capture as qemu_capture
from app.cli.qemu import cpu, journal, live, process, publication
from app.cli.qemu import release as qemu_release
from app.domain.fleet import rendering
from app.domain.values.name import InvalidNameError, ReleaseName, vendor_of
from app.hypervisor import naming
from app.hypervisor.naming import UPSTREAM
from app.signing import checkpoint

commands = typer.Typer(
    help="""Publish a release from a document, a QEMU or an archive.

    Example:

        profile-registry import qemu --binary /usr/bin/qemu-system-x86_64
        profile-registry import qemu --all --vendor debian.org --dry-run
    """,
    no_args_is_help=True,
)

Override = Annotated[
    str | None,
    typer.Option(help="The reason to publish a release that breaks earlier ones (admins only).", metavar="REASON"),
]
Sign = Annotated[
    Path | None,
    typer.Option(
        "--sign",
        envvar="REGISTRY_SIGN",
        help="Sign what is published with the private keys in this file (profile-registry key create).",
        metavar="FILE",
    ),
]
Vendor = Annotated[
    str,
    typer.Option(
        help="Who publishes it. A distributor's release has the version of its package, and its own machine types and "
        "CPU models; upstream's are listed by name, and device models are upstream's."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be added; store nothing.")]
_ADDED = {
    "vendors": "vendors",
    "releases": "releases",
    "models": "new device models",
    "release_models": "device models of the release",
    "variables": "new variables",
    "off_values": "off values",
    "profiles": "new profiles",
    "profile_models": "device models of profiles",
    "drafts": "drafts",
    "profile_lists": "profile lists",
    "listed_profiles": "listed profiles",
    "own_values": "device models with the release's own values",
    "aliases": "aliases",
    "signatures": "signatures",
}


@commands.command("migration-info", short_help="Publish a JSON document (see publish).")
def import_migration_info(
    file: Annotated[str, typer.Argument(help="The document; - for standard input.")],
    release: Annotated[str, typer.Option(help="The release to publish, <implementation>@<version>.")],
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    r"""Publish a release from a JSON document: the RFC's migration information, or the body of PUT /releases.

    Exit status 0 published, 1 refused, 2 could not ask.

    Example:

        my-device-backend --print-migration-info-json | \
          profile-registry import migration-info - --release vendor-a.com/my-backend@2.1 --sign vendor-a.key
    """
    check_release(release)
    try:
        document = json_text.parsed(json_text.read(file))
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read as JSON: {error}")
    _, answer = published_document(release, lambda _: document, override, sign, dry_run=dry_run)
    if as_json:
        print_json(answer)
        return
    print_answer(release, answer)


def published_document(
    release: str,
    document_of: "Callable[[client.Registry], Any]",
    override: str | None,
    sign: Path | None,
    *,
    dry_run: bool,
) -> tuple[Any, Any]:
    """Publish a release and return its document and the answer; exits with an error if the registry refuses it."""
    try:
        with client.Registry(signing_keys=signing_keys(sign)) as registry:
            document = document_of(registry)
            return document, registry.publish_release(release, document, dry_run=dry_run, override=override)
    except client.RegistryError as error:
        refuse(error, is_publication=True)


@commands.command("qemu", short_help="Publish a QEMU: a binary or a capture.")
def import_qemu(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    capture: Annotated[Path | None, typer.Option(help="A capture file of a QEMU binary.")] = None,
    binary: Annotated[
        str | None,
        typer.Option(help="A QEMU binary to start and query: a path, or a name that the shell finds.", metavar="PATH"),
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="The release to publish. Default: <vendor>/qemu-system-<target>@<version>.")
    ] = None,
    vendor: Vendor = UPSTREAM,
    machine: Annotated[
        list[str] | None, typer.Option(help="Only this machine type. Repeatable. Default: all machine types.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device type. Repeatable. Default: all device types.")
    ] = None,
    save_capture: Annotated[
        Path | None, typer.Option(help="Also write what the binary states to this file, for --capture.")
    ] = None,
    override: Override = None,
    *,
    installed: Annotated[
        bool, typer.Option("--all", help="Every QEMU that is installed here, one release each.")
    ] = False,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a QEMU release: device types become models, machine types become profiles. Import older releases first.

    A property that an earlier release lacks is off as under its newest machine type. A property that a newer release
    lacks keeps its last value.
    If earlier releases have CPU models (import cpu-models), those of a binary are published, too. Querying a binary
    takes some minutes; it only has to start. Devices are started with null back ends, to read what each machine type
    makes of them, and saved, to see whether they migrate. What is left out, and what did not start, is named. An import
    that was interrupted goes on.

    Exit status 0 published, 1 refused, 2 could not ask.

    Example:

        profile-registry import qemu --binary /usr/bin/qemu-system-x86_64
        profile-registry import qemu --all --vendor debian.org --dry-run
    """
    if release is not None:
        check_release(release)
    wanted = _Wanted(release, vendor, machine or [], device or [], override, dry_run, save_capture)
    _check_source(wanted, [capture is not None, binary is not None, installed], binary)
    try:
        with progress_bar() as progress, client.Registry(signing_keys=signing_keys(sign)) as registry:
            if save_capture is None:
                _check_vendor(registry, vendor if release is None else vendor_of(release))
            if installed:
                _import_all(registry, wanted, progress, as_json=as_json)
                return
            path = None if binary is None else process.executable(binary)
            published = _import_one(registry, wanted, path, capture, progress)
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    except qemu_capture.CaptureError as error:
        fail(str(error))
    if as_json:
        print_json(_document(published))
    else:
        _print_published(published)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an import was asked for."""

    release: str | None
    vendor: str
    machines: Sequence[str]
    devices: Sequence[str]
    override: str | None
    dry_run: bool
    save_capture: Path | None


def _check_source(wanted: _Wanted, sources: Sequence[bool], binary: str | None) -> None:
    """Exit with an error if the options do not go together; sources: which of the ways to name a QEMU were used."""
    if sum(sources) != 1:
        fail("import qemu takes one of --capture FILE, --binary PATH and --all")
    if wanted.save_capture is not None and binary is None:
        fail("--save-capture is for one binary: --binary PATH")
    if wanted.release is not None and sources[-1]:
        fail("--all names each release by itself; --vendor says whose they are")


def _check_vendor(registry: "client.Registry", vendor: str) -> None:
    """Exit with an error if a vendor is not registered: before a binary is asked, which takes minutes."""
    if vendor != UPSTREAM and registry.find(f"/vendors/{vendor}") is None:
        advice = f"profile-registry vendor create {vendor}"
        fail(f"the vendor {vendor} is not registered; an admin does that: {advice}", status=REFUSED)


def _import_all(registry: "client.Registry", wanted: _Wanted, progress: "live.Progress", *, as_json: bool) -> None:
    """Publish each QEMU of this machine; one that fails does not stop the others. Exits with an error if one failed."""
    paths = emulator.installed_binaries(tool.Machine())
    if not paths:
        fail("no QEMU is installed in /usr/bin, /usr/local/bin or /usr/libexec")
    results: list[publication.Published] = []
    failures: dict[str, str] = {}
    for path in paths:
        try:
            results.append(_import_one(registry, wanted, path, None, progress))
        except (qemu_capture.CaptureError, client.RegistryError) as error:
            failures[str(path)] = str(error)
    if as_json:
        print_json({"imported": list(map(_document, results)), "failed": failures})
    else:
        for published in results:
            _print_published(published)
    for name, reason in failures.items():
        warn(f"{name} was not imported: {reason}")
    if failures:
        raise typer.Exit(REFUSED)


def _import_one(
    registry: "client.Registry", wanted: _Wanted, binary: Path | None, capture: Path | None, progress: "live.Progress"
) -> "publication.Published":
    """Publish a binary, or a capture; raises CaptureError and RegistryError."""
    if binary is not None:
        selected = live.take_capture(binary, wanted.machines, wanted.devices, progress, folder=journal.cache_folder())
        if wanted.save_capture is not None:
            # Also where the registry then refuses the release.
            _save(selected, wanted.save_capture)
    else:
        selected = qemu_capture.Capture.load(capture or Path()).selected(wanted.machines, wanted.devices)
    name = wanted.release or publication.default_name(selected, wanted.vendor)
    check_release(name)
    cpus = _cpu_models(registry, name, binary, progress)
    return publication.publish(
        registry, selected, name, progress, dry_run=wanted.dry_run, override=wanted.override, cpus=cpus
    )


def _save(capture: "qemu_capture.Capture", file: Path) -> None:
    try:
        capture.save(file)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}")


def _cpu_models(
    registry: "client.Registry", release: str, binary: Path | None, progress: "live.Progress"
) -> "cpu.CpuModels | None":
    """Return the CPU models of a binary if another release of its implementation has such CPU models.

    Without them the new release would drop the CPU model, and the evolution gate would refuse it. A capture has none.
    """
    if binary is None:
        return None
    implementation = release.partition("@")[0]
    models = {
        entry["model"]
        for other in registry.items("/releases", implementation=implementation)
        for entry in registry.get(f"/releases/{other['release']}")["models"]
        if rendering.is_cpu_model(entry["model"])
    }
    if not models:
        return None
    try:
        cpus = cpu.take_cpu_models(binary, progress)
    except qemu_capture.CaptureError as error:
        warn(f"Without its CPU models: {error}")
        return None
    if cpus.device_model not in models:
        warn(
            f"Without its CPU models: other releases have {', '.join(sorted(models))}, but "
            f"{'with' if cpus.is_kvm else 'without'} KVM they are those of {cpus.device_model}. Import it "
            f"{'without' if cpus.is_kvm else 'with'} KVM, or with --override; import cpu-models adds them."
        )
        return None
    return cpus


@commands.command("cpu-models", short_help="Publish the CPU models of a QEMU.")
def import_cpu_models(  # noqa: PLR0913 (each is an option of the command)
    binary: Annotated[str, typer.Option(help="A QEMU binary to start and query: a path or a name.", metavar="PATH")],
    release: Annotated[
        str | None,
        typer.Option(help="The release to add them to. Default: <vendor>/qemu-system-<target>@<version>."),
    ] = None,
    vendor: Vendor = UPSTREAM,
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a QEMU's CPU models: one device model with a variable per CPU feature, and a profile per CPU model.

    Each version of a CPU model extends the version before. Names without a version are aliases in the release. The
    command names the models that cannot be migrated as they are. What KVM gives a guest and what QEMU emulates are two
    device models, such as qemu.org/x86-cpu and qemu.org/x86-cpu-tcg; on other targets than x86 the name of the CPU
    model is compared too. Import the QEMU release first. Use host report to register what a host's CPU lacks.

    Example:

        profile-registry import cpu-models --binary qemu-system-x86_64
    """
    try:
        started = process.executable(binary)
        with progress_bar() as progress, client.Registry(signing_keys=signing_keys(sign)) as registry:
            cpus = cpu.take_cpu_models(started, progress)
            name = release or naming.release_name(
                vendor, naming.product_of(cpus.target, naming.build_of(started.name)), cpus.version, cpus.package
            )
            check_release(name)
            answer, differences = cpu.publish_cpu_models(registry, cpus, name, dry_run=dry_run, override=override)
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    except qemu_capture.CaptureError as error:
        fail(str(error))
    refused = cpu.not_migratable(cpus)
    if as_json:
        finds = [asdict(difference) for difference in differences]
        print_json(
            {
                **answer,
                "model": cpus.device_model,
                "accelerator": "kvm" if cpus.is_kvm else "tcg",
                "finds": finds,
                "not_migratable": refused,
            }
        )
        return
    print_line(f"{name}: {len(cpus.features)} features, {len(cpus.models)} CPU models of {cpus.device_model}")
    if not cpus.is_kvm:
        print_line(
            "KVM cannot be used here, so these are CPUs that QEMU emulates: a device model of their own, which says "
            "nothing of VMs with KVM. Hosts without KVM report with host report --emulated."
        )
    print_answer(name, answer)
    for model, why in refused.items():
        print_line(f"Cannot be migrated as it is: {model}, because {why}")
    if differences:
        rows = [(item.profile, item.feature, "has it" if item.published else "lacks it") for item in differences]
        print_table(("CPU model", "feature", "published"), rows, "Differs from what is published; nothing changed")


@commands.command("archive", short_help="Publish the content of an archive.")
def import_archive(
    file: Annotated[Path, typer.Argument(help="An archive that export wrote.")],
    trust: Trust = None,
    *,
    with_hosts: Annotated[
        bool,
        typer.Option("--hosts", help="Also import the operator's own: hosts and local errata, to restore a backup."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish the content of another registry's archive; what exists already is skipped.

    Every digest is verified. With --trust, such a key must have signed the archive; without it, somebody who had the
    archive can have made another one. An interrupted import can be repeated. A later archive or mirror continues where
    this one ends. Exit status 0 imported, 1 refused or not trusted, 2 could not ask.

    Example:

        profile-registry import archive registry.jsonl.gz --trust registry.pub
    """
    keys = trusted_keys(trust)
    try:
        with progress_bar() as progress, client.Registry() as registry:
            result = feed.copy_feed(
                feed.Archive(file), registry, str(file), progress, with_hosts=with_hosts, trust=keys
            )
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    except feed.ArchiveError as error:
        fail(str(error))
    except checkpoint.UntrustedError as error:
        fail(str(error), {"code": "untrusted", "detail": str(error)}, REFUSED)
    if as_json:
        print_json(asdict(result))
        return
    print_line(
        f"{file}: {result.changes:,} changes, {result.added:,} new, up to change {result.seq:,} ({result.signature})"
    )


def check_release(release: str, status: int = COULD_NOT_ASK) -> None:
    """Exit with an error and a status unless this can be the name of a release."""
    try:
        ReleaseName.parse(release)
    except InvalidNameError as error:
        fail(f"--release {release}: {error}", status=status)


def _document(published: "publication.Published") -> dict[str, Any]:
    return {
        "release": published.release,
        "models": published.models,
        "variables": published.variables,
        "profiles": published.profiles,
        "added": published.added,
        "not_accepted": published.not_accepted,
        "overridden": published.overridden,
        "breaks": published.answer["breaks"],
        "previous": published.answer["previous"],
        "no_longer_listed": published.answer["no_longer_listed"],
        "makes_otherwise": published.answer["makes_otherwise"],
        "state_not_readable": published.answer["state_not_readable"],
        "left_out": published.left_out,
        "not_asked": published.not_asked,
        "renamed": published.renamed,
        "errata": published.errata,
        "not_started": published.not_started,
        "deprecated": published.deprecated,
        "modules": published.modules,
        "finds": [
            {
                "device": difference.device,
                "variable": difference.variable,
                "published": difference.published,
                "found": difference.captured,
                "where": difference.source,
            }
            for difference in published.differences
        ],
    }


def _print_published(published: "publication.Published") -> None:
    print_line(
        f"{published.release}: {published.models} device models, {published.variables} variables, "
        f"{published.profiles} profiles"
    )
    print_answer(published.release, published.answer)
    _print_left_out(published.left_out)
    _print_not_started(published.not_started)
    for module, types in published.modules.items():
        print_line(f"Without the module {module}, this QEMU has no {named(types)}.")
    is_dry = published.answer["dry_run"]
    if published.deprecated:
        verb = "would be" if is_dry else "are"
        print_line(
            f"QEMU deprecates these machine types, so their profiles {verb} deprecated: {named(published.deprecated)}"
        )
    _print_errata(published.errata, is_dry=is_dry)
    for name, registered in sorted(published.renamed.items()):
        print_line(f"The registry cannot have the name {name}, so this device type is called {registered} there.")
    if published.differences:
        columns = ("variable", "published", "in this QEMU", "device types", "occurrences")
        rows = [(*map(str, group),) for group in publication.grouped(published.differences)]
        print_table(columns, rows, "Differs from what is published; nothing changed")
    if any(
        difference.variable in {qemu_release.MIGRATABLE, qemu_release.BLOCKS} for difference in published.differences
    ):
        print_line(
            "What is published of migration never changes: publish an erratum for what cannot be migrated "
            "(profile-registry erratum add), or this QEMU under a release name of its own (--release)."
        )
    if published.not_asked:
        who = "could not be asked" if published.is_live else "is not in a capture"
        print_line(
            f"Whether they can be migrated {who}, of {len(published.not_asked)} device models; verdicts on them say so "
            f"(migratability-unknown): {named(published.not_asked)}"
        )


def print_answer(release: str, answer: Mapping[str, Any]) -> None:
    """Print what a publication added, and what it changes for devices that exist."""
    _print_added(release, answer["added"], dry_run=answer["dry_run"])
    print_consequences(answer)


def print_consequences(answer: Mapping[str, Any]) -> None:
    """Print what a publication changes for devices that exist."""
    _print_not_accepted(answer["not_accepted"])
    _print_broken(answer["overridden"], "Published although it breaks earlier releases")
    _print_broken(answer["breaks"], "A draft: once published, it would break earlier releases")
    if answer["no_longer_listed"]:
        print_line(f"No longer listed, though {answer['previous']} lists it: {named(answer['no_longer_listed'])}")
    title = f"Makes something else of profiles than {answer['previous']}"
    print_made_otherwise(answer["makes_otherwise"], title)
    models: dict[str, list[str]] = {}
    for entry in answer["state_not_readable"]:
        models.setdefault(entry["release"], []).append(entry["model"])
    for writing, unreadable in models.items():
        print_line(
            f"Does not read the saved state that {writing} writes, so its devices cannot move: {named(unreadable)}"
        )


def _print_errata(errata: Sequence[Mapping[str, Any]], *, is_dry: bool) -> None:
    """Print the errata that were published with a release, those with the same words together."""
    models: dict[tuple[str, str], list[str]] = {}
    for erratum in errata:
        models.setdefault((", ".join(erratum["with"]), erratum["description"]), []).append(erratum["model"])
    for (others, description), names in models.items():
        print_line(
            f"Erratum{' (not published yet)' if is_dry else ''}: {named(names)} cannot move to {others}: {description}"
        )


def _print_not_started(not_started: Mapping[str, str]) -> None:
    """Print which devices did not start, by what QEMU says: of these only the defaults are known."""
    names: dict[str, list[str]] = {}
    for name, reason in not_started.items():
        names.setdefault(reason.replace(name, "it"), []).append(name)
    rows = [(", ".join(of_reason), reason) for reason, of_reason in sorted(names.items(), key=lambda row: row[1])]
    if rows:
        print_table(("device types", "QEMU says"), rows, "Not started: of these only the defaults are known")


def _print_left_out(left_out: Mapping[str, str]) -> None:
    """Print what was not published, by the reason."""
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    rows = [(", ".join(sorted(of_reason)), reason) for reason, of_reason in names.items()]
    if rows:
        print_table(("not published", "why"), rows, "Left out")


def _print_added(release: str, added: Mapping[str, int], *, dry_run: bool) -> None:
    rows = [(_ADDED.get(kind, kind), f"{count:,}") for kind, count in added.items() if count]
    if not rows:
        print_line(f"{release}: nothing was added; everything is already published")
        return
    print_table(("added" if not dry_run else "would be added", "number"), rows)


def _print_not_accepted(not_accepted: Sequence[Mapping[str, Any]]) -> None:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pair in not_accepted:
        for problem in pair["problems"]:
            groups.setdefault((problem["code"], problem.get("variable", "")), []).append(pair)
    rows = [
        (code, variable, str(len({pair["model"] for pair in pairs})), str(len({pair["profile"] for pair in pairs})))
        for (code, variable), pairs in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]
    if rows:
        print_table(("problem", "variable", "models", "profiles"), rows, "Listed profiles that it does not accept")


def _print_broken(broken: Sequence[Mapping[str, Any]], title: str) -> None:
    models: dict[tuple[str, str], set[str]] = {}
    for pair in broken:
        for problem in pair["problems"]:
            models.setdefault((pair["model"], problem["code"]), set()).add(pair["profile"])
    rows = [(model, code, str(len(profiles))) for (model, code), profiles in sorted(models.items())]
    if rows:
        print_table(("model", "problem", "profiles"), rows, title)
