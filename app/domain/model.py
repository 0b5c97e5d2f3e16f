"""A device model, and who states the type and the off value of its variables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.lazy import lazy
from app.domain.name import vendor_of
from app.domain.value import Type, Value, same, shown
from app.domain.variable_set import VariableSet


@dataclass(frozen=True, slots=True)
class Statement:
    """What a vendor states about a variable of a model: its type, and its off value once it gave one."""

    type: Type
    off_value: Value | None = None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A variable whose type or off value a set states otherwise than it is already stated."""

    variable: str
    field: str
    message: str


@dataclass(frozen=True)
class Model:
    """A device model: the statements of each vendor, its own vendor's counting for all.

    A variable keeps its meaning: the first statement of the model's own vendor stands. Where only other vendors have a
    variable, the statements of each count for its own sets alone.
    """

    name: str
    statements: Mapping[str, Mapping[str, Statement]]
    _off_values: dict[frozenset[str], Mapping[str, Value]] = field(default_factory=dict, compare=False, repr=False)

    @lazy
    def vendor(self) -> str:
        """The vendor that owns the model."""
        return vendor_of(self.name)

    def statement_for(self, vendor: str, variable: str) -> Statement | None:
        """Return what counts for a vendor's sets: the model's own vendor's statement, or else that vendor's."""
        own = self.statements.get(self.vendor, {}).get(variable)
        return own or self.statements.get(vendor, {}).get(variable)

    def stated_types(self, variable: str) -> tuple[Type, ...]:
        """Return the types that a variable is known with, the one that counts first; none if nobody has it."""
        vendors = sorted(self.statements, key=lambda vendor: (vendor != self.vendor, vendor))
        types = [self.statements[vendor][variable].type for vendor in vendors if variable in self.statements[vendor]]
        return tuple(types[:1] if variable in self.statements.get(self.vendor, {}) else dict.fromkeys(types))

    def off_values(self, *vendors: str) -> Mapping[str, Value]:
        """Return the off values between releases of these vendors, or for those of one.

        What the model's own vendor states holds for every set of the model. Of a variable that it does not have, each
        of these vendors must state the same; where one differs or states none there is no off value.
        """
        sides = frozenset(vendors)
        if sides not in self._off_values:
            self._off_values[sides] = dict(self._agreed_off_values(sides))
        return self._off_values[sides]

    def _agreed_off_values(self, sides: frozenset[str]) -> Iterator[tuple[str, Value]]:
        own = self.statements.get(self.vendor, {})
        for variable, statement in own.items():
            if statement.off_value is not None:
                yield variable, statement.off_value
        first, *others = [self.statements.get(vendor, {}) for vendor in sorted(sides)]
        for variable in first.keys() - own.keys():
            off_value = first[variable].off_value
            agreed = all(variable in each and same(each[variable].off_value, off_value) for each in others)
            if off_value is not None and agreed:
                yield variable, off_value

    def additions(self, variable_set: VariableSet, vendor: str) -> Mapping[str, Statement]:
        """Return what a set that a vendor publishes states that was not stated: variables, and off values gained."""
        added = {}
        for name, variable in variable_set.variables.items():
            standing = self.statement_for(vendor, name)
            is_gained = (
                standing is not None
                and standing.off_value is None
                and variable.off_value is not None
                and (vendor == self.vendor or name not in self.statements.get(self.vendor, {}))
            )
            if standing is None or is_gained:
                added[name] = Statement(variable.type, variable.off_value)
        return added

    def with_statements(self, vendor: str, added: Mapping[str, Statement]) -> "Model":
        """Return the model with what a vendor states in addition."""
        return Model(self.name, {**self.statements, vendor: {**self.statements.get(vendor, {}), **added}})

    def contradictions(self, variable_set: VariableSet, vendor: str) -> Iterator[Contradiction]:
        """Iterate over what a set that a vendor publishes states otherwise than it stands."""
        for name, variable in variable_set.variables.items():
            standing = self.statement_for(vendor, name)
            if standing is None:
                continue
            if standing.type is not variable.type:
                message = f"{name} of {self.name} is {standing.type.value}, not {variable.type.value}"
                yield Contradiction(name, "type", message)
            elif not (
                variable.off_value is None or standing.off_value is None or same(standing.off_value, variable.off_value)
            ):
                message = (
                    f"the off value of {name} of {self.name} is {shown(standing.off_value)}, "
                    f"not {shown(variable.off_value)}"
                )
                yield Contradiction(name, "off_value", message)
