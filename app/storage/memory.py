"""A bounded memory: beyond a number of bytes, the least recently used entries are forgotten."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key")
Entry = TypeVar("Entry")


class _Entries(LRUCache[Key, tuple[Entry, int]]):
    """Counts the bytes of the entries that were pushed out."""

    pushed_out = 0

    def popitem(self) -> tuple[Key, tuple[Entry, int]]:
        """Push out the least recently used entry."""
        key, sized = super().popitem()
        self.pushed_out += sized[1]
        return key, sized


class Memory(Generic[Key, Entry]):
    """Entries by key, each with its approximate size in bytes; any number of threads can use it."""

    def __init__(self, capacity: int) -> None:
        """capacity: in bytes."""
        self.capacity = capacity
        self._entries: _Entries[Key, Entry] = _Entries(capacity, getsizeof=lambda sized: sized[1])
        self._lock = Lock()

    @property
    def pushed_out(self) -> int:
        """The bytes of all entries so far that others have pushed out, or for which there was no room."""
        return self._entries.pushed_out

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
            else:
                self._entries.pushed_out += size
            return entry

    def resize(self, key: Key, size: int) -> None:
        """Correct the size of an entry that has grown."""
        with self._lock:
            sized = self._entries.pop(key, None)
            if sized is not None and size <= self._entries.maxsize:
                self._entries[key] = (sized[0], size)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()

    def without(self, is_outdated: Callable[[Key], bool]) -> "Memory[Key, Entry]":
        """Return a copy without the outdated entries."""
        with self._lock:
            entries = list(self._entries.items())
            copy: Memory[Key, Entry] = Memory(int(self._entries.maxsize))
        for key, (entry, size) in entries:
            if not is_outdated(key):
                copy.put(key, entry, size)
        return copy
