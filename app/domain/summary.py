"""The answer for many VMs and many hosts summed up: where each may go, and why not to the others."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.domain.problem import ProblemCode
from app.domain.question import Answer


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot go to some destinations.

    releases: whose problem it is there. devices: those of the VM that are concerned. destinations: in the order asked.
    """

    code: ProblemCode
    message: str
    variable: str | None
    releases: tuple[str, ...]
    devices: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Where one VM may go, in the order asked, and the reasons for the other destinations, the most frequent first."""

    possible: tuple[str, ...]
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class _Found:
    """What a reason is found with, each once."""

    releases: dict[str, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    destinations: dict[str, None] = field(default_factory=dict)


def summed_up(answers: Iterable[tuple[str, Answer]]) -> Summary:
    """Return the summary of what one VM was answered at each destination."""
    # Equal hosts have one answer.
    groups: dict[int, tuple[Answer, list[str]]] = {}
    possible = []
    asked = []
    for destination, answer in answers:
        asked.append(destination)
        if answer.compatible:
            possible.append(destination)
        else:
            groups.setdefault(id(answer), (answer, []))[1].append(destination)
    places = {destination: place for place, destination in enumerate(asked)}
    reasons: dict[tuple[ProblemCode, str, str | None], _Found] = {}
    for answer, destinations in groups.values():
        for each in answer.devices:
            for problem in each.verdict.problems:
                found = reasons.setdefault((problem.code, problem.message, problem.variable), _Found())
                found.releases[each.release] = None
                found.devices[each.device.id] = None
                found.destinations.update(dict.fromkeys(destinations))
    summed = [
        Reason(
            *key, tuple(each.releases), tuple(each.devices), tuple(sorted(each.destinations, key=places.__getitem__))
        )
        for key, each in reasons.items()
    ]
    summed.sort(key=lambda reason: (-len(reason.destinations), reason.code, reason.message))
    return Summary(tuple(possible), tuple(summed))
