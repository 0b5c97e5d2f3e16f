"""A bounded memory: beyond a number of bytes, the least recently used entries are forgotten."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Entry = TypeVar("Entry")


class Memory(Generic[Key, Entry]):
    """Entries by key, each with its approximate size in bytes; any number of threads can use it."""

    def __init__(self, capacity: int) -> None:
        """capacity: in bytes."""
        self._entries: LRUCache[Key, tuple[Entry, int]] = LRUCache(capacity, getsizeof=lambda sized: sized[1])
        self._lock = Lock()

    def get(self, key: Key) -> Entry | None:
        """Return the entry, None if there is none."""
        with self._lock:
            try:
                return self._entries[key][0]
            except KeyError:
                return None

    def put(self, key: Key, entry: Entry, size: int) -> Entry:
        """Keep an entry; return it, or the one that is kept already, which others refer to."""
        with self._lock:
            sized = self._entries.get(key)
            if sized is not None:
                return sized[0]
            if size <= self._entries.maxsize:
                self._entries[key] = (entry, size)
            return entry

    def resize(self, key: Key, size: int) -> None:
        """Correct the size of an entry that has grown."""
        with self._lock:
            sized = self._entries.pop(key, None)
            if sized is not None and size <= self._entries.maxsize:
                self._entries[key] = (sized[0], size)

    def without(self, is_outdated: Callable[[Key], bool]) -> "Memory[Key, Entry]":
        """Return a copy without the outdated entries."""
        with self._lock:
            entries = list(self._entries.items())
            copy: Memory[Key, Entry] = Memory(int(self._entries.maxsize))
        for key, (entry, size) in entries:
            if not is_outdated(key):
                copy.put(key, entry, size)
        return copy
