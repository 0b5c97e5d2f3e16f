"""Faults are shown at the lines and columns of the text that a vendor has written."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.values.document import pointer_step
from app.domain.values.location import Lines, constant_offset, duplicates, offsets, surrogate_offset

TEXT = """{
  "a/b": {"~x": [1, {"y": "}],{"}, [], true]},
  "": 5,
  "plain" : { }
}
"""
PLACES = {
    "": (1, 1),
    "/a~1b": (2, 3),
    "/a~1b/~0x": (2, 11),
    "/a~1b/~0x/0": (2, 18),
    "/a~1b/~0x/1/y": (2, 22),
    "/a~1b/~0x/2": (2, 36),
    "/a~1b/~0x/3": (2, 40),
    "/": (3, 3),
    "/plain": (4, 3),
    # What is missing is shown where it belongs.
    "/plain/none/deeper": (4, 3),
    "/none": (1, 1),
    "/a~1b/~0x/9": (2, 11),
}


def test_a_pointer_leads_to_its_line_and_column() -> None:
    lines, found = Lines(TEXT), offsets(TEXT, PLACES)
    assert {pointer: tuple(lines.location(offset)) for pointer, offset in found.items()} == PLACES


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def _pointers(document: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Iterate over the pointers into a document, each with what stands there as JSON."""
    if isinstance(document, dict):
        for key, value in document.items():
            here = f"{pointer}/{pointer_step(key)}"
            yield here, json.dumps(key)
            yield from _pointers(value, here)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            here = f"{pointer}/{index}"
            yield here, json.dumps(value)[:1]
            yield from _pointers(value, here)


@given(VALUES, st.sampled_from([None, 0, 2]))
def test_every_entry_of_any_text_is_found(document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent)
    expected = dict(_pointers(document))
    found = offsets(text, expected)
    assert all(text.startswith(begins, found[pointer]) for pointer, begins in expected.items())
    assert len(set(found.values())) == len(expected)


def test_deep_texts_are_read_without_recursion() -> None:
    text = "[" * 50_000 + "]" * 50_000
    assert offsets(text, ["/0/0/0"]) == {"/0/0/0": 3}
    assert list(duplicates(text)) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1, "b": 2}', None),
        ('{"a": 1, "a": 2}', 9),
        ('[{"a": {"a": 1}}, {"a": 1}]', None),
        ('{"a": {"b": 1}, "c": {"b": 1, "\\u0062": 2}}', 30),
        ('{"a": ["a", "a"]}', None),
    ],
)
def test_the_second_of_two_equal_names_is_found(text: str, place: int | None) -> None:
    assert next((offset for _, offset in duplicates(text)), None) == place


def test_what_is_no_json_value_is_found() -> None:
    assert constant_offset('{"NaN": "NaN", "x": [-Infinity]}') == 21
    assert constant_offset('{"x": 5}') is None
    assert surrogate_offset('["\\ud83d\\ude00", "\\ud83d"]') == 17
    assert surrogate_offset('["x"]') is None
