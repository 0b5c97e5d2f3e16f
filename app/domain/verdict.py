"""The verdict: whether a device, as it is on the source, can be re-created on a destination release."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from app.domain.lazy import lazy
from app.domain.model import Model
from app.domain.name import vendor_of
from app.domain.problem import Caution, Problem, ProblemCode, WarningCode
from app.domain.profile import Values, Written
from app.domain.release import Release
from app.domain.source import Origin, Source, broken, read_or_keep
from app.domain.state import State
from app.domain.value import Type, Value, same, shown
from app.domain.variable import Variable
from app.domain.variable_set import VariableSet, matches


class Policy(StrEnum):
    """How a verdict treats profiles: `strict` wants the destination to list the device's profile."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


@dataclass(frozen=True, slots=True)
class Change:
    """A variable of a running device that is to be changed."""

    variable: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a device can be re-created on a release; every problem, and what to apply where there is none."""

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

    def with_warnings(self, *more: Caution) -> "Verdict":
        """Return the verdict with more warnings."""
        return replace(self, warnings=self.warnings + more) if more else self


class Finding(NamedTuple):
    """A rule that a variable does not meet, whatever the releases are called."""

    code: ProblemCode
    variable: str
    value: Value | None


@dataclass(slots=True)
class Outcome:
    """What becomes of variables at a destination: of those that go, the value that they have there."""

    completed: dict[str, Value] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    carry_over: set[str] = field(default_factory=set)
    unchecked: set[str] = field(default_factory=set)

    def without(self, variables: AbstractSet[str]) -> "Outcome":
        """Return the outcome of the other variables."""
        completed = self.completed.copy()
        for name in variables:
            completed.pop(name, None)
        findings = {name: found for name, found in self.findings.items() if name not in variables}
        return Outcome(completed, findings, self.carry_over - variables, self.unchecked - variables)

    def note(self, code: ProblemCode, name: str, value: Value | None) -> None:
        """Note a rule that a variable does not meet."""
        self.findings.setdefault(name, []).append(Finding(code, name, value))

    def complete(self, name: str, value: Value, *, is_unchecked: bool) -> None:
        """Give a variable its value at the destination."""
        self.completed[name] = value
        if is_unchecked:
            self.unchecked.add(name)


@dataclass(frozen=True)
class Comparison:
    """The variables of an origin beside those of a destination's set: the rule of the verdict, variable by variable.

    set: None if the destination has no such model. vendor: whose release the destination is.
    """

    origin: Origin
    set: VariableSet | None
    vendor: str

    @lazy
    def off(self) -> Mapping[str, Value]:
        """The off values that count between the two."""
        return self.origin.model.off_values(*self.origin.vendors, self.vendor)

    @lazy
    def here(self) -> Mapping[str, Variable]:
        """The variables that the source has."""
        return self.origin.variables

    @lazy
    def there(self) -> Mapping[str, Variable]:
        """The variables that the destination has."""
        return self.set.variables if self.set else {}

    @lazy
    def uncompared(self) -> frozenset[str]:
        """The variables that every side calls backend that has them."""
        here = self.origin.set.backends if self.origin.set else frozenset[str]()
        there = self.set.backends if self.set else frozenset[str]()
        if not self.here:
            return there
        return frozenset(
            [name for name in here if name in there or name not in self.there]
            + [name for name in there if name not in self.here]
        )

    @lazy
    def untold(self) -> Outcome:
        """What becomes of a device of which nothing is told but its origin."""
        known = {**self.here, **(self.origin.profile or {})}
        outcome = Outcome()
        if known and self.set is not None and not self.origin.vendors:
            outcome = _of_nothing(self.origin.model, self.set, self.vendor).without(known.keys())
        else:
            known |= self.there
        for name in known:
            self._look_at(name, {}, {}, outcome)
        return outcome

    @lazy
    def _alike(self) -> frozenset[str]:
        """The variables of which the destination allows whatever the source allows: in effect or off, it goes."""
        return frozenset(
            name
            for name, there in self.there.items()
            if name in self.here
            and name not in self.uncompared
            and (self.here[name].allowed == there.allowed or there.allowed.is_any)
            and self.here[name].type is there.type
            and not (there.resolved_by_host or self.here[name].resolved_by_host)
        )

    @lazy
    def _free_form(self) -> frozenset[str]:
        return frozenset(name for name, there in self.there.items() if there.allowed.is_free_form)

    def outcome(self, source: Source) -> Outcome:
        """Return what becomes of what is told of a device of that origin; all else is as in `untold`."""
        if not source.device.values:
            return Outcome()
        alike = self._alike
        completed = {name: value for name, value in source.accepted.items() if name in alike}
        outcome = Outcome(completed, unchecked=set(completed.keys() & self._free_form))
        if len(completed) < len(source.device.values):
            for name in source.device.values.keys() - completed.keys():
                self._look_at(name, source.device.values, source.given, outcome)
        return outcome

    def _look_at(
        self, name: str, told: Mapping[str, Written | None], given: Mapping[str, Value | None], outcome: Outcome
    ) -> None:
        """Steps 2 to 5 for one variable; told: what is told of the device, given: the same in the source's types."""
        there = self.there.get(name)
        if name in self.uncompared:
            if there is not None:
                outcome.completed[name] = _backend_value(there, told.get(name))
            return
        value = self._value(name, told, given)
        if name not in self.here and self.origin.set is not None:
            self._check_stranger(name, value, outcome)
            value = None
        if self.set is None:
            return
        if value is not None and not same(value, self.off.get(name)):
            code = self._refusal(name, value)
        elif there is None:
            return
        elif there.is_instance and name not in told:
            outcome.carry_over.add(name)
            return
        else:
            # The source's own value has no part in it: where it is known and is not the off value it is in effect.
            value = self.off.get(name)
            code = None if value is not None and value in there.allowed else ProblemCode.CANNOT_BE_OFF
        if code is not None:
            outcome.note(code, name, value)
        elif value is not None:
            outcome.complete(name, value, is_unchecked=self._is_unchecked(name, value))

    def _check_stranger(self, name: str, value: Value | None, outcome: Outcome) -> None:
        """Check that a variable that the source release does not have is off; it has no value then."""
        if value is not None and not same(value, self.origin.off.get(name)):
            outcome.note(ProblemCode.UNKNOWN_VARIABLE, name, value)

    def _value(self, name: str, told: Mapping[str, Written | None], given: Mapping[str, Value | None]) -> Value | None:
        """Return the value that the device has on the source; None: off, or nothing is known of it."""
        if name in self.here:
            return given[name] if name in told else self.origin.configuration.get(name)
        written = told[name] if name in told else (self.origin.profile or {}).get(name)
        if written is None:
            return None
        model = self.origin.model
        statement = model.statement_for(self.vendor, name) if self.origin.set is None else None
        return read_or_keep((statement.type,) if statement else model.stated_types(name), written)

    def _refusal(self, name: str, value: Value) -> ProblemCode | None:
        """Return which of steps 2 to 4 a variable in effect fails, None if none."""
        here, there = self.here.get(name), self.there.get(name)
        if there is None:
            return ProblemCode.VARIABLE_NOT_SUPPORTED
        if there.type is not (here.type if here else Type.of(value)):
            return ProblemCode.TYPE_MISMATCH
        return None if value in there.allowed else ProblemCode.VALUE_NOT_ALLOWED

    def _is_unchecked(self, name: str, value: Value) -> bool:
        """Return whether nothing can check a value: any string will do, or each host decides what it means."""
        here, there = self.here.get(name), self.there[name]
        if there.allowed.is_free_form or value in there.resolved_by_host:
            return True
        return here is not None and value in here.resolved_by_host


def _of_nothing(model: Model, variable_set: VariableSet, vendor: str) -> Outcome:
    """Return what becomes of a device all of whose variables are off; kept with the set, as it was asked last."""
    kept = _all_off.get(variable_set)
    if kept is None or kept[0] is not model or kept[1] != vendor:
        nothing = Comparison(Origin(model, None, {}, ()), variable_set, vendor)
        kept = _all_off[variable_set] = (model, vendor, nothing.untold)
    return kept[2]


_all_off: WeakKeyDictionary[VariableSet, tuple[Model, str, Outcome]] = WeakKeyDictionary()


def _backend_value(there: Variable, written: Value | None) -> Value:
    """Return what is not compared: what is given where it is allowed, else the destination's init value."""
    value = there.init_value if written is None else read_or_keep((there.type,), written)
    return value if value in there.allowed else there.init_value


@dataclass(frozen=True, slots=True)
class _Wording:
    """Says to people what was found between a device and a release."""

    comparison: Comparison
    source: Source
    release: str

    def problem(self, found: Finding) -> Problem:
        """Return the problem that a finding is."""
        code, name, value = found
        there = self.comparison.there.get(name)
        allowed = there.allowed if there else None
        match code:
            case ProblemCode.UNKNOWN_VARIABLE:
                where = f"the source release {self.source.device.release}"
                message = f"{name}={shown(value)} is given, but {where} has no variable {name}"
                return Problem(code, message, name, value)
            case ProblemCode.VARIABLE_NOT_SUPPORTED:
                return Problem(code, self._not_supported(name, value), name, value)
            case ProblemCode.TYPE_MISMATCH:
                return Problem(code, self._type_mismatch(name, value), name, value)
            case ProblemCode.VALUE_NOT_ALLOWED:
                return Problem.about(code, self._not_allowed(name, value), name, value, allowed)
            case _:
                return Problem.about(code, self._cannot_be_off(name, value), name, value, allowed)

    def _not_supported(self, name: str, value: Value | None) -> str:
        off = self.comparison.off.get(name)
        goes = "no off value is known" if off is None else f"it would have to be off ({shown(off)})"
        return f"{self.source.called} has {name}={shown(value)}, but {self.release} has no variable {name}: {goes}"

    def _type_mismatch(self, name: str, value: Value | None) -> str:
        here, there = self.comparison.here.get(name), self.comparison.there[name]
        of_type = Type.of(value) if here is None and value is not None else (here or there).type
        return f"{name} is {of_type.value} of {self.source.called} and {there.type.value} on {self.release}"

    def _not_allowed(self, name: str, value: Value | None) -> str:
        allowed = self.comparison.there[name].allowed
        return f"{self.source.called} has {name}={shown(value)}, but {self.release} allows {allowed.shown()}"

    def _cannot_be_off(self, name: str, value: Value | None) -> str:
        if value is None:
            return f"{self.release} has {name}, which {self.source.called} does not tell and which has no off value"
        allowed = self.comparison.there[name].allowed
        return (
            f"{name} is off on {self.source.called} ({shown(value)}), "
            f"but {self.release} cannot take it off: it allows {allowed.shown()}"
        )


class Crossing:
    """A device at a destination's set, steps 1 to 6; what does not depend on what the releases are called.

    comparison: None where the source is not known. is_clear: these steps find no problem.
    """

    __slots__ = ("_clear", "_completed", "_told", "_untold", "comparison", "is_clear", "source")

    def __init__(self, source: Source, comparison: Comparison | None) -> None:
        self.source = source
        self.comparison = comparison
        self._untold = comparison.untold if comparison else Outcome()
        self._told = comparison.outcome(source) if comparison else Outcome()
        self._completed: Mapping[str, Value] | None = None
        self._clear: Verdict | None = None
        there = comparison.set if comparison else None
        self.is_clear = (
            there is not None
            and there.migratable
            and not self._told.findings
            and self._untold.findings.keys() <= source.device.values.keys()
            and not source.contradictions
            and not any(True for each in there.constraints for _ in each.broken_by(self.completed))
            and not any(matches(block.when, self.completed) for block in there.blocks_migration)
        )

    @property
    def completed(self) -> Mapping[str, Value]:
        """The configuration at the destination: of all variables that go."""
        if self._completed is None:
            told = self._told.completed
            self._completed = completed = self._untold.completed | told
            for name in self.source.device.values:
                if name not in told:
                    completed.pop(name, None)
        return self._completed

    def worded(self, variable_set: VariableSet | None, release: str) -> tuple[Problem, ...]:
        """Return the problems in order; variable_set: the destination's; release: what it is called."""
        return () if self.is_clear else _ordered(self.problems(variable_set, release))

    def _findings(self) -> Iterator[Finding]:
        told = self.source.device.values
        for name, found in self._untold.findings.items():
            if name not in told:
                yield from found
        for found in self._told.findings.values():
            yield from found

    def _names(self, untold: AbstractSet[str], told: AbstractSet[str]) -> tuple[str, ...]:
        """Return the variables that are among either, those that something is told of among what is told."""
        is_told = self.source.device.values
        return tuple(sorted([*[name for name in untold if name not in is_told], *told]))

    def verdict(self, problems: Iterable[Problem], warnings: Iterable[Caution]) -> Verdict:
        """Return the verdict with these problems and warnings."""
        ordered = _ordered(problems)
        return Verdict(
            ordered,
            tuple(warnings),
            None if ordered else self.completed,
            self._names(self._untold.carry_over, self._told.carry_over),
            self._names(self._untold.unchecked, self._told.unchecked),
        )

    @property
    def clear(self) -> Verdict:
        """The verdict where nothing at all is to be remarked."""
        if self._clear is None:
            self._clear = self.verdict((), ())
        return self._clear

    def problems(self, variable_set: VariableSet | None, release: str) -> Iterator[Problem]:
        """Iterate over the problems; variable_set: the destination's; release: what it is called."""
        source, model = self.source, self.source.model
        yield from source.problems
        if self.is_clear or model is None:
            return
        # Step 1, but for migration blocks, and whether the source accepts the device.
        yield from source.contradictions
        if variable_set is None:
            yield Problem(ProblemCode.MODEL_NOT_SUPPORTED, f"{release} does not implement {model.name}")
        elif not variable_set.migratable:
            yield Problem(ProblemCode.NOT_MIGRATABLE, f"{model.name} cannot be migrated to {release}")
        if self.comparison is None:
            return
        # Steps 2 to 5.
        wording = _Wording(self.comparison, source, release)
        yield from map(wording.problem, self._findings())
        if variable_set is None:
            return
        # Step 6.
        completed = self.completed
        yield from broken(variable_set, completed, release, ProblemCode.CONSTRAINT_VIOLATED)
        if any(matches(block.when, completed) for block in variable_set.blocks_migration):
            yield Problem(ProblemCode.NOT_MIGRATABLE, f"{release} does not migrate this configuration")


class Comparisons:
    """Origins and comparisons, worked out once for each content; the least recently used ones are forgotten.

    Any number of threads may use it.
    """

    def __init__(self, most: int = 100_000) -> None:
        """most: how many variables are kept in all."""
        self._most = most
        self._count = 0
        self._lock = Lock()
        # What is kept by identity is kept alive with it.
        self._kept: OrderedDict[tuple[object, ...], tuple[Any, int, tuple[object, ...]]] = OrderedDict()

    def origin(self, model: Model, own: VariableSet | None, profile: Values | None, vendors: tuple[str, ...]) -> Origin:
        """Return what devices are made from."""
        size = len(own.variables) if own else 1
        found: Origin = self._get((model, own, profile), vendors, size, lambda: Origin(model, own, profile, vendors))
        return found

    def known(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison | None:
        """Return the comparison of an origin with a destination's set if it is worked out already."""
        key = (id(origin), id(variable_set), vendor)
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            found: Comparison = self._kept[key][0]
            return found

    def comparison(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison:
        """Return the comparison of an origin with a destination's set."""
        size = len(variable_set.variables) if variable_set else 1
        found: Comparison = self._get(
            (origin, variable_set), (vendor,), size, lambda: Comparison(origin, variable_set, vendor)
        )
        return found

    def _get(self, objects: tuple[object, ...], words: tuple[str, ...], size: int, make: Callable[[], object]) -> Any:
        key = (*map(id, objects), *words)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            made = make()
            self._kept[key] = (made, size, objects)
            self._count += size
            while self._count > self._most and len(self._kept) > 1:
                self._count -= self._kept.popitem(last=False)[1][1]
            return made


def judge(crossing: Crossing, release: Release, variable_set: VariableSet | None, policy: Policy) -> Verdict:
    """Return the verdict on one device and one destination release (all steps).

    variable_set: the release's set of the device's model, narrowed by what the host restricts; None if it has none.
    """
    problems, warnings = _of_names(crossing.source, release, policy)
    if crossing.is_clear and not problems and not warnings:
        return crossing.clear
    where = f"{release.name} on this host" if variable_set and variable_set.is_narrowed else str(release.name)
    return crossing.verdict([*crossing.problems(variable_set, where), *problems], warnings)


def accepting(values: Values, model: Model, vendor: str, own: VariableSet | None) -> Crossing:
    """Return a profile's resolved values for a model at a release of a vendor: steps 1 to 6 without a source.

    own: the release's variable set of the model, None if it does not implement it.
    """
    origin = Origin(model, None, values, ())
    return Crossing(Source.of_origin(origin), Comparison(origin, own, vendor))


def problems_accepting(values: Values, model: Model, release: str, own: VariableSet | None) -> tuple[Problem, ...]:
    """Return why a release does not accept a profile's resolved values for a model."""
    return accepting(values, model, vendor_of(release), own).worded(own, release)


def _ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda each: (_ORDER[each.code], each.variable or "", each.message)))


_ORDER = {code: place for place, code in enumerate(ProblemCode)}


def _of_names(source: Source, release: Release, policy: Policy) -> tuple[list[Problem], list[Caution]]:
    """Steps 7 and 8. A retired source is only a warning: hosts must be evacuated."""
    problems: list[Problem] = []
    warnings: list[Caution] = []
    if source.release and source.release.state is State.RETIRED:
        message = f"the source release {source.release.name} is retired"
        warnings.append(Caution(WarningCode.RELEASE_RETIRED, message))
    if release.state is State.RETIRED:
        message = f"{release.name} is retired: nothing may go there any more"
        problems.append(Problem(ProblemCode.RELEASE_RETIRED, message))
    elif release.state is State.DEPRECATED:
        warnings.append(Caution(WarningCode.RELEASE_DEPRECATED, f"{release.name} is deprecated"))
    profile = source.device.profile
    if source.profile_state is State.RETIRED:
        problems.append(Problem(ProblemCode.PROFILE_RETIRED, f"the profile {profile} is retired"))
    elif source.profile_state is State.DEPRECATED:
        warnings.append(Caution(WarningCode.PROFILE_DEPRECATED, f"the profile {profile} is deprecated"))
    if policy is not Policy.STRICT:
        return problems, warnings
    if profile is None or release.profiles is None:
        why = "the device names no profile" if profile is None else f"{release.name} says nothing about profiles"
        warnings.append(Caution(WarningCode.ONLY_VARIABLES_COMPARED, f"only variables were compared: {why}"))
    elif profile not in release.profiles:
        message = f"{release.name} does not list {profile} among the profiles that it supports"
        problems.append(Problem(ProblemCode.PROFILE_NOT_LISTED, message))
    return problems, warnings
