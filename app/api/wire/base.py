"""What the wire shapes share."""

from typing import Annotated, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from app.domain.state import State
from app.domain.value import INT_MAX, INT_MIN, MAX_TEXT

Item = TypeVar("Item")


def _printable(text: str | None) -> str | None:
    if text is not None and any(character < " " or "\ud800" <= character <= "\udfff" for character in text):
        message = "has control characters"
        raise ValueError(message)
    return text


printable = AfterValidator(_printable)


class Shape(BaseModel):
    """A strict JSON object: no unknown fields, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Int64 = Annotated[int, Field(strict=True, ge=INT_MIN, le=INT_MAX, description="from -2^63 to 2^64-1")]
Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT, description=f"at most {MAX_TEXT:,} characters")]
Value = StrictBool | Int64 | Text
Name = Annotated[str, Field(min_length=1, max_length=400)]
# What names are, wherever the registry answers with them.
VendorName = Annotated[str, Field(description="a vendor: a DNS domain in lower case, at most 253 characters")]
ModelName = Annotated[str, Field(description="a device model: `<vendor>/<path>`, at most 255 characters")]
ProfileName = Annotated[str, Field(description="a profile: `<vendor>/<path>`, at most 255 characters")]
ImplementationName = Annotated[str, Field(description="an implementation: `<vendor>/<path>`, at most 255 characters")]
ReleaseName = Annotated[
    str, Field(description="a release: `<implementation>@<version>`, the version at most 64 characters")
]
DryRun = Annotated[bool, Field(description="true: this is what would happen, and nothing was stored")]

Published = Annotated[State, Field(strict=False, description="deprecated: a warning in verdicts; retired: a problem")]


class Page(Shape, Generic[Item]):
    """A page of a list."""

    # A docstring is not that of a page of something.
    model_config = ConfigDict(json_schema_extra={"description": "A page of a list."})

    items: list[Item] = Field(description="at most `limit` of them, in the order of the list")
    next: str | None = Field(description="the cursor of the next page, null on the last one")


class AsDocumented:
    """Documents a body as a shape, and leaves reading it, with all its faults at once, to the domain."""

    def __init__(self, shape: type[BaseModel]) -> None:
        self._shape = shape

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept anything."""
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the shape, by its name."""
        schema = self._shape.__pydantic_core_schema__
        if schema["type"] != "model":
            return handler(schema)
        name = f"{self._shape.__module__}.{self._shape.__qualname__}:{id(self._shape)}"
        definition = core_schema.definition_reference_schema(name)
        return handler(core_schema.definitions_schema(definition, [{**schema, "ref": name}]))
