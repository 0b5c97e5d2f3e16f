"""The pages of the fleet: registered hosts by kind, one host, and one kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.container import container
from app.api.host import registered
from app.api.identity import Allowed
from app.api.parameters import Filter, LabelField
from app.api.session import Asking
from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.kind import HostKind
from app.domain.values.budget import OverBudgetError, spend
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.pages.page import PageRoute, long_page, page, pasted
from app.pages.support_matrix import heat
from app.service import fleet
from app.service.known import UnknownNameError
from app.storage import listing
from app.storage.host import report_times
from app.storage.reader import Reader
from app.wire.compatibility import MAX_LABELS

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_KINDS = 100
_MAX_VALUES = 8
_EXAMPLES = 3
# Of those that do not report, people want the names.
_MAX_STALE = 50
_HOSTS = 100
# Beyond this number, the times of all hosts are read at once.
_MAX_NAMED = 2_000
_PROFILES = 24
_AT_ONCE = 4
_INSTEAD = "Choose hosts by their labels."
LabelFields = Annotated[list[LabelField] | None, Query(max_length=MAX_LABELS + 1)]


def conditions(label: Sequence[str] | None) -> list[str]:
    """Return the conditions on labels that a form has sent, each once."""
    return list(dict.fromkeys(filter(None, map(pasted, label or ()))))


@dataclass(frozen=True, slots=True)
class Runs:
    """What hosts of a kind run, in words: releases, each with the number of the units that run it, 0 for the host."""

    release: str
    units: int

    @classmethod
    def of(cls, host: Destination) -> "Sequence[Runs]":
        """Return what a host runs, in its order."""
        units: dict[str, int] = {}
        for unit in host.units:
            for name in unit.releases:
                units[name] = units.get(name, 0) + 1
        return [*(cls(name, 0) for name in host.releases), *(cls(name, count) for name, count in units.items())]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The selected hosts of a kind.

    states: the number of models that they or their units restrict, and of those that they resolve, together. oldest:
    the time of the oldest of their last reports, None if one is unknown.
    """

    kind: HostKind
    count: int
    stale: int
    runs: Sequence[Runs]
    states: int
    oldest: str | None
    examples: Sequence[str]


@router.get("/ui/hosts")
def get_hosts_page(
    request: Request, asking: Asking, allowed: Allowed, label: LabelFields = None, *, stale: bool = False
) -> Response:
    """Show the registered hosts by kind; label: conditions on their labels, all of which must hold.

    stale: only hosts that have not reported for a long time.
    """
    allowed.check_hosts()
    labels = conditions(label)
    selection = asking.ask_from_thread(lambda reader: fleet.select(labels, reader, only_stale=stale), _INSTEAD)

    def parts() -> Iterator[Mapping[str, object]]:
        rows, states = asking.ask_from_thread(
            lambda reader: _rows(selection.groups[:_MAX_KINDS], _MAX_STALE if stale else _EXAMPLES, reader), _INSTEAD
        )
        yield from ({"row": row, "states": states} for row in rows)

    return long_page(
        request,
        "hosts.html",
        "hosts_row.html",
        parts(),
        labels=labels,
        only_stale=stale,
        stale_hours=container(request).staleness.hours,
        selection=selection,
        shown=selection.groups[:_MAX_KINDS],
        suggestions={
            name: list(values.items())[:_MAX_VALUES]
            for name, values in selection.labels.items()
            if len(values) > 1 or labels
        },
        value_counts={name: len(values) for name, values in selection.labels.items()},
    )


def _rows(
    groups: Sequence[fleet.Group], examples: int, reader: Reader
) -> tuple[Sequence[GroupRow], Mapping[str, State]]:
    names = [name for group in groups for name in group.hosts]
    spend(len(names) // 4)
    with reader.connection() as connection:
        times = report_times(connection, names if len(names) <= _MAX_NAMED else None)
    rows = [
        GroupRow(
            group.kind,
            len(group.hosts),
            group.stale,
            Runs.of(group.kind.first),
            len(set(group.kind.first.named_models())),
            _oldest(times, group.hosts),
            group.hosts[:examples],
        )
        for group in groups
    ]
    return rows, states_of(reader, (run.release for row in rows for run in row.runs))


def _oldest(times: Mapping[str, str | None], hosts: Sequence[str]) -> str | None:
    reported = [times.get(host) for host in hosts]
    return None if None in reported else min(filter(None, reported), default=None)


def states_of(reader: Reader, releases: Iterator[str]) -> Mapping[str, State]:
    """Return the states of those of the releases that are published."""
    known = reader.snapshot(releases=dict.fromkeys(releases), of_models=()).known_releases()
    return {str(release.name): release.state for release in known}


@router.get("/ui/hosts/{host:path}")
def get_host_page(host: str, request: Request, asking: Asking, allowed: Allowed) -> Response:
    """Show a registered host: what it states, its labels and its last report."""
    allowed.check_hosts()
    staleness = container(request).staleness

    def load(reader: Reader) -> tuple[dict[str, Any], HostKind, Mapping[str, State]]:
        kind = reader.fleet.kind_of.get(host)
        with reader.connection() as connection:
            row = listing.host(connection, host)
            if row is None or kind is None:
                raise UnknownNameError(host, "host")
            (document,) = registered(connection, [row], staleness)
        return document, kind, states_of(reader, (name for _, name in kind.releases()))

    document, kind, states = asking.ask_from_thread(load)
    return page(request, "host.html", host=document, kind=kind, states=states)


@router.get("/ui/kinds/{digest}")
def get_kind_page(
    digest: str,
    request: Request,
    asking: Asking,
    allowed: Allowed,
    after: Filter = None,
    row: Annotated[int, Query(ge=0, le=2**31 - 1, description="the number of profiles to skip")] = 0,
) -> Response:
    """Show a kind of hosts: what they state, which profiles they accept, and the hosts; after: the last one shown."""
    allowed.check_hosts()
    staleness = container(request).staleness

    def load(reader: Reader) -> Mapping[str, Any]:
        kind = fleet.known_kind(digest, reader)
        names = [host.id for host in kind.hosts if after is None or host.id > after]
        with reader.connection() as connection:
            rows = [stored for name in names[:_HOSTS] if (stored := listing.host(connection, name)) is not None]
            hosts = registered(connection, rows, staleness)
        return {
            "kind": kind,
            "hosts": hosts,
            "next": names[_HOSTS - 1] if len(names) > _HOSTS else None,
            "states": states_of(reader, (name for _, name in kind.releases())),
            "stale_count": len(reader.stale_hosts.intersection(reader.fleet.names[digest])),
            "profiles": fleet.profiles_for(kind, reader),
        }

    content = asking.ask_from_thread(load)
    kind, profiles = content["kind"], content["profiles"][row : row + _PROFILES]

    def parts() -> Iterator[Mapping[str, object]]:
        acceptance, place = Acceptance(), 0
        try:
            while batch := profiles[place : place + _AT_ONCE]:
                rows = asking.ask_from_thread(
                    lambda reader, batch=batch: fleet.accepted(kind, batch, acceptance, reader)  # type: ignore[misc]
                )
                for profile, cells in rows:
                    yield {
                        "profile": profile,
                        "cells": [(cell, "none" if cell is None else heat(cell)) for cell in cells],
                    }
                place += _AT_ONCE
        except OverBudgetError:
            if not place:
                raise
        if (judged := row + place) < len(content["profiles"]):
            yield {"following": judged, "remaining": len(content["profiles"]) - judged}

    return long_page(request, "kind.html", "kind_row.html", parts(), row=row, **content)
