"""profile-registry changes: prints the feed of changes, and follows it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from app.cli import client, retrying
from app.cli.output import INTERRUPTED, AsJson, fail, named, print_record, print_row, refuse, warn
from app.domain.publishing.change import ChangeKind

_PAGE = 1000
_WAIT_SECONDS = 50
# So many characters of a reason or a description fit behind the rest.
_MAX_TEXT = 200
# What most changes take; the name and what follows are as long as they are.
_WIDTHS = (6, 19, 21, 0, 0, 0)
_STATES = ("before", "state")


def changes(
    after: Annotated[int, typer.Option(min=0, help="Only changes after this one.", metavar="SEQ")] = 0,
    vendor: Annotated[str | None, typer.Option(help="Only changes of names of this vendor.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Only changes that can change a verdict on this device model, and of hosts.")
    ] = None,
    kind: Annotated[
        list[ChangeKind] | None,
        typer.Option("--kind", help="Only changes of this kind. Repeatable.", metavar="KIND"),
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is published from now on, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the changes of the registry in order, one on each line: publications, states, errata, hosts.

    With --json, each line is a JSON object. With --follow, the command goes on, and connects again while the registry
    cannot be reached; --after SEQ continues where an earlier run has stopped.

    Exit status 0 printed, or stopped while following; 2 could not ask; 130 interrupted before.

    Examples:

        profile-registry changes --vendor qemu.org --kind release-published

        profile-registry changes --after 231 --follow --json
    """
    kinds = {str(wanted) for wanted in kind or ()}
    if audited := [str(wanted) for wanted in kind or () if wanted.is_audited_alone]:
        fail(f"{named(audited)}: only the audit has these changes, which an admin reads: GET /audit")
    filters = {name: value for name, value in (("vendor", vendor), ("model", model)) if value is not None}
    try:
        with client.Registry() as registry:
            for items in _pages(registry, after, filters, follow=follow):
                for item in items:
                    if not kinds or item["kind"] in kinds:
                        _print(item, as_json=as_json)
    except KeyboardInterrupt:
        # Following normally ends with an interrupt.
        raise typer.Exit(0 if follow else INTERRUPTED) from None
    except client.RegistryError as error:
        refuse(error)


def _pages(
    registry: "client.Registry", after: int, filters: Mapping[str, str], *, follow: bool
) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Iterate over the pages of the feed after a seq, if it is followed without end."""

    def read(wait: int) -> Any:
        return registry.get("/changes", after=after, limit=_PAGE, wait=wait, **filters)

    page = read(0)
    while True:
        yield page["items"]
        if page["next"] is not None:
            after = page["next"]
            page = read(0)
            continue
        # With a filter, the last changes need not be among the items.
        after = max(after, page["head"])
        if not follow:
            return
        page = retrying.patient().wraps(read)(_WAIT_SECONDS)
        if page["head"] < after:
            warn(f"the registry was set back to change {page['head']:,}; going on from there")
            after = page["head"]


def _print(change: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_record(change)
        return
    # The time to the second: 2026-11-27 17:19:51.
    time = change["at"][:19].replace("T", " ")
    cells = [str(change["seq"]), time, change["kind"], change["name"], _detail(change["detail"]), change["by"]]
    print_row(cells, _WIDTHS)


def _detail(detail: Mapping[str, Any]) -> str:
    """Return in words what more is known of a change."""
    if all(field in detail for field in _STATES):
        return f"{detail['before']} → {detail['state']}"
    text = str(detail.get("reason") or detail.get("description") or "")
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
