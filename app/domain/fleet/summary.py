"""The answers for many VMs and many hosts, summed up: where each VM can move, and why not elsewhere."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.domain.engine.question import Answer
from app.domain.values.budget import spend
from app.domain.verdict.joining import Entry, joined
from app.domain.verdict.judge import Verdict
from app.domain.verdict.problem import Caution, Problem


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot move to some destinations, or the warnings about those that it can move to.

    variables: those concerned; releases, devices: those that it is about. destinations: in the order asked.
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


def summarize(answers: Iterable[tuple[str, Answer]]) -> Summary:
    """Return the summary of the answers on one VM, given by destination."""
    accepted: _Shared = {}
    refused: _Shared = {}
    possible = []
    positions: dict[str, int] = {}
    for position, (destination, answer) in enumerate(answers):
        positions[destination] = position
        if answer.compatible:
            possible.append(destination)
        (accepted if answer.compatible else refused).setdefault(id(answer), (answer, []))[1].append(destination)
    return Summary(
        tuple(possible),
        _reasons(refused, positions, lambda verdict: verdict.problems),
        _reasons(accepted, positions, lambda verdict: verdict.warnings),
    )


def _reasons(
    shared: _Shared, positions: Mapping[str, int], entries_of: Callable[[Verdict], Sequence[Problem | Caution]]
) -> tuple[Reason, ...]:
    """Return the problems or warnings of verdicts, the most frequent first; those of many variables are one."""
    occurrences: dict[Entry, _Occurrences] = {}
    for answer, destinations in shared.values():
        for device in answer.devices:
            spend(1 + len(destinations) // 4)
            for entry in joined(map(_entry, entries_of(device.verdict))):
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
    reasons.sort(key=lambda reason: (-len(reason.destinations), reason.code, reason.message))
    return tuple(reasons)


def _entry(entry: Problem | Caution) -> Entry:
    variables = (entry.variable,) if isinstance(entry, Problem) and entry.variable is not None else ()
    return Entry(entry.code.value, entry.message, variables)
