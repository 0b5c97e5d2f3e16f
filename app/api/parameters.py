"""Names in paths and queries."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AfterValidator

from app.domain import name as names
from app.domain.name import ReleaseName


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
StateFilter = Annotated[Literal["published"] | None, Query(description="`published` is the only state there is")]
