"""Problems, warnings and errors on the wire."""

from pydantic import Field

from app.api.wire.base import ModelName, ProfileName, Shape, Value
from app.domain.document import FaultCode
from app.domain.evolution import Broken as DomainBroken
from app.domain.problem import RULES, Caution, ProblemCode, WarningCode
from app.domain.problem import Problem as DomainProblem


class StepRange(Shape):
    """The ints min, min + step, … max."""

    min: int = Field(description="the first of them, from -2^63")
    max: int = Field(description="none is greater; to 2^64-1")
    step: int = Field(ge=1, description="from one to the next, at least 1")


Allowed = Value | StepRange
MAX_BROKEN = 1_000
_RULES = "\n".join(f"- `{code.value}`: {rule}" for code, rule in RULES.items())


class Problem(Shape):
    """One reason why a device cannot be re-created on a destination."""

    code: ProblemCode = Field(description=f"the rule that is not met:\n{_RULES}")
    message: str = Field(description="what is wrong, for people")
    variable: str | None = Field(default=None, description="the variable concerned; absent if none is")
    value: Value | None = Field(default=None, description="its value on the source; absent if there is none")
    allowed: list[Allowed] | None = Field(
        default=None, description="what is allowed: values, ranges `min-max` and steps; absent if that is not the point"
    )


class VerdictWarning(Shape):
    """Something to know about a verdict that does not make it incompatible."""

    code: WarningCode = Field(description="what it is about; stable")
    message: str = Field(description="the same for people")


class FaultShape(Shape):
    """One thing that is wrong with a request."""

    code: FaultCode = Field(description="what is wrong; stable")
    message: str = Field(description="the same for people")
    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body")
    parameter: str | None = Field(default=None, description="the parameter in the path or the query")


class Broken(Shape):
    """A profile that one release accepts for a model, and another one does not."""

    profile: ProfileName
    model: ModelName
    accepted_by: str = Field(description="the release that accepts it")
    refused_by: str = Field(description="the release that does not")
    problems: list[Problem] = Field(description="why not")


class ErrorShape(Shape):
    """An error (RFC 9457); what programs look at is `code`."""

    type: str = Field(description="always about:blank: `code` says what it is", examples=["about:blank"])
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    code: str = Field(description="stable; the codes of each operation are listed with its responses")
    detail: str = Field(description="what is wrong, for people")
    faults: list[FaultShape] = Field(default_factory=list, description="every fault of the request at once")
    broken: list[Broken] = Field(
        default_factory=list, description=f"of evolution-gate: what earlier releases gave, at most {MAX_BROKEN:,}"
    )
    broken_count: int = Field(default=0, description="how many there are, also those that are not told")


def problem_document(problem: DomainProblem) -> dict[str, object]:
    """Return a problem in JSON."""
    document: dict[str, object] = {"code": problem.code.value, "message": problem.message}
    if problem.variable is not None:
        document["variable"] = problem.variable
    if problem.value is not None:
        document["value"] = problem.value
    if problem.allowed is not None:
        document["allowed"] = problem.allowed
    return document


def broken_document(broken: DomainBroken) -> dict[str, object]:
    """Return in JSON what a release breaks."""
    return {
        "profile": broken.profile,
        "model": broken.model,
        "accepted_by": broken.accepted_by,
        "refused_by": broken.refused_by,
        "problems": [problem_document(each) for each in broken.problems],
    }


def warning_document(caution: Caution) -> dict[str, object]:
    """Return a warning in JSON."""
    return {"code": caution.code.value, "message": caution.message}
