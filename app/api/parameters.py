"""Parameters in paths and queries that several routes share."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator

from app.domain.values import name as names
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.wire.base import printable
from app.wire.compatibility import MAX_LABEL, MAX_LABELS, Label, checked_label


def _as(check: Callable[[str], object]) -> AfterValidator:
    def validate(text: str) -> str:
        check(text)
        return text

    return AfterValidator(validate)


_VENDOR = "a DNS domain in lower case with at least one dot, at most 253 characters"
_NAME = "`<vendor>/<path>`: at most 255 characters, NFC, without white space and `@ = ? # %`"
_RELEASE = (
    "`<implementation>@<version>`; the version has 1 to 64 letters, digits and `._+~:-`, the first a letter or digit"
)
NewVendor = Annotated[str, Path(description=_VENDOR), _as(names.vendor_name)]
NewProfile = Annotated[str, Path(description=_NAME), _as(names.name)]
NewRelease = Annotated[str, Path(description=_RELEASE), _as(ReleaseName.parse)]
NewImplementation = Annotated[str, Path(description=_NAME), _as(names.name)]
AnyVendor = Annotated[str, Path(max_length=names.MAX_VENDOR, description=_VENDOR)]
AnyName = Annotated[str, Path(max_length=names.MAX_NAME, description=_NAME)]
AnyRelease = Annotated[str, Path(max_length=names.MAX_NAME + 1 + names.MAX_VERSION, description=_RELEASE)]
Digest = Annotated[str, Path(description="`sha256:` and 64 hexadecimal digits")]
HostName = Annotated[
    str,
    Path(description="1 to 255 characters, without `/`, white space and control characters", max_length=255),
    _as(names.host_name),
]


Labels = Annotated[
    list[Label] | None,
    Query(
        max_length=MAX_LABELS,
        description="registered hosts with this label: `name=value`, `name!=value`, `name` or `!name`; can be "
        f"repeated, at most {MAX_LABELS} times: all of them must hold",
    ),
]


def _label_or_none(text: str) -> str:
    return checked_label(text.strip()) if text.strip() else ""


# A field of a form that is left empty is sent, too.
LabelField = Annotated[str, Query(max_length=MAX_LABEL), AfterValidator(_label_or_none)]
MAX_FILTER = 400


def narrowing(what: str) -> Any:
    """Return a query parameter that narrows a list; what: its description."""
    return Query(max_length=MAX_FILTER, description=f"{what}; at most {MAX_FILTER} characters")


Filter = Annotated[str | None, Query(max_length=MAX_FILTER), printable]
OfVendor = Annotated[str | None, narrowing("only names of this vendor"), printable]
StateFilter = Annotated[State | None, Query(description="only entries in this state")]
AlsoDraft = Annotated[bool, Query(description="also find a draft")]
IncludeDrafts = Annotated[bool, Query(description="also list drafts, if `state` is not given")]


def _reason(text: str | None) -> str | None:
    if text is not None and not text.strip():
        message = "must not be blank"
        raise ValueError(message)
    return text if text is None else text.strip()


Override = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=1000,
        description="the reason to publish a release although it breaks earlier ones (evolution gate); it needs an "
        "admin token and is shown with the release; 1 to 1,000 characters",
    ),
    printable,
    AfterValidator(_reason),
]


def states(state: State | None, *, include_drafts: bool) -> frozenset[State]:
    """Return the states that a list contains."""
    if state is not None:
        return frozenset({state})
    return frozenset(State) if include_drafts else frozenset(State) - {State.DRAFT}
