"""Budgets: work and answers are counted while they are made, and end where the budget does."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, pairwise
from random import Random
from threading import Thread
from time import process_time
from typing import Any

import pytest

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.question import Engine, Question
from app.domain.fleet.baseline import baseline
from app.domain.fleet.difference import between_releases
from app.domain.fleet.remedy import RemedySearch
from app.domain.fleet.support_matrix import KindColumn, kind_matrix, support_matrix
from app.domain.values.allowed import AllowedValues
from app.domain.values.budget import (
    AbandonedError,
    Budget,
    OverBudgetError,
    hurry,
    limited,
    load,
    restart,
    spend,
    write,
)
from app.domain.values.document import Place
from app.domain.values.value import Type
from app.domain.verdict.destination import Destination
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from tests.domain.world import NIC, World, variable

_LEAST_SECONDS = 0.05
# A step of a large question can take this many times as long as one of a small question.
_MOST_RATIO = 5
_MOST_STEPS = 1_000_000


def test_work_beyond_the_budget_is_refused_before_it_is_done() -> None:
    with limited(Budget(10, 100, "Ask for less.")):
        spend(10)
        with pytest.raises(OverBudgetError) as refused:
            spend(1)
    assert (refused.value.limit, refused.value.unit, refused.value.instead) == (10, "steps of work", "Ask for less.")


def test_bytes_and_loads_have_limits_of_their_own() -> None:
    with limited(Budget(10, 100, max_loads=2)):
        write(100)
        with pytest.raises(OverBudgetError, match="100 bytes of answer"):
            write(1)
        load(2)
        with pytest.raises(OverBudgetError, match="2 contents to load"):
            load(1)
    with limited(Budget(10, 100)):
        load(1_000_000)


def test_the_questions_of_a_request_count_together() -> None:
    budget, other = Budget(10, 100), Budget(100, 100)
    with limited(other):
        spend(8)
        write(60)
    budget.add(other)
    budget.begin("Ask once.")
    with limited(budget):
        spend(2)
        write(40)
        # What was done before the question began is not undone.
        restart()
        spend(2)
        with pytest.raises(OverBudgetError) as refused:
            spend(1)
        assert refused.value.instead == "Ask once."
        with pytest.raises(OverBudgetError):
            write(41)


def test_work_gives_way_now_and_then_until_it_has_to_hurry() -> None:
    pauses: list[int] = []
    budget, other = Budget(10_000, 100, give_way=lambda: pauses.append(budget.steps)), Budget(10_000, 100)
    with limited(other):
        spend(600)
    # What was counted elsewhere is only counted: that is done on the event loop.
    budget.add(other)
    assert pauses == []
    with limited(budget):
        for _ in range(1_000):
            spend(2)
        assert len(pauses) == 4
        hurry()
        spend(1_000)
        assert len(pauses) == 4
        budget.begin("")
        spend(1_000)
        assert len(pauses) == 5
        with pytest.raises(OverBudgetError):
            spend(9_000)


def test_a_restart_says_what_was_done_in_vain() -> None:
    with limited(Budget(10, 100, give_way=lambda: None)):
        spend(8)
        assert restart() == 8
        spend(10)
        with pytest.raises(OverBudgetError):
            spend(1)


def test_outside_a_request_nothing_is_counted() -> None:
    spend(10**9)
    write(10**12)


def test_the_budget_of_a_request_that_begins_anew_is_whole() -> None:
    with limited(Budget(10, 100)):
        spend(10)
        restart()
        spend(10)


def test_another_thread_ends_the_work() -> None:
    with limited(Budget(10**12, 0)) as budget:
        Thread(target=budget.abandon).start()
        with pytest.raises(AbandonedError):
            all(spend() is None for _ in count())  # type: ignore[func-returns-value]


def steps(count: int, *, of: int) -> AllowedValues:
    """Return ints in ranges whose steps have no common divisor."""
    documents = [{"min": 0, "max": 2**62, "step": of + 2 * number + 1} for number in range(count)]
    return AllowedValues.read(Type.INT, documents, Place())


def test_ranges_with_steps_are_counted_before_they_multiply() -> None:
    one, other = steps(64, of=100), steps(64, of=1000)
    with limited(Budget(64 * 64 - 1, 0)), pytest.raises(OverBudgetError):
        one.intersection(other)


class Sized:
    """Random questions of a size: what they ask grows in every way that a question can grow."""

    def __init__(self, seed: int, size: int) -> None:
        self._random = Random(seed)  # noqa: S311 (no secret)
        self._size = size
        self.releases = [f"vendor-a.com/fw@{version}" for version in range(1, 3 + size)]
        self.world = World()
        names = [f"v{number}" for number in range(4 + 2 * size)]
        for version, release in enumerate(self.releases):
            variables = {name: variable("int", 0, 0, self._allowed(version), runtime=True) for name in names}
            self.world.publish(release, {NIC: {"variables": variables, "constraints": self._constraints(names)}})
        self.names = names
        self.profiles = []
        for number in range(2 * size):
            name = f"vendor-a.com/p{number}"
            self.world.profile(name, {NIC: {self._random.choice(names): self._random.randint(0, 9)}})
            self.profiles.append(name)

    def _allowed(self, version: int) -> list[Any]:
        ranges: list[Any] = ["0-3"] if version % 2 else ["0-9"]
        return ranges + [{"min": 0, "max": 10**9, "step": 11 + 2 * number} for number in range(self._size)]

    def _constraints(self, names: Sequence[str]) -> list[dict[str, Any]]:
        pairs = (self._random.sample(names, 2) for _ in range(2 * self._size))
        return [{"when": {one: ["1-9"]}, "require": {other: [0]}} for one, other in pairs]

    def devices(self) -> list[Device]:
        """Return devices, each with values of its own."""
        return [
            _device(str(number), self.releases[0], {name: self._random.randint(0, 3) for name in self.names[:6]})
            for number in range(2 * self._size)
        ]

    def destinations(self) -> list[Destination]:
        """Return hosts, each with restrictions of its own."""
        return [
            Destination(str(number), tuple(self.releases[1:3]), {NIC: {self.names[0]: [f"0-{number}"]}})
            for number in range(4 * self._size)
        ]


def _device(identifier: str, release: str, values: dict[str, Any]) -> Device:
    return Device(id=identifier, model=NIC, release=release, profile=None, values=values)


def ask(sized: Sized) -> None:
    Question(sized.devices(), Engine(sized.world.lookups(), Policy.PERMISSIVE)).at_all(sized.destinations())


def ask_with_remedies(sized: Sized) -> None:
    engine = Engine(sized.world.lookups(), Policy.PERMISSIVE, remedies=RemedySearch())
    Question(sized.devices(), engine).at_all(sized.destinations())


def find_baseline(sized: Sized) -> None:
    members = [Destination(release, (release,)) for release in sized.releases]
    baseline(NIC, members, sized.world.lookups(), sized.world.profiles_for(NIC))


def fill_matrix(sized: Sized) -> None:
    profiles = [profile for name in sized.profiles if (profile := sized.world.profile_named(name))]
    releases = [release for name in sized.releases if (release := sized.world.release(name))]
    list(support_matrix(profiles, releases, sized.world.lookups(), Acceptance()))


def fill_matrix_of_hosts(sized: Sized) -> None:
    profiles = [profile for name in sized.profiles if (profile := sized.world.profile_named(name))]
    kinds = [KindColumn(host.id, host) for host in sized.destinations()]
    list(kind_matrix(profiles, kinds, sized.world.lookups(), Acceptance()))


def compare_all(sized: Sized) -> None:
    for before, after in pairwise(sized.releases):
        one, other = sized.world.release(before), sized.world.release(after)
        model = sized.world.model(NIC)
        assert model is not None
        assert one is not None
        assert other is not None
        between_releases(model, ("vendor-a.com", "vendor-a.com"), one.sets[NIC], other.sets[NIC])


def _seconds_per_step(work: Callable[[Sized], None], seed: int, size: int) -> float:
    seconds, steps = 0.0, 0
    while seconds < _LEAST_SECONDS:
        sized = Sized(seed, size)
        started = process_time()
        with limited(Budget(_MOST_STEPS, 10**12)) as budget, suppress(OverBudgetError):
            work(sized)
        seconds += process_time() - started
        steps += budget.steps
    return seconds / steps


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "work", [ask, ask_with_remedies, find_baseline, fill_matrix, fill_matrix_of_hosts, compare_all]
)
def test_no_question_takes_more_than_its_steps_say(work: Callable[[Sized], None], seed: int) -> None:
    """The time of a step, in questions that grow, is compared with that in a small one of the same run."""
    small = _seconds_per_step(work, seed, 2)
    large = _seconds_per_step(work, seed, 12)
    assert large < _MOST_RATIO * small
