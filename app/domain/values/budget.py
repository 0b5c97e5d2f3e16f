"""The budget of a request: how much work it can still do and how much it can answer, counted while it runs.

Work is counted in steps, of one to three microseconds each, where it can become much: a step for each variable that is
compared, each pair of ranges that is intersected, each value that a search tries. A question whose cost grows counts
more, so nothing has to be predicted, and the same question costs the same on every machine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

STEPS = "steps of work"
BYTES = "bytes of answer"
LOADS = "contents to load"
# Work that gives way looks after so many steps whether it has to.
_STEPS_BETWEEN_LOOKS = 500


class OverBudgetError(Exception):
    """A request needs more work than its budget has, or its answer would be larger.

    unit: what the limit counts. instead: what to ask instead.
    """

    def __init__(self, limit: int, unit: str, instead: str) -> None:
        super().__init__(f"more than {limit:,} {unit}")
        self.limit = limit
        self.unit = unit
        self.instead = instead


class AbandonedError(Exception):
    """Nobody waits for the answer any more."""


class Budget:
    """The work that one request can do, and the size of its answer. Another thread can abandon it."""

    __slots__ = (
        "_begun",
        "_give_way",
        "_instead",
        "_is_abandoned",
        "_is_hurried",
        "_look_at",
        "_max_bytes",
        "_max_loads",
        "_max_steps",
        "loaded",
        "steps",
        "written",
    )

    def __init__(
        self,
        max_steps: int,
        max_bytes: int,
        instead: str = "",
        max_loads: int | None = None,
        give_way: Callable[[], None] | None = None,
    ) -> None:
        """instead: what to ask where this is not enough. max_loads: None: loading is not limited.

        give_way: is called now and then, and returns when the work can go on; None: it always can.
        """
        self._max_loads = max_loads
        self._max_steps = max_steps
        self._max_bytes = max_bytes
        self._instead = instead
        self._is_abandoned = False
        self._give_way = give_way
        self._is_hurried = False
        # The number of steps at which spend checks the limit and gives way.
        self._look_at = max_steps if give_way is None else 0
        self._begun = (0, 0)
        self.steps = 0
        self.written = 0
        self.loaded = 0

    def begin(self, instead: str) -> None:
        """Begin one more question of the request. instead: what to ask where this one exceeds the budget."""
        self._instead = instead
        self._begun = (self.steps, self.written)
        self._is_hurried = False

    def add(self, other: "Budget") -> None:
        """Count what was counted in another budget; raises OverBudgetError and AbandonedError."""
        self.steps += other.steps
        self._check_steps()
        self.write(other.written)

    def spend(self, steps: int) -> None:
        """Count steps that are about to be made; raises OverBudgetError and AbandonedError."""
        self.steps += steps
        if self._is_abandoned:
            raise AbandonedError
        if self.steps > self._look_at:
            self._look()

    def _check_steps(self) -> None:
        if self.steps > self._max_steps:
            raise OverBudgetError(self._max_steps, STEPS, self._instead)

    def _look(self) -> None:
        self._check_steps()
        if self._give_way is not None:
            if not self._is_hurried:
                self._give_way()
            self._look_at = min(self.steps + _STEPS_BETWEEN_LOOKS, self._max_steps)

    def write(self, size: int) -> None:
        """Count bytes of the answer; raises OverBudgetError and AbandonedError."""
        self.written += size
        if self._is_abandoned:
            raise AbandonedError
        if self.written > self._max_bytes:
            raise OverBudgetError(self._max_bytes, BYTES, self._instead)

    def load(self, count: int) -> None:
        """Count contents that are about to be loaded; raises OverBudgetError."""
        self.loaded += count
        if self._max_loads is not None and self.loaded > self._max_loads:
            raise OverBudgetError(self._max_loads, LOADS, self._instead)

    def abandon(self) -> None:
        """End the work at its next step."""
        self._is_abandoned = True

    def restart(self) -> int:
        """Go back to where the question began, because the same work is done again; return the steps that were made."""
        made = self.steps - self._begun[0]
        self.steps, self.written = self._begun
        self.loaded = 0
        self._look_at = min(self._look_at, self.steps) if self._give_way else self._max_steps
        return made

    def hurry(self) -> None:
        """Give way no more until the next question begins: the work holds something that others wait for."""
        self._is_hurried = True


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited(budget: Budget) -> Iterator[Budget]:
    """Count the work that is done here in a budget; threads that start here share it."""
    token = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(token)


def spend(steps: int = 1) -> None:
    """Count steps of the request that runs here; outside a request nothing is counted.

    Raises OverBudgetError and AbandonedError.
    """
    budget = _budget.get()
    if budget is not None:
        budget.spend(steps)


def write(size: int) -> None:
    """Count bytes of the answer to the request that runs here.

    Raises OverBudgetError and AbandonedError.
    """
    budget = _budget.get()
    if budget is not None:
        budget.write(size)


def load(count: int) -> None:
    """Count contents that the request that runs here is about to load; raises OverBudgetError."""
    budget = _budget.get()
    if budget is not None:
        budget.load(count)


def restart() -> int:
    """Go back to where the question that runs here began; return the steps that were made."""
    budget = _budget.get()
    return 0 if budget is None else budget.restart()


def hurry() -> None:
    """Have the request that runs here give way no more."""
    budget = _budget.get()
    if budget is not None:
        budget.hurry()
