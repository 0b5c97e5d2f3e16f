"""The answer for many VMs and many hosts summed up: where each may go, and why not to the others."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.problem import ProblemCode
from app.domain.question import Answer


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a VM cannot go to some destinations.

    devices: those of the VM that are concerned. destinations: in the order asked.
    """

    code: ProblemCode
    message: str
    variable: str | None
    release: str
    devices: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Where one VM may go, in the order asked, and the reasons for the other destinations, the most frequent first."""

    possible: tuple[str, ...]
    reasons: tuple[Reason, ...]


def summed_up(answers: Iterable[tuple[str, Answer]]) -> Summary:
    """Return the summary of what one VM was answered at each destination."""
    # Equal hosts have one answer.
    groups: dict[int, tuple[Answer, list[str]]] = {}
    possible = []
    for destination, answer in answers:
        if answer.compatible:
            possible.append(destination)
        else:
            groups.setdefault(id(answer), (answer, []))[1].append(destination)
    reasons: dict[tuple[ProblemCode, str, str | None, str], tuple[dict[str, None], list[str]]] = {}
    for answer, destinations in groups.values():
        told = set()
        for each in answer.devices:
            for problem in each.verdict.problems:
                key = (problem.code, problem.message, problem.variable, each.release)
                devices, where = reasons.setdefault(key, ({}, []))
                devices[each.device.id] = None
                if key not in told:
                    told.add(key)
                    where += destinations
    summed = [
        Reason(code, message, variable, release, tuple(devices), tuple(where))
        for (code, message, variable, release), (devices, where) in reasons.items()
    ]
    summed.sort(key=lambda reason: (-len(reason.destinations), reason.code, reason.message))
    return Summary(tuple(possible), tuple(summed))
