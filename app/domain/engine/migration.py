"""A device at a destination's variable set: steps 1 to 6, from what is remembered of the comparison."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from app.domain.engine.comparison import Comparison, Compiled, Outcome
from app.domain.engine.passage import Passage
from app.domain.things.condition import matches
from app.domain.things.release import Release
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.budget import spend
from app.domain.values.value import Value
from app.domain.verdict import steps
from app.domain.verdict.judge import Verdict, must_be_set, ordered
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Caution, Problem
from app.domain.verdict.source import explicit_values

# What a device at a set takes of a request's budget, beside the variables that are compared.
_STEPS = 6


class Migration:
    """A device at a destination's set, whatever the releases that share the set are called.

    comparison: None where the names that the device gives are not all known. set: the destination's, None if it does
    not implement the model. is_clear: steps 1 to 6 find no problem.
    """

    __slots__ = ("_clear", "_completed", "_given", "_lists", "_made", "comparison", "compiled", "is_clear", "set")

    def __init__(self, compiled: Compiled, comparison: Comparison | None, variable_set: VariableSet | None) -> None:
        spend(_STEPS + (0 if variable_set is None else _steps_of(variable_set)))
        self.compiled = compiled
        self.comparison = comparison
        self.set = variable_set
        self._made = comparison.made if comparison else Outcome()
        self._given = comparison.given(compiled) if comparison else Outcome()
        self._completed: Mapping[str, Value] | None = None
        self._clear: Verdict | None = None
        self._lists: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self.is_clear = (
            comparison is not None
            and variable_set is not None
            and variable_set.migratable is not Migratable.NO
            and not self._given.refused
            and self._made.refused.keys() <= compiled.source.device.values.keys()
            and compiled.is_accepted
            and _meets_rules(variable_set, self.completed)
        )

    @property
    def completed(self) -> Mapping[str, Value]:
        """The configuration at the destination, of all variables that can go."""
        if self._completed is None:
            given = self._given.completed
            self._completed = completed = self._made.completed | given
            for name in self.compiled.source.device.values:
                if name not in given:
                    completed.pop(name, None)
        return self._completed

    def verdict(self, problems: Iterable[Problem], warnings: Sequence[Caution], unchecked: tuple[str, ...]) -> Verdict:
        """Return the verdict with these problems and warnings; unchecked: what is not checked beside variables."""
        in_order = ordered(problems)
        if self._lists is None:
            made, given = self._made, self._given
            self._lists = self._names(made.carry_over, given.carry_over), self._names(made.unchecked, given.unchecked)
        return Verdict(
            in_order,
            tuple(warnings),
            None if in_order or self.set is None else self.set.under_own_names(self.completed),
            self._lists[0],
            self._lists[1] + unchecked,
        )

    def _names(self, made: AbstractSet[str], given: AbstractSet[str]) -> tuple[str, ...]:
        """Return the variables in either set; what is given counts before what is made."""
        if self.comparison is None:
            return ()
        return self.comparison.names(made, given, self.compiled.explicit)

    @property
    def grown(self) -> Mapping[str, tuple[Value, Value]]:
        """The variables with a larger value at the destination; what is given counts before what is made."""
        if not self._made.grown:
            return self._given.grown
        explicit = self.compiled.source.device.values
        made = {name: values for name, values in self._made.grown.items() if name not in explicit}
        return made | self._given.grown

    def problems(self, destination: str) -> Iterator[Problem]:
        """Iterate over the problems; destination: what messages call it."""
        compiled, source = self.compiled, self.compiled.source
        yield from compiled.unknown_names
        if self.is_clear or source.model is None:
            return
        yield from steps.step_1(source.model.name, self.set, destination)
        if self.comparison is None:
            yield from steps.step_1_at_source(source, explicit_values(source))
            return
        if not compiled.is_accepted:
            yield from compiled.invalid
            yield from steps.step_1_at_source(source, compiled.configuration)
        for name, findings in self._made.refused.items():
            if name not in source.device.values:
                yield from (self.comparison.problem(code, pair, source, destination) for code, pair in findings)
        for findings in self._given.refused.values():
            yield from (self.comparison.problem(code, pair, source, destination) for code, pair in findings)
        if self.set is not None:
            yield from steps.step_6(self.set, self.completed, destination, compiled.blocks)

    def judge(self, release: Release, policy: Policy, passage: Passage | None = None) -> Verdict:
        """Return the verdict at a release that has the destination's set (all steps).

        passage: what `Passage.of` returns for the source and this release, where the caller has it already.
        """
        # Whatever is looked at here must be in the key of a remembered verdict, or `Passage.decides_alone` excludes it.
        source = self.compiled.source
        passage = passage or Passage.of(source, release, self.set, policy)
        problems = [*passage.problems, *self._parts(release), *self._errata(release, passage)]
        if not passage.is_compared:
            problems += steps.step_12(source, release, self.set)
        warnings: Sequence[Caution] = passage.cautions
        unchecked = passage.unchecked
        if passage.warns_of_errata:
            warnings = (*warnings, *steps.errata_not_checked(source, release, self._there()))
            unchecked = steps.not_checked(warnings, source, self.set)
        if self.set is not None and (grown := self.grown):
            warnings = (*warnings, *steps.growth(release, self.set, grown))
        if not self.is_clear:
            problems += self.problems(passage.destination)
        elif not problems:
            warnings = (*warnings, *self._must_be_set(release))
            if not warnings and not unchecked:
                # Releases that share the set share the verdict, too.
                self._clear = self._clear or self.verdict((), (), ())
                return self._clear
        return self.verdict(problems, warnings, unchecked)

    def _parts(self, release: Release) -> Sequence[Problem]:
        source = self.compiled.source
        if not (source.set is not None and source.set.needs) and not (self.set is not None and self.set.needs):
            return ()
        configuration = None if self.comparison is None else self.compiled.configuration
        return list(steps.step_10(source, configuration, release, self.set, self._there()))

    def _errata(self, release: Release, passage: Passage) -> Sequence[Problem]:
        """Return what errata forbid (step 13): a rule is looked at only if one of them is about the configuration."""
        if not passage.leaving and not passage.entering:
            return ()
        source = self.compiled.source
        configuration = None if self.comparison is None else self.compiled.configuration
        there = self._there() or {} if passage.entering else {}
        if not any(erratum.concerns(configuration) for erratum in passage.leaving) and not any(
            erratum.concerns(there) for erratum in passage.entering
        ):
            return ()
        return list(steps.step_13(source, configuration, release, there))

    def _there(self) -> Mapping[str, Value] | None:
        """Return the completed configuration, with the values that the destination refuses; None if not known."""
        if self.comparison is None or self.set is None:
            return None
        explicit = self.compiled.source.device.values
        made = {name: findings for name, findings in self._made.refused.items() if name not in explicit}
        refused = [pair for findings in ({**made, **self._given.refused}).values() for _, pair in findings]
        values = {pair.name: pair.value for pair in refused if pair.there is not None and pair.value is not None}
        return {**values, **self.completed}

    def _must_be_set(self, release: Release) -> Sequence[Caution]:
        """Warn of what the release by itself makes otherwise of the profile; is_clear holds."""
        device, nulls = self.compiled.source.device, self.compiled.nulls
        if self.comparison is None or self.set is None or device.profile is None:
            return ()
        own_values = release.made_of(device.profile, device.model)
        otherwise = self.comparison.otherwise(own_values)
        if not otherwise and not nulls:
            return ()
        to_set = {name: value for name, value in otherwise.items() if name not in device.values}
        to_set |= self.comparison.made_otherwise(own_values, nulls, self.completed) if nulls else {}
        if not to_set:
            return ()
        return (must_be_set(release, device.profile, self.set.under_own_names(to_set)),)


def _steps_of(variable_set: VariableSet) -> int:
    """Return what a set takes of a request's budget: its values are copied, its rules are checked."""
    return len(variable_set.variables) // 32 + len(variable_set.constraints) + len(variable_set.blocks_migration)


def _meets_rules(variable_set: VariableSet, configuration: Mapping[str, Value]) -> bool:
    """Return whether a configuration meets the constraints of a set, and nothing in it blocks migration."""
    for constraint in variable_set.constraints:
        for _ in constraint.broken_by(configuration):
            return False
    return all(not matches(block.when, configuration) for block in variable_set.blocks_migration)
