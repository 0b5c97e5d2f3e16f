"""What is said of many variables is said once."""

from app.domain.fleet.group import groups_of
from app.domain.fleet.summary import summarize
from app.domain.verdict.destination import Destination
from app.domain.verdict.joining import Entry, joined
from app.domain.verdict.policy import Policy
from tests.domain.world import NIC, World, device, variable

OLD, NEW = "vendor-a.com/fw@1", "vendor-a.com/fw@2"


def refused(name: str) -> Entry:
    """Return the problem of a variable that is not allowed."""
    return Entry("value-not-allowed", f"{name}=on at the source, but vendor-a.com/fw@1 allows off.", (name,))


def test_from_three_on_they_are_one_sentence_and_one_list() -> None:
    two = [refused("a"), refused("b")]
    assert joined(two) == two
    other = Entry("not-migratable", "vendor-a.com/fw@1 cannot migrate it.")
    (first, second) = joined([refused("f.b"), other, refused("f.a"), refused("c")])
    assert first == Entry(
        "value-not-allowed",
        "3 variables (c, f.a, f.b): each on at the source, but vendor-a.com/fw@1 allows off.",
        ("c", "f.a", "f.b"),
    )
    assert second == other
    (many,) = joined([refused(f"v{number:02}") for number in range(40)])
    assert many.message == (
        "40 variables (v00, v01, v02, v03, v04 and 35 more): each on at the source, but vendor-a.com/fw@1 allows off."
    )
    assert len(many.variables) == 40
    for count, names in ((5, "(v0, v1, v2, v3, v4): "), (6, "(v0, v1, v2, v3, v4 and 1 more): ")):
        (some,) = joined([refused(f"v{number}") for number in range(count)])
        assert names in some.message


def test_only_what_differs_in_the_variable_alone_is_joined() -> None:
    others = [
        Entry("value-not-allowed", "a=on at the source, but vendor-a.com/fw@1 allows off.", ("a",)),
        Entry("value-not-allowed", "b=on at the source, but vendor-a.com/fw@2 allows off.", ("b",)),
        Entry("cannot-be-off", "c=on at the source, but vendor-a.com/fw@1 allows off.", ("c",)),
        # A name within another word, or within another name, is not the variable.
        Entry("value-not-allowed", "on=on at the source, but vendor-a.com/fw@1 allows off.", ("n",)),
        Entry("value-not-allowed", "a.b=on at the source, but vendor-a.com/fw@1 allows off.", ("b",)),
    ]
    assert joined(others) == others
    without = [Entry("x", "The same.")] * 3
    assert joined(without) == without


def test_every_message_about_a_variable_reads_well_for_many() -> None:
    flags = {name: variable("bool", False, False) for name in ("a", "b", "c")}
    made = (
        World()
        .publish(OLD, {NIC: {"queues": variable("int", 1)}})
        .publish(NEW, {NIC: {**flags, "queues": variable("int", 1)}})
    )
    there = Destination("there", (OLD,))
    answer = made.question([device(NEW, a=True, b=True, c=True)], Policy.PERMISSIVE).at(there)
    (reason,) = summarize(groups_of([(0, there)]), [answer], made.lookups(), lambda group: group.explicit).reasons
    assert reason.message == (
        "3 variables (a, b, c): each on at the source, but vendor-a.com/fw@1 does not know it. Only devices with all "
        "of them off can move there."
    )
    assert reason.variables == ("a", "b", "c")
