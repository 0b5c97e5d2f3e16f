"""Profiles on the wire."""

from typing import Annotated

from pydantic import Field

from app.domain.values.state import State
from app.wire.base import Name, OpenShape, ProfileName, Shape, Value
from app.wire.signature import Signature
from app.wire.variable_set import Description

Values = dict[str, dict[str, Value | None]]
OWN_VALUES = (
    "by model and variable, the values that differ from the parent; null takes a variable of the parent out again. A "
    "variable without a value is off"
)


Published = Annotated[
    State, Field(strict=False, description="published; deprecated: verdicts warn; retired: verdicts refuse")
]
Parent = Annotated[str | None, Field(description="the parent profile, whose values it overlays; null: none")]
NewState = Annotated[
    State,
    Field(
        strict=False,
        description="the state of a new entry; a draft is kept apart until it is published",
    ),
]


class ProfileDocument(Shape):
    """A named set of variable values."""

    name: Name = Field(description="`<vendor>/<path>`, at most 255 characters", examples=["vendor-a.com/my-nic-2024"])
    # Document no default: a missing name differs from an empty one.
    extends: Name = Field(
        default_factory=str, description="the parent profile, whose values these overlay; absent: none"
    )
    description: Description = ""
    values: Values = Field(description=OWN_VALUES)
    state: NewState = State.PUBLISHED


class NamedProfileDocument(ProfileDocument):
    """A profile without its name, which is in the address."""

    name: Name = Field(default_factory=str, description="the name in the address; can be left out")


class StoredProfile(OpenShape):
    """A published profile."""

    name: ProfileName
    extends: Parent
    description: str | None = Field(description="for people; null: none")
    state: Published
    digest: str | None = Field(description="the digest of the whole profile; null: a draft")
    values: Values = Field(description=f"{OWN_VALUES}. With `resolved=true` all values, also the inherited ones")
    signatures: list[Signature] = Field(
        default_factory=list,
        description="signed publications of the profile, alone or with a release; empty: it is unsigned",
    )


class ListedProfile(OpenShape):
    """A published profile in a list."""

    name: ProfileName
    extends: Parent
    state: Published
    digest: str | None = Field(description="the digest of the whole profile; null: a draft")
    model_count: int = Field(description="the number of models that it names itself")
