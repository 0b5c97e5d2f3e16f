"""The places of a JSON document in its text: a JSON pointer as a line and a column."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from json import JSONDecoder
from typing import Any

from app.domain.values.document import pointer_step

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = JSONDecoder()
# What an excerpt shows of a line: a whole document can be one line.
_BEFORE, _FROM_ITS_BEGINNING, _WIDTH = 30, 50, 70


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a text. line, column: count from 1. start: the offset of the line."""

    line: int
    column: int
    start: int

    def excerpt(self, text: str) -> str:
        """Return the line, with its number and a mark under the column; of a long line only what is around it."""
        end = text.find("\n", self.start)
        line = text[self.start : end if end >= 0 else None].rstrip("\r")
        start = self.column - 1 - _BEFORE if self.column > _FROM_ITS_BEGINNING and len(line) > _WIDTH else 0
        shown = line[start : start + _WIDTH]
        # A tab is as wide in the line of the mark as above it.
        indent = "".join("\t" if character == "\t" else " " for character in line[start : self.column - 1])
        number = f"{self.line:>5} | "
        return f"{number}{shown}\n{' ' * (len(number) - 2)}| {indent}^"


def locate(text: str, pointers: Iterable[str]) -> dict[str, Spot]:
    """Return the place of each pointer in the text of a JSON document: of a field its name, of an item its value.

    What a pointer names can be missing, such as a required field: its place is the nearest one around it that exists.
    """
    wanted: dict[str, Any] = {}
    pointers = list(pointers)
    for pointer in pointers:
        steps = wanted
        for step in pointer.split("/")[1:]:
            steps = steps.setdefault(step, {})
    offsets = {"": _after_space(text, 0)}
    offsets.update(_offsets(text, offsets[""], wanted, ""))
    return _spots(text, {pointer: offsets[_nearest(pointer, offsets)] for pointer in pointers})


def duplicates(text: str) -> dict[str, Spot]:
    """Return the places of fields that an object has already, by pointer; JSON's readers keep only the last one."""
    return _spots(text, dict(_duplicates(text, _after_space(text, 0), "")))


def has_duplicates(text: str) -> bool:
    """Return whether an object in the text of a JSON document has a field twice."""
    has_any = False

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal has_any
        has_any = has_any or len({name for name, _ in pairs}) < len(pairs)

    JSONDecoder(object_pairs_hook=note).decode(text)
    return has_any


def _nearest(pointer: str, known: Collection[str]) -> str:
    while pointer not in known:
        pointer = pointer.rpartition("/")[0]
    return pointer


def _offsets(text: str, start: int, wanted: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, int]]:
    """Iterate over the pointers below a value, and where they are; wanted: the steps below it, each with its own."""
    if not wanted:
        return
    for step, offset, value in _children(text, start):
        if step in wanted:
            yield f"{pointer}/{step}", offset
            yield from _offsets(text, value, wanted[step], f"{pointer}/{step}")


def _spots(text: str, offsets: Mapping[str, int]) -> dict[str, Spot]:
    """Return the lines and columns of offsets."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    lines = {pointer: bisect_right(starts, offset) for pointer, offset in offsets.items()}
    return {
        pointer: Spot(line, offsets[pointer] - starts[line - 1] + 1, starts[line - 1])
        for pointer, line in lines.items()
    }


def _duplicates(text: str, start: int, pointer: str) -> Iterator[tuple[str, int]]:
    seen: set[str] = set()
    for step, offset, value in _children(text, start):
        place = f"{pointer}/{step}"
        if step in seen:
            yield place, offset
        seen.add(step)
        yield from _duplicates(text, value, place)


def _children(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Iterate over the fields or items of a value: the step of the pointer, its offset, the offset of its value."""
    opening, offset, index = text[start : start + 1], _after_space(text, start + 1), 0
    if opening not in {"{", "["} or text[offset] in "}]":
        return
    while True:
        step, value = str(index), offset
        if opening == "{":
            name, end = _DECODER.raw_decode(text, offset)
            step, value = pointer_step(name), _after_space(text, _after_space(text, end) + 1)
        yield step, offset, value
        end = _after_space(text, _DECODER.raw_decode(text, value)[1])
        if text[end] != ",":
            return
        offset, index = _after_space(text, end + 1), index + 1


def _after_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return offset if match is None else match.end()
