"""The answers for many VMs and many hosts, summed up: where each VM can move, and why not elsewhere."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.engine.question import Answer, DeviceAnswer
from app.domain.fleet.leading import Leading
from app.domain.fleet.staleness import stale
from app.domain.values.budget import spend
from app.domain.verdict.destination import Destination
from app.domain.verdict.joining import Entry, joined
from app.domain.verdict.problem import Caution, Problem
from app.domain.verdict.source import Registry


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot move to some destinations, or the warnings about those that it can move to.

    variables: those concerned; releases, devices: those that it is about, none for a warning about hosts. destinations:
    in the order asked.
    """

    code: str
    message: str
    variables: tuple[str, ...]
    releases: tuple[str, ...]
    devices: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Where one VM can move, in the order asked.

    reasons: those against the other destinations; warnings: of those possible. The most frequent first.
    """

    possible: tuple[str, ...]
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]


@dataclass(slots=True)
class _Occurrences:
    """Where a reason occurs, each once."""

    releases: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    destinations: dict[str, None] = field(default_factory=dict)


# Equal hosts share one answer: by its id, the answer and the destinations.
_Shared: TypeAlias = dict[int, tuple[Answer, list[str]]]


def summarize(answers: Iterable[tuple[Destination, Answer]], registry: Registry) -> Summary:
    """Return the summary of the answers on one VM, given by destination; registry: what the question has loaded."""
    accepted: _Shared = {}
    refused: _Shared = {}
    possible = []
    positions: dict[str, int] = {}
    sources: Sequence[Destination | None] | None = None
    # By their destination: of hosts, which the verdicts know nothing of.
    stale_at: dict[Caution, dict[str, None]] = {}
    for position, (destination, answer) in enumerate(answers):
        positions[destination.id] = position
        if answer.compatible:
            possible.append(destination.id)
            sources = sources or _sources(answer)
            for source in sources:
                for caution in stale(source, destination):
                    stale_at.setdefault(caution, {})[destination.id] = None
        (accepted if answer.compatible else refused).setdefault(id(answer), (answer, []))[1].append(destination.id)
    warnings = [
        *_reasons(accepted, positions, lambda device: device.verdict.warnings),
        *(Reason(*Entry.of(caution), (), (), tuple(hosts)) for caution, hosts in stale_at.items()),
    ]
    return Summary(
        tuple(possible),
        _reasons(refused, positions, Leading(registry).problems),
        tuple(sorted(warnings, key=_rank)),
    )


def _sources(answer: Answer) -> Sequence[Destination | None]:
    """Return the hosts that the devices run on, each once."""
    hosts = {host.id if host else None: host for device in answer.devices for host in [device.source.device.host]}
    return list(hosts.values())


def _rank(reason: Reason) -> tuple[int, str, str]:
    return -len(reason.destinations), reason.code, reason.message


def _reasons(
    shared: _Shared, positions: Mapping[str, int], entries_of: Callable[[DeviceAnswer], Sequence[Problem | Caution]]
) -> tuple[Reason, ...]:
    """Return the problems or warnings of verdicts, the most frequent first; those of many variables are one.

    A problem that follows from another is left out (DESIGN 6).
    """
    occurrences: dict[Entry, _Occurrences] = {}
    for answer, destinations in shared.values():
        for device in answer.devices:
            spend(1 + len(destinations) // 4)
            for entry in joined(map(Entry.of, entries_of(device))):
                occurrence = occurrences.setdefault(entry, _Occurrences())
                occurrence.releases[device.release] = None
                occurrence.devices[device.device.id] = None
                occurrence.destinations.update(dict.fromkeys(destinations))
    reasons = [
        Reason(
            *entry,
            tuple(occurrence.releases),
            tuple(occurrence.devices),
            tuple(sorted(occurrence.destinations, key=positions.__getitem__)),
        )
        for entry, occurrence in occurrences.items()
    ]
    return tuple(sorted(reasons, key=_rank))
