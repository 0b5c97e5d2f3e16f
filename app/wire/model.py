"""Device models on the wire."""

from typing import Literal

from pydantic import Field

from app.wire.base import ModelName, OpenShape, Value, VendorName
from app.wire.variable_set import StandsForDocument


class StatedVariable(OpenShape):
    """The type and off value of a variable of a model."""

    type: Literal["bool", "int", "str"] = Field(description="the type of its values; an int has at most 64 bits")
    off_value: Value | None = Field(default=None, description="the off value; absent if none is published")
    stands_for: StandsForDocument | None = Field(
        default=None, description="the variable that it is under another name; absent if it is one of its own"
    )


class StoredModel(OpenShape):
    """A device model, with the releases that implement it."""

    model: ModelName
    vendor: VendorName
    releases: list[str] = Field(description="the releases that implement it, in the order published")
    variables: dict[str, StatedVariable] = Field(
        description="by name, as the model's own vendor published them; they count for the sets of every vendor"
    )
    other_variables: dict[str, dict[str, StatedVariable]] = Field(
        description="by vendor, variables that the model's own vendor does not have; they count only for its sets"
    )


class ListedModel(OpenShape):
    """A device model in a list."""

    model: ModelName
    vendor: VendorName
    release_count: int = Field(description="the number of releases that implement it")
