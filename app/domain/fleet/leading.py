"""Leave out problems that follow from others, for people and summaries (DESIGN 6); a verdict has them all."""

from collections.abc import Sequence

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.question import DeviceAnswer
from app.domain.verdict.problem import RULES, Problem, ProblemCode
from app.domain.verdict.source import Registry

# What the destination refuses of a configuration.
_OF_CONFIGURATION = frozenset(
    code for code, rule in RULES.items() if rule.step in range(1, 7) and code is not ProblemCode.NOT_MIGRATABLE
)
_AT_SOURCE = frozenset({ProblemCode.UNKNOWN_VARIABLE, ProblemCode.SOURCE_VALUE_INVALID})


class Leading:
    """Leaves out problems that follow from others; the first problem of a verdict always stays."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._acceptance = Acceptance()

    def problems(self, answer: DeviceAnswer) -> Sequence[Problem]:
        """Return the problems of a verdict without those that follow from others.

        A release that refuses the profile itself, whatever the host restricts, would not list it. A value that the
        source release cannot have is refused again at the destination. The same release migrates a model neither away
        nor here.
        """
        left: list[Problem] = []
        before: set[tuple[str, ...]] = set()
        for problem in answer.verdict.problems:
            mark = _mark(problem)
            if problem.code is ProblemCode.PROFILE_NOT_LISTED:
                follows = bool(left) and self._refuses_profile(answer)
            else:
                follows = mark is not None and mark in before and problem.code not in _AT_SOURCE
            if not follows:
                left.append(problem)
            if mark is not None and problem.code not in _OF_CONFIGURATION:
                before.add(mark)
        return left

    def _refuses_profile(self, answer: DeviceAnswer) -> bool:
        """Return whether a release does not accept the device's profile for its model (DESIGN 4)."""
        source = answer.source
        release = self._registry.release(answer.release)
        if source.model is None or source.profile_values is None or release is None:
            return False
        variable_set = release.sets.get(source.model.name)
        return not self._acceptance.accepts(source.profile_values, source.model, answer.release, variable_set)


def _mark(problem: Problem) -> tuple[str, ...] | None:
    """Return what is equal for a problem and those that follow from it, None if none can."""
    if problem.code is ProblemCode.NOT_MIGRATABLE:
        return (problem.message.removeprefix("The source release "),)
    if problem.code in _AT_SOURCE | _OF_CONFIGURATION and problem.variable is not None:
        return (problem.variable, repr(problem.value))
    return None
