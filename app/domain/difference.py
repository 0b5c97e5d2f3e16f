"""The difference of two releases or two profiles, per device model, and which direction of migration it closes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.domain.allowed import AllowedValues
from app.domain.model import Model
from app.domain.profile import Values
from app.domain.value import Value, same, shown
from app.domain.variable import Variable
from app.domain.variable_set import VariableSet


class DifferenceKind(StrEnum):
    """What became of a variable or of a whole model."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Direction(StrEnum):
    """Where a migration goes: `forward` is from the first to the second of what is compared."""

    FORWARD = "forward"
    BACKWARD = "backward"


class Extent(StrEnum):
    """Which devices a closed direction is closed to: `always` all of them, `in-part` those with some values."""

    ALWAYS = "always"
    IN_PART = "in-part"


Closed = Mapping[Direction, Extent]
_BOTH: Closed = {Direction.FORWARD: Extent.ALWAYS, Direction.BACKWARD: Extent.ALWAYS}
# What a variable's document says of it beyond what people call it; not off_value, which is the model's.
_COMPARED = ("type", "init_value", "allowed_values", "settable", "runtime", "scope", "resolved_by_host")


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of a model; variable is None where it is about the model as a whole."""

    variable: str | None
    change: DifferenceKind
    message: str
    before: object = None
    after: object = None
    closes: Closed | None = None


def between_releases(
    model: Model, vendors: tuple[str, str], before: VariableSet | None, after: VariableSet | None
) -> list[Difference]:
    """Return what two releases say differently of a model; None: the release does not implement it.

    vendors: whose releases they are, from which follows which off values hold between them.
    """
    if before is None or after is None:
        return [] if before is after else [_model_only_in(model.name, after)]
    if before.digest == after.digest:
        return []
    off = model.off_values(*vendors)
    found = list(_set_differences(before, after))
    for name in sorted(before.variables.keys() | after.variables.keys()):
        found += _variable_differences(name, before.variables.get(name), after.variables.get(name), off.get(name))
    return found


def between_profiles(
    model: Model, vendors: tuple[str, str], before: Values | None, after: Values | None
) -> list[Difference]:
    """Return what two profiles' resolved values differ in for a model; None: the profile says nothing about it.

    A variable that a profile does not name is off; where its off value is known, naming it with that value is the same.
    """
    if before is None or after is None:
        if before is after:
            return []
        kind = DifferenceKind.REMOVED if after is None else DifferenceKind.ADDED
        which = "second" if after is None else "first"
        return [Difference(None, kind, f"the {which} profile says nothing about {model.name}", closes=_BOTH)]
    off = model.off_values(*vendors)
    found = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, off.get(name)), after.get(name, off.get(name))
        if same(one, other):
            continue
        kind = DifferenceKind.CHANGED
        if name not in before or name not in after:
            kind = DifferenceKind.REMOVED if name in before else DifferenceKind.ADDED
        message = f"{name} is {_shown_or_off(one)} in the first and {_shown_or_off(other)} in the second"
        found.append(Difference(name, kind, message, one, other, _BOTH))
    return found


def _shown_or_off(value: Value | None) -> str:
    return "left at its unknown off value" if value is None else shown(value)


def _model_only_in(name: str, after: VariableSet | None) -> Difference:
    if after is None:
        message = f"{name} is gone: no device of it can go there"
        return Difference(None, DifferenceKind.REMOVED, message, closes={Direction.FORWARD: Extent.ALWAYS})
    message = f"{name} is new: no device of it can come back"
    return Difference(None, DifferenceKind.ADDED, message, closes={Direction.BACKWARD: Extent.ALWAYS})


def _set_differences(before: VariableSet, after: VariableSet) -> Iterator[Difference]:
    if before.migratable != after.migratable:
        gone = "can no longer be migrated" if before.migratable else "can be migrated now"
        message = f"a device {gone}"
        yield Difference(None, DifferenceKind.CHANGED, message, before.migratable, after.migratable, _BOTH)
    one, other = before.document(), after.document()
    if one["blocks_migration"] != other["blocks_migration"]:
        message = "the configurations that cannot be migrated are others"
        closes = dict.fromkeys(Direction, Extent.IN_PART)
        yield Difference(
            None, DifferenceKind.CHANGED, message, one["blocks_migration"], other["blocks_migration"], closes
        )
    if one["constraints"] != other["constraints"]:
        closes = {}
        if set(after.constraint_texts) - set(before.constraint_texts):
            closes[Direction.FORWARD] = Extent.IN_PART
        if set(before.constraint_texts) - set(after.constraint_texts):
            closes[Direction.BACKWARD] = Extent.IN_PART
        message = "the constraints are others"
        yield Difference(None, DifferenceKind.CHANGED, message, one["constraints"], other["constraints"], closes)


def without_backend(found: Sequence[Difference], sets: Iterable[VariableSet]) -> list[Difference]:
    """Return differences of profiles where what every set that has it calls backend closes nothing."""
    others, backends = set[str](), set[str]()
    for variables in (each.variables for each in sets):
        for name, variable in variables.items():
            (backends if variable.is_backend else others).add(name)
    uncompared = backends - others
    return [replace(each, closes={}) if each.variable in uncompared else each for each in found]


def _variable_differences(
    name: str, before: Variable | None, after: Variable | None, off: Value | None
) -> Iterator[Difference]:
    if before is None or after is None:
        there = before or after
        if there is not None:
            yield _only_on_one_side(name, there, off, is_added=before is None)
        return
    one, other = before.document(), after.document()
    fields = [field for field in _COMPARED if one.get(field) != other.get(field)]
    if not fields:
        return
    was = {field: one.get(field) for field in fields}
    now = {field: other.get(field) for field in fields}
    closes = _closed_between(before, after, off)
    yield Difference(name, DifferenceKind.CHANGED, _changed_message(name, before, after, fields), was, now, closes)


def _only_on_one_side(name: str, there: Variable, off: Value | None, *, is_added: bool) -> Difference:
    """Return that a variable is on one side alone: on the other it is off."""
    from_it = Direction.BACKWARD if is_added else Direction.FORWARD
    way = "back" if is_added else "on"
    closes: Closed = {}
    if there.is_backend:
        why = "it is the host's own and never compared"
    elif there.is_instance:
        closes = {from_it: Extent.IN_PART}
        why = f"it is one device's own; a device that is given it does not go {way}"
    elif off is None:
        closes = _BOTH
        why = "it has no off value, so the other side cannot be the same"
    elif off not in there.allowed:
        closes = _BOTH
        why = f"it cannot be off ({shown(off)})"
    elif there.allowed.is_within(AllowedValues.only(off)):
        why = f"it is always off ({shown(off)})"
    else:
        closes = {from_it: Extent.IN_PART}
        why = f"a device goes {way} only with it off ({shown(off)})"
    kind = DifferenceKind.ADDED if is_added else DifferenceKind.REMOVED
    stated = {field: value for field, value in there.document().items() if field in _COMPARED and value != []}
    message = f"{name} is {'new' if is_added else 'gone'}: {why}"
    return Difference(name, kind, message, None if is_added else stated, stated if is_added else None, closes)


def _closed_between(before: Variable, after: Variable, off: Value | None) -> Closed:
    if before.is_backend and after.is_backend:
        return {}
    sides = {Direction.FORWARD: (before, after), Direction.BACKWARD: (after, before)}
    return {direction: extent for direction, each in sides.items() if (extent := _closed_to(*each, off)) is not None}


def _closed_to(here: Variable, there: Variable, off: Value | None) -> Extent | None:
    """Return which devices of one side the other refuses; of an instance variable there are those not given it, too."""
    is_of_type = here.type is there.type
    none_refused = is_of_type and here.allowed.is_within(there.allowed)
    all_refused = not is_of_type or here.allowed.intersection(there.allowed).is_empty
    if here.is_instance:
        takes_not_given = there.is_instance or (off is not None and off in there.allowed)
        none_refused = none_refused and takes_not_given
        all_refused = all_refused and not takes_not_given
    elif there.is_instance and off in here.allowed:
        # What is off and not given there is carried over.
        all_refused = False
    if none_refused:
        return None
    return Extent.ALWAYS if all_refused else Extent.IN_PART


def _changed_message(name: str, before: Variable, after: Variable, fields: Sequence[str]) -> str:
    said = []
    if "type" in fields:
        said.append(f"was {before.type.value}, is {after.type.value}")
    if "init_value" in fields and after.settable:
        said.append(f"is {shown(after.init_value)} in a new device, not {shown(before.init_value)}")
    if "settable" in fields and after.settable:
        said.append(f"can be set now: {after.allowed.shown()}")
    elif "settable" in fields:
        said.append(f"cannot be set any more (always {shown(after.init_value)})")
    elif "init_value" in fields and not after.settable:
        said.append(f"is always {shown(after.init_value)}, not {shown(before.init_value)}")
    elif "allowed_values" in fields and after.settable:
        said.append(f"allows {after.allowed.shown()}, not {before.allowed.shown()}")
    if "scope" in fields:
        said.append(f"is {after.scope.value}, not {before.scope.value}")
    if "runtime" in fields:
        said.append("can be changed on a running device now" if after.runtime else "cannot be changed while running")
    if "resolved_by_host" in fields:
        said.append("has other values that each host decides")
    return f"{name} " + ", ".join(said)
