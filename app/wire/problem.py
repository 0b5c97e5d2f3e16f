"""Problems, warnings and errors on the wire."""

from http import HTTPStatus

from pydantic import Field

from app.wire.base import INT_MAX, INT_RANGE, Code, ModelName, OpenShape, ProfileName, Shape, Value


class StepRange(Shape):
    """The ints min, min + step, … max."""

    min: int = Field(description="the first of them; exact, from -2^63 to 2^64-1", json_schema_extra=INT_RANGE)
    max: int = Field(description="none is greater; exact, from -2^63 to 2^64-1", json_schema_extra=INT_RANGE)
    step: int = Field(
        ge=1, description="from one to the next; exact, from 1 to 2^64-1", json_schema_extra={"maximum": INT_MAX}
    )


Allowed = Value | StepRange
MAX_BROKEN = 1_000


def problem_details(status: HTTPStatus, code: str, detail: str, root: str = "") -> dict[str, str | int]:
    """Return what every error has (RFC 9457, 3.1), and its code; root: the root path of the service."""
    help_page = f"{root}/help/{code}"
    return {"type": help_page, "title": status.phrase, "status": status.value, "code": code, "detail": detail}


class Problem(OpenShape):
    """One reason why a device cannot be re-created on a destination."""

    code: Code = Field(description="the rule that is not met; stable")
    message: str = Field(description="what is wrong, for people")
    variable: str | None = Field(default=None, description="the variable concerned; absent if none is")
    value: Value | None = Field(default=None, description="its value on the source; absent if there is none")
    allowed: list[Allowed] | None = Field(
        default=None, description="what is allowed: values, ranges `min-max` and steps; absent if that is not the point"
    )


class VerdictWarning(OpenShape):
    """Something to know about a verdict that does not make it incompatible."""

    code: Code = Field(description="what the warning is about; stable")
    message: str = Field(description="the same for people")
    values: dict[str, Value] | None = Field(
        default=None,
        description="by the destination's own names, with `must-be-set` what has to be set there explicitly, with "
        "`guest-may-see-more` what the guest sees there instead",
    )


class FaultShape(OpenShape):
    """One thing that is wrong with a request."""

    code: Code = Field(description="the kind of fault; stable")
    message: str = Field(description="the same for people")
    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body")
    parameter: str | None = Field(default=None, description="the parameter in the path or the query")


class Broken(OpenShape):
    """A profile that one release accepts for a model, and another one does not."""

    profile: ProfileName
    model: ModelName
    accepted_by: str = Field(description="the release that accepts it")
    refused_by: str = Field(description="the release that does not")
    problems: list[Problem] = Field(description="why not")


class ErrorShape(OpenShape):
    """An error (RFC 9457); what programs look at is `code`."""

    type: str = Field(
        description="the help page of the code: an address of the registry, relative to that of the request",
        examples=["/help/unknown-release"],
    )
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    code: str = Field(description="stable; the codes of each operation are listed with its responses")
    detail: str = Field(description="what is wrong, for people")
    faults: list[FaultShape] = Field(default_factory=list, description="every fault of the request at once")
    did_you_mean: list[str] = Field(
        default_factory=list, description="of an unknown name: published names that resemble it, at most 3"
    )
    cause: str | None = Field(
        default=None, description="with code unavailable: why the database cannot do its work; stable"
    )
    can_read: bool = Field(
        default=False, description="of /readyz: whether questions are answered, although nothing can be published"
    )
    broken: list[Broken] = Field(
        default_factory=list, description=f"with code evolution-gate: what the release breaks, at most {MAX_BROKEN:,}"
    )
    broken_count: int = Field(default=0, description="the number of all that it breaks, also beyond this list")
