"""Where in a JSON text a JSON pointer leads, and what breaks the text: for people who correct it in an editor."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from app.domain.values.document import pointer_step

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+', re.DOTALL)
_OPENING, _CLOSING = frozenset("[{"), frozenset("]}")
_BEFORE_ENTRY = _OPENING | {","}
# Also a number with more digits than Python converts; what follows is not read any more.
_NO_NUMBER = re.compile(r"-?Infinity|NaN|-?[0-9]{4301,}")


class Location(NamedTuple):
    """A place in a text; both numbers begin at 1."""

    line: int
    column: int


class Lines:
    """The lines of a text, and where they begin."""

    def __init__(self, text: str) -> None:
        self.texts = text.split("\n")
        self._starts = [0]
        for line in self.texts[:-1]:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def location(self, offset: int) -> Location:
        """Return the place of a character."""
        line = bisect_right(self._starts, offset)
        return Location(line, offset - self._starts[line - 1] + 1)


@dataclass(slots=True)
class _Node:
    """A step of some pointers; offset: where the entry that it leads to begins, None if the text has none."""

    children: dict[str, "_Node"] = field(default_factory=dict)
    offset: int | None = None


def offsets(text: str, pointers: Iterable[str]) -> Mapping[str, int]:
    """Return for each pointer where its entry begins in a JSON text: an entry of an object begins with its name.

    A pointer to what the text does not have, such as a missing field, leads to the innermost entry that it has.
    """
    wanted = dict.fromkeys(pointers)
    root = _Node(offset=len(text) - len(text.lstrip()))
    for pointer in wanted:
        wanted_node = root
        for step in pointer.split("/")[1:]:
            wanted_node = wanted_node.children.setdefault(step, _Node())
    # The node of each open object or array, None where no pointer leads into it.
    nodes: list[_Node | None] = [root]
    for depth, key, offset in _entries(text):
        parent = nodes[depth - 1]
        node = parent.children.get(pointer_step(key)) if parent is not None and parent.children else None
        nodes[depth:] = [node]
        if node is not None and node.offset is None:
            node.offset = offset
    return {pointer: _innermost(root, pointer) for pointer in wanted}


def _innermost(root: _Node, pointer: str) -> int:
    node, offset = root, root.offset or 0
    for step in pointer.split("/")[1:]:
        node = node.children[step]
        if node.offset is None:
            break
        offset = node.offset
    return offset


def _entries(text: str) -> Iterator[tuple[int, str | int, int]]:
    """Iterate over the entries of all objects and arrays: how deep they are, the name or the index, the offset.

    It never recurses, however deep the text is.
    """
    # Of each open object or array: the index of the next item, None for an object.
    indexes: list[int | None] = []
    is_before_entry = False
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if is_before_entry and indexes and mark not in _CLOSING:
            index = indexes[-1]
            if index is not None:
                indexes[-1] = index + 1
            yield len(indexes), _name(mark) if index is None else index, token.start()
        is_before_entry = mark in _BEFORE_ENTRY
        if mark in _OPENING:
            indexes.append(0 if mark == "[" else None)
        elif mark in _CLOSING and indexes:
            indexes.pop()


def _name(written: str) -> str:
    try:
        return str(json.loads(written))
    except ValueError:
        return written


def duplicates(text: str) -> Iterator[tuple[str, int]]:
    """Iterate over the fields that an object has already: the pointer of each, and where it begins."""
    names: list[set[str]] = []
    steps: list[str] = []
    for depth, key, offset in _entries(text):
        del names[depth:], steps[depth - 1 :]
        names += [set() for _ in range(depth - len(names))]
        steps.append(pointer_step(key))
        if isinstance(key, str):
            if key in names[-1]:
                yield "".join(f"/{step}" for step in steps), offset
            names[-1].add(key)


def constant_offset(text: str) -> int | None:
    """Return where the first number begins that JSON does not have, such as NaN; None if there is none."""
    return next((token.start() for token in _TOKEN.finditer(text) if _NO_NUMBER.match(token[0])), None)


def surrogate_offset(text: str) -> int | None:
    """Return where the first string begins that has half of a surrogate pair, None if there is none."""
    return next((token.start() for token in _TOKEN.finditer(text) if token[0][0] == '"' and _has_half(token[0])), None)


def _has_half(written: str) -> bool:
    try:
        _name(written).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
