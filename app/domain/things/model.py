"""A device model: the type and the off value that vendors state for its variables (DESIGN 3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.things.variable import StandsFor, Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.lazy import lazy
from app.domain.values.name import vendor_of
from app.domain.values.value import Type, Value, same, shown


@dataclass(frozen=True, slots=True)
class Statement:
    """A vendor's statement about a variable of a model: its type, and its off value once the vendor gave one.

    stands_for: the variable that it is under another name.
    """

    type: Type
    off_value: Value | None = None
    stands_for: StandsFor | None = None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A type, off value or stands_for of a variable that contradicts the published statement.

    message: a fragment that follows the pointer to the field.
    """

    variable: str
    field: str
    message: str


@dataclass(frozen=True)
class Model:
    """A device model: the statements of its own vendor count for all sets, those of others for their own sets only.

    A variable keeps its meaning in its model (DESIGN 3): the first statement of the model's own vendor counts. Where
    only other vendors have a variable, each vendor's statement counts for that vendor's sets.
    """

    name: str
    statements: Mapping[str, Mapping[str, Statement]]
    _off_values: dict[frozenset[str], Mapping[str, Value]] = field(default_factory=dict, compare=False, repr=False)
    _renames: dict[str, Mapping[str, StandsFor]] = field(default_factory=dict, compare=False, repr=False)

    @lazy
    def vendor(self) -> str:
        """The vendor that owns the model."""
        return vendor_of(self.name)

    @lazy
    def mark(self) -> str:
        """A digest of the model's name and of all statements: it changes when a vendor adds one."""
        stated = {
            vendor: {
                name: [
                    statement.type.value,
                    statement.off_value,
                    statement.stands_for and [statement.stands_for.variable, statement.stands_for.inverted],
                ]
                for name, statement in statements.items()
            }
            for vendor, statements in self.statements.items()
        }
        return digest(canonical_json([self.name, stated]))

    def statement_for(self, vendor: str, variable: str) -> Statement | None:
        """Return the statement that counts for a vendor's sets: that of the model's own vendor, else its own."""
        own = self.statements.get(self.vendor, {}).get(variable)
        return own or self.statements.get(vendor, {}).get(variable)

    def renames_for(self, vendor: str) -> Mapping[str, StandsFor]:
        """Return what variables stand for, by their name, in what a vendor says of the model (as `statement_for`)."""
        if vendor not in self._renames:
            counting = {**self.statements.get(vendor, {}), **self.statements.get(self.vendor, {})}
            self._renames[vendor] = {
                name: statement.stands_for for name, statement in counting.items() if statement.stands_for is not None
            }
        return self._renames[vendor]

    def stated_types(self, variable: str) -> tuple[Type, ...]:
        """Return the stated types of a variable; only the one of the model's own vendor if that has the variable.

        Empty if no vendor has the variable.
        """
        vendors = sorted(self.statements, key=lambda vendor: (vendor != self.vendor, vendor))
        types = [self.statements[vendor][variable].type for vendor in vendors if variable in self.statements[vendor]]
        return tuple(types[:1] if variable in self.statements.get(self.vendor, {}) else dict.fromkeys(types))

    def off_values(self, *vendors: str) -> Mapping[str, Value]:
        """Return the off values that count between releases of these vendors, or for the releases of one (DESIGN 3).

        An off value of the model's own vendor holds for every set of the model. A variable that its own vendor does not
        have has an off value only if all of these vendors state the same one.
        """
        key = frozenset(vendors)
        if key not in self._off_values:
            self._off_values[key] = dict(self._agreed_off_values(key))
        return self._off_values[key]

    def _agreed_off_values(self, vendors: frozenset[str]) -> Iterator[tuple[str, Value]]:
        own = self.statements.get(self.vendor, {})
        for variable, statement in own.items():
            if statement.off_value is not None:
                yield variable, statement.off_value
        first, *others = [self.statements.get(vendor, {}) for vendor in sorted(vendors)]
        for variable in first.keys() - own.keys():
            off_value = first[variable].off_value
            is_agreed = all(
                variable in statements and same(statements[variable].off_value, off_value) for statements in others
            )
            if off_value is not None and is_agreed:
                yield variable, off_value

    def additions(self, variable_set: VariableSet, vendor: str) -> Mapping[str, Statement]:
        """Return the new statements of a vendor's set: new variables, and off values of variables that had none."""
        added = {}
        for name, variable in _stated(variable_set):
            existing = self.statement_for(vendor, name)
            is_gained = (
                existing is not None
                and existing.off_value is None
                and variable.off_value is not None
                and (vendor == self.vendor or name not in self.statements.get(self.vendor, {}))
            )
            if existing is None or is_gained:
                added[name] = Statement(variable.type, variable.off_value, variable.stands_for)
        return added

    def with_statements(self, vendor: str, added: Mapping[str, Statement]) -> "Model":
        """Return the model with further statements of a vendor."""
        return Model(self.name, {**self.statements, vendor: {**self.statements.get(vendor, {}), **added}})

    def contradictions(self, variable_set: VariableSet, vendor: str) -> Iterator[Contradiction]:
        """Iterate over the contradictions between a vendor's set and the statements that count for it."""
        for name, variable in _stated(variable_set):
            existing = self.statement_for(vendor, name)
            # What a renamed variable contradicts is reported at its own name.
            place = variable_set.own_name(name)
            if existing is None:
                continue
            published = f"as published for {name} of {self.name}"
            if existing.type is not variable.type:
                message = f"must be {existing.type}, {published}, not {variable.type}"
                yield Contradiction(place, "type", message)
            elif existing.stands_for != variable.stands_for:
                message = f"must {_shown_standing(existing.stands_for)}, {published}"
                yield Contradiction(place, "stands_for", message)
            elif not (
                variable.off_value is None or existing.off_value is None or same(existing.off_value, variable.off_value)
            ):
                message = f"must be {shown(existing.off_value)}, {published}, not {shown(variable.off_value)}"
                yield Contradiction(place, "off_value", message)


def _stated(variable_set: VariableSet) -> Iterator[tuple[str, Variable]]:
    """Iterate over what a set states: its variables by their own names, and those that they stand for."""
    yield from variable_set.stated.items()
    yield from (
        (standing.variable, variable_set.variables[standing.variable]) for standing in variable_set.renames.values()
    )


def _shown_standing(stands_for: StandsFor | None) -> str:
    if stands_for is None:
        return "stand for no other variable"
    return f"stand for {stands_for.variable}{' with the opposite value' if stands_for.inverted else ''}"
