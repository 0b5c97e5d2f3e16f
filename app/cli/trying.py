"""profile-registry try-migration: migrates devices between two QEMU binaries, and drafts errata of what fails."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from shlex import join
from typing import Annotated, Any

import typer

from app.cli.output import REFUSED, AsJson, fail, print_json, print_line, print_table, progress_bar
from app.cli.qemu import capture as qemu_capture
from app.cli.qemu import process, publication, release
from app.cli.qemu import trial as qemu_trial
from app.hypervisor import naming

_ALONE = "(the board alone)"
# How an outcome is called in the table, where it is not called by its own name.
_WORDS = {"not-started": "not started", "not-saved": "not saved", "timed-out": "not ended"}


def try_migration(
    source: Annotated[
        str, typer.Option("--from", help="The QEMU binary to save at: a path or a name.", metavar="PATH")
    ],
    destination: Annotated[str, typer.Option("--to", help="The QEMU binary to load at.", metavar="PATH")],
    device: Annotated[
        list[str] | None, typer.Option(help="A device type. Repeatable. Default: none, only the board.")
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(help="A machine type. Repeatable. Default: the newest of each board that both have."),
    ] = None,
    value: Annotated[list[str] | None, typer.Option(help="A property of the device, name=value. Repeatable.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Migrate devices from one QEMU binary to another, for real, with null back ends and without a guest.

    Where a migration fails, an erratum is drafted: the command that publishes it, or with --json its document. Where
    the board alone fails, or a controller, it is drafted for that, not for what is behind it. What the two ends save
    differently is only a hint (state-differs): QEMU loads many states that differ. A VM that never ran has less state
    than one that works: what completes here can still fail with a guest.

    Exit status 0 all completed, 1 some did not, 2 could not try.

    Example:

        profile-registry try-migration --from qemu-7.2 --to qemu-10.0 --device am53c974 --machine pc-q35-7.2
    """
    if value and not device:
        fail("--value is of a device: name it with --device")
    values: dict[str, str] = {}
    for pair in value or []:
        name, equals, given = pair.partition("=")
        if not (name and equals):
            fail(f"--value must be name=value, not {pair}")
        values[name] = given
    try:
        ends = [process.executable(source), process.executable(destination)]
        with progress_bar() as progress:
            sender, receiver, trials = qemu_trial.try_migrations(
                ends[0], ends[1], machine or [], device or [], values, progress
            )
    except qemu_capture.CaptureError as error:
        fail(str(error))
    names = [_release(end, binary.name) for end, binary in zip((sender, receiver), ends, strict=True)]
    drafts = list(_drafts(trials, names, dict.fromkeys(device or [], values)))
    if as_json:
        print_json({"from": names[0], "to": names[1], "trials": [asdict(trial) for trial in trials], "errata": drafts})
    else:
        _print(trials, names, drafts)
    if any(trial.outcome is not qemu_trial.Outcome.COMPLETED for trial in trials):
        raise typer.Exit(REFUSED)


def _release(capture: "qemu_capture.Capture", binary: str) -> str:
    return publication.default_name(capture.built_as(naming.build_of(binary)))


def _print(trials: "Sequence[qemu_trial.Trial]", names: Sequence[str], drafts: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (trial.device or _ALONE, trial.machine, _WORDS.get(trial.outcome, trial.outcome), trial.reason)
        for trial in trials
    ]
    print_table(("device type", "machine type", "migration", "QEMU says"), rows, f"From {names[0]} to {names[1]}")
    differing = [(trial.device or _ALONE, trial.machine, "\n".join(trial.differs)) for trial in trials if trial.differs]
    if differing:
        print_table(("device type", "machine type", "state-differs"), differing, "Saved differently; only a hint")
    for draft in drafts:
        print_line("To publish it as an erratum:")
        print_line(f"  {_command(draft)}")


def _drafts(
    trials: "Sequence[qemu_trial.Trial]", names: Sequence[str], values: Mapping[str, Mapping[str, str]]
) -> Iterator[Mapping[str, Any]]:
    """Iterate over an erratum for each device, or board, that could not be saved, or not be loaded.

    values: those that were given, by device.
    """
    completed = {(trial.machine, trial.device) for trial in trials if trial.outcome is qemu_trial.Outcome.COMPLETED}
    for outcome in (qemu_trial.Outcome.NOT_SAVED, qemu_trial.Outcome.FAILED):
        failed: dict[str, list[qemu_trial.Trial]] = {}
        for trial in trials:
            # What fails because of its board, or of its controller, is no failure of its own.
            before = [(trial.machine, name) for name in ("", *trial.carriers)] if trial.device else []
            if trial.outcome is outcome and completed.issuperset(before):
                failed.setdefault(trial.device or trial.board, []).append(trial)
        for device, own in failed.items():
            machines = ", ".join(trial.machine for trial in own)
            yield {
                "release": names[0],
                "model": release.qualified(device),
                **({"with": [names[1]]} if outcome is qemu_trial.Outcome.FAILED else {}),
                "direction": "to" if outcome is qemu_trial.Outcome.FAILED else "both",
                **({"when": {name: [given] for name, given in values[device].items()}} if values.get(device) else {}),
                "description": f"tried under {machines}: {own[0].reason}",
            }


def _command(draft: Mapping[str, Any]) -> str:
    options = [part for other in draft.get("with", ()) for part in ("--with", other)]
    options += ["--direction", draft["direction"]]
    options += [
        part
        for name, several in draft.get("when", {}).items()
        for given in several
        for part in ("--when", f"{name}={given}")
    ]
    description = ("--description", draft["description"])
    return join(["profile-registry", "erratum", "add", draft["release"], draft["model"], *options, *description])
