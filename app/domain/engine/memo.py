"""What the engine remembers across questions: compiled sources and comparisons, up to a bound."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

from app.domain.engine.comparison import MAX_REMEMBERED, Comparison, Origin
from app.domain.engine.passage import Passage
from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.things.release import NOTHING, Release
from app.domain.things.variable_set import VariableSet
from app.domain.values.lazy import lazy
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Source

Kept = TypeVar("Kept")

# So many references take as much memory as a variable.
_REFERENCES_OF_A_VARIABLE = 10
# A passage takes as much memory as this many variables.
_SIZE_OF_A_PASSAGE = 6


class Memo:
    """Origins and comparisons, compiled once for each content; the least recently used are forgotten.

    Content is told apart by identity: the caller holds equal content as one object. Any number of threads can use it.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        """capacity: how many variables are remembered, verdicts apart, which take a quarter as much."""
        self._capacity = capacity
        self._size = 0
        self._lock = Lock()
        # Keys are ids, so the objects that they stand for are held too: no id is reused while its entry lives.
        self._entries: OrderedDict[tuple[object, ...], tuple[Any, int, tuple[object, ...]]] = OrderedDict()

    @lazy
    def verdicts(self) -> "Memo":
        """The memo of verdicts: many devices have values of their own, and must not push out what others share."""
        return Memo(self._capacity // 4)

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
        known = self._known(key)
        return None if known is None else known[0]

    def comparison(self, origin: Origin, variable_set: VariableSet | None, vendor: str) -> Comparison:
        """Return the comparison of an origin with a destination's set."""
        # With what it remembers of explicit values.
        size = (len(variable_set.variables) if variable_set else 1) + MAX_REMEMBERED
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

    def passage(self, source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> Passage:
        """Return what is known of a migration whatever the values of the device are; source: not as its host has it.

        The key has all of the source and the release that `Passage.of` looks at: names, states, sets, lists and errata.
        """
        device, origin = source.device, source.release
        objects = (
            source.set,
            variable_set,
            release.name,
            release.profiles,
            release.errata.get(device.model),
            origin and origin.name,
            origin and origin.errata.get(device.model),
            policy,
            release.state,
            origin and origin.state,
            source.profile and source.profile.state,
        )
        words = ("passage", device.model, device.release, device.profile)
        passage: Passage = self._get(
            objects, words, _SIZE_OF_A_PASSAGE, lambda: Passage.of(source, release, variable_set, policy)
        )
        return passage

    def kept(
        self,
        objects: tuple[object, ...],
        words: tuple[Hashable, ...],
        make: Callable[[], Kept],
        size_of: Callable[[Kept], int],
    ) -> Kept:
        """Return what is made of some content, made once for as long as it is remembered.

        objects, words: all that it depends on: content by identity, names and states as they are; the first word is the
        kind. size_of: as how many variables it counts.
        """
        key = (*map(id, objects), *words)
        known = self._known(key)
        if known is not None:
            kept: Kept = known[0]
            return kept
        # Not under the lock, because it can take long.
        made = make()
        size = size_of(made) + (len(objects) + len(words)) // _REFERENCES_OF_A_VARIABLE
        self._get(objects, words, size, lambda: made)
        return made

    def token(self, objects: tuple[object, ...], words: tuple[Hashable, ...]) -> object:
        """Return an object that identifies much content: the same one for as long as it is remembered.

        Two threads can get two: what is remembered under one of them is then made once more.
        """
        return self.kept(objects, words, object, lambda _: 1)

    def _known(self, key: tuple[object, ...]) -> tuple[Any, int, tuple[object, ...]] | None:
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries.move_to_end(key)
            return known

    def _get(
        self, objects: tuple[object, ...], words: tuple[Hashable, ...], size: int, make: Callable[[], object]
    ) -> Any:
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
