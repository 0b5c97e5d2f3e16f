"""The summary of differences: counts, and what models share."""

from app.domain.fleet.difference import Difference, DifferenceKind, Direction, Extent
from app.domain.fleet.difference_summary import kind_of, shared_differences, summary

FORWARD, BACKWARD = Direction.FORWARD, Direction.BACKWARD
NEW = Difference(None, DifferenceKind.ADDED, "vendor-a.com/new is new.", closes={BACKWARD: Extent.ALWAYS})
STATED = Difference(None, DifferenceKind.ADDED, "The saved state is stated now.", None, {"writes": 1}, {})


def added(name: str, off: str = "off") -> Difference:
    """Return the difference of a variable that was added."""
    message = f"{name} is new; migrating back needs {name}={off}."
    return Difference(name, DifferenceKind.ADDED, message, None, {"type": "bool"}, {BACKWARD: Extent.IN_PART})


def changed(name: str) -> Difference:
    """Return a difference that closes both directions, one of them always."""
    closes = {FORWARD: Extent.ALWAYS, BACKWARD: Extent.IN_PART}
    return Difference(name, DifferenceKind.CHANGED, f"{name} allows 1-4, not 1-8.", {}, {}, closes)


def test_a_summary_counts_models_and_variables() -> None:
    models = {"vendor-a.com/new": [NEW], "vendor-a.com/a": [added("f"), changed("n")], "vendor-a.com/b": [added("f")]}
    counts = summary(models)
    assert counts.sentence == "3 models differ, 1 model new, 2 variables added, 1 variable changed."
    assert counts.closed_sentence == (
        "→ forward is closed for 1 model. ← backward is closed for 1 model and closed in part for 2 models."
    )
    assert counts.closed_count(BACKWARD, Extent.IN_PART, DifferenceKind.CHANGED) == 2
    assert counts.closed_count(BACKWARD, Extent.ALWAYS, DifferenceKind.CHANGED) == 0


def test_without_a_difference_no_model_differs() -> None:
    assert summary({}).sentence == "No model differs."
    assert not summary({}).closed_sentence


def test_a_saved_state_that_is_stated_now_makes_no_new_model() -> None:
    assert kind_of([STATED, added("f")]) is DifferenceKind.CHANGED
    counts = summary({"vendor-a.com/a": [STATED]})
    assert counts.sentence == "1 model differs."
    assert counts.closed_sentence == "→ forward is open for every model. ← backward is open for every model."


def test_equal_differences_are_one_with_their_models_and_variables() -> None:
    models = {
        "vendor-a.com/a": [added("f"), added("g", "on"), changed("n")],
        "vendor-a.com/b": [added("f"), added("g", "on")],
    }
    first, second = shared_differences(models)
    assert first.variables == ("f (off)", "g (on)")
    assert first.models == ("vendor-a.com/a", "vendor-a.com/b")
    assert first.message == "is new; migrating back needs the value in parentheses."
    assert (second.variables, second.models) == (("n",), ("vendor-a.com/a",))
    assert sorted([first, second], key=lambda entry: entry.weight) == [second, first]


def test_models_that_only_one_profile_names_share_a_difference() -> None:
    lost = {
        name: [Difference(None, DifferenceKind.REMOVED, f"The second profile has no values for {name}.", closes={})]
        for name in ("vendor-a.com/a", "vendor-a.com/b")
    }
    (entry,) = shared_differences(lost)
    assert entry.models == ("vendor-a.com/a", "vendor-a.com/b")
