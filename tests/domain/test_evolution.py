"""The evolution gate: which earlier releases a release is held against, and what it breaks."""

import pytest

from app.domain.publishing.gate import Broken, Evolution, Mode, broken, earlier
from app.domain.values.name import ReleaseName
from app.domain.verdict.problem import Problem, ProblemCode

VERSIONS = ["7.2.22", "10.0.13", "9.1", "9.1-rc2", "1:10.0.2+ds-0"]


@pytest.mark.parametrize(
    ("version", "held_against"),
    [
        ("10.0.14", ["10.0.13", "9.1-rc2", "9.1", "7.2.22", "1:10.0.2+ds-0"]),
        ("9.1", ["7.2.22", "1:10.0.2+ds-0"]),
        ("8", ["7.2.22", "1:10.0.2+ds-0"]),
        ("1:10.0.13+ds-0", ["1:10.0.2+ds-0"]),
        ("1", []),
        ("rc", []),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, held_against: list[str]) -> None:
    assert earlier(version, VERSIONS, Evolution(Mode.BACKWARD, transitive=True)) == held_against
    assert earlier(version, VERSIONS, Evolution()) == held_against[:1]
    assert earlier(version, VERSIONS, Evolution(Mode.NONE, transitive=True)) == []


def test_backward_looks_at_what_is_lost_and_full_at_what_is_won_too() -> None:
    one, two = ReleaseName("vendor-a.com/fw", "1"), ReleaseName("vendor-a.com/fw", "2")
    entries = {
        "vendor-a.com/lost": {"vendor-a.com/nic": "lost"},
        "vendor-a.com/won": {"vendor-a.com/nic": "won"},
        "vendor-a.com/kept": {"vendor-a.com/nic": "kept"},
        "vendor-a.com/never": {"vendor-a.com/nic": "never"},
    }
    accepted = {(one, "lost"), (one, "kept"), (two, "won"), (two, "kept")}
    problem = Problem(ProblemCode.VALUE_NOT_ALLOWED, "no")

    def refusals(release: ReleaseName, _model: str, values: str) -> list[Problem]:
        return [] if (release, values) in accepted else [problem]

    lost = Broken("vendor-a.com/lost", "vendor-a.com/nic", str(one), str(two), (problem,))
    won = Broken("vendor-a.com/won", "vendor-a.com/nic", str(two), str(one), (problem,))
    assert list(broken(two, [one], entries, Evolution(), refusals)) == [lost]
    assert list(broken(two, [one], entries, Evolution(Mode.FULL), refusals)) == [lost, won]
