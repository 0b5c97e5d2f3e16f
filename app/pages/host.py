"""The pages of the fleet: registered hosts by kind, one host, and one kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.container import container
from app.api.host import host_document
from app.api.identity import Allowed
from app.api.parameters import Filter, LabelField
from app.api.session import Asking
from app.domain.engine.acceptance import Acceptance
from app.domain.values.budget import OverBudgetError
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.pages.page import PageRoute, long_page, page, pasted
from app.pages.support_matrix import heat
from app.service import fleet
from app.service.known import UnknownNameError
from app.storage import fleet as storage
from app.storage.reader import Reader
from app.wire.compatibility import MAX_LABELS

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_KINDS = 100
_MAX_VALUES = 8
_EXAMPLES = 3
# Of those that do not report, people want the names.
_MAX_STALE = 50
_HOSTS = 100
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
    the time of the oldest of their last reports, None if one is unknown. examples: some of their names.
    """

    group: fleet.Group
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
    selection = asking.ask_from_thread(lambda reader: fleet.select(labels, reader), _INSTEAD)
    groups = [group for group in selection.groups if group.stale or not stale]

    def parts() -> Iterator[Mapping[str, object]]:
        rows, states = asking.ask_from_thread(
            lambda reader: _rows(groups[:_MAX_KINDS], labels, reader, only_stale=stale), _INSTEAD
        )
        yield from ({"row": row, "states": states, "only_stale": stale} for row in rows)

    return long_page(
        request,
        "hosts.html",
        "hosts_row.html",
        parts(),
        labels=labels,
        only_stale=stale,
        stale_hours=container(request).staleness.hours,
        selection=selection,
        host_count=selection.stale if stale else selection.host_count,
        groups=groups,
        shown=groups[:_MAX_KINDS],
        suggestions={
            name: list(values.items())[:_MAX_VALUES]
            for name, values in selection.labels.items()
            if len(values) > 1 or labels
        },
        value_counts={name: len(values) for name, values in selection.labels.items()},
    )


def _rows(
    groups: Sequence[fleet.Group], labels: Sequence[str], reader: Reader, *, only_stale: bool
) -> tuple[Sequence[GroupRow], Mapping[str, State]]:
    rows = []
    for group in groups:
        first = group.kind.first
        names = reader.stale_names(labels, group.kind.digest, _MAX_STALE) if only_stale else group.examples[:_EXAMPLES]
        states = len(set(first.named_models()))
        oldest = reader.oldest_report(labels, group.kind.digest)
        rows.append(GroupRow(group, Runs.of(first), states, oldest, names))
    return rows, states_of(reader, (run.release for row in rows for run in row.runs))


def known_hosts(reader: Reader, limit: int) -> tuple[Sequence[str], Sequence[str]]:
    """Return some labels and the first names of registered hosts, to choose from; none where they are closed."""
    if not reader.shows_hosts:
        return [], []
    with reader.hosts_connection() as connection:
        names = storage.names(connection, storage.ALL, None, None, limit)
        return storage.labels(connection, limit), names


def states_of(reader: Reader, releases: Iterator[str]) -> Mapping[str, State]:
    """Return the states of those of the releases that are published."""
    known = reader.snapshot(releases=dict.fromkeys(releases), of_models=()).known_releases()
    return {str(release.name): release.state for release in known}


@router.get("/ui/hosts/{host:path}")
def get_host_page(host: str, request: Request, asking: Asking, allowed: Allowed) -> Response:
    """Show a registered host: what it states, its labels and its last report."""
    allowed.check_hosts()
    staleness = container(request).staleness

    def load(reader: Reader) -> tuple[dict[str, Any], fleet.Group, Mapping[str, State]]:
        with reader.hosts_connection() as connection:
            stored = storage.hosts(connection, [host])
        if not stored:
            raise UnknownNameError(host, "host")
        group = fleet.known_kind(stored[0].kind, reader)
        return (
            host_document(stored[0], staleness),
            group,
            states_of(reader, (name for _, name in group.kind.releases())),
        )

    document, group, states = asking.ask_from_thread(load)
    return page(request, "host.html", host=document, kind=group.kind, host_count=group.count, states=states)


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
        group = fleet.known_kind(digest, reader)
        with reader.hosts_connection() as connection:
            hosts, following = storage.page(connection, storage.ALL, digest, after, _HOSTS)
        return {
            "kind": group.kind,
            "host_count": group.count,
            "hosts": [host_document(host, staleness) for host in hosts],
            "next": following,
            "states": states_of(reader, (name for _, name in group.kind.releases())),
            "stale_count": group.stale,
            "profiles": fleet.profiles_for(group.kind, reader),
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
                for profile, at_hosts, stated in rows:
                    yield {
                        "profile": profile,
                        "hosts": (at_hosts, heat(at_hosts)),
                        "cells": [(cell, "none" if cell is None else heat(cell)) for cell in stated],
                    }
                place += _AT_ONCE
        except OverBudgetError:
            if not place:
                raise
        if (judged := row + place) < len(content["profiles"]):
            yield {"following": judged, "remaining": len(content["profiles"]) - judged}

    return long_page(request, "kind.html", "kind_row.html", parts(), row=row, **content)
