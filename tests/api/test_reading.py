"""A short question is read at once: the same shape and the same faults as piece by piece."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.wire.compatibility import Question
from app.wire.reading import InvalidShapeError, read_shape

_TEXTS = st.sampled_from(["a", "", "vendor-a.com/nic", "x" * 256, "x" * 401, "\n", "rack=r1", "=", "!a=b"])
_SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 1.0, 0.5]) | _TEXTS
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=6
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with some of these fields, now and then with another one, and other JSON in place of objects."""
    right = st.fixed_dictionaries({}, optional=fields)
    wrong = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, _JSON) | {"no-such-field": _JSON})
    return st.one_of(right, right, right, wrong, _JSON)


_VALUES = st.dictionaries(_TEXTS, _SCALARS, max_size=3)
_NAMES = st.lists(_TEXTS, max_size=2)
_STATED = st.dictionaries(_TEXTS, st.dictionaries(_TEXTS, _JSON, max_size=2), max_size=2)
_DEVICES = objects(
    id=_TEXTS, model=_TEXTS, release=_TEXTS, profile=_TEXTS, values=_VALUES, complete=_SCALARS, host=_TEXTS, role=_TEXTS
)
_UNITS = objects(id=_TEXTS, releases=_NAMES, restrict=_STATED, resolves=_STATED, available=_SCALARS)
_DESTINATIONS = objects(
    id=_TEXTS,
    releases=_NAMES,
    restrict=_STATED,
    resolves=_STATED,
    units=st.lists(_UNITS, max_size=2),
    host=_TEXTS,
    labels=_NAMES,
    label=_TEXTS,
    all_hosts=_SCALARS,
)
_VMS = objects(id=_TEXTS, release=_TEXTS, devices=st.lists(_DEVICES, max_size=2))
QUESTIONS = objects(
    devices=st.lists(_DEVICES, max_size=3),
    vms=st.lists(_VMS, max_size=2),
    destinations=st.lists(_DESTINATIONS, max_size=3),
    policy=st.sampled_from(["strict", "permissive", "none", 1]),
    detail=st.sampled_from(["full", "summary", "", None]),
)


def read(document: object, size: int | None) -> tuple[str, object]:
    """Return what is read of a document, with the fields that it gives, or its faults."""
    try:
        question = read_shape(Question, document, size)
    except InvalidShapeError as error:
        # As text, because a fault can contain an exception, which equals no other.
        return "faults", repr(error.faults)
    # Types, because 1 is equal to true; unset fields, because only some are written.
    return repr(question), question.model_dump(exclude_unset=True)


@given(QUESTIONS)
def test_a_short_question_is_read_as_in_pieces(document: object) -> None:
    assert read(document, 1) == read(document, None)


def test_a_long_question_is_read_in_pieces() -> None:
    # In pieces, only the first 1,000 faults are found.
    document = {"devices": [{}] * 900, "destinations": [1] * 900}
    assert read(document, 100_000) == read(document, None)
