"""Profiles on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import Name, Published, Shape, Value
from app.api.wire.variable_set import Description
from app.domain.state import State

Values = dict[str, dict[str, Value | None]]
OWN_VALUES = (
    "per model the values that differ from the parent's; a variable that is not named is off, null takes one out again"
)


Asked = Annotated[
    State, Field(strict=False, description="of something new: draft is kept apart, until it is published")
]


class ProfileDocument(Shape):
    """A named set of variable values."""

    name: Name = Field(description="<vendor>/<path>", examples=["vendor-a.com/my-nic-2024"])
    extends: Name = Field(default="", description="the profile whose values these overlay")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Asked = State.PUBLISHED


class NamedProfileDocument(Shape):
    """A profile whose name the address gives."""

    name: Name = Field(default="", description="the same as in the address, or left out")
    extends: Name = Field(default="", description="the profile whose values these overlay")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Asked = State.PUBLISHED


class StoredProfile(Shape):
    """A published profile."""

    name: str
    extends: str | None
    description: str | None
    state: Published
    digest: str | None = Field(description="of the profile as it stands; null: a draft")
    values: Values = Field(description=f"{OWN_VALUES}; with `resolved=true` all that hold, inherited ones included")


class ListedProfile(Shape):
    """A published profile in a list."""

    name: str
    extends: str | None
    state: Published
    digest: str | None = Field(description="of the profile as it stands; null: a draft")
    model_count: int = Field(description="how many models it names itself")
