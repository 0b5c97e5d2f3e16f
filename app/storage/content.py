"""Content by its digest: it never changes, so it is read once and kept while there is room."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar

import sqlalchemy as sa

from app.domain.values import budget
from app.storage import database, lookup
from app.storage.memory import Memory
from app.storage.replica import Databases

# Parsing this much takes a step of a request's budget. It is less than the time it takes: the next request finds it.
_BYTES_OF_A_STEP = 50
Content = TypeVar("Content")


class ColdError(Exception):
    """Something is not in memory, and the question must not wait for the database."""


class Contents(Generic[Content]):
    """Content of one kind; equal content is one object as long as it is kept."""

    def __init__(
        self, databases: Databases, table: sa.Table, parse: Callable[[str], Content], memory: Memory[str, Content]
    ) -> None:
        """memory: entries count with the size of their JSON."""
        self._databases = databases
        self._table = table
        self._parse = parse
        self._memory = memory
        self.read_count = 0

    @property
    def capacity(self) -> int:
        """How much JSON memory has room for, in bytes."""
        return self._memory.capacity

    @property
    def pushed_out(self) -> int:
        """How much JSON was pushed out of memory so far, in bytes."""
        return self._memory.pushed_out

    def load(self, digests: Iterable[str], *, can_wait: bool) -> dict[str, Content]:
        """Return the content of these digests; raises ColdError where it would have to wait."""
        loaded: dict[str, Content] = {}
        missing = []
        for digest in dict.fromkeys(digests):
            content = self._memory.get(digest)
            if content is None:
                missing.append(digest)
            else:
                loaded[digest] = content
        if missing:
            if not can_wait:
                raise ColdError
            budget.load(len(missing))
            loaded |= self._read(missing)
        return loaded

    def _read(self, digests: Sequence[str]) -> dict[str, Content]:
        """Read content from a database; what a replica does not have yet is read from the primary."""
        read: dict[str, Content] = {}
        for reading in (self._databases.reading, partial(database.reading, self._databases.primary)):
            missing = [digest for digest in digests if digest not in read]
            if missing:
                with reading() as connection:
                    for digest, document in lookup.documents(connection, self._table, missing):
                        budget.spend(len(document) // _BYTES_OF_A_STEP)
                        read[digest] = self._memory.put(digest, self._parse(document), len(document))
        self.read_count += len(read)
        return read
