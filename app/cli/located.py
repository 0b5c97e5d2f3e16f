"""The places of a JSON document in its text: a JSON pointer as a line and a column."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain.values.location import duplicates, offsets

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
    return _spots(text, offsets(text, pointers))


def located_duplicates(text: str) -> dict[str, Spot]:
    """Return the places of fields that an object has already, by pointer; JSON's readers keep only the last one."""
    return _spots(text, dict(duplicates(text)))


def _spots(text: str, places: Mapping[str, int]) -> dict[str, Spot]:
    """Return the lines and columns of offsets."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    lines = {pointer: bisect_right(starts, offset) for pointer, offset in places.items()}
    return {
        pointer: Spot(line, places[pointer] - starts[line - 1] + 1, starts[line - 1]) for pointer, line in lines.items()
    }
