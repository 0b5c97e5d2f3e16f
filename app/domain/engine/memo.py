"""What the engine remembers across questions: compiled sources and comparisons, up to a bound."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from app.domain.engine.comparison import Comparison, Origin
from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.things.release import NOTHING
from app.domain.things.variable_set import VariableSet


class Memo:
    """Origins and comparisons, compiled once for each content; the least recently used are forgotten.

    Content is told apart by identity: the caller holds equal content as one object. Any number of threads can use it.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        """capacity: how many variables are remembered in all."""
        self._capacity = capacity
        self._size = 0
        self._lock = Lock()
        # Keys are ids, so the objects that they stand for are held too: no id is reused while its entry lives.
        self._entries: OrderedDict[tuple[object, ...], tuple[Any, int, tuple[object, ...]]] = OrderedDict()

    def origin(
        self,
        model: Model,
        own: VariableSet | None,
        profile: Values | None,
        vendors: tuple[str, ...],
        own_values: Values = NOTHING,
    ) -> Origin:
        """Return what devices are made from: a variable set, a profile, both or neither."""
        size = len(own.variables) if own else 1
        origin: Origin = self._get(
            (model, own, profile, own_values), vendors, size, lambda: Origin(model, own, profile, vendors, own_values)
        )
        return origin

    def known(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison | None:
        """Return the comparison of an origin with a destination's set if it is remembered."""
        key = (id(origin), id(variable_set), vendor)
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            comparison: Comparison = self._entries[key][0]
            return comparison

    def comparison(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison:
        """Return the comparison of an origin with a destination's set."""
        size = len(variable_set.variables) if variable_set else 1
        base = self._base(origin, variable_set, vendor)
        comparison: Comparison = self._get(
            (origin, variable_set), (vendor,), size, lambda: Comparison(origin, variable_set, vendor, base)
        )
        return comparison

    def _base(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison | None:
        """Return the comparison with no variable in effect, which profiles without a source release share."""
        if variable_set is None or origin.vendors or not origin.profile:
            return None
        nothing = self.origin(origin.model, None, None, ())
        return self.comparison(nothing, variable_set, vendor)

    def _get(self, objects: tuple[object, ...], words: tuple[str, ...], size: int, make: Callable[[], object]) -> Any:
        key = (*map(id, objects), *words)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]
            made = make()
            self._entries[key] = (made, size, objects)
            self._size += size
            while self._size > self._capacity and len(self._entries) > 1:
                self._size -= self._entries.popitem(last=False)[1][1]
            return made
