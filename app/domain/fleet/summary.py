"""The answers for many VMs and many hosts, summed up: where each VM can move, and why not elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.domain.engine.question import Answer
from app.domain.verdict.problem import ProblemCode


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot move to some destinations.

    releases, devices: those that have the problem. destinations: in the order asked.
    """

    code: ProblemCode
    message: str
    variable: str | None
    releases: tuple[str, ...]
    devices: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Where one VM can move, in the order asked, and the reasons against the others, the most frequent first."""

    possible: tuple[str, ...]
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class _Occurrences:
    """Where a reason occurs, each once."""

    releases: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    destinations: dict[str, None] = field(default_factory=dict)


def summarize(answers: Iterable[tuple[str, Answer]]) -> Summary:
    """Return the summary of the answers on one VM, given by destination."""
    # Equal hosts share one answer.
    refused: dict[int, tuple[Answer, list[str]]] = {}
    possible = []
    positions: dict[str, int] = {}
    for position, (destination, answer) in enumerate(answers):
        positions[destination] = position
        if answer.compatible:
            possible.append(destination)
        else:
            refused.setdefault(id(answer), (answer, []))[1].append(destination)
    occurrences: dict[tuple[ProblemCode, str, str | None], _Occurrences] = {}
    for answer, destinations in refused.values():
        for device in answer.devices:
            for problem in device.verdict.problems:
                occurrence = occurrences.setdefault((problem.code, problem.message, problem.variable), _Occurrences())
                occurrence.releases[device.release] = None
                occurrence.devices[device.device.id] = None
                occurrence.destinations.update(dict.fromkeys(destinations))
    reasons = [
        Reason(
            *key,
            tuple(occurrence.releases),
            tuple(occurrence.devices),
            tuple(sorted(occurrence.destinations, key=positions.__getitem__)),
        )
        for key, occurrence in occurrences.items()
    ]
    reasons.sort(key=lambda reason: (-len(reason.destinations), reason.code, reason.message))
    return Summary(tuple(possible), tuple(reasons))
