"""A source's variable set and profile compared with a destination's set, once for all devices that share them.

The rule is that of `verdict/`: every variable that is looked at goes through its steps 2 to 5. What is fast is which
variables need no look.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.domain.things.condition import MigrationBlock
from app.domain.things.model import Model
from app.domain.things.profile import Values, Written
from app.domain.things.release import NOTHING
from app.domain.things.variable import Variable
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.budget import spend
from app.domain.values.lazy import lazy
from app.domain.values.value import Type, Value
from app.domain.verdict import steps, wording
from app.domain.verdict.case import Case, Pair, pair
from app.domain.verdict.judge import under_own_name
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Source, given_value, made_value, stated_values, unknown_names

# A variable takes about this many steps of a request's budget, and one that is remembered this many.
_STEPS = 4
_STEPS_REMEMBERED = 1
# Each comparison remembers what became of this many explicit values, and as many problems; fewer lists of names.
MAX_REMEMBERED = 64
_MAX_LISTS = 16
# A value of this type is a value of the variable as it is: nothing has to be read (an int is in the range once the set
# allows it).
_OF_TYPE = {Type.BOOL: bool, Type.INT: int}
# A verdict that more values than this decide is not worth its memory: hardly another device has the same.
_MAX_DECISIVE = 8
# Longer texts are not worth their memory.
_MAX_TEXT = 64


@dataclass(frozen=True)
class Origin:
    """What devices are made from: a release's variable set of their model, or none, and a profile's values, or none.

    vendors: the vendor of the release, if there is one. own_values: what the release itself makes of the profile.
    """

    model: Model
    set: VariableSet | None
    profile: Values | None
    vendors: tuple[str, ...]
    own_values: Values = field(default_factory=lambda: NOTHING)

    @lazy
    def stated(self) -> Values | None:
        """What the release makes of the profile, or else what the profile says."""
        return stated_values(self.profile, self.own_values)

    @lazy
    def variables(self) -> Mapping[str, Variable]:
        """The variables that the release has."""
        return self.set.variables if self.set else {}

    @lazy
    def off(self) -> Mapping[str, Value]:
        """The off values that count for the release; without one, the destination decides."""
        return self.model.off_values(*self.vendors) if self.vendors else {}

    @lazy
    def made(self) -> Mapping[str, Value]:
        """The configuration of a device of which no explicit value is given."""
        values = (
            (name, made_value(name, variable, self.stated, self.off.get(name)))
            for name, variable in self.variables.items()
        )
        return {name: value for name, value in values if value is not None}

    @lazy
    def refused(self) -> Sequence[str]:
        """The variables whose values in that configuration the release's own set does not allow."""
        return [name for name, value in self.made.items() if value not in self.variables[name].allowed]

    @lazy
    def runtime(self) -> Sequence[str]:
        """The variables that can be changed while the device runs."""
        return [name for name, variable in self.variables.items() if variable.runtime and not variable.is_backend]


@dataclass(frozen=True)
class Compiled:
    """A source with its origin: what does not depend on the destination.

    origin: None where the names that the device gives are not all known.
    """

    source: Source
    origin: Origin | None

    @lazy
    def unknown_names(self) -> Sequence[Problem]:
        """What the device names but the registry lacks."""
        return () if self.source.of_profile else tuple(unknown_names(self.source))

    @lazy
    def given(self) -> Mapping[str, Value | None]:
        """The explicit values of variables that the source release has, in their types; None: no value is off."""
        if self.origin is None:
            return {}
        variables, off = self.origin.variables, self.origin.off
        given: dict[str, Value | None] = {}
        for name, written in self.source.device.values.items():
            variable = variables.get(name)
            if variable is not None:
                is_typed = _OF_TYPE.get(variable.type) is type(written) and not variable.made
                given[name] = written if is_typed else given_value(variable, written, off.get(name))
        return given

    @lazy
    def accepted(self) -> Mapping[str, Value]:
        """The explicit values that the source release allows."""
        variables = self.origin.variables if self.origin else {}
        return {
            name: value for name, value in self.given.items() if value is not None and value in variables[name].allowed
        }

    @lazy
    def configuration(self) -> Mapping[str, Value]:
        """The source configuration: the explicit values over what the origin makes."""
        merged = {**(self.origin.made if self.origin else {}), **self.given}
        return {name: value for name, value in merged.items() if value is not None}

    @lazy
    def is_accepted(self) -> bool:
        """Whether the source release accepts the device and migrates it."""
        own = self.source.set
        if own is None:
            return True
        if own.migratable is Migratable.NO or self.origin is None:
            return own.migratable is not Migratable.NO
        return (
            len(self.accepted) == len(self.given)
            and all(name in self.given for name in self.origin.refused)
            and all(written is not None or name in self.origin.off for name, written in self._explicit)
            and not any(True for constraint in own.constraints for _ in constraint.broken_by(self.configuration))
            and not self.blocks
        )

    @lazy
    def invalid(self) -> Sequence[Problem]:
        """What the source release itself does not allow of the configuration, as `steps.source_invalid` says it."""
        own, origin = self.source.set, self.origin
        if own is None or origin is None:
            return ()
        release, configuration = str(self.source.device.release), self.configuration
        names = {**self.given, **dict.fromkeys(origin.refused)}
        problems = [
            wording.source_value(release, name, configuration[name], own.variables[name].allowed)
            for name in names
            if name in configuration and configuration[name] not in own.variables[name].allowed
        ]
        problems += [
            wording.source_not_off(name)
            for name, written in self._explicit
            if written is None and name not in origin.off
        ]
        where = f"the source release {release}"
        problems += steps.broken_constraints(own, configuration, where, ProblemCode.SOURCE_VALUE_INVALID)
        return problems

    @lazy
    def explicit(self) -> frozenset[str]:
        """The names of the explicit values."""
        return frozenset(self.source.device.values)

    @lazy
    def nulls(self) -> Sequence[str]:
        """The variables that are explicitly off."""
        return [name for name, written in self._explicit if written is None]

    @lazy
    def blocks(self) -> Sequence[MigrationBlock]:
        """The migration blocks of the source release that the device matches."""
        return steps.blocks_of(self.source.set, self.configuration)

    @property
    def _explicit(self) -> AbstractSet[tuple[str, object]]:
        return self.source.device.values.items()


@dataclass(slots=True)
class Outcome:
    """What becomes of variables at a destination.

    completed: of those that can go, the value there. refused: of the others, what the steps found. grown: of those that
    have a larger value there, before and after.
    """

    completed: dict[str, Value] = field(default_factory=dict)
    refused: dict[str, list[tuple[ProblemCode, Pair]]] = field(default_factory=dict)
    carry_over: set[str] = field(default_factory=set)
    unchecked: set[str] = field(default_factory=set)
    grown: dict[str, tuple[Value, Value]] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        """Add what becomes of other variables."""
        self.completed |= other.completed
        self.refused |= other.refused
        self.carry_over |= other.carry_over
        self.unchecked |= other.unchecked
        self.grown |= other.grown

    def without(self, names: AbstractSet[str]) -> "Outcome":
        """Return the outcome of the other variables."""
        completed = self.completed.copy()
        for name in names:
            completed.pop(name, None)
        refused = {name: findings for name, findings in self.refused.items() if name not in names}
        grown = {name: values for name, values in self.grown.items() if name not in names}
        return Outcome(completed, refused, self.carry_over - names, self.unchecked - names, grown)


@dataclass(frozen=True)
class Comparison:
    """The variables of an origin compared with those of a destination's set.

    set: None if the destination does not implement the model. vendor: of the destination release.
    base: the comparison of an origin with nothing in effect, where this one differs from it in the profile alone.
    """

    origin: Origin
    set: VariableSet | None
    vendor: str
    base: "Comparison | None" = None

    @lazy
    def off(self) -> Mapping[str, Value]:
        """The off values that count between the two."""
        return self.origin.model.off_values(*self.origin.vendors, self.vendor)

    @lazy
    def there(self) -> Mapping[str, Variable]:
        """The variables that the destination has."""
        return self.set.variables if self.set else {}

    @lazy
    def made(self) -> Outcome:
        """What becomes of a device of which no explicit value is given."""
        names = {**self.origin.variables, **(self.origin.stated or {})}
        if self.base is None:
            names |= self.there
            outcome = Outcome()
        else:
            outcome = self.base.made.without(names.keys())
        self._look_at(names, {}, outcome)
        return outcome

    @lazy
    def _otherwise(self) -> dict[int, tuple[Values, Mapping[str, Value]]]:
        return {}

    def otherwise(self, own_values: Values) -> Mapping[str, Value]:
        """Return what a release with these own values makes otherwise of the profile, where no value is given."""
        # The own values are held too, so that their id is not reused.
        known = self._otherwise.get(id(own_values))
        if known is None:
            made = self.made_otherwise(own_values, self.there, self.made.completed)
            known = self._otherwise[id(own_values)] = own_values, made
        return known[1]

    def made_otherwise(
        self, own_values: Values, names: Iterable[str], completed: Mapping[str, Value]
    ) -> Mapping[str, Value]:
        """Return what a release with these own values makes otherwise of a completed configuration's variables."""
        profile = self.origin.profile
        if profile is None:
            return {}
        stated = stated_values(profile, own_values)
        off = self.origin.model.off_values(self.vendor)
        return {
            name: completed[name]
            for name in names
            if name in completed
            and name in self.there
            and steps.makes_otherwise(name, self.there[name], stated, off, completed)
        }

    @lazy
    def _alike(self) -> frozenset[str]:
        """The variables of which the destination allows whatever the source allows: in effect or off, they can go."""
        here = self.origin.variables
        return frozenset(
            name
            for name, there in self.there.items()
            if name in here
            and (here[name].allowed == there.allowed or there.allowed.is_any)
            and here[name].type is there.type
            and not (there.is_backend or here[name].is_backend)
            and not (there.resolved_by_host or here[name].resolved_by_host)
        )

    @lazy
    def _free_form(self) -> frozenset[str]:
        return frozenset(name for name, there in self.there.items() if there.allowed.is_free_form)

    @lazy
    def _indifferent(self) -> frozenset[str]:
        """The variables of which every value that the source accepts gets the same verdict: no rule names them."""
        conditions = [
            condition
            for variable_set in (self.origin.set, self.set)
            if variable_set is not None
            for condition in (
                *(condition for rule in variable_set.constraints for condition in (rule.when, rule.require)),
                *(block.when for block in variable_set.blocks_migration),
            )
        ]
        return self._alike.difference(*conditions)

    def verdict_key(self, compiled: Compiled) -> tuple[Hashable, ...] | None:
        """Return the part of the explicit values that can change the verdict on a device, its configuration apart.

        None: they are too many or too long to be worth it, or the roles of parts count as well.
        """
        values = compiled.source.device.values
        sets = [variable_set for variable_set in (self.origin.set, self.set) if variable_set is not None]
        if len(values) > MAX_REMEMBERED or any(variable_set.needs for variable_set in sets):
            return None
        indifferent, accepted = self._indifferent, compiled.accepted
        decisive: list[tuple[str, type, Written | None]] = []
        for name, written in values.items():
            if written is None or name not in accepted or name not in indifferent:
                if len(decisive) == _MAX_DECISIVE or (isinstance(written, str) and len(written) > _MAX_TEXT):
                    return None
                # 1 and true are equal, and different values.
                decisive.append((name, type(written), written))
        return (*values, *decisive)

    def given(self, compiled: Compiled) -> Outcome:
        """Return what becomes of the variables that a device of the origin gives; all others are as in `made`."""
        values = compiled.source.device.values
        if not values:
            return Outcome()
        alike = self._alike
        completed = {name: value for name, value in compiled.accepted.items() if name in alike}
        outcome = Outcome(completed, unchecked=set(completed.keys() & self._free_form))
        if len(completed) < len(values):
            for name in values.keys() - completed.keys():
                outcome.add(self._outcome(name, values[name]))
        return outcome

    @lazy
    def _outcomes(self) -> dict[tuple[str, type, Written | None], Outcome]:
        return {}

    def _outcome(self, name: str, written: Written | None) -> Outcome:
        """Return what becomes of one variable with an explicit value, whatever else the device gives."""
        # 1 and true are equal, and different values.
        key = (name, type(written), written)
        outcome = self._outcomes.get(key)
        spend(_STEPS_REMEMBERED)
        if outcome is None:
            outcome = Outcome()
            self._look_at([name], {name: written}, outcome)
            if len(name) <= _MAX_TEXT and not (isinstance(written, str) and len(written) > _MAX_TEXT):
                if len(self._outcomes) >= MAX_REMEMBERED:
                    self._outcomes.clear()
                self._outcomes[key] = outcome
        return outcome

    @lazy
    def _worded(self) -> dict[tuple[object, ...], tuple[Problem, Pair]]:
        return {}

    def problem(self, code: ProblemCode, variable: Pair, source: Source, destination: str) -> Problem:
        """Return the problem that was found of a variable, in the words for this source and destination."""
        device = source.device
        # The set is the origin's. The pair is held too, so that its id is not reused.
        key = (code, id(variable), destination, device.release, source.release is None, source.profile is None)
        known = self._worded.get(key)
        if known is None:
            known = wording.problem(code, variable, source, destination), variable
            if len(self._worded) >= MAX_REMEMBERED:
                self._worded.clear()
            self._worded[key] = known
        return known[0]

    @lazy
    def _sorted(self) -> dict[tuple[object, ...], tuple[str, ...]]:
        return {}

    def names(self, made: AbstractSet[str], given: AbstractSet[str], explicit: frozenset[str]) -> tuple[str, ...]:
        """Return the variables of either set, sorted, under the destination's names.

        made: one of the sets of `made`; of it, the variables with explicit values do not count.
        """
        key = (id(made), frozenset(given), explicit)
        names = self._sorted.get(key)
        if names is None:
            names = under_own_name(self.set, [*(made - explicit), *given])
            if sum(map(len, explicit)) <= _MAX_TEXT * MAX_REMEMBERED:
                if len(self._sorted) >= _MAX_LISTS:
                    self._sorted.clear()
                self._sorted[key] = names
        return names

    def _look_at(self, names: Collection[str], given: Mapping[str, Written | None], outcome: Outcome) -> None:
        """Take steps 2 to 5 for these variables; given: the explicit values of the device."""
        spend(_STEPS * len(names))
        origin, there, off, source_off = self.origin, self.there, self.off, self.origin.off
        case = Case(origin.model, origin.set, origin.vendors, origin.stated, given, self.set, self.vendor)
        here = origin.variables
        for name in names:
            own_off = source_off.get(name)
            variable = pair(case, name, here.get(name), there.get(name), off.get(name), own_off)
            findings: list[tuple[ProblemCode, Pair]] = []
            if variable.is_compared:
                if (unknown := steps.unknown_variable(variable, own_off)) is not None:
                    findings.append((unknown, variable))
                code = None if self.set is None else steps.first_problem(variable)
                if code is not None:
                    findings.append((code, variable))
            else:
                code = None
            if findings:
                outcome.refused[name] = findings
            if code is not None or variable.there is None:
                continue
            if variable.is_carried_over:
                outcome.carry_over.add(name)
            elif (value := steps.completed_value(variable)) is not None:
                outcome.completed[name] = value
                outcome.grown.update(steps.grown([variable]))
                if steps.is_unchecked(variable, value):
                    outcome.unchecked.add(name)
