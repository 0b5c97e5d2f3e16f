"""Conditions on the variables of a set (DESIGN 3): constraints, migration blocks, and what a device needs.

Conditions are under the names that verdicts compare.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.domain.things.part import ROLE, role_name
from app.domain.things.variable import Variable, wrong_scope
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import read_name
from app.domain.values.value import Value

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


@dataclass(frozen=True, slots=True)
class Need:
    """State that lies outside this layer: a device that `when` matches needs a part in the role."""

    role: str
    when: Condition
    description: str = ""


def matches(condition: Condition, configuration: Mapping[str, Value]) -> bool:
    """Return whether every variable of the condition has a value that the condition lists."""
    return all(
        variable in configuration and configuration[variable] in values for variable, values in condition.items()
    )


@dataclass(frozen=True, slots=True)
class ConditionReader:
    """Reads the conditions of constraints, migration blocks and needs, which name variables of the set.

    all_names: also of variables with faults; a condition on such a variable is not reported again.
    """

    variables: Mapping[str, Variable]
    all_names: frozenset[str]

    def constraints(self, document: object, place: Place) -> Iterator[Constraint]:
        """Iterate over constraints; report their faults."""
        for item, item_place in place.items(document):
            fields = item_place.fields(item, required=_CONSTRAINT, optional=_DESCRIPTION)
            yield Constraint(
                self.condition(fields.get("when", {}), item_place / "when"),
                self.condition(fields.get("require", {}), item_place / "require"),
                (item_place / "description").text(fields.get("description", "")),
            )

    def blocks(self, document: object, place: Place) -> Iterator[MigrationBlock]:
        """Iterate over migration blocks; report their faults."""
        for item, item_place in place.items(document):
            fields = item_place.fields(item, required=frozenset({"when"}), optional=_DESCRIPTION)
            yield MigrationBlock(
                self.condition(fields.get("when", {}), item_place / "when"),
                (item_place / "description").text(fields.get("description", "")),
            )

    def needs(self, document: object, place: Place) -> Iterator[Need]:
        """Iterate over needs, of which a role alone is one without a condition; report their faults."""
        for item, item_place in place.items(document):
            if isinstance(item, str):
                yield Need(read_name(item, item_place, role_name), {})
                continue
            fields = item_place.fields(item, required=ROLE, optional=frozenset({"when"}) | _DESCRIPTION)
            yield Need(
                read_name(fields["role"], item_place / "role", role_name) if "role" in fields else "",
                self.condition(fields.get("when", {}), item_place / "when"),
                (item_place / "description").text(fields.get("description", "")),
            )

    def condition(self, document: object, place: Place) -> Condition:
        """Read a condition; report its faults."""
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
