"""Problems, warnings, differences and what breaks the gate as JSON documents."""

from app.domain.fleet.difference import Difference
from app.domain.publishing.gate import Broken
from app.domain.publishing.outcome import MadeOtherwise
from app.domain.verdict.problem import Caution, Problem


def problem_document(problem: Problem) -> dict[str, object]:
    """Return a problem as JSON."""
    document: dict[str, object] = {"code": problem.code.value, "message": problem.message}
    if problem.variable is not None:
        document["variable"] = problem.variable
    if problem.value is not None:
        document["value"] = problem.value
    if problem.allowed is not None:
        document["allowed"] = problem.allowed
    return document


def warning_document(caution: Caution) -> dict[str, object]:
    """Return a warning as JSON."""
    document: dict[str, object] = {"code": caution.code.value, "message": caution.message}
    return document if caution.values is None else {**document, "values": caution.values}


def broken_document(broken: Broken) -> dict[str, object]:
    """Return as JSON what a release breaks."""
    return {
        "profile": broken.profile,
        "model": broken.model,
        "accepted_by": broken.accepted_by,
        "refused_by": broken.refused_by,
        "problems": [problem_document(problem) for problem in broken.problems],
    }


def made_otherwise_document(entry: MadeOtherwise) -> dict[str, object]:
    """Return as JSON what a release makes otherwise of a profile."""
    return {
        "profile": entry.profile,
        "model": entry.model,
        "values": {name: {"from": before, "to": after} for name, (before, after) in entry.values.items()},
    }


def difference_document(entry: Difference) -> dict[str, object]:
    """Return a difference as JSON."""
    return {
        "variable": entry.variable,
        "change": entry.change.value,
        **({} if entry.before is None else {"from": entry.before}),
        **({} if entry.after is None else {"to": entry.after}),
        "message": entry.message,
        "closes": {direction.value: extent.value for direction, extent in (entry.closes or {}).items()},
    }
