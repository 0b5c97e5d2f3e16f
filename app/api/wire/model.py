"""Device models on the wire."""

from typing import Literal

from pydantic import Field

from app.api.wire.base import ModelName, Shape, Value, VendorName


class StatedVariable(Shape):
    """What is stated of a variable of a model."""

    type: Literal["bool", "int", "str"] = Field(description="of its values; an int has at most 64 bits")
    off_value: Value | None = Field(default=None, description="absent where none is stated")


class StoredModel(Shape):
    """A device model, with the releases that implement it."""

    model: ModelName
    vendor: VendorName
    releases: list[str] = Field(description="in the order published")
    variables: dict[str, StatedVariable] = Field(description="as the model's own vendor states them, for every set")
    other_variables: dict[str, dict[str, StatedVariable]] = Field(
        description="by vendor, the variables that the model's own vendor does not have; they count for its sets alone"
    )


class ListedModel(Shape):
    """A device model in a list."""

    model: ModelName
    vendor: VendorName
    release_count: int = Field(description="how many releases implement it")
