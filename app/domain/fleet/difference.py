"""The difference of two releases or two profiles, per device model, and which direction of migration it closes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.things.saved_state import SavedState
from app.domain.things.variable import Variable
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.allowed import AllowedValues
from app.domain.values.budget import spend
from app.domain.values.value import Value, same, shown

# What a variable, and one that differs, takes of a request's budget.
_STEPS = 4
_STEPS_OF_A_DIFFERENCE = 60
# What a field means that is absent; the other fields are always there, or null.
_ABSENT = {"may_grow": False}


class DifferenceKind(StrEnum):
    """How a variable or a whole model differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Direction(StrEnum):
    """The direction of a migration: `forward` is from the first to the second of what is compared."""

    FORWARD = "forward"
    BACKWARD = "backward"


class Extent(StrEnum):
    """Which devices cannot move in a closed direction: `always` all of them, `in-part` those with some values."""

    ALWAYS = "always"
    IN_PART = "in-part"


Closed = Mapping[Direction, Extent]
_BOTH: Closed = {Direction.FORWARD: Extent.ALWAYS, Direction.BACKWARD: Extent.ALWAYS}
# The fields of a variable's document that are compared; off_value is not among them, it belongs to the model.
_COMPARED = ("type", "init_value", "allowed_values", "settable", "runtime", "scope", "resolved_by_host", "may_grow")


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of a model; variable: None where the whole model differs."""

    variable: str | None
    change: DifferenceKind
    message: str
    before: object = None
    after: object = None
    closes: Closed | None = None


def between_releases(
    model: Model, vendors: tuple[str, str], before: VariableSet | None, after: VariableSet | None
) -> list[Difference]:
    """Return the differences of a model between two releases; None: the release does not implement it.

    vendors: of the two releases; they decide which off values count between them.
    """
    if before is None or after is None:
        return [] if before is after else [_model_only_in(model.name, after)]
    if before.digest == after.digest:
        return []
    spend(_STEPS * (len(before.variables) + len(after.variables)))
    off = model.off_values(*vendors)
    differences = list(_set_differences(before, after))
    for name in sorted(before.variables.keys() | after.variables.keys()):
        spend(_STEPS_OF_A_DIFFERENCE if before.variables.get(name) != after.variables.get(name) else 0)
        differences += _variable_differences(name, before.variables.get(name), after.variables.get(name), off.get(name))
    return differences


def between_profiles(
    model: Model, vendors: tuple[str, str], before: Values | None, after: Values | None
) -> list[Difference]:
    """Return the differences of two profiles' resolved values for a model; None: the profile does not name it.

    A variable that a profile does not name is off; naming it with its off value is the same.
    """
    if before is None or after is None:
        if before is after:
            return []
        kind = DifferenceKind.REMOVED if after is None else DifferenceKind.ADDED
        which = "second" if after is None else "first"
        return [Difference(None, kind, f"The {which} profile has no values for {model.name}.", closes=_BOTH)]
    off = model.off_values(*vendors)
    differences = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, off.get(name)), after.get(name, off.get(name))
        if same(one, other):
            continue
        kind = DifferenceKind.CHANGED
        if name not in before or name not in after:
            kind = DifferenceKind.REMOVED if name in before else DifferenceKind.ADDED
        message = f"{name} is {_shown_or_off(one)} in the first and {_shown_or_off(other)} in the second."
        differences.append(Difference(name, kind, message, one, other, _BOTH))
    return differences


def _shown_or_off(value: Value | None) -> str:
    return "not set (it has no off_value)" if value is None else shown(value)


def _model_only_in(name: str, after: VariableSet | None) -> Difference:
    if after is None:
        message = f"{name} is no longer implemented; no device of it can move there."
        return Difference(None, DifferenceKind.REMOVED, message, closes={Direction.FORWARD: Extent.ALWAYS})
    message = f"{name} is new; no device of it can move back."
    return Difference(None, DifferenceKind.ADDED, message, closes={Direction.BACKWARD: Extent.ALWAYS})


def _set_differences(before: VariableSet, after: VariableSet) -> Iterator[Difference]:
    if before.migratable is not after.migratable:
        message = {
            Migratable.YES: "Devices can now be migrated.",
            Migratable.NO: "Devices can no longer be migrated.",
            Migratable.UNKNOWN: "Whether devices can be migrated is no longer stated.",
        }[after.migratable]
        if before.migratable is Migratable.UNKNOWN:
            can = "can" if after.migratable is Migratable.YES else "cannot"
            message = f"It is stated now that devices {can} be migrated."
        closes = _BOTH if Migratable.NO in {before.migratable, after.migratable} else {}
        yield Difference(None, DifferenceKind.CHANGED, message, before.migratable.value, after.migratable.value, closes)
    if before.saved_state != after.saved_state:
        yield _saved_state_difference(before.saved_state, after.saved_state)
    for name in sorted(before.variables.keys() & after.variables.keys()):
        one_name, other_name = before.own_name(name), after.own_name(name)
        if one_name != other_name:
            is_opposite = before.is_inverted(name) is not after.is_inverted(name)
            message = f"{one_name} is now called {other_name}{', with the opposite value' if is_opposite else ''}."
            yield Difference(name, DifferenceKind.CHANGED, message, one_name, other_name, {})
    yield from _rule_differences(before, after)


def _rule_differences(before: VariableSet, after: VariableSet) -> Iterator[Difference]:
    """Return how migration blocks, constraints, needs and the rules across a VM differ."""
    one, other = before.document(), after.document()
    if one["blocks_migration"] != other["blocks_migration"]:
        message = "The configurations that block migration differ."
        closes = dict.fromkeys(Direction, Extent.IN_PART)
        yield Difference(
            None, DifferenceKind.CHANGED, message, one["blocks_migration"], other["blocks_migration"], closes
        )
    # A verdict asks both sets for their needs and rules, so neither way is easier than the other.
    for field, message in (
        ("needs", "The parts that devices need differ."),
        ("together", "The rules across the devices of a VM differ."),
    ):
        if one.get(field) != other.get(field):
            closes = dict.fromkeys(Direction, Extent.IN_PART)
            yield Difference(None, DifferenceKind.CHANGED, message, one.get(field, []), other.get(field, []), closes)
    if one["constraints"] != other["constraints"]:
        closes = {}
        if set(after.constraint_texts) - set(before.constraint_texts):
            closes[Direction.FORWARD] = Extent.IN_PART
        if set(before.constraint_texts) - set(after.constraint_texts):
            closes[Direction.BACKWARD] = Extent.IN_PART
        message = "The constraints differ."
        yield Difference(None, DifferenceKind.CHANGED, message, one["constraints"], other["constraints"], closes)


def _saved_state_difference(before: SavedState | None, after: SavedState | None) -> Difference:
    """Return how the saved state differs; a direction is closed where what is written is not read (step 9)."""
    one, other = (None if state is None else state.document() for state in (before, after))
    if before is None or after is None:
        message = "The saved state is stated now." if before is None else "The saved state is no longer stated."
        kind = DifferenceKind.ADDED if before is None else DifferenceKind.REMOVED
        return Difference(None, kind, f"{message} It is compared only where both releases state it.", one, other, {})
    closes = {}
    if not before.is_read_by(after):
        closes[Direction.FORWARD] = Extent.ALWAYS
    if not after.is_read_by(before):
        closes[Direction.BACKWARD] = Extent.ALWAYS
    changes = [
        f"{does} {now} (was {was})"
        for does, was, now in (
            ("writes format", before.writes_shown, after.writes_shown),
            ("reads", before.reads_shown, after.reads_shown),
        )
        if was != now
    ]
    message = f"Saved state: {' and '.join(changes)}."
    return Difference(None, DifferenceKind.CHANGED, message, one, other, closes)


def without_backend(differences: Sequence[Difference], sets: Iterable[VariableSet]) -> list[Difference]:
    """Return differences of profiles, where variables that every set calls backend close nothing."""
    compared, backends = set[str](), set[str]()
    for variable_set in sets:
        for name, variable in variable_set.variables.items():
            (backends if variable.is_backend else compared).add(name)
    uncompared = backends - compared
    return [
        replace(difference, closes={}) if difference.variable in uncompared else difference
        for difference in differences
    ]


def _variable_differences(
    name: str, before: Variable | None, after: Variable | None, off: Value | None
) -> Iterator[Difference]:
    if before is None or after is None:
        variable = before or after
        if variable is not None:
            yield _only_on_one_side(name, variable, off, is_added=before is None)
        return
    one, other = before.document(), after.document()
    fields = [field for field in _COMPARED if one.get(field) != other.get(field)]
    if not fields:
        return
    stated_before = {field: one.get(field, _ABSENT.get(field)) for field in fields}
    stated_after = {field: other.get(field, _ABSENT.get(field)) for field in fields}
    message = _changed_message(name, before, after, fields)
    closes = _closed_between(before, after, off)
    yield Difference(name, DifferenceKind.CHANGED, message, stated_before, stated_after, closes)


def _only_on_one_side(name: str, variable: Variable, off: Value | None, *, is_added: bool) -> Difference:
    """Return that only one side has a variable; on the other it has its off value."""
    away = Direction.BACKWARD if is_added else Direction.FORWARD
    moving = "migrating back" if is_added else "migrating there"
    closes: Closed = {}
    if variable.is_backend:
        reason = "it is a resource of the host and never compared"
    elif variable.is_instance:
        closes = {away: Extent.IN_PART}
        reason = f"it belongs to one device; {moving} needs a device that does not set it"
    elif off is None:
        closes = _BOTH
        reason = "it has no off_value, so nothing says what devices without it had"
    elif off not in variable.admissible:
        closes = _BOTH
        reason = f"devices without it have {name}={shown(off)}, which it does not allow"
    elif off not in variable.allowed:
        closes = {away: Extent.ALWAYS}
        reason = f"devices without it have {name}={shown(off)}, and may find more; none can move the other way"
    elif variable.allowed.is_within(AllowedValues.only(off)):
        reason = f"it is always {shown(off)}, as in devices without it"
    else:
        closes = {away: Extent.IN_PART}
        reason = f"{moving} needs {name}={shown(off)}"
    kind = DifferenceKind.ADDED if is_added else DifferenceKind.REMOVED
    stated = {field: value for field, value in variable.document().items() if field in _COMPARED and value != []}
    message = f"{name} is {'new' if is_added else 'no longer known'}; {reason}."
    return Difference(name, kind, message, None if is_added else stated, stated if is_added else None, closes)


def _closed_between(before: Variable, after: Variable, off: Value | None) -> Closed:
    if before.is_backend and after.is_backend:
        return {}
    sides = {Direction.FORWARD: (before, after), Direction.BACKWARD: (after, before)}
    return {direction: extent for direction, pair in sides.items() if (extent := _closed_to(*pair, off)) is not None}


def _closed_to(here: Variable, there: Variable, off: Value | None) -> Extent | None:
    """Return which devices of one side the other refuses, None if it refuses none.

    Devices that do not set an instance variable count, too.
    """
    has_same_type = here.type is there.type
    admissible = there.allowed if here.resolved_by_host else there.admissible
    none_refused = has_same_type and here.allowed.is_within(admissible)
    all_refused = not has_same_type or here.allowed.intersection(admissible).is_empty
    if here.is_instance:
        takes_not_given = there.is_instance or (off is not None and off in admissible)
        none_refused = none_refused and takes_not_given
        all_refused = all_refused and not takes_not_given
    elif there.is_instance and off in here.allowed:
        # An instance variable that is off and not given is carried over.
        all_refused = False
    if none_refused:
        return None
    return Extent.ALWAYS if all_refused else Extent.IN_PART


def _changed_message(name: str, before: Variable, after: Variable, fields: Sequence[str]) -> str:
    parts = []
    if "type" in fields:
        parts.append(f"was of type {before.type.value} and is of type {after.type.value}")
    if "init_value" in fields and after.settable:
        parts.append(f"is {shown(after.init_value)} in a new device, not {shown(before.init_value)}")
    if "settable" in fields and after.settable:
        parts.append(f"can now be set: {after.allowed.shown()}")
    elif "settable" in fields:
        parts.append(f"can no longer be set (always {shown(after.init_value)})")
    elif "init_value" in fields and not after.settable:
        parts.append(f"is always {shown(after.init_value)}, not {shown(before.init_value)}")
    elif "allowed_values" in fields and after.settable:
        parts.append(f"allows {after.allowed.shown()}, not {before.allowed.shown()}")
    parts += _changed_kind(before, after, fields)
    return f"{name} {', '.join(parts)}."


def _changed_kind(before: Variable, after: Variable, fields: Sequence[str]) -> Iterator[str]:
    """Iterate over the changes of a variable other than its type and its values."""
    if "scope" in fields:
        yield f"has scope {after.scope.value}, not {before.scope.value}"
    if "runtime" in fields:
        yield "can now be changed while running" if after.runtime else "can no longer be changed while running"
    if "may_grow" in fields:
        yield f"{'now lets' if after.may_grow else 'no longer lets'} a running device find more"
    if "resolved_by_host" in fields:
        yield "has other values that each host resolves"
