"""Remedies: the smallest set of changes to a running device after which it could go where it now cannot."""

from collections.abc import Mapping
from dataclasses import replace

from app.domain.allowed import AllowedValues
from app.domain.problem import ProblemCode
from app.domain.release import Release
from app.domain.search import Requirement, UndecidedError, best, candidates, conditions_on
from app.domain.value import Value, same
from app.domain.variable_set import VariableSet
from app.domain.verdict import Change, Policy, Source, Verdict, judge

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


def remedies(
    source: Source, release: Release, variable_set: VariableSet | None, policy: Policy, verdict: Verdict
) -> tuple[Change, ...]:
    """Return the fewest changes to runtime variables of the source after which the verdict is compatible, if any are.

    Ties: by variable name, then the off value, then the value nearest to the present one.
    """
    own, model = source.set, source.model
    if own is None or model is None or variable_set is None or not source.is_known:
        return ()
    if not verdict.problems or any(problem.code not in _MENDABLE for problem in verdict.problems):
        return ()
    changeable = {name for name, variable in own.variables.items() if variable.runtime and name in source.configuration}
    if not changeable:
        return ()
    off = model.off_values(*source.vendors, release.name.vendor)
    completed = {
        name: off[name] for name, each in variable_set.variables.items() if name in off and not each.is_instance
    }
    values = {**completed, **source.configuration}
    places = [[Requirement({}, own)], [Requirement(_allowed_there(values, own, variable_set, off), variable_set)]]
    held_against = conditions_on(places)
    choices = {name: [value] for name, value in values.items()}
    try:
        for name in changeable:
            wanted = [values[name], *([off[name]] if name in off else [])]
            choices[name] = candidates(own.variables[name].allowed, wanted, held_against.get(name, []))
        found = best(choices, places) or {}
    except UndecidedError:
        return ()
    changes = {name: value for name, value in found.items() if not same(value, values[name])}
    changed = replace(source, device=replace(source.device, values={**source.device.values, **changes}))
    # Shown to work by asking again.
    if not judge(changed, release, variable_set, policy).compatible:
        return ()
    return tuple(Change(name, values[name], value) for name, value in sorted(changes.items()))


def _allowed_there(
    values: Mapping[str, Value], own: VariableSet, there: VariableSet, off: Mapping[str, Value]
) -> Mapping[str, AllowedValues]:
    """Return what the destination allows of each variable: one that it does not have only the off value."""
    allowed = {}
    for name in values:
        sides = [side.variables[name] for side in (own, there) if name in side.variables]
        if all(side.is_backend for side in sides):
            continue
        if name in there.variables:
            allowed[name] = there.variables[name].allowed
        else:
            allowed[name] = AllowedValues.only(off[name]) if name in off else AllowedValues(sides[0].type, frozenset())
    return allowed
