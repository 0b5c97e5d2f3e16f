"""Base shapes, values and names of the wire."""

import re
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
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

# The same as in the domain, which the client has to do without; a test compares them.
INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
MAX_TEXT = 4096
# For the schema of an int that the domain checks.
INT_RANGE: JsonDict = {"minimum": INT_MIN, "maximum": INT_MAX}

Item = TypeVar("Item")


def _printable(text: str | None) -> str | None:
    if text is not None and any(character < " " or "\ud800" <= character <= "\udfff" for character in text):
        message = "must not have control characters"
        raise ValueError(message)
    return text


printable = AfterValidator(_printable)
_AUTHORITY = re.compile(r"(?P<scheme>(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)(?P<authority>[^/?#\\]*)(?P<rest>.*)", re.DOTALL)


def without_credentials(address: str) -> str:
    """Return an address without its user, password, query and fragment, which can be secrets; a file as it is."""
    parts = _AUTHORITY.fullmatch(address)
    if parts is None:
        return address
    authority, rest = parts["authority"], parts["rest"]
    user, _, host = authority.rpartition("@")
    if not user and "@" in rest and re.search(r":(?![0-9]*$)", authority.rpartition("]")[2]):
        # Not an address: a password with one of / ? # in it.
        return f"{parts['scheme']}…"
    return f"{parts['scheme']}{host}{re.split('[?#]', rest, maxsplit=1)[0]}"


class AtMost:
    """Limits the entries of an object, those of the objects in it included, before they are read."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Count first; what is too long is one fault."""
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of what is limited; the description states the limit."""
        return handler(schema)

    def _checked(self, document: object) -> object:
        if isinstance(document, dict) and (count := _count(document, self.most)) > self.most:
            context = {"field_type": "Dictionary", "max_length": self.most, "actual_length": count}
            raise PydanticKnownError("too_long", context)  # noqa: EM101 (a kind of error, not a message)
        return document


def _count(document: object, most: int) -> int:
    """Return the number of entries of an object or array, nested ones included; counting ends above a number."""
    count = 0
    waiting = [document]
    while waiting and count <= most:
        container = waiting.pop()
        count += len(container) if isinstance(container, dict | list) else 0
        if count <= most and isinstance(container, dict | list):
            inner = container.values() if isinstance(container, dict) else container
            waiting += [item for item in inner if isinstance(item, dict | list)]
    return count


class Shape(BaseModel):
    """A strict JSON object: no unknown fields, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OpenShape(BaseModel):
    """A JSON object of an answer; answers can gain fields, and a client ignores those that it does not know."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


# A stable word. Later versions can have more of them, so a client takes any; the document lists those of today.
Code = str
Int64 = Annotated[int, Field(strict=True, ge=INT_MIN, le=INT_MAX, description="exact, from -2^63 to 2^64-1")]
CheckedInt = Annotated[int, Field(description="exact, from -2^63 to 2^64-1", json_schema_extra=INT_RANGE)]
Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT, description=f"at most {MAX_TEXT:,} characters")]
Value = StrictBool | Int64 | Text
Name = Annotated[str, Field(min_length=1, max_length=400)]
# Names, as they are in answers.
VendorName = Annotated[str, Field(description="a vendor: a DNS domain in lower case, at most 253 characters")]
ModelName = Annotated[str, Field(description="a device model: `<vendor>/<path>`, at most 255 characters")]
ProfileName = Annotated[str, Field(description="a profile: `<vendor>/<path>`, at most 255 characters")]
ImplementationName = Annotated[str, Field(description="an implementation: `<vendor>/<path>`, at most 255 characters")]
ReleaseName = Annotated[
    str, Field(description="a release: `<implementation>@<version>`, the version at most 64 characters")
]
DryRun = Annotated[bool, Field(description="true: this is what would happen, and nothing was stored")]


class Based(OpenShape):
    """An answer that is based on a position in the feed of changes."""

    registry: str = Field(description="the id of the registry")
    seq: int = Field(
        description="the last change that the answer is based on; it holds until a later change concerns a model, "
        "profile, release or host of the question (GET /changes)"
    )
    link: str = Field(
        description="the link of that change: keep the answer only as long as the registry's feed has this change with "
        "this link; a registry that was set back has another one"
    )
    as_of: str | None = Field(
        default=None,
        description="only while the database is away: the answer is from memory, as the registry was at this time",
    )


class Page(OpenShape, Generic[Item]):
    """A page of a list."""

    # A docstring would describe the generic class, not the page of one kind.
    model_config = ConfigDict(json_schema_extra={"description": "A page of a list."})

    items: list[Item] = Field(description="at most `limit` of them, in the order of the list")
    next: str | None = Field(description="the cursor of the next page, null on the last one")


class AsDocumented:
    """Documents a body as one of some shapes; the domain reads it, to report all faults at once."""

    def __init__(self, *shapes: type[BaseModel]) -> None:
        self._shapes = shapes

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept anything."""
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the shapes, by their names."""
        schemas = [_schema_of(shape, handler) for shape in self._shapes]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _schema_of(shape: type[BaseModel], handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    schema = shape.__pydantic_core_schema__
    if schema["type"] != "model":
        return handler(schema)
    name = f"{shape.__module__}.{shape.__qualname__}:{id(shape)}"
    definition = core_schema.definition_reference_schema(name)
    return handler(core_schema.definitions_schema(definition, [{**schema, "ref": name}]))
