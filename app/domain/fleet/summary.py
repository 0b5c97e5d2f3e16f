"""The answers for many VMs and many hosts, summed up: where each VM can move, and why not elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import chain
from typing import TypeAlias

from app.domain.engine.question import Answer, DeviceAnswer
from app.domain.fleet.group import EXAMPLES, Group, Named
from app.domain.fleet.leading import Leading
from app.domain.fleet.staleness import AT_DESTINATION, AT_SOURCE
from app.domain.values.budget import spend
from app.domain.verdict.destination import Destination
from app.domain.verdict.joining import Entry, joined
from app.domain.verdict.problem import Caution, Problem
from app.domain.verdict.source import Registry

# Destinations that a VM can move to are named where they are at most this many (DESIGN 6).
MAX_NAMED = 1_000


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot move to some destinations, or the warnings about those that it can move to.

    variables: those concerned; releases, devices: those that it is about, none for a warning about hosts. count: the
    number of the destinations. examples: the first five of them, in the order asked.
    """

    code: str
    message: str
    variables: tuple[str, ...]
    releases: tuple[str, ...]
    devices: tuple[str, ...]
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Where one VM can move.

    possible, impossible: of each kind of destinations, whether it can move there, in the order asked. names: those
    possible, in the order asked, None if they are more than can be named. reasons: those against the other
    destinations; warnings: of those possible. The most frequent first.
    """

    possible: tuple[Group, ...]
    impossible: tuple[Group, ...]
    names: tuple[str, ...] | None
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]

    @property
    def possible_count(self) -> int:
        """The number of destinations that the VM can move to."""
        return _count(self.possible)

    @property
    def impossible_count(self) -> int:
        """The number of the other destinations."""
        return _count(self.impossible)


def _count(groups: Iterable[Group]) -> int:
    return sum(group.count for group in groups)


@dataclass(slots=True)
class _Occurrences:
    """Where a reason occurs, each once: releases, devices, and the groups by their positions."""

    releases: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)


# Kinds with equal verdicts can share an answer: by its id, the answer and the groups, each with its position.
_Shared: TypeAlias = dict[int, tuple[Answer, dict[int, Group]]]


def summarize(
    groups: Sequence[Group],
    answers: Sequence[Answer],
    registry: Registry,
    names_of: Callable[[Group], Iterable[Named]],
) -> Summary:
    """Return the summary of the answers on one VM, one for each group of destinations.

    registry: what the question has loaded. names_of: returns all destinations of a group; it is called only where all
    those that the VM can move to are at most MAX_NAMED.
    """
    accepted: _Shared = {}
    refused: _Shared = {}
    possible: list[Group] = []
    impossible: list[Group] = []
    sources: Sequence[Destination | None] = []
    for position, (group, answer) in enumerate(zip(groups, answers, strict=True)):
        (possible if answer.compatible else impossible).append(group)
        if answer.compatible:
            sources = sources or _sources(answer)
        shared = accepted if answer.compatible else refused
        shared.setdefault(id(answer), (answer, {}))[1][position] = group
    warnings = [
        *_reasons(accepted, lambda device: device.verdict.warnings),
        *_stale_reasons(possible, sources),
    ]
    names = None
    if _count(possible) <= MAX_NAMED:
        names = tuple(entry.name for entry in sorted(chain.from_iterable(map(names_of, possible))))
    return Summary(
        tuple(possible),
        tuple(impossible),
        names,
        _reasons(refused, Leading(registry).problems),
        tuple(sorted(warnings, key=_rank)),
    )


def _stale_reasons(possible: Sequence[Group], sources: Sequence[Destination | None]) -> Iterator[Reason]:
    """Iterate over the warnings of hosts that have not reported for a long time: the VM's own, and possible ones."""
    stale_sources = [source for source in sources if source is not None and source.is_stale]
    count = _count(possible)
    if stale_sources and count:
        yield Reason(*Entry.of(AT_SOURCE), (), (), count, _examples(possible))
    stale = sum(group.stale for group in possible)
    if stale:
        examples = nsmallest(EXAMPLES, chain.from_iterable(group.stale_examples for group in possible))
        yield Reason(*Entry.of(AT_DESTINATION), (), (), stale, tuple(entry.name for entry in examples))


def _sources(answer: Answer) -> Sequence[Destination | None]:
    """Return the hosts that the devices run on, each once."""
    hosts = {host.id if host else None: host for device in answer.devices for host in [device.source.device.host]}
    return list(hosts.values())


def _rank(reason: Reason) -> tuple[int, str, str]:
    return -reason.count, reason.code, reason.message


def _reasons(shared: _Shared, entries_of: Callable[[DeviceAnswer], Sequence[Problem | Caution]]) -> tuple[Reason, ...]:
    """Return the problems or warnings of verdicts, the most frequent first; those of many variables are one.

    A problem that follows from another is left out (DESIGN 6).
    """
    occurrences: dict[Entry, _Occurrences] = {}
    for answer, groups in shared.values():
        for device in answer.devices:
            spend(1 + len(groups) // 4)
            for entry in joined(map(Entry.of, entries_of(device))):
                occurrence = occurrences.setdefault(entry, _Occurrences())
                occurrence.releases[device.release] = None
                occurrence.devices[device.device.id] = None
                occurrence.groups.update(groups)
    reasons = [
        Reason(
            *entry,
            tuple(occurrence.releases),
            tuple(occurrence.devices),
            _count(occurrence.groups.values()),
            _examples(occurrence.groups.values()),
        )
        for entry, occurrence in occurrences.items()
    ]
    return tuple(sorted(reasons, key=_rank))


def _examples(groups: Iterable[Group]) -> tuple[str, ...]:
    examples = nsmallest(EXAMPLES, chain.from_iterable(group.examples for group in groups))
    return tuple(entry.name for entry in examples)
