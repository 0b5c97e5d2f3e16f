"""Values in JSON and on a command line, and sets of values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.values.allowed import AllowedValues, Steps
from app.domain.values.document import Place
from app.domain.values.value import INT_MAX, INT_MIN, InvalidValueError, Type, same


@pytest.mark.parametrize(
    ("of_type", "written", "value"),
    [
        *[(Type.BOOL, word, True) for word in (True, "on", "true", "yes")],
        *[(Type.BOOL, word, False) for word in (False, "off", "false", "no")],
        (Type.INT, 4, 4),
        (Type.INT, "4", 4),
        (Type.INT, "0x10", 16),
        (Type.INT, "-1", -1),
        (Type.INT, "0", 0),
        (Type.INT, INT_MAX, INT_MAX),
        (Type.INT, str(INT_MIN), INT_MIN),
        (Type.STR, "4", "4"),
        (Type.STR, "", ""),
    ],
)
def test_values(of_type: Type, written: object, value: object) -> None:
    assert of_type.read(written) == value
    assert type(of_type.read(written)) is type(value)


@pytest.mark.parametrize(
    ("of_type", "written"),
    [
        *[(Type.BOOL, written) for written in (1, 0, "On", "1", None, "")],
        *[
            (Type.INT, written)
            for written in (True, 1.0, "1.0", "+1", "007", "1e3", "", " 1", "١", None, INT_MAX + 1, INT_MIN - 1)
        ],
        *[(Type.STR, written) for written in (1, True, None, "a\0b", "x" * 4097)],
    ],
)
def test_no_values(of_type: Type, written: object) -> None:
    with pytest.raises(InvalidValueError):
        of_type.read(written)


def test_true_is_never_1() -> None:
    assert not same(True, 1)
    assert True not in AllowedValues.only(1)
    assert 1 not in AllowedValues.only(True)


def _ints(*written: object) -> AllowedValues:
    at = Place()
    allowed = AllowedValues.read(Type.INT, list(written), at)
    assert not at.faults
    return allowed


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ([1, "2-8"], ["1-8"]),
        (["-4--1"], ["-4--1"]),
        ([8, 4, 2, 1], [1, 2, 4, 8]),
        ([3, 2, 1], ["1-3"]),
        (["0-10", "5-20", "22-30"], ["0-20", "22-30"]),
        ([{"min": 2, "max": 9, "step": 2}], [{"min": 2, "max": 8, "step": 2}]),
        ([{"min": 2, "max": 8, "step": 1}], ["2-8"]),
        ([{"min": 2, "max": 4, "step": 2}, 6], [2, 4, 6]),
        ([{"min": 0, "max": 8, "step": 2}, 4], [{"min": 0, "max": 8, "step": 2}]),
        ([{"min": 0, "max": 4, "step": 2}, {"min": 6, "max": 8, "step": 2}], [{"min": 0, "max": 8, "step": 2}]),
        ([{"min": 2, "max": 8, "step": 2}, "0-10"], ["0-10"]),
        (["1-9", {"min": 1, "max": 10, "step": 3}], ["1-10"]),
        (["0x10"], [16]),
    ],
)
def test_allowed_ints_are_merged_and_sorted(written: list[object], canonical: list[object]) -> None:
    assert _ints(*written).document() == canonical


@pytest.mark.parametrize(
    "written", ["8-1", "1-", "a", 1.5, None, {"min": 1, "max": 2}, {"min": 1, "max": 2, "step": 0}]
)
def test_invalid_ranges(written: object) -> None:
    at = Place()
    AllowedValues.read(Type.INT, [1, written], at)
    assert [fault.pointer for fault in at.faults] == ["/1"]


_small = st.integers(-20, 20)
_steps = st.builds(
    lambda low, length, step: Steps.between(low, low + length, step), _small, st.integers(0, 30), st.integers(1, 7)
)


def _elements(steps: Steps) -> set[int]:
    return set(range(steps.min, steps.max + 1, steps.step))


@given(_steps, _steps)
def test_the_intersection_of_steps_is_that_of_their_elements(one: Steps, other: Steps) -> None:
    both = one.intersection(other)
    assert (_elements(both) if both else set()) == _elements(one) & _elements(other)


@given(st.lists(_steps, min_size=1), st.lists(_steps, min_size=1))
def test_allowed_values_have_exactly_the_stated_elements(ones: list[Steps], others: list[Steps]) -> None:
    one, other = (
        _ints(*[{"min": item.min, "max": item.max, "step": item.step} for item in stated]) for stated in (ones, others)
    )
    stated = set().union(*map(_elements, ones))
    both = one.intersection(other)
    for number in range(-21, 52):
        assert (number in one) == (number in stated)
        assert (number in both) == (number in one and number in other)


@given(st.lists(_steps, min_size=1))
def test_the_order_of_stated_ranges_does_not_matter(stated: list[Steps]) -> None:
    documents = [{"min": item.min, "max": item.max, "step": item.step} for item in stated]
    assert _ints(*documents).document() == _ints(*reversed(documents)).document()


def test_lists_have_a_limit() -> None:
    for written in (list(range(1001)), [{"min": 0, "max": 9, "step": 2}] * 65):
        at = Place()
        AllowedValues.read(Type.INT, written, at)
        assert [fault.code.value for fault in at.faults] == ["limit-exceeded"]
