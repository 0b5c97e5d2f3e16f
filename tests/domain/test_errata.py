"""Errata (DESIGN 5, step 13): what a release turned out to do wrong is refused, with its description."""

from typing import Any

import pytest

from app.domain.fleet.baseline import baseline
from app.domain.things.erratum import Others, read_erratum
from app.domain.values.document import Place
from app.domain.values.name import InvalidNameError, ReleaseName
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import WarningCode
from tests.domain.world import NIC, World, codes, device, variable

A, B, C = "vendor-a.com/fw@1", "vendor-a.com/fw@2", "vendor-a.com/fw@3"
QUEUES = variable("int", 4, 1, ["1-8"], runtime=True)


def world() -> World:
    """Return three releases that are alike."""
    made = World()
    for release in (A, B, C):
        made.publish(release, {NIC: {"queues": QUEUES}})
    return made


def broken(made: World, source: str | None, destination: str, **values: Any) -> bool:
    """Return whether an erratum forbids a migration."""
    found = codes(made.ask(device(source, complete=source is None, **values), destination))
    assert {code for code, _ in found} <= {"known-broken"}
    return bool(found)


def test_an_erratum_without_other_releases_forbids_every_migration() -> None:
    made = world().erratum(B)
    pairs = {(here, there): broken(made, here, there) for here in (A, B, C) for there in (A, B, C)}
    assert {pair for pair, is_broken in pairs.items() if is_broken} == {(A, B), (B, A), (B, B), (B, C), (C, B)}
    assert broken(made, None, B)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("to", {(B, A)}), ("from", {(A, B)}), ("both", {(A, B), (B, A)}), (None, {(A, B), (B, A)})],
)
def test_the_direction_is_seen_from_its_release(direction: str | None, expected: set[tuple[str, str]]) -> None:
    made = world().erratum(B, others=[A], **({} if direction is None else {"direction": direction}))
    pairs = {(here, there) for here in (A, B, C) for there in (A, B, C) if broken(made, here, there)}
    assert pairs == expected


def test_only_configurations_that_it_names_are_concerned() -> None:
    made = world().erratum(B, when={"queues": ["5-8"]})
    assert broken(made, A, B, queues=5)
    assert not broken(made, A, B, queues=4)
    assert broken(made, B, A, queues=8)


def test_the_message_says_what_fails_and_where_to_read_more() -> None:
    made = world().erratum(
        B, when={"queues": [8]}, others=[A, "vendor-a.com/fw@<1.5"], direction="to", url="https://a.example/1",
        description="older firmware drops packets."
    )  # fmt: skip
    (problem,) = made.ask(device(B, queues=8), A).problems
    assert problem.message == (
        "Known to fail: migrating vendor-a.com/nic from vendor-a.com/fw@2 to vendor-a.com/fw@1 or vendor-a.com/fw@<1.5 "
        "with queues=8. older firmware drops packets (https://a.example/1)."
    )
    assert (problem.variable, problem.value) == ("queues", 8)


def test_the_message_of_an_erratum_without_conditions_is_as_short() -> None:
    (problem,) = world().erratum(B, description="it never worked.").ask(device(A, queues=8), B).problems
    assert problem.message == (
        "Known to fail: migrating vendor-a.com/nic between vendor-a.com/fw@2 and any release. it never worked."
    )
    assert (problem.variable, problem.value) == (None, None)


def test_an_erratum_is_told_with_the_values_at_its_release() -> None:
    made = world()
    for release in (A, B):
        made.publish(release, {NIC: {"queues": QUEUES, "mode": variable("str", "a", "a", ["a", "b"])}})
    made.erratum(B, when={"queues": ["1-8"], "mode": ["a", "b"]}, direction="from")
    (problem,) = made.ask(device(A, queues=8), B).problems
    assert "with mode=a, queues=8" in problem.message
    assert problem.variable is None
    # What the device is, is not known: that it could be one of these counts.
    unknown = made.erratum(A, when={"queues": [8]}, direction="to").ask(device(A, "vendor-a.com/none"), B)
    assert codes(unknown) == [("unknown-profile", None), ("known-broken", "queues")]


def test_an_erratum_of_both_ends_is_told_once() -> None:
    made = world().erratum(B)
    assert len(made.ask(device(B), B).problems) == 1
    assert len(made.erratum(A, description="another").ask(device(B), A).problems) == 2


def test_an_erratum_about_sources_is_not_checked_where_the_source_release_is_not_known() -> None:
    made = world().erratum(B, others=[A], direction="from")
    verdict = made.ask(device(complete=True, queues=4), B)
    assert verdict.compatible
    (warning,) = [one for one in verdict.warnings if one.code is WarningCode.ERRATUM_NOT_CHECKED]
    assert warning.message == (
        "Not checked, because the source release is not known: migrating vendor-a.com/nic from vendor-a.com/fw@1 to "
        "vendor-a.com/fw@2 is known to fail."
    )
    assert not [one for one in made.ask(device(C), B).warnings if one.code is WarningCode.ERRATUM_NOT_CHECKED]


def test_a_remedy_avoids_what_an_erratum_names() -> None:
    made = world().erratum(B, when={"queues": ["5-8"]})
    (change,) = made.ask(device(A, queues=8), B).remedies
    assert (change.variable, change.after) == ("queues", 1)
    (change,) = world().erratum(A, when={"queues": [8]}, others=[B]).ask(device(A, queues=8), B).remedies
    assert change.after == 1
    assert not world().erratum(B).ask(device(A, queues=8), B).remedies


def test_a_baseline_avoids_what_an_erratum_forbids_altogether() -> None:
    made = world().erratum(B, when={"queues": [4]}).erratum(C, when={"queues": [1]}, others=[A])
    members = [Destination(release, (release,)) for release in (A, B, C)]
    assert baseline(NIC, members, made.lookups()).values == {"queues": 3}
    # What concerns a release outside the fleet does not count.
    assert baseline(NIC, members[1:], made.lookups()).values == {"queues": 1}
    made.erratum(B, description="it loses its state")
    (problem,) = baseline(NIC, members, made.lookups()).problems
    assert problem.message == (
        "No settings meet the constraints, migration blocks and errata of vendor-a.com/fw@2 together "
        "(it fails; it loses its state)."
    )


@pytest.mark.parametrize("direction", ["to", "from", "both"])
def test_a_baseline_offers_no_profile_that_an_erratum_or_own_values_keep_from_moving(direction: str) -> None:
    p, q = "vendor-a.com/p", "vendor-a.com/q"
    made = World()
    for release in (A, B):
        made.publish(
            release,
            {NIC: {"queues": QUEUES if release == A else variable("int", 4, 1, ["1-4"])}},
            profiles=[p, q],
            own_values={q: {NIC: {"queues": 8}}} if release == A else {},
        )
    made.profile(p, {NIC: {"queues": 2}}).profile(q, {NIC: {"queues": 3}})
    members = [Destination(release, (release,)) for release in (A, B)]

    def offered() -> tuple[str, ...]:
        return baseline(NIC, members, made.lookups(), made.profiles_for(NIC)).profiles

    assert offered() == (p,)
    made.erratum(B, when={"queues": [2]}, others=[A], direction=direction)
    assert offered() == ()


def test_a_profile_that_only_one_of_two_equal_releases_lists_is_not_offered() -> None:
    p = "vendor-a.com/p"
    made = World()
    made.publish(A, {NIC: {"queues": QUEUES}}, profiles=[p]).publish(B, {NIC: {"queues": QUEUES}}, profiles=[])
    made.profile(p, {NIC: {}})
    for order in ((A, B), (B, A)):
        members = [Destination(release, (release,)) for release in order]
        assert baseline(NIC, members, made.lookups(), made.profiles_for(NIC)).profiles == ()


def test_the_condition_of_an_erratum_is_read_in_the_types_of_the_release() -> None:
    made = world()
    first = made.erratum(B, when={"queues": ["5-6", 7]}, others=[C, A]).release(B)
    assert first is not None
    second = world().erratum(B, when={"queues": [7, 6, 5]}, others=[A, C, A]).release(B)
    assert second is not None
    (one,), (other,) = first.errata[NIC], second.errata[NIC]
    assert one.document["when"] == {"queues": ["5-7"]}
    assert (one.document["with"], one.id) == ([A, C], other.id)


def test_an_erratum_about_other_releases_that_cannot_concern_the_device_is_no_warning() -> None:
    made = world().erratum(B, when={"queues": [8]}, others=[A])
    asked = device(complete=True, queues=8)
    verdict = made.ask(asked, B)
    assert [one.code for one in verdict.warnings] == [WarningCode.ERRATUM_NOT_CHECKED]
    assert verdict.unchecked == ("errata",)
    fine = made.ask(device(complete=True, queues=4), B)
    assert (fine.warnings, fine.unchecked) == ((), ())


def test_an_erratum_is_not_checked_where_it_is_not_known_what_the_device_is() -> None:
    made = world().erratum(B, when={"queues": [8]}, others=[A])
    verdict = made.ask(device(None, "vendor-a.com/none"), B)
    assert (codes(verdict), verdict.unchecked) == ([("unknown-profile", None)], ("errata",))


def test_what_the_destination_refuses_is_held_against_its_errata_too() -> None:
    made = World().publish(A, {NIC: {"queues": QUEUES}}).publish(B, {NIC: {"queues": variable("int", 1, 1, ["1-2"])}})
    made.publish(B, {NIC: {"queues": variable("int", 1, 1, ["1-2"])}}).erratum(B, when={"queues": ["2-8"]})
    assert codes(made.ask(device(A, queues=4), B)) == [("value-not-allowed", "queues"), ("known-broken", "queues")]


def test_what_the_destination_refuses_of_a_profile_is_held_against_its_errata_too() -> None:
    narrow = {NIC: {"queues": variable("int", 1, 1, ["1-2"])}}
    made = World().publish(A, {NIC: {"queues": QUEUES}}).publish(B, narrow).erratum(B, when={"queues": ["2-8"]})
    made.profile("vendor-a.com/p", {NIC: {"queues": 4}})
    expected = [("value-not-allowed", "queues"), ("known-broken", "queues")]
    assert codes(made.ask(device(A, "vendor-a.com/p"), B)) == expected
    # What is given counts before what the profile says.
    assert codes(made.ask(device(A, "vendor-a.com/p", queues=1), B)) == []


def test_an_erratum_of_the_source_is_told_also_where_the_destination_lacks_the_model() -> None:
    made = world().erratum(A, when={"queues": [8]}, direction="to").publish(B, {"vendor-b.com/gpu": {}})
    assert codes(made.ask(device(A, queues=8), B)) == [("model-not-supported", None), ("known-broken", "queues")]
    assert codes(made.ask(device(A, queues=4), B)) == [("model-not-supported", None)]


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("vendor-a.com/fw@2", {"2"}),
        ("vendor-a.com/fw@2.0", set()),
        ("vendor-a.com/fw@*", {"1", "2", "2.1-3", "10"}),
        ("vendor-a.com/fw@>=2", {"2", "2.1-3", "10"}),
        ("vendor-a.com/fw@>2", {"2.1-3", "10"}),
        ("vendor-a.com/fw@<2.0.0", {"1"}),
        ("vendor-a.com/fw@<=2", {"1", "2"}),
        ("vendor-a.com/fw@=2.0", {"2"}),
        ("vendor-a.com/fw@>=2, <10", {"2", "2.1-3"}),
        ("vendor-b.com/fw@*", set()),
    ],
)
def test_other_releases_are_named_one_by_one_or_by_their_versions(text: str, versions: set[str]) -> None:
    others = Others.parse(text)
    known = [ReleaseName("vendor-a.com/fw", version) for version in ("1", "2", "2.1-3", "10")]
    assert {release.version for release in known if others.has(release)} == versions
    assert str(others) == text.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "vendor-a.com/fw",
        "vendor-a.com/fw@>",
        "vendor-a.com/fw@>=1,2",
        "vendor-a.com/fw@<abc",
        "vendor-a.com/fw@>3,<2",
        "vendor-a.com/fw@<0",
        "vendor-a.com/fw@=1,=2",
        "@*",
        "fw@1",
        "x@<1",
    ],
)
def test_what_is_neither_a_release_nor_a_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        Others.parse(text)


@pytest.mark.parametrize("text", [">2,<2.0.1", ">2,<3", ">=2,<=2", ">0", "<0.1", ">=2,<10,>3"])
def test_a_range_can_be_narrow(text: str) -> None:
    assert str(Others.parse(f"vendor-a.com/fw@{text}")) == f"vendor-a.com/fw@{text}"


GOOD = {"release": A, "model": NIC, "description": "it fails"}


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ([], [("", "wrong-type")]),
        ({}, [("", "missing-field")] * 3),
        ({**GOOD, "direction": "up"}, [("/direction", "invalid-value")]),
        ({**GOOD, "description": " "}, [("/description", "invalid-value")]),
        ({**GOOD, "with": []}, [("/with", "limit-exceeded")]),
        ({**GOOD, "with": ["x", 1]}, [("/with/0", "invalid-name"), ("/with/1", "wrong-type")]),
        ({**GOOD, "url": "javascript:alert(1)"}, [("/url", "invalid-value")]),
        ({**GOOD, "release": "fw", "model": 1, "local": 1}, [
            ("/release", "invalid-name"), ("/model", "wrong-type"), ("/local", "wrong-type")
        ]),
        ({**GOOD, "since": "2.0"}, [("/since", "unknown-field")]),
        ({**GOOD, "when": []}, [("/when", "wrong-type")]),
    ],
)  # fmt: skip
def test_faults(document: Any, faults: list[tuple[str, str]]) -> None:
    place = Place()
    read_erratum(document, place)
    assert [(fault.pointer, fault.code.value) for fault in place.faults] == faults
