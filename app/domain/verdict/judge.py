"""The verdict on one device at one destination release: the steps, in order. Remembers nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.release import Release
from app.domain.things.variable_set import VariableSet
from app.domain.values.name import vendor_of
from app.domain.values.value import Value
from app.domain.verdict import steps, wording
from app.domain.verdict.case import Case, Pair, source_configuration
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import RULES, Caution, Problem, WarningCode
from app.domain.verdict.source import Device, Source, at_destination, explicit_values, unknown_names


@dataclass(frozen=True, slots=True)
class Change:
    """A variable of a running device that has to be changed, with its value before and after."""

    variable: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a device can be re-created on a release; every problem, or the configuration to apply."""

    problems: tuple[Problem, ...]
    warnings: tuple[Caution, ...] = ()
    configuration: Values | None = None
    carry_over: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    remedies: tuple[Change, ...] = ()

    @property
    def compatible(self) -> bool:
        """Return whether there is no problem."""
        return not self.problems

    def with_warnings(self, *warnings: Caution) -> "Verdict":
        """Return the verdict with further warnings."""
        return replace(self, warnings=self.warnings + warnings) if warnings else self

    def refused(self, problems: Sequence[Problem]) -> "Verdict":
        """Return the verdict with further problems, those of the whole VM."""
        if not problems:
            return self
        warnings = tuple(caution for caution in self.warnings if caution.code is not WarningCode.MUST_BE_SET)
        return replace(self, problems=ordered([*self.problems, *problems]), warnings=warnings, configuration=None)


def judge(source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> Verdict:
    """Return the verdict on a device at a destination release (DESIGN 5, all steps).

    variable_set: the release's set of the device's model, narrowed by what the host restricts; None if it has none.
    """
    source = at_destination(source, variable_set)
    profile_state = source.profile.state if source.profile else None
    comparison = compare(source, release.name.vendor, variable_set, destination_name(release, variable_set))
    problems = ordered(
        [
            *comparison.problems,
            *steps.step_7(release, source.device.profile, profile_state),
            *steps.step_8(release, source.device.profile, policy),
            *steps.step_9(source, release, variable_set),
            *steps.step_10(source, comparison.source, release, variable_set, comparison.there),
            *steps.step_12(source, release, variable_set),
            *steps.step_13(source, comparison.source, release, comparison.there or {}),
        ]
    )
    cautions = [
        *steps.warnings(source, release, variable_set, policy),
        *steps.errata_not_checked(source, release, comparison.there),
    ]
    if variable_set is not None:
        cautions += steps.growth(release, variable_set, comparison.grown)
    not_checked = steps.not_checked(cautions, source, variable_set)
    configuration = None
    if not problems and variable_set is not None:
        configuration = variable_set.under_own_names(comparison.completed)
        to_set = steps.must_be_set(source, release, variable_set, comparison.completed)
        cautions += [must_be_set(release, source.device.profile, to_set)] if to_set else []
    return Verdict(
        problems,
        tuple(cautions),
        configuration,
        under_own_name(variable_set, comparison.carry_over),
        (*under_own_name(variable_set, comparison.unchecked), *not_checked),
    )


def under_own_name(variable_set: VariableSet | None, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of variables as the destination has them, sorted."""
    return tuple(sorted(names if variable_set is None else map(variable_set.own_name, names)))


def must_be_set(release: Release, profile: str | None, values: Values) -> Caution:
    """Return the warning of what has to be set explicitly at a destination."""
    return Caution(WarningCode.MUST_BE_SET, wording.must_be_set(release, profile, values), values)


@dataclass(frozen=True, slots=True)
class Compared:
    """What steps 1 to 6 find: problems, and the completed configuration of the variables that can go.

    source: the source configuration; there: the completed one, with the values that the destination refuses. None where
    they are not known. grown: variables with a larger value there, before and after.
    """

    problems: tuple[Problem, ...]
    completed: Values
    source: Values | None = None
    there: Values | None = None
    carry_over: Sequence[str] = ()
    unchecked: Sequence[str] = ()
    grown: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)


def compare(source: Source, vendor: str, variable_set: VariableSet | None, destination: str) -> Compared:
    """Take steps 1 to 6. vendor: of the destination release; destination: what messages call it."""
    unknown = list(unknown_names(source))
    if source.model is None:
        return Compared(tuple(unknown), {})
    problems = [*unknown, *steps.step_1(source.model.name, variable_set, destination)]
    if unknown:
        # The source configuration is not known: only step 1 has an answer, for what is given explicitly.
        return Compared((*problems, *steps.step_1_at_source(source, explicit_values(source))), {})
    case = Case.of(source, source.model, variable_set, vendor)
    configuration = source_configuration(case)
    problems += steps.source_invalid(case, str(source.device.release))
    problems += steps.step_1_at_source(source, configuration)
    pairs = list(case.pairs())
    problems += _problems_of_variables(case, pairs, source, destination)
    if variable_set is None:
        return Compared(tuple(problems), {}, configuration)
    going = [pair for pair in pairs if not pair.is_compared or steps.first_problem(pair) is None]
    completed = {pair.name: value for pair in going if (value := steps.completed_value(pair)) is not None}
    problems += steps.step_6(variable_set, completed, destination, steps.blocks_of(source.set, configuration))
    stated = {pair.name: pair.value for pair in pairs if pair.there is not None and pair.value is not None}
    return Compared(
        tuple(problems),
        completed,
        configuration,
        {**stated, **completed},
        [pair.name for pair in pairs if pair.is_compared and pair.is_carried_over],
        [pair.name for pair in going if pair.name in completed and steps.is_unchecked(pair, completed[pair.name])],
        dict(steps.grown(going)),
    )


def _problems_of_variables(case: Case, pairs: Iterable[Pair], source: Source, destination: str) -> Iterator[Problem]:
    """Report, for each compared variable, what the source lacks, and what the first of steps 2 to 5 finds."""
    source_off = case.source_off
    for pair in pairs:
        if not pair.is_compared:
            continue
        code = steps.unknown_variable(pair, source_off.get(pair.name))
        if code is not None:
            yield wording.problem(code, pair, source, destination)
        if case.set is not None and (code := steps.first_problem(pair)) is not None:
            yield wording.problem(code, pair, source, destination)


def refusals(values: Values, model: Model, release: str, variable_set: VariableSet | None) -> tuple[Problem, ...]:
    """Return why a release does not accept a profile's resolved values for a model; nothing if it does.

    It accepts them when steps 1 to 6, asked with the profile and no source release, find no problem (DESIGN 4).
    variable_set: the release's set of the model, None if it does not implement it.
    """
    source = profile_as_source(values, model)
    return ordered(compare(source, vendor_of(release), variable_set, release).problems)


def profile_as_source(values: Values, model: Model) -> Source:
    """Return a profile's resolved values for a model as the source of a question."""
    device = Device(id="", model=model.name, complete=True)
    return Source(device, model, None, Profile("", {model.name: values}), of_profile=True)


def destination_name(release: Release, variable_set: VariableSet | None) -> str:
    """Return what messages call the destination."""
    return f"{release.name} on this host" if variable_set and variable_set.is_narrowed else str(release.name)


_ORDER = {code: position for position, code in enumerate(RULES)}


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems in the order of the table, then by variable: the order of a document never matters."""
    return tuple(sorted(problems, key=lambda problem: (_ORDER[problem.code], problem.variable or "", problem.message)))
