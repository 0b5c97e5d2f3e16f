"""Remedies: the smallest set of changes to a running device after which it can move where it now cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.domain.engine.comparison import Comparison, Compiled
from app.domain.engine.migration import Migration
from app.domain.engine.question import Remedy
from app.domain.fleet.search import Requirement, Tries, UndecidedError, best, candidates, conditions_on
from app.domain.things.erratum import ENTERING, LEAVING, Erratum, Way, forbidding, with_errata
from app.domain.things.release import Release
from app.domain.things.variable_set import VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.value import Value, same
from app.domain.verdict.case import Case
from app.domain.verdict.judge import Change, Verdict
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import RULES, Subject
from app.domain.verdict.steps import admitted

# Every refusal is searched for a remedy, so no search takes long.
MAX_TRIES = 1_000
# Problems that another value of the device can solve.
_SOLVABLE = frozenset(code for code, rule in RULES.items() if rule.subject is Subject.VALUE)


class RemedySearch:
    """Searches for remedies; implements `engine.question.Remedies`."""

    def is_possible(self, compiled: Compiled, verdict: Verdict) -> bool:
        """Return whether changes to a running device could meet what the verdict refuses, so that a search is due."""
        return (
            compiled.origin is not None
            and bool(compiled.origin.runtime)
            and any(name in compiled.configuration for name in compiled.origin.runtime)
            and all(problem.code in _SOLVABLE for problem in verdict.problems)
        )

    def search(self, migration: Migration, release: Release, policy: Policy, verdict: Verdict) -> Remedy | None:
        """Return the fewest changes to runtime variables of the source after which the verdict is compatible.

        Ties: by variable name, then the off value, then the value nearest to the present one. None if there are no
        such changes, if none were found in MAX_TRIES, or if the source itself is not as its release allows.
        """
        compiled, comparison, variable_set = migration.compiled, migration.comparison, migration.set
        source = compiled.source
        own = source.set
        if comparison is None or own is None or variable_set is None or not self.is_possible(compiled, verdict):
            return None
        changeable = [name for name in comparison.origin.runtime if name in compiled.configuration]
        off = comparison.off
        values = {**_off_values(variable_set, off), **compiled.configuration}
        requirements = [
            Requirement({}, with_errata(own, _forbidding(source.release, own, LEAVING, release))),
            Requirement(
                _admitted(comparison, compiled, values),
                with_errata(variable_set, _forbidding(release, variable_set, ENTERING, source.release)),
            ),
        ]
        conditions = conditions_on(requirements)
        choices: dict[str, Sequence[Value]] = {name: [value] for name, value in values.items()}
        try:
            for name in changeable:
                preferred = [values[name], *([off[name]] if name in off else [])]
                choices[name] = candidates(own.variables[name].allowed, preferred, conditions.get(name, []))
            assignment = best(choices, requirements, Tries(MAX_TRIES))
        except UndecidedError:
            return None
        if assignment is None:
            return None
        changes = {name: value for name, value in assignment.values.items() if not same(value, values[name])}
        changed = replace(source, device=replace(source.device, values={**source.device.values, **changes}))
        # Ask again with the changes: only what is then compatible is a remedy.
        after = Migration(Compiled(changed, compiled.origin), comparison, variable_set)
        if not after.judge(release, policy).compatible:
            return None
        before, after_changes = own.under_own_names(values), own.under_own_names(changes)
        in_order = tuple(Change(name, before[name], value) for name, value in sorted(after_changes.items()))
        return Remedy(in_order, assignment.rank)


def _forbidding(
    release: Release | None, variable_set: VariableSet, ways: frozenset[Way], other: Release | None
) -> Sequence[Erratum]:
    """Return the errata of a release that can forbid the migration from or to another one, whatever the values."""
    errata = () if release is None else release.errata.get(variable_set.model, ())
    return forbidding(errata, ways, None, other.name if other else None)


def _off_values(variable_set: VariableSet, off: Mapping[str, Value]) -> Mapping[str, Value]:
    return {
        name: off[name] for name, variable in variable_set.variables.items() if name in off and not variable.is_instance
    }


def _admitted(comparison: Comparison, compiled: Compiled, values: Mapping[str, Value]) -> Mapping[str, AllowedValues]:
    """Return with which values of each variable the device can move; variables that can move with any are left out."""
    origin = comparison.origin
    case = Case(
        origin.model,
        origin.set,
        origin.vendors,
        origin.stated,
        compiled.source.device.values,
        comparison.set,
        comparison.vendor,
    )
    return {
        pair.name: admitted(pair.there, pair.off, variable.type, may_grow=True)
        for pair in case.pairs()
        if pair.name in values and pair.is_compared and not pair.is_carried_over
        if (variable := pair.here or pair.there) is not None
    }
