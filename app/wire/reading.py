"""Reading a request's document as its shape, piece by piece, so that faults are counted while they are met.

Pydantic reports every fault of a document at once: a body of some megabytes would have millions of them, at a kilobyte
each. So lists of objects are read item by item, and reading ends at MAX_FAULTS.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cache
from types import NoneType
from typing import Any, TypeAlias, TypeVar, cast, get_args, get_origin

from pydantic import GetCoreSchemaHandler, ValidationError, create_model
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from app.domain.values.budget import spend
from app.wire.base import Shape

# The same as in the domain, which reads publications; a test compares them.
MAX_FAULTS = 1_000
# A document of this size takes Pydantic six milliseconds where all of it is wrong (measured).
AT_ONCE = 16 * 1024
# Of one object, this many unknown fields are reported.
_MAX_UNKNOWN_FIELDS = 100

Read = TypeVar("Read", bound=Shape)
# A fault as Pydantic describes it.
Fault: TypeAlias = ErrorDetails
_Path = tuple[str | int, ...]


class InvalidShapeError(Exception):
    """A document that does not have its shape; faults: as Pydantic describes them, at most MAX_FAULTS.

    Pydantic lets it pass because it is not a ValueError.
    """

    def __init__(self, faults: Sequence[ErrorDetails]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class InPieces:
    """Annotates the body of a route: its shape is read by read_shape."""

    def __get_pydantic_core_schema__(self, source: type[Shape], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the document in place of what Pydantic would do."""
        return core_schema.no_info_wrap_validator_function(
            lambda document, _: read_shape(source, document), handler(source)
        )


def read_shape(shape: type[Read], document: object, size: int | None = None) -> Read:
    """Return a document as its shape; raises InvalidShapeError with the first MAX_FAULTS faults.

    size: of the document in bytes, where it is known. A short document can only have few faults, so it is read at once,
    and in pieces only if it has any.
    """
    if size is not None and size <= AT_ONCE:
        with suppress(ValidationError):
            return shape.model_validate(document)
    faults: list[ErrorDetails] = []
    read = _object(shape, document, (), faults)
    if read is None:
        raise InvalidShapeError(faults[:MAX_FAULTS])
    return read


def _object(shape: type[Read], document: object, path: _Path, faults: list[ErrorDetails]) -> Read | None:
    """Return an object as its shape; None if it has faults, which are added."""
    spend()
    before = len(faults)
    frame, items = _frame(shape)
    fields: dict[str, Any] = {}
    given: set[str] = set()
    framed: list[ErrorDetails] = []
    try:
        read = frame.model_validate(_with_few_unknown(frame, document))
        fields, given = dict(read), read.model_fields_set
    except ValidationError as error:
        framed = error.errors(include_url=False, include_input=False)
    listed = document if isinstance(document, Mapping) else {}
    faulty = {fault["loc"][0] for fault in framed if fault["loc"]}
    for name, of_item in items.items():
        documents = listed.get(name)
        if name not in faulty and isinstance(documents, list):
            fields[name] = _items(of_item, documents, (*path, name), faults)
    faults += [{**fault, "loc": (*path, *fault["loc"])} for fault in framed]
    return None if len(faults) > before else shape.model_construct(given, **fields)


def _items(shape: type[Read], documents: Sequence[object], path: _Path, faults: list[ErrorDetails]) -> list[Read]:
    items = []
    for index, document in enumerate(documents):
        item = _object(shape, document, (*path, index), faults)
        if len(faults) >= MAX_FAULTS:
            break
        if item is not None:
            items.append(item)
    return items


@cache
def _frame(shape: type[Shape]) -> tuple[type[Shape], Mapping[str, type[Shape]]]:
    """Return a shape without what its lists of objects contain, and by their names the shape of the items."""
    items = {name: item for name, field in shape.model_fields.items() if (item := _item(field.annotation)) is not None}
    if not items:
        return shape, items
    optional = {name for name in items if NoneType in get_args(shape.model_fields[name].annotation)}
    return frame_of(shape, {name: list[Any] | None if name in optional else list[Any] for name in items}), items


def frame_of(shape: type[Shape], annotations: Mapping[str, Any]) -> type[Any]:
    """Return a shape with other annotations for some of its fields."""
    fields: dict[str, Any] = {}
    for name, field in shape.model_fields.items():
        framed = copy(field)
        framed.annotation = cast("type[Any]", annotations.get(name, field.annotation))
        fields[name] = (framed.annotation, framed)
    return create_model(shape.__name__, __base__=Shape, **fields)


def _item(annotation: Any) -> type[Shape] | None:
    """Return the shape of the items of a list; None for other fields."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is list:
            (item,) = get_args(kind)
            return item if isinstance(item, type) and issubclass(item, Shape) else None
    return None


def _with_few_unknown(shape: type[Shape], document: object) -> object:
    """Return a document with at most some of the fields that its shape does not have."""
    if not isinstance(document, dict) or len(document) <= _MAX_UNKNOWN_FIELDS:
        return document
    known = {field.alias or name for name, field in shape.model_fields.items()}
    unknown = [name for name in document if name not in known]
    dropped = set(unknown[_MAX_UNKNOWN_FIELDS:])
    return {name: value for name, value in document.items() if name not in dropped}
