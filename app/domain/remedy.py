"""Remedies: the smallest set of changes to a running device after which it could go where it now cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.allowed import AllowedValues
from app.domain.problem import ProblemCode
from app.domain.release import Release
from app.domain.search import Requirement, Tries, UndecidedError, best, candidates, conditions_on
from app.domain.source import Source
from app.domain.value import Value, same
from app.domain.variable_set import VariableSet
from app.domain.verdict import Change, Comparison, Crossing, Policy, Verdict, judge

# A remedy is looked for with every refusal, so not for long.
MAX_TRIES = 1_000
# What other values of the device can mend.
_MENDABLE = frozenset(
    {
        ProblemCode.NOT_MIGRATABLE,
        ProblemCode.VARIABLE_NOT_SUPPORTED,
        ProblemCode.VALUE_NOT_ALLOWED,
        ProblemCode.CONSTRAINT_VIOLATED,
        ProblemCode.CANNOT_BE_OFF,
    }
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """Changes to runtime variables of the source; of several the one with the lowest rank is the smallest."""

    changes: tuple[Change, ...]
    rank: tuple[int, list[str], list[int]]


NO_CHANGE = Remedy((), (0, [], []))


def is_mendable(source: Source, verdict: Verdict) -> bool:
    """Return whether changes to a running device could mend a verdict, so that it is worth a search."""
    return (
        source.origin is not None
        and any(name in source.configuration for name in source.origin.runtime)
        and all(problem.code in _MENDABLE for problem in verdict.problems)
    )


def remedy(crossing: Crossing, release: Release, policy: Policy, verdict: Verdict) -> Remedy | None:
    """Return the fewest changes to runtime variables of the source after which the verdict is compatible, if any are.

    Ties: by variable name, then the off value, then the value nearest to the present one. None also where none was
    found among MAX_TRIES, or where the source itself is not as it is said to be.
    """
    source, comparison = crossing.source, crossing.comparison
    own, variable_set = source.set, comparison.set if comparison else None
    if comparison is None or own is None or variable_set is None or not is_mendable(source, verdict):
        return None
    changeable = [name for name in comparison.origin.runtime if name in source.configuration]
    off = comparison.off
    values = {**_completed(variable_set, off), **source.configuration}
    requirements = [Requirement({}, own), Requirement(_allowed_there(comparison, source, values), variable_set)]
    held_against = conditions_on(requirements)
    choices: dict[str, Sequence[Value]] = {name: [value] for name, value in values.items()}
    try:
        for name in changeable:
            wanted = [values[name], *([off[name]] if name in off else [])]
            choices[name] = candidates(own.variables[name].allowed, wanted, held_against.get(name, []))
        found = best(choices, requirements, Tries(MAX_TRIES))
    except UndecidedError:
        return None
    if found is None:
        return None
    changes = {name: value for name, value in found.values.items() if not same(value, values[name])}
    changed = replace(source, device=replace(source.device, values={**source.device.values, **changes}))
    # Shown to work by asking again.
    if not judge(Crossing(changed, comparison), release, variable_set, policy).compatible:
        return None
    return Remedy(tuple(Change(name, values[name], value) for name, value in sorted(changes.items())), found.rank)


def _completed(variable_set: VariableSet, off: Mapping[str, Value]) -> Mapping[str, Value]:
    return {name: off[name] for name, each in variable_set.variables.items() if name in off and not each.is_instance}


def _allowed_there(comparison: Comparison, source: Source, values: Mapping[str, Value]) -> Mapping[str, AllowedValues]:
    """Return what the destination allows of each variable: one that it does not have only the off value."""
    allowed, off = {}, comparison.off
    for name, value in values.items():
        here, there = comparison.here.get(name), comparison.there.get(name)
        is_carried_over = there is not None and there.is_instance and same(value, off.get(name))
        if name in comparison.uncompared or (is_carried_over and name not in source.device.values):
            continue
        if there is not None:
            allowed[name] = there.allowed
        elif here is not None:
            allowed[name] = AllowedValues.only(off[name]) if name in off else AllowedValues(here.type, frozenset())
    return allowed
