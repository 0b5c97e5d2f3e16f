"""Profiles on the wire."""

from typing import Literal

from pydantic import Field

from app.api.wire.base import Name, Shape, Value
from app.api.wire.variable_set import Description

Values = dict[str, dict[str, Value | None]]
OWN_VALUES = (
    "per model the values that differ from the parent's; a variable that is not named is off, null takes one out again"
)


class ProfileDocument(Shape):
    """A named set of variable values."""

    name: Name = Field(description="<vendor>/<path>", examples=["vendor-a.com/my-nic-2024"])
    extends: Name = Field(default="", description="the profile whose values these overlay")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Literal["published"] = "published"


class NamedProfileDocument(Shape):
    """A profile whose name the address gives."""

    name: Name = Field(default="", description="the same as in the address, or left out")
    extends: Name = Field(default="", description="the profile whose values these overlay")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Literal["published"] = "published"


class StoredProfile(Shape):
    """A published profile."""

    name: str
    extends: str | None
    description: str | None
    state: Literal["published"] = "published"
    values: Values = Field(description=f"{OWN_VALUES}; with `resolved=true` all that hold, inherited ones included")


class ListedProfile(Shape):
    """A published profile in a list."""

    name: str
    extends: str | None
    state: Literal["published"] = "published"
    model_count: int = Field(description="how many models it names itself")
