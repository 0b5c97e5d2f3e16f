"""A variable set: what one release says about one device model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.allowed import AllowedValues
from app.domain.canonical import canonical_json, digest
from app.domain.document import FaultCode, Place
from app.domain.lazy import lazy
from app.domain.name import InvalidNameError, variable_name
from app.domain.value import Value
from app.domain.variable import Variable

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
        """Iterate over the required variables, and what is required of each, that have none of the values required.

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
    """Return whether every variable of the condition has one of its values."""
    return all(
        variable in configuration and configuration[variable] in values for variable, values in condition.items()
    )


@dataclass(frozen=True, eq=False)
class VariableSet:
    """What one release says about one device model; equal content has one digest.

    is_narrowed: with what a host restricts.
    """

    model: str
    variables: Mapping[str, Variable]
    constraints: tuple[Constraint, ...] = ()
    migratable: bool = True
    blocks_migration: tuple[MigrationBlock, ...] = ()
    is_narrowed: bool = False

    @classmethod
    def read(cls, model: str, written: Mapping[str, object], at: Place) -> "VariableSet":
        """Return the set that the fields of a JSON object state (`params`, as in the RFC, is read as `variables`).

        Faults are reported; what is returned then is not to be used.
        """
        faults_before = len(at.faults)
        names = "params" if "params" in written and "variables" not in written else "variables"
        if "params" in written and "variables" in written:
            (at / "params").fault(FaultCode.DUPLICATE, "stands beside variables, of which it is the RFC's name")
        if names not in written:
            at.fault(FaultCode.MISSING_FIELD, "has no variables, which is required")
        variables = {}
        stated_names = set()
        for name, each, here in (at / names).entries(written.get(names, {})):
            stated_names.add(name)
            try:
                variable_name(name)
            except InvalidNameError as error:
                here.fault(FaultCode.INVALID_NAME, str(error))
            if (variable := Variable.read(each, here)) is not None:
                variables[name] = variable
        reader = _ConditionReader(variables, frozenset(stated_names))
        constraints = tuple(reader.constraints(written.get("constraints", []), at / "constraints"))
        blocks = tuple(reader.blocks(written.get("blocks_migration", []), at / "blocks_migration"))
        migratable = (at / "migratable").flag(written["migratable"]) if "migratable" in written else True
        inits = {name: variable.init_value for name, variable in variables.items()}
        for index, constraint in enumerate(constraints if len(at.faults) == faults_before else ()):
            if any(constraint.broken_by(inits)):
                here = at / "constraints" / index
                here.fault(FaultCode.INIT_BREAKS_CONSTRAINT, "is not met by the init values")
        return cls(model, variables, constraints, migratable, blocks)

    @lazy
    def canonical(self) -> str:
        """The canonical JSON of the set with its model's name, defaults filled in."""
        return canonical_json(self.document())

    @lazy
    def digest(self) -> str:
        """The digest of the canonical JSON."""
        return digest(self.canonical)

    @property
    def constraint_texts(self) -> list[str]:
        """The constraints, each in canonical JSON."""
        return [
            canonical_json({"when": _condition_document(each.when), "require": _condition_document(each.require)})
            for each in self.constraints
        ]

    @lazy
    def backends(self) -> frozenset[str]:
        """The variables that are the host's own."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_backend)

    def narrowed(self, restrict: Mapping[str, Sequence[object]]) -> tuple["VariableSet", Sequence[str]]:
        """Return the set with what a host restricts, and the restrictions that name no value of a variable here."""
        variables = dict(self.variables)
        without_effect = []
        for name, values in restrict.items():
            variable = variables.get(name)
            if variable is None:
                without_effect.append(f"{self.model} has no variable {name} here")
                continue
            at = Place()
            left = variable.allowed.intersection(AllowedValues.read(variable.type, values, at))
            without_effect += [f"a value for {name} of {self.model} {fault.message}" for fault in at.faults]
            variables[name] = replace(variable, allowed=left)
        return replace(self, variables=variables, is_narrowed=True), without_effect

    def document(self) -> Mapping[str, object]:
        """Return the set in JSON with its model's name, every default filled in."""
        return {
            "model": self.model,
            "variables": {name: variable.document() for name, variable in self.variables.items()},
            "constraints": _unordered(
                {
                    "when": _condition_document(each.when),
                    "require": _condition_document(each.require),
                    "description": each.description,
                }
                for each in self.constraints
            ),
            "migratable": self.migratable,
            "blocks_migration": _unordered(
                {"when": _condition_document(each.when), "description": each.description}
                for each in self.blocks_migration
            ),
        }


@dataclass(frozen=True, slots=True)
class _ConditionReader:
    """Reads the conditions of constraints and blocks, which name variables of the set."""

    variables: Mapping[str, Variable]
    stated_names: frozenset[str]

    def constraints(self, written: object, at: Place) -> Iterator[Constraint]:
        for each, here in at.items(written):
            fields = here.fields(each, required=_CONSTRAINT, optional=_DESCRIPTION)
            yield Constraint(
                self._condition(fields.get("when", {}), here / "when"),
                self._condition(fields.get("require", {}), here / "require"),
                (here / "description").text(fields.get("description", "")),
            )

    def blocks(self, written: object, at: Place) -> Iterator[MigrationBlock]:
        for each, here in at.items(written):
            fields = here.fields(each, required=frozenset({"when"}), optional=_DESCRIPTION)
            yield MigrationBlock(
                self._condition(fields.get("when", {}), here / "when"),
                (here / "description").text(fields.get("description", "")),
            )

    def _condition(self, written: object, at: Place) -> Condition:
        condition = {}
        for name, values, here in at.entries(written):
            variable = self.variables.get(name)
            if variable is None:
                if name not in self.stated_names:
                    here.fault(FaultCode.UNKNOWN_VARIABLE, "is no variable of the set")
                continue
            if variable.is_backend or variable.is_instance:
                here.fault(FaultCode.WRONG_SCOPE, f"is {variable.scope.value}: a condition names neither")
            condition[name] = AllowedValues.read(variable.type, values, here)
        return condition


def _unordered(documents: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the documents once each, in the order of their canonical JSON: their own order means nothing."""
    by_canonical = {canonical_json(document): document for document in documents}
    return [by_canonical[canonical] for canonical in sorted(by_canonical)]


def _condition_document(condition: Condition) -> Mapping[str, object]:
    return {name: values.listed() for name, values in condition.items()}
