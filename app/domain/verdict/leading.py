"""Leave out problems that follow from others: for people and summaries; a verdict has them all."""

from collections.abc import Collection, Sequence

from app.domain.verdict.problem import RULES, Problem, ProblemCode

# What a release that has them cannot accept a profile with: steps 1 to 6 of a verdict (DESIGN 4).
_REFUSALS = frozenset(
    code for code, rule in RULES.items() if rule.step in range(1, 7) and code is not ProblemCode.NOT_MIGRATABLE
)
_AT_SOURCE = frozenset({ProblemCode.UNKNOWN_VARIABLE, ProblemCode.SOURCE_VALUE_INVALID})


def leading(problems: Sequence[Problem], given: Collection[str]) -> Sequence[Problem]:
    """Return problems without those that follow from others; the first one always stays.

    A release that refuses what the profile says would not list the profile. given: the variables with values of their
    own: what is wrong with those is not the profile's. What the source itself cannot have or migrate, the destination
    refuses again.
    """
    cannot_be_listed = any(problem.code in _REFUSALS and problem.variable not in given for problem in problems)
    wrong_at_source = {problem.variable for problem in problems if problem.code in _AT_SOURCE} - {None}
    left: list[Problem] = []
    is_unmigratable = False
    for problem in problems:
        if problem.code is ProblemCode.PROFILE_NOT_LISTED and cannot_be_listed:
            continue
        if problem.variable in wrong_at_source and problem.code in _REFUSALS:
            continue
        if problem.code is ProblemCode.NOT_MIGRATABLE:
            if is_unmigratable:
                continue
            is_unmigratable = True
        left.append(problem)
    return left
