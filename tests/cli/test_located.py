"""The lines and columns of a JSON document's places."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.located import Spot, locate, located_duplicates
from app.domain.values.document import pointer_step

TEXT = """{
  "models": {
    "vendor-a.com/my-nic": {"variables": {
      "größe": {"type": "int", "init_value": [1, {"a": null}, "2-8"]}
    }}
  },
\t"profiles": [ "x"
  , {"name": "y\\"]"} ]
}
"""


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("", (1, 1)),
        ("/models", (2, 3)),
        ("/models/vendor-a.com~1my-nic", (3, 5)),
        ("/models/vendor-a.com~1my-nic/variables/größe", (4, 7)),
        ("/models/vendor-a.com~1my-nic/variables/größe/init_value/2", (4, 63)),
        ("/models/vendor-a.com~1my-nic/variables/größe/init_value/1/a", (4, 51)),
        ("/profiles", (7, 2)),
        ("/profiles/0", (7, 16)),
        ("/profiles/1", (8, 5)),
        ("/profiles/1/name", (8, 6)),
        # What is missing is where it should be.
        ("/profiles/7/name", (7, 2)),
        ("/models/vendor-a.com~1my-nic/variables/größe/off_value", (4, 7)),
        ("/state/x", (1, 1)),
    ],
)
def test_a_pointer_has_a_line_and_a_column(pointer: str, place: tuple[int, int]) -> None:
    spot = locate(TEXT, [pointer])[pointer]
    assert (spot.line, spot.column) == place


def _pointers(document: Any, pointer: str = "") -> Any:
    yield pointer, document
    items = enumerate(document) if isinstance(document, list) else ()
    for key, value in document.items() if isinstance(document, dict) else items:
        yield from _pointers(value, f"{pointer}/{pointer_step(key)}")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from([None, 0, 2, "\t"]),
)
def test_every_place_of_any_document_is_found(document: Any, indent: int | str | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    lines = text.split("\n")
    values = dict(_pointers(document))
    for pointer, spot in locate(text, values).items():
        rest = "\n".join([lines[spot.line - 1][spot.column - 1 :], *lines[spot.line :]])
        step = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        read, _ = json.JSONDecoder().raw_decode(rest)
        assert read in (values[pointer], step)


def test_an_excerpt_marks_the_column() -> None:
    assert locate(TEXT, ["/profiles/0"])["/profiles/0"].excerpt(TEXT) == (
        '    7 | \t"profiles": [ "x"\n      | \t              ^'
    )
    long = json.dumps({f"name-{number}": number for number in range(500)})
    shown, mark = locate(long, ["/name-250"])["/name-250"].excerpt(long).split("\n")
    assert len(shown) < 80
    assert shown[mark.index("^") :].startswith('"name-250": 250')
    assert Spot(1, 1, 0).excerpt("") == "    1 | \n      | ^"


def test_a_field_that_is_there_twice_is_found() -> None:
    text = '{"a": 1, "b": [{"x": {}, "x": 2}], "c/d": {},\n "c/d": {}, "b": 1}'
    assert {pointer: (spot.line, spot.column) for pointer, spot in located_duplicates(text).items()} == {
        "/b/0/x": (1, 26),
        "/c~1d": (2, 2),
        "/b": (2, 13),
    }
    assert located_duplicates('{"a": {"a": [{"a": 1}]}}') == {}
