"""A variable set (DESIGN 3): what one release states about one device model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.things.variable import Variable, wrong_scope
from app.domain.values.allowed import AllowedValues
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import FaultCode, Place
from app.domain.values.lazy import lazy
from app.domain.values.name import read_name, variable_name
from app.domain.values.value import Value, shown

FIELDS = frozenset({"variables", "params", "constraints", "migratable", "blocks_migration"})
_CONSTRAINT = frozenset({"when", "require"})
_DESCRIPTION = frozenset({"description"})

Condition = Mapping[str, AllowedValues]


@dataclass(frozen=True, slots=True)
class Constraint:
    """If every variable under `when` has a listed value, every one under `require` must have one."""

    when: Condition
    require: Condition
    description: str = ""

    def broken_by(self, configuration: Mapping[str, Value]) -> Iterator[tuple[str, AllowedValues]]:
        """Iterate over the variables that break the constraint, with the values that it requires of them.

        A variable without a value breaks nothing.
        """
        if matches(self.when, configuration):
            for variable, values in self.require.items():
                if variable in configuration and configuration[variable] not in values:
                    yield variable, values


@dataclass(frozen=True, slots=True)
class MigrationBlock:
    """Configurations in which the device cannot be migrated: every variable under `when` has a listed value."""

    when: Condition
    description: str = ""


def matches(condition: Condition, configuration: Mapping[str, Value]) -> bool:
    """Return whether every variable of the condition has a value that the condition lists."""
    return all(
        variable in configuration and configuration[variable] in values for variable, values in condition.items()
    )


@dataclass(frozen=True, eq=False)
class VariableSet:
    """What one release states about one device model; equal content has one digest.

    is_narrowed: whether the restrictions of a host are applied.
    """

    model: str
    variables: Mapping[str, Variable]
    constraints: tuple[Constraint, ...] = ()
    migratable: bool = True
    blocks_migration: tuple[MigrationBlock, ...] = ()
    is_narrowed: bool = False

    @classmethod
    def read(cls, model: str, fields: Mapping[str, object], place: Place) -> "VariableSet":
        """Read the set from the fields of a JSON object (`params`, the RFC's name, is read as `variables`).

        Report its faults; do not use the set if there are any.
        """
        faults_before = len(place.faults)
        key = "params" if "params" in fields and "variables" not in fields else "variables"
        if "params" in fields and "variables" in fields:
            message = "duplicate field: params is the RFC's name for variables; give only one of them"
            (place / "params").fault(FaultCode.DUPLICATE, message)
        if key not in fields:
            place.fault(FaultCode.MISSING_FIELD, "required field variables is missing")
        variables = {}
        all_names = set()
        for name, variable_document, variable_place in (place / key).entries(fields.get(key, {})):
            all_names.add(name)
            read_name(name, variable_place, variable_name)
            if (variable := Variable.read(variable_document, variable_place)) is not None:
                variables[name] = variable
        reader = _ConditionReader(variables, frozenset(all_names))
        constraints = tuple(reader.constraints(fields.get("constraints", []), place / "constraints"))
        blocks = tuple(reader.blocks(fields.get("blocks_migration", []), place / "blocks_migration"))
        migratable = (place / "migratable").flag(fields["migratable"]) if "migratable" in fields else True
        inits = {name: variable.init_value for name, variable in variables.items()}
        for index, constraint in enumerate(constraints if len(place.faults) == faults_before else ()):
            broken = next(constraint.broken_by(inits), None)
            if broken is not None:
                name, required = broken
                message = f"must be met by the init values, but {name}={shown(inits[name])}, not {required.shown()}"
                (place / "constraints" / index).fault(FaultCode.INIT_BREAKS_CONSTRAINT, message)
        return cls(model, variables, constraints, migratable, blocks)

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
                    "when": _condition_document(constraint.when),
                    "require": _condition_document(constraint.require),
                }
            )
            for constraint in self.constraints
        ]

    @lazy
    def backends(self) -> frozenset[str]:
        """The names of the backend variables."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_backend)

    def narrowed(self, restrict: Mapping[str, Sequence[object]]) -> tuple["VariableSet", Sequence[str]]:
        """Return the set narrowed by a host's restrictions, and messages about restrictions without effect."""
        variables = dict(self.variables)
        without_effect = []
        for name, values in restrict.items():
            variable = variables.get(name)
            if variable is None:
                message = f"The destination restricts {name} of {self.model}, but its release has no such variable."
                without_effect.append(message)
                continue
            place = Place()
            allowed = variable.allowed.intersection(AllowedValues.read(variable.type, values, place))
            without_effect += [
                f"The destination restricts {name} of {self.model}, but a value {fault.message}."
                for fault in place.faults
            ]
            variables[name] = replace(variable, allowed=allowed)
        return replace(self, variables=variables, is_narrowed=True), without_effect

    def document(self) -> Mapping[str, object]:
        """Return the set in JSON with its model's name, every default filled in."""
        return {
            "model": self.model,
            "variables": {name: variable.document() for name, variable in self.variables.items()},
            "constraints": _unordered(
                {
                    "when": _condition_document(constraint.when),
                    "require": _condition_document(constraint.require),
                    "description": constraint.description,
                }
                for constraint in self.constraints
            ),
            "migratable": self.migratable,
            "blocks_migration": _unordered(
                {"when": _condition_document(block.when), "description": block.description}
                for block in self.blocks_migration
            ),
        }


@dataclass(frozen=True, slots=True)
class _ConditionReader:
    """Reads the conditions of constraints and migration blocks, which name variables of the set.

    all_names: also of variables with faults; a condition on such a variable is not reported again.
    """

    variables: Mapping[str, Variable]
    all_names: frozenset[str]

    def constraints(self, document: object, place: Place) -> Iterator[Constraint]:
        for item, item_place in place.items(document):
            fields = item_place.fields(item, required=_CONSTRAINT, optional=_DESCRIPTION)
            yield Constraint(
                self._condition(fields.get("when", {}), item_place / "when"),
                self._condition(fields.get("require", {}), item_place / "require"),
                (item_place / "description").text(fields.get("description", "")),
            )

    def blocks(self, document: object, place: Place) -> Iterator[MigrationBlock]:
        for item, item_place in place.items(document):
            fields = item_place.fields(item, required=frozenset({"when"}), optional=_DESCRIPTION)
            yield MigrationBlock(
                self._condition(fields.get("when", {}), item_place / "when"),
                (item_place / "description").text(fields.get("description", "")),
            )

    def _condition(self, document: object, place: Place) -> Condition:
        condition = {}
        for name, values, values_place in place.entries(document):
            variable = self.variables.get(name)
            if variable is None:
                if name not in self.all_names:
                    message = f"unknown variable{place.hint(name, self.all_names)}"
                    values_place.fault(FaultCode.UNKNOWN_VARIABLE, message)
                continue
            if variable.is_backend or variable.is_instance:
                values_place.fault(FaultCode.WRONG_SCOPE, wrong_scope(variable))
            condition[name] = AllowedValues.read(variable.type, values, values_place)
        return condition


def _unordered(documents: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the distinct documents in the order of their canonical JSON, because their own order means nothing."""
    by_canonical = {canonical_json(document): document for document in documents}
    return [by_canonical[canonical] for canonical in sorted(by_canonical)]


def _condition_document(condition: Condition) -> Mapping[str, object]:
    return {name: values.listed() for name, values in condition.items()}
