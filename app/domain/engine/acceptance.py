"""Which release accepts which profile values for which model (DESIGN 4); equal content is judged once."""

from collections.abc import Sequence
from typing import TypeAlias

from app.domain.engine.comparison import Comparison, Compiled, Origin
from app.domain.engine.memo import Memo
from app.domain.engine.migration import Migration
from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.things.variable_set import VariableSet
from app.domain.values.name import vendor_of
from app.domain.verdict.judge import ordered, profile_as_source
from app.domain.verdict.problem import Problem

# What is refused, None if nothing is, and whether some value has to grow.
_Judged: TypeAlias = tuple[Migration | None, bool]


def _size_of(judged: _Judged) -> int:
    """Return as how many variables it counts: what is refused keeps the configuration that was compared."""
    migration, _ = judged
    return 1 if migration is None else 2 + 2 * len(migration.completed)


class Acceptance:
    """Says why releases do not accept profile values: steps 1 to 6 of a verdict, without a source release."""

    def __init__(self, memo: Memo | None = None) -> None:
        """memo: what is remembered across requests; the caller holds equal content as one object."""
        self.memo = memo
        # Keyed by ids; the objects are held too, so that no id is reused. None: accepted, nothing needs wording.
        self._refused: dict[tuple[int, int, int, str], tuple[_Judged, tuple[object, ...]]] = {}
        self._bases: dict[tuple[int, int, str], Comparison] = {}

    def refusals(
        self, values: Values, model: Model, release: str, variable_set: VariableSet | None
    ) -> Sequence[Problem]:
        """Return why a release does not accept a profile's resolved values for a model; nothing if it does.

        variable_set: the release's set of the model, as a host restricts it; None if it does not implement it.
        """
        refused, _ = self._judged(values, model, release, variable_set)
        return () if refused is None else ordered(refused.problems(release))

    def _judged(self, values: Values, model: Model, release: str, variable_set: VariableSet | None) -> _Judged:
        """Return what is refused, None if nothing is, and whether some value has to grow."""
        vendor = vendor_of(release)
        key = (id(values), id(model), id(variable_set), vendor)
        known = self._refused.get(key)
        if known is None:

            def judge() -> _Judged:
                return self._judge(values, model, vendor, variable_set)

            # What one host restricts is not worth remembering for other requests.
            is_narrowed = variable_set is not None and variable_set.is_narrowed
            objects = (values, model, variable_set)
            if self.memo is None or is_narrowed:
                judged = judge()
            else:
                judged = self.memo.kept(objects, ("acceptance", vendor), judge, _size_of)
            known = self._refused[key] = judged, objects
        return known[0]

    def _judge(self, values: Values, model: Model, vendor: str, variable_set: VariableSet | None) -> _Judged:
        origin = Origin(model, None, values, ())
        base = self._base(model, variable_set, vendor)
        comparison = Comparison(origin, variable_set, vendor, base)
        migration = Migration(Compiled(profile_as_source(values, model), origin), comparison, variable_set)
        return None if migration.is_clear else migration, bool(migration.grown)

    def _base(self, model: Model, variable_set: VariableSet | None, vendor: str) -> Comparison:
        """Return the comparison with no variable in effect, which all profiles share."""
        key = (id(model), id(variable_set), vendor)
        if key not in self._bases:
            self._bases[key] = Comparison(Origin(model, None, None, ()), variable_set, vendor)
        return self._bases[key]

    def accepts(self, values: Values, model: Model, release: str, variable_set: VariableSet | None) -> bool:
        """Return whether a release accepts a profile's resolved values for a model."""
        return not self.refusals(values, model, release, variable_set)

    def makes(self, values: Values, model: Model, release: str, variable_set: VariableSet | None) -> bool:
        """Return whether a release accepts the values as they are, so that a new device can have them there."""
        refused, is_grown = self._judged(values, model, release, variable_set)
        return refused is None and not is_grown
