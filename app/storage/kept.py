"""What is kept in memory: up to a bound in bytes, beyond which the least recently used is forgotten."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class Memory(Generic[Key, Kept]):
    """Things by key, each of about so many bytes; any number of threads may use it."""

    def __init__(self, most_bytes: int) -> None:
        self._things: LRUCache[Key, tuple[Kept, int]] = LRUCache(most_bytes, getsizeof=lambda each: each[1])
        self._lock = Lock()

    def get(self, key: Key) -> Kept | None:
        """Return what is kept, None if nothing is."""
        with self._lock:
            found = self._things.get(key)
        return None if found is None else found[0]

    def put(self, key: Key, thing: Kept, size: int) -> Kept:
        """Keep a thing of about so many bytes; return it, or the one that is kept already: others know that."""
        with self._lock:
            found = self._things.get(key)
            if found is not None:
                return found[0]
            if size <= self._things.maxsize:
                self._things[key] = (thing, size)
            return thing

    def grow(self, key: Key, size: int) -> None:
        """Take note that a thing has grown to so many bytes."""
        with self._lock:
            found = self._things.pop(key, None)
            if found is not None and size <= self._things.maxsize:
                self._things[key] = (found[0], size)

    def without(self, is_outdated: Callable[[Key], bool]) -> "Memory[Key, Kept]":
        """Return the same but for what is outdated."""
        with self._lock:
            things = list(self._things.items())
            copy: Memory[Key, Kept] = Memory(int(self._things.maxsize))
        for key, (thing, size) in things:
            if not is_outdated(key):
                copy.put(key, thing, size)
        return copy
