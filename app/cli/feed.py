"""The feed of a registry: reads it from the registry or an archive, writes archives, copies it to another registry."""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote

import orjson

from app.cli.client import Registry
from app.domain.publishing.change import ChangeKind

Progress = Callable[[str, int, int], None]

_HOST_KINDS = {ChangeKind.HOST_REGISTERED.value, ChangeKind.HOST_CHANGED.value}
FORMAT = "device-profile-registry feed"
_VERSION = 1
_PAGE = 1000
# The limits of a batch that the target applies in one transaction; a larger transaction of the source stays whole.
_MAX_CHANGES = 500
_MAX_BYTES = 8 * 1024 * 1024


class ArchiveError(Exception):
    """An archive cannot be read, or a feed cannot be continued; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change: its entry in the feed, the document that it added, and the document's contents by digest."""

    entry: Mapping[str, Any]
    document: Mapping[str, Any] | None
    contents: Mapping[str, Any]

    @property
    def seq(self) -> int:
        """The position in the feed."""
        seq: int = self.entry["seq"]
        return seq

    @property
    def size(self) -> int:
        """The approximate size in bytes."""
        return len(orjson.dumps([self.document, self.contents]))


class Feed(Protocol):
    """A source of changes."""

    @property
    def registry(self) -> str:
        """The id of the registry."""

    @property
    def head(self) -> int:
        """The seq of the last change."""

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq, up to the head."""

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change."""


class RemoteFeed:
    """The feed of a registry, read over HTTP."""

    def __init__(self, source: Registry, after: int = 0, wait: int = 0) -> None:
        """Read the head; wait: seconds to wait for a change after `after`. Raises RegistryError."""
        self._source = source
        page = source.get("/changes", after=after, limit=1, wait=wait)
        self.registry: str = page["registry"]
        self.head: int = page["head"]

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq, up to the head; raises RegistryError."""
        while after < self.head:
            page = self._source.get("/changes", after=after, limit=_PAGE)["items"]
            for entry in page:
                if entry["seq"] > self.head:
                    return
                yield self._change(entry)
            if not page:
                return
            after = page[-1]["seq"]

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change; raises RegistryError."""
        page = self._source.get("/changes", after=seq - 1, limit=1)["items"]
        return page[0]["link"] if page and page[0]["seq"] == seq else None

    def _change(self, entry: Mapping[str, Any]) -> Change:
        if entry["document_digest"] is None:
            return Change(entry, None, {})
        added = self._source.get(f"/changes/{entry['seq']}")
        return Change(entry, added["document"], added["contents"])


class Archive:
    """The feed in a file: a header line, then a line for each change; content is stored with its first change."""

    def __init__(self, path: Path) -> None:
        """Read the header; raises ArchiveError."""
        self._path = path
        header = next(self._lines(), None)
        if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != _VERSION:
            message = f"{path} is not a registry archive"
            raise ArchiveError(message)
        self.registry: str = header["registry"]
        self.head: int = header["head"]

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq; raises ArchiveError."""
        lines = self._lines()
        next(lines)
        last = 0
        for line in lines:
            change = _change(line)
            if change is None:
                message = f"{self._path}: the line after change {last} is not a change"
                raise ArchiveError(message)
            last = change.seq
            # The target already has the content of the skipped changes.
            if last > after:
                yield change
        if last != self.head:
            message = f"{self._path} is incomplete: it ends at change {last}, not at change {self.head}"
            raise ArchiveError(message)

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change; raises ArchiveError."""
        change = next(self.changes(seq - 1), None)
        return change.entry.get("link") if change is not None and change.seq == seq else None

    def _lines(self) -> Iterator[Any]:
        count = 0
        try:
            with gzip.open(self._path) as file:
                for line in file:
                    yield orjson.loads(line)
                    count += 1
        except (OSError, EOFError, zlib.error, ValueError) as error:
            message = f"{self._path} cannot be read after line {count}: {getattr(error, 'strerror', None) or error}"
            raise ArchiveError(message) from error


def _change(line: Any) -> Change | None:
    """Return the change in a line of an archive, None if the line is not a change."""
    try:
        change = Change(line["change"], line["document"], line["contents"])
        is_valid = isinstance(change.seq, int) and isinstance(change.entry["part_of"], int)
    except (KeyError, TypeError):
        return None
    return change if is_valid and isinstance(change.contents, dict) else None


def write_archive(feed: Feed, target: IO[bytes], progress: Progress) -> int:
    """Write a feed as an archive, byte for byte reproducible; return the number of changes."""
    written: set[str] = set()
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as file:
        file.write(_line({"format": FORMAT, "version": _VERSION, "registry": feed.registry, "head": feed.head}))
        for change in feed.changes(0):
            new = {digest: content for digest, content in change.contents.items() if digest not in written}
            written.update(new)
            file.write(_line({"change": change.entry, "document": change.document, "contents": new}))
            progress("writing changes", change.seq, feed.head)
    return feed.head


def _line(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The result of a copy: the number of changes, how many of them were new in the target, and the last seq."""

    changes: int
    added: int
    seq: int


def copy_feed(feed: Feed, target: Registry, url: str, progress: Progress, *, with_hosts: bool = False) -> CopyResult:
    """Apply a feed's changes to another registry, after the last one applied; raises RegistryError, ArchiveError."""
    mirror = target.find(f"/mirrors/{feed.registry}")
    seq = mirror["seq"] if mirror else 0
    if seq > feed.head:
        message = (
            f"{url} ends at change {feed.head}, but {seq} of its changes are already here: it is an older archive, "
            f"or the source was restored from a backup"
        )
        raise ArchiveError(message)
    if mirror and feed.link(seq) != mirror["link"]:
        message = (
            f"change {seq} of {url} differs from change {seq} here: the source was restored from a backup and has "
            f"changed since"
        )
        raise ArchiveError(message)
    changes = added = 0
    if with_hosts and seq:
        added += _restore_operators_own(feed, target, seq)
    for batch in _batches(_read_changes(feed, seq, progress)):
        document = {
            "url": url,
            "changes": [{**change.entry, "document": change.document} for change in batch],
            "contents": {digest: content for change in batch for digest, content in change.contents.items()},
            "hosts": with_hosts,
        }
        answer = target.post(f"/mirrors/{feed.registry}/changes", document)
        changes, added, seq = changes + len(batch), added + answer["added"], answer["seq"]
        progress("applying changes", seq, feed.head)
    return CopyResult(changes, added, seq)


def _restore_operators_own(feed: Feed, target: Registry, until: int) -> int:
    """Add the hosts and local errata of changes that were applied before without them; return how many are new.

    Hosts that are registered already stay as they are: they can be more recent.
    """
    hosts: dict[str, Mapping[str, Any]] = {}
    errata: dict[str, Mapping[str, Any]] = {}
    for change in takewhile(lambda change: change.seq <= until, feed.changes(0)):
        kind, name, document = change.entry["kind"], change.entry["name"], change.document or {}
        if kind in _HOST_KINDS:
            hosts[name] = document
        elif kind == ChangeKind.HOST_FORGOTTEN.value:
            hosts.pop(name, None)
        elif kind == ChangeKind.ERRATUM_PUBLISHED.value and document.get("local"):
            errata[change.entry["detail"]["erratum"]] = document
        elif kind == ChangeKind.ERRATUM_WITHDRAWN.value:
            errata.pop(document.get("erratum", ""), None)
    missing = [name for name in hosts if target.find(f"/hosts/{quote(name, safe='')}") is None]
    for name in missing:
        target.put(f"/hosts/{quote(name, safe='')}", hosts[name])
    unknown = [erratum for key, erratum in errata.items() if target.find(f"/errata/{key}") is None]
    for erratum in unknown:
        target.post("/errata", {field: value for field, value in erratum.items() if value is not None})
    return len(missing) + len(unknown)


def _read_changes(feed: Feed, seq: int, progress: Progress) -> Iterator[Change]:
    """Iterate over a feed's changes and report progress."""
    for change in feed.changes(seq):
        progress("reading changes", change.seq, feed.head)
        yield change


def _batches(changes: Iterator[Change]) -> Iterator[Sequence[Change]]:
    """Iterate over batches of changes; a batch never splits a transaction."""
    batch: list[Change] = []
    size = 0
    for _, group in groupby(changes, key=lambda change: change.entry["part_of"]):
        transaction = list(group)
        transaction_size = sum(change.size for change in transaction)
        if batch and (len(batch) + len(transaction) > _MAX_CHANGES or size + transaction_size > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch += transaction
        size += transaction_size
    if batch:
        yield batch
