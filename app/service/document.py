"""Problems, warnings and what breaks the gate as JSON documents."""

from app.domain.publishing.gate import Broken
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
    return {"code": caution.code.value, "message": caution.message}


def broken_document(broken: Broken) -> dict[str, object]:
    """Return as JSON what a release breaks."""
    return {
        "profile": broken.profile,
        "model": broken.model,
        "accepted_by": broken.accepted_by,
        "refused_by": broken.refused_by,
        "problems": [problem_document(problem) for problem in broken.problems],
    }
