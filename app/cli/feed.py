"""The feed of a registry, read from itself or from an archive, and what is done with it: written, or made elsewhere."""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from app.cli.client import Registry

Progress = Callable[[str, int, int], None]

FORMAT = "device-profile-registry feed"
_VERSION = 1
_PAGE = 1000
# What is made elsewhere in one transaction: so much at most, but for a single transaction that is larger.
_MOST_CHANGES = 500
_MOST_BYTES = 8 * 1024 * 1024


class ArchiveError(Exception):
    """An archive that cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change as the feed tells it, what it added (content stands by its digest), and that content."""

    told: Mapping[str, Any]
    document: Mapping[str, Any] | None
    contents: Mapping[str, Any]

    @property
    def seq(self) -> int:
        """Its place in the feed."""
        seq: int = self.told["seq"]
        return seq

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(orjson.dumps([self.document, self.contents]))


class Feed(Protocol):
    """Where changes come from."""

    @property
    def registry(self) -> str:
        """Which registry it is of."""

    @property
    def head(self) -> int:
        """The seq of its last change."""

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes behind one until the head."""

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if it is not there."""


class RemoteFeed:
    """The feed of a registry that is asked for it."""

    def __init__(self, source: Registry, after: int = 0, wait: int = 0) -> None:
        """Look where the feed ends; wait: so many seconds for something behind `after`. Raises RegistryError."""
        self._source = source
        found = source.get("/changes", after=after, limit=1, wait=wait)
        self.registry: str = found["registry"]
        self.head: int = found["head"]

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes behind one until the head; raises RegistryError."""
        while after < self.head:
            page = self._source.get("/changes", after=after, limit=_PAGE)["items"]
            for told in page:
                if told["seq"] > self.head:
                    return
                yield self._whole(told)
            if not page:
                return
            after = page[-1]["seq"]

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if it is not there; raises RegistryError."""
        found = self._source.get("/changes", after=seq - 1, limit=1)["items"]
        return found[0]["link"] if found and found[0]["seq"] == seq else None

    def _whole(self, told: Mapping[str, Any]) -> Change:
        if told["document_digest"] is None:
            return Change(told, None, {})
        found = self._source.get(f"/changes/{told['seq']}")
        return Change(told, found["document"], found["contents"])


class Archive:
    """The feed in a file: a line that says whose it is, then one for each change; content stands where it is first."""

    def __init__(self, path: Path) -> None:
        """Read whose it is; raises ArchiveError."""
        self._path = path
        head = next(self._lines(), None)
        if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("version") != _VERSION:
            message = f"{path} is no archive of a registry"
            raise ArchiveError(message)
        self.registry: str = head["registry"]
        self.head: int = head["head"]

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes behind one; raises ArchiveError."""
        lines = self._lines()
        next(lines)
        last = 0
        for line in lines:
            change = _change(line)
            if change is None:
                message = f"{self._path} has no change behind {last}"
                raise ArchiveError(message)
            last = change.seq
            # Content of what is made already is needed no more: it is there.
            if last > after:
                yield change
        if last != self.head:
            message = f"{self._path} ends at change {last}, not at {self.head}: it is not whole"
            raise ArchiveError(message)

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if it is not there; raises ArchiveError."""
        found = next(self.changes(seq - 1), None)
        return found.told.get("link") if found is not None and found.seq == seq else None

    def _lines(self) -> Iterator[Any]:
        read = 0
        try:
            with gzip.open(self._path) as file:
                for line in file:
                    yield orjson.loads(line)
                    read += 1
        except (OSError, EOFError, zlib.error, ValueError) as error:
            message = f"{self._path} cannot be read behind line {read}: {getattr(error, 'strerror', None) or error}"
            raise ArchiveError(message) from error


def _change(line: Any) -> Change | None:
    """Return the change of a line of an archive, None if it is no such line."""
    try:
        change = Change(line["change"], line["document"], line["contents"])
        is_one = isinstance(change.seq, int) and isinstance(change.told["part_of"], int)
    except (KeyError, TypeError):
        return None
    return change if is_one and isinstance(change.contents, dict) else None


def written(feed: Feed, to: IO[bytes], progress: Progress) -> int:
    """Write a feed as an archive, the same feed always the same bytes; return how many changes it has."""
    known: set[str] = set()
    with gzip.GzipFile(filename="", mode="wb", fileobj=to, mtime=0) as file:
        file.write(_line({"format": FORMAT, "version": _VERSION, "registry": feed.registry, "head": feed.head}))
        for change in feed.changes(0):
            new = {name: content for name, content in change.contents.items() if name not in known}
            known.update(new)
            file.write(_line({"change": change.told, "document": change.document, "contents": new}))
            progress("writing changes", change.seq, feed.head)
    return feed.head


def _line(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of making changes elsewhere: how many, how many of them were new there, and the last one."""

    changes: int
    added: int
    seq: int


def copied(feed: Feed, target: Registry, url: str, progress: Progress, *, with_hosts: bool = False) -> Copied:
    """Make a feed's changes in another registry, from where it stopped; raises RegistryError, ArchiveError."""
    found = target.find(f"/mirrors/{feed.registry}")
    seq = found["seq"] if found else 0
    if seq > feed.head:
        message = (
            f"{url} ends at change {feed.head}, but {seq} of its changes are here: it is older than what was mirrored, "
            f"or was set back"
        )
        raise ArchiveError(message)
    if found and feed.link(seq) != found["link"]:
        message = f"change {seq} of {url} is another than the one that is here: it was set back, and went on otherwise"
        raise ArchiveError(message)
    changes = added = 0
    for batch in _batches(_told(feed, seq, progress)):
        document = {
            "url": url,
            "changes": [{**each.told, "document": each.document} for each in batch],
            "contents": {name: content for each in batch for name, content in each.contents.items()},
            "hosts": with_hosts,
        }
        answer = target.post(f"/mirrors/{feed.registry}/changes", document)
        changes, added, seq = changes + len(batch), added + answer["added"], answer["seq"]
        progress("making changes", seq, feed.head)
    return Copied(changes, added, seq)


def _told(feed: Feed, seq: int, progress: Progress) -> Iterator[Change]:
    """Iterate over a feed's changes, and tell that they are read."""
    for change in feed.changes(seq):
        progress("reading changes", change.seq, feed.head)
        yield change


def _batches(changes: Iterator[Change]) -> Iterator[Sequence[Change]]:
    """Iterate over changes many at a time, those of one transaction together."""
    batch: list[Change] = []
    size = 0
    for _, several in groupby(changes, key=lambda change: change.told["part_of"]):
        transaction = list(several)
        its_size = sum(change.size for change in transaction)
        if batch and (len(batch) + len(transaction) > _MOST_CHANGES or size + its_size > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch += transaction
        size += its_size
    if batch:
        yield batch
