"""Profiles on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import Name, ProfileName, Published, Shape, Value
from app.api.wire.variable_set import Description
from app.domain.state import State

Values = dict[str, dict[str, Value | None]]
OWN_VALUES = (
    "per model the values that differ from the parent's; a variable that is not named is off, null takes one out again"
)


Parent = Annotated[str | None, Field(description="the profile whose values it overlays; null: none")]
Asked = Annotated[
    State,
    Field(
        strict=False,
        description="of something new, published if none is told; draft is kept apart, until it is published",
    ),
]


class ProfileDocument(Shape):
    """A named set of variable values."""

    name: Name = Field(description="`<vendor>/<path>`, at most 255 characters", examples=["vendor-a.com/my-nic-2024"])
    # No default is told: what is left out is not the same as an empty name.
    extends: Name = Field(default_factory=str, description="the profile whose values these overlay; absent: none")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Asked = State.PUBLISHED


class NamedProfileDocument(Shape):
    """A profile whose name the address gives."""

    name: Name = Field(default_factory=str, description="the same as in the address, or left out")
    # No default is told: what is left out is not the same as an empty name.
    extends: Name = Field(default_factory=str, description="the profile whose values these overlay; absent: none")
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: Asked = State.PUBLISHED


class StoredProfile(Shape):
    """A published profile."""

    name: ProfileName
    extends: Parent
    description: str | None = Field(description="for people; null: none")
    state: Published
    digest: str | None = Field(description="of the profile as it stands; null: a draft")
    values: Values = Field(description=f"{OWN_VALUES}; with `resolved=true` all that hold, inherited ones included")


class ListedProfile(Shape):
    """A published profile in a list."""

    name: ProfileName
    extends: Parent
    state: Published
    digest: str | None = Field(description="of the profile as it stands; null: a draft")
    model_count: int = Field(description="how many models it names itself")
