"""profile-registry adapter placement: the profiles that hosts accept, as traits in OpenStack's Placement."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from app.adapters import accepted, placement_api
from app.adapters import placement as adapter
from app.cli import client, lazy
from app.cli.adapter import explaining, running
from app.cli.output import AsJson, fail, named, print_json, print_line, print_table, progress_bar, refuse

_MAX_LIMIT = 10_000
_MAX_HOLD_SECONDS = 86_400


def placement(  # noqa: PLR0913, PLR0917 (the options)
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Only this profile, or those that match a pattern such as 'qemu.org/pc-q35-*'. Repeatable."),
    ] = None,
    vendor: Annotated[list[str] | None, typer.Option(help="Only profiles of this vendor. Repeatable.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Only profiles for this device model; a host must accept a profile for each of these. Repeatable."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="At most this many profiles.")] = 200,
    suffix: Annotated[
        str, typer.Option(help="What follows the host's name in the names of resource providers, such as .example.org.")
    ] = "",
    names: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A JSON object: names of hosts by the names of resource providers."
        ),
    ] = None,
    nested: Annotated[
        list[str] | None,
        typer.Option(
            help="Nested providers with this trait, such as OWNER_CYBORG, get the traits of their host, too.",
            metavar="TRAIT",
        ),
    ] = None,
    hold: Annotated[
        float,
        typer.Option(
            min=1,
            max=_MAX_HOLD_SECONDS,
            help="How long traits stay while the registry gives no answer, in seconds; at least 15 unless --once.",
        ),
    ] = 300,
    *,
    once: Annotated[bool, typer.Option("--once", help="Do it once, for cron; do not follow the registry.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Remove all CUSTOM_DPR_ traits, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a trait on each compute node in Placement for each profile that the host accepts.

    A host that accepts qemu.org/pc-q35-7.2 has the trait CUSTOM_DPR_QEMU_ORG_PC_Q35_7_2. The command follows the
    registry until it is stopped, and logs every change with its reason. It signs in to OpenStack with the variables
    OS_… that the openstack command reads, and needs the package device-profile-registry[placement].

    Exit status 0 done, or stopped; 2 could not be done.

    Examples:

        profile-registry adapter placement --dry-run --profile 'qemu.org/pc-q35-*'

        profile-registry adapter placement --vendor qemu.org --suffix .example.org
    """
    is_following = not (once or dry_run or withdraw)
    if sum((once, dry_run, withdraw)) > 1:
        fail("only one of --once, --dry-run and --withdraw has an effect")
    if is_following and as_json:
        fail("--json needs --once, --dry-run or --withdraw; the log says what changes otherwise")
    if is_following and hold < adapter.MIN_HOLD_SECONDS:
        fail(f"--hold must be at least {adapter.MIN_HOLD_SECONDS:g}: a wait for changes takes some seconds itself")
    choice = accepted.Choice(patterns=profile or (), vendors=vendor or (), models=model or (), limit=limit)
    providers = adapter.Providers(suffix=suffix, hosts=_host_names(names), nested=nested or ())
    settings = explaining.read_settings()
    running.log_to_standard_error()
    try:
        with (
            settings.registry() as registry,
            nullcontext(_no_progress) if is_following else progress_bar() as progress,
        ):
            keeper = adapter.TraitKeeper(
                registry,
                placement_api.connect(),
                choice,
                providers,
                hold_seconds=hold,
                progress=progress,
            )
            # It starts a thread.
            lazy.load_all()
            if is_following:
                keeper.run(running.until_signal(), look_seconds=settings.adapter_look_seconds)
                return
            if withdraw:
                changes = keeper.withdraw("--withdraw")
                outcome = adapter.Outcome({}, {}, changes)
            else:
                outcome = keeper.look(is_dry=True) if dry_run else keeper.once()
    except adapter.WithdrawnError as error:
        _print(adapter.Outcome({}, {}, error.changes), as_json=as_json, is_dry=False)
        fail(str(error))
    except placement_api.PlacementError as error:
        fail(str(error))
    except client.RegistryError as error:
        refuse(error)
    _print(outcome, as_json=as_json, is_dry=dry_run)


def _no_progress(_description: str, _completed: int, _total: int) -> None:
    pass


def _host_names(path: Path | None) -> Mapping[str, str]:
    """Return the names of hosts by those of providers in a file; print what is wrong with it and exit."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read: {error}")
    if not isinstance(document, dict) or not all(isinstance(host, str) for host in document.values()):
        fail(f'{path} must contain a JSON object such as {{"compute-1.example.org": "host-1"}}')
    return document


def _print(outcome: "adapter.Outcome", *, as_json: bool, is_dry: bool) -> None:
    if as_json:
        print_json(_document(outcome, is_dry=is_dry))
        return
    if outcome.profiles:
        traits = [
            (trait, profile, f"{outcome.counts.get(trait, 0):,}") for trait, profile in sorted(outcome.profiles.items())
        ]
        print_table(("trait", "profile", "providers"), traits)
    rows = [
        (f"{'would be ' if is_dry else ''}{'added' if is_added else 'removed'}", trait, named(providers), reason)
        for (is_added, trait, reason), providers in adapter.grouped(outcome.changes)
    ]
    rows += [("not there", trait, named(names), reason) for (trait, reason), names in sorted(outcome.refusals.items())]
    if rows:
        print_table(("", "trait", "providers", "why"), rows)
    if not outcome.changes:
        print_line("Nothing would change." if is_dry else "Nothing changed.")
    if outcome.unmatched:
        print_line(f"These providers stand for no registered host: {named(outcome.unmatched)}")
    if outcome.absent:
        print_line(f"No provider stands for these registered hosts: {named(outcome.absent)}")


def _document(outcome: "adapter.Outcome", *, is_dry: bool) -> Mapping[str, Any]:
    return {
        "dry_run": is_dry,
        "traits": [
            {"trait": trait, "profile": profile, "providers": outcome.counts.get(trait, 0)}
            for trait, profile in sorted(outcome.profiles.items())
        ],
        "changes": [
            {
                "provider": change.provider.name,
                "uuid": change.provider.uuid,
                "trait": change.trait,
                "change": "added" if change.is_added else "removed",
                "reason": change.reason,
            }
            for change in outcome.changes
        ],
        "refusals": [
            {"trait": trait, "reason": reason, "providers": names}
            for (trait, reason), names in sorted(outcome.refusals.items())
        ],
        "unmatched_providers": outcome.unmatched,
        "absent_hosts": outcome.absent,
    }
