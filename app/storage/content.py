"""Content by its digest: it never changes, so it is read once, and kept while there is room."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.storage import database, lookup
from app.storage.kept import Memory
from app.storage.replica import Databases

Content = TypeVar("Content")


class ColdError(Exception):
    """Something is not in memory, and may not be waited for."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A question that is being answered: what it has seen, it sees so to its end, whatever is forgotten meanwhile."""

    reading: Callable[[], AbstractContextManager[sa.Connection]]
    at_once: bool
    seen: dict[object, Any] = field(default_factory=dict)


_asking: ContextVar[Asking | None] = ContextVar("asking", default=None)


@contextmanager
def asking(reading: Callable[[], AbstractContextManager[sa.Connection]], *, at_once: bool = False) -> Iterator[None]:
    """Ask a question; reading: opens a connection to what it sees.

    at_once: nothing is waited for, ColdError is raised instead.
    """
    before = _asking.set(Asking(reading, at_once))
    try:
        yield
    finally:
        _asking.reset(before)


def seen_by_question() -> dict[object, Any]:
    """Return what the question that is being answered has seen."""
    now = _asking.get()
    return {} if now is None else now.seen


@contextmanager
def reading_for_question() -> Iterator[sa.Connection]:
    """Yield a connection to what the question that is being answered sees."""
    now = _asking.get()
    if now is None:
        message = "nothing is read by the way without a question"
        raise LookupError(message)
    with now.reading() as connection:
        yield connection


def is_at_once() -> bool:
    """Return whether the question is to be answered at once."""
    now = _asking.get()
    return now is not None and now.at_once


def check_may_wait() -> None:
    """Raise ColdError for a question that is to be answered at once."""
    if is_at_once():
        raise ColdError


class ByDigest(Generic[Content]):
    """Content of one kind by digest."""

    def __init__(
        self, databases: Databases, table: sa.Table, parse: Callable[[str], Content], memory: Memory[str, Content]
    ) -> None:
        """memory: what is kept; a thing's size is that of its JSON."""
        self._databases = databases
        self._table = table
        self._parse = parse
        self._memory = memory
        self.read_count = 0

    def read(self, digests: Iterable[str]) -> None:
        """Have the question see the content of these digests; what is not kept is read at once."""
        seen = seen_by_question()
        found = {digest: self._memory.get(digest) for digest in digests if digest not in seen}
        new = [digest for digest, content in found.items() if content is None]
        found.update(self._read(new))
        seen.update(found)

    def _read(self, digests: Sequence[str]) -> dict[str, Content]:
        """Read content out of a database; what a replica does not have yet is read where it was written."""
        found: dict[str, Content] = {}
        for reading in (self._databases.reading, partial(database.reading, self._databases.primary)):
            new = [digest for digest in digests if digest not in found]
            if new:
                check_may_wait()
                with reading() as connection:
                    for digest, document in lookup.documents(connection, self._table, new):
                        found[digest] = self._memory.put(digest, self._parse(document), len(document))
        self.read_count += len(found)
        return found

    def __getitem__(self, digest: str) -> Content:
        seen = seen_by_question()
        content: Content | None = seen.get(digest)
        if content is None:
            content = self._memory.get(digest)
        if content is None:
            content = self._read([digest])[digest]
        seen[digest] = content
        return content


class Named(Mapping[str, Content]):
    """Content by model, of which only the digests are known until it is asked for."""

    def __init__(self, digests: Mapping[str, str], content: ByDigest[Content]) -> None:
        self._digests = digests
        self._content = content

    def digests(self, models: Collection[str] | None) -> Iterator[str]:
        """Iterate over the digests of what is known of these models, None: of all."""
        if models is None:
            return iter(self._digests.values())
        return (self._digests[model] for model in models if model in self._digests)

    def get(self, model: str, default: Any = None) -> Any:
        """Return what is said of a model, the default where nothing is."""
        digest = self._digests.get(model)
        return default if digest is None else self._content[digest]

    def __getitem__(self, model: str) -> Content:
        return self._content[self._digests[model]]

    def __contains__(self, model: object) -> bool:
        return model in self._digests

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


class SetsOfRelease(Mapping[str, Content]):
    """A release's content by model; which it has of a model is looked up when somebody asks."""

    def __init__(self, release_id: int, content: ByDigest[Content]) -> None:
        self.release_id = release_id
        self.known: dict[str, str | None] = {}
        self.is_whole = False
        self._content = content

    def _digest(self, model: object) -> str | None:
        if model not in self.known and not self.is_whole and isinstance(model, str):
            with reading_for_question() as connection:
                expect_sets(connection, [self], [model])
        return self.known.get(model) if isinstance(model, str) else None

    def _whole(self) -> list[str]:
        if not self.is_whole:
            with reading_for_question() as connection:
                expect_sets(connection, [self], None)
        return [model for model, digest in self.known.items() if digest is not None]

    def digests(self, models: Collection[str] | None) -> Iterator[str]:
        """Iterate over the digests of what it has of these models, None: of all."""
        found = (self._digest(model) for model in (self._whole() if models is None else models))
        return (digest for digest in found if digest is not None)

    def get(self, model: str, default: Any = None) -> Any:
        """Return what the release says of a model, the default if it does not implement it."""
        digest = self._digest(model)
        return default if digest is None else self._content[digest]

    def __getitem__(self, model: str) -> Content:
        digest = self._digest(model)
        if digest is None:
            raise KeyError(model)
        return self._content[digest]

    def __contains__(self, model: object) -> bool:
        return self._digest(model) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())


def expect_sets(
    connection: sa.Connection, several: Sequence[SetsOfRelease[Any]], models: Collection[str] | None
) -> None:
    """Look up at once which sets releases have of these models, None: of all."""
    found = lookup.sets_of_releases(connection, [each.release_id for each in several], models)
    for each in several:
        of_it: Mapping[str, str | None] = found.get(each.release_id, {})
        each.known.update(of_it if models is None else {model: of_it.get(model) for model in models})
        each.is_whole = each.is_whole or models is None
