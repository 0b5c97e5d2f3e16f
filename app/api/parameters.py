"""Names in paths and queries."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator

from app.api.wire.base import printable
from app.domain import name as names
from app.domain.name import ReleaseName
from app.domain.state import State


def _as(check: Callable[[str], object]) -> AfterValidator:
    def validate(text: str) -> str:
        check(text)
        return text

    return AfterValidator(validate)


_VENDOR = "a DNS domain in lower case with at least one dot, at most 253 characters"
_NAME = "`<vendor>/<path>`: at most 255 characters, NFC, no white space, none of `@ = ? # %`"
_RELEASE = "`<implementation>@<version>`, the version 1 to 64 letters, digits and `._+~:-`, the first a letter or digit"
NewVendor = Annotated[str, Path(description=_VENDOR), _as(names.vendor_name)]
NewProfile = Annotated[str, Path(description=_NAME), _as(names.name)]
NewRelease = Annotated[str, Path(description=_RELEASE), _as(ReleaseName.parse)]
NewImplementation = Annotated[str, Path(description=_NAME), _as(names.name)]
AnyVendor = Annotated[str, Path(max_length=names.MAX_VENDOR, description=_VENDOR)]
AnyName = Annotated[str, Path(max_length=names.MAX_NAME, description=_NAME)]
AnyRelease = Annotated[str, Path(max_length=names.MAX_NAME + 1 + names.MAX_VERSION, description=_RELEASE)]
HostName = Annotated[
    str,
    Path(description="1 to 255 characters, no /, no white space or control characters", max_length=255),
    _as(names.host_name),
]


MAX_FILTER = 400


def narrowing(what: str) -> Any:
    """Return the query parameter that a list is narrowed by."""
    return Query(max_length=MAX_FILTER, description=f"{what}; at most {MAX_FILTER} characters")


Filter = Annotated[str | None, Query(max_length=MAX_FILTER), printable]
OfVendor = Annotated[str | None, narrowing("only names of this vendor"), printable]
StateFilter = Annotated[State | None, Query(description="only what is in this state; drafts are listed with `draft`")]
AlsoDraft = Annotated[bool, Query(description="also a draft; else a draft is not found")]
IncludeDrafts = Annotated[bool, Query(description="drafts, too, where no `state` is asked for")]


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
        description="an admin's reason why a release is published although it breaks earlier ones, kept and shown; "
        "1 to 1,000 characters",
    ),
    printable,
    AfterValidator(_reason),
]


def states(state: State | None, *, include_drafts: bool) -> frozenset[State]:
    """Return the states of what is to be listed."""
    if state is not None:
        return frozenset({state})
    return frozenset(State) if include_drafts else frozenset(State) - {State.DRAFT}
