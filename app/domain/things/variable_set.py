"""A variable set (DESIGN 3): what one release states about one device model."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from app.domain.things.condition import Condition, ConditionReader, Constraint, MigrationBlock, Need
from app.domain.things.part import Together
from app.domain.things.saved_state import SavedState
from app.domain.things.variable import StandsFor, Variable
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import FaultCode, Place
from app.domain.values.lazy import lazy
from app.domain.values.name import read_name, variable_name
from app.domain.values.value import Value, shown

FIELDS = frozenset(
    {
        "variables",
        "params",
        "constraints",
        "migratable",
        "blocks_migration",
        "saved_state",
        "needs",
        "together",
    }
)


class Migratable(Enum):
    """Whether a device can be migrated at all; unknown: nobody asked (DESIGN 3)."""

    YES = True
    NO = False
    UNKNOWN = "unknown"

    @classmethod
    def read(cls, document: object, place: Place) -> "Migratable":
        """Read true, false or "unknown"; report a fault otherwise."""
        for member in cls:
            if document is member.value or document == member.value == "unknown":
                return member
        place.fault(FaultCode.WRONG_TYPE, 'must be true, false or "unknown"')
        return cls.UNKNOWN


@dataclass(frozen=True, eq=False)
class VariableSet:
    """What one release states about one device model; equal content has one digest.

    Variables and conditions are under the names that verdicts compare: a variable that stands for another one is under
    the name, and has the values, of that one (DESIGN 3).
    saved_state: None where the release states nothing of it.
    needs: the roles of the parts that a device needs. together: the rules across all devices of a VM.
    renames: by the release's own name of such a variable, the one that it stands for.
    is_narrowed: whether what a host restricts and resolves is applied.
    """

    model: str
    variables: Mapping[str, Variable]
    constraints: tuple[Constraint, ...] = ()
    migratable: Migratable = Migratable.YES
    blocks_migration: tuple[MigrationBlock, ...] = ()
    saved_state: SavedState | None = None
    needs: tuple[Need, ...] = ()
    together: tuple[Together, ...] = ()
    renames: Mapping[str, StandsFor] = field(default_factory=dict)
    is_narrowed: bool = False

    @classmethod
    def read(
        cls,
        model: str,
        fields: Mapping[str, object],
        place: Place,
        read_variable: Callable[[object, Place], Variable | None] = Variable.read,
    ) -> "VariableSet":
        """Read the set from the fields of a JSON object (`params`, the RFC's name, is read as `variables`).

        Report its faults; do not use the set if there are any. read_variable: can share what it reads.
        """
        faults_before = len(place.faults)
        key = "params" if "params" in fields and "variables" not in fields else "variables"
        if "params" in fields and "variables" in fields:
            message = "duplicate field: params is the RFC's name for variables; give only one of them"
            (place / "params").fault(FaultCode.DUPLICATE, message)
        if key not in fields:
            place.fault(FaultCode.MISSING_FIELD, "required field variables is missing")
        stated: dict[str, Variable] = {}
        variable_places: dict[str, Place] = {}
        for name, variable_document, variable_place in (place / key).entries(fields.get(key, {})):
            variable_places[name] = variable_place
            read_name(name, variable_place, variable_name)
            if (variable := read_variable(variable_document, variable_place)) is not None:
                stated[name] = variable
        renames = _renames(stated, variable_places)
        reader = ConditionReader(stated, frozenset(variable_places))
        constraints = tuple(reader.constraints(fields.get("constraints", []), place / "constraints"))
        blocks = tuple(reader.blocks(fields.get("blocks_migration", []), place / "blocks_migration"))
        migratable = Migratable.YES
        if "migratable" in fields:
            migratable = Migratable.read(fields["migratable"], place / "migratable")
        saved_state = SavedState.read(fields["saved_state"], place / "saved_state") if "saved_state" in fields else None
        needs = tuple(reader.needs(fields.get("needs", []), place / "needs"))
        together_place = place / "together"
        together = tuple(Together.read(item, at) for item, at in together_place.items(fields.get("together", [])))
        inits = {name: variable.init_value for name, variable in stated.items()}
        for index, constraint in enumerate(constraints if len(place.faults) == faults_before else ()):
            broken = next(constraint.broken_by(inits), None)
            if broken is not None:
                name, required = broken
                message = f"must be met by the init values, but {name}={shown(inits[name])}, not {required.shown()}"
                (place / "constraints" / index).fault(FaultCode.INIT_BREAKS_CONSTRAINT, message)
        read = cls(model, stated, constraints, migratable, blocks, saved_state, needs, together)
        return _under_compared_names(read, renames)

    def compared(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return values under the names that verdicts compare; where both names are given, the release's own counts."""
        return renamed(values, self.renames)

    @lazy
    def _own(self) -> Mapping[str, StandsFor]:
        """By the name compared, the release's own name of a renamed variable."""
        return {standing.variable: StandsFor(name, standing.inverted) for name, standing in self.renames.items()}

    def own_name(self, name: str) -> str:
        """Return the release's own name of a variable."""
        return self._own[name].variable if name in self._own else name

    def is_inverted(self, name: str) -> bool:
        """Return whether the release's own variable has the opposite values."""
        return name in self._own and self._own[name].inverted

    def under_own_names(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return values under the release's own names, as its program takes them."""
        return renamed(values, self._own)

    @lazy
    def stated(self) -> Mapping[str, Variable]:
        """The variables under the release's own names."""
        if not self.renames:
            return self.variables
        stated = {}
        for name, variable in self.variables.items():
            if (own := self._own.get(name)) is None:
                stated[name] = variable
            else:
                stated[own.variable] = replace(
                    variable.inverted() if own.inverted else variable, stands_for=StandsFor(name, own.inverted)
                )
        return stated

    def condition(self, document: object, place: Place) -> Condition:
        """Read a condition on this set's variables, under the names that verdicts compare; report its faults.

        Either name of a renamed variable can be given.
        """
        variables = {**self.variables, **self.stated}
        read = ConditionReader(variables, frozenset(self.stated)).condition(document, place)
        report_given_twice(read, self.renames, place)
        return _compared(read, self.renames)

    def under_own_condition(self, condition: Condition) -> Condition:
        """Return a condition under the release's own names."""
        return _compared(condition, self._own)

    @lazy
    def canonical(self) -> str:
        """The canonical JSON of the set with its model's name, every default filled in (DESIGN 2)."""
        return canonical_json(self.document())

    @lazy
    def digest(self) -> str:
        """The digest of the canonical JSON."""
        return digest(self.canonical)

    @property
    def constraint_texts(self) -> list[str]:
        """The constraints in canonical JSON, without their descriptions."""
        return [
            canonical_json(
                {
                    "when": _canonical_condition(constraint.when),
                    "require": _canonical_condition(constraint.require),
                }
            )
            for constraint in self.constraints
        ]

    @lazy
    def unblocked(self) -> "VariableSet":
        """The set without its migration blocks."""
        return replace(self, blocks_migration=()) if self.blocks_migration else self

    @lazy
    def backends(self) -> frozenset[str]:
        """The names of the backend variables."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_backend)

    def document(self) -> Mapping[str, object]:
        """Return the set in JSON with its model's name, every default filled in."""
        document: dict[str, object] = {
            "model": self.model,
            "variables": {name: variable.document() for name, variable in self.stated.items()},
            "constraints": _unordered(
                {
                    "when": self._condition_document(constraint.when),
                    "require": self._condition_document(constraint.require),
                    "description": constraint.description,
                }
                for constraint in self.constraints
            ),
            "migratable": self.migratable.value,
            "blocks_migration": _unordered(
                {"when": self._condition_document(block.when), "description": block.description}
                for block in self.blocks_migration
            ),
        }
        # Absent where nothing is stated, as before this field existed: digests of published sets stay.
        if self.saved_state is not None:
            document["saved_state"] = self.saved_state.document()
        if self.needs:
            document["needs"] = _unordered(
                {"role": need.role, "when": self._condition_document(need.when), "description": need.description}
                for need in self.needs
            )
        if self.together:
            document["together"] = _unordered(rule.document() for rule in self.together)
        return document

    def _condition_document(self, condition: Condition) -> Mapping[str, object]:
        """Return a condition in JSON, under the release's own names."""
        return {
            self.own_name(name): (
                values.inverted() if (own := self._own.get(name)) and own.inverted else values
            ).listed()
            for name, values in condition.items()
        }


def _under_compared_names(variable_set: VariableSet, renames: Mapping[str, StandsFor]) -> VariableSet:
    """Return a set with its variables and conditions under the names that verdicts compare."""
    if not renames:
        return variable_set

    variables = {}
    for name, variable in variable_set.variables.items():
        if (standing := renames.get(name)) is None:
            variables[name] = variable
        else:
            variables[standing.variable] = replace(
                variable.inverted() if standing.inverted else variable, stands_for=None
            )
    return replace(
        variable_set,
        variables=variables,
        constraints=tuple(
            Constraint(_compared(rule.when, renames), _compared(rule.require, renames), rule.description)
            for rule in variable_set.constraints
        ),
        blocks_migration=tuple(
            MigrationBlock(_compared(block.when, renames), block.description) for block in variable_set.blocks_migration
        ),
        needs=tuple(Need(need.role, _compared(need.when, renames), need.description) for need in variable_set.needs),
        renames=renames,
    )


def _compared(condition: Condition, renames: Mapping[str, StandsFor]) -> Condition:
    """Return a condition under the names that verdicts compare."""
    return {
        standing.variable if (standing := renames.get(name)) else name: (
            values.inverted() if standing and standing.inverted else values
        )
        for name, values in condition.items()
    }


def renamed(values: Mapping[str, Any], renames: Mapping[str, StandsFor]) -> Mapping[str, Any]:
    """Return values by variable with some variables under other names; renames: by the present name."""
    if renames.keys().isdisjoint(values):
        return values
    result = {name: value for name, value in values.items() if name not in renames}
    for name in values.keys() & renames.keys():
        result[renames[name].variable] = renames[name].converted(values[name])
    return result


def given_twice(names: Collection[str], renames: Mapping[str, StandsFor]) -> Iterator[tuple[str, str]]:
    """Iterate over the variables of which both names are given: the new one, and the one that it stands for."""
    for name in names:
        if name in renames and renames[name].variable in names:
            yield name, renames[name].variable


def report_given_twice(names: Collection[str], renames: Mapping[str, StandsFor], place: Place) -> None:
    """Report the variables of which a document gives both names."""
    for name, other in given_twice(names, renames):
        message = f"must not be given together with {other}, which is the same variable"
        (place / name).fault(FaultCode.DUPLICATE, message)


def _renames(stated: Mapping[str, Variable], places: Mapping[str, Place]) -> Mapping[str, StandsFor]:
    """Return what variables stand for, by their own name; report what clashes."""
    renames: dict[str, StandsFor] = {}
    standing: dict[str, str] = {}
    for name, variable in stated.items():
        if variable.stands_for is None:
            continue
        target = variable.stands_for.variable
        if target in places or target in standing:
            message = (
                f"{standing[target]} stands for {target} already" if target in standing else f"it has {target} itself"
            )
            (places[name] / "stands_for" / "variable").fault(
                FaultCode.DUPLICATE, f"must be a variable that this set does not have; {message}"
            )
        else:
            renames[name], standing[target] = variable.stands_for, name
    return renames


def _unordered(documents: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the distinct documents in the order of their canonical JSON, because their own order means nothing."""
    by_canonical = {canonical_json(document): document for document in documents}
    return [by_canonical[canonical] for canonical in sorted(by_canonical)]


def _canonical_condition(condition: Condition) -> Mapping[str, object]:
    return {name: values.listed() for name, values in condition.items()}
