"""Names in paths and queries."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

from app.domain import name as names
from app.domain.name import ReleaseName
from app.domain.state import State


def _printable(text: str | None) -> str | None:
    if text is not None and any(character < " " or "\ud800" <= character <= "\udfff" for character in text):
        message = "has control characters"
        raise ValueError(message)
    return text


def _as(check: Callable[[str], object]) -> AfterValidator:
    def validate(text: str) -> str:
        check(text)
        return text

    return AfterValidator(validate)


NewVendor = Annotated[str, Path(description="a DNS domain", examples=["vendor-a.com"]), _as(names.vendor_name)]
NewProfile = Annotated[str, Path(description="<vendor>/<path>"), _as(names.name)]
NewRelease = Annotated[str, Path(description="<implementation>@<version>"), _as(ReleaseName.parse)]
Filter = Annotated[str | None, Query(max_length=400), AfterValidator(_printable)]
StateFilter = Annotated[State | None, Query(description="only what is in this state; drafts are listed with `draft`")]
IncludeDrafts = Annotated[bool, Query(description="drafts, too")]
NewImplementation = Annotated[str, Path(description="<vendor>/<path>"), _as(names.name)]
HostName = Annotated[
    str, Path(description="no white space or control characters", max_length=255), _as(names.host_name)
]


def _reason(text: str | None) -> str | None:
    if text is not None and not text.strip():
        message = "says nothing"
        raise ValueError(message)
    return text if text is None else text.strip()


Override = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=1000,
        description="the reason why a release is published although it breaks earlier ones; it is kept and shown",
    ),
    AfterValidator(_printable),
    AfterValidator(_reason),
]


def states(state: State | None, *, include_drafts: bool) -> frozenset[State]:
    """Return the states of what is to be listed."""
    if state is not None:
        return frozenset({state})
    return frozenset(State) if include_drafts else frozenset(State) - {State.DRAFT}
